"""A client of `proofml tee serve`: the same methods as `Host`, over the server's socket.

The server is trusted with nothing but the work: what it answers is read strictly, and whether it is
true a verifier finds out.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from proofml.canonical import JSON
from proofml.errors import BackendFailed, BackendUnavailable, UsageError
from proofml.fields import FieldError
from proofml.tee.binding import Mode
from proofml.tee.enclave import frames, messages
from proofml.tee.enclave.child import MAX_FRAME_BYTES
from proofml.tee.enclave.frames import Deadline, Frame
from proofml.tee.enclave.messages import Inference
from proofml.tee.platform import Platform
from proofml.tee.session_file import SessionFile
from proofml.tensors import Array

#: Until a reply has come; the server has limits of its own.
REPLY_SECONDS: Final = 1200.0
_WHO: Final = "server"


class Client:
    """A connection; ends with `close`, or as a context manager.

    Args:
        path: of the server's socket.
        seconds: for each reply.

    Attributes:
        platform, mode, config: as of `Host`.

    Raises:
        BackendUnavailable: no server is there.
        BackendFailed: it answers something else than a server would.
    """

    def __init__(self, path: Path, *, seconds: float = REPLY_SECONDS) -> None:
        self._path = path
        self._seconds = seconds
        self._lock = threading.Lock()
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(seconds)
        try:
            self._connection.connect(os.fspath(path))
        except OSError as error:
            self._connection.close()
            raise BackendUnavailable(
                f"{path}: no server answers there ({error.strerror or error}); start one with "
                "`proofml tee serve`"
            ) from error
        self._session: SessionFile | None = None
        self.platform: Platform
        self.mode: Mode
        self.config = b""
        try:
            self._learn()
        except BaseException:
            self.close()
            raise

    def _learn(self) -> None:
        reply = self._ask(Frame({"op": "about"}))
        fields, blobs = messages.result(reply, _WHO), dict(reply.blobs)
        try:
            self.mode = Mode(fields.string("mode", choices=tuple(Mode)))
            self.platform = Platform(fields.string("platform", choices=tuple(Platform)))
            self.config = messages.take_blob(blobs, messages.CONFIG, _WHO)
            if self.mode is Mode.SESSION:
                session = messages.take_blob(blobs, messages.SESSION, _WHO)
                attestation = messages.take_attestation(fields, blobs)
                self._session = SessionFile(attestation, self.config, session)
            fields.done()
            messages.no_more(blobs, _WHO)
        except FieldError as error:
            messages.unexpected(_WHO, error)

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def session(self) -> SessionFile:
        """Not checked; raises `UsageError` in inference mode, where there is none."""
        if self._session is None:
            raise UsageError("an enclave in inference mode has no session")
        return self._session

    def infer(
        self, inputs: Mapping[str, Array] | bytes, nonce: bytes | None = None, *, since: int = 0
    ) -> Inference:
        """As `Host.infer`."""
        body: dict[str, JSON] = {"nonce": messages.put_nonce(nonce), "since": since}
        if isinstance(inputs, bytes):
            request = Frame({"op": "infer-sealed", **body}, {messages.SEALED: inputs})
            return messages.take_inference(self._ask(request), _WHO, {})
        try:
            tensors = messages.put_tensors("inputs", "input", inputs)
        except ValueError as error:
            raise UsageError(f"inputs: {error}") from error
        request = messages.merged(Frame({"op": "infer", **body}), tensors)
        return messages.take_inference(self._ask(request), _WHO, inputs)

    def checkpoint(self, nonce: bytes) -> bytes:
        """As `Host.checkpoint`."""
        return self._blob(Frame({"op": "checkpoint", "nonce": nonce.hex()}), "checkpoint")

    def receipts(self, since: int) -> bytes:
        """As `Host.receipts`."""
        return self._blob(Frame({"op": "receipts", "since": since}), messages.RECEIPTS)

    def _blob(self, request: Frame, name: str) -> bytes:
        reply = self._ask(request)
        fields, blobs = messages.result(reply, _WHO), dict(reply.blobs)
        try:
            found = messages.take_blob(blobs, name, _WHO)
            fields.done()
            messages.no_more(blobs, _WHO)
        except FieldError as error:
            messages.unexpected(_WHO, error)
        return found

    def _ask(self, request: Frame) -> Frame:
        deadline = Deadline(self._seconds)
        with self._lock:
            try:
                # A server that is busy says so and ends before it has read anything.
                with contextlib.suppress(frames.Closed):
                    frames.write(self._connection, request, deadline)
                return frames.read(self._connection, MAX_FRAME_BYTES, deadline)
            except TimeoutError as error:
                self.close()  # a late reply would be taken for the next one
                raise BackendFailed(
                    f"{self._path}: expected a reply within {self._seconds:g} s, got none"
                ) from error
            except frames.Closed as error:
                self.close()
                raise BackendFailed(f"{self._path}: the server ended the connection") from error
            except BaseException:
                self.close()
                raise
