"""The platforms by name: which module parses and verifies evidence, and how evidence is told apart.

Each module brings its own packages, so it is imported when evidence of its platform comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any, Final, Protocol

from proofml.errors import BackendUnavailable
from proofml.tee.checks import QUOTE, refuse
from proofml.tee.platform import Attestation, Finding, Platform, Verified
from proofml.tee.reader import Field
from proofml.tee.roots import Roots

_MODULES: Final = {
    Platform.TDX: "tdx",
    Platform.SGX: "sgx",
    Platform.SEV_SNP: "sev_snp",
    Platform.NITRO: "nitro",
}
_SNP_BYTES: Final = 1184
#: An array of four, bare or under the tag of COSE_Sign1.
_COSE: Final = (b"\x84", b"\xd2\x84")


class Parsed(Protocol):
    """What every platform's `parse` returns: fields that cover each byte, in order."""

    @property
    def fields(self) -> tuple[Field, ...]: ...


def _module(platform: Platform) -> Any:
    try:
        return import_module(f"proofml.tee.{_MODULES[platform]}")
    except ImportError as error:
        raise BackendUnavailable(f"{platform}: {error}; pip install 'proofml[tee]'") from error


def parse(platform: Platform, data: bytes) -> Parsed:
    """Read a quote; nothing about it is verified.

    Raises:
        VerificationError: tee.3.
        BackendUnavailable: a package is missing.
    """
    read: Callable[[bytes], Parsed] = _module(platform).parse
    return read(data)


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """What the hardware says, from bytes whose signature was checked.

    Args:
        roots: those that this verifier holds.
        now: seconds since 1970.

    Raises:
        VerificationError: tee.2 to tee.8.
        BackendUnavailable: a package is missing.
    """
    check: Callable[[Attestation, Roots, int], Verified] = _module(evidence.platform).verify
    return check(evidence, roots, now)


def padding(evidence: Attestation) -> int:
    """Bytes behind the quote, which its signature does not cover: zeros that some guests add.

    Raises:
        VerificationError: tee.3.
    """
    fields = parse(evidence.platform, evidence.quote).fields
    return sum(len(field.data) for field in fields if field.name == "padding")


def own_findings(verified: Verified) -> Iterable[Finding]:
    """What only this platform has to say (tee.20), beside the common part of the appraisal."""
    own: Callable[[Verified], Iterable[Finding]] | None = getattr(
        _module(verified.platform), "appraise", None
    )
    return () if own is None else own(verified)


def detect(data: bytes) -> Platform:
    """Of which platform a quote is, by its first bytes and its length.

    Raises:
        VerificationError: tee.3, of none that is known.
    """
    version = int.from_bytes(data[:2], "little")
    tee_type = int.from_bytes(data[4:8], "little")
    # A SEV-SNP report begins with its version in four bytes; an Intel quote has the type of its
    # attestation key, which is not zero, in the third.
    if len(data) == _SNP_BYTES and 2 <= version <= 5 and data[2:4] == b"\0\0":
        return Platform.SEV_SNP
    if version in (4, 5) and tee_type == 0x81:
        return Platform.TDX
    if version == 3 and tee_type == 0 and data[2:4] != b"\0\0":
        return Platform.SGX
    if data.startswith(_COSE):
        return Platform.NITRO
    return refuse(
        QUOTE,
        "quote",
        expected="a TDX quote (version 4 or 5), an SGX quote (3), a SEV-SNP report of "
        f"{_SNP_BYTES} bytes, or a Nitro document (COSE_Sign1)",
        got=f"{len(data)} bytes that begin with {data[:8].hex()}",
    )
