"""AMD SEV-SNP: reports that end in a root that the verifier holds.

Certificates and keys: Versioned Chip Endorsement Key Certificate and KDS Interface Specification
(AMD 57230). A report is signed by a VCEK (a key of one chip at one TCB) or a VLEK (a key that AMD
lends to a cloud provider, for its fleet); either is certified by an intermediate of its product
line (ASK, ASVK), and that by the line's root (ARK). What has to hold:

    (4) the chain ends in a root that the verifier holds
    (5) three certificates, each signed with RSA-PSS by the next one, of its role, valid now
    (6) the root's revocation list, where there is one, is current; the intermediate is not on it
    (7) the key of the leaf signed the report
    (8) the leaf is for the root's product line and the report's processor, signing key, reported
        TCB and chip

The list names intermediates alone: AMD gives all leaves the serial number 0, and takes keys out of
use by raising the TCB, which is for appraisal (tee.19).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cryptography import x509 as library
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proofml.errors import UsageError
from proofml.tee import x509
from proofml.tee.amd_collateral import Endorsement, read_collateral, read_endorsement
from proofml.tee.checks import CERTIFICATES, COLLATERAL, EVIDENCE, REVOCATION, SIGNATURE, refuse
from proofml.tee.platform import Attestation, Platform, Verified
from proofml.tee.roots import Roots
from proofml.tee.snp_report import (
    HOST_VMPL,
    PLATFORM_BITS,
    POLICY_BITS,
    REPORT_BYTES,
    Report,
    SigningKey,
    parse,
)

__all__ = ["REPORT_BYTES", "Report", "parse", "tcb", "verify"]

RSA_BITS: Final = 4096
#: Byte of each component in a TCB version, by product line.
TCB_PARTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "Milan": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
        "Genoa": {"bootloader": 0, "tee": 1, "snp": 6, "microcode": 7},
        "Turin": {"fmc": 0, "bootloader": 1, "tee": 2, "snp": 3, "microcode": 7},
    }
)
#: Family -> models, first and last -> product line.
_PROCESSORS: Final[Mapping[int, tuple[tuple[int, int, str], ...]]] = MappingProxyType(
    {
        0x19: ((0x00, 0x0F, "Milan"), (0x10, 0x1F, "Genoa"), (0xA0, 0xAF, "Genoa")),
        0x1A: ((0x00, 0x1F, "Turin"),),
    }
)


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """What the report says, once signature, certificates and revocation list hold at a time.

    Without a list in the collateral nothing shows that the intermediate was not revoked: then
    `details["revocation"]` is `unknown`, else `checked`.

    Each security version (`snp_svn`, ...) is the lowest of three: the one for which the signing key
    was derived (`reported_...`), the one to which the host can go back (`committed_...`), and the
    one under which the guest was launched (`launch_...`). Whoever broke one of them could have
    forged the measurement, or can take over the guest.

    Args:
        now: seconds since 1970.

    Raises:
        VerificationError: tee.2, collateral; tee.3, the report's form; tee.4 to tee.8 as above.
    """
    if evidence.platform is not Platform.SEV_SNP:
        raise UsageError(f"evidence of {evidence.platform} where that of sev-snp was expected")
    if evidence.event_log:
        expected = "none, no register grows"
        refuse(EVIDENCE, "SEV-SNP event log", expected=expected, got=len(evidence.event_log))
    report = parse(evidence.quote)
    collateral = read_collateral(evidence.collateral)
    path = x509.walk([collateral.leaf, *collateral.chain], Platform.SEV_SNP, roots, now)
    _check_chain(path)
    low, high = path.not_before, path.not_after
    if collateral.crl is not None:
        # (6)
        ark = path.certificates[-1]
        listed = x509.check_crl(collateral.crl, ark, path.certificates[1:], now)
        _check_algorithm(collateral.crl, REVOCATION, "revocation list")
        low, high = max(low, listed[0]), min(high, listed[1])
    _check_signature(report, path.leaf)
    found = _check_endorsement(report, path)
    versions = {
        when: tcb(found.product, data)
        for when, data in (
            ("reported", report.reported_tcb),
            ("committed", report.committed_tcb),
            ("launch", report.launch_tcb),
        )
    }
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
        svns=_svns(versions) | {"guest_svn": report.guest_svn},
        attributes=_attributes(report),
        not_before=low,
        not_after=high,
        details=_details(report, found)
        | {"revocation": "unknown" if collateral.crl is None else "checked"},
    )


def tcb(product: str, data: bytes) -> dict[str, int]:
    """The components of a TCB version, 8 bytes, by name; raises tee.8 where other bytes are set."""
    parts = TCB_PARTS[product]
    if any(byte for at, byte in enumerate(data) if at not in parts.values()):
        refuse(COLLATERAL, f"TCB version of {product}", expected="reserved zeros", got=data.hex())
    return {name: data[at] for name, at in parts.items()}


def _check_chain(path: x509.Path) -> None:
    """(5) What AMD's certificates have beyond the common rules."""
    if len(path.certificates) != 3:
        expected, got = "key, intermediate and root", f"{len(path.certificates)} certificates"
        refuse(CERTIFICATES, "SEV-SNP chain", expected=expected, got=got)
    for certificate in path.certificates:
        _check_algorithm(certificate, CERTIFICATES, f"certificate {x509.name_of(certificate)!r}")
    for certificate in path.certificates[1:]:
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size != RSA_BITS:
            what = f"certificate {x509.name_of(certificate)!r}"
            refuse(CERTIFICATES, what, expected=f"a key of RSA-{RSA_BITS}", got="another one")
    leaf = path.leaf.public_key()
    if not isinstance(leaf, ec.EllipticCurvePublicKey) or leaf.curve.name != "secp384r1":
        what = "certificate of the signing key"
        refuse(CERTIFICATES, what, expected="a key of P-384", got="another one")


