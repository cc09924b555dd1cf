"""Benchmarks of CKKS: beside TenSEAL's own code in one run, and by model.

    python -m proofml.benchmarks.fhe_ckks compare     the tutorial's network, TenSEAL's way and ours
    python -m proofml.benchmarks.fhe_ckks models      times and sizes of other models

`--docs docs/fhe` writes the tables of docs/fhe/benchmarks.md anew. Run it on a machine that
does nothing else; how quiet it was stands below each table.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from proofml.backend import Context
from proofml.benchmarks.fhe_ckks_models import MODELS
from proofml.benchmarks.meter import Meter, machine
from proofml.benchmarks.process import others
from proofml.benchmarks.tables import replace_table, table
from proofml.canonical import sha256
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import run

PAGE = "benchmarks.md"
_STAGES = "proofml.benchmarks.fhe_ckks_stages"
_SAMPLES = 40
_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "cnn-relu": {"degree": "4", "tolerance": "1"},
    "mlp-64-relu": {"degree": "4", "tolerance": "1"},
}


@dataclass
class Bench:
    """A model with circuit, keys and one input; seconds of what was done until now."""

    name: str
    scheme: CkksScheme
    context: Context
    meter: Meter
    model: Model
    circuit: CkksCircuit
    secret: bytes
    evaluation: bytes
    inputs: dict[str, Array]
    ciphertexts: tuple[bytes, ...]
    seconds: dict[str, float]


def _timed(work: Callable[[], Any], seconds: dict[str, float], name: str) -> Any:
    started = time.perf_counter()
    found = work()
    seconds[name] = time.perf_counter() - started
    return found


def prepare(name: str, store: Store) -> Bench:
    """Compile, make keys, encrypt one input."""
    meter = Meter()
    context = Context(store, meter)
    scheme = CkksScheme()
    model = Model.load(MODELS[name]().SerializeToString(), store=store)
    port = model.inputs[0]
    shape = [dim or 1 for dim in port.shape or ()]
    rng = np.random.default_rng(1)
    samples = [{port.name: rng.random(shape).astype(np.float32)} for _ in range(_SAMPLES)]
    seconds: dict[str, float] = {}
    circuit = _timed(
        lambda: scheme.compile(model, samples, _OPTIONS.get(name, {}), context), seconds, "compile"
    )
    secret, evaluation = _timed(lambda: scheme.keygen(circuit, context), seconds, "keygen")
    inputs = dict(samples[0])
    given = _timed(lambda: scheme.encrypt(circuit, secret, inputs, context), seconds, "encrypt")
    return Bench(
        name, scheme, context, meter, model, circuit, secret, evaluation, inputs, given, seconds
    )


def measure(bench: Bench, repeat: int) -> dict[str, Any]:
    """Whole runs in fresh processes, and evaluation alone with loaded keys."""
    whole, digests = [], set()
    made: list[bytes] = []
    for _ in range(repeat):
        started = time.perf_counter()
        made = [
            *bench.scheme.run(bench.circuit, bench.evaluation, bench.ciphertexts, bench.context)
        ]
        whole.append(time.perf_counter() - started)
        digests.add(sha256(b"".join(made)))
    found = _timed(
        lambda: bench.scheme.decrypt(bench.circuit, bench.secret, made, bench.context),
        bench.seconds,
        "decrypt",
    )
    simulated = bench.scheme.simulate(bench.circuit, bench.inputs, bench.context)
    error = max(float(np.max(np.abs(found[name] - simulated[name]))) for name in found)
    with bench.context.store.scratch() as folder:
        (folder / "circuit").write_bytes(bench.circuit.data)
        (folder / "keys").write_bytes(bench.evaluation)
        (folder / "in.0").write_bytes(bench.ciphertexts[0])
        inside = run(f"{_STAGES}:ours", {"repeat": repeat}, folder, stage="ours", threads=1)
    return {
        **bench.seconds,
        "bytes": [len(bench.ciphertexts[0]), len(bench.evaluation), len(made[0])],
        "digests": len(digests),
        "error": error,
        "evaluate": inside["evaluate"],
        "load": inside["load"],
        "peak": bench.meter.peak,
        "processor": inside["processor"],
        "whole": whole,
    }


def measure_tenseal(bench: Bench, repeat: int) -> dict[str, Any]:
    """TenSEAL's code on the same input; its error against the same float model."""
    meter = Meter()
    image = next(iter(bench.inputs.values())).reshape(28, 28)
    with bench.context.store.scratch() as folder:
        np.save(folder / "input.npy", image)
        found: dict[str, Any] = run(
            f"{_STAGES}:tenseal", {"repeat": repeat}, folder, stage="tenseal", progress=meter
        )
    (simulated,) = bench.scheme.simulate(bench.circuit, bench.inputs, bench.context).values()
    output = np.array([float(value) for value in found["output"]])
    return {**found, "error": float(np.max(np.abs(output - simulated[0]))), "peak": meter.peak}


