"""Where float claims' traces are published: a folder for each root, beside the ledger's file.

A trace is written elsewhere and moved to its place when it is whole. What is found there is
somebody's word: whoever reads it checks the root and every digest.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from proofml.errors import BackendFailed
from proofml.optimistic.floating.trace import RECORD


def folder_of(traces: Path, root: bytes) -> Path:
    """The folder of the trace with this root."""
    return traces / root.hex()


def publish(made: Path, traces: Path, root: bytes) -> Path:
    """Copy a trace that was made in a folder to its place; the place.

    Raises:
        BackendFailed: it cannot be written.
    """
    place = folder_of(traces, root)
    if place.is_dir():
        return place  # the same root: the same tensors
    draft = traces / f".{root.hex()}.{os.getpid()}"
    try:
        traces.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        for path in sorted(made.glob("[io]*.bin")):
            shutil.copyfile(path, draft / path.name)
        shutil.copyfile(made / RECORD, draft / RECORD)
        draft.rename(place)
    except OSError as error:
        if place.is_dir():  # another process was faster
            return place
        raise BackendFailed(f"{place}: the trace cannot be published: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return place
