"""A software root in the place of AWS's: chains and attestation documents as Nitro makes them.

The shapes are those of documents from hardware: a root of 30 years, certificates for a region (20
days), a zone (6 days) and an instance (1 day), and a leaf of three hours for the enclave; all of
P-384 and SHA-384. Names say what it is. Certificates are issued anew for each document, by keys
that are made once and stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeAlias

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from cwt import (
    COSE,
    COSEAlgs,
    COSEKey,
    COSEKeyCrvs,
    COSEKeyOps,
    COSEKeyParams,
    COSEKeyTypes,
)

from proofml.tee.simulator import key_folder

Key: TypeAlias = ec.EllipticCurvePrivateKey

REGISTER_BYTES: Final = 48
#: Registers that each document shows; later ones are shown where they are in use (locked).
ALWAYS_SHOWN: Final = 16
ZEROS: Final = bytes(REGISTER_BYTES)

HOUR: Final = 3600
DAY: Final = 24 * HOUR

_INSTANCE: Final = "i-00000000000000001"
MODULE_ID: Final = f"{_INSTANCE}-enc0000000000000001"
_KEYS: Final = ("root", "region", "zone", "instance", "enclave")


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate that is to be issued; `dataclasses.replace` makes one that should not be.

    Attributes:
        common_name: of its subject.
        key: that it certifies.
        not_before, not_after: seconds since 1970.
        path_length: how many authorities may follow; None: no authority, or no limit.
        crl: where its issuer's revocation list would be; empty: not said.
        signer: signs it in the place of the key of the certificate before it.
        without: kinds of extensions that are left out.
        extra: extensions that are added, each with whether it is critical.
    """

    common_name: str
    key: Key
    not_before: int
    not_after: int
    authority: bool = True
    path_length: int | None = None
    signs_certificates: bool = True
    signs_data: bool = True
    crl: str = ""
    signer: Key | None = None
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 = field(default_factory=hashes.SHA384)
    without: tuple[type[x509.ExtensionType], ...] = ()
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _extensions(
    link: Link, issuer: x509.Name | None, issuer_key: Key
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    """Each with whether it is critical."""
    yield x509.BasicConstraints(link.authority, link.path_length), True
    usage = x509.KeyUsage(
        digital_signature=link.signs_data,
        content_commitment=not link.authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=link.signs_certificates,
        crl_sign=link.authority and link.signs_data,
        encipher_only=False,
        decipher_only=False,
    )
    yield usage, link.authority
    if link.authority:
        yield x509.SubjectKeyIdentifier.from_public_key(link.key.public_key()), False
        if issuer is not None:
            yield x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
    if link.crl:
        where = [x509.UniformResourceIdentifier(link.crl)]
        yield x509.CRLDistributionPoints([x509.DistributionPoint(where, None, None, None)]), False
    yield from link.extra


def issue(link: Link, issuer: x509.Name | None, issuer_key: Key) -> x509.Certificate:
    """The certificate; without an issuer it is self-signed."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "proofml simulator"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "no hardware"),
            x509.NameAttribute(NameOID.COMMON_NAME, link.common_name),
        ]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(link.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_time(link.not_before))
        .not_valid_after(_time(link.not_after))
    )
    for extension, critical in _extensions(link, issuer, issuer_key):
        if not isinstance(extension, link.without):
            builder = builder.add_extension(extension, critical=critical)
    return builder.sign(link.signer or issuer_key, link.digest)


def encode(document: Mapping[str, object]) -> bytes:
    """The map as CBOR; of indefinite length, as newer documents from hardware are."""
    parts = [cbor2.dumps(key) + cbor2.dumps(value) for key, value in document.items()]
    return b"\xbf" + b"".join(parts) + b"\xff"


def sign(payload: bytes, key: Key, *, tagged: bool = False) -> bytes:
    """COSE_Sign1 over `payload`; documents from hardware have no tag."""
    numbers = key.private_numbers()
    point = numbers.public_numbers
    cose_key = COSEKey.new(
        {
            COSEKeyParams.KTY: COSEKeyTypes.EC2,
            COSEKeyParams.ALG: COSEAlgs.ES384,
            COSEKeyParams.KEY_OPS: [COSEKeyOps.SIGN],
            COSEKeyParams.CRV: COSEKeyCrvs.P384,
            COSEKeyParams.X: point.x.to_bytes(48, "big"),
            COSEKeyParams.Y: point.y.to_bytes(48, "big"),
            COSEKeyParams.D: numbers.private_value.to_bytes(48, "big"),
        }
    )
    data = COSE.new(alg_auto_inclusion=True).encode_and_sign(payload, cose_key)
    assert isinstance(data, bytes)  # a tag comes out only where it is asked for
    message = cbor2.loads(data)
    return data if tagged else cbor2.dumps(message.value)


class AwsAuthority:
    """A simulated Nitro root with all that it certifies.

    Attributes:
        root_der: the root's certificate.
    """

    def __init__(self, keys: Mapping[str, Key], root_der: bytes) -> None:
        self._keys = dict(keys)
        self.root_der = root_der
        self._root_name = x509.load_der_x509_certificate(root_der).subject

    @classmethod
    def create(cls, now: int) -> Self:
        """New keys; the root is valid for 30 years from `now`, in seconds since 1970."""
        keys = {name: ec.generate_private_key(ec.SECP384R1()) for name in _KEYS}
        root = Link("simulated.nitro-enclaves", keys["root"], now - HOUR, now + 10958 * DAY)
        certificate = issue(root, None, keys["root"])
        return cls(keys, certificate.public_bytes(serialization.Encoding.DER))

    def save(self, folder: Path) -> None:
        """Write the keys (readable by the owner alone) and the root's certificate."""
        key_folder.save(folder, self._keys, self.root_der)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UsageError: it is not there, or broken.
        """
        try:
            found = key_folder.load_elliptic(folder, _KEYS)
            return cls(found, key_folder.load_root(folder, "root", found["root"]))
        except (OSError, ValueError, TypeError) as error:
            raise key_folder.broken("AWS", folder, error) from error

    def links(self, now: int) -> tuple[Link, ...]:
        """The chain below the root for an enclave that was started a moment before `now`."""
        keys = self._keys
        base = "simulated.nitro-enclaves"
        return (
            Link(
                f"region.{base}",
                keys["region"],
                now - 4 * DAY,
                now + 16 * DAY,
                path_length=2,
                crl="http://crl.simulator.invalid/root.crl",
            ),
            Link(
                f"zone.region.{base}",
                keys["zone"],
                now - 7 * HOUR,
                now - 7 * HOUR + 6 * DAY,
                path_length=1,
                crl="http://crl.simulator.invalid/region.crl",
            ),
            Link(
                f"{_INSTANCE}.region.{base}",
                keys["instance"],
                now - HOUR // 2,
                now - HOUR // 2 + DAY,
                path_length=0,
                signs_data=False,
            ),
            Link(
                f"{MODULE_ID}.region.simulated",
                keys["enclave"],
                now - 3,
                now + 3 * HOUR,
                authority=False,
                signs_certificates=False,
            ),
        )

    def chain(self, links: Sequence[Link]) -> tuple[bytes, ...]:
        """Certificates as DER: the root, then each link signed by the key before it."""
        found = [self.root_der]
        name, key = self._root_name, self._keys["root"]
        for link in links:
            certificate = issue(link, name, key)
            found.append(certificate.public_bytes(serialization.Encoding.DER))
            name, key = certificate.subject, link.key
        return tuple(found)

    def document(
        self,
        *,
        report_data: bytes | None,
        now: int,
        pcrs: Mapping[int, bytes] | None = None,
        debug: bool = False,
        nonce: bytes | None = None,
        public_key: bytes | None = None,
        chain: Sequence[bytes] | None = None,
    ) -> dict[str, object]:
        """The map that is signed, in the order in which hardware writes it.

        Args:
            report_data: becomes `user_data`.
            now: seconds since 1970.
            pcrs: register -> 48 bytes; those of 0 to 15 that are not named are zeros.
            debug: registers 0 to 2 are zeros, as they are in an enclave in debug mode.
            chain: certificates, root first; by default those of `links(now)`.
        """
        registers = dict.fromkeys(range(ALWAYS_SHOWN), ZEROS) | dict(pcrs or {})
        if debug:
            registers |= dict.fromkeys(range(3), ZEROS)
        certificates = self.chain(self.links(now)) if chain is None else chain
        return {
            "module_id": MODULE_ID,
            "digest": "SHA384",
            "timestamp": now * 1000,
            "pcrs": dict(sorted(registers.items())),
            "certificate": certificates[-1],
            "cabundle": list(certificates[:-1]),
            "public_key": public_key,
            "user_data": report_data,
            "nonce": nonce,
        }

    def sign(self, payload: bytes, *, tagged: bool = False) -> bytes:
        """COSE_Sign1 by the enclave's key, the one that the leaf certifies."""
        return sign(payload, self._keys["enclave"], tagged=tagged)

    def quote(
        self,
        *,
        report_data: bytes,
        now: int,
        pcrs: Mapping[int, bytes] | None = None,
        debug: bool = False,
        nonce: bytes | None = None,
        public_key: bytes | None = None,
        chain: Sequence[bytes] | None = None,
        tagged: bool = False,
    ) -> bytes:
        """A signed document; the arguments are those of `document`."""
        found = self.document(
            report_data=report_data,
            now=now,
            pcrs=pcrs,
            debug=debug,
            nonce=nonce,
            public_key=public_key,
            chain=chain,
        )
        return self.sign(encode(found), tagged=tagged)

    def collateral(self, now: int) -> bytes:
        """None: a Nitro document carries its certificates."""
        return b""
