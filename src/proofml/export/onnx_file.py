"""Edit the model that a converter wrote, and make the bytes of its file canonical."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from proofml.errors import UsageError
from proofml.export.arguments import first_line

_IR_VERSION = 8


def keep_output(model: onnx.ModelProto, name: str) -> None:
    """Drop all outputs but `name`, and every node and weight that only they needed, in place."""
    graph = model.graph
    needed = {name}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    _replace(graph.node, nodes)
    _replace(graph.initializer, [item for item in graph.initializer if item.name in needed])
    _replace(graph.output, [item for item in graph.output if item.name == name])


def rename_output(model: onnx.ModelProto, name: str) -> None:
    """Give the only output another name, in place."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, item in enumerate(names):
                if item == old:
                    names[i] = name
    model.graph.output[0].name = name


def cut_at_activation(model: onnx.ModelProto, what: str, where: str) -> None:
    """Make the input of the last Sigmoid or Softmax the only output, `decision`, in place."""
    producers = {name: node for node in model.graph.node for name in node.output}
    waiting = [model.graph.output[0].name]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in ("Sigmoid", "Softmax"):
            break
        waiting.extend(node.input)
    else:
        raise UsageError(
            f"{where}: output: expected 'probabilities', the only output of {what}, got "
            "'decision'; it makes its probabilities with neither a sigmoid nor a softmax"
        )
    name = node.input[0]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    value = next((item for item in inferred.graph.value_info if item.name == name), None)
    if value is None:
        raise UsageError(
            f"{where}: output: the shape of the decision of {what} is unknown; "
            "expected 'probabilities'"
        )
    model.graph.output.append(value)
    keep_output(model, name)
    rename_output(model, "decision")


def set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    value.type.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.elem_type, list(shape)))


def finish(model: onnx.ModelProto, where: str) -> bytes:
    """Canonical bytes of `model`: nothing in them tells when, where or how it was made.

    Raises:
        UsageError: a shape is open, or the ONNX checker refuses the model.
    """
    model.ir_version = _IR_VERSION
    for field in ("producer_name", "producer_version", "domain", "doc_string", "metadata_props"):
        model.ClearField(field)
    model.ClearField("model_version")
    model.graph.name = "proofml"
    model.graph.ClearField("doc_string")
    model.graph.ClearField("value_info")
    domains = {"", *(node.domain for node in model.graph.node)}
    versions: dict[str, int] = {}
    for opset in model.opset_import:  # skl2onnx may repeat a domain
        if opset.domain in domains:
            versions[opset.domain] = max(opset.version, versions.get(opset.domain, 0))
    opsets = [onnx.helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions)]
    _replace(model.opset_import, opsets)
    for node in model.graph.node:
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims or not all(dim.dim_value > 0 for dim in dims) or dims[0].dim_value != 1:
            shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
            raise UsageError(
                f"{where}: {value.name}: expected a fixed shape [1, ...], got {shape}; "
                "make the model's shapes independent of its input"
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UsageError(
            f"{where}: the exporter wrote a model that the ONNX checker refuses: "
            f"{first_line(error)}; another opset may help"
        ) from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def atomic_write(target: Path, data: bytes) -> None:
    """Write through a sibling, so that a reader never finds half a model."""
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    partial.replace(target)


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Replace the content of a repeated protobuf field."""
    copies = []
    for item in items:
        copy = type(item)()
        copy.CopyFrom(item)
        copies.append(copy)
    del field[:]
    field.extend(copies)
