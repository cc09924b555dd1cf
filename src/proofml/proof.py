"""The Proof: one `.pml` file that a stranger can read, match by digest, and check.

Its attestation is an in-toto Statement v1 whose subjects are the model (file and canonical
digest) and the public inputs and outputs, and whose predicate (`PREDICATE_TYPE`, schema in
docs/schema/inference-v1.json) holds our Statement, the backend and the digests of the evidence.
It stands in a DSSE envelope where it is signed, bare where it is not.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from proofml import container
from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256
from proofml.errors import UsageError, VerificationError
from proofml.fields import FieldError, Fields, text_item
from proofml.keys import SigningKey, envelope, open_envelope
from proofml.statement import Statement, Visibility
from proofml.tensors import Array, from_npy, to_npy

INTOTO_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://proofml.dev/attestation/inference/v1"
SUFFIX = ".pml"
MAX_EVIDENCE = 2048
MEDIA_NPY = "application/x-npy"
MAX_BESIDE_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class EvidenceEntry:
    """One piece of evidence: a section of this file, or (`beside`) a file next to it."""

    name: str
    media_type: str
    size: int
    sha256: str
    beside: bool = False

    def to_json(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "mediaType": self.media_type,
            "size": self.size,
            "sha256": self.sha256,
            "location": "beside" if self.beside else "inline",
        }

    @classmethod
    def read(cls, value: object, path: str) -> EvidenceEntry:
        fields = Fields(value, path)
        result = cls(
            fields.string("name", longest=64),
            fields.string("mediaType", longest=128),
            fields.integer("size", 0, MAX_BESIDE_BYTES),
            fields.sha256("sha256"),
            fields.string("location", choices=("inline", "beside")) == "beside",
        )
        fields.done()
        if not container.NAME.fullmatch(result.name) or result.name == container.ATTESTATION:
            raise FieldError(fields.at("name"), "a section name", result.name)
        return result

    @property
    def beside_name(self) -> str:
        """The file name under which evidence lies beside its proof."""
        return f"{self.sha256}.evidence"


@dataclass(frozen=True, slots=True)
class Blob:
    """Evidence that a backend hands over; `path` instead of `data` goes beside the proof."""

    data: bytes = b""
    media_type: str = "application/octet-stream"
    path: Path | None = None


def subjects(statement: Statement) -> list[dict[str, JSON]]:
    """The in-toto subjects that a Statement implies: model, public inputs, public outputs."""
    model = statement.model
    if model.weights_hidden:
        found: list[tuple[str, str | None]] = [("model:architecture", model.architecture_sha256)]
    else:
        found = [("model:canonical", model.canonical_sha256), ("model:file", model.file_sha256)]
    for role, tensor in statement.tensors():
        if tensor.sha256 is not None:
            found.append((f"{role.split('.')[0]}:{tensor.name}", tensor.sha256))
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in found]


@dataclass(frozen=True)
class Proof:
    """Read with `Proof.read`, made by `Proof.build`. Reading checks core.1 to core.6."""

    statement: Statement
    backend: str
    backend_version: int
    entries: tuple[EvidenceEntry, ...]
    notes: Mapping[str, str]
    signers: tuple[str, ...]
    attestation: bytes = field(repr=False)
    sections: Mapping[str, bytes] = field(repr=False)
    folder: Path | None = None
    beside: Mapping[str, Path] = field(default_factory=dict, repr=False)
    #: Assumptions that the maker knows a verifier will have to allow; not part of the file.
    hints: frozenset[str] = frozenset()
    #: Keys that an envelope names and whose signatures nobody checked; `signers` is then empty.
    unchecked: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the attestation, which names all evidence by digest; 64 hexadecimal digits."""
        return sha256(self.attestation)

    # -- making ---------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        statement: Statement,
        backend: str,
        backend_version: int,
        evidence: Mapping[str, Blob],
        tensors: Mapping[str, Array],
        *,
        notes: Mapping[str, str] | None = None,
        signers: Sequence[SigningKey] = (),
        hints: frozenset[str] = frozenset(),
    ) -> Proof:
        """Assemble a proof. `tensors` maps `input.0`, `output.0`, ... to the public values."""
        blobs = dict(evidence)
        for role, claim in statement.tensors():
            if claim.visibility is Visibility.PUBLIC:
                blobs[role] = Blob(to_npy(tensors[role]), MEDIA_NPY)
        entries = tuple(_entry(name, blob) for name, blob in sorted(blobs.items()))
        payload = dumps(
            {
                "_type": INTOTO_TYPE,
                "subject": subjects(statement),
                "predicateType": PREDICATE_TYPE,
                "predicate": {
                    "statement": statement.to_json(),
                    "backend": {"name": backend, "version": backend_version},
                    "evidence": [entry.to_json() for entry in entries],
                    "notes": dict(notes or {}),
                },
            }
        )
        return cls(
            statement=statement,
            backend=backend,
            backend_version=backend_version,
            entries=entries,
            notes=dict(notes or {}),
            signers=tuple(sorted({key.public for key in signers})),
            attestation=envelope(payload, signers) if signers else payload,
            sections={n: blob.data for n, blob in blobs.items() if blob.path is None},
            beside={n: blob.path for n, blob in blobs.items() if blob.path is not None},
            hints=hints,
        )

    def to_bytes(self) -> bytes:
        return container.pack(self.attestation, self.sections)

    def write(self, path: Path, *, force: bool = False) -> None:
        """Write atomically, evidence beside it first; refuses to overwrite without `force`."""
        path = Path(path)
        if path.exists() and not force:
            raise UsageError(f"{path}: exists; give another name or --force")
        for entry in self.entries:
            if entry.beside:
                source = self._beside_source(entry)
                if source is None:
                    raise UsageError(f"evidence {entry.name}: the proof was read without a folder")
                _place(path.with_name(entry.beside_name), partial(shutil.copyfile, source))
        _place(path, lambda to: to.write_bytes(self.to_bytes()))

    def _beside_source(self, entry: EvidenceEntry) -> Path | None:
        """Where evidence beside the proof lies, before it is written or after."""
        made = self.beside.get(entry.name)
        return self.folder / entry.beside_name if made is None and self.folder else made

    # -- reading --------------------------------------------------------------------------

    @classmethod
    def read(cls, source: Path | str | bytes, *, signatures: bool = True) -> Proof:
        """Parse strictly and check everything that the file can show about itself.

        Args:
            signatures: False where they cannot be checked (that takes the package
                `cryptography`): core.3 is then not made, and `unchecked` names the keys.

        Raises:
            VerificationError: checks core.1 to core.6; the only error that content can cause.
            UsageError: the file cannot be opened.
        """
        if isinstance(source, bytes):
            return cls._parse(source, None, signatures)
        path = Path(source)
        try:
            with path.open("rb") as file:
                data = file.read(container.MAX_FILE_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
        if len(data) > container.MAX_FILE_BYTES:
            raise VerificationError(
                "core.1", "file size", expected=f"at most {container.MAX_FILE_BYTES}", got="more"
            )
        return cls._parse(data, path.parent, signatures)

    @classmethod
    def _parse(cls, data: bytes, folder: Path | None, signatures: bool) -> Proof:
        attestation, sections = container.unpack(data)
        try:
            proof = cls._parse_attestation(attestation, sections, folder, signatures)
        except (CanonicalError, FieldError) as error:
            raise VerificationError("core.2", f"attestation: {error}") from error
        proof._check_evidence()
        proof._check_tensors()
        return proof

    @classmethod
    def _parse_attestation(
        cls,
        attestation: bytes,
        sections: Mapping[str, bytes],
        folder: Path | None,
        signatures: bool,
    ) -> Proof:
        value: Any = loads(attestation, max_bytes=container.MAX_ATTESTATION_BYTES)
        named: tuple[str, ...] = ()
        if isinstance(value, dict) and "payloadType" in value:
            payload, named = open_envelope(Fields(value, "envelope"), check=signatures)
            value = loads(payload, max_bytes=container.MAX_ATTESTATION_BYTES)
        outer = Fields(value, "")
        if isinstance(value, dict) and "type" in value and "_type" not in value:
            # another of this package's files: circuits, keys, sealed inputs are containers too
            raise FieldError("type", "a proof", outer.string("type", longest=64))
        outer.string("_type", choices=(INTOTO_TYPE,))
        outer.string("predicateType", choices=(PREDICATE_TYPE,))
        stated_subjects = outer.raw("subject")
        predicate = outer.table("predicate")
        outer.done()
        statement = Statement.read(predicate.raw("statement"), predicate.at("statement"))
        backend = predicate.table("backend")
        name, version = backend.string("name", longest=64), backend.integer("version", 1, 1 << 16)
        backend.done()
        entries = predicate.items("evidence", EvidenceEntry.read, most=MAX_EVIDENCE)
        notes = _read_notes(predicate)
        predicate.done()
        implied = subjects(statement)
        if stated_subjects != implied:
            raise VerificationError(
                "core.4",
                "subjects are not the ones that the Statement implies",
                expected=sha256(dumps(implied)),
                got=sha256(dumps(stated_subjects)),
            )
        return cls(
            statement,
            name,
            version,
            entries,
            notes,
            named if signatures else (),
            attestation,
            sections,
            folder,
            unchecked=() if signatures else named,
        )

    def _check_evidence(self) -> None:
        listed = [entry.name for entry in self.entries]
        if sorted(set(listed)) != listed:
            raise VerificationError(
                "core.5", "evidence is listed out of order or twice", got=listed
            )
        inline = [entry.name for entry in self.entries if not entry.beside]
        if inline != list(self.sections):
            raise VerificationError(
                "core.5", "sections", expected=", ".join(inline), got=", ".join(self.sections)
            )
        for entry in self.entries:
            if entry.beside:
                continue
            body = self.sections[entry.name]
            if len(body) != entry.size or sha256(body) != entry.sha256:
                raise VerificationError(
                    "core.5",
                    f"section {entry.name}",
                    expected=f"{entry.size} bytes, {entry.sha256}",
                    got=f"{len(body)} bytes, {sha256(body)}",
                )

    def _check_tensors(self) -> None:
        known = {entry.name: entry for entry in self.entries}
        for role, claim in self.statement.tensors():
            entry = known.get(role)
            if claim.visibility is not Visibility.PUBLIC:
                if entry is not None:
                    raise VerificationError(
                        "core.6", f"{role} is {claim.visibility} and its value is in the file"
                    )
                continue
            if entry is None or entry.beside or entry.sha256 != claim.sha256:
                raise VerificationError(
                    "core.6",
                    f"value of {role} ({claim.name})",
                    expected=claim.sha256,
                    got="nothing in this file" if entry is None else entry.sha256,
                )
            try:
                from_npy(self.sections[role], claim.dtype, claim.shape)
            except ValueError as error:
                raise VerificationError("core.6", f"value of {role}: {error}") from error

    # -- looking --------------------------------------------------------------------------

    def tensor(self, role: str) -> Array:
        """A public tensor by role (`input.0`); read-only. KeyError for one that is not public."""
        claim = dict(self.statement.tensors())[role]
        return from_npy(self.sections[role], claim.dtype, claim.shape)

    def evidence(self, name: str, *, check: str, most: int) -> bytes:
        """A section of at most `most` bytes; a missing or larger one fails check `check`."""
        body = self.sections.get(name)
        if body is None:
            raise VerificationError(check, "evidence", expected=f"a section {name}", got="none")
        if len(body) > most:
            raise VerificationError(
                check, f"section {name}", expected=f"at most {most} bytes", got=len(body)
            )
        return body

    def evidence_beside(self, name: str, *, check: str, most: int) -> Path:
        """The path of evidence beside the proof, its size and digest checked by streaming."""
        entry = next((e for e in self.entries if e.name == name and e.beside), None)
        path = None if entry is None else self._beside_source(entry)
        if entry is None or path is None or entry.size > most:
            raise VerificationError(
                check, "evidence beside the proof", expected=f"{name}, at most {most} bytes"
            )
        hasher = hashlib.sha256()
        if not path.is_file():  # opening a pipe would wait for ever
            raise VerificationError(
                check,
                f"{path.name}: expected a file beside the proof, got none; it comes with the "
                "proof, from whoever made it",
            )
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                while size == entry.size and (chunk := file.read(1 << 20)):
                    hasher.update(chunk)
        except OSError as error:
            raise VerificationError(check, f"{path.name}: {error.strerror}") from error
        if size != entry.size or hasher.hexdigest() != entry.sha256:
            raise VerificationError(check, f"{path.name} is not the evidence that is listed")
        return path


def _place(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file next to `path` and move it there."""
    temporary = path.with_name(f".{os.getpid()}.{path.name[:200]}.part")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def _entry(name: str, blob: Blob) -> EvidenceEntry:
    if blob.path is None:
        return EvidenceEntry(name, blob.media_type, len(blob.data), sha256(blob.data))
    with blob.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return EvidenceEntry(name, blob.media_type, blob.path.stat().st_size, digest, beside=True)


def _read_notes(predicate: Fields) -> dict[str, str]:
    raw = predicate.raw("notes")
    if not isinstance(raw, dict) or len(raw) > 64:
        raise FieldError(predicate.at("notes"), "a table of at most 64 strings", raw)
    path = predicate.at("notes")
    return {text_item(key, path): text_item(value, f"{path}.{key}") for key, value in raw.items()}
