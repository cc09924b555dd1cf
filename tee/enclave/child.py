"""The isolated process as its host holds it: start it, speak with it, watch it, end it.

One thread speaks with the process at a time. While it waits for a reply it also answers what the
process asks of its platform, over a second socket, and watches its memory and the clock.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Final, NoReturn, Self

from proofml.errors import BackendFailed, BackendUnavailable, ProofmlError, UsageError, printable
from proofml.tee.enclave import frames, isolation, remote
from proofml.tee.enclave.frames import Deadline, Frame
from proofml.tee.enclave.process import NUMBER_BYTES, Arguments
from proofml.tee.quoter import Quoter
from proofml.tee.sealing import MAX_SEALED_BYTES
from proofml.tee.tensor_blobs import MAX_TENSORS_BYTES
from proofml.worker.limits import Limits, Progress

WHO: Final = "isolated process"
#: Time for the process to load its packages, and the platform to make a quote.
START_SECONDS: Final = 120.0
#: What a run may take beyond its limit until the process itself is ended.
GRACE_SECONDS: Final = 10.0
#: For the process to end when it is told to, before it is killed; and for a request before that.
STOP_SECONDS: Final = 2.0
MAX_FRAME_BYTES: Final = MAX_SEALED_BYTES + MAX_TENSORS_BYTES
_POLL_SECONDS: Final = 0.05
_TAIL_BYTES: Final = 16 << 10
#: The only variables that the process is given, where they are set: where its code is found.
_PASSED: Final = ("PYTHONPATH", "LD_LIBRARY_PATH")
_ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "HOME": "/dev/null",  # nothing can be made below it
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # onnxruntime 1.32 opens a database below the home, and a thread, while it is imported.
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@dataclass(frozen=True)
class _Ends:
    """The host's ends: requests, the platform, a socket that ends with the host, the log."""

    control: socket.socket
    quotes: socket.socket
    lifeline: socket.socket
    log: IO[bytes]

    def close(self) -> None:
        for end in (self.control, self.quotes, self.lifeline, self.log):
            end.close()


