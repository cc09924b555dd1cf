"""Worker processes: where native code may panic, abort or eat memory, and the host lives on.

What starts processes is imported when it is first used: limits are needed without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofml.worker.limits import Limits, Progress, silent

if TYPE_CHECKING:
    from proofml.worker.host import WorkerFailed, run
    from proofml.worker.job import Job

_MODULE_OF = {"Job": "job", "WorkerFailed": "host", "run": "host"}

__all__ = ["Job", "Limits", "Progress", "WorkerFailed", "run", "silent"]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
