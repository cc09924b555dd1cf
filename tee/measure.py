"""Which code an enclave runs: a manifest of it, and the register in which a platform measures it.

The manifest is canonical JSON

    {"modules": {"proofml.tee.enclave.service": SHA-256 of its source, ...},
     "requires": {"onnxruntime": "1.32.0", "python": "3.11.7", ...}, "version": 1}

of every module of this package that the isolated process loads, and of the versions of what these
import from others. The simulator measures it when an enclave starts:

    TDX      MRTD        SHA-384      SEV-SNP   MEASUREMENT   SHA-384
    SGX      MRENCLAVE   SHA-256      Nitro     PCR0          SHA-384

each over "proofml/tee/code/v1" || 0x00 || name of the platform || 0x00 || manifest. A verifier with
the same release derives the same values (`code_measurement`); for other versions of the packages
it names them. On hardware the whole image is measured, by other rules: there the values come from
whoever built the image (docs/tee/README.md).

Nothing is imported to be measured, and this module imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import platform as machine
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from proofml.canonical import JSON, dumps, sha256
from proofml.errors import UsageError
from proofml.tee.platform import Platform

_TAG: Final = b"proofml/tee/code/v1\0"

#: Every module of this package that the isolated process loads; a test compares.
MODULES: Final = (
    "proofml",
    "proofml.canonical",
    "proofml.container",
    "proofml.errors",
    "proofml.fields",
    "proofml.processor",
    "proofml.runtime",
    "proofml.runtime_stages",
    "proofml.statement",
    "proofml.tee",
    "proofml.tee.binding",
    "proofml.tee.checks",
    "proofml.tee.commitments",
    "proofml.tee.config",
    "proofml.tee.enclave",
    "proofml.tee.enclave.__main__",
    "proofml.tee.enclave.frames",
    "proofml.tee.enclave.isolation",
    "proofml.tee.enclave.messages",
    "proofml.tee.enclave.process",
    "proofml.tee.enclave.rehearsal",
    "proofml.tee.enclave.remote",
    "proofml.tee.enclave.service",
    "proofml.tee.enclave.stages",
    "proofml.tee.ethereum",
    "proofml.tee.platform",
    "proofml.tee.quoter",
    "proofml.tee.receipt_signer",
    "proofml.tee.receipts",
    "proofml.tee.sealing",
    "proofml.tee.tensor_blobs",
    "proofml.tensors",
    "proofml.worker",
    "proofml.worker.host",
    "proofml.worker.job",
    "proofml.worker.limits",
)
#: Distributions that these modules import; the first of a group that is installed counts.
REQUIRES: Final = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("numpy",),
    ("cryptography",),
    ("coincurve",),
    ("pycryptodome",),
)

#: Register of the code, and its hash.
CODE_REGISTERS: Final[Mapping[Platform, tuple[str, str]]] = {
    Platform.TDX: ("mrtd", "sha384"),
    Platform.SGX: ("mrenclave", "sha256"),
    Platform.SEV_SNP: ("measurement", "sha384"),
    Platform.NITRO: ("pcr0", "sha384"),
}


@dataclass(frozen=True)
class Manifest:
    """Code by name.

    Attributes:
        modules: module -> SHA-256 of its source file.
        requires: distribution, or `python` -> version; None for one that is not installed, and
            without which some sessions cannot be had.
    """

    modules: Mapping[str, str]
    requires: Mapping[str, str | None]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        record: dict[str, JSON] = {
            "version": 1,
            "modules": dict(self.modules),
            "requires": dict(self.requires),
        }
        return dumps(record)

    def measurement(self, platform: Platform) -> dict[str, str]:
        """Register -> hexadecimal digits, by the name that it has in `Verified.measurements`."""
        register, algorithm = CODE_REGISTERS[platform]
        message = _TAG + platform.value.encode("ascii") + b"\0" + self.to_bytes()
        return {register: hashlib.new(algorithm, message).hexdigest()}


def manifest(requires: Mapping[str, str | None] | None = None) -> Manifest:
    """Of the package as it is installed here.

    Args:
        requires: versions to be taken instead of those that are installed here, by distribution.

    Raises:
        UsageError: a distribution that the enclave does not import, or a module without source.
    """
    found: dict[str, str | None] = {"python": machine.python_version()}
    for group in REQUIRES:
        found[group[0]] = next(filter(None, map(_version, group)), None)
    for name in requires or {}:
        if name not in found:
            raise UsageError(
                f"{name}: expected one of {', '.join(found)}; the enclave imports them"
            )
    found |= requires or {}
    return Manifest({name: _source(name) for name in MODULES}, found)


def code_measurement(
    platform: Platform, requires: Mapping[str, str | None] | None = None
) -> dict[str, str]:
    """The register that an enclave of this release has on this platform; as `manifest`."""
    return manifest(requires).measurement(platform)


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _source(name: str) -> str:
    spec = find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(f"{name}: expected its source file, there is none; install the package")
    try:
        return sha256(Path(spec.origin).read_bytes())
    except OSError as error:
        raise UsageError(f"{spec.origin}: cannot be read: {error.strerror}") from error
