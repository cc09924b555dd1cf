"""Model inputs as slots, slots as model outputs, and what a circuit computes in the clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.errors import UsageError, printable
from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.simulate import samples_at_once, simulate
from proofml.fhe.scheme import Malformed
from proofml.tensors import Array

#: Inferences of one call.
MAX_SAMPLES = 1 << 16


def rows(circuit: CkksCircuit, inputs: Mapping[str, Array]) -> list[Reals]:
    """Each input as [samples, elements] in float64.

    Raises:
        UsageError: another name, dtype or shape, none or too many samples, or numbers that are
            not finite.
    """
    wanted = {spec.name: spec for spec in circuit.inputs}
    if not isinstance(inputs, Mapping) or set(inputs) != set(wanted):
        got = ", ".join(map(str, inputs)) if isinstance(inputs, Mapping) else type(inputs)
        raise UsageError(
            f"{circuit.name}: expected a mapping of the inputs {', '.join(wanted)} to arrays; "
            f"got {got or 'none'}"
        )
    found: list[Reals] = []
    for name, spec in wanted.items():
        array = np.asarray(inputs[name])
        where = f"{circuit.name}: input {printable(name)!r}"
        if array.dtype.name != spec.dtype or not spec.admits(array.shape):
            raise UsageError(f"{where}: expected {spec}, got {array.dtype}{list(array.shape)}")
        if not 1 <= len(array) <= MAX_SAMPLES or (found and len(array) != len(found[0])):
            raise UsageError(
                f"{where}: expected a batch of 1 to {MAX_SAMPLES}, the same for all inputs, "
                f"got {len(array)}"
            )
        if not np.isfinite(array).all():
            raise UsageError(f"{where}: expected finite numbers, got NaN or infinity")
        found.append(array.reshape(len(array), -1).astype(np.float64))
    return found


def features(circuit: CkksCircuit, index: int, vectors: Reals) -> Reals:
    """[samples, elements] of an input -> [samples, features], each element wherever it lies."""
    layout = circuit.layouts[index]
    padded = np.concatenate([vectors, np.zeros((len(vectors), 1))], axis=1)
    return np.tile(padded[:, layout], (1, circuit.program.features // len(layout)))


@dataclass(frozen=True, eq=False)
class Batch:
    """One ciphertext to be: all slots, and how many inferences its lanes hold."""

    slots: Reals
    count: int


def batches(circuit: CkksCircuit, inputs: Mapping[str, Array]) -> list[Batch]:
    """Ciphertexts of inputs: for each group of lanes all inputs. Raises `UsageError` as `rows`."""
    program = circuit.program
    vectors = [features(circuit, i, one) for i, one in enumerate(rows(circuit, inputs))]
    found = []
    for start in range(0, len(vectors[0]), program.lanes):
        for vector in vectors:
            part = vector[start : start + program.lanes]
            lanes = np.zeros((program.lanes, program.features))
            lanes[: len(part)] = part
            found.append(Batch(np.ascontiguousarray(lanes.T).reshape(-1), len(part)))
    return found


def results(circuit: CkksCircuit, decrypted: Sequence[Batch]) -> dict[str, Array]:
    """Model outputs by name of decrypted slots, in the order of `Scheme.run`.

    Raises:
        Malformed: another number of ciphertexts, or counts that contradict each other.
    """
    program, each = circuit.program, len(circuit.results)
    if not decrypted or len(decrypted) % each:
        raise Malformed("output ciphertexts", f"a multiple of {each}", len(decrypted))
    parts: list[list[Reals]] = [[] for _ in circuit.results]
    for start in range(0, len(decrypted), each):
        group = decrypted[start : start + each]
        if any(one.count != group[0].count for one in group):
            raise Malformed("output ciphertexts of one batch", "one count", "others")
        for place, one in enumerate(group):
            lanes = one.slots.reshape(program.features, program.lanes).T
            parts[place].append(lanes[: one.count])
    return finish(circuit, [np.concatenate(part) for part in parts])


def finish(circuit: CkksCircuit, outputs: Sequence[Reals]) -> dict[str, Array]:
    """Model outputs by name of the program's outputs [samples, features]."""
    found: dict[str, list[Array]] = {spec.name: [] for spec in circuit.outputs}
    for sample in range(len(outputs[0])):
        with np.errstate(over="ignore"):  # of ciphertexts that nobody made for these keys
            tensors = {
                place.name: values[sample, place.slots].astype(np.float32).reshape(place.shape)
                for place, values in zip(circuit.results, outputs, strict=True)
            }
        try:
            made = circuit.tail.run(tensors)
        except (ValueError, KeyError) as error:
            raise Malformed("circuit's last steps", "ones that can be run", error) from error
        for spec in circuit.outputs:
            array = made.get(spec.name)
            if array is None or array.dtype.name != spec.dtype or not spec.admits(array.shape):
                raise Malformed(f"circuit's output {spec.name!r}", spec, "another tensor")
            found[spec.name].append(array)
    return {name: np.concatenate(arrays) for name, arrays in found.items()}


def compute(circuit: CkksCircuit, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """See `Scheme.simulate`."""
    given = rows(circuit, inputs)
    size = samples_at_once(circuit.program)
    parts: list[list[Reals]] = [[] for _ in circuit.results]
    for start in range(0, len(given[0]), size):
        vectors = [features(circuit, i, one[start : start + size]) for i, one in enumerate(given)]
        for place, values in zip(parts, simulate(circuit.program, vectors), strict=True):
            place.append(values)
    return finish(circuit, [np.concatenate(part) for part in parts])
