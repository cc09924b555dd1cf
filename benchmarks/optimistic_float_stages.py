"""Measurements of float claims; each runs in a worker. See `optimistic_float` for the tables.

Files in the job's folder: the plan, and that of a batch in `wide/`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from proofml.benchmarks.optimistic_float_drift import attack, check_all, log_ratio, logit
from proofml.benchmarks.optimistic_float_machines import Machine, machine
from proofml.benchmarks.optimistic_float_models import CASES
from proofml.benchmarks.process import own_memory
from proofml.circuits.kernels import library
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.calibrate import Calibration, operands_of
from proofml.optimistic.floating.check import Judge, compare
from proofml.optimistic.floating.elementwise import CORRECTLY_ROUNDED
from proofml.optimistic.floating.finding import Finding
from proofml.optimistic.floating.formats import format_of
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.running import Running
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Engine, Singles, open_plan, record, session
from proofml.optimistic.floating.trace import Recorder
from proofml.optimistic.program import Source
from proofml.tensors import Array
from proofml.worker.job import Job

Values = Mapping[Ref, Array]
#: Seeds of inputs that calibrate; those that are judged begin at 0.
CALIBRATION_SEED = 1_000_000
#: rapidocr's threshold between text and no text in the detector's map.
_THRESHOLD = 0.3
_MOST_ULPS = 1 << 30


class _Bench:
    """A model's plan, machines and judge."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.case = CASES[job.args["model"]]
        self.plan = open_plan(job.folder)
        self.wide = open_plan(job.folder / "wide")
        self.evaluate = Singles().evaluate
        self.judge = Judge(self.plan, self.evaluate)
        self._machines: dict[str, Machine] = {}

    def values(self, name: str, seed: int) -> Values:
        """An honest run on one of the machines."""
        if name not in self._machines:
            self._machines[name] = machine(name, self.plan, self.wide)
        return self._machines[name].run([self.case.input(seed)])

    def calibrated(self, names: Sequence[str], runs: int) -> Calibration:
        """`runs` inputs on each of the machines."""
        found = Calibration(self.judge)
        for name in names:
            for seed in range(runs):
                self.job.progress(f"calibrate: {name}", seed / runs)
                found.add(self.values(name, CALIBRATION_SEED + seed), name)
        return found


def _all_bounds(calibration: Calibration, margin: float) -> dict[str, Bounds]:
    return {basis.value: calibration.bounds(basis, margin) for basis in Basis}


# -- false alarms -------------------------------------------------------------------------------


def alarms(job: Job) -> dict[str, Any]:
    """Honest runs, each judged whole under all three bases.

    Args: `model`, `machines`, `calibrate_on` (machines), `calibration` (inputs for each of those),
    `runs` (inputs for each machine, none of them among the former), `margin`.
    """
    bench = _Bench(job)
    bounds = _all_bounds(
        bench.calibrated(job.args["calibrate_on"], job.args["calibration"]), job.args["margin"]
    )
    rows = {}
    first: dict[int, Values] = {}
    for name in job.args["machines"]:
        row = _empty_row(bounds)
        for seed in range(job.args["runs"]):
            alarmed = sum(row["runs_with_alarms"].values())
            job.progress(f"judge: {name}, {alarmed} alarms", seed / job.args["runs"])
            started = time.perf_counter()
            values = bench.values(name, seed)
            _judge_run(bench, values, bounds, row)
            row["seconds"] += time.perf_counter() - started
            # Kept for a few inputs only: they show that the machines do differ.
            if seed < 4:
                first.setdefault(seed, values)
                row["differing"] += _differing(first[seed], values) / min(4, job.args["runs"])
        rows[name] = row
    return {
        "operators": len(bench.plan.operators),
        "share": {
            basis: float(np.median([b.limit(i) for i in _real(bench.plan)]))
            for basis, b in bounds.items()
        },
        "rows": rows,
    }


def _empty_row(bounds: Mapping[str, Bounds]) -> dict[str, Any]:
    return {
        "runs": 0,
        "operators": 0,
        "elements": 0,
        "unbounded": 0,
        "differing": 0.0,
        "alarms": dict.fromkeys(bounds, 0),
        "runs_with_alarms": dict.fromkeys(bounds, 0),
        "margin": dict.fromkeys(bounds, 0.0),
        "nearest": dict.fromkeys(bounds, ""),
        "seconds": 0.0,
        "first": {},
    }


def _real(plan: Plan) -> list[int]:
    return [o.index for o in plan.operators if format_of(np.dtype(o.types[0].dtype)) is not None]


