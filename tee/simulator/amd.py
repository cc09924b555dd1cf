"""A software root in the place of AMD's: product line, chip keys, and SEV-SNP reports.

The shapes are those of publication 57230: an ARK and an ASK (or ASVK) of RSA-4096 that sign with
RSA-PSS over SHA-384, a VCEK (or VLEK) of P-384 with AMD's extensions, a revocation list by the ARK.
Names say what it is. RSA keys take seconds to make: they are made once and stored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from proofml.errors import UsageError
from proofml.tee.amd_collateral import (
    CSP_OID,
    HARDWARE_OID,
    PRODUCT_OID,
    TCB_OIDS,
    write_collateral,
)
from proofml.tee.sev_snp import SIGNED_BYTES, TCB_PARTS

Key: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

DAY: Final = 86400
YEAR: Final = 365 * DAY
#: TCB of the simulated firmware, by component.
TCB: Final[Mapping[str, int]] = {"bootloader": 4, "tee": 0, "snp": 24, "microcode": 219}
#: SMT allowed, no debugging, no migration: ABI 0.0 and the bit that is always set.
POLICY: Final = 1 << 16 | 1 << 17
DEBUG: Final = 1 << 19
_KEYS: Final = ("ark", "ask", "asvk", "vcek", "vlek")
_ROOT_FILE: Final = "ark.der"


@dataclass(frozen=True, slots=True)
class Link:
    """A certificate to be issued; `dataclasses.replace` makes one that should not be.

    Attributes:
        key: that it certifies.
        not_before, not_after: seconds since 1970.
        extensions: AMD's, by object identifier, as DER.
        signer: signs in the place of the issuer's key.
    """

    common_name: str
    key: Key
    not_before: int
    not_after: int
    serial: int = 0x10000
    authority: bool = False
    path_length: int | None = None
    extensions: Mapping[str, bytes] = field(default_factory=dict)
    signer: rsa.RSAPrivateKey | None = None


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def issue(link: Link, issuer: x509.Name | None, signer: rsa.RSAPrivateKey) -> x509.Certificate:
    """The certificate, signed with RSA-PSS; without an issuer it is self-signed."""
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
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(constraints, critical=True)
        builder = builder.add_extension(usage, critical=True)
    for oid, value in link.extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(link.signer or signer, hashes.SHA384(), rsa_padding=_pss())


def _pss() -> padding.PSS:
    return padding.PSS(padding.MGF1(hashes.SHA384()), hashes.SHA384().digest_size)


def integer(value: int) -> bytes:
    """DER INTEGER, 0 to 255."""
    return bytes((2, 1, value)) if value < 128 else bytes((2, 2, 0, value))


def tcb_bytes(product: str, components: Mapping[str, int]) -> bytes:
    """A TCB version, 8 bytes."""
    found = bytearray(8)
    for name, at in TCB_PARTS[product].items():
        found[at] = components.get(name, 0)
    return bytes(found)


def sign(report: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The report with the signature of its first 0x2A0 bytes in its place."""
    signature = key.sign(report[:SIGNED_BYTES], ec.ECDSA(hashes.SHA384()))
    both = b"".join(part.to_bytes(72, "little") for part in decode_dss_signature(signature))
    return report[:SIGNED_BYTES] + both + bytes(368)


