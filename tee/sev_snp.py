"""AMD SEV-SNP attestation reports, versions 2, 3 and 5: parse, then verify.

Layout: SEV Secure Nested Paging Firmware ABI Specification (publication 56860), table "ATTESTATION_
REPORT structure"; certificates: Versioned Chip Endorsement Key Certificate and KDS Interface
Specification (publication 57230). Version 4 was never released; it has the layout of 3.

A report is signed by a VCEK (a key of one chip at one TCB) or a VLEK (a key that AMD lends to a
cloud provider); either is certified by an intermediate of its product line, and that by the line's
root (ARK). The certificate names the TCB for which its key was derived, and the chip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import Certificate

from proofml.tee import x509
from proofml.tee.amd_collateral import Endorsement, read_collateral, read_endorsement
from proofml.tee.checks import CERTIFICATES, COLLATERAL, QUOTE, SIGNATURE, refuse
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.reader import Field, Reader
from proofml.tee.roots import Roots

REPORT_BYTES: Final = 1184
SIGNED_BYTES: Final = 0x2A0
VERSIONS: Final = (2, 3, 4, 5)
#: Signature algorithm 1: ECDSA, P-384, SHA-384.
ECDSA_P384: Final = 1
VCEK, VLEK = 0, 1
_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
#: Bits of the guest's policy that have a meaning; bit 17 is always set, the others are zero.
_POLICY_BITS: Final = {
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
_POLICY_ALWAYS: Final = 1 << 17
_POLICY_KNOWN: Final = 0xFFFF | _POLICY_ALWAYS | sum(1 << bit for bit in _POLICY_BITS.values())
#: Bits of the platform's information: what is switched on.
_PLATFORM_BITS: Final = {
    "smt_on": 0,
    "tsme_on": 1,
    "ecc_on": 2,
    "rapl_off": 3,
    "ciphertext_hiding_on": 4,
    "alias_check_complete": 5,
    "tio_on": 7,
}
_PLATFORM_KNOWN: Final = sum(1 << bit for bit in _PLATFORM_BITS.values())
#: Byte of each component in a TCB version; Turin has another layout.
TCB_PARTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "Milan": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
        "Genoa": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
        "Turin": {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7},
    }
)


@dataclass(frozen=True, slots=True)
class Report:
    """A report of the right form; nobody has checked its signature.

    Attributes:
        policy, platform_info: bit fields as they stand.
        signing_key: 0 VCEK, 1 VLEK.
        *_tcb: 8 bytes, to be read by `tcb` when the product line is known.
        signature: R and S.
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
    signing_key: int
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
    signature: tuple[int, int]
    signed: bytes
    fields: tuple[Field, ...]


