"""Runs a model by onnxruntime and hashes what its operators make; in a worker only.

The model comes in pieces, cut where nothing but codes goes from one to the next. While one piece
runs, the tensors of the one before are hashed on another core, and then freed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.circuits import kernels
from proofml.errors import UnsupportedModel
from proofml.optimistic.merkle import trees_of_chunks
from proofml.optimistic.program import CHUNK
from proofml.runtime_stages import open_session, translate
from proofml.worker.job import Job

#: Name -> array.
Values = dict[str, NDArray[Any]]


def run_pieces(job: Job) -> dict[str, Any]:
    """Runs `pieces` on `in.N.npy`; writes `out.N.npy`.

    Arguments:
        name: of the model, for messages.
        inputs: names of the model's inputs, in the order of the files.
        outputs: names of the tensors that are written.
        pieces: each with `file`, `inputs`, `outputs`, `tensors` (lists of operator, name, offset,
            cells; what is hashed is the code less the offset, modulo 256) and `free` (names that
            nobody reads any more).

    Returns:
        `roots`, operator -> hex; `seconds` of all runs, of hashing, and from the first to the
        last.
    """
    name, pieces = job.args["name"], job.args["pieces"]
    job.progress("load model")
    sessions = [open_session(job.folder / piece["file"], name, shared=True) for piece in pieces]
    values: Values = {
        key: np.load(job.folder / f"in.{index}.npy", allow_pickle=False)
        for index, key in enumerate(job.args["inputs"])
    }
    job.progress("onnxruntime")
    roots, seconds = execute(sessions, pieces, values, name)
    for index, key in enumerate(job.args["outputs"]):
        np.save(job.folder / f"out.{index}.npy", values[key])
    return {"roots": roots, "seconds": seconds}


def execute(
    sessions: Sequence[Any], pieces: Sequence[Mapping[str, Any]], values: Values, name: str
) -> tuple[dict[str, str], dict[str, float]]:
    """One run; arguments and results as of `run_pieces`.

    Args:
        values: the model's inputs; changed into what is left at the end.
    """
    if kernels.available():
        kernels.set_threads(max(1, len(os.sched_getaffinity(0)) - 1))
    roots: dict[str, str] = {}
    spent = {"run": 0.0, "hash": 0.0}
    began = time.perf_counter()
    waiting: Future[tuple[dict[str, str], float]] | None = None

    def settle() -> None:
        if waiting is not None:
            found, seconds = waiting.result()
            roots.update(found)
            spent["hash"] += seconds

    with ThreadPoolExecutor(1) as pool:
        for piece, session in zip(pieces, sessions, strict=True):
            start = time.perf_counter()
            _run(session, piece, values, name)
            spent["run"] += time.perf_counter() - start
            settle()  # no more than two pieces' tensors are held
            waiting = pool.submit(_hashed, piece["tensors"], dict(values), name)
            for gone in piece["free"]:
                del values[gone]
        settle()
    spent["whole"] = time.perf_counter() - began
    return roots, spent


def _run(session: Any, piece: Mapping[str, Any], values: Values, name: str) -> None:
    feeds = {key: values[key] for key in piece["inputs"]}
    try:
        made = session.run(piece["outputs"], feeds)
    except Exception as error:
        raise translate(error, f"{name}: onnxruntime failed") from error
    values.update(zip(piece["outputs"], made, strict=True))


def _hashed(
    tensors: Sequence[tuple[int, str, int, int]], values: Values, name: str
) -> tuple[dict[str, str], float]:
    """Roots of codes as cells of one byte, and how long it took."""
    start = time.perf_counter()
    data = []
    for _, key, offset, cells in tensors:
        codes = values[key]
        if codes.dtype != np.uint8 or codes.size != cells:
            raise UnsupportedModel(
                f"{name}: tensor {key!r}: expected {cells} codes of uint8, "
                f"got {codes.dtype}{list(codes.shape)}"
            )
        flat = np.ascontiguousarray(codes).reshape(-1)
        data.append(flat - np.uint8(offset) if offset else flat)
    trees = trees_of_chunks(data, CHUNK) if data else []
    roots = {str(t[0]): tree.root.hex() for t, tree in zip(tensors, trees, strict=True)}
    return roots, time.perf_counter() - start