def _judge_run(
    bench: _Bench, values: Values, bounds: Mapping[str, Bounds], row: dict[str, Any]
) -> None:
    seen = dict.fromkeys(bounds, 0)
    for operator in bench.plan.operators:
        expected = bench.judge.expected(operator, operands_of(bench.plan, values, operator))
        claimed = [
            values[Ref(Source.OPERATOR, operator.index, port)] for port in range(len(expected))
        ]
        for basis, bound in bounds.items():
            finding = compare(operator, expected, claimed, bound)
            if basis == Basis.THEORETICAL.value:
                row["unbounded"] += finding.unbounded
            # One rounding alone may come as near to its bound as it likes.
            several = len(operator.nodes) > 1 or operator.op not in CORRECTLY_ROUNDED
            if several and finding.margin > row["margin"][basis]:
                row["margin"][basis], row["nearest"][basis] = finding.margin, operator.op
            if not finding.inside:
                seen[basis] += 1
                row["first"].setdefault(basis, finding.to_json())
        row["operators"] += 1
        row["elements"] += sum(array.size for array in claimed)
    for basis, count in seen.items():
        row["alarms"][basis] += count
        row["runs_with_alarms"][basis] += count > 0
    row["runs"] += 1


def _differing(one: Values, other: Values) -> float:
    """The share of tensors that are not the same bits."""
    made = [ref for ref in one if ref.source is Source.OPERATOR]
    return sum(one[ref].tobytes() != other[ref].tobytes() for ref in made) / len(made)


# -- detection ----------------------------------------------------------------------------------


def detection(job: Job) -> dict[str, Any]:
    """The smallest change of one element that is seen, operator by operator.

    Args: `model`, `calibrate_on`, `calibration`, `margin`, `elements` (tried of each operator).
    The change is found by bisection over the floats next to the honest value, by judging.
    """
    bench = _Bench(job)
    names = job.args["calibrate_on"]
    bounds = _all_bounds(bench.calibrated(names, job.args["calibration"]), job.args["margin"])
    values = bench.values(names[0], 0)
    rng = np.random.default_rng(7)
    rows = []
    for operator in bench.plan.operators:
        job.progress("perturb", operator.index / len(bench.plan.operators))
        expected = bench.judge.expected(operator, operands_of(bench.plan, values, operator))
        claimed = values[Ref(Source.OPERATOR, operator.index)]
        if not isinstance(expected[0], Running) or not claimed.size:
            continue
        for flat in rng.integers(claimed.size, size=job.args["elements"]):
            at = tuple(map(int, np.unravel_index(int(flat), claimed.shape)))
            honest = float(claimed[at])
            if honest == 0 or not np.isfinite(honest):
                continue
            worst = float(expected[0].error_array()[at])
            rows.append(
                {
                    "op": operator.op,
                    "value": abs(honest),
                    "worst": worst,
                    "ulp": float(np.spacing(abs(claimed[at]))),
                    "caught": {
                        basis: _smallest(
                            lambda c, b=bound, o=operator, e=expected, place=at: compare(
                                o, e, [c], b, place
                            ),
                            claimed,
                            at,
                        )
                        for basis, bound in bounds.items()
                    },
                }
            )
    return {"rows": rows}


def _smallest(judge: Any, claimed: Array, at: tuple[int, ...]) -> float:
    """The least |change| away from zero that is refused; infinite if none is."""
    changed = claimed.copy()
    bits = changed.view(f"i{changed.dtype.itemsize}")
    start = int(bits[at])

    def refused(ulps: int) -> bool:
        bits[at] = start + ulps  # away from zero: the bits of a float count its magnitude
        finding: Finding = judge(changed)
        return not finding.inside

    low, high = 0, 1
    while not refused(high):
        low, high = high, high * 2
        if high > _MOST_ULPS or not np.isfinite(changed[at]):
            return float("inf")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if refused(middle) else (middle, high)
    bits[at] = start + high
    return abs(float(changed[at]) - float(claimed[at]))


# -- drift --------------------------------------------------------------------------------------


def drift(job: Job) -> dict[str, Any]:
    """The drift attack on several inputs under each basis.

    Args: `model`, `calibrate_on`, `calibration`, `margin`, `inputs`, `rounds`.
    """
    bench = _Bench(job)
    names = job.args["calibrate_on"]
    bounds = _all_bounds(bench.calibrated(names, job.args["calibration"]), job.args["margin"])
    rows = []
    for seed in range(job.args["inputs"]):
        values = bench.values(names[0], seed)
        for score, kind, margins in _targets(bench, values):
            honest = float(score.value(values[score.ref]))
            row: dict[str, Any] = {"seed": seed, "kind": kind, "score": honest, "moved": {},
                                   "flipped": {}, "seen": {}, "within": {}}  # fmt: skip
            for basis, bound in bounds.items():
                job.progress(f"attack: {basis}", seed / job.args["inputs"])
                best, trace = attack(
                    bench.judge, bench.evaluate, values, score, bound, job.args["rounds"]
                )
                row["moved"][basis] = float(best - honest)
                row["flipped"][basis] = bool(honest < 0 <= best)
                row["seen"][basis] = len(check_all(bench.judge, trace, bound))
                # How many decisions of this output lie as near as the score was moved.
                row["within"][basis] = float(np.mean(margins < best - honest))
            rows.append(row)
    return {"rows": rows}