def _seconds(*values: float) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f} s"
    return f"{min(values):.2f} s ({median(values):.2f} s)"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def compare_table(repeat: int) -> str:
    """The tutorial's network: TenSEAL's code and ours on one input, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare("cnn-square", Store(folder))
        theirs = measure_tenseal(bench, repeat)
        our = measure(bench, repeat)
    ratio = min(our["evaluate"]) / min(theirs["evaluate"])
    whole = min(our["whole"]) / min(theirs["evaluate"])
    spent = min(our["processor"]) / min(theirs["processor"])
    rows = [
        ["make keys", _seconds(theirs["keygen"]), _seconds(our["keygen"])],
        ["encrypt", _seconds(theirs["encrypt"]), _seconds(our["encrypt"])],
        ["evaluate, keys in memory", _seconds(*theirs["evaluate"]), _seconds(*our["evaluate"])],
        ["ours / theirs", "1", f"{ratio:.2f}"],
        ["processor time of it", _seconds(*theirs["processor"]), _seconds(*our["processor"])],
        ["ours / theirs", "1", f"{spent:.2f}"],
        ["fresh process, keys read", "", _seconds(*our["whole"])],
        ["its ratio to their evaluation", "", f"{whole:.2f}"],
        ["decrypt", _seconds(theirs["decrypt"]), _seconds(our["decrypt"])],
        ["largest error", f"{theirs['error']:.1e}", f"{our['error']:.1e}"],
        [f"digests in {repeat} runs", str(theirs["digests"]), str(our["digests"])],
        *(
            [label, _size(theirs["bytes"][i]), _size(our["bytes"][i])]
            for i, label in enumerate(("input", "evaluation keys", "output"))
        ),
        ["peak memory of a worker", _size(theirs["peak"]), _size(our["peak"])],
    ]
    return table(["", "TenSEAL", "proofml"], rows)


def models_table(repeat: int, names: Sequence[str]) -> str:
    rows = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            bench = prepare(name, Store(folder))
            found = measure(bench, repeat)
        report: Mapping[str, Any] = bench.circuit.report
        operations = report["operations"]
        rows.append(
            [
                name,
                f"{report['ring_degree']}, {report['levels']} levels",
                f"{operations['rotate']} + {operations['multiply']}",
                _seconds(found["compile"]),
                _seconds(found["keygen"]),
                _seconds(*found["evaluate"]),
                _seconds(*found["whole"]),
                f"{found['error']:.1e} ({float(report['noise']):.1e})",
                _size(found["bytes"][0]),
                _size(found["bytes"][1]),
            ]
        )
    head = ["model", "ring", "rotations + products", "compile", "keys", "evaluate"]
    return table([*head, "fresh process", "noise (bound)", "input", "evaluation keys"], rows)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", type=click.Choice(["compare", "models"]))
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the table.",
)
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option("--model", "names", type=click.Choice(sorted(MODELS)), multiple=True)
def main(what: str, docs: Path | None, repeat: int, names: Sequence[str]) -> None:
    """Benchmarks of CKKS."""
    load = others()
    tables: dict[str, Callable[[], str]] = {
        "compare": lambda: compare_table(repeat),
        "models": lambda: models_table(repeat, names or tuple(MODELS)),
    }
    text = tables[what]()
    text += (
        f"\nMeasured on {machine()}, {date.today().isoformat()}, {load:.1f} other threads wanting "
        "to run before it; the least of its repetitions, the median in brackets.\n"
    )
    click.echo(text)
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text(), f"ckks-{what}", text))


if __name__ == "__main__":
    main()
