"""Values of unary tables where onnxruntime rounds otherwise than the exact reference.

For each island of float functions a small model is made of the island's own nodes, so that the
runtime fuses them as it does in the whole model, and run over all codes. What differs becomes
part of the quantisation record, and `compile_model` admits it only next to a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from proofml.circuits.onnx.compiler import read
from proofml.circuits.onnx.island import ADMITTED, island_values
from proofml.circuits.onnx.reader import Reader
from proofml.circuits.onnx.rounding import Quantisation
from proofml.circuits.onnx.values import CODE_RANGE, Constant, DequantisedConstant, Island
from proofml.errors import UnsupportedModel
from proofml.model import Model
from proofml.runtime import run_model

if TYPE_CHECKING:
    from proofml.circuits.graph import Shape
    from proofml.store import Store

_TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}


def table_overrides(
    model: Model, store: Store, shapes: Mapping[str, Shape] | None = None
) -> dict[str, dict[int, int]]:
    """Node -> raw code -> raw code, where onnxruntime differs from the reference.

    Raises:
        UnsupportedModel: the model cannot be read, or the runtime is further off than a tie.
        BackendUnavailable: onnxruntime is not installed.
        WorkerFailed: it crashed.
    """
    reader = read(model, shapes or {}, {})
    islands = [(name, *found) for name, found in reader.islands.items()]
    if not islands:
        return {}
    proto = _probe(model.proto, reader, islands)
    probe = Model.load(proto.SerializeToString(), store=store)
    inputs = {}
    for index, (_, island, _) in enumerate(islands):
        low, high = CODE_RANGE[island.source.codes.dtype]
        inputs[f"x{index}"] = np.arange(low, high + 1).astype(island.source.codes.dtype)
    outputs = run_model(probe, probe.check_inputs(inputs), store)
    result: dict[str, dict[int, int]] = {}
    for index, (name, island, into) in enumerate(islands):
        raw, values, exact = island_values(island, into)
        found = outputs[f"y{index}"].astype(np.int64)
        differs = np.flatnonzero(found - into.zero != values)
        off = np.abs(np.clip(exact, into.low, into.high) - (found - into.zero))
        if (off[differs] > ADMITTED).any():
            worst = differs[np.argmax(off[differs])]
            raise UnsupportedModel(
                f"{reader.model}: node {name!r}: onnxruntime makes {found[worst]} of code "
                f"{raw[worst]}, the exact number is {exact[worst] + into.zero:.4f}"
            )
        if differs.size:
            result[name] = {int(raw[i]): int(found[i]) for i in differs}
    return result


def _probe(
    model: ModelProto, reader: Reader, islands: list[tuple[str, Island, Quantisation]]
) -> ModelProto:
    """A model with an input of 256 codes and an output for each island."""
    originals = {name: node for node in model.graph.node for name in node.output[:1]}
    graph = helper.make_graph([], "probe", [], [])
    for index, (name, island, into) in enumerate(islands):
        prefix, source = f"{index}:", island.source
        code = _TYPES[source.codes.dtype]
        graph.input.append(helper.make_tensor_value_info(f"x{index}", code, [256]))
        graph.output.append(helper.make_tensor_value_info(f"y{index}", _TYPES[into.dtype], [256]))
        last = originals[name]
        if last.op_type != "QuantizeLinear":  # an integer operator: its table is its own
            node = _copied(last, reader, graph.initializer, {last.input[0]: f"x{index}"}, prefix)
            node.output[0] = f"y{index}"
            graph.node.append(node)
            continue
        zero = np.array(source.codes.zero, source.codes.dtype)
        for key, array in (("s", np.array(source.scale, np.float32)), ("z", zero)):
            graph.initializer.append(numpy_helper.from_array(array, f"{prefix}{key}"))
        graph.node.append(
            helper.make_node(
                "DequantizeLinear", [f"x{index}", f"{prefix}s", f"{prefix}z"], [f"{prefix}x"]
            )
        )
        alias: dict[str, str] = {}
        for member in (*island.nodes, name):
            node = originals[member]
            free = [n for n in node.input if n and n not in alias and not _constant(reader, n)]
            alias.update(dict.fromkeys(free, f"{prefix}x"))
            if node.op_type in _MOVEMENTS:
                alias[member] = alias[node.input[0]]
                continue
            copied = _copied(node, reader, graph.initializer, alias, prefix)
            if member == name:
                copied.output[0] = f"y{index}"
            graph.node.append(copied)
            alias[member] = copied.output[0]
    result = helper.make_model(graph, opset_imports=list(model.opset_import))
    result.ir_version = model.ir_version
    return result


#: What an island may hold besides functions.
_MOVEMENTS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Expand", "Slice", "Split"}
    | {"Identity", "Dropout", "MaxPool", "GlobalMaxPool", "Cast", "Pad"}
)


def _constant(reader: Reader, name: str) -> bool:
    return isinstance(reader.values.get(name), Constant | DequantisedConstant)


def _copied(
    node: NodeProto,
    reader: Reader,
    initialisers: object,
    alias: Mapping[str, str],
    prefix: str,
) -> NodeProto:
    """A node under other names, its constant inputs as initialisers."""
    copied = NodeProto()
    copied.CopyFrom(node)
    held = {tensor.name for tensor in initialisers}  # type: ignore[attr-defined]
    for at, name in enumerate(node.input):
        value = reader.values.get(name)
        if name in alias:
            copied.input[at] = alias[name]
        elif isinstance(value, Constant | DequantisedConstant):
            copied.input[at] = f"{prefix}{name}"
            if copied.input[at] not in held:
                tensor = numpy_helper.from_array(np.array(value.array, order="C"), copied.input[at])
                initialisers.append(tensor)  # type: ignore[attr-defined]
    copied.output[0] = f"{prefix}{node.output[0]}"
    return copied