def _targets(bench: _Bench, values: Values) -> Iterator[tuple[Any, str, Array]]:
    """The decision that is nearest to another one: its score, and all decisions' margins."""
    ref = bench.plan.ports[0]
    out = np.asarray(values[ref], np.float64)
    with np.errstate(divide="ignore"):
        if bench.case.name == "detector":
            edge = np.log(_THRESHOLD / (1 - _THRESHOLD))
            away = np.log(out) - np.log1p(-out) - edge
            at = tuple(map(int, np.unravel_index(int(np.abs(away).argmin()), out.shape)))
            yield _crossing(ref, at, -np.sign(away[at]), edge), "pixel", np.abs(away).reshape(-1)
            return
        rows = out.reshape(-1, out.shape[-1])
        order = np.argsort(rows, 1)
        best, second = order[:, -1], order[:, -2]
        index = np.arange(len(rows))
        margins = np.log(rows[index, best]) - np.log(rows[index, second])
    row = int(margins.argmin())
    where = tuple(map(int, np.unravel_index(row, out.shape[:-1])))
    yield (
        log_ratio(ref, (*where, int(second[row])), (*where, int(best[row]))),
        "class",
        margins,
    )


def _crossing(ref: Ref, at: tuple[int, ...], sign: float, edge: float) -> Any:
    """The logit's distance beyond the threshold; negative until it is crossed."""
    plain = logit(ref, at, float(sign))
    return type(plain)(ref, lambda p: plain.value(p) - sign * edge, plain.gradient)


# -- cost ---------------------------------------------------------------------------------------


def cost(job: Job) -> dict[str, Any]:
    """Seconds of plain execution, of exposing, and of committing as well, in turn in one process.

    Args: `model`, `threads`, `repeat`, `mode`: all of them, or one alone (for its memory).
    `overlapped` hashes one piece while the next one runs, `committed` one after the other.
    """
    library.set_threads(job.args["threads"])
    bench_plan = open_plan(job.folder)
    inputs = [np.load(job.folder / "in.0.npy")]
    settings = Settings(threads=job.args["threads"])
    modes = ("plain", "exposed", "committed", "overlapped")
    wanted = modes if job.args["mode"] == "all" else (job.args["mode"],)
    calls: dict[str, Any] = {}
    if "plain" in wanted:
        model = (job.folder / "model.onnx").read_bytes()
        plain = session(model, settings, "plain")
        del model
        calls["plain"] = lambda: plain.run(None, {bench_plan.inputs[0]: inputs[0]})
    if set(wanted) - {"plain"}:
        engine = Engine(bench_plan, settings)
        _ = bench_plan.weight_digests  # committed to once for a model, not for each run
        calls["exposed"] = lambda: [None for _ in engine.run(inputs)]
        calls["committed"] = lambda: _committed(bench_plan, engine, inputs)
        calls["overlapped"] = lambda: _overlapped(bench_plan, engine, inputs)
    seconds: dict[str, list[float]] = {mode: [] for mode in wanted}
    for turn in range(job.args["repeat"] + 1):
        for mode in wanted:
            started = time.perf_counter()
            calls[mode]()
            if turn:
                seconds[mode].append(time.perf_counter() - started)
        job.progress("measure", turn / (job.args["repeat"] + 1))
    made = [kind.nbytes or 0 for o in bench_plan.operators for kind in o.types]
    return {"seconds": seconds, "bytes": sum(made), "peak": own_memory()[0],
            "operators": len(made)}  # fmt: skip


def _committed(plan: Plan, engine: Engine, inputs: Sequence[Array]) -> bytes:
    recorder = Recorder(plan, None)
    recorder.inputs(inputs)
    for piece, made in engine.run(inputs):
        recorder.piece(piece, made)
    return recorder.finish().root


def _overlapped(plan: Plan, engine: Engine, inputs: Sequence[Array]) -> bytes:
    recorder = Recorder(plan, None)
    record(engine, inputs, recorder)
    return recorder.finish().root
