"""Certificates and revocation lists of the simulated Intel root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from proofml.tee.pck import ARC

Key = ec.EllipticCurvePrivateKey

DAY: Final = 86400
YEAR: Final = 365 * DAY
FMSPC: Final = bytes.fromhex("50806f000000")
PCE_ID: Final = bytes(2)
_BASE: Final = bytes.fromhex("2a864886f84d010d01")


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate to be issued; `dataclasses.replace` makes one that should not be.

    Attributes:
        key: that it certifies.
        not_before, not_after: seconds since 1970.
        extension: Intel's, as DER.
        signer: signs in the place of the issuer's key.
    """

    common_name: str
    key: Key
    not_before: int
    not_after: int
    serial: int = 0x2000
    authority: bool = True
    path_length: int | None = None
    extension: bytes = b""
    signer: Key | None = None


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def issue(link: Link, issuer: x509.Certificate | None, issuer_key: Key) -> x509.Certificate:
    """The certificate; without an issuer it is self-signed."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "proofml simulator"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "no hardware"),
            x509.NameAttribute(NameOID.COMMON_NAME, link.common_name),
        ]
    )
    by = issuer_key.public_key() if issuer is None else issuer.public_key()
    assert isinstance(by, ec.EllipticCurvePublicKey)
    where = x509.DistributionPoint(
        [x509.UniformResourceIdentifier("https://simulator.invalid/list.der")], None, None, None
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(link.key.public_key())
        .serial_number(link.serial)
        .not_valid_before(_time(link.not_before))
        .not_valid_after(_time(link.not_after))
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by), critical=False)
        .add_extension(x509.CRLDistributionPoints([where]), critical=False)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(link.key.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=not link.authority,
                content_commitment=not link.authority,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                key_cert_sign=link.authority,
                crl_sign=link.authority,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.BasicConstraints(link.authority, link.path_length), critical=True)
    )
    if link.extension:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(ARC), link.extension)
        builder = builder.add_extension(extension, critical=False)
    # Deterministic: the same certificate stands in quotes and in collateral.
    return builder.sign(link.signer or issuer_key, hashes.SHA256(), ecdsa_deterministic=True)


def revocations(
    issuer: x509.Certificate, key: Key, now: int, serials: Sequence[int], days: int
) -> x509.CertificateRevocationList:
    """A list that holds from a day before `now` for `days` days."""
    public = key.public_key()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(_time(now - DAY))
        .next_update(_time(now - DAY + days * DAY))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        builder = builder.add_revoked_certificate(entry.revocation_date(_time(now - DAY)).build())
    return builder.sign(key, hashes.SHA256())


# -- Intel's extension -----------------------------------------------------------------------


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _integer(value: int) -> bytes:
    return _der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _pair(arcs: bytes, value: bytes) -> bytes:
    return _der(0x30, _der(6, _BASE + arcs) + value)


def pck_extension(fmspc: bytes, sgx_svn: int, pce_svn: int, *, processor: bool = False) -> bytes:
    """What the platform is, at which TCB: all 16 components have one number.

    Certificates of the platform CA name the instance of the platform and how it is configured as
    well; those of the processor CA (one package) do not.
    """
    tcb = b"".join(
        (
            *(_pair(bytes((2, number)), _integer(sgx_svn)) for number in range(1, 17)),
            _pair(bytes((2, 17)), _integer(pce_svn)),
            _pair(bytes((2, 18)), _der(4, bytes([sgx_svn] * 16))),
        )
    )
    parts = [
        _pair(b"\1", _der(4, b"simulated ppid..")),
        _pair(b"\2", _der(0x30, tcb)),
        _pair(b"\3", _der(4, PCE_ID)),
        _pair(b"\4", _der(4, fmspc)),
        _pair(b"\5", _der(0x0A, b"\0" if processor else b"\1")),
    ]
    if not processor:
        flags = b"".join(_pair(bytes((7, number)), _der(1, b"\0")) for number in (1, 2, 3))
        parts += [_pair(b"\6", _der(4, b"simulated board.")), _pair(b"\7", _der(0x30, flags))]
    return _der(0x30, b"".join(parts))
