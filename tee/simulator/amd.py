"""A software root in the place of AMD's: product line, chip keys, and SEV-SNP reports.

The shapes are those of AMD 57230: an ARK and an ASK (or ASVK) of RSA-4096 that sign with RSA-PSS
over SHA-384, a VCEK (or VLEK) of P-384 with AMD's extensions, a revocation list by the ARK. Names
say what it is. RSA keys take seconds to make: they are made once and stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.errors import UsageError
from proofml.tee.amd_collateral import (
    HARDWARE_OID,
    LAYOUTS,
    PRODUCT_OID,
    PROVIDER_OID,
    RESERVED_OIDS,
    STRUCT_OID,
    TCB_OIDS,
    write_collateral,
)
from proofml.tee.simulator import key_folder
from proofml.tee.simulator.amd_certificates import (
    Key,
    Link,
    Listing,
    integer,
    issue,
    revoke,
    text,
)
from proofml.tee.simulator.amd_report import DEBUG, POLICY, TCB, Claims, sign
from proofml.tee.snp_report import SigningKey

DAY: Final = 86400
YEAR: Final = 365 * DAY
_RSA: Final = ("ark", "ask", "asvk")
_EC: Final = ("vcek", "vlek")
PROVIDER: Final = "simulated provider"


class AmdAuthority:
    """A simulated product line with one chip.

    Attributes:
        keys: `ark`, `ask` and `asvk` (RSA), `vcek` and `vlek` (P-384).
        root_der: the ARK's certificate.
        product: `Milan`, `Genoa` or `Turin`.
    """

    def __init__(self, keys: Mapping[str, Key], root_der: bytes, product: str = "Milan") -> None:
        self.keys = dict(keys)
        self.root_der = root_der
        self.product = product
        self.root = x509.load_der_x509_certificate(root_der)

    @classmethod
    def create(
        cls, now: int, product: str = "Milan", *, keys: Mapping[str, Key] | None = None
    ) -> Self:
        """A root that is valid for 25 years from `now`, in seconds since 1970.

        Args:
            keys: those of another authority; new ones by default, which takes seconds.

        Raises:
            UsageError: no such product line.
        """
        if product not in LAYOUTS:
            raise UsageError(f"product {product!r}: expected one of {', '.join(LAYOUTS)}")
        if keys is None:
            made: dict[str, Key] = {n: rsa.generate_private_key(65537, 4096) for n in _RSA}
            made |= {name: ec.generate_private_key(ec.SECP384R1()) for name in _EC}
            keys = made
        link = Link(
            f"ARK-Simulated-{product}",
            keys["ark"],
            now - DAY,
            now + 25 * YEAR,
            serial=0x10000,
            authority=True,
            signs_certificates=True,
            signs_lists=True,
        )
        der = issue(link, None, keys["ark"]).public_bytes(Encoding.DER)
        return cls(keys, der, product)

    def save(self, folder: Path) -> None:
        """Write the keys (readable by the owner alone) and the root's certificate."""
        key_folder.save(folder, self.keys, self.root_der)
        key_folder.write(folder / "product", self.product.encode("ascii"))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UsageError: it is not there, or broken.
        """
        try:
            found: dict[str, Key] = {
                **key_folder.load_rsa(folder, _RSA),
                **key_folder.load_elliptic(folder, _EC),
            }
            product = (folder / "product").read_text(encoding="ascii")
            if product not in LAYOUTS:
                raise ValueError(f"product {product!r} is not known")
            return cls(found, key_folder.load_root(folder, "ark", found["ark"]), product)
        except (OSError, ValueError, TypeError) as error:
            raise key_folder.broken("AMD", folder, error) from error

    @property
    def chip_id(self) -> bytes:
        """64 bytes; Turin has 8 and zeros behind them."""
        size = LAYOUTS[self.product].chip_bytes
        return b"simulated chip, no hardware".ljust(size, b".")[:size].ljust(64, b"\0")

    def intermediate(self, now: int, *, vlek: bool = False) -> Link:
        """The ASK, or the ASVK."""
        return Link(
            f"SEV-{'VLEK-' if vlek else ''}Simulated-{self.product}",
            self.keys["asvk" if vlek else "ask"],
            now - DAY,
            now + 20 * YEAR,
            serial=0x10101 if vlek else 0x10001,
            authority=True,
            path_length=0,
            signs_certificates=True,
        )

    def leaf(self, now: int, *, vlek: bool = False, components: Mapping[str, int] = TCB) -> Link:
        """The VCEK at this TCB, or the VLEK."""
        layout = LAYOUTS[self.product]
        # A Turin's certificate has the FMC in the place of the first reserved component.
        reserved = RESERVED_OIDS[1:] if "fmc" in layout.components else RESERVED_OIDS
        extensions = {
            STRUCT_OID: integer(layout.struct),
            PRODUCT_OID: text(self.product if vlek else f"{self.product}-B1"),
            **{TCB_OIDS[name]: integer(components[name]) for name in layout.components},
            **{oid: integer(0) for oid in reserved},
        }
        if vlek:
            extensions[PROVIDER_OID] = text(PROVIDER)
        else:
            extensions[HARDWARE_OID] = self.chip_id[: layout.chip_bytes]
        kind = "vlek" if vlek else "vcek"
        return Link(
            f"SEV-{kind.upper()}",
            self.keys[kind],
            now - DAY,
            now + (YEAR if vlek else 7 * YEAR),
            extensions=extensions,
        )

    def chain(self, leaf: Link, intermediate: Link) -> tuple[x509.Certificate, ...]:
        """Leaf, intermediate and root."""
        between = issue(intermediate, self.root.subject, self.keys["ark"])
        return issue(leaf, between.subject, intermediate.key), between, self.root

    def revocations(
        self, now: int, serials: Sequence[int] = (), *, days: int = 30, **changes: Any
    ) -> x509.CertificateRevocationList:
        """The ARK's list, valid from a day before `now` for `days` days.

        Args:
            serials: of the certificates on it.
            changes: fields of `Listing` that should be otherwise.
        """
        listing = Listing(now - DAY, now - DAY + days * DAY, tuple(serials))
        return revoke(replace(listing, **changes), self.root.subject, self.keys["ark"])

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
        # An empty list counts as false, so that `or` would pass it over.
        listed = self.revocations(now) if crl is None else crl
        return write_collateral(certificates[0], certificates[1:], None if without_crl else listed)

    def claims(self, *, report_data: bytes, vlek: bool = False, **others: Any) -> Claims:
        """What a report of this chip says; `others` are fields of `Claims`."""
        fields = {
            "product": self.product,
            "chip_id": self.chip_id,
            "signing_key": SigningKey.VLEK if vlek else SigningKey.VCEK,
            **others,
        }
        return Claims(report_data=report_data, **fields)

    def sign(self, report: bytes, *, vlek: bool = False) -> bytes:
        """The report signed by the chip's key, or by the one that was lent."""
        key = self.keys["vlek" if vlek else "vcek"]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return sign(report, key)

    def quote(
        self, *, report_data: bytes, vlek: bool = False, debug: bool = False, **others: Any
    ) -> bytes:
        """A signed report.

        Args:
            report_data: 64 bytes.
            vlek: sign by the VLEK, not by the VCEK.
            debug: of a guest that can be debugged.
            others: fields of `Claims`.
        """
        if debug:
            others["policy"] = others.get("policy", POLICY) | DEBUG
        claims = self.claims(report_data=report_data, vlek=vlek, **others)
        return self.sign(claims.to_bytes(), vlek=vlek)