class AmdAuthority:
    """A simulated product line with one chip.

    Attributes:
        root_der: the ARK's certificate.
        product: `Milan`, `Genoa` or `Turin`.
    """

    def __init__(self, keys: Mapping[str, Key], root_der: bytes, product: str = "Milan") -> None:
        self.keys = dict(keys)
        self.root_der = root_der
        self.product = product
        self.root = x509.load_der_x509_certificate(root_der)

    @classmethod
    def create(cls, now: int, product: str = "Milan") -> Self:
        """New keys; the root is valid for 25 years from `now`, in seconds since 1970."""
        keys: dict[str, Key] = {
            name: rsa.generate_private_key(65537, 4096) for name in ("ark", "ask", "asvk")
        }
        keys |= {name: ec.generate_private_key(ec.SECP384R1()) for name in ("vcek", "vlek")}
        ark = keys["ark"]
        assert isinstance(ark, rsa.RSAPrivateKey)
        link = Link(f"ARK-Simulated-{product}", ark, now - DAY, now + 25 * YEAR, authority=True)
        return cls(keys, issue(link, None, ark).public_bytes(Encoding.DER), product)

    def save(self, folder: Path) -> None:
        """Write the keys (readable by the owner alone) and the root's certificate."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, key in self.keys.items():
            data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write(folder / f"{name}.pem", data)
        _write(folder / "product", self.product.encode("ascii"))
        _write(folder / _ROOT_FILE, self.root_der)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UsageError: it is not there, or broken.
        """
        keys: dict[str, Key] = {}
        try:
            for name in _KEYS:
                key = load_pem_private_key((folder / f"{name}.pem").read_bytes(), None)
                if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
                    raise TypeError(f"{name}.pem holds a key of another kind")
                keys[name] = key
            product = (folder / "product").read_text(encoding="ascii")
            if product not in TCB_PARTS:
                raise ValueError(f"product {product!r} is not known")
            return cls(keys, (folder / _ROOT_FILE).read_bytes(), product)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"simulated AMD root in {folder}: {error}; delete the folder to get a new one"
            ) from error

    @property
    def chip_id(self) -> bytes:
        """64 bytes; Turin has 8 and zeros behind them."""
        return b"simulate" + (
            bytes(56) if self.product == "Turin" else b"d chip, no hardware".ljust(56, b".")
        )

    def intermediate(self, now: int, *, vlek: bool = False) -> Link:
        """The ASK, or the ASVK."""
        name = f"SEV-{'VLEK-' if vlek else ''}Simulated-{self.product}"
        key = self.keys["asvk" if vlek else "ask"]
        return Link(
            name,
            key,
            now - DAY,
            now + 20 * YEAR,
            serial=0x10002 if vlek else 0x10001,
            authority=True,
            path_length=0,
        )

    def leaf(self, now: int, *, vlek: bool = False, components: Mapping[str, int] = TCB) -> Link:
        """The VCEK at this TCB, or the VLEK."""
        extensions = {
            PRODUCT_OID: _string(f"{self.product}-B0"),
            **{
                TCB_OIDS[name]: integer(components.get(name, 0)) for name in TCB_PARTS[self.product]
            },
        }
        if vlek:
            extensions[CSP_OID] = _string("simulated provider")
        else:
            size = 8 if self.product == "Turin" else 64
            extensions[HARDWARE_OID] = self.chip_id[:size]
        kind = "vlek" if vlek else "vcek"
        return Link(
            f"SEV-{kind.upper()}",
            self.keys[kind],
            now - DAY,
            now + 7 * YEAR,
            extensions=extensions,
        )

    def chain(self, leaf: Link, intermediate: Link) -> tuple[x509.Certificate, ...]:
        """Leaf, intermediate and root."""
        ark, key = self.keys["ark"], intermediate.key
        assert isinstance(ark, rsa.RSAPrivateKey)
        between = issue(intermediate, self.root.subject, ark)
        signer = key if isinstance(key, rsa.RSAPrivateKey) else ark
        return issue(leaf, between.subject, signer), between, self.root

    def revocations(
        self, now: int, serials: Sequence[int] = (), *, days: int = 30
    ) -> x509.CertificateRevocationList:
        """The ARK's list, valid from a day before `now` for `days` days."""
        ark = self.keys["ark"]
        assert isinstance(ark, rsa.RSAPrivateKey)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.root.subject)
            .last_update(_time(now - DAY))
            .next_update(_time(now - DAY + days * DAY))
        )
        for serial in serials:
            entry = x509.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(_time(now - DAY)).build()
            )
        return builder.sign(ark, hashes.SHA384(), rsa_padding=_pss())

    def collateral(
        self,
        now: int,
        *,
        vlek: bool = False,
        leaf: Link | None = None,
        intermediate: Link | None = None,
        crl: x509.CertificateRevocationList | None = None,
        without_crl: bool = False,
    ) -> bytes:
        """Certificates and list as they travel; each can be replaced by one that should not be."""
        certificates = self.chain(
            leaf or self.leaf(now, vlek=vlek), intermediate or self.intermediate(now, vlek=vlek)
        )
        listed = None if without_crl else crl or self.revocations(now)
        return write_collateral(certificates[0], certificates[1:], listed)

    def report(
        self,
        *,
        report_data: bytes,
        measurement: bytes = bytes(48),
        host_data: bytes = bytes(32),
        version: int = 3,
        policy: int = POLICY,
        debug: bool = False,
        vmpl: int = 0,
        vlek: bool = False,
        components: Mapping[str, int] = TCB,
        chip_id: bytes | None = None,
        guest_svn: int = 0,
        platform_info: int = 1,
    ) -> bytes:
        """A report without its signature, 1184 bytes."""
        data = bytearray(1184)
        fixed = tcb_bytes(self.product, components)
        policy |= DEBUG if debug else 0
        for at, value in (
            (0x000, version.to_bytes(4, "little")),
            (0x004, guest_svn.to_bytes(4, "little")),
            (0x008, policy.to_bytes(8, "little")),
            (0x030, vmpl.to_bytes(4, "little")),
            (0x034, (1).to_bytes(4, "little")),
            (0x038, fixed),
            (0x040, platform_info.to_bytes(8, "little")),
            (0x048, (4 if vlek else 0).to_bytes(4, "little")),
            (0x050, report_data),
            (0x090, measurement),
            (0x0C0, host_data),
            (0x140, b"simulated report id".ljust(32, b"\0")),
            (0x160, b"\xff" * 32),
            (0x180, fixed),
            (0x1A0, self.chip_id if chip_id is None else chip_id),
            (0x1E0, fixed),
            (0x1E8, bytes((1, 55, 1, 0, 1, 55, 1, 0))),
            (0x1F0, fixed),
        ):
            data[at : at + len(value)] = value
        if version >= 3:
            data[0x188:0x18B] = bytes((0x19, 0x01, 0x01))
        return bytes(data)

    def sign(self, report: bytes, *, vlek: bool = False) -> bytes:
        """The report signed by the chip's key."""
        key = self.keys["vlek" if vlek else "vcek"]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return sign(report, key)

    def quote(
        self,
        *,
        report_data: bytes,
        measurement: bytes = bytes(48),
        host_data: bytes = bytes(32),
        version: int = 3,
        debug: bool = False,
        vlek: bool = False,
        components: Mapping[str, int] = TCB,
    ) -> bytes:
        """A signed report; the arguments are those of `report`."""
        made = self.report(
            report_data=report_data,
            measurement=measurement,
            host_data=host_data,
            version=version,
            debug=debug,
            vlek=vlek,
            components=components,
        )
        return self.sign(made, vlek=vlek)


def _string(text: str) -> bytes:
    """DER IA5String of at most 127 bytes."""
    return bytes((0x16, len(text))) + text.encode("ascii")


def _write(path: Path, data: bytes) -> None:
    """Replace the file as a whole; from its first byte on it is its owner's alone."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.replace(path)
