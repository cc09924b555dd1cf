"""The same trace from onnxruntime, for models whose every operator it computes to the bit.

A machine's executor holds integers in wide types and is made for exactness. Where all operators of
a model are of class E or T (`Graph.classes`) and all codes are uint8, onnxruntime's kernels give
the same codes many times faster. What they do not show (views that they never make) is computed by
the executor from what they do.

A claimant who is wrong here loses a bond, so `check` compares with the executor, for once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofml.circuits.compiled import CodeTensor, Compiled
from proofml.circuits.graph import Input, Reshape
from proofml.errors import BackendFailed, UnsupportedModel
from proofml.model import Model
from proofml.optimistic import commit
from proofml.optimistic.compile import obstacle
from proofml.optimistic.pieces import Piece, cut
from proofml.optimistic.plain import outputs_of
from proofml.optimistic.trace import Machine, Trace
from proofml.runtime import RUN_LIMITS
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import Limits, Progress, run, silent


@dataclass(frozen=True)
class Seconds:
    """Of a run: in onnxruntime, in hashing, and from its beginning to its end."""

    run: float
    hash: float
    whole: float


@dataclass(frozen=True, eq=False)
class RuntimeMachine:
    """A machine whose tensors onnxruntime makes.

    Attributes:
        machine, model, compiled: of one model.
        shown: operator -> the tensor that is its output.
        hidden: operators that the executor computes.
        read: the values that it needs for that, and where they are found.
    """

    machine: Machine
    model: Model
    compiled: Compiled
    shown: Mapping[int, CodeTensor]
    hidden: tuple[int, ...]
    read: Mapping[int, CodeTensor]

    @classmethod
    def of(cls, machine: Machine, model: Model, compiled: Compiled) -> RuntimeMachine:
        """
        Args:
            machine: of `compiled`, which was compiled from `model`.

        Raises:
            UnsupportedModel: some operator is computed otherwise than by onnxruntime, or its
                codes are not uint8.
        """
        reason = obstacle(compiled)
        if reason is not None:
            raise UnsupportedModel(f"{model.name}: {reason}; run it without onnxruntime")
        found = _by_source(compiled)
        values, program = machine.tables.values, machine.program
        shown = {
            number: found[value]
            for number, value in enumerate(values)
            if value in found and program.operators[number].cells.width == 1
        }
        hidden = tuple(number for number in range(len(values)) if number not in shown)
        made = [v for v in compiled.codes if not isinstance(compiled.graph.nodes[v], Input)]
        read = machine.executor.sources({values[number] for number in hidden}, made)
        return cls(
            machine, model, compiled, shown, hidden, {v: compiled.codes[v] for v in sorted(read)}
        )

    @cached_property
    def pieces(self) -> list[Piece]:
        shapes = {c.name: self.compiled.graph.shape(v) for v, c in self.compiled.codes.items()}
        shown = [tensor.name for tensor in self.shown.values()]
        return cut(self.model.proto, shapes, shown, [tensor.name for tensor in self.read.values()])

    def run(
        self,
        feeds: Mapping[str, Array],
        store: Store,
        *,
        check: bool = False,
        limits: Limits = RUN_LIMITS,
        progress: Progress = silent,
    ) -> tuple[Trace, Seconds]:
        """Executes the model and commits all tensors.

        Args:
            feeds: the model's inputs, checked.
            check: execute it without onnxruntime too, and compare.

        Raises:
            UsageError: an input that is none.
            UnsupportedModel: onnxruntime refuses the model.
            WorkerFailed: it crashed or ran out of memory or time.
            BackendFailed: its tensors are not those of the program.
        """
        inputs = self.machine.encode(feeds)
        arrays, result = self._work(feeds, store, limits, progress)
        roots = {int(number): bytes.fromhex(root) for number, root in result["roots"].items()}
        given = {v: arrays[c.name].astype(np.int64) - c.zero for v, c in self.read.items()}
        program = self.machine.program
        for number, array in self.machine.tensors(inputs, self.hidden, given):
            roots[number] = commit.tensor_root(program.operators[number].cells, array)
        input_roots = tuple(
            commit.tensor_root(port.cells, x)
            for port, x in zip(program.inputs, inputs, strict=True)
        )
        leaves = commit.leaves_of(
            program, input_roots, [roots[i] for i in range(len(program.operators))]
        )
        outputs = outputs_of(self.machine, arrays)
        trace = Trace(self.machine, inputs, {}, outputs, input_roots, leaves)
        if check:
            self.compare(trace)
        return trace, Seconds(**result["seconds"])

    def compare(self, trace: Trace) -> None:
        """Executes the program without onnxruntime.

        Raises:
            BackendFailed: naming the first operator whose tensor is another one.
        """
        own = self.machine.run(trace.inputs)
        for mine, theirs, operator in zip(
            own.leaves, trace.leaves, self.machine.program.operators, strict=True
        ):
            if mine != theirs:
                raise BackendFailed(
                    f"operator {mine.index} ({operator.name}): onnxruntime makes another tensor "
                    "than the program; run this model without it"
                )

    def _work(
        self, feeds: Mapping[str, Array], store: Store, limits: Limits, progress: Progress
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays of the model's outputs and of `read`, and what the worker says."""
        names = dict.fromkeys(spec.name for spec in self.model.outputs)
        names |= dict.fromkeys(tensor.name for tensor in self.read.values())
        made = {name for piece in self.pieces for name in piece.outputs}
        arrays = {name: np.asarray(feeds[name]) for name in names if name not in made}
        written = [name for name in names if name in made]
        with store.scratch() as folder:
            for index, piece in enumerate(self.pieces):
                path = folder / f"piece.{index}.onnx"
                path.write_bytes(piece.model.SerializeToString(deterministic=True))
            for index, name in enumerate(feeds):
                np.save(folder / f"in.{index}.npy", feeds[name])
            result = run(
                "proofml.optimistic.stages:run_pieces",
                {
                    "name": self.model.name,
                    "inputs": list(feeds),
                    "outputs": written,
                    "pieces": [self.piece_arguments(i) for i in range(len(self.pieces))],
                },
                folder,
                stage="onnxruntime",
                limits=limits,
                progress=progress,
            )
            for index, name in enumerate(written):
                arrays[name] = np.load(folder / f"out.{index}.npy", allow_pickle=False)
        return arrays, result

    def piece_arguments(self, index: int) -> dict[str, Any]:
        """What `stages.run_pieces` is told of a piece, whose file is `piece.INDEX.onnx`."""
        piece = self.pieces[index]
        operators = self.machine.program.operators
        tensors = []
        for number, tensor in self.shown.items():
            if tensor.name in piece.outputs:
                cells = operators[number].cells
                offset = (cells.low + tensor.zero) % 256
                tensors.append([number, tensor.name, offset, cells.count])
        return {
            "file": f"piece.{index}.onnx",
            "inputs": piece.inputs,
            "outputs": piece.outputs,
            "tensors": tensors,
            "free": piece.free,
        }


def _by_source(compiled: Compiled) -> dict[int, CodeTensor]:
    """Tensors by the value of which they are the cells, in whatever shape."""
    source: dict[int, int] = {}
    for value, node in enumerate(compiled.graph.nodes):
        source[value] = source[node.value] if isinstance(node, Reshape) else value
    found: dict[int, CodeTensor] = {}
    for value, tensor in compiled.codes.items():
        found.setdefault(source[value], tensor)
    return found
