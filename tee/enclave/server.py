"""One enclave for many clients, over a Unix socket that its owner alone may open.

Each connection has a thread, which reads a frame, hands it to the host and writes the reply; the
host lets one request at a time into the enclave. A client can send anything: it gets a reply or an
error, or is cut off, and the others go on. When the isolated process ends, so does the session, for
all clients: each is told, and `run` raises.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from proofml.canonical import JSON
from proofml.errors import BackendFailed, UsageError
from proofml.fields import FieldError, Fields
from proofml.tee.binding import Mode
from proofml.tee.enclave import frames, messages
from proofml.tee.enclave.frames import Deadline, Frame
from proofml.tee.enclave.host import Host
from proofml.tee.receipts import MAX_COUNTER
from proofml.tensors import Array

MAX_CLIENTS: Final = 32
#: Largest tensors of one request; each client may hold the server to as much memory.
MAX_REQUEST_BYTES: Final = 256 << 20
#: For a whole request to arrive once it has begun, and for a reply to be taken.
TRANSFER_SECONDS: Final = 60.0
#: For the next request of a connection to begin.
IDLE_SECONDS: Final = 600.0
#: For requests in progress when the server is stopped.
STOP_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.5
_MAX_PATH_BYTES: Final = 107  # of sockaddr_un on Linux

Log = Callable[[str], None]


def log_to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class Server:
    """Serves `host` at `path` from `run` until `stop`; ends with `run`, or with `close` before it.

    Closing the host is the caller's.

    Args:
        clients: connections at a time; more are told that the server is busy.
        request_bytes: of one request.
        transfer_seconds, idle_seconds: see the constants.
        log: a line for each event that its operator should know of.

    Raises:
        UsageError: the path cannot be used, or another server is there.
    """

    def __init__(
        self,
        host: Host,
        path: Path,
        *,
        clients: int = MAX_CLIENTS,
        request_bytes: int = MAX_REQUEST_BYTES,
        transfer_seconds: float = TRANSFER_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        log: Log = log_to_stderr,
    ) -> None:
        self._host = host
        self._path = path
        self._request_bytes = request_bytes
        self._transfer, self._idle = transfer_seconds, idle_seconds
        self._log = log
        self._places = threading.BoundedSemaphore(clients)
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = self._ended = False  # no Event: a signal handler could wait for itself
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_write.setblocking(False)
        self._listener, self._inode = _listen(path)

    # -- life -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Accept clients until `stop`.

        Raises:
            BackendFailed: the isolated process has ended.
        """
        try:
            while not self._stopping:
                ready, _, _ = select.select(
                    [self._listener, self._wake_read], [], [], _LOOK_SECONDS
                )
                if self._listener in ready:
                    self._accept()
                if not self._host.alive():
                    raise self._host.failure or BackendFailed("the host was closed")
        except BackendFailed as error:
            self._log(f"tee serve: {error}; the session is lost, start the server again")
            raise
        finally:
            self.close()

    def stop(self) -> None:
        """Let `run` return, after the requests in progress; may be called by a signal handler."""
        self._stopping = True
        with contextlib.suppress(OSError):  # full: it will wake up anyway
            self._wake_write.send(b"\x00")

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            self._log(f"tee serve: cannot accept a client: {error.strerror}")
            time.sleep(_LOOK_SECONDS)  # out of descriptors: it would come again at once
            return
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(BackendFailed, OSError), connection:
                busy = BackendFailed("the server is busy with other clients; try again")
                frames.write(connection, messages.failure(busy), Deadline(1.0))
            return
        thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def close(self) -> None:
        """Take the socket away and let clients go. May be called again."""
        if self._ended:
            return
        self._stopping = self._ended = True
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.lstat(self._path).st_ino == self._inode:  # not one that came after us
                self._path.unlink()
        with self._lock:
            open_now = dict(self._connections)
        for connection in open_now:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        deadline = Deadline(STOP_SECONDS)
        for thread in open_now.values():
            thread.join(deadline.left())
        self._wake_read.close()
        self._wake_write.close()

    # -- one client -------------------------------------------------------------------------------

    def _serve(self, connection: socket.socket) -> None:
        try:
            while not self._stopping and self._wait(connection):
                try:
                    deadline = Deadline(self._transfer)
                    request = frames.read(connection, self._request_bytes, deadline)
                except TimeoutError:
                    late = UsageError(f"expected a whole request within {self._transfer:g} s")
                    self._send(connection, messages.failure(late))
                    return
                except frames.FrameError as error:
                    self._send(connection, messages.failure(UsageError(str(error))))
                    return
                self._send(connection, self.answer(request))
        except (frames.Closed, TimeoutError, OSError):
            pass  # the client has gone, or does not take its reply
        except Exception as error:  # noqa: BLE001 - one connection never ends the server
            self._log(f"tee serve: a connection broke off: {type(error).__name__}: {error}")
        finally:
            connection.close()
            with self._lock:
                self._connections.pop(connection, None)
            self._places.release()

    def _wait(self, connection: socket.socket) -> bool:
        """Whether a request begins, or the connection ends, in time."""
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(self._idle * 1000))

    def _send(self, connection: socket.socket, reply: Frame) -> None:
        try:
            frames.write(connection, reply, Deadline(self._transfer))
        except frames.FrameError as error:
            frames.write(connection, messages.failure(error), Deadline(self._transfer))

    def answer(self, request: Frame) -> Frame:
        """The reply to any frame; raises nothing of `Exception`."""
        try:
            return self._answer(request)
        except FieldError as error:
            return messages.failure(UsageError(f"request: {error}"))
        except Exception as error:  # noqa: BLE001 - the client is told, and the server goes on
            return messages.failure(error)

    def _answer(self, request: Frame) -> Frame:
        fields, blobs = Fields(request.body, "request"), dict(request.blobs)
        operation = fields.string("op", longest=32)
        if operation == "about":
            fields.done()
            messages.no_more(blobs, "request")
            return about(self._host)
        if operation in ("infer", "infer-sealed"):
            return self._infer(operation, fields, blobs)
        if operation == "checkpoint":
            nonce = messages.take_nonce(fields, required=True)
            fields.done()
            messages.no_more(blobs, "request")
            return messages.success(None, {"checkpoint": self._host.checkpoint(nonce or b"")})
        if operation == "receipts":
            since = fields.integer("since", 0, MAX_COUNTER)
            fields.done()
            messages.no_more(blobs, "request")
            return messages.success(None, {messages.RECEIPTS: self._host.receipts(since)})
        raise UsageError(f"request.op: no such operation here: {operation}")

    def _infer(self, operation: str, fields: Fields, blobs: dict[str, bytes]) -> Frame:
        nonce = messages.take_nonce(fields)
        since = fields.integer("since", 0, MAX_COUNTER)
        inputs: dict[str, Array] | bytes
        if operation == "infer":
            inputs = messages.take_tensors(fields, "inputs", "input", blobs)
        else:
            inputs = messages.take_blob(blobs, messages.SEALED, "request")
        fields.done()
        messages.no_more(blobs, "request")
        found = self._host.infer(inputs, nonce, since=since)
        outputs = {
            claim.name: found.tensors[f"output.{index}"]
            for index, claim in enumerate(found.statement.outputs)
            if found.sealed_outputs is None
        }
        return messages.put_inference(found, outputs)


