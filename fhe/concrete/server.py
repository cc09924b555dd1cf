"""What server and verifier do with a circuit: run it, and run it again. No secret key here.

The same circuit, keys and ciphertexts give the same bytes in every process on one kind of
processor, by the clock of `clock`. Where that cannot be loaded, a run may differ from another one;
a verifier then tries again in fresh processes, each a whole run, and takes any that fits. That a
wrong output fits one of them is no likelier than that it fits the first.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proofml.backend import Context
from proofml.canonical import JSON, sha256
from proofml.errors import UnsupportedModel, UsageError, printable
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete import clock
from proofml.fhe.concrete.call import call
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.concrete.environment import LIBRARY
from proofml.fhe.concrete.evaluate import apply
from proofml.fhe.concrete.messages import read_ciphertext, read_evaluation, write_ciphertext
from proofml.fhe.scheme import Malformed
from proofml.tensors import Array
from proofml.worker import WorkerFailed

STAGES = "server_stages"
#: Measured without the clock: 28 of 34 processes agree, so six misses in a row are 1 in 30,000.
ATTEMPTS = 6

read_circuit = circuits.read


def run(
    circuit: ConcreteCircuit,
    evaluation: bytes,
    ciphertexts: Sequence[bytes],
    context: Context,
    *,
    steady: bool = True,
) -> tuple[bytes, ...]:
    """See `Scheme.run`; `steady`: with the clock that makes results the same in every process."""
    program = circuit.program
    keys = read_evaluation(evaluation, program)
    if len(ciphertexts) != 1:
        raise Malformed("input ciphertexts", "1", len(ciphertexts))
    body = read_ciphertext(ciphertexts[0], program, keys.key, "input")
    with machine_code(circuit, context) as folder:
        (folder / "keys").write_bytes(keys.body)
        (folder / "in.0").write_bytes(body)
        with foreign("evaluation keys or ciphertexts"):
            call(
                f"{STAGES}:run",
                {"inputs": 1, "function": program.function},
                folder,
                context,
                title="load keys",
                steady=steady,
            )
        result = (folder / "out.0").read_bytes()
    return (write_ciphertext(program, keys.key, "output", result),)


@dataclass(frozen=True)
class Reproduction:
    """Whether a run gave the claimed bytes, after how many runs, and if the clock was there."""

    matches: bool
    attempts: int
    steady: bool


def reproduce(
    circuit: ConcreteCircuit,
    evaluation: bytes,
    ciphertexts: Sequence[bytes],
    claimed: Sequence[bytes],
    context: Context,
    *,
    attempts: int = ATTEMPTS,
) -> Reproduction:
    """Run in fresh processes until the claimed ciphertexts come out, `attempts` times at most.

    Raises:
        Malformed: keys or ciphertexts that are none, the claimed ones included.
    """
    if attempts < 1:
        raise UsageError(f"attempts: expected at least 1, got {attempts}")
    keys = read_evaluation(evaluation, circuit.program)
    for one in claimed:
        read_ciphertext(one, circuit.program, keys.key, "output")
    steady = clock.library(context.store) is not None
    for attempt in range(1, attempts + 1):
        # Every second one without the clock: whoever ran the circuit may not have had one.
        made = run(circuit, evaluation, ciphertexts, context, steady=attempt % 2 == 1)
        if made == tuple(claimed):
            return Reproduction(True, attempt, steady)
    return Reproduction(False, attempts, steady)


def simulate(
    circuit: ConcreteCircuit, inputs: Mapping[str, Array], context: Context
) -> dict[str, Array]:
    """See `Scheme.simulate`."""
    row = input_row(circuit, inputs)
    (result,) = simulate_rows(circuit, row[None], context)
    return {circuit.outputs[0].name: result}


def simulate_rows(circuit: ConcreteCircuit, rows: Array, context: Context) -> Array:
    """Outputs float32 [n, ...] of model inputs float32 [n, ...], all in one worker."""
    integers = quantise_rows(circuit, rows, context)
    with machine_code(circuit, context, simulation=True) as folder:
        np.save(folder / "q.npy", integers)
        with foreign("circuit"):
            arguments = {"function": circuit.program.function}
            call(f"{STAGES}:simulate", arguments, folder, context, title="simulate circuit")
        results = np.load(folder / "y.npy", allow_pickle=False)
    return dequantise_rows(circuit, results, context)


def quantise_rows(circuit: ConcreteCircuit, rows: Array, context: Context) -> Array:
    """Integers int64 [n, ...] that are encrypted for model inputs float32 [n, ...]."""
    with foreign("circuit's head"):
        middle = apply(circuit.head, rows, f"{circuit.name} (head)", context)
    if not np.isfinite(middle).all():
        raise UsageError(
            f"{circuit.name}: its head makes numbers of this input that are not finite"
        )
    integers = np.stack([circuit.quantiser.quantise(row) for row in middle])
    if integers.shape[1:] != circuit.program.input_shape:
        raise Malformed(
            "circuit's input", list(circuit.program.input_shape), list(integers.shape[1:])
        )
    return integers


def dequantise_rows(circuit: ConcreteCircuit, integers: Array, context: Context) -> Array:
    """Model outputs float32 [n, ...] of what was decrypted, int64 [n, ...]."""
    if integers.shape[1:] != circuit.program.output_shape:
        raise Malformed(
            "circuit's output", list(circuit.program.output_shape), list(integers.shape[1:])
        )
    try:
        middle = np.stack([circuit.quantiser.dequantise(row) for row in integers])
    except ValueError as error:
        raise Malformed("quantiser of the output", list(integers.shape[1:]), error) from error
    with foreign("circuit's tail"):
        return apply(circuit.tail, middle, f"{circuit.name} (tail)", context)


def input_row(circuit: ConcreteCircuit, inputs: Mapping[str, Array]) -> Array:
    """The one input, float32 in the circuit's shape and finite; raises `UsageError`."""
    (spec,) = circuit.inputs
    if not isinstance(inputs, Mapping) or set(inputs) != {spec.name}:
        got = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs)
        raise UsageError(
            f"{circuit.name}: expected a mapping of {spec.name} to an array, got {got}"
        )
    array = np.asarray(inputs[spec.name])
    shape = circuit.samples.shape[1:]
    if array.dtype != np.float32 or array.shape != shape:
        raise UsageError(
            f"{circuit.name}: input {spec.name!r}: expected float32{list(shape)}, as the circuit "
            f"was made for, got {array.dtype}{list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise UsageError(
            f"{circuit.name}: input {spec.name!r}: expected finite numbers, got others"
        )
    return array


