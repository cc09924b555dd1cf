"""Accuracy under homomorphic encryption beside that of the float model, on rows never fitted on.

    python -m proofml.benchmarks.fhe_accuracy [--scheme ckks|concrete] [--model NAME] ...

CKKS: every one of the 200 rows is encrypted, run and decrypted. Concrete: all of them in its
simulation, and the first ones (`--encrypted`) under real TFHE encryption, which must give what the
simulation gives, to the last bit. `--docs docs/fhe` writes the table of docs/fhe/benchmarks.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import click
import numpy as np

from proofml.backend import Context
from proofml.benchmarks.fhe_cases import CASES, CKKS_CASES, Case, batched
from proofml.benchmarks.meter import machine
from proofml.benchmarks.tables import replace_table, table
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.concrete import server
from proofml.fhe.concrete.candidates import Cut
from proofml.fhe.concrete.scheme import ConcreteScheme
from proofml.model import Model
from proofml.runtime import run_model
from proofml.store import Store
from proofml.tensors import Array

PAGE = "benchmarks.md"
NAME = "accuracy"


@dataclass(frozen=True)
class Finding:
    """One model on one library.

    Attributes:
        reference, found: outputs [rows, classes] of the float model and of the circuit.
        labels: of the rows.
        encrypted, equal: inferences under encryption, and how many of them gave what the
            simulation gives (CKKS: within the noise that compiling announced).
        choice: what compiling chose, for people.
        seconds: of the whole measurement.
    """

    model: str
    scheme: str
    reference: Array
    found: Array
    labels: Array
    encrypted: int
    equal: int
    choice: str
    seconds: float

    def accuracy(self, outputs: Array) -> float:
        return float(np.mean(outputs.argmax(axis=1) == self.labels))

    @property
    def points(self) -> float:
        """By which accuracy differs from the float model's, in per cent."""
        return 100 * (self.accuracy(self.found) - self.accuracy(self.reference))

    def row(self) -> list[str]:
        alike = int(np.sum(self.found.argmax(axis=1) == self.reference.argmax(axis=1)))
        return [
            self.model,
            self.scheme,
            f"{100 * self.accuracy(self.reference):.1f} %",
            f"{100 * self.accuracy(self.found):.1f} %",
            f"{self.points:+.1f}",
            f"{alike} of {len(self.labels)}",
            f"{self.equal} of {self.encrypted}",
            self.choice,
            f"{self.seconds:.0f} s",
        ]


def ckks(name: str, case: Case, encrypted: int, store: Store) -> Finding:
    """All rows under encryption, 32 to 64 of them in one ciphertext."""
    del encrypted  # all of them
    started = time.perf_counter()
    context, scheme = Context(store), CkksScheme()
    model = Model.load(batched(case.onnx), store=store)
    (source,), (result,) = model.inputs, model.outputs
    samples = [{source.name: np.concatenate(list(case.calibration))}]
    circuit = scheme.compile(model, samples, {}, context)
    inputs = {source.name: np.concatenate(list(case.rows))}
    secret, evaluation = scheme.keygen(circuit, context)
    sealed = scheme.encrypt(circuit, secret, inputs, context)
    made = scheme.run(circuit, evaluation, sealed, context)
    found = scheme.decrypt(circuit, secret, made, context)[result.name]
    simulated = scheme.simulate(circuit, inputs, context)[result.name]
    reference = run_model(model, model.check_inputs(inputs), store)[result.name]
    flat = [one.reshape(len(case.rows), -1) for one in (reference, found, simulated)]
    bound = float(str(circuit.report["noise"]))
    equal = int(np.sum(np.abs(flat[1] - flat[2]).max(axis=1) <= bound))
    parameters = circuit.program.parameters
    choice = f"ring {parameters.degree}, {parameters.modulus_bits} bits, noise {bound:.0e}"
    seconds = time.perf_counter() - started
    return Finding(
        name, "ckks", flat[0], flat[1], case.labels, len(case.rows), equal, choice, seconds
    )


def concrete(name: str, case: Case, encrypted: int, store: Store) -> Finding:
    """All rows in the simulation, the first ones under encryption as well."""
    started = time.perf_counter()
    context, scheme = Context(store), ConcreteScheme()
    model = Model.load(case.onnx, store=store)
    (source,), (result,) = model.inputs, model.outputs
    circuit = scheme.compile(model, [{source.name: row} for row in case.calibration], {}, context)
    simulated = server.simulate_rows(circuit, case.rows, context)
    with store.scratch() as folder:
        reference = Cut(model, case.rows, folder, context).reference
    secret, evaluation = scheme.keygen(circuit, context)
    equal = 0
    for index in range(encrypted):
        sealed = scheme.encrypt(circuit, secret, {source.name: case.rows[index]}, context)
        made = scheme.run(circuit, evaluation, sealed, context)
        opened = scheme.decrypt(circuit, secret, made, context)[result.name]
        equal += np.array_equal(opened, simulated[index])
    choice = circuit.choice
    rounding = "" if choice.rounding is None else f", rounded to {choice.rounding}"
    lookups = circuit.report["lookups"]
    return Finding(
        name,
        "concrete",
        reference.reshape(len(case.rows), -1),
        simulated.reshape(len(case.rows), -1),
        case.labels,
        encrypted,
        equal,
        f"{choice.bits} bits{rounding}, {lookups} lookups",
        time.perf_counter() - started,
    )


SCHEMES: dict[str, Callable[[str, Case, int, Store], Finding]] = {
    "ckks": ckks,
    "concrete": concrete,
}


def accuracy_table(
    schemes: Sequence[str], names: Sequence[str], encrypted: int, store: Store
) -> str:
    rows = []
    for name in names:
        case = CASES[name]()
        for scheme in schemes:
            if scheme == "ckks" and name not in CKKS_CASES:
                continue
            rows.append(SCHEMES[scheme](name, case, encrypted, store).row())
            click.echo(" | ".join(rows[-1]), err=True)
    head = ["model", "library", "float", "circuit", "points", "decided as by float"]
    return table([*head, "encrypted as simulated", "chosen", "measured in"], rows)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--scheme", "schemes", type=click.Choice(sorted(SCHEMES)), multiple=True)
@click.option("--model", "names", type=click.Choice(sorted(CASES)), multiple=True)
@click.option(
    "--encrypted",
    type=click.IntRange(1, 200),
    default=10,
    show_default=True,
    help="Inferences under real TFHE encryption; CKKS encrypts all rows.",
)
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the table.",
)
def main(schemes: Sequence[str], names: Sequence[str], encrypted: int, docs: Path | None) -> None:
    """Accuracy of models under homomorphic encryption."""
    store = Store.default()
    text = accuracy_table(schemes or sorted(SCHEMES), names or list(CASES), encrypted, store)
    text += f"\nMeasured on {machine()}, {date.today().isoformat()}.\n"
    click.echo(text)
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text(), NAME, text))


if __name__ == "__main__":
    main()