def parse(data: bytes) -> Report:
    """Read a report; every reserved byte has to be zero.

    Raises:
        VerificationError: tee.3.
    """
    if len(data) != REPORT_BYTES:
        refuse(QUOTE, "SEV-SNP report", expected=f"{REPORT_BYTES} bytes", got=len(data))
    reader = Reader(data, "SEV-SNP report")
    version = reader.integer("version", 4)
    if version not in VERSIONS:
        refuse(QUOTE, "SEV-SNP report: version", expected="2, 3, 4 or 5", got=version)
    guest_svn = reader.integer("guest_svn", 4, "security version of the guest")
    policy = reader.integer("policy", 8, "what the guest's owner allows")
    if policy & ~_POLICY_KNOWN or not policy & _POLICY_ALWAYS:
        refuse(QUOTE, "SEV-SNP report: policy", expected="bit 17 and known bits", got=hex(policy))
    family_id = reader.take("family_id", 16, "of the guest, by its owner")
    image_id = reader.take("image_id", 16, "of the guest, by its owner")
    vmpl = reader.integer("vmpl", 4, "privilege level that asked for the report")
    if vmpl > 3 and vmpl != 0xFFFFFFFF:  # all ones: the host asked, not the guest
        refuse(QUOTE, "SEV-SNP report: vmpl", expected="0 to 3", got=vmpl)
    algorithm = reader.integer("signature_algo", 4, "1: ECDSA P-384 with SHA-384")
    if algorithm != ECDSA_P384:
        refuse(QUOTE, "SEV-SNP report: signature_algo", expected=ECDSA_P384, got=algorithm)
    current_tcb = reader.take("current_tcb", 8, "TCB of the running firmware")
    platform_info = reader.integer("platform_info", 8, "what the platform has switched on")
    if platform_info & ~_PLATFORM_KNOWN:
        expected = "known bits"
        refuse(QUOTE, "SEV-SNP report: platform_info", expected=expected, got=hex(platform_info))
    flags = reader.integer("flags", 4, "author_key_en, mask_chip_key, signing_key")
    signing_key = flags >> 2 & 7
    if flags >> 5 or signing_key not in (VCEK, VLEK):
        refuse(
            QUOTE, "SEV-SNP report: flags", expected="a VCEK or VLEK, no other bit", got=hex(flags)
        )
    reader.zeros("reserved_4c", 4)
    report_data = reader.take("report_data", 64, "of the guest's choice")
    measurement = reader.take("measurement", 48, "of the guest at launch, SHA-384")
    host_data = reader.take("host_data", 32, "of the host's choice at launch")
    id_key_digest = reader.take("id_key_digest", 48, "SHA-384 of the key that signed the ID block")
    author_key_digest = reader.take("author_key_digest", 48, "SHA-384 of the author's key")
    report_id = reader.take("report_id", 32, "of this guest, changes at each launch")
    report_id_ma = reader.take("report_id_ma", 32, "of its migration agent")
    reported_tcb = reader.take("reported_tcb", 8, "TCB that the signing key stands for")
    cpuid = None
    if version == 2:
        reader.zeros("reserved_188", 24)
    else:
        cpuid = (
            reader.integer("cpuid_family", 1),
            reader.integer("cpuid_model", 1),
            reader.integer("cpuid_stepping", 1),
        )
        reader.zeros("reserved_18b", 21)
    chip_id = reader.take("chip_id", 64, "of the processor; zeros where masked")
    committed_tcb = reader.take("committed_tcb", 8, "TCB below which firmware cannot go back")
    for name in ("current", "committed"):
        for part in ("build", "minor", "major"):
            reader.integer(f"{name}_{part}", 1, "firmware version")
        reader.zeros(f"reserved_{name}", 1)
    launch_tcb = reader.take("launch_tcb", 8, "TCB at the guest's launch")
    if version == 5:
        reader.take("launch_mit_vector", 8, "mitigations verified at launch")
        reader.take("current_mit_vector", 8, "mitigations verified now")
        reader.zeros("reserved_208", 152)
    else:
        reader.zeros("reserved_1f8", 168)
    signature = tuple(_component(reader, name) for name in ("r", "s"))
    reader.zeros("reserved_signature", 368)
    reader.end()
    return Report(
        version=version,
        guest_svn=guest_svn,
        policy=policy,
        family_id=family_id,
        image_id=image_id,
        vmpl=vmpl,
        platform_info=platform_info,
        author_key=bool(flags & 1),
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
        signature=(signature[0], signature[1]),
        signed=data[:SIGNED_BYTES],
        fields=tuple(reader.fields),
    )


def _component(reader: Reader, name: str) -> int:
    """R or S: 72 bytes, little-endian, below the order of P-384."""
    value = reader.integer(f"signature.{name}", 72, "little-endian")
    if not 0 < value < _ORDER:
        refuse(QUOTE, f"SEV-SNP report: {name}", expected="1 to the order of P-384", got=hex(value))
    return value


