"""The model as a claim sees it: operators over tensors, and one root that commits to all of it.

A descriptor holds everything about one operator but its run: nodes, where each operand comes from,
weights by their digests, and the types of its outputs. All integers are big-endian.

    program     SHA-256(0x04 || head)
    head        u32 operators || u16 inputs || type each || u16 outputs || ref each
                || root of the tree over descriptors
    descriptor  u8 version || u16 opset || u8 nodes || (u32 length || NodeProto) each
                || u16 operands || ref each || u16 outputs || type each
    ref         u8 source || u32 index || u16 port || [32 digest, of a weight]
    type        u8 dtype || u8 known || [u8 rank || u32 dim each]

Nodes are written with the names of values replaced: `i0`, `i1`, ... for operands in order, `m..`
inside a group, `o0`, ... for outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proofml.errors import UsageError
from proofml.optimistic.floating.digests import dtype_code, tensor_digests
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.rules import Kind, kind_of
from proofml.optimistic.merkle import Tree, tree_of_leaves
from proofml.optimistic.program import Source
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import Limits, Progress, silent

if TYPE_CHECKING:
    from onnx import ModelProto

    from proofml.model import Model

VERSION = 1
_PROGRAM = b"\x04"

PREPARED, TABLE = "prepared.onnx", "plan.json"


def root_of_head(head: bytes) -> bytes:
    """The root of the plan that has this head."""
    return hashlib.sha256(_PROGRAM + head).digest()


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a tensor is from: input `index`, weight `index`, or output `port` of an operator."""

    source: Source
    index: int
    port: int = 0

    @property
    def head(self) -> bytes:
        return bytes([self.source]) + self.index.to_bytes(4, "big") + self.port.to_bytes(2, "big")

    def to_bytes(self, weights: Sequence[bytes]) -> bytes:
        return self.head + (weights[self.index] if self.source is Source.WEIGHT else b"")


@dataclass(frozen=True, slots=True)
class Type:
    """Element type by NumPy's name, and dims; None where only a run decides them."""

    dtype: str
    shape: tuple[int, ...] | None

    def to_bytes(self) -> bytes:
        head = bytes([dtype_code(self.dtype), self.shape is not None])
        if self.shape is None:
            return head
        return head + bytes([len(self.shape)]) + b"".join(d.to_bytes(4, "big") for d in self.shape)

    @property
    def nbytes(self) -> int | None:
        """Size of the raw data; None where the dims are not known."""
        if self.shape is None:
            return None
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Operator:
    """What is judged as one: a node, or a group whose last node makes the output.

    Attributes:
        index: in the plan, in topological order.
        nodes: in order; only the last one's outputs are committed.
        names: of the operands' values, each once, in the order of first use.
        inputs: where those come from.
        outputs: names of the values that it makes, by port.
        types: of these.
        kind: how it is judged.
    """

    index: int
    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[str, ...]
    types: tuple[Type, ...]
    kind: Kind

    @property
    def label(self) -> str:
        """`Conv+Add -> name of its first output`."""
        return f"{self.op} -> {self.nodes[-1].label.partition(' -> ')[2]}"

    @property
    def op(self) -> str:
        return "+".join(node.op for node in self.nodes)

    def descriptor(self, weights: Sequence[bytes]) -> bytes:
        """Its bytes, see the module; `weights` are the digests of all weights."""
        local = {name: f"i{index}" for index, name in enumerate(self.names)}
        local.update({name: f"o{index}" for index, name in enumerate(self.outputs)})
        parts = [bytes([VERSION]), self.nodes[0].opset.to_bytes(2, "big"), bytes([len(self.nodes)])]
        for node in self.nodes:
            data = _renamed(node, local)
            parts += [len(data).to_bytes(4, "big"), data]
        parts.append(len(self.inputs).to_bytes(2, "big"))
        parts += [ref.to_bytes(weights) for ref in self.inputs]
        parts.append(len(self.types).to_bytes(2, "big"))
        return b"".join([*parts, *(kind.to_bytes() for kind in self.types)])


def _renamed(node: Node, local: dict[str, str]) -> bytes:
    proto = type(node.proto)()
    proto.CopyFrom(node.proto)
    for name in filter(None, node.outputs):
        local.setdefault(name, f"m{len(local)}")
    del proto.input[:], proto.output[:]
    proto.input.extend(local[name] if name else "" for name in node.inputs)
    proto.output.extend(local[name] if name else "" for name in node.outputs)
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


