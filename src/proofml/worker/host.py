"""The host's side: start a worker, watch its memory and time, read its events, tell its end."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proofml.errors import BackendFailed, UnsupportedModel, UsageError, printable
from proofml.worker.limits import Limits, Progress, silent

#: Where a backend's worker runs with another interpreter: `PROOFML_PYTHON_EZKL=/path/python`.
INTERPRETER_PREFIX = "PROOFML_PYTHON_"
MAX_EVENT_BYTES = 64 << 20
_ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "4",
    # onnxruntime 1.32 opens a database below the home, and a thread, while it is imported.
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONUNBUFFERED": "1",
}
_POLL_SECONDS = 0.05
_TAIL_BYTES = 16 << 10


class WorkerFailed(BackendFailed):
    """A worker did not end well.

    `kind` is one of `exception`, `panic`, `signal`, `memory`, `timeout`, `disk`, `exit`.
    """

    def __init__(self, kind: str, message: str, *, stage: str, last_words: str = "") -> None:
        super().__init__(message, stage=stage, last_words=last_words)
        self.kind = kind

    @property
    def is_machines_fault(self) -> bool:
        """Whether this machine lacked something: it then says nothing of what was worked on.

        A SIGKILL counts: no input sends one, a person does, or a system out of memory.
        """
        killed = self.kind == "signal" and signal.SIGKILL.name in str(self)
        return killed or self.kind in ("memory", "timeout", "disk")


@dataclass
class _State:
    stage: str
    fraction: float | None = None
    value: Any = None
    done: bool = False
    error: Mapping[str, Any] | None = None
    buffer: bytearray = field(default_factory=bytearray)
    rss: int | None = None


def _resident(pid: int) -> int | None:
    """Resident bytes of the process; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return None


