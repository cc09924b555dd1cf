"""EZKL's side of the comparison: how many rows suit it best, and what one proof costs there."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proofml.backend import Context, Request
from proofml.benchmarks.meter import Meter
from proofml.benchmarks.models import Case
from proofml.benchmarks.process import summary
from proofml.cli.common import read_tensors
from proofml.errors import ProofmlError
from proofml.model import Model
from proofml.store import Store
from proofml.worker import run
from proofml.worker.limits import Limits
from proofml.zkml.ezkl import circuit, prover
from proofml.zkml.ezkl.evidence import ProofBlob

STAGES = "proofml.benchmarks.stages"
_LIMITS = Limits(seconds=3600)
#: With fewer rows than this not even a range check fits.
_FEWEST = 7
_PATIENCE = 2


@dataclass(frozen=True)
class Tried:
    """One number of rows, 2^logrows: seconds of a proof, or the reason why there is none."""

    logrows: int
    proof: float | None
    peak: int = 0
    reason: str = ""


def best_rows(
    case: Case, store: Store, say: Callable[[str], None], *, least: int = _FEWEST
) -> tuple[int, list[Tried]]:
    """The number of rows with which EZKL proves this model fastest, and all that were tried.

    Upwards from `least`: fewer rows need more columns, so the fewest rows that work are rarely the
    fastest. The search ends when two numbers in a row were slower than the best so far, or at the
    number that EZKL's own calibration finds. Reference strings are made before and not counted.

    Raises:
        ProofmlError: EZKL cannot take the model even with the rows that its calibration finds.
    """
    calibrated = _setup(case, store, 0)[1].logrows
    tried: list[Tried] = []
    best: Tried | None = None
    for logrows in range(min(least, calibrated), calibrated + 1):
        say(f"EZKL on {case.name}: 2^{logrows} rows")
        try:
            cost = measure(case, store, logrows, 1)
        except ProofmlError as error:
            if logrows == calibrated and best is None:
                raise
            tried.append(Tried(logrows, None, reason=str(error)[:120]))
            continue
        now = Tried(logrows, cost["proof"]["min"], cost["peak"])
        tried.append(now)
        if best is None or _seconds(now) < _seconds(best):
            best = now
        if logrows >= best.logrows + _PATIENCE:
            break
    assert best is not None
    return best.logrows, tried


def _seconds(tried: Tried) -> float:
    return math.inf if tried.proof is None else tried.proof


def _setup(
    case: Case, store: Store, logrows: int
) -> tuple[circuit.Shape, Any, Any, circuit.Keys, Any, float]:
    """As the backend sets up; seconds without the development reference string."""
    model = Model.load(case.model, store=store)
    inputs = read_tensors(str(case.input), model)
    meter = Meter()
    request = Request(options=options(logrows))
    started = time.perf_counter()
    made = prover.setup(model, inputs, request, Context(store, meter, _LIMITS))
    seconds = time.perf_counter() - started - meter.seconds.get("generate srs", 0.0)
    return (*made, inputs, seconds)


def options(logrows: int) -> dict[str, str]:
    """Options of the backend; calibration decides the rest, on the input itself."""
    return {"srs": "local-dev", "logrows": str(logrows)}


def measure(case: Case, store: Store, logrows: int, repeat: int) -> dict[str, Any]:
    """Set up (from the cache, if it is there), prove and verify in fresh workers."""
    shape, settings, srs, keys, inputs, set_up = _setup(case, store, logrows)
    with store.scratch() as folder:
        (folder / "data.json").write_bytes(circuit.input_json(shape, inputs))
        (folder / "settings.json").write_bytes(settings.data)
        (folder / "vk").write_bytes(keys.vk.read_bytes())
        arguments = {
            "circuit": str(keys.circuit),
            "pk": str(keys.pk),
            "srs": str(srs.path),
            "repeat": repeat,
        }

        def stage(name: str) -> Any:
            target = f"{STAGES}:{name}"
            return run(target, arguments, folder, stage=name, backend="ezkl", limits=_LIMITS)

        proved = stage("prove")
        verified = stage("verify")
        blob = ProofBlob.from_ezkl(_json(folder / "proof.json"))
    assert keys.pk is not None
    return {
        "rows": settings.logrows,
        "setup": set_up,
        "call": summary(proved["call"]),
        "proof": summary(
            [sum(both) for both in zip(proved["witness"], proved["proof"], strict=True)]
        ),
        "cpu": summary(proved["cpu"]),
        "peak": proved["peak"],
        "verify_call": summary(verified["call"]),
        "verify": summary(verified["verify"]),
        "bytes": len(blob.pack()),
        "verifying_key": keys.vk.stat().st_size,
        "proving_key": keys.pk.stat().st_size,
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes())
