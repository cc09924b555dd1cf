"""AWS Nitro Enclaves: attestation documents, a CBOR map signed as COSE_Sign1.

Source: aws/aws-nitro-enclaves-nsm-api, docs/attestation_process.md: sections 2.2 (the map), 3.1
(the envelope), 3.2.2 (what must be in it) and 3.2.3 (its certificates). Three points in which real
documents differ from that text, and are read as they are: the map may be of indefinite length, its
keys stand in no order, and an optional field that is absent may be there as null.

Stricter than the text: registers have the 48 bytes of SHA-384, the only digest there is; and what
is verified has no tag of COSE_Sign1 in front. The module writes none, and it is not signed: with it
one document would have two forms.

Nitro has neither revocation lists inside the document nor a TCB level: AWS asks verifiers to leave
revocation out (section 3.2.4), and what limits a stolen key is the leaf certificate's life of three
hours. So a document holds for hours: who keeps one verifies it at a time within (`now`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from cryptography import x509 as library
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.x509.oid import SignatureAlgorithmOID

from proofml.errors import UsageError, printable
from proofml.tee import cbor, cose, x509
from proofml.tee.checks import ATTRIBUTES, CERTIFICATES, EVIDENCE, QUOTE, REVOCATION, ROOT, refuse
from proofml.tee.platform import Attestation, Finding, Platform, Source, Truth, Verified
from proofml.tee.reader import Field
from proofml.tee.roots import Roots, fingerprint

DIGEST: Final = "SHA384"
REGISTER_BYTES: Final = 48
REGISTERS: Final = 32
MAX_CERTIFICATE_BYTES: Final = 1024
MAX_PUBLIC_KEY_BYTES: Final = 1024
MAX_USER_DATA_BYTES: Final = 512

_WHAT: Final = "Nitro document"
_MANDATORY: Final = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
_OPTIONAL: Final = {
    # name -> least and most bytes
    "public_key": (1, MAX_PUBLIC_KEY_BYTES),
    "user_data": (0, MAX_USER_DATA_BYTES),
    "nonce": (0, MAX_USER_DATA_BYTES),
}
#: Register -> what AWS measures into it (AWS Nitro Enclaves User Guide, "Where to get an
#: enclave's measurements").
_MEANINGS: Final = {
    0: "the image",
    1: "kernel and boot file system",
    2: "the application",
    3: "the parent instance's role",
    4: "the parent instance's id",
    8: "the certificate that signed the image",
}
#: Those that are zeros where there is no such thing.
_IDENTITIES: Final = (3, 4, 8)
_NOTES: Final = {
    "protected.1.key": "(algorithm)",
    "protected.1": "(ES384)",
    "payload.timestamp": "ms since 1970",
    "payload.certificate": "of the key that signed",
    "payload.cabundle.0": "the root",
    **{f"payload.pcrs.{index}": meaning for index, meaning in _MEANINGS.items()},
}


@dataclass(frozen=True, slots=True)
class Document:
    """An attestation document of the right form; nobody has checked a signature.

    Attributes:
        module_id: of the enclave: the instance's id, `-enc` and the enclave's.
        timestamp: milliseconds since 1970, when the hypervisor made the document.
        pcrs: index -> 48 bytes; those that are locked.
        certificate: of the key that signed, DER.
        cabundle: the root first, then each signed by the one before, DER.
        message: the envelope.
        fields: every byte of the evidence, in order.
    """

    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    message: cose.Sign1
    fields: tuple[Field, ...]


def parse(data: bytes) -> Document:
    """Read a document; nothing in it can be believed yet.

    Raises:
        VerificationError: tee.3.
    """
    message = cose.parse(data)
    inner: list[Field] = []
    value = cbor.loads(
        message.payload,
        _WHAT,
        name="payload",
        offset=message.payload_offset,
        fields=inner,
        indefinite=True,
    )
    outer = [field for field in message.fields if field.name != "payload"]
    fields = sorted([*outer, *inner], key=lambda field: field.offset)
    payload = _Payload(value, {field.name: field.offset for field in inner})
    return Document(
        module_id=payload.text("module_id"),
        timestamp=payload.timestamp(),
        pcrs=payload.registers(),
        certificate=payload.octets("certificate", 1, MAX_CERTIFICATE_BYTES),
        cabundle=payload.bundle(),
        public_key=payload.optional("public_key"),
        user_data=payload.optional("user_data"),
        nonce=payload.optional("nonce"),
        message=message,
        fields=tuple(_noted(field) for field in fields),
    )


def _noted(field: Field) -> Field:
    meaning = _NOTES.get(field.name)
    return field if meaning is None else replace(field, note=f"{field.note} {meaning}".strip())


class _Payload:
    """The map inside, read by the rules of section 3.2.2."""

    def __init__(self, value: cbor.Value, offsets: Mapping[str, int]) -> None:
        self._offsets = offsets
        if not isinstance(value, dict):
            self._refuse("", "a map", value)
        missing = [key for key in _MANDATORY if key not in value]
        if missing:
            refuse(QUOTE, f"{_WHAT}: map", expected=f"key {missing[0]}", got="none")
        for key in value:
            if key not in _MANDATORY and key not in _OPTIONAL:
                known = ", ".join([*_MANDATORY, *_OPTIONAL])
                self._refuse(f".{key}.key", f"one of the keys {known}", key)
        digest = value["digest"]
        if digest != DIGEST:
            self._refuse(".digest", DIGEST, digest)
        self._value = value

    def _refuse(self, name: str, expected: str, got: object) -> NoReturn:
        # Keys come from the document, and stand in the names of fields as people may see them.
        offset = self._offsets[printable(f"payload{name}")]
        shown = f"{type(got).__name__} {got!s:.100}"
        if isinstance(got, (bytes, list, dict)):
            shown = f"{type(got).__name__} of {len(got)}"
        what = f"{_WHAT}: {name.lstrip('.') or 'payload'} at offset {offset}"
        refuse(QUOTE, what, expected=expected, got=shown)

    def _sized(self, value: object, name: str, least: int, most: int) -> bytes:
        if not isinstance(value, bytes) or not least <= len(value) <= most:
            self._refuse(
                name, f"{least} to {most} bytes" if least < most else f"{most} bytes", value
            )
        return value

    def text(self, key: str) -> str:
        value = self._value[key]
        if not isinstance(value, str) or not value:
            self._refuse(f".{key}", "a text that is not empty", value)
        return value

    def timestamp(self) -> int:
        value = self._value["timestamp"]
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            self._refuse(".timestamp", "milliseconds, more than 0", value)
        return value

    def octets(self, key: str, least: int, most: int) -> bytes:
        return self._sized(self._value[key], f".{key}", least, most)

    def optional(self, key: str) -> bytes | None:
        if self._value.get(key) is None:
            return None
        return self.octets(key, *_OPTIONAL[key])

    def registers(self) -> Mapping[int, bytes]:
        value = self._value["pcrs"]
        if not isinstance(value, dict) or not 1 <= len(value) <= REGISTERS:
            self._refuse(".pcrs", f"a map of 1 to {REGISTERS}", value)
        found: dict[int, bytes] = {}
        for index, register in value.items():
            if not isinstance(index, int) or not 0 <= index < REGISTERS:
                self._refuse(f".pcrs.{index}.key", f"an index from 0 to {REGISTERS - 1}", index)
            name = f".pcrs.{index}"
            found[index] = self._sized(register, name, REGISTER_BYTES, REGISTER_BYTES)
        return dict(sorted(found.items()))

    def bundle(self) -> tuple[bytes, ...]:
        value = self._value["cabundle"]
        if not isinstance(value, list) or not value:
            self._refuse(".cabundle", "an array that is not empty", value)
        return tuple(
            self._sized(der, f".cabundle.{index}", 1, MAX_CERTIFICATE_BYTES)
            for index, der in enumerate(value)
        )


def verify(evidence: Attestation, roots: Roots, now: int) -> Verified:
    """Check certificates and signature down to a root that is held, at a time.

    Args:
        evidence: of Nitro; its document carries the certificates, so there is no collateral.
        now: seconds since 1970. A document is good only while its leaf certificate is: for an
            old one, the caller says as of when it is judged.

    Raises:
        VerificationError: tee.2, collateral; tee.3, the document's form; tee.4, its first
            certificate is not a root of `roots`; tee.5, certificates, or a timestamp outside the
            life of the leaf; tee.7, the signature.
    """
    if evidence.platform is not Platform.NITRO:
        raise UsageError(f"evidence of {evidence.platform} where that of nitro was expected")
    if evidence.collateral:
        expected = "none, the document carries its certificates"
        refuse(EVIDENCE, "Nitro collateral", expected=expected, got=len(evidence.collateral))
    document = parse(evidence.quote)
    if document.fields[0].name == "tag":
        tag = document.fields[0]
        refuse(QUOTE, f"{_WHAT}: tag at offset {tag.offset}", expected="none", got=tag.data.hex())
    path = _walk(document, roots, now)
    key = _key(path.leaf)
    low, high = (
        x509.seconds(moment)
        for moment in (path.leaf.not_valid_before_utc, path.leaf.not_valid_after_utc)
    )
    if not low * 1000 <= document.timestamp <= high * 1000:
        refuse(
            CERTIFICATES,
            f"{_WHAT}: timestamp",
            expected=f"within the leaf's life, {low}000 to {high}000 ms since 1970",
            got=document.timestamp,
        )
    cose.verify(document.message, key)
    return Verified(
        platform=Platform.NITRO,
        root=path.root,
        report_data=document.user_data or b"",
        measurements={f"pcr{index}": value.hex() for index, value in document.pcrs.items()},
        svns={},
        attributes={"debug": _debug(document.pcrs)},
        not_before=path.not_before,
        not_after=path.not_after,
        details=_details(document, path),
    )


def _walk(document: Document, roots: Roots, now: int) -> x509.Path:
    """The root by its bytes before anything else, then the chain, then what AWS adds to it."""
    first = document.cabundle[0]
    if roots.find(Platform.NITRO, first) is None:
        expected = "one of " + (", ".join(roots.names(Platform.NITRO)) or "none")
        refuse(ROOT, f"{_WHAT}: cabundle.0", expected=expected, got=fingerprint(first))
    ders = (*document.cabundle, document.certificate)
    if len(set(ders)) != len(ders):
        refuse(CERTIFICATES, f"{_WHAT}: chain", expected="each certificate once", got="one again")
    names = [f"cabundle.{index}" for index in range(len(document.cabundle))] + ["certificate"]
    chain = [x509.load_der(der, f"{_WHAT}: {name}") for name, der in zip(names, ders, strict=True)]
    path = x509.walk(chain[::-1], Platform.NITRO, roots, now)
    _check_profile(names, chain)
    return path


def _check_profile(names: Sequence[str], chain: Sequence[library.Certificate]) -> None:
    """What AWS's certificates are beyond the rules for chains (section 3.2.3)."""
    for name, certificate in zip(names, chain, strict=True):
        what = f"{_WHAT}: {name}"
        _key(certificate, what)
        algorithm = certificate.signature_algorithm_oid
        if algorithm != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
            got = algorithm.dotted_string
            refuse(CERTIFICATES, f"{what}: signature", expected="ECDSA with SHA-384", got=got)
        # `walk` has looked at what they say where they are; here they have to be there.
        present = {type(extension.value) for extension in certificate.extensions}
        for kind in (library.BasicConstraints, library.KeyUsage):
            if kind not in present:
                refuse(CERTIFICATES, what, expected=f"extension {kind.__name__}", got="none")


