"""Re-execution in fresh processes while other processes keep all cores busy.

    python -m proofml.benchmarks.fhe_reproducibility [--scheme ckks|concrete] [--runs 50]

A server runs a circuit once; then a verifier runs it again, each time in a new process with the
evaluation keys, the circuit and the ciphertexts alone, and compares all bytes. Concrete's verifier
may try several times, each a whole run; how often the first one was enough is counted. `--docs
docs/fhe` writes the table of docs/fhe/benchmarks.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import click
import numpy as np

from proofml.backend import Context
from proofml.benchmarks.fhe_cases import CASES, CKKS_CASES, batched
from proofml.benchmarks.meter import machine
from proofml.benchmarks.tables import replace_table, table
from proofml.canonical import sha256
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.concrete import clock, server
from proofml.fhe.concrete.scheme import ConcreteScheme
from proofml.model import Model
from proofml.store import Store

PAGE = "benchmarks.md"
NAME = "reproducibility"
_SPIN = "while True: pass"


@dataclass(frozen=True)
class Counts:
    """Of so many re-executions.

    Attributes:
        first, matched: how many gave the server's bytes at once, and within the allowed attempts.
        worst: most attempts that one of them took.
        seconds: of each re-execution, attempts together.
        digest: of the output ciphertexts.
        note: how it was made reproducible.
    """

    first: int
    matched: int
    worst: int
    seconds: Sequence[float]
    digest: str
    note: str


@contextmanager
def busy(count: int) -> Iterator[None]:
    """So many processes that never rest."""
    found = [subprocess.Popen([sys.executable, "-S", "-c", _SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in found:
            process.kill()
            process.wait()


def ckks(name: str, runs: int, loops: int, store: Store) -> Counts:
    case, context, scheme = CASES[name](), Context(store), CkksScheme()
    model = Model.load(batched(case.onnx), store=store)
    (source,) = model.inputs
    samples = [{source.name: np.concatenate(list(case.calibration))}]
    circuit = scheme.compile(model, samples, {}, context)
    secret, evaluation = scheme.keygen(circuit, context)
    sealed = scheme.encrypt(circuit, secret, {source.name: case.rows[0]}, context)
    claimed = scheme.run(circuit, evaluation, sealed, context)
    same, seconds = 0, []
    with busy(loops):
        for _ in range(runs):
            started = time.perf_counter()
            same += scheme.run(circuit, evaluation, sealed, context) == claimed
            seconds.append(time.perf_counter() - started)
    return Counts(same, same, 1, seconds, sha256(b"".join(claimed)), "by construction")


def concrete(name: str, runs: int, loops: int, store: Store) -> Counts:
    case, context, scheme = CASES[name](), Context(store), ConcreteScheme()
    model = Model.load(case.onnx, store=store)
    (source,) = model.inputs
    circuit = scheme.compile(model, [{source.name: row} for row in case.calibration], {}, context)
    secret, evaluation = scheme.keygen(circuit, context)
    sealed = scheme.encrypt(circuit, secret, {source.name: case.rows[0]}, context)
    claimed = scheme.run(circuit, evaluation, sealed, context)
    found, seconds = [], []
    with busy(loops):
        for _ in range(runs):
            started = time.perf_counter()
            found.append(server.reproduce(circuit, evaluation, sealed, claimed, context))
            seconds.append(time.perf_counter() - started)
    return Counts(
        sum(one.matches and one.attempts == 1 for one in found),
        sum(one.matches for one in found),
        max(one.attempts for one in found),
        seconds,
        sha256(b"".join(claimed)),
        "stepped clock" if clock.library(store) is not None else "retries only",
    )


SCHEMES: dict[str, tuple[Callable[[str, int, int, Store], Counts], Sequence[str]]] = {
    "ckks": (ckks, CKKS_CASES),
    "concrete": (concrete, ("boosted", "mlp")),
}


def reproducibility_table(
    schemes: Sequence[str], names: Sequence[str], runs: int, loops: int, store: Store
) -> str:
    rows = []
    for scheme in schemes:
        count, usual = SCHEMES[scheme]
        for name in [one for one in usual if not names or one in names]:
            found = count(name, runs, loops, store)
            rows.append(
                [
                    scheme,
                    name,
                    f"{found.first} of {runs}",
                    f"{found.matched} of {runs}",
                    str(found.worst),
                    f"{median(found.seconds):.1f} s",
                    found.note,
                    found.digest[:16],
                ]
            )
            click.echo(" | ".join(rows[-1]), err=True)
    head = ["library", "model", "same bytes at first", "with retries", "most attempts"]
    return table([*head, "median time", "made so by", "digest"], rows)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scheme", "schemes", type=click.Choice(sorted(SCHEMES)), multiple=True)
@click.option("--model", "names", type=click.Choice(sorted(CASES)), multiple=True)
@click.option("--runs", type=click.IntRange(1), default=50, show_default=True)
@click.option(
    "--busy",
    "loops",
    type=click.IntRange(0, 256),
    default=os.cpu_count() or 1,
    show_default="one a core",
    help="Processes that keep the cores busy meanwhile.",
)
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the table.",
)
def main(
    schemes: Sequence[str], names: Sequence[str], runs: int, loops: int, docs: Path | None
) -> None:
    """How often fresh processes give the same bytes."""
    store = Store.default()
    text = reproducibility_table(schemes or sorted(SCHEMES), names, runs, loops, store)
    text += (
        f"\nMeasured on {machine()}, {date.today().isoformat()}, {loops} busy processes beside; "
        f"load average at the end {os.getloadavg()[0]:.0f}.\n"
    )
    click.echo(text)
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text(), NAME, text))


if __name__ == "__main__":
    main()