@dataclass(frozen=True, eq=False)
class Plan:
    """A model at fixed input shapes as operators; made by `plan_of`.

    Attributes:
        data: bytes of the prepared model.
        table: types and groups as JSON, as the worker wrote them.
        inputs, outputs: names; `ports` tells where the outputs come from.
        weights: constants, by `Ref.index`.
    """

    data: bytes
    table: bytes
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    input_types: tuple[Type, ...]
    outputs: tuple[str, ...]
    ports: tuple[Ref, ...]
    weights: tuple[Array, ...]
    weight_names: tuple[str, ...]
    opset: int
    ir_version: int

    @classmethod
    def read(cls, data: bytes, table: bytes) -> Plan:
        """From what `stages.prepare` wrote."""
        import onnx
        from onnx import numpy_helper

        model = onnx.ModelProto.FromString(data)
        found = json.loads(table)
        graph = model.graph
        weights = tuple(numpy_helper.to_array(tensor) for tensor in graph.initializer)
        names = tuple(tensor.name for tensor in graph.initializer)
        inputs = tuple(value.name for value in graph.input)
        types = {
            name: Type(dtype, None if dims is None else tuple(dims))
            for name, (dtype, dims) in found["types"].items()
        }
        refs = {name: Ref(Source.WEIGHT, index) for index, name in enumerate(names)}
        refs.update({name: Ref(Source.INPUT, index) for index, name in enumerate(inputs)})
        operators = _operators(model, found["groups"], refs, types)
        outputs = tuple(value.name for value in graph.output)
        return cls(
            data,
            table,
            operators,
            inputs,
            tuple(types[name] for name in inputs),
            outputs,
            tuple(refs[name] for name in outputs),
            weights,
            names,
            model.opset_import[0].version,
            model.ir_version,
        )

    @property
    def proto(self) -> ModelProto:
        """A fresh copy of the prepared model."""
        import onnx

        proto: ModelProto = onnx.ModelProto.FromString(self.data)
        return proto

    @cached_property
    def weight_digests(self) -> tuple[bytes, ...]:
        return tuple(tensor_digests(self.weights))

    @cached_property
    def descriptors(self) -> Tree:
        """The tree over all descriptors."""
        digests = self.weight_digests
        return tree_of_leaves([operator.descriptor(digests) for operator in self.operators])

    @cached_property
    def head(self) -> bytes:
        """What `root` is the digest of."""
        digests = self.weight_digests
        parts = [len(self.operators).to_bytes(4, "big")]
        parts.append(len(self.inputs).to_bytes(2, "big"))
        parts += [kind.to_bytes() for kind in self.input_types]
        parts.append(len(self.outputs).to_bytes(2, "big"))
        parts += [ref.to_bytes(digests) for ref in self.ports]
        return b"".join([*parts, self.descriptors.root])

    @cached_property
    def root(self) -> bytes:
        """The program's root: model, input shapes and granularity."""
        return root_of_head(self.head)

    def type_of(self, ref: Ref) -> Type:
        """Of an input, a weight, or an operator's output."""
        if ref.source is Source.INPUT:
            return self.input_types[ref.index]
        if ref.source is Source.WEIGHT:
            weight = self.weights[ref.index]
            return Type(weight.dtype.name, weight.shape)
        return self.operators[ref.index].types[ref.port]

    def write(self, folder: Path) -> None:
        """`prepared.onnx` and `plan.json`, as stages read them."""
        (folder / PREPARED).write_bytes(self.data)
        (folder / TABLE).write_bytes(self.table)


def _operators(
    model: ModelProto,
    groups: Sequence[Sequence[int]],
    refs: dict[str, Ref],
    types: Mapping[str, Type],
) -> tuple[Operator, ...]:
    opset = model.opset_import[0].version
    found: list[Operator] = []
    for index, members in enumerate(groups):
        nodes = tuple(Node(model.graph.node[member], opset) for member in members)
        inner = {name for node in nodes for name in node.outputs}
        names = dict.fromkeys(
            name for node in nodes for name in node.inputs if name and name not in inner
        )
        outputs = tuple(name for name in nodes[-1].outputs if name)
        refs.update({name: Ref(Source.OPERATOR, index, port) for port, name in enumerate(outputs)})
        kinds = tuple(types[name] for name in outputs)
        kind = kind_of(nodes[-1], [np.dtype(kind.dtype) for kind in kinds])
        found.append(
            Operator(
                index,
                nodes,
                tuple(names),
                tuple(refs[name] for name in names),
                outputs,
                kinds,
                kind,
            )
        )
    return tuple(found)


def plan_of(
    model: Model,
    shapes: Mapping[str, Sequence[int]],
    store: Store,
    *,
    grouped: bool = False,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Plan:
    """Prepare a model at fixed input shapes, in a worker.

    Args:
        shapes: dims of every input.
        grouped: judge elementwise operators together with what they follow: fewer tensors to
            commit and publish, runtimes may fuse within a group, and wider worst-case bounds.

    Raises:
        UsageError: an input without dims, or dims that it does not admit.
        UnsupportedModel: an operator that has no bound, by name; or what onnxruntime refuses.
        BackendUnavailable: onnxruntime is not installed.
        WorkerFailed: it crashed, or ran out of memory or time.
    """
    from proofml.optimistic.floating.work import in_worker

    for spec in model.inputs:
        dims = shapes.get(spec.name)
        if dims is None or not spec.admits(tuple(dims)):
            raise UsageError(
                f"{model.name}: input {spec.name!r}: expected dims of {spec}, "
                f"got {None if dims is None else list(dims)}"
            )
    with store.scratch() as folder:
        (folder / "model.onnx").write_bytes(model.canonical)
        args = {"shapes": {name: list(dims) for name, dims in shapes.items()}, "grouped": grouped}
        in_worker("prepare", args, folder, limits=limits, progress=progress)
        return Plan.read((folder / PREPARED).read_bytes(), (folder / TABLE).read_bytes())
