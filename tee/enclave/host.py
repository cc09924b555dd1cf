"""An enclave and the host beside it: the isolated process, its session, its receipts.

The host is not trusted with inputs that are sealed: it passes them on as they are. It is trusted
with everything in the open, and it can refuse to work at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from proofml.backend import Context
from proofml.canonical import JSON
from proofml.errors import BackendFailed, BackendUnavailable, UsageError, VerificationError
from proofml.fields import FieldError
from proofml.runtime import RUN_LIMITS, runtime_version
from proofml.statement import MAX_NONCE_BYTES
from proofml.tee.binding import Mode, ReceiptAlgorithm
from proofml.tee.config import Configuration
from proofml.tee.enclave import messages
from proofml.tee.enclave.child import GRACE_SECONDS, START_SECONDS, WHO, Child
from proofml.tee.enclave.frames import Frame
from proofml.tee.enclave.messages import Inference
from proofml.tee.platform import Platform
from proofml.tee.quoter import Quoter
from proofml.tee.receipts import MAX_RECEIPTS, SignedReceipt, read_receipts, receipts_bytes
from proofml.tee.sealing import MAX_SEALED_BYTES
from proofml.tee.session_file import SessionFile
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model

#: Receipts that are kept for clients that ask for them; about 60 MB.
KEPT_RECEIPTS: Final = 1 << 16
_MAX_NAME: Final = 200


class Host:
    """A started enclave; ends with `close`, or as a context manager. Safe for several threads.

    Attributes:
        platform: whose quotes it gives.
        mode: what they bind.
        config: the measured configuration, canonical JSON.
    """

    def __init__(self, child: Child, platform: Platform, mode: Mode, seconds: float | None) -> None:
        self._child = child
        self.platform = platform
        self.mode = mode
        self.config = b""
        self._seconds = seconds
        self._session: SessionFile | None = None
        self._receipts: deque[SignedReceipt] = deque(maxlen=KEPT_RECEIPTS)
        self._count = 0

    @classmethod
    def start(
        cls,
        model: Model,
        *,
        platform: Platform,
        quoter: Quoter,
        mode: Mode,
        algorithm: ReceiptAlgorithm = ReceiptAlgorithm.ED25519,
        challenge: bytes | None = None,
        context: Context,
    ) -> Self:
        """Start an isolated process, give it the model, and wait until it was measured.

        Args:
            model: canonical bytes of it go to the process.
            platform: that of `quoter`.
            mode: one quote for each inference, or one now and then receipts.
            algorithm: of receipts.
            challenge: 1 to 64 bytes of a verifier, bound by the session's quote.
            context: limits hold for each request.

        Raises:
            UsageError: arguments that do not fit together.
            UnsupportedModel: the runtime refuses the model.
            BackendUnavailable: no onnxruntime, or no Linux.
            BackendFailed: the process does not start, or the platform refuses.
        """
        if platform is not quoter.platform:
            raise UsageError(f"expected a quoter of {platform}, got one of {quoter.platform}")
        if challenge is not None and mode is not Mode.SESSION:
            raise UsageError("a challenge is bound by a session; without one it is the nonce")
        _check_nonce(challenge, "challenge")
        if runtime_version() is None:
            raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[tee]'")
        limits = context.limits.or_else(RUN_LIMITS)
        child = Child.spawn(quoter, limits, context.progress)
        try:
            host = cls(child, platform, mode, limits.seconds)
            host._begin(model, algorithm, challenge)
        except BaseException:
            child.close()
            raise
        return host

    def _begin(self, model: Model, algorithm: ReceiptAlgorithm, challenge: bytes | None) -> None:
        seconds = self._seconds
        body: dict[str, JSON] = {
            "op": "start",
            "name": "".join(c if c.isprintable() else "?" for c in model.name[:_MAX_NAME]),
            "model": model.digest,
            "file": model.file_digest,
            "mode": self.mode,
            "algorithm": algorithm,
            "challenge": messages.put_nonce(challenge),
            "milliseconds": None if seconds is None else max(1, int(seconds * 1000)),
        }
        limit = START_SECONDS if seconds is None else max(START_SECONDS, seconds)
        with self._child.speaking(None):
            request = Frame(body, {"model": model.canonical})
            reply = self._child.ask(request, limit, "start enclave")
        fields, blobs = messages.result(reply, WHO), dict(reply.blobs)
        try:
            self.config = messages.take_blob(blobs, messages.CONFIG, WHO)
            if self.mode is Mode.SESSION:
                session = messages.take_blob(blobs, messages.SESSION, WHO)
                attestation = messages.take_attestation(fields, blobs)
                self._session = SessionFile(attestation, self.config, session)
            fields.done()
            messages.no_more(blobs, WHO)
        except FieldError as error:
            messages.unexpected(WHO, error)

    def close(self) -> None:
        """End the process; its keys are gone. May be called again."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- what it is -------------------------------------------------------------------------------

    @property
    def session(self) -> SessionFile:
        """What clients need to seal to this enclave and to verify its receipts.

        Raises:
            UsageError: in inference mode there is none.
        """
        if self._session is None:
            raise UsageError("an enclave in inference mode has no session")
        return self._session

    @property
    def missing_isolation(self) -> tuple[str, ...]:
        """What the process says that it could not take away from itself, by name."""
        return Configuration.read(self.config).missing_isolation

    @property
    def process_id(self) -> int:
        """Of the isolated process."""
        return self._child.number

    @property
    def count(self) -> int:
        """Receipts that were issued."""
        return self._count

    @property
    def failure(self) -> BackendFailed | None:
        """Why the process has ended; None while it lives, as far as it was last looked at."""
        return self._child.failure

    def alive(self) -> bool:
        """Look whether the process is still there; does not wait for a request in progress."""
        return self._child.alive()

    # -- requests ---------------------------------------------------------------------------------

    def infer(
        self,
        inputs: Mapping[str, Array] | bytes,
        nonce: bytes | None = None,
        *,
        since: int = 0,
    ) -> Inference:
        """Run the model once.

        Args:
            inputs: name -> array, as `Model.check_inputs` gives them; or one message that was
                sealed to the session.
            nonce: the verifier's, 1 to 64 bytes.
            since: session mode: first receipt of the segment that is returned; the verifier holds
                the chain's head before it.

        Raises:
            UsageError: inputs that are not the model's, or are sealed to another session.
            UnsupportedModel: the model does not run on them.
            BackendFailed: the process ended, took too long, or the platform refuses.
        """
        _check_nonce(nonce, "nonce")
        request = _request(inputs, nonce)
        seconds = self._run_seconds()
        with self._child.speaking(seconds):
            if self.mode is Mode.SESSION:
                self._check_since(since, self._count + 1)
            reply = self._child.ask(request, seconds, "isolated inference")
            sent = {} if isinstance(inputs, bytes) else inputs
            found = messages.take_inference(reply, WHO, sent)
            if self.mode is not Mode.SESSION:
                return found
            self._keep(found)
            return replace(found, receipts=self._segment(since))

    def checkpoint(self, nonce: bytes) -> bytes:
        """A signed checkpoint over 1 to 64 bytes (`receipts.SignedCheckpoint`, canonical JSON).

        Raises:
            UsageError: a nonce of another length; inference mode.
            BackendFailed: the process ended.
        """
        _check_nonce(nonce, "nonce")
        with self._child.speaking(self._run_seconds()):
            request = Frame({"op": "checkpoint", "nonce": nonce.hex()})
            reply = self._child.ask(request, GRACE_SECONDS, "checkpoint")
        fields, blobs = messages.result(reply, WHO), dict(reply.blobs)
        try:
            found = messages.take_blob(blobs, "checkpoint", WHO)
            fields.done()
            messages.no_more(blobs, WHO)
        except FieldError as error:
            messages.unexpected(WHO, error)
        return found

    def receipts(self, since: int) -> bytes:
        """The chain from receipt `since` on, as much of it as goes into one segment.

        Raises:
            UsageError: these are not kept any more, or were not issued yet.
            BackendFailed: the process ended.
        """
        with self._child.speaking(self._run_seconds()):
            self._check_since(since, since + 1)
            if since >= self._count:
                raise UsageError(f"receipts: {self._count} were issued, none is number {since}")
            return self._segment(since)

    def _run_seconds(self) -> float | None:
        return None if self._seconds is None else self._seconds + GRACE_SECONDS

    # -- receipts ---------------------------------------------------------------------------------

    def _check_since(self, since: int, end: int) -> None:
        """Asked before anything is run: the segment from `since` to before `end` can be given."""
        first = self._count - len(self._receipts)
        if not 0 <= since <= self._count:
            raise UsageError(
                f"since: expected 0 to {self._count}, the receipts so far, got {since}"
            )
        if since < first:
            raise UsageError(
                f"since: receipts before number {first} are not kept; ask for a checkpoint, and "
                "for the receipts from its counter on"
            )
        if end - since > MAX_RECEIPTS:
            raise UsageError(
                f"since: {end - since} receipts, at most {MAX_RECEIPTS} go into one proof; check "
                "the chain in parts, or from a checkpoint"
            )

    def _keep(self, found: Inference) -> None:
        try:
            (receipt,) = read_receipts(found.receipts or b"")
        except (VerificationError, ValueError) as error:
            messages.unexpected(WHO, error)
        if receipt.record.counter != self._count:
            raise BackendFailed(
                f"{WHO}: expected receipt number {self._count}, got {receipt.record.counter}; the "
                "one between them was lost with its reply, start another session"
            )
        self._receipts.append(receipt)
        self._count += 1

    def _segment(self, since: int) -> bytes:
        skipped = since - (self._count - len(self._receipts))
        return receipts_bytes(tuple(islice(self._receipts, skipped, skipped + MAX_RECEIPTS)))


def _check_nonce(nonce: bytes | None, what: str) -> None:
    if nonce is not None and not 1 <= len(nonce) <= MAX_NONCE_BYTES:
        raise UsageError(f"{what}: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(nonce)}")


def _request(inputs: Mapping[str, Array] | bytes, nonce: bytes | None) -> Frame:
    if isinstance(inputs, bytes):
        if len(inputs) > MAX_SEALED_BYTES:
            raise UsageError(f"sealed inputs: at most {MAX_SEALED_BYTES} bytes")
        body: dict[str, JSON] = {"op": "infer-sealed", "nonce": messages.put_nonce(nonce)}
        return Frame(body, {messages.SEALED: inputs})
    try:
        tensors = messages.put_tensors("inputs", "input", inputs)
    except ValueError as error:
        raise UsageError(f"inputs: {error}") from error
    return messages.merged(Frame({"op": "infer", "nonce": messages.put_nonce(nonce)}), tensors)
