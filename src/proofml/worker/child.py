"""The worker's own side: `python -m proofml.worker.child`, one job, then exit.

Reads one JSON line from standard input, runs the stage function that it names, and writes JSON
lines to the channel. Whatever the native code prints goes to the log that the host keeps.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import os
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from proofml.errors import ProofmlError
from proofml.worker.job import Job

#: A host may only name stage functions of these modules: those that end so.
STAGE_SUFFIX = "stages"
_PR_SET_PDEATHSIG = 1
#: Address space that an interpreter with native libraries maps without using it.
_ADDRESS_SLACK = 6 << 30


def _die_with_host() -> None:
    """Ask Linux to kill this process when its host goes, however it goes."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(limits: dict[str, Any]) -> None:
    if limits.get("memory"):
        _lower(resource.RLIMIT_AS, int(limits["memory"]) + _ADDRESS_SLACK)
    if limits.get("file_bytes"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails with EFBIG
        _lower(resource.RLIMIT_FSIZE, int(limits["file_bytes"]))
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, size: int) -> None:
    """Set a limit, or keep the one that already holds where it is tighter."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        size = min(size, hard)
    resource.setrlimit(kind, (size, size))


def main() -> int:
    request = json.loads(sys.stdin.readline())
    _die_with_host()
    if os.getppid() != request["host"]:
        return 1  # the host went before we could ask to die with it
    faulthandler.enable()
    _limit(request["limits"])
    channel = int(request["channel"])
    job = Job(request["args"], Path(request["folder"]), channel, threading.Lock())
    module, _, function = request["target"].partition(":")
    if not module.rpartition(".")[2].endswith(STAGE_SUFFIX):
        raise SystemExit(f"{module}: not a module of stages")
    try:
        os.chdir(job.folder)
        result = getattr(importlib.import_module(module), function)(job)
        job.send({"event": "result", "value": result})
    except ProofmlError as error:
        job.send({"event": "error", "type": type(error).__name__, "message": str(error)})
    except MemoryError:
        job.send({"event": "error", "type": "MemoryError", "message": "out of memory"})
    except KeyboardInterrupt:
        return 130
    # A panic of a Rust extension is a BaseException; it must end here as words, not as a crash.
    except BaseException as error:  # noqa: BLE001
        job.send(
            {
                "event": "error",
                "type": type(error).__name__,
                "message": str(error)[:4000],
                "errno": getattr(error, "errno", None),
            }
        )
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Native thread pools may still run; nothing here needs their goodbyes.
    os._exit(code)