def _key(certificate: library.Certificate, what: str = _WHAT) -> EllipticCurvePublicKey:
    """The certificate's key, of P-384: the only curve in this hierarchy."""
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP384R1):
        got = key.curve.name if isinstance(key, EllipticCurvePublicKey) else type(key).__name__
        refuse(CERTIFICATES, f"{what}: key", expected="a key of P-384", got=got)
    return key


def appraise(verified: Verified) -> tuple[Finding, ...]:
    """What only Nitro has: who else is measured (tee.20), and what is not known of revocation.

    None of it is refuted by being absent: a policy that wants one of them pins its register.
    """
    found = []
    for index in _IDENTITIES:
        value = verified.measurements.get(f"pcr{index}", "")
        known = bool(value.strip("0"))
        found.append(
            Finding(
                ATTRIBUTES,
                f"{_MEANINGS[index]} is measured",
                Truth.ASSERTED if known else Truth.UNKNOWN,
                Source.HARDWARE,
                f"pcr{index} is " + (value if known else "zeros or not shown"),
            )
        )
    return (
        *found,
        Finding(
            REVOCATION,
            "no certificate of the chain was revoked",
            Truth.UNKNOWN,
            Source.DERIVED,
            verified.details["revocation"],
        ),
    )


def _debug(pcrs: Mapping[int, bytes]) -> bool:
    """Registers 0 to 2, the image, kernel and application, are zeros in debug mode.

    One that is zero or not shown says nothing about what runs, which is no better.
    """
    return not all(any(pcrs.get(index, b"")) for index in range(3))


def _details(document: Document, path: x509.Path) -> Mapping[str, str]:
    found = {
        "module_id": printable(document.module_id),
        "timestamp": str(document.timestamp),
        "time": x509.as_text(document.timestamp // 1000),
        "revocation": "not consulted: the document carries no lists, and AWS asks verifiers not "
        f"to use them; the chain ends at {x509.as_text(path.not_after)}",
    }
    for name in ("public_key", "nonce"):
        value = getattr(document, name)
        if value is not None:
            found[name] = value.hex()
    return found