def run(
    target: str,
    args: Mapping[str, Any],
    folder: Path,
    *,
    stage: str,
    backend: str = "",
    limits: Limits | None = None,
    progress: Progress = silent,
    file_bytes: int | None = None,
    threads: int | None = None,
    command: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """Run `module:function` of a module of stages in a child process; returns its JSON result.

    Args:
        target: `package.module_stages:function`, called with a `Job`.
        args: plain JSON.
        folder: the child's working folder.
        stage: name of the first stage, for messages until the child reports its own.
        backend: chooses the interpreter by `PROOFML_PYTHON_<BACKEND>`.
        limits: resident memory in bytes and wall seconds.
        file_bytes: largest file that the child may write.
        threads: size of native thread pools.
        command: what starts `proofml.worker.child`, where that interpreter's own installation of
            proofml shall not; it then replaces the interpreter that `backend` chooses.
        environment: variables of the child beside this process's own.

    Raises:
        WorkerFailed: it crashed, panicked, was killed, or ran out of memory, time or disk.
        UsageError, UnsupportedModel: as raised by the stage.
    """
    limits = limits or Limits()
    reader, writer = os.pipe()
    log_path = folder / "worker.log"
    interpreter = os.environ.get(_interpreter_variable(backend)) or sys.executable
    # -P: a module in the folder where the caller stands (an `ezkl.py`) is not imported.
    arguments = command or [interpreter, "-P", "-m", "proofml.worker.child"]
    variables = dict(os.environ, **_ENVIRONMENT)
    if threads is not None:
        variables.update(RAYON_NUM_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    variables.update(environment or {})
    request = {
        "target": target,
        "args": dict(args),
        "folder": str(folder),
        "channel": writer,
        "host": os.getpid(),
        "limits": {"memory": limits.memory, "file_bytes": file_bytes},
    }
    try:
        with log_path.open("wb") as log:
            child = subprocess.Popen(
                list(arguments),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                env=variables,
                start_new_session=True,
            )
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise WorkerFailed(
            "exit", f"{stage}: cannot start a worker ({arguments[0]}): {error}", stage=stage
        ) from error
    state = _State(stage)
    try:
        os.close(writer)
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(request).encode("utf-8") + b"\n")
            child.stdin.close()
        except BrokenPipeError:
            pass  # it died at once; its exit status tells below
        _watch(child, reader, state, limits, progress)
    finally:
        os.close(reader)
        _end(child)
    return _outcome(state, child.returncode, _tail(log_path))


def _interpreter_variable(backend: str) -> str:
    return INTERPRETER_PREFIX + backend.upper().replace("-", "_")


def _watch(
    child: subprocess.Popen[bytes], reader: int, state: _State, limits: Limits, progress: Progress
) -> None:
    """Read events until the worker has ended; enforce memory and time.

    Its end counts, not the channel's: a helper that outlives it would keep the channel open.
    """
    end = None if limits.seconds is None else time.monotonic() + limits.seconds
    closed = False
    progress(state.stage, None, None)
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            ended = _has_ended(child)  # asked first: what it sent before its end is read below
            ready = selector.select(0 if ended else 0.002 if closed else _POLL_SECONDS)
            chunk = os.read(reader, 1 << 16) if ready else b""
            if chunk:
                _take(state, chunk, progress)
            elif ready:
                closed = True
                selector.unregister(reader)
            if ended and not chunk:
                return
            state.rss = _resident(child.pid)
            progress(state.stage, state.fraction, state.rss)
            if limits.memory is not None and state.rss is not None and state.rss > limits.memory:
                raise WorkerFailed(
                    "memory",
                    f"{state.stage}: needs more memory than allowed; expected at most "
                    f"{limits.memory >> 20} MiB, got {state.rss >> 20} MiB; raise --memory-limit",
                    stage=state.stage,
                )
            if end is not None and time.monotonic() > end:
                raise WorkerFailed(
                    "timeout",
                    f"{state.stage}: expected an end within {limits.seconds:g} s, it still ran; "
                    "raise --time-limit",
                    stage=state.stage,
                )


def _take(state: _State, chunk: bytes, progress: Progress) -> None:
    """Add what the worker sent; every stage that it names is reported, however short."""
    state.buffer += chunk
    if len(state.buffer) > MAX_EVENT_BYTES:
        raise WorkerFailed("exit", f"{state.stage}: the worker sent too much", stage=state.stage)
    if b"\n" not in chunk:
        return
    *lines, rest = state.buffer.split(b"\n")
    state.buffer = rest
    for line in lines:
        try:
            message = json.loads(line)
            if message["event"] == "progress":
                state.stage = _text(message["stage"])
                fraction = message["fraction"]
                state.fraction = None if fraction is None else 1.0 * fraction
            elif message["event"] == "result":
                state.value, state.done = message["value"], True
            else:
                words = {name: _text(message[name]) for name in ("type", "message")}
                state.error = {**message, **words}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise WorkerFailed(
                "exit", f"{state.stage}: the worker sent no event: {error!r}", stage=state.stage
            ) from error
        progress(state.stage, state.fraction, state.rss)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, got {type(value).__name__}")
    return value


def _has_ended(child: subprocess.Popen[bytes]) -> bool:
    """Whether the worker has ended; it is not reaped yet, so its number cannot be another's."""
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True  # the host ignores SIGCHLD: the system has reaped it


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the whole process group, helpers too, and reap the worker."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _tail(path: Path) -> str:
    """The last lines that the worker printed, without the traceback that faulthandler adds."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    words = lines[-4:] if fatal is None else lines[max(0, fatal - 3) : fatal + 1]
    return printable(" | ".join(words))


def _outcome(state: _State, code: int, tail: str) -> Any:
    if state.done:
        return state.value
    stage = state.stage
    if state.error is not None:
        kind, message = state.error["type"], state.error["message"]
        if kind == "UsageError":
            raise UsageError(message)
        if kind == "UnsupportedModel":
            raise UnsupportedModel(message)
        if kind == "MemoryError":
            raise WorkerFailed("memory", f"{stage}: out of memory", stage=stage, last_words=tail)
        if state.error.get("errno") in (27, 28, 122) or "No space left" in message:
            raise WorkerFailed(
                "disk", f"{stage}: the disk is full ({message}); free some room", stage=stage
            )
        if kind == "PanicException":
            raise WorkerFailed("panic", f"{stage}: panicked: {message}", stage=stage)
        raise WorkerFailed("exception", f"{stage}: {message}", stage=stage)
    if code < 0:
        name = next((s.name for s in signal.Signals if s == -code), f"signal {-code}")
        if "memory allocation of" in tail:
            raise WorkerFailed("memory", f"{stage}: out of memory", stage=stage, last_words=tail)
        hint = "; out of memory or killed by somebody" if -code == signal.SIGKILL else ""
        raise WorkerFailed(
            "signal", f"{stage}: killed by {name}{hint}", stage=stage, last_words=tail
        )
    raise WorkerFailed(
        "exit", f"{stage}: the worker ended with status {code}", stage=stage, last_words=tail
    )
