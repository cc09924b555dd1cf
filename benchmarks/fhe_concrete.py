"""Benchmarks of the Concrete scheme: times, sizes and memory, beside Concrete used directly.

    python -m proofml.benchmarks.fhe_concrete [MODEL ...] [--repeat 5] [--docs docs/fhe]

The same circuit, by turns in one run: through us (`server.run`: files read and checked, a fresh
worker, files written), and by a script of Concrete alone in a fresh process. Wall seconds depend
on who else uses the machine, processor seconds hardly. Networks are also compiled and run by
Concrete ML's own function with the same bits. Needs the environment that compiles circuits.
"""

from __future__ import annotations

import json
import resource
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np

from proofml.backend import Context
from proofml.benchmarks.fhe_cases import CASES, Case
from proofml.benchmarks.meter import Meter, machine
from proofml.benchmarks.process import others
from proofml.benchmarks.tables import replace_table, table
from proofml.fhe.concrete import server
from proofml.fhe.concrete.candidates import Cut
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.concrete.environment import interpreter
from proofml.fhe.concrete.scheme import ConcreteScheme
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

PAGE = "benchmarks.md"
SCRIPT = Path(__file__).with_name("fhe_concrete_alone.py")
SCHEME = ConcreteScheme()


@dataclass(frozen=True)
class Times:
    """Wall and processor seconds of the same work, again and again."""

    wall: list[float]
    processor: list[float]

    def add(self, work: Callable[[], Any]) -> Any:
        """Run `work`, whose processes have all ended when it returns."""
        before, started = _processor(), time.perf_counter()
        found = work()
        self.wall.append(time.perf_counter() - started)
        self.processor.append(_processor() - before)
        return found


def _processor() -> float:
    """Of this process and of its children that have ended."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def _alone(python: Path, mode: str, folder: Path) -> dict[str, float]:
    done = subprocess.run(
        [str(python), "-P", "-s", str(SCRIPT), mode, str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.strip().split("\n")[-1])
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


def measure(name: str, repeat: int, store: Store) -> dict[str, str]:
    """The column of one model."""
    case = CASES[name]()
    meter = Meter()
    context = Context(store, meter)
    model = Model.load(case.onnx, store=store)
    (source,) = model.inputs
    samples = [{source.name: row} for row in case.calibration]
    circuit, compiling = _timed(lambda: SCHEME.compile(model, samples, {}, context))
    (secret, evaluation), keygen = _timed(lambda: SCHEME.keygen(circuit, context))
    feed = {source.name: case.rows[0]}
    sealed, encrypting = _timed(lambda: SCHEME.encrypt(circuit, secret, feed, context))
    running = Meter()
    quiet = Context(store, running)
    ours, theirs = Times([], []), Times([], [])
    bare: list[float] = []  # of Concrete alone, without its imports
    python = interpreter(store, "compile")
    result = SCHEME.run(circuit, evaluation, sealed, context)  # machine code is in the cache now
    with store.scratch() as folder:
        (folder / "circuit.mlir").write_bytes(circuit.text)
        (folder / "p_error").write_text(repr(circuit.choice.p_error))
        np.save(folder / "q.npy", server.quantise_rows(circuit, case.rows[:1], context)[0])
        alone = _alone(python, "prepare", folder)
        for _ in range(repeat):
            result = ours.add(lambda: SCHEME.run(circuit, evaluation, sealed, quiet))
            bare.append(theirs.add(lambda: _alone(python, "run", folder))["processor"])
    _, decrypting = _timed(lambda: SCHEME.decrypt(circuit, secret, result, context))
    own = _concrete_ml(circuit, model, case, python, context)
    return {
        "compile": f"{compiling:.0f} s",
        "make keys, a fresh process, written": f"{keygen:.1f} s",
        "Concrete alone: make keys, in memory": f"{alone['keygen']:.1f} s",
        "encrypt": f"{encrypting:.1f} s",
        "decrypt": f"{decrypting:.1f} s",
        "run, a fresh process": _both(ours.wall),
        "Concrete alone: run, a fresh process": _both(theirs.wall),
        "ours / theirs": _ratio(ours.wall, theirs.wall),
        "processor time of it": _both(ours.processor),
        "Concrete alone: processor time": _both(theirs.processor),
        "ours / theirs, processor time": _ratio(ours.processor, theirs.processor),
        "Concrete alone: processor time without its imports": _both(bare),
        "our whole process / their work without imports": _ratio(ours.processor, bare),
        "Concrete ML: run, keys in memory": own,
        "evaluation keys": _size(len(evaluation)),
        "input": _size(len(sealed[0])),
        "output": _size(len(result[0])),
        "peak memory of a worker": f"{running.peak >> 20} MiB",
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"{min(ours) / min(theirs):.2f}"


def _both(values: Sequence[float]) -> str:
    return f"{min(values):.2f} s ({median(values):.2f} s)"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def _concrete_ml(
    circuit: ConcreteCircuit, model: Model, case: Case, python: Path, context: Context
) -> str:
    """Seconds of Concrete ML on the same body, with the same bits and rounding."""
    if circuit.quantiser.kind != "network":
        return "-"
    with context.store.scratch() as folder:
        Cut(model, circuit.samples, folder, context)
        middle: Array = np.load(folder / "middle.npy", allow_pickle=False)
        np.save(folder / "rows.npy", middle.reshape(-1, *middle.shape[2:]))
        np.save(folder / "row.npy", middle[0])
        (folder / "wanted.json").write_text(
            json.dumps(circuit.choice.to_json() | {"p_error": circuit.choice.p_error})
        )
        return f"{_alone(python, 'ml', folder)['run']:.2f} s"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, type=click.Choice(sorted(CASES)))
@click.option("--repeat", type=click.IntRange(1), default=5, show_default=True)
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the table.",
)
def main(names: Sequence[str], repeat: int, docs: Path | None) -> None:
    """Measure MODELS (all of them if none is named)."""
    store, load, found = Store.default(), others(), {}
    for name in names or list(CASES):
        found[name] = measure(name, repeat, store)
        click.echo(f"{name}: {found[name]}", err=True)
    lines = list(next(iter(found.values())))
    text = table(["", *found], [[line, *(one[line] for one in found.values())] for line in lines])
    text += (
        f"\nMeasured on {machine()}, {date.today().isoformat()}, {load:.1f} other threads wanting "
        f"to run before it; the least of {repeat} turns, the median in brackets.\n"
    )
    click.echo(text)
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text(), "concrete", text))


if __name__ == "__main__":
    main()
