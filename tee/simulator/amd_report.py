"""SEV-SNP reports as the firmware writes them; what stands in them is the caller's choice.

The layout is that of `snp_report`. Nothing here refuses anything: a report that should not be can
be made just as well, and signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from proofml.tee.sev_snp import TCB_PARTS
from proofml.tee.snp_report import (
    COMPONENT_BYTES,
    ECDSA_P384,
    PLATFORM_BITS,
    POLICY_ALWAYS,
    POLICY_BITS,
    REPORT_BYTES,
    SIGNED_BYTES,
    SigningKey,
)

#: TCB of the simulated firmware, by component.
TCB: Final[Mapping[str, int]] = {
    "fmc": 1,
    "bootloader": 4,
    "tee": 0,
    "snp": 24,
    "microcode": 219,
}
#: SMT allowed, no debugging, no migration: ABI 0.0 and the bit that is always set.
POLICY: Final = POLICY_ALWAYS | 1 << POLICY_BITS["smt"]
DEBUG: Final = 1 << POLICY_BITS["debug"]
#: Hyperthreads, error correction, and memory checked for aliases.
PLATFORM_INFO: Final = sum(
    1 << PLATFORM_BITS[name] for name in ("smt_on", "ecc_on", "alias_check_complete")
)
#: Family, model and stepping of each line.
CPUID: Final[Mapping[str, tuple[int, int, int]]] = {
    "Milan": (0x19, 0x01, 1),
    "Genoa": (0x19, 0x11, 1),
    "Turin": (0x1A, 0x02, 1),
}
FIRMWARE: Final = (1, 55, 40)


@dataclass(frozen=True)
class Claims:
    """What a report says. TCB versions are by component; those left out are `tcb`.

    Attributes:
        product: the line, for the layout of TCB versions and the CPUID.
        chip_id: 64 bytes.
        mitigations: at launch and now; written from version 5 on.
    """

    product: str
    chip_id: bytes
    report_data: bytes
    measurement: bytes = bytes(48)
    host_data: bytes = bytes(32)
    version: int = 3
    guest_svn: int = 0
    policy: int = POLICY
    family_id: bytes = bytes(16)
    image_id: bytes = bytes(16)
    vmpl: int = 0
    algorithm: int = ECDSA_P384
    platform_info: int = PLATFORM_INFO
    author_key: bool = False
    mask_chip_key: bool = False
    signing_key: SigningKey = SigningKey.VCEK
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id: bytes = b"simulated report id".ljust(32, b"\0")
    tcb: Mapping[str, int] = field(default_factory=lambda: TCB)
    current: Mapping[str, int] | None = None
    committed: Mapping[str, int] | None = None
    launch: Mapping[str, int] | None = None
    cpuid: tuple[int, int, int] | None = None
    firmware: tuple[int, int, int] = FIRMWARE
    mitigations: tuple[int, int] = (0, 0)

    def to_bytes(self) -> bytes:
        """The report with zeros in the place of the signature."""
        data = bytearray(REPORT_BYTES)
        flags = self.author_key | self.mask_chip_key << 1 | self.signing_key << 2
        for at, size, number in (
            (0x000, 4, self.version),
            (0x004, 4, self.guest_svn),
            (0x008, 8, self.policy),
            (0x030, 4, self.vmpl),
            (0x034, 4, self.algorithm),
            (0x040, 8, self.platform_info),
            (0x048, 4, flags),
        ):
            data[at : at + size] = number.to_bytes(size, "little")
        major, minor, build = self.firmware
        for at, value in (
            (0x010, self.family_id),
            (0x020, self.image_id),
            (0x038, self._tcb(self.current)),
            (0x050, self.report_data),
            (0x090, self.measurement),
            (0x0C0, self.host_data),
            (0x0E0, self.id_key_digest),
            (0x110, self.author_key_digest),
            (0x140, self.report_id),
            (0x160, b"\xff" * 32),
            (0x180, self._tcb(self.tcb)),
            (0x1A0, self.chip_id),
            (0x1E0, self._tcb(self.committed)),
            (0x1E8, bytes((build, minor, major, 0)) * 2),
            (0x1F0, self._tcb(self.launch)),
        ):
            data[at : at + len(value)] = value
        if self.version >= 3:
            data[0x188:0x18B] = bytes(self.cpuid or CPUID[self.product])
        if self.version >= 5:
            both = (number.to_bytes(8, "little") for number in self.mitigations)
            data[0x1F8:0x208] = b"".join(both)
        return bytes(data)

    def _tcb(self, components: Mapping[str, int] | None) -> bytes:
        return tcb_bytes(self.product, self.tcb if components is None else components)


def tcb_bytes(product: str, components: Mapping[str, int]) -> bytes:
    """A TCB version, 8 bytes."""
    found = bytearray(8)
    for name, at in TCB_PARTS[product].items():
        found[at] = components[name]
    return bytes(found)


def sign(report: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The report with the signature of its first 0x2A0 bytes in its place."""
    signature = key.sign(report[:SIGNED_BYTES], ec.ECDSA(hashes.SHA384()))
    both = [part.to_bytes(COMPONENT_BYTES, "little") for part in decode_dss_signature(signature)]
    return (report[:SIGNED_BYTES] + b"".join(both)).ljust(REPORT_BYTES, b"\0")
