"""Starts this folder's stages in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofml.errors import BackendUnavailable
from proofml.runtime import RUN_LIMITS, runtime_version
from proofml.worker import Limits, Progress, run, silent

_STAGES = "proofml.optimistic.floating.stages"


def in_worker(
    stage: str,
    args: Mapping[str, Any],
    folder: Path,
    *,
    limits: Limits | None = None,
    progress: Progress = silent,
    module: str = _STAGES,
    file_bytes: int | None = None,
) -> Any:
    """Run `stages.<stage>`; errors as of `proofml.worker.run`.

    Raises:
        BackendUnavailable: onnxruntime is not installed.
    """
    if runtime_version() is None:
        raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[reexec]'")
    return run(
        f"{module}:{stage}",
        args,
        folder,
        stage=f"float {stage}",
        limits=(limits or RUN_LIMITS).or_else(RUN_LIMITS),
        progress=progress,
        file_bytes=file_bytes,
    )
