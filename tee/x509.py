"""Certificates and revocation lists of attestation chains, strictly read and walked to a root.

`cryptography` parses and verifies; its own path builder is for TLS and takes neither AMD's
RSA-PSS nor certificates without names for a host, so the path rules of RFC 5280, section 6.1, that
such chains use stand here: names, signatures, validity, basic constraints, path length, key usage,
and no critical extension that nobody understands. A chain is walked from its root down, so that no
key verifies anything before it was verified itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID

from proofml.tee.checks import CERTIFICATES, REVOCATION, ROOT, refuse
from proofml.tee.platform import Platform, Root
from proofml.tee.roots import Roots, fingerprint

# All VCEKs have the serial number 0. The library reads such certificates and says so each time.
warnings.filterwarnings(
    "ignore", "Parsed a serial number which wasn't positive", CryptographyDeprecationWarning
)

T = TypeVar("T", bound=x509.ExtensionType)

MAX_CERTIFICATE_BYTES: Final = 1 << 14
MAX_CRL_BYTES: Final = 1 << 20
MAX_CHAIN: Final = 8
#: Hashes of signatures; a certificate under an older one is refused, whoever signed it.
_HASHES: Final = frozenset({"sha256", "sha384", "sha512"})
#: Critical extensions that the walk itself looks at.
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
#: What a hostile certificate makes the library raise, besides signatures that are wrong.
_BROKEN = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def load_der(data: bytes, what: str) -> x509.Certificate:
    """A certificate from DER; raises `VerificationError` tee.5."""
    if len(data) > MAX_CERTIFICATE_BYTES:
        expected = f"at most {MAX_CERTIFICATE_BYTES} bytes"
        refuse(CERTIFICATES, f"{what}", expected=expected, got=f"{len(data)} bytes")
    try:
        # Strict DER, and nothing behind it.
        found = x509.load_der_x509_certificate(data)
        # The library reads these when they are asked for. A broken one is refused here.
        _ = found.extensions, found.subject, found.issuer
        _ = found.not_valid_before_utc, found.not_valid_after_utc
        if not _whole(data, found.signature):
            refuse(CERTIFICATES, f"{what}: signature", expected="whole bytes", got="bits unused")
    except _BROKEN as error:
        refuse(CERTIFICATES, f"{what}: {error}", expected="a certificate")
    return found


def _whole(data: bytes, signature: bytes) -> bool:
    """The bit string at the end has no bits unused.

    Those of a signature that ends in zeros could be said to be unused without any other change: one
    certificate would have several forms.
    """
    return data.endswith(b"\0" + signature)


def load_pems(text: bytes, what: str) -> tuple[x509.Certificate, ...]:
    """One to eight certificates from PEM and nothing in between; raises tee.5.

    One chain has one text: lines of 64 characters that end in a line feed.
    """
    if len(text) > 2 * MAX_CHAIN * MAX_CERTIFICATE_BYTES:
        expected = f"at most {2 * MAX_CHAIN * MAX_CERTIFICATE_BYTES} bytes"
        refuse(CERTIFICATES, what, expected=expected, got=f"{len(text)} bytes")
    try:
        found = x509.load_pem_x509_certificates(text)
    except _BROKEN as error:
        refuse(CERTIFICATES, f"{what}: {error}", expected="certificates as PEM")
    if not 1 <= len(found) <= MAX_CHAIN:
        refuse(CERTIFICATES, what, expected=f"1 to {MAX_CHAIN} certificates", got=len(found))
    if b"".join(one.public_bytes(Encoding.PEM) for one in found) != text:
        refuse(CERTIFICATES, what, expected="PEM and nothing else", got="other characters too")
    return tuple(load_der(one.public_bytes(Encoding.DER), what) for one in found)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def seconds(moment: datetime) -> int:
    """Since 1970."""
    return int(moment.timestamp())


def as_text(moment: int) -> str:
    """A time for messages: UTC, to the second; outside of the years 1 to 9999 the bare number."""
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return f"{moment} s"


def name_of(certificate: x509.Certificate) -> str:
    """The common name, or the whole subject, for messages."""
    try:
        names = certificate.subject.get_attributes_for_oid(x509.oid.NameOID.COMMON_NAME)
        return str(names[0].value) if names else certificate.subject.rfc4514_string()
    except _BROKEN:
        return "a certificate without a readable name"


@dataclass(frozen=True)
class Path:
    """A chain that was walked: `certificates` from the leaf to the root, and when all hold."""

    certificates: tuple[x509.Certificate, ...]
    root: Root
    not_before: int
    not_after: int

    @property
    def leaf(self) -> x509.Certificate:
        return self.certificates[0]


def walk(chain: Sequence[x509.Certificate], platform: Platform, roots: Roots, now: int) -> Path:
    """Check a chain from the leaf (first) to a root (last) at a time in seconds since 1970.

    Raises:
        VerificationError: tee.4, the last certificate is not a root of `roots`; tee.5, a name, a
            signature, a date, a role, an extension, or the leaf's key.
    """
    if not 2 <= len(chain) <= MAX_CHAIN:
        refuse(CERTIFICATES, "chain", expected=f"2 to {MAX_CHAIN} certificates", got=len(chain))
    last = der(chain[-1])
    root = roots.find(platform, last)
    if root is None:
        refuse(
            ROOT,
            f"root certificate {name_of(chain[-1])!r}",
            expected="one of " + ", ".join(roots.names(platform)),
            got=fingerprint(last),
        )
    issuer = chain[-1]
    for certificate in reversed(chain):
        _check_link(certificate, issuer)
        issuer = certificate
    for index, certificate in enumerate(chain):
        _check_role(certificate, index)
    _check_key(chain[0])
    after = [seconds(one.not_valid_after_utc) for one in chain]
    before = [seconds(one.not_valid_before_utc) for one in chain]
    for certificate, low, high in zip(chain, before, after, strict=True):
        if not low <= now <= high:
            refuse(
                CERTIFICATES,
                f"certificate {name_of(certificate)!r} at {as_text(now)}",
                expected=f"a time from {as_text(low)} to {as_text(high)}",
                got="one outside",
            )
    return Path(tuple(chain), root, max(before), min(after))


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    name = name_of(certificate)
    if certificate.issuer != issuer.subject:
        refuse(
            CERTIFICATES,
            f"certificate {name!r}: issuer",
            expected=issuer.subject.rfc4514_string(),
            got=certificate.issuer.rfc4514_string(),
        )
    try:
        used = certificate.signature_hash_algorithm
        if used is None or used.name not in _HASHES:
            got = "none" if used is None else used.name
            expected = ", ".join(sorted(_HASHES))
            refuse(CERTIFICATES, f"certificate {name!r}: hash", expected=expected, got=got)
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        refuse(CERTIFICATES, f"certificate {name!r}: not signed by {name_of(issuer)!r}")
    except _BROKEN as error:
        refuse(CERTIFICATES, f"certificate {name!r}: signature: {error}")


def _check_key(leaf: x509.Certificate) -> None:
    """It can be read; the keys of the others have verified the certificate below them."""
    try:
        leaf.public_key()
    except _BROKEN as error:
        refuse(CERTIFICATES, f"certificate {name_of(leaf)!r}: key: {error}", expected="a key")


def _check_role(certificate: x509.Certificate, below: int) -> None:
    """`below`: how many certificates stand between this one and nothing; the leaf has 0."""
    name = name_of(certificate)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            refuse(
                CERTIFICATES,
                f"certificate {name!r}: critical extension {extension.oid.dotted_string}",
                expected="one that this verifier understands",
            )
    constraints = _extension(certificate, x509.BasicConstraints)
    authority = constraints is not None and constraints.ca
    if authority != (below > 0):
        # AMD's leaf certificates have no constraints at all, which is no authority either.
        expected = "an authority" if below else "no authority"
        refuse(CERTIFICATES, f"certificate {name!r}: role", expected=expected, got="the other")
    most = None if constraints is None else constraints.path_length
    if most is not None and below - 1 > most:
        refuse(
            CERTIFICATES,
            f"certificate {name!r}: authorities below it",
            expected=f"at most {most}",
            got=below - 1,
        )
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None:
        allowed = usage.key_cert_sign if below else usage.digital_signature
        if not allowed:
            wanted = "signing certificates" if below else "signing data"
            refuse(CERTIFICATES, f"certificate {name!r}: key usage", expected=wanted, got="not so")


def _extension(certificate: x509.Certificate, kind: type[T]) -> T | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def load_crl(data: bytes, what: str) -> x509.CertificateRevocationList:
    """A revocation list from DER; raises tee.6."""
    if len(data) > MAX_CRL_BYTES:
        refuse(REVOCATION, what, expected=f"at most {MAX_CRL_BYTES} bytes", got=len(data))
    try:
        found = x509.load_der_x509_crl(data)
        if not _whole(data, found.signature):
            refuse(REVOCATION, f"{what}: signature", expected="whole bytes", got="bits unused")
        _ = found.extensions, found.issuer, found.last_update_utc, found.next_update_utc
    except _BROKEN as error:
        refuse(REVOCATION, f"{what}: {error}", expected="a revocation list as DER")
    return found


def load_pem_crl(text: bytes, what: str) -> x509.CertificateRevocationList:
    """A revocation list from PEM and nothing beside it; raises tee.6."""
    if len(text) > 2 * MAX_CRL_BYTES:
        expected = f"at most {2 * MAX_CRL_BYTES} bytes"
        refuse(REVOCATION, what, expected=expected, got=f"{len(text)} bytes")
    try:
        found = x509.load_pem_x509_crl(text)
    except _BROKEN as error:
        refuse(REVOCATION, f"{what}: {error}", expected="a revocation list as PEM")
    if found.public_bytes(Encoding.PEM) != text:
        refuse(REVOCATION, what, expected="PEM and nothing else", got="other characters too")
    return load_crl(found.public_bytes(Encoding.DER), what)


def check_crl(
    crl: x509.CertificateRevocationList,
    issuer: x509.Certificate,
    certificates: Sequence[x509.Certificate],
    now: int,
) -> tuple[int, int]:
    """The list is its issuer's and current, and none of the certificates is on it.

    Returns:
        From when to when it holds, in seconds since 1970.

    Raises:
        VerificationError: tee.6.
    """
    name = name_of(issuer)
    if crl.issuer != issuer.subject:
        refuse(
            REVOCATION,
            f"revocation list for {name!r}: issuer",
            expected=issuer.subject.rfc4514_string(),
            got=crl.issuer.rfc4514_string(),
        )
    _check_role_for_crl(issuer)
    if not _crl_signed(crl, issuer):
        refuse(REVOCATION, f"revocation list: not signed by {name!r}")
    for extension in crl.extensions:
        if extension.critical:
            # A list of other scope than its issuer's certificates says so by such an extension.
            refuse(
                REVOCATION,
                f"revocation list of {name!r}: critical extension {extension.oid.dotted_string}",
                expected="a complete list",
            )
    low = seconds(crl.last_update_utc)
    if crl.next_update_utc is None:
        refuse(REVOCATION, f"revocation list of {name!r}", expected="a next update", got="none")
    high = seconds(crl.next_update_utc)
    if not low <= now <= high:
        refuse(
            REVOCATION,
            f"revocation list of {name!r} at {as_text(now)}",
            expected=f"a time from {as_text(low)} to {as_text(high)}",
            got="one outside",
        )
    for certificate in certificates:
        # Whatever the entry says besides: nothing takes a certificate off a complete list.
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            refuse(
                REVOCATION,
                f"certificate {name_of(certificate)!r}",
                expected="not revoked",
                got=f"on the list of {name!r}",
            )
    return low, high


def _check_role_for_crl(issuer: x509.Certificate) -> None:
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        expected = "signing revocation lists"
        refuse(REVOCATION, f"certificate {name_of(issuer)!r}: key usage", expected=expected)


def _crl_signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key = issuer.public_key()
    try:
        used = crl.signature_hash_algorithm
        if used is None or used.name not in _HASHES:
            return False
        return isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey) and (
            crl.is_signature_valid(key)
        )
    except _BROKEN:
        return False
