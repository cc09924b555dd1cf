"""Runs a stage in the interpreter that has Concrete."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proofml.backend import Context
from proofml.errors import BackendUnavailable
from proofml.fhe.concrete import clock
from proofml.fhe.concrete.environment import (
    LIBRARY,
    VARIABLE,
    Purpose,
    broken,
    command,
    interpreter,
)
from proofml.worker import Limits, WorkerFailed, run

_MODULE = "proofml.fhe.concrete"
#: What `native.load` says, and what Python does of a module that a stage itself imports.
_MISSING = re.compile(r"missing in the environment|No module named '[\w.]+'$")
#: Keys of the largest circuits, decompressed, and an hour.
LIMITS = Limits(memory=18 << 30, seconds=3600)


def call(
    stage: str,
    args: Mapping[str, Any],
    folder: Path,
    context: Context,
    *,
    title: str,
    purpose: Purpose = "run",
    steady: bool = False,
    threads: int | None = None,
) -> Any:
    """Result of `module:function` of this package; its files lie in `folder`.

    Args:
        threads: of native thread pools; all processors' where None.
        steady: with the clock that makes results the same in every process, where there is one.

    Raises:
        BackendUnavailable: no interpreter with Concrete, or one of another version.
        WorkerFailed: as `proofml.worker.run`.
    """
    python = interpreter(context.store, purpose)
    shim = clock.library(context.store) if steady else None
    try:
        result = run(
            f"{_MODULE}.{stage}",
            args,
            folder,
            stage=title,
            backend="concrete",
            limits=context.limits.or_else(LIMITS),
            progress=context.progress,
            threads=threads,
            command=command(python),
            environment={} if shim is None else {"LD_PRELOAD": str(shim)},
        )
    except WorkerFailed as error:
        # The words may be a stranger's, so whether the interpreter is whole is found by trying it.
        suspect = error.kind == "exit" or _MISSING.search(str(error)) is not None
        problem = broken(python, purpose) if suspect else None
        if problem is not None:
            raise BackendUnavailable(
                f"{python}: {problem}; make an environment with `proofml fhe environment --for "
                f"{purpose}`, or set {VARIABLE}"
            ) from error
        raise
    found = result.get("version", LIBRARY) if isinstance(result, dict) else LIBRARY
    if found != LIBRARY:
        # Other versions choose other parameters: their keys and ciphertexts fit nobody else's.
        raise BackendUnavailable(f"{python}: expected concrete-python {LIBRARY}, got {found}")
    return result
