"""Worker processes: where native code may panic, abort or eat memory, and the host lives on."""

from proofml.worker.host import WorkerFailed, run
from proofml.worker.job import Job
from proofml.worker.limits import Limits, Progress, silent

__all__ = ["Job", "Limits", "Progress", "WorkerFailed", "run", "silent"]
