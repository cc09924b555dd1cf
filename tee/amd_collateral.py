"""What travels with a SEV-SNP report: its certificates, and the revocation list.

    {"chain": [PEM of the intermediate, of the root], "crl": PEM or null, "leaf": PEM, "version": 1}

in canonical JSON. The extensions of the leaf are in publication 57230, table "VCEK certificate
fields": the TCB for which the key was derived, the chip, the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.canonical import CanonicalError, dumps, loads
from proofml.fields import FieldError, Fields
from proofml.tee.checks import COLLATERAL, EVIDENCE, REVOCATION, refuse
from proofml.tee.x509 import MAX_CHAIN, MAX_CRL_BYTES, load_crl, load_pems

MAX_COLLATERAL_BYTES: Final = 2 << 20
_ARC: Final = "1.3.6.1.4.1.3704.1."
PRODUCT_OID: Final = _ARC + "2"
HARDWARE_OID: Final = _ARC + "4"
CSP_OID: Final = _ARC + "5"
#: Component of a TCB version -> its extension.
TCB_OIDS: Final = {
    "bootloader": _ARC + "3.1",
    "tee": _ARC + "3.2",
    "snp": _ARC + "3.3",
    "microcode": _ARC + "3.8",
    "fmc": _ARC + "3.9",
}
PRODUCTS: Final = ("Milan", "Genoa", "Turin")
#: Product names of other lines whose keys hang below these roots.
_LINES: Final = {"Bergamo": "Genoa", "Siena": "Genoa", "Venice": "Turin"}


@dataclass(frozen=True)
class AmdCollateral:
    """Certificates of the right form; nothing about them was checked."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    crl: x509.CertificateRevocationList | None


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What a leaf says of the key: `tcb` by component; `chip_id` of a VCEK, 64 or 8 bytes."""

    kind: str
    product: str
    tcb: dict[str, int]
    chip_id: bytes | None


def write_collateral(
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    crl: x509.CertificateRevocationList | None,
) -> bytes:
    """The canonical bytes."""
    return dumps(
        {
            "version": 1,
            "leaf": leaf.public_bytes(Encoding.PEM).decode(),
            "chain": [one.public_bytes(Encoding.PEM).decode() for one in chain],
            "crl": None if crl is None else crl.public_bytes(Encoding.PEM).decode(),
        }
    )


def read_collateral(data: bytes) -> AmdCollateral:
    """Strictly: what `write_collateral` writes, and nothing else.

    Raises:
        VerificationError: tee.2, not of this form; tee.5 and tee.6, a broken certificate or list.
    """
    try:
        fields = Fields(loads(data, max_bytes=MAX_COLLATERAL_BYTES), "collateral")
        fields.integer("version", 1, 1)
        leaf = _text(fields.raw("leaf"), fields.at("leaf"))
        chain = fields.items("chain", _text, most=MAX_CHAIN)
        crl = fields.raw("crl")
        crl = None if crl is None else _text(crl, fields.at("crl"))
        fields.done()
    except (CanonicalError, FieldError) as error:
        refuse(EVIDENCE, f"AMD collateral: {error}")
    found = AmdCollateral(
        _one(leaf, "certificate of the signing key"),
        tuple(_one(text, "certificate of the chain") for text in chain),
        None if crl is None else _crl(crl),
    )
    if write_collateral(found.leaf, found.chain, found.crl) != data:
        refuse(EVIDENCE, "AMD collateral", expected="PEM as it is written here", got="another form")
    return found


def _text(value: object, path: str) -> bytes:
    if not isinstance(value, str) or len(value) > MAX_CRL_BYTES or not value.isascii():
        raise FieldError(path, "PEM", value)
    return value.encode("ascii")


def _one(text: bytes, what: str) -> x509.Certificate:
    found = load_pems(text, what)
    if len(found) != 1:
        refuse(EVIDENCE, f"AMD collateral: {what}", expected="one", got=len(found))
    return found[0]


def _crl(text: bytes) -> x509.CertificateRevocationList:
    try:
        found = x509.load_pem_x509_crl(text)
    except (ValueError, TypeError) as error:
        refuse(REVOCATION, f"revocation list: {error}", expected="PEM")
    return load_crl(found.public_bytes(Encoding.DER), "revocation list")


def read_endorsement(leaf: x509.Certificate) -> Endorsement:
    """The AMD extensions of a leaf; raises tee.8."""
    values = {
        extension.oid.dotted_string: extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    name = _string(values.get(PRODUCT_OID), "product")
    line = name.split("-")[0]
    product = _LINES.get(line, line)
    if product not in PRODUCTS:
        expected = ", ".join(PRODUCTS)
        refuse(COLLATERAL, "product of the certificate", expected=expected, got=name)
    components = {
        part: _integer(values[oid], part) for part, oid in TCB_OIDS.items() if oid in values
    }
    chip, provider = values.get(HARDWARE_OID), values.get(CSP_OID)
    if (chip is None) == (provider is None):
        refuse(COLLATERAL, "certificate of the key", expected="a chip or a provider", got="neither")
    if chip is not None and len(chip) not in (8, 64):
        refuse(COLLATERAL, "chip id of the certificate", expected="8 or 64 bytes", got=len(chip))
    return Endorsement("VLEK" if chip is None else "VCEK", product, components, chip)


def _integer(data: bytes, what: str) -> int:
    """A DER INTEGER of one byte's range."""
    value = int.from_bytes(data[2:], "big", signed=True)
    # A number with its top bit set is written with a zero before it, 0 to 127 without.
    size = 1 + (value > 127)
    if not 0 <= value <= 255 or len(data) != 2 + size or data[:2] != bytes((2, size)):
        refuse(COLLATERAL, f"TCB of the certificate: {what}", expected="0 to 255", got=data.hex())
    return value


def _string(data: bytes | None, what: str) -> str:
    """A short DER IA5String."""
    text = data[2:] if data else b""
    if data is None or len(data) < 3 or data[0] != 0x16 or data[1] != len(text) or len(text) > 64:
        got = "nothing" if data is None else data.hex()
        refuse(COLLATERAL, f"{what} of the certificate", expected="a short string", got=got)
    return text.decode("ascii", "replace")
