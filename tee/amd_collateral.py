"""What travels with a SEV-SNP report: its certificates, and the revocation list.

    {"chain": [PEM of the intermediate, of the root], "crl": PEM or null, "leaf": PEM, "version": 1}

in canonical JSON. What a certificate of a signing key says of it stands in extensions of AMD's own:
Versioned Chip Endorsement Key Certificate and KDS Interface Specification (AMD 57230), tables of
the VCEK and of the VLEK certificate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.canonical import CanonicalError, dumps, loads
from proofml.fields import FieldError, Fields
from proofml.tee.checks import COLLATERAL, EVIDENCE, refuse
from proofml.tee.x509 import MAX_CHAIN, load_pem_crl, load_pems

MAX_COLLATERAL_BYTES: Final = 2 << 20
_MAX_TEXT: Final = 64
_ARC: Final = "1.3.6.1.4.1.3704.1."
STRUCT_OID: Final = _ARC + "1"
PRODUCT_OID: Final = _ARC + "2"
HARDWARE_OID: Final = _ARC + "4"
PROVIDER_OID: Final = _ARC + "5"
_TCB_ARC: Final = _ARC + "3."
#: Component of a TCB version -> its extension.
TCB_OIDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "bootloader": _TCB_ARC + "1",
        "tee": _TCB_ARC + "2",
        "snp": _TCB_ARC + "3",
        "microcode": _TCB_ARC + "8",
        "fmc": _TCB_ARC + "9",
    }
)
#: Components without a meaning: zero where they are there.
RESERVED_OIDS: Final = tuple(f"{_TCB_ARC}{part}" for part in range(4, 8))


@dataclass(frozen=True, slots=True)
class Layout:
    """How certificates of a product line differ: `struct` is their format, sizes are in bytes."""

    struct: int
    components: tuple[str, ...]
    chip_bytes: int


_FIRST: Final = Layout(0, ("bootloader", "tee", "snp", "microcode"), 64)
LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {
        "Milan": _FIRST,
        "Genoa": _FIRST,
        "Turin": Layout(1, ("fmc", "bootloader", "tee", "snp", "microcode"), 8),
    }
)
#: Names of other products whose keys hang below the root of a line (57230: Genoa's).
_LINES: Final[Mapping[str, str]] = MappingProxyType({"Bergamo": "Genoa", "Siena": "Genoa"})


@dataclass(frozen=True)
class AmdCollateral:
    """Certificates of the right form; nothing about them was checked."""

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    crl: x509.CertificateRevocationList | None


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What a certificate says of the signing key.

    Attributes:
        kind: `VCEK` or `VLEK`.
        product: the product line.
        tcb: for which the key was derived, by component.
        chip_id: of a VCEK, 64 bytes, of Turin 8.
        provider: of a VLEK, to whom it was lent.
    """

    kind: str
    product: str
    tcb: Mapping[str, int]
    chip_id: bytes | None
    provider: str


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
    return AmdCollateral(
        _one(leaf, "certificate of the signing key"),
        tuple(_one(text, "certificate of the chain") for text in chain),
        None if crl is None else load_pem_crl(crl, "revocation list"),
    )


def _text(value: object, path: str) -> bytes:
    if not isinstance(value, str) or not value.isascii():
        raise FieldError(path, "PEM", value)
    return value.encode("ascii")


def _one(text: bytes, what: str) -> x509.Certificate:
    found = load_pems(text, what)
    if len(found) != 1:
        refuse(EVIDENCE, f"AMD collateral: {what}", expected="one", got=len(found))
    return found[0]


def read_endorsement(leaf: x509.Certificate) -> Endorsement:
    """The AMD extensions of a leaf; raises tee.8."""
    values = {
        extension.oid.dotted_string: extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    name = _string(values, PRODUCT_OID, "product")
    # `Milan-B0`: the line and the stepping; some have no stepping.
    line = name.split("-")[0]
    product = _LINES.get(line, line)
    if product not in LAYOUTS:
        expected = ", ".join(LAYOUTS)
        refuse(COLLATERAL, "product of the certificate", expected=expected, got=name)
    layout = LAYOUTS[product]
    struct = _integer(values, STRUCT_OID, "format")
    if struct != layout.struct:
        what = f"format of a {product} certificate"
        refuse(COLLATERAL, what, expected=layout.struct, got=struct)
    components = {part: TCB_OIDS[part] for part in layout.components}
    for oid in values:
        if oid.startswith(_TCB_ARC) and oid not in components.values():
            if oid not in RESERVED_OIDS:
                what = f"TCB of a {product} certificate"
                refuse(COLLATERAL, what, expected=", ".join(components), got=f"extension {oid}")
            if _integer(values, oid, "reserved TCB component"):
                what = f"reserved TCB component {oid}"
                refuse(COLLATERAL, what, expected=0, got=values[oid].hex())
    tcb = {part: _integer(values, oid, f"TCB, {part}") for part, oid in components.items()}
    chip = values.get(HARDWARE_OID)
    if (chip is None) == (PROVIDER_OID not in values):
        got = "neither" if chip is None else "both"
        refuse(COLLATERAL, "certificate of the key", expected="a chip or a provider", got=got)
    if chip is None:
        provider = _string(values, PROVIDER_OID, "provider")
        return Endorsement("VLEK", product, tcb, None, provider)
    if len(chip) != layout.chip_bytes:
        expected = f"{layout.chip_bytes} bytes"
        refuse(COLLATERAL, "chip id of the certificate", expected=expected, got=len(chip))
    return Endorsement("VCEK", product, tcb, chip, "")


def _integer(values: Mapping[str, bytes], oid: str, what: str) -> int:
    """A DER INTEGER from 0 to 255."""
    data = values.get(oid, b"")
    value = data[-1] if data else -1
    # A number with its top bit set is written with a zero before it, 0 to 127 without.
    if not data or data != (bytes((2, 1, value)) if value < 128 else bytes((2, 2, 0, value))):
        got = data.hex() or "nothing"
        refuse(COLLATERAL, f"certificate of the key: {what}", expected="0 to 255", got=got)
    return value


def _string(values: Mapping[str, bytes], oid: str, what: str) -> str:
    """A short DER IA5String."""
    data = values.get(oid, b"")
    text = data[2:]
    if not 0 < len(text) <= _MAX_TEXT or data[:2] != bytes((0x16, len(text))) or max(text) > 127:
        expected, got = "a short text", data[: 2 * _MAX_TEXT].hex() or "nothing"
        refuse(COLLATERAL, f"certificate of the key: {what}", expected=expected, got=got)
    return text.decode("ascii")
