"""What frames say: tensors, attestations, errors and inferences as JSON bodies with blobs.

Requests, to the isolated process and to a server alike, by the key `op` of their body:

    start        (isolated process only) the model and what the enclave is to be
    about        (server only) -> mode, configuration, and in session mode the session and its quote
    infer        tensors in the open, nonce -> Statement, outputs, receipt or quote
    infer-sealed one sealed message, nonce -> Statement, sealed outputs, receipt
    checkpoint   nonce -> a signed checkpoint
    receipts     (server only) -> a segment of the chain

and to the platform: `configure`, `extend`, `quote`. A reply's body has `ok`; where it is false,
`error` and `message` say what went wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from proofml.canonical import JSON
from proofml.errors import (
    BackendFailed,
    BackendUnavailable,
    ProofmlError,
    UnsupportedModel,
    UsageError,
    printable,
)
from proofml.fields import FieldError, Fields
from proofml.statement import MAX_NONCE_BYTES, Statement
from proofml.tee.enclave.frames import Frame
from proofml.tee.platform import Attestation, Platform
from proofml.tee.tensor_blobs import read_specs, specs_of
from proofml.tensors import Array, from_npy, to_npy

_ERRORS: Final[Mapping[str, type[ProofmlError]]] = {
    "usage": UsageError,
    "unsupported": UnsupportedModel,
    "unavailable": BackendUnavailable,
    "failed": BackendFailed,
}
QUOTE, COLLATERAL, EVENT_LOG = "quote", "collateral", "event-log"
CONFIG, SESSION, RECEIPTS, SEALED = "config", "session", "receipts", "sealed"


def failure(error: BaseException) -> Frame:
    """The reply that says what went wrong, in one line."""
    kind = next((name for name, cls in _ERRORS.items() if isinstance(error, cls)), "failed")
    if isinstance(error, MemoryError):
        text = f"out of memory: {error}" if str(error) else "out of memory"
    elif isinstance(error, ProofmlError):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return Frame({"ok": False, "error": kind, "message": printable(text)})


def success(
    body: Mapping[str, JSON] | None = None, blobs: Mapping[str, bytes] | None = None
) -> Frame:
    """A reply that carries a result."""
    return Frame({"ok": True, **(body or {})}, blobs or {})


def result(reply: Frame, who: str) -> Fields:
    """The body of a successful reply, `ok` taken; raises what a failed one says.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, BackendFailed: as the other side says;
            BackendFailed too where it says something else than a reply.
    """
    try:
        fields = Fields(reply.body, who)
        if fields.boolean("ok"):
            return fields
        kind = fields.string("error", choices=tuple(_ERRORS))
        message = printable(fields.raw("message"))
        fields.done()
    except FieldError as error:
        raise BackendFailed(f"{error}; this is no reply") from error
    raise _ERRORS[kind](message)


def unexpected(who: str, error: Exception) -> NoReturn:
    """For a reply that cannot be read."""
    raise BackendFailed(f"{who}: the reply cannot be read: {printable(error)}") from error


# -- parts ----------------------------------------------------------------------------------------


def put_tensors(key: str, role: str, tensors: Mapping[str, Array]) -> Frame:
    """Body `{key: specs}` and blobs `role.0`, `role.1`, ...; to be merged into a frame."""
    specs: list[JSON] = [spec.to_json() for spec in specs_of(tensors)]
    blobs = {f"{role}.{i}": to_npy(array) for i, array in enumerate(tensors.values())}
    return Frame({key: specs}, blobs)


def take_tensors(fields: Fields, key: str, role: str, blobs: dict[str, bytes]) -> dict[str, Array]:
    """What `put_tensors` made, taken out of `blobs`; arrays are read-only.

    Raises:
        FieldError: it is something else.
    """
    found: dict[str, Array] = {}
    for index, spec in enumerate(read_specs(fields, key)):
        path = f"{fields.at(key)}[{index}]"
        data = take_blob(blobs, f"{role}.{index}", path)
        try:
            found[spec.name] = from_npy(data, spec.dtype, spec.shape)
        except ValueError as error:
            raise FieldError(path, "canonical bytes of this type and shape", str(error)) from error
    return found


def take_blob(blobs: dict[str, bytes], name: str, path: str) -> bytes:
    """One blob, taken out; raises `FieldError` where it is missing."""
    try:
        return blobs.pop(name)
    except KeyError:
        raise FieldError(path, f"a blob {name!r}", "none") from None


def no_more(blobs: Mapping[str, bytes], path: str) -> None:
    """Raises `FieldError` where a blob is left that nobody asked for."""
    if blobs:
        raise FieldError(path, "no other blobs", ", ".join(sorted(blobs)[:4]))


def take_nonce(fields: Fields, *, required: bool = False) -> bytes | None:
    """The nonce: 1 to 64 bytes as hex, or null."""
    if fields.raw("nonce") is None and not required:
        return None
    nonce = fields.hexadecimal("nonce", longest=MAX_NONCE_BYTES)
    if not nonce:
        raise FieldError(fields.at("nonce"), f"1 to {MAX_NONCE_BYTES} bytes", "an empty one")
    return nonce


def put_nonce(nonce: bytes | None) -> str | None:
    return None if nonce is None else nonce.hex()


def put_attestation(attestation: Attestation) -> Frame:
    """Body `{"platform": ...}` and the blobs; to be merged into a frame."""
    blobs = {QUOTE: attestation.quote}
    if attestation.collateral:
        blobs[COLLATERAL] = attestation.collateral
    if attestation.event_log:
        blobs[EVENT_LOG] = attestation.event_log
    return Frame({"platform": attestation.platform}, blobs)


def take_attestation(fields: Fields, blobs: dict[str, bytes]) -> Attestation:
    """What `put_attestation` made; raises `FieldError`."""
    platform = Platform(fields.string("platform", choices=tuple(Platform)))
    return Attestation(
        platform,
        take_blob(blobs, QUOTE, fields.path),
        blobs.pop(COLLATERAL, b""),
        blobs.pop(EVENT_LOG, b""),
    )


# -- one inference --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inference:
    """What an enclave did with one request.

    Attributes:
        statement: that it built and signed, or had quoted.
        tensors: role (`input.0`, ..., `output.0`, ...) -> array, of what is public.
        receipts: session mode: the segment of the chain that ends with this inference's receipt.
        attestation: inference mode: the quote over this Statement.
        sealed_outputs: where the inputs were sealed.
    """

    statement: Statement
    tensors: Mapping[str, Array] = field(repr=False)
    receipts: bytes | None = field(default=None, repr=False)
    attestation: Attestation | None = field(default=None, repr=False)
    sealed_outputs: bytes | None = field(default=None, repr=False)


def put_inference(inference: Inference, outputs: Mapping[str, Array]) -> Frame:
    """Reply to `infer` and `infer-sealed`; `outputs` by name, none where they are sealed."""
    parts = [put_tensors("outputs", "output", outputs)]
    if inference.attestation is not None:
        parts.append(put_attestation(inference.attestation))
    blobs = {
        name: data
        for name, data in ((RECEIPTS, inference.receipts), (SEALED, inference.sealed_outputs))
        if data is not None
    }
    statement: JSON = inference.statement.to_json()
    return merged(success({"statement": statement}, blobs), *parts)


def take_inference(reply: Frame, who: str, inputs: Mapping[str, Array]) -> Inference:
    """What `put_inference` wrote; `inputs` are those that were sent in the open.

    Raises:
        BackendFailed: it is something else. What it claims is for a verifier to judge.
        UsageError, UnsupportedModel, BackendUnavailable: as the other side says.
    """
    fields = result(reply, who)
    blobs = dict(reply.blobs)
    try:
        statement = Statement.read(fields.raw("statement"), fields.at("statement"))
        outputs = take_tensors(fields, "outputs", "output", blobs)
        attestation = take_attestation(fields, blobs) if "platform" in fields else None
        receipts, sealed = blobs.pop(RECEIPTS, None), blobs.pop(SEALED, None)
        fields.done()
        no_more(blobs, who)
    except FieldError as error:
        unexpected(who, error)
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    return Inference(statement, tensors, receipts, attestation, sealed)


def merged(*frames: Frame) -> Frame:
    """One frame with all bodies and blobs; no key may come twice."""
    body: dict[str, JSON] = {}
    blobs: dict[str, bytes] = {}
    for frame in frames:
        assert not body.keys() & frame.body.keys()
        assert not blobs.keys() & frame.blobs.keys()
        body |= frame.body
        blobs |= frame.blobs
    return Frame(body, blobs)