def about(host: Host) -> Frame:
    """What clients have to know of the enclave."""
    body: dict[str, JSON] = {"mode": host.mode, "platform": host.platform}
    blobs = {messages.CONFIG: host.config}
    if host.mode is Mode.SESSION:
        session = host.session
        blobs |= {messages.SESSION: session.session}
        blobs |= messages.put_attestation(session.attestation).blobs
    return messages.success(body, blobs)


@contextlib.contextmanager
def stopped_by_signals(server: Server) -> Iterator[None]:
    """SIGTERM and SIGINT stop the server while this lasts; in the main thread only."""
    before = {
        number: signal.signal(number, lambda *_: server.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(path: Path) -> tuple[socket.socket, int]:
    """A socket at `path` with mode 0600 from its first moment on, and its inode."""
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise UsageError(f"{path}: expected a path of at most {_MAX_PATH_BYTES} bytes for a socket")
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # Linux gives the file the mode of the socket
        listener.bind(os.fspath(path))
        path.chmod(0o600)  # elsewhere it is narrowed here
        listener.listen(MAX_CLIENTS)
        return listener, os.lstat(path).st_ino
    except OSError as error:
        listener.close()
        raise UsageError(f"{path}: cannot listen there: {error.strerror}") from error


def _clear(path: Path) -> None:
    """Remove the socket of a server that is gone; refuse where anything else stands."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path}: exists and is no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}; choose another path") from error
    raise UsageError(f"{path}: a server is running there; stop it, or choose another path")
