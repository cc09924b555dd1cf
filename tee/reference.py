"""Reference values: which measurements stand for code that somebody has looked at.

A file holds references in canonical JSON, as an in-toto Statement v1 with predicate type
`PREDICATE_TYPE`:

    {"_type": ..., "predicateType": ...,
     "subject": [{"name": "tdx:mrtd", "digest": {"sha384": ...}}, ...],
     "predicate": {"version": 1, "references": [
         {"name": "image 1.2", "platform": "tdx", "registers": {"mrtd": ["<hex>", ...], ...}}]}}

bare, or in a DSSE envelope signed by keys of `proofml.keys`. The subjects are implied by the
references and have to agree with them. A policy names such files by path: they are its own, and a
bad one is a mistake of the verifier's (`UsageError`), never evidence. None travels with a proof.

A reference is one whole: each of its registers has to have one of its values. References are
alternatives: one that fits is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.keys import SigningKey, envelope, open_envelope
from proofml.tee.platform import Platform, Source
from proofml.tee.registers import REGISTERS

PREDICATE_TYPE: Final = "https://proofml.dev/attestation/tee-reference-values/v1"
INTOTO_TYPE: Final = "https://in-toto.io/Statement/v1"
MAX_FILE_BYTES: Final = 1 << 20
MAX_REFERENCES: Final = 256
MAX_VALUES: Final = 256
MAX_NAME: Final = 200
#: Bytes of a digest -> its name in an in-toto subject; a value of another size is no digest.
_DIGESTS: Final = {32: "sha256", 48: "sha384", 64: "sha512"}


@dataclass(frozen=True)
class Reference:
    """One set of registers that stands for known code.

    Attributes:
        name: for people, such as `image 1.2`.
        registers: name -> accepted values, lower-case hexadecimal digits; at least one register,
            and at least one value for each.
        source: who says that these values are good.
        origin: where they come from, for messages.
    """

    platform: Platform
    name: str
    registers: Mapping[str, frozenset[str]]
    source: Source = field(default=Source.HARDWARE, compare=False)
    origin: str = field(default="", compare=False)

    def to_json(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "platform": self.platform,
            "registers": {name: sorted(values) for name, values in self.registers.items()},
        }

    @classmethod
    def read(cls, value: object, path: str) -> Reference:
        """Strictly; raises `FieldError`."""
        fields = Fields(value, path)
        name = fields.string("name", longest=MAX_NAME)
        platform = Platform(fields.string("platform", choices=tuple(Platform)))
        registers = read_registers(fields.table("registers"), (platform,))
        fields.done()
        return cls(platform, name, registers)


def read_registers(fields: Fields, platforms: Iterable[Platform]) -> dict[str, frozenset[str]]:
    """A table of register -> list of values, for registers of these platforms.

    Raises:
        FieldError: no register, an unknown one, no value, or one of another size.
    """
    sizes = {name: size for one in platforms for name, size in REGISTERS[one].items()}
    names = [str(name) for name in fields.mapping]
    if not names:
        raise FieldError(fields.path, "at least one register", "none")
    found: dict[str, frozenset[str]] = {}
    for name in names:
        size = sizes.get(name)
        if size is None:
            raise FieldError(fields.at(name), f"one of {', '.join(sizes)}", "it")

        def read(value: object, path: str, size: int = size) -> str:
            return _value(value, path, size)

        values = fields.items(name, read, most=MAX_VALUES)
        if not values:
            raise FieldError(fields.at(name), "at least one value", "none")
        found[name] = frozenset(values)
    fields.done()
    return found


def _value(value: object, path: str, size: int) -> str:
    digits = 2 * size
    if (
        not isinstance(value, str)
        or len(value) != digits
        or not set(value) <= set("0123456789abcdef")
    ):
        raise FieldError(path, f"{digits} lower-case hexadecimal digits", value)
    return value


@dataclass(frozen=True)
class ReferenceFile:
    """A file of references; `signers` are the keys whose signatures verified."""

    references: tuple[Reference, ...]
    signers: tuple[str, ...] = ()

    def to_bytes(self, keys: Sequence[SigningKey] = ()) -> bytes:
        """Canonical JSON, in an envelope where there are keys.

        Raises:
            UsageError: what `read` would refuse.
        """
        payload = dumps(_statement(self.references))
        try:
            _references(loads(payload, max_bytes=MAX_FILE_BYTES))
        except (FieldError, CanonicalError) as error:
            raise UsageError(f"reference values: {error}") from error
        return envelope(payload, keys) if keys else payload

    @classmethod
    def read(cls, data: bytes, what: str = "reference values") -> ReferenceFile:
        """Strictly, every signature checked.

        Raises:
            UsageError: not of this form, or a signature that does not verify.
        """
        try:
            value: Any = loads(data, max_bytes=MAX_FILE_BYTES)
            signers: tuple[str, ...] = ()
            if isinstance(value, dict) and "payloadType" in value:
                payload, signers = open_envelope(Fields(value, ""))
                value = loads(payload, max_bytes=MAX_FILE_BYTES)
            return cls(_references(value), signers)
        except (FieldError, CanonicalError) as error:
            raise UsageError(
                f"{what}: {error}; expected a file of `proofml tee reference-values`"
            ) from error
        except VerificationError as error:
            raise UsageError(f"{what}: {error.reason}") from error

    @classmethod
    def load(cls, path: Path, keys: frozenset[str] = frozenset()) -> tuple[Reference, ...]:
        """The references of a file, each with its origin.

        Args:
            keys: of which one has to have signed; empty for no demand, since the file is named by
                the verifier itself.

        Raises:
            UsageError: it cannot be read, is malformed, or none of the keys signed it.
        """
        if not path.is_file():  # opening a pipe would wait for ever
            raise UsageError(f"{path}: no such file; expected reference values")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        found = cls.read(data, str(path))
        signed = sorted(keys & set(found.signers))
        if keys and not signed:
            raise UsageError(
                f"{path}: expected reference values signed by one of {', '.join(sorted(keys))}, "
                f"got {', '.join(found.signers) or 'no signature'}"
            )
        origin = f"{path.name}, signed by {signed[0]}" if signed else path.name
        return tuple(
            Reference(one.platform, one.name, one.registers, Source.PROVIDER, origin)
            for one in found.references
        )


def _statement(references: Sequence[Reference]) -> dict[str, JSON]:
    return {
        "_type": INTOTO_TYPE,
        "subject": _subjects(references),
        "predicateType": PREDICATE_TYPE,
        "predicate": {"version": 1, "references": [one.to_json() for one in references]},
    }


def _subjects(references: Sequence[Reference]) -> list[JSON]:
    """One for each value that is a digest, in the order of the references, none twice."""
    found: dict[tuple[str, str], JSON] = {}
    for one in references:
        for name, values in sorted(one.registers.items()):
            for value in sorted(values):
                kind = _DIGESTS.get(len(value) // 2)
                if kind is not None:
                    subject = f"{one.platform}:{name}"
                    found[subject, value] = {"name": subject, "digest": {kind: value}}
    return list(found.values())


def _references(value: object) -> tuple[Reference, ...]:
    """Raises `FieldError`."""
    outer = Fields(value, "")
    outer.string("_type", choices=(INTOTO_TYPE,))
    outer.string("predicateType", choices=(PREDICATE_TYPE,))
    stated = outer.raw("subject")
    predicate = outer.table("predicate")
    outer.done()
    predicate.integer("version", 1, 1)
    found = predicate.items("references", Reference.read, most=MAX_REFERENCES)
    predicate.done()
    if not found:
        raise FieldError(predicate.at("references"), "at least one", "none")
    if stated != _subjects(found):
        raise FieldError("subject", "the digests of the references, in their order", "others")
    return found
