"""Execution configurations in which honest claimants may run a float model.

Each machine turns inputs into the values of every operator. Imported in workers only.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Engine
from proofml.optimistic.program import Source
from proofml.tensors import Array

#: Samples that are run together by the machine `batch`.
BATCH = 3

SETTINGS: dict[str, Settings] = {
    "one thread": Settings(),
    "two threads": Settings(threads=2),
    "no optimisation": Settings(optimization="none"),
    "parallel": Settings(threads=2, optimization="basic", parallel=True),
    "no prepacking": Settings(optimization="extended", prepacking=False),
}
TORCH = ("torch", "torch without oneDNN")
#: All of them, in the order of the table.
NAMES = (*SETTINGS, "batch", *TORCH, "torch on a GPU")


class Machine(Protocol):
    def run(self, inputs: Sequence[Array]) -> Mapping[Ref, Array]:
        """Inputs and every operator's outputs."""
        ...


def available() -> tuple[str, ...]:
    """The names of the machines that can be had here."""
    names = (*SETTINGS, "batch")
    if importlib.util.find_spec("torch") is None:
        return names
    import torch

    return (*names, *TORCH, *(("torch on a GPU",) if torch.cuda.is_available() else ()))


def machine(name: str, plan: Plan, wide: Plan) -> Machine:
    """The machine of this name; `wide` is the plan of `BATCH` samples."""
    if name in SETTINGS:
        return OrtMachine(plan, SETTINGS[name])
    if name == "batch":
        return BatchMachine(plan, wide)
    from proofml.benchmarks.optimistic_float_torch import TorchMachine

    device = "cuda" if name == "torch on a GPU" else "cpu"
    return TorchMachine(plan, device, onednn=name != "torch without oneDNN")


class OrtMachine:
    """onnxruntime, by pieces."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self._engine = Engine(plan, settings)

    def run(self, inputs: Sequence[Array]) -> Mapping[Ref, Array]:
        values: dict[Ref, Array] = {Ref(Source.INPUT, i): a for i, a in enumerate(inputs)}
        for piece, made in self._engine.run(inputs):
            values.update(zip(piece.makes, (np.array(array) for array in made), strict=True))
        return values


class BatchMachine:
    """onnxruntime on a batch of samples, of which one is the claim: matrices of other sizes."""

    def __init__(self, plan: Plan, wide: Plan) -> None:
        if [o.op for o in plan.operators] != [o.op for o in wide.operators]:
            raise ValueError("the plan of a batch has other operators")
        self._plan = plan
        self._machine = OrtMachine(wide, Settings(threads=2))

    def run(self, inputs: Sequence[Array]) -> Mapping[Ref, Array]:
        row = BATCH // 2
        others = [np.roll(array, 7, -1) for array in inputs]
        stacked = [
            np.concatenate([array if i == row else other for i in range(BATCH)])
            for array, other in zip(inputs, others, strict=True)
        ]
        values = self._machine.run(stacked)
        found: dict[Ref, Array] = {Ref(Source.INPUT, i): a for i, a in enumerate(inputs)}
        for operator in self._plan.operators:
            for port, kind in enumerate(operator.types):
                ref = Ref(Source.OPERATOR, operator.index, port)
                assert kind.shape is not None
                found[ref] = _row(values[ref], kind.shape, row)
        return found


def _row(array: Array, shape: tuple[int, ...], row: int) -> Array:
    """What belongs to one sample: the axis that is `BATCH` times longer is cut."""
    if array.shape == shape:
        return array
    for axis, (length, wanted) in enumerate(zip(array.shape, shape, strict=True)):
        if (
            length == BATCH * wanted
            and (*array.shape[:axis], wanted, *array.shape[axis + 1 :]) == shape
        ):
            cut = np.take(array, range(row * wanted, (row + 1) * wanted), axis)
            return np.ascontiguousarray(cut)
    raise ValueError(f"a batch made {array.shape} where a sample makes {shape}")