def _check_algorithm(
    signed: library.Certificate | library.CertificateRevocationList, number: str, what: str
) -> None:
    used = signed.signature_hash_algorithm
    by_pss = isinstance(signed.signature_algorithm_parameters, padding.PSS)
    if not by_pss or used is None or used.name != "sha384":
        got = signed.signature_algorithm_oid.dotted_string
        refuse(number, f"{what}: signature", expected="RSA-PSS with SHA-384", got=got)


def _check_signature(report: Report, leaf: library.Certificate) -> None:
    """(7)"""
    if report.signing_key is SigningKey.NONE:
        refuse(SIGNATURE, "SEV-SNP report", expected="a signature", got="none, as it says itself")
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        signature = encode_dss_signature(*report.signature)
        key.verify(signature, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        refuse(SIGNATURE, "SEV-SNP report: not signed by the key of its certificate")


def _check_endorsement(report: Report, path: x509.Path) -> Endorsement:
    """(8)"""
    found = read_endorsement(path.leaf)
    line = path.root.product
    if line and found.product != line:
        refuse(COLLATERAL, "product of the certificate", expected=line, got=found.product)
    kind = report.signing_key.name
    if found.kind != kind:
        refuse(COLLATERAL, "certificate of the signing key", expected=f"a {kind}", got=found.kind)
    _check_intermediate(found.kind, path)
    if report.cpuid is not None:
        family, model, _ = report.cpuid
        lines = _PROCESSORS.get(family, ())
        if found.product not in {name for low, high, name in lines if low <= model <= high}:
            got = f"family {family:#x}, model {model:#x}"
            refuse(COLLATERAL, "processor of the report", expected=found.product, got=got)
    reported = tcb(found.product, report.reported_tcb)
    if found.tcb != reported:
        refuse(
            COLLATERAL,
            "reported TCB",
            expected=f"{_words(found.tcb)}, as in the certificate",
            got=_words(reported),
        )
    # A VLEK is lent for a fleet, and names the provider in the place of a chip.
    if found.chip_id is not None and found.chip_id.ljust(64, b"\0") != report.chip_id:
        masked = not any(report.chip_id)
        got = "zeros, the host masks it" if masked else report.chip_id.hex()
        refuse(COLLATERAL, "chip id", expected=found.chip_id.hex(), got=got)
    return found


def _check_intermediate(kind: str, path: x509.Path) -> None:
    """An ASVK certifies VLEKs alone, an ASK VCEKs alone; their names tell them apart."""
    name = x509.name_of(path.certificates[1])
    issues = "VLEK" if name.startswith("SEV-VLEK-") else "VCEK"
    if kind != issues:
        refuse(COLLATERAL, f"key certified by {name!r}", expected=f"a {issues}", got=f"a {kind}")


def _words(components: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in components.items())


def _svns(versions: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """Of each component the lowest, and each."""
    found = {
        f"{name}_svn": min(components[name] for components in versions.values())
        for name in versions["reported"]
    }
    for when, components in versions.items():
        found |= {f"{when}_{name}_svn": number for name, number in components.items()}
    return found


def _attributes(report: Report) -> dict[str, bool]:
    found = {name: bool(report.policy >> bit & 1) for name, bit in POLICY_BITS.items()}
    found |= {name: bool(report.platform_info >> bit & 1) for name, bit in PLATFORM_BITS.items()}
    return found | {"vmpl0": report.vmpl == 0}


def _details(report: Report, found: Endorsement) -> dict[str, str]:
    details = {
        "quote": f"report of version {report.version}",
        "product": found.product,
        "signing key": found.kind,
        "chip id": report.chip_id.hex(),
        "vmpl": "host" if report.vmpl == HOST_VMPL else str(report.vmpl),
        "policy abi": f"{report.policy >> 8 & 0xFF}.{report.policy & 0xFF}",
        "firmware": ".".join(map(str, report.current_version)),
        "committed firmware": ".".join(map(str, report.committed_version)),
    }
    if found.provider:
        details["provider"] = found.provider
    if report.mitigations is not None:
        launch, current = report.mitigations
        details["mitigations at launch"] = f"{launch:#x}"
        details["mitigations"] = f"{current:#x}"
    return details
