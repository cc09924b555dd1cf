"""What the isolated process does: load one model, make keys, run, build Statements, sign.

Nothing that comes from the host is trusted: the model's bytes have to give the digest that the
configuration, the session and every Statement name. One thing is taken from the host as it is, and
no signature vouches for it: the digest of the model's *file*, of which the process only sees the
canonical bytes.

A request that is sealed ends in a result or in an error of fixed words: whatever is said about it
outside could tell something of the inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from proofml.canonical import JSON, sha256
from proofml.errors import BackendFailed, UsageError
from proofml.fields import FieldError, Fields
from proofml.statement import Computation, ModelClaim, Statement
from proofml.tee.binding import (
    MAX_CHALLENGE_BYTES,
    Mode,
    ReceiptAlgorithm,
    Session,
    inference_data,
    session_data,
)
from proofml.tee.commitments import claim, output_salt
from proofml.tee.config import Configuration, Runtime
from proofml.tee.enclave import messages
from proofml.tee.enclave.frames import Frame
from proofml.tee.enclave.messages import Inference
from proofml.tee.quoter import Quoter
from proofml.tee.receipt_signer import ReceiptSecret, ReceiptSigner
from proofml.tee.receipts import receipts_bytes
from proofml.tee.sealing import SealError, SealingKey, seal_outputs
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.tee.sealing import OpenedInputs

#: `kind` of the computation in a Statement.
KIND: Final = "tee"
MAX_MILLISECONDS: Final = 10**9


class Loaded(Protocol):
    """A model that runs (`stages.Runner`)."""

    inputs: tuple[str, ...]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]: ...


#: Makes a `Loaded` of the canonical bytes, a name for messages, and the seconds for each run.
Loader = Callable[[bytes, str, float | None], Loaded]


@dataclass(frozen=True)
class _Keys:
    """What an enclave has in session mode only."""

    record: Session
    signer: ReceiptSigner
    sealing: SealingKey


@dataclass(frozen=True)
class _Started:
    """An enclave that has its model."""

    model: Loaded
    claim: ModelClaim
    computation: Computation
    session: _Keys | None


class Service:
    """Answers the host's requests one after the other.

    Args:
        isolation: what the process reached; goes into the measured configuration.
        quoter: the platform.
        load: makes a model run.
        runtime: what `load` runs it with, as the configuration records it.
    """

    def __init__(
        self,
        isolation: Mapping[str, bool],
        quoter: Quoter,
        load: Loader,
        runtime: Mapping[str, JSON],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._isolation = dict(isolation)
        self._quoter = quoter
        self._load = load
        self._runtime = runtime
        self._clock = clock
        self._started: _Started | None = None

    def answer(self, request: Frame) -> Frame:
        """The reply to any frame; raises nothing of `Exception`."""
        try:
            return self._answer(request)
        except FieldError as error:
            return messages.failure(UsageError(f"request: {error}"))
        except Exception as error:  # noqa: BLE001 - the host is told, and the process goes on
            return messages.failure(error)

    def _answer(self, request: Frame) -> Frame:
        fields, blobs = Fields(request.body, "request"), dict(request.blobs)
        operation = fields.string("op", longest=32)
        if operation == "start":
            return self._start(fields, blobs)
        if self._started is None:
            raise UsageError(f"{operation}: the enclave has no model yet")
        if operation == "infer":
            return self._infer(self._started, fields, blobs)
        if operation == "infer-sealed":
            return self._infer_sealed(self._started, fields, blobs)
        if operation == "checkpoint":
            return self._checkpoint(self._started, fields, blobs)
        raise UsageError(f"request.op: no such operation here: {operation}")

    # -- start ------------------------------------------------------------------------------------

    def _start(self, fields: Fields, blobs: dict[str, bytes]) -> Frame:
        if self._started is not None:
            raise UsageError("start: the enclave has its model already")
        name = fields.string("name", longest=512)
        digest, file_digest = fields.sha256("model"), fields.sha256("file")
        mode = Mode(fields.string("mode", choices=tuple(Mode)))
        algorithm = ReceiptAlgorithm(fields.string("algorithm", choices=tuple(ReceiptAlgorithm)))
        challenge = (
            None
            if fields.raw("challenge") is None
            else fields.hexadecimal("challenge", longest=MAX_CHALLENGE_BYTES)
        )
        seconds = None
        if fields.raw("milliseconds") is not None:
            seconds = fields.integer("milliseconds", 1, MAX_MILLISECONDS) / 1000
        fields.done()
        model = messages.take_blob(blobs, "model", "request")
        messages.no_more(blobs, "request")
        if sha256(model) != digest:
            raise UsageError(f"model: expected bytes of SHA-256 {digest}, got {sha256(model)}")
        loaded = self._load(model, name, seconds)
        runtime = Runtime.read(self._runtime, "runtime")
        config = Configuration(digest, mode, runtime, self._isolation).to_bytes()
        self._quoter.configure(config)
        reply = messages.success(None, {messages.CONFIG: config})
        session: _Keys | None = None
        if mode is Mode.SESSION:
            session, quoted = self._open_session(digest, config, algorithm, challenge)
            reply = messages.merged(reply, quoted)
        self._started = _Started(
            loaded,
            ModelClaim(canonical_sha256=digest, file_sha256=file_digest),
            Computation(
                KIND, {"mode": mode, "platform": self._quoter.platform, "runtime": self._runtime}
            ),
            session,
        )
        return reply

    def _open_session(
        self, model: str, config: bytes, algorithm: ReceiptAlgorithm, challenge: bytes | None
    ) -> tuple[_Keys, Frame]:
        secret, sealing = ReceiptSecret.generate(algorithm), SealingKey.generate()
        record = Session(
            receipt_algorithm=algorithm,
            receipt_key=secret.public,
            sealing_key=sealing.public,
            model=model,
            config=sha256(config),
            challenge=challenge,
            started=int(self._clock()),
        )
        attestation = self._quoter.quote(session_data(record))
        frame = messages.merged(
            messages.put_attestation(attestation), Frame({}, {messages.SESSION: record.to_bytes()})
        )
        return _Keys(record, ReceiptSigner(secret, record), sealing), frame

    # -- inferences -------------------------------------------------------------------------------

    def _infer(self, started: _Started, fields: Fields, blobs: dict[str, bytes]) -> Frame:
        nonce = messages.take_nonce(fields)
        inputs = messages.take_tensors(fields, "inputs", "input", blobs)
        fields.done()
        messages.no_more(blobs, "request")
        outputs = started.model.run(inputs)
        statement = self._statement(started, inputs, outputs, nonce, None)
        return messages.put_inference(self._shown(started, statement, None), outputs)

    def _infer_sealed(self, started: _Started, fields: Fields, blobs: dict[str, bytes]) -> Frame:
        nonce = messages.take_nonce(fields)
        fields.done()
        sealed = messages.take_blob(blobs, messages.SEALED, "request")
        messages.no_more(blobs, "request")
        if started.session is None:
            raise UsageError(
                "sealed inputs: an enclave in inference mode has no sealing key; start one in "
                "session mode"
            )
        statement, sealed_outputs = self._run_sealed(started, started.session, sealed, nonce)
        return messages.put_inference(self._shown(started, statement, sealed_outputs), {})

    def _run_sealed(
        self, started: _Started, keys: _Keys, sealed: bytes, nonce: bytes | None
    ) -> tuple[Statement, bytes]:
        """Everything that sees the inputs; what goes wrong here has fixed words outside."""
        session = keys.record.digest
        opened: OpenedInputs | None = None
        reason = ""
        try:
            opened = keys.sealing.open(sealed, session)
            outputs = started.model.run(opened.tensors)
            statement = self._statement(started, opened.tensors, outputs, nonce, opened.salt)
            return statement, seal_outputs(outputs, opened, session, statement.digest)
        except SealError as error:
            reason = str(error)  # fixed words too
        except Exception:  # noqa: BLE001 - its text and its cause could tell of the inputs
            pass
        if opened is None and reason:
            raise UsageError(f"sealed inputs: {reason}; seal them to the session of this enclave")
        raise BackendFailed(
            "sealed inputs: the model does not run on them (names, types or shapes that are not "
            "the model's, too much memory or time); which of these stays inside"
        )

    def _statement(
        self,
        started: _Started,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        nonce: bytes | None,
        salt: bytes | None,
    ) -> Statement:
        """Tensors are public without a salt; under one they are committed to."""
        own = None if salt is None else output_salt(salt)
        return Statement(
            model=started.claim,
            inputs=tuple(
                claim(name, f"input.{i}", array, salt)
                for i, (name, array) in enumerate(inputs.items())
            ),
            outputs=tuple(
                claim(name, f"output.{i}", array, own)
                for i, (name, array) in enumerate(outputs.items())
            ),
            computation=started.computation,
            nonce=nonce,
        )

    def _shown(
        self, started: _Started, statement: Statement, sealed_outputs: bytes | None
    ) -> Inference:
        """With the receipt, or the quote, that shows the Statement."""
        if started.session is None:
            attestation = self._quoter.quote(inference_data(statement.digest))
            return Inference(statement, {}, attestation=attestation)
        receipt = started.session.signer.receipt(statement.digest, int(self._clock()))
        return Inference(
            statement, {}, receipts=receipts_bytes((receipt,)), sealed_outputs=sealed_outputs
        )

    def _checkpoint(self, started: _Started, fields: Fields, blobs: dict[str, bytes]) -> Frame:
        nonce = messages.take_nonce(fields, required=True)
        fields.done()
        messages.no_more(blobs, "request")
        if started.session is None:
            raise UsageError("checkpoint: an enclave in inference mode signs no receipts")
        assert nonce is not None
        signed = started.session.signer.checkpoint(nonce)
        return messages.success(None, {"checkpoint": signed.to_bytes()})
