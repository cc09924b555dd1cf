"""Certificates and lists as AMD's key server issues them (AMD 57230), under a root of software."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Digest: TypeAlias = hashes.SHA256 | hashes.SHA384 | hashes.SHA512


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate to be issued; `dataclasses.replace` makes one that should not be.

    Attributes:
        key: that it certifies.
        not_before, not_after: seconds since 1970.
        signs_certificates, signs_lists: its key usage; without both it has none, as AMD's leaves.
        extensions: AMD's, by object identifier, as DER.
        critical: object identifiers of those that are marked so.
        signer: signs in the place of the issuer's key.
        pss: whether the signature is RSA-PSS; else PKCS #1 v1.5.
    """

    common_name: str
    key: Key
    not_before: int
    not_after: int
    serial: int = 1
    authority: bool = False
    path_length: int | None = None
    signs_certificates: bool = False
    signs_lists: bool = False
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    critical: frozenset[str] = frozenset()
    signer: Key | None = None
    digest: Digest = field(default_factory=hashes.SHA384)
    pss: bool = True


def issue(link: Link, issuer: x509.Name | None, signer: Key) -> x509.Certificate:
    """The certificate; without an issuer its own name is the issuer's."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "no hardware"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "proofml simulator"),
            x509.NameAttribute(NameOID.COMMON_NAME, link.common_name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(link.key.public_key())
        .serial_number(link.serial)
        .not_valid_before(_time(link.not_before))
        .not_valid_after(_time(link.not_after))
    )
    if link.authority:
        constraints = x509.BasicConstraints(True, link.path_length)
        builder = builder.add_extension(constraints, critical=True)
    if link.signs_certificates or link.signs_lists:
        usage = x509.KeyUsage(
            False, False, False, False, False,
            link.signs_certificates, link.signs_lists, False, False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
    for oid, value in link.extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=oid in link.critical)
    used = link.signer or signer
    return builder.sign(used, link.digest, rsa_padding=_padding(used, link.digest, link.pss))


@dataclass(frozen=True, slots=True)
class Listing:
    """A revocation list to be signed; `dataclasses.replace` makes one that should not be.

    Attributes:
        last_update, next_update: seconds since 1970.
        critical: an extension that is marked so.
        signer, pss: as for `Link`.
    """

    last_update: int
    next_update: int
    serials: tuple[int, ...] = ()
    critical: x509.ExtensionType | None = None
    signer: Key | None = None
    digest: Digest = field(default_factory=hashes.SHA384)
    pss: bool = True


def revoke(listing: Listing, issuer: x509.Name, signer: Key) -> x509.CertificateRevocationList:
    """The list, signed."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer)
    builder = builder.last_update(_time(listing.last_update))
    builder = builder.next_update(_time(listing.next_update))
    for serial in listing.serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial)
        entry = entry.revocation_date(_time(listing.last_update))
        builder = builder.add_revoked_certificate(entry.build())
    if listing.critical is not None:
        builder = builder.add_extension(listing.critical, critical=True)
    used = listing.signer or signer
    return builder.sign(
        used, listing.digest, rsa_padding=_padding(used, listing.digest, listing.pss)
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _padding(key: Key, digest: Digest, pss: bool) -> padding.PSS | None:
    by_pss = pss and isinstance(key, rsa.RSAPrivateKey)
    return padding.PSS(padding.MGF1(digest), digest.digest_size) if by_pss else None


def integer(value: int) -> bytes:
    """DER INTEGER, 0 to 255."""
    return bytes((2, 1, value)) if value < 128 else bytes((2, 2, 0, value))


def text(value: str) -> bytes:
    """DER IA5String of at most 127 bytes."""
    return bytes((0x16, len(value))) + value.encode("ascii")