def tcb(product: str, data: bytes) -> dict[str, int]:
    """The components of a TCB version by name; raises tee.8 where other bytes are set."""
    parts = TCB_PARTS[product]
    found = {name: data[at] for name, at in parts.items()}
    if any(byte for at, byte in enumerate(data) if at not in parts.values()):
        refuse(COLLATERAL, f"TCB version of {product}", expected="reserved zeros", got=data.hex())
    return found


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """What the report says, once signature, certificates and revocation list hold at `now`.

    Without a list in the collateral nothing shows that no certificate was revoked: then
    `details["revocation"]` is `unknown`, which appraisal takes up.

    Raises:
        VerificationError: tee.3 to tee.8.
    """
    report = parse(evidence.quote)
    collateral = read_collateral(evidence.collateral)
    path = x509.walk([collateral.leaf, *collateral.chain], Platform.SEV_SNP, roots, now)
    not_before, not_after = path.not_before, path.not_after
    if len(path.certificates) != 3:
        refuse(
            CERTIFICATES,
            "SEV-SNP chain",
            expected="key, intermediate and root",
            got=f"{len(path.certificates)} certificates",
        )
    if collateral.crl is not None:
        ark = path.certificates[-1]
        low, high = x509.check_crl(collateral.crl, ark, path.certificates[1:], now)
        not_before, not_after = max(not_before, low), min(not_after, high)
    endorsement = read_endorsement(path.leaf)
    _check_signature(report, path.leaf)
    _check_endorsement(report, endorsement, path.root.product)
    product = endorsement.product
    reported = tcb(product, report.reported_tcb)
    svns = {f"{name}_svn": number for name, number in reported.items()}
    committed = tcb(product, report.committed_tcb).items()
    svns |= {f"committed_{name}_svn": number for name, number in committed}
    svns["guest_svn"] = report.guest_svn
    attributes = {name: bool(report.policy >> bit & 1) for name, bit in _POLICY_BITS.items()}
    attributes |= {
        name: bool(report.platform_info >> bit & 1) for name, bit in _PLATFORM_BITS.items()
    }
    attributes["vmpl0"] = report.vmpl == 0
    return Verified(
        platform=Platform.SEV_SNP,
        root=path.root,
        report_data=report.report_data,
        measurements={
            "measurement": report.measurement.hex(),
            "host_data": report.host_data.hex(),
            "id_key_digest": report.id_key_digest.hex(),
            "author_key_digest": report.author_key_digest.hex(),
            "family_id": report.family_id.hex(),
            "image_id": report.image_id.hex(),
        },
        svns=svns,
        attributes=attributes,
        not_before=not_before,
        not_after=not_after,
        details={
            "product": product,
            "signing key": "VLEK" if report.signing_key == VLEK else "VCEK",
            "chip id": report.chip_id.hex(),
            "vmpl": str(report.vmpl),
            "policy abi": f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}",
            "revocation": "unknown" if collateral.crl is None else "checked",
        },
    )


def _check_signature(report: Report, leaf: Certificate) -> None:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        refuse(CERTIFICATES, "certificate of the signing key", expected="a key of P-384")
    try:
        signature = encode_dss_signature(*report.signature)
        key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        refuse(SIGNATURE, "SEV-SNP report: not signed by the key of its certificate")


def _check_endorsement(report: Report, found: Endorsement, line: str) -> None:
    """The certificate is for this chip, at this TCB, of the root's product line."""
    if line and found.product != line:
        refuse(COLLATERAL, "product of the certificate", expected=line, got=found.product)
    kind = "VLEK" if report.signing_key == VLEK else "VCEK"
    if found.kind != kind:
        refuse(COLLATERAL, "signing key of the report", expected=f"a {kind}", got=found.kind)
    reported = tcb(found.product, report.reported_tcb)
    for name, number in reported.items():
        if found.tcb.get(name) != number:
            refuse(
                COLLATERAL,
                f"reported TCB: {name}",
                expected=f"{found.tcb.get(name)}, of the certificate",
                got=number,
            )
    # A VLEK is lent for a fleet, and names the provider in the place of a chip.
    if found.chip_id is not None and found.chip_id.ljust(64, b"\0") != report.chip_id:
        refuse(COLLATERAL, "chip id", expected=found.chip_id.hex(), got=report.chip_id.hex())
