"""Stages that misbehave, for the tests of the worker: each ends in one of the ways of ending."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from proofml.errors import UnsupportedModel, UsageError, VerificationError
from proofml.worker import Job


class PanicException(BaseException):
    """What a panic of a Rust extension looks like."""


def echo(job: Job) -> dict[str, Any]:
    return {"args": dict(job.args), "folder": str(Path.cwd()), "pid": os.getpid()}


def stages(job: Job) -> str:
    for name in job.args["names"]:
        job.progress(name, 0.5)
    return "done"


def environment(job: Job) -> dict[str, str | None]:
    names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX")
    return {name: os.environ.get(name) for name in names}


def runtime(job: Job) -> list[str]:
    """What importing onnxruntime leaves below the home."""
    home = job.folder / "home"
    home.mkdir()
    os.environ.update(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"))
    import onnxruntime  # noqa: F401

    return [str(path) for path in home.rglob("*")]


def interpreter(job: Job) -> str:
    return os.environ["PROBE_INTERPRETER"]


def fail(job: Job) -> None:
    job.progress("failing")
    kinds: dict[str, BaseException] = {
        "value": ValueError("a wrong value"),
        "panic": PanicException("called `Option::unwrap()` on a `None` value"),
        "exit": SystemExit(3),
        "usage": UsageError("you gave nothing"),
        "model": UnsupportedModel("the model has a loop"),
        "proof": VerificationError("fake.1", "a lie"),
        "memory": MemoryError(),
        "full": OSError(28, "No space left on device"),
        "interrupt": KeyboardInterrupt(),
    }
    raise kinds[job.args["kind"]]


def die(job: Job) -> None:
    job.progress("dying")
    print("these are my last words", flush=True)
    os.kill(os.getpid(), job.args["signal"])
    time.sleep(60)


def curse(job: Job) -> None:
    print("\x1b[2J gone", flush=True)
    os._exit(1)


def abort(job: Job) -> None:
    os.write(2, b"memory allocation of 123 bytes failed\n")
    os.abort()


def leave(job: Job) -> None:
    os._exit(job.args["code"])


def crash(job: Job) -> None:
    ctypes.string_at(1)


def sleep(job: Job) -> None:
    job.progress("sleeping")
    time.sleep(job.args.get("seconds", 60))


def grow(job: Job) -> None:
    job.progress("growing")
    blocks = []
    for _ in range(4096):
        blocks.append(b"x" * (1 << 20))
        time.sleep(0.001)


def allocate(job: Job) -> None:
    bytearray(job.args["bytes"])


def fill(job: Job) -> None:
    """Write a file in small pieces, as native code would."""
    with Path("large").open("wb") as file:
        for _ in range(1000):
            file.write(b"x" * 1000)


def talk(job: Job) -> str:
    """Much on standard output, which is a log and not the channel."""
    for _ in range(2000):
        print("x" * 500)
    os.write(1, b'{"event": "result", "value": "forged"}\n')
    return "real"


def large(job: Job) -> str:
    return "x" * int(job.args["size"])


def flood(job: Job) -> None:
    for index in range(job.args["count"]):
        job.progress(f"stage {index}")


def garbage(job: Job) -> None:
    os.write(job._channel, job.args["text"].encode() + b"\n")


def helper(job: Job) -> int:
    """Leaves a process behind that keeps the channel open."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], pass_fds=(job._channel,)
    )
    return child.pid


def mute(job: Job) -> None:
    """Closes the channel and goes on working."""
    os.close(job._channel)
    time.sleep(60)


def not_json(job: Job) -> object:
    return object()


def ignore(job: Job) -> None:
    """Deaf to everything that can be ignored."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    job.progress("deaf")
    time.sleep(60)
