"""Small float models, node by node, and what onnxruntime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array


class Builder:
    """Adds nodes one after another; `last` is the name of the last value."""

    def __init__(
        self, shape: Sequence[int | str], *, opset: int = 17, seed: int = 0, name: str = "x"
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[tuple[str, Sequence[int | str]]] = [(name, shape)]
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        self.last = name

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        self.inputs.append((name, shape))
        return name

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def draw(self, *dims: int, gain: float = 1.0) -> str:
        fan = int(np.prod(dims[1:])) or 1
        return self.const(self.rng.standard_normal(dims) * gain / np.sqrt(fan))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Apply to the last value, or to `inputs`."""
        made = f"v{len(self.nodes)}"
        given = list(inputs) or [self.last]
        self.nodes.append(helper.make_node(kind, given, [made], domain=domain, **attributes))
        self.last = made
        return made

    def conv(self, before: int, after: int, size: int = 3, **more: Any) -> str:
        group = more.get("group", 1)
        weight = self.draw(after, before // group, size, size)
        return self.op("Conv", self.last, weight, self.draw(after, gain=0.1), **more)

    def gemm(self, before: int, after: int, gain: float = 1.0) -> str:
        weight = self.draw(after, before, gain=gain)
        return self.op("Gemm", self.last, weight, self.draw(after, gain=0.1), transB=1)

    def norm(self, channels: int) -> str:
        r = self.rng
        vectors = (
            r.uniform(0.5, 1.5, channels),
            r.standard_normal(channels) * 0.1,
            r.standard_normal(channels) * 0.1,
            r.uniform(0.5, 1.5, channels),
        )
        return self.op("BatchNormalization", self.last, *map(self.const, vectors))

    def proto(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in self.inputs],
            [helper.make_empty_tensor_value_info(name) for name in outputs or (self.last,)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        dims = {value.name: value for value in inferred.graph.output}
        for value in graph.output:
            value.CopyFrom(dims[value.name])
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def model(self, store: Store, *outputs: str) -> Model:
        return Model.load(self.proto(*outputs).SerializeToString(), store=store)


def reference(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """onnxruntime in this process, the first axis one by one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.canonical, options, providers=["CPUExecutionProvider"]
    )
    names = [spec.name for spec in model.outputs]
    count = len(next(iter(inputs.values())))
    rows = [
        session.run(names, {name: array[i : i + 1] for name, array in inputs.items()})
        for i in range(count)
    ]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}


def samples(model: Model, count: int = 8, seed: int = 7) -> list[Mapping[str, Array]]:
    """Random calibration samples, a batch of 1 each."""
    rng = np.random.default_rng(seed)
    return [
        {
            spec.name: rng.standard_normal([dim or 1 for dim in spec.shape or ()]).astype(
                np.float32
            )
            for spec in model.inputs
        }
        for _ in range(count)
    ]


def mlp(store: Store, activation: str = "Tanh", *, batch: int | str = 1) -> Model:
    """8 - 6 - 4; narrow, so that its circuit is small."""
    b = Builder([batch, 8])
    b.gemm(8, 6)
    b.op(activation)
    b.gemm(6, 4)
    return b.model(store)
