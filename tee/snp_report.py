"""AMD SEV-SNP attestation reports, versions 2 to 5: 1184 bytes, each in a field.

Layout: SEV Secure Nested Paging Firmware ABI Specification (AMD 56860), table "ATTESTATION_REPORT
structure"; the meaning of bits is in its tables "Guest Policy" and "PLATFORM_INFO". What later
versions took from the reserved bytes:

    3   the processor's family, model and stepping at 0x188
    5   mitigations at launch and now, 8 bytes each, at 0x1F8

Version 4 has the layout of 3, as other readers of such reports have it (virtee/sev, google/
go-sev-guest).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from proofml.tee.checks import QUOTE, refuse
from proofml.tee.reader import Field, Reader

REPORT_BYTES: Final = 1184
#: The signature is over the bytes before it.
SIGNED_BYTES: Final = 0x2A0
COMPONENT_BYTES: Final = 72
VERSIONS: Final = (2, 3, 4, 5)
#: Signature algorithm 1: ECDSA, P-384, SHA-384.
ECDSA_P384: Final = 1
#: The VMPL of a report for which the host asked, not the guest.
HOST_VMPL: Final = 0xFFFFFFFF
#: The order of P-384 (FIPS 186-4, D.1.2.4).
ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
#: Bits of the guest's policy that have a meaning; bit 17 is always set, the others are zero.
POLICY_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt": 16,
        "migrate_ma": 18,
        "debug": 19,
        "single_socket": 20,
        "cxl": 21,
        "mem_aes_256_xts": 22,
        "rapl_dis": 23,
        "ciphertext_hiding_dram": 24,
        "page_swap_disable": 25,
    }
)
POLICY_ALWAYS: Final = 1 << 17
#: Bits of the platform's information: what is switched on.
PLATFORM_BITS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "smt_on": 0,
        "tsme_on": 1,
        "ecc_on": 2,
        "rapl_off": 3,
        "ciphertext_hiding_on": 4,
        "alias_check_complete": 5,
        "tio_on": 7,
    }
)
# The lowest 16 bits of the policy are the least version of the ABI.
_POLICY_KNOWN: Final = 0xFFFF | POLICY_ALWAYS | sum(1 << bit for bit in POLICY_BITS.values())
_PLATFORM_KNOWN: Final = sum(1 << bit for bit in PLATFORM_BITS.values())

_WHAT: Final = "SEV-SNP report"


class SigningKey(IntEnum):
    """Which key signed: one of the chip, one lent to a cloud provider, or none."""

    VCEK = 0
    VLEK = 1
    NONE = 7


@dataclass(frozen=True, slots=True)
class Report:
    """A report of the right form; nobody has checked its signature.

    Attributes:
        policy, platform_info: bit fields as they stand.
        vmpl: 0 to 3, or `HOST_VMPL`.
        mask_chip_key: the host does not let the chip's key sign.
        *_tcb: 8 bytes; their layout depends on the product line.
        cpuid: family, model, stepping, each with its extension; from version 3 on.
        current_version, committed_version: of the firmware, major, minor, build.
        mitigations: bit fields, at launch and now; from version 5 on.
        signature: R and S; zeros where no key signed.
        signed: the bytes that the signature covers.
        fields: every byte, in order.
    """

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    platform_info: int
    author_key: bool
    mask_chip_key: bool
    signing_key: SigningKey
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    current_tcb: bytes
    reported_tcb: bytes
    committed_tcb: bytes
    launch_tcb: bytes
    cpuid: tuple[int, int, int] | None
    chip_id: bytes
    current_version: tuple[int, int, int]
    committed_version: tuple[int, int, int]
    mitigations: tuple[int, int] | None
    signature: tuple[int, int]
    signed: bytes
    fields: tuple[Field, ...]


def parse(data: bytes) -> Report:
    """Read a report; every reserved byte and bit has to be as the specification has it.

    Raises:
        VerificationError: tee.3.
    """
    if len(data) != REPORT_BYTES:
        refuse(QUOTE, _WHAT, expected=f"{REPORT_BYTES} bytes", got=len(data))
    reader = Reader(data, _WHAT)
    version = reader.integer("version", 4)
    if version not in VERSIONS:
        refuse(QUOTE, f"{_WHAT}: version", expected="2, 3, 4 or 5", got=version)
    guest_svn = reader.integer("guest_svn", 4, "security version of the guest, by its owner")
    policy = reader.integer("policy", 8, "what the guest's owner allows")
    if policy & ~_POLICY_KNOWN or not policy & POLICY_ALWAYS:
        refuse(QUOTE, f"{_WHAT}: policy", expected="bit 17 and known bits", got=hex(policy))
    family_id = reader.take("family_id", 16, "of the guest, by its owner")
    image_id = reader.take("image_id", 16, "of the guest, by its owner")
    vmpl = reader.integer("vmpl", 4, "privilege level that asked; all ones: the host")
    if vmpl > 3 and vmpl != HOST_VMPL:
        refuse(QUOTE, f"{_WHAT}: vmpl", expected=f"0 to 3, or {HOST_VMPL:#x}", got=vmpl)
    algorithm = reader.integer("signature_algo", 4, "1: ECDSA P-384 with SHA-384")
    if algorithm != ECDSA_P384:
        refuse(QUOTE, f"{_WHAT}: signature_algo", expected=ECDSA_P384, got=algorithm)
    current_tcb = reader.take("current_tcb", 8, "TCB of the firmware that runs")
    platform_info = reader.integer("platform_info", 8, "what the platform has switched on")
    if platform_info & ~_PLATFORM_KNOWN:
        refuse(QUOTE, f"{_WHAT}: platform_info", expected="known bits", got=hex(platform_info))
    author_key, mask_chip_key, signing_key = _flags(reader)
    reader.zeros("reserved_4c", 4)
    report_data = reader.take("report_data", 64, "of the guest's choice")
    measurement = reader.take("measurement", 48, "of the guest at launch, SHA-384")
    host_data = reader.take("host_data", 32, "of the host's choice at launch")
    id_key_digest = reader.take("id_key_digest", 48, "SHA-384 of the key that signed the ID block")
    author_key_digest = reader.take("author_key_digest", 48, "SHA-384 of the author's key")
    report_id = reader.take("report_id", 32, "of this guest, another one at each launch")
    report_id_ma = reader.take("report_id_ma", 32, "of its migration agent")
    reported_tcb = reader.take("reported_tcb", 8, "TCB for which the signing key was derived")
    cpuid = None
    if version == 2:
        reader.zeros("reserved_188", 24)
    else:
        cpuid = _three(reader, "cpuid", ("family", "model", "stepping"), "of the processor")
        reader.zeros("reserved_18b", 21)
    chip_id = reader.take("chip_id", 64, "of the processor; zeros where the host masks it")
    committed_tcb = reader.take("committed_tcb", 8, "TCB below which firmware cannot go back")
    versions = []
    for name in ("current", "committed"):
        build, minor, major = _three(reader, name, ("build", "minor", "major"), "of the firmware")
        versions.append((major, minor, build))
        reader.zeros(f"reserved_{name}", 1)
    launch_tcb = reader.take("launch_tcb", 8, "TCB of the firmware at the guest's launch")
    mitigations = None
    if version == 5:
        mitigations = (
            reader.integer("launch_mit_vector", 8, "mitigations at the launch"),
            reader.integer("current_mit_vector", 8, "mitigations now"),
        )
        reader.zeros("reserved_208", 152)
    else:
        reader.zeros("reserved_1f8", 168)
    signed = signing_key is not SigningKey.NONE
    signature = _component(reader, "r", signed=signed), _component(reader, "s", signed=signed)
    reader.zeros("signature.reserved", reader.left)
    return Report(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        platform_info=platform_info,
        author_key=author_key,
        mask_chip_key=mask_chip_key,
        signing_key=signing_key,
        report_data=report_data,
        measurement=measurement,
        host_data=host_data,
        id_key_digest=id_key_digest,
        author_key_digest=author_key_digest,
        report_id=report_id,
        report_id_ma=report_id_ma,
        current_tcb=current_tcb,
        reported_tcb=reported_tcb,
        committed_tcb=committed_tcb,
        launch_tcb=launch_tcb,
        cpuid=cpuid,
        chip_id=chip_id,
        current_version=versions[0],
        committed_version=versions[1],
        mitigations=mitigations,
        signature=signature,
        signed=data[:SIGNED_BYTES],
        fields=tuple(reader.fields),
    )


def _flags(reader: Reader) -> tuple[bool, bool, SigningKey]:
    """Bit 0 AUTHOR_KEY_EN, bit 1 MASK_CHIP_KEY, bits 2 to 4 SIGNING_KEY."""
    flags = reader.integer("flags", 4, "author_key_en, mask_chip_key, signing_key")
    key = flags >> 2 & 7
    if flags >> 5 or key not in set(SigningKey):
        expected = "signing key 0, 1 or 7, and no bit above"
        refuse(QUOTE, f"{_WHAT}: flags", expected=expected, got=hex(flags))
    return bool(flags & 1), bool(flags & 2), SigningKey(key)


def _three(
    reader: Reader, prefix: str, names: tuple[str, str, str], note: str
) -> tuple[int, int, int]:
    first, second, third = (reader.integer(f"{prefix}_{name}", 1, note) for name in names)
    return first, second, third


def _component(reader: Reader, name: str, *, signed: bool) -> int:
    """R or S: 72 bytes, little-endian, from 1 to below the order; zero where no key signed."""
    value = reader.integer(f"signature.{name}", COMPONENT_BYTES, "little-endian")
    if signed and not 0 < value < ORDER:
        refuse(QUOTE, f"{_WHAT}: {name}", expected="1 to the order of P-384", got=hex(value))
    if not signed and value:
        refuse(QUOTE, f"{_WHAT}: {name}", expected="zeros, no key signed", got=hex(value))
    return value