@dataclass(frozen=True)
class Derived:
    """What Concrete chooses for a circuit at one probability of error of a lookup.

    Attributes:
        parameters: as `program.read` takes them.
        p_error: of one table lookup, as achieved.
        cost: Concrete's estimate, in its own unit (about one multiplication).
        lookups: number of table lookups.
    """

    parameters: bytes
    p_error: float
    cost: float
    lookups: int

    def failure(self, outputs: int) -> float:
        """Probability that any lookup or any decrypted output is wrong: the union bound."""
        return min(1.0, (self.lookups + outputs) * self.p_error)


def derive(text: bytes, p_errors: Sequence[float], context: Context) -> list[Derived]:
    """Parameters for a circuit's program at each probability of error of a lookup."""
    with context.store.scratch() as folder:
        (folder / "circuit.mlir").write_bytes(text)
        found = call(
            f"{STAGES}:derive",
            {"p_errors": [repr(p_error) for p_error in p_errors]},
            folder,
            context,
            title="choose parameters",
        )["derived"]
        return [
            Derived(
                (folder / f"program.{index}.json").read_bytes(),
                float(one["p_error"]),
                float(one["cost"]),
                one["lookups"],
            )
            for index, one in enumerate(found)
        ]


@contextmanager
def machine_code(
    circuit: ConcreteCircuit, context: Context, *, simulation: bool = False
) -> Iterator[Path]:
    """A scratch folder with `library/`, compiled here, from the cache where it is there.

    Raises:
        Malformed: Concrete does not compile the circuit, or chooses other parameters for it.
    """
    recipe: dict[str, JSON] = {
        "kind": "concrete-library",
        "concrete-python": LIBRARY,
        "program": sha256(circuit.text),
        "parameters": sha256(circuit.program.data),
        "p_error": repr(circuit.choice.p_error),
        "simulation": simulation,
        "machine": platform.machine(),
    }
    with context.store.lock(f"concrete-{circuit.digest[:16]}"):
        found = context.store.find(recipe)
        if found is None:
            found = _compile(circuit, recipe, context, simulation)
    with context.store.scratch() as folder:
        (folder / "library").mkdir()
        for name, path in found.items():
            (folder / "library" / name).write_bytes(path.read_bytes())
        yield folder


def _compile(
    circuit: ConcreteCircuit, recipe: Mapping[str, JSON], context: Context, simulation: bool
) -> dict[str, Path]:
    with context.store.scratch() as folder:
        (folder / "circuit.mlir").write_bytes(circuit.text)
        (folder / "program.json").write_bytes(circuit.program.data)
        arguments = {"p_error": repr(circuit.choice.p_error), "simulation": simulation}
        with foreign("circuit"):
            made = call(f"{STAGES}:library", arguments, folder, context, title="compile circuit")
        if not simulation and not made["same"]:
            raise Malformed(
                "circuit's parameters", "those that Concrete chooses for its program", "others"
            )
        files = {path.name: path for path in sorted((folder / "library").iterdir())}
        return context.store.put(recipe, files, label=f"concrete library {circuit.name}")


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Somebody's bytes on which a worker failed, and not for want of this machine's means."""
    try:
        yield
    except UnsupportedModel as error:
        raise Malformed(what, "one that onnxruntime can run", printable(error)) from error
    except WorkerFailed as error:
        if error.is_machines_fault:
            raise
        raise Malformed(what, "some that Concrete can run", printable(error)) from error