class Child:
    """A started process; ends with `close`.

    Attributes:
        number: of the isolated process; 0 where it is not known.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        ends: _Ends,
        quoter: Quoter,
        limits: Limits,
        progress: Progress,
    ) -> None:
        self._process = process
        self._ends = ends
        self._quoter = quoter
        self._limits = limits
        self._progress = progress
        self._lock = threading.Lock()
        self._end: BackendFailed | None = None
        self._closing = self._closed = False
        ends.lifeline.settimeout(START_SECONDS)
        self.number = 0
        with contextlib.suppress(OSError):  # then it has ended, which the first request will tell
            self.number = int.from_bytes(ends.lifeline.recv(NUMBER_BYTES), "big")

    @classmethod
    def spawn(
        cls,
        quoter: Quoter,
        limits: Limits,
        progress: Progress,
        *,
        program: Sequence[str] = ("-m", "proofml.tee.enclave"),
    ) -> Self:
        """Start it; what fails inside shows with the first request.

        Args:
            quoter: answers what the process asks of its platform.
            program: of the interpreter; it is given `process.Arguments`.

        Raises:
            BackendUnavailable: not on Linux.
            BackendFailed: it cannot be started.
        """
        if not isolation.available():
            raise BackendUnavailable(f"the isolated process needs Linux; this is {sys.platform}")
        control, control_theirs = socket.socketpair()
        quotes, quotes_theirs = socket.socketpair()
        lifeline, lifeline_theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        ends = _Ends(control, quotes, lifeline, log)
        arguments = Arguments(
            control_theirs.fileno(),
            quotes_theirs.fileno(),
            lifeline_theirs.fileno(),
            quoter.platform,
            limits.memory or 0,
            MAX_FRAME_BYTES,
        )
        try:
            # -P: a module in the folder where the caller stands is not imported.
            process = subprocess.Popen(
                [sys.executable, "-P", *program, *arguments.to_list()],
                stdin=subprocess.DEVNULL,
                stdout=ends.log,
                stderr=ends.log,
                pass_fds=(arguments.control, arguments.quotes, arguments.lifeline),
                env=_ENVIRONMENT
                | {name: os.environ[name] for name in _PASSED if name in os.environ},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            ends.close()
            raise BackendFailed(f"{WHO}: cannot start {sys.executable}: {error}") from error
        finally:
            for end in (control_theirs, quotes_theirs, lifeline_theirs):
                end.close()
        return cls(process, ends, quoter, limits, progress)

    def close(self) -> None:
        """End the process; what it held in memory is gone. May be called again.

        A request in progress has `STOP_SECONDS` to come to its end; then it ends with the process.
        """
        self._closing = True
        if not self._lock.acquire(timeout=STOP_SECONDS):
            with contextlib.suppress(OSError):  # it has just come to its end
                self._ends.lifeline.shutdown(socket.SHUT_RDWR)
            self._lock.acquire()
        try:
            self._stop()
        finally:
            self._lock.release()

    def _stop(self) -> None:
        if self._closed:
            return
        # The outer process takes the end of this for its own, ends the inner one and waits for it.
        self._ends.lifeline.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
        self._ends.close()
        self._closed = True

    @property
    def failure(self) -> BackendFailed | None:
        """Why the process has ended; None while it lives, as far as it was last looked at."""
        return self._end

    def alive(self) -> bool:
        """Look whether the process is still there; does not wait for a request in progress."""
        if self._lock.acquire(blocking=False):
            try:
                if self._end is None and not self._closed and self._process.poll() is not None:
                    self._end = BackendFailed(f"{WHO} has ended: {self._last_words()}")
                    self._stop()
            finally:
                self._lock.release()
        return self._end is None and not self._closing

    # -- the conversation -------------------------------------------------------------------------

    @contextlib.contextmanager
    def speaking(self, seconds: float | None) -> Iterator[None]:
        """Alone with the process, which lives; waits at most `seconds` for others.

        Raises:
            UsageError: it was closed.
            BackendFailed: it has ended, or is busy for too long.
        """
        if not self._lock.acquire(timeout=-1 if seconds is None else seconds):
            raise BackendFailed(f"{WHO}: busy with other requests for {seconds:g} s")
        try:
            if self._end is not None:
                raise BackendFailed(str(self._end), stage=self._end.stage)
            if self._closing:
                raise UsageError("the enclave is closed")
            yield
        finally:
            self._lock.release()

    def ask(self, request: Frame, seconds: float | None, stage: str) -> Frame:
        """The process's reply, inside `speaking`. One that does not come ends the process for good.

        Raises:
            BackendFailed: it ended, or was ended, for the reason given.
        """
        deadline = Deadline(seconds)
        self._progress(stage, None, None)
        try:
            frames.write(self._ends.control, request, deadline)
            return self._reply(deadline, stage)
        except TimeoutError:
            self._fail(f"expected an end within {seconds:g} s, it still ran", stage)
        except frames.Closed:
            self._fail(self._last_words(), stage)
        except (ProofmlError, OSError, ValueError) as error:
            self._fail(f"the conversation broke off: {printable(error)}", stage)
        except BaseException:
            # Half a conversation cannot be taken up again.
            self._end = BackendFailed(f"{WHO} was ended: {stage} was interrupted", stage=stage)
            self._stop()
            raise

    def _reply(self, deadline: Deadline, stage: str) -> Frame:
        control, quotes = self._ends.control, self._ends.quotes
        with selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ)
            selector.register(quotes, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(_POLL_SECONDS)}
                if control in ready:
                    return frames.read(control, MAX_FRAME_BYTES, deadline)
                if quotes in ready:
                    request = frames.read(quotes, remote.MAX_BYTES, deadline)
                    frames.write(quotes, remote.serve(request, self._quoter), deadline)
                if deadline.left() == 0.0:
                    raise TimeoutError
                self._watch(stage)

    def _watch(self, stage: str) -> None:
        resident = _resident(self.number)
        self._progress(stage, None, resident)
        most = self._limits.memory
        if most is not None and resident is not None and resident > most:
            self._fail(
                f"needs more memory than allowed; expected at most {most >> 20} MiB, got "
                f"{resident >> 20} MiB; raise --memory-limit",
                stage,
            )

    def _fail(self, reason: str, stage: str) -> NoReturn:
        """End the process and remember why; every later request is told the same."""
        if self._end is None:
            reason = "the enclave was closed" if self._closing else reason
            self._end = BackendFailed(f"{WHO} has ended: {stage}: {reason}", stage=stage)
            self._stop()
        raise self._end

    def _last_words(self) -> str:
        """How the process ended, and what it had written before it was isolated."""
        try:
            code = self._process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "it closed the connection"
        how = f"status {code}"
        if code < 0:
            how = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
            if -code == signal.SIGKILL:
                how += "; out of memory or killed by somebody"
        log = self._ends.log
        log.seek(0, os.SEEK_END)
        log.seek(max(0, log.tell() - _TAIL_BYTES))
        lines = log.read().decode("utf-8", errors="replace").splitlines()
        words = " | ".join(line.strip() for line in lines[-4:] if line.strip())
        return f"{how}; last words: {printable(words)}" if words else how


def _resident(process: int) -> int | None:
    """Resident bytes of a process; None where the system does not tell."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
