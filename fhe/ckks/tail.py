"""The last steps of a model, which the owner of the key computes after decryption, in float32.

A softmax, an argmax or a last sigmoid needs no encryption: whoever reads the outputs could undo or
redo it. What makes them is a list of standard operators on small tensors, read strictly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from proofml.canonical import JSON, real
from proofml.errors import CONTROL
from proofml.fields import FieldError, Fields
from proofml.tensors import Array

MAX_NODES = 64
MAX_ELEMENTS = 1 << 16
MAX_RANK = 8
_DTYPES = ("float32", "int64")

Attributes = Mapping[str, "int | tuple[int, ...]"]
Rule = Callable[[Sequence[Array], Attributes], Array]


@dataclass(frozen=True)
class TailNode:
    """One standard operator; `attributes` are integers or tuples of them."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


@dataclass(frozen=True)
class Tail:
    """From decrypted tensors to the outputs of the model.

    Attributes:
        nodes: in order.
        constants: what they read besides.
        outputs: names of the model's outputs, in its order.
    """

    nodes: tuple[TailNode, ...]
    constants: Mapping[str, Array] = field(default_factory=dict, hash=False)
    outputs: tuple[str, ...] = ()

    def run(self, tensors: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs of one inference (batch of 1) by name.

        Raises:
            ValueError: operands that do not fit each other.
        """
        known = {**self.constants, **tensors}
        with np.errstate(all="ignore"):
            for node in self.nodes:
                operands = [known[name] for name in node.inputs]
                try:
                    known[node.output] = RULES[node.op](operands, node.attributes)
                except (ArithmeticError, IndexError, TypeError) as error:
                    raise ValueError(f"{node.op}: {error}") from error
                if known[node.output].size > MAX_ELEMENTS:
                    raise ValueError(f"{node.op}: makes more than {MAX_ELEMENTS} elements")
        return {name: known[name] for name in self.outputs}

    def to_json(self) -> dict[str, JSON]:
        return {
            "constants": {name: _constant(array) for name, array in self.constants.items()},
            "nodes": [
                {
                    "attributes": {
                        key: list(value) if isinstance(value, tuple) else value
                        for key, value in node.attributes.items()
                    },
                    "inputs": list(node.inputs),
                    "op": node.op,
                    "output": node.output,
                }
                for node in self.nodes
            ],
            "outputs": list(self.outputs),
        }

    @classmethod
    def read(cls, fields: Fields, results: Sequence[str]) -> Tail:
        """Strictly; `results` are the names of what is decrypted. Raises `FieldError`."""
        table = fields.table("constants")
        constants: dict[str, Array] = {}
        left = MAX_ELEMENTS
        for key in table.mapping:
            array = _read_constant(table.table(_name(key, table.path)))
            left -= array.size
            if left < 0:
                raise FieldError(table.path, f"at most {MAX_ELEMENTS} elements", "more")
            constants[key] = array
        known = {*constants, *results}
        nodes = fields.items("nodes", _read_node, most=MAX_NODES)
        for index, node in enumerate(nodes):
            at = f"{fields.at('nodes')}[{index}]"
            missing = [name for name in node.inputs if name not in known]
            if missing or node.output in known:
                raise FieldError(at, "operands that are made before, and a new output", node.op)
            known.add(node.output)
        outputs = fields.items("outputs", _name, most=64)
        if not outputs or not known.issuperset(outputs) or len(set(outputs)) != len(outputs):
            raise FieldError(fields.at("outputs"), "names of tensors, each once", list(outputs))
        fields.done()
        return cls(nodes, constants, outputs)


def _constant(array: Array) -> dict[str, JSON]:
    flat = array.reshape(-1)
    data: list[JSON] = (
        [real(float(x)) for x in flat] if array.dtype == np.float32 else [int(x) for x in flat]
    )
    return {"data": data, "dtype": array.dtype.name, "shape": list(array.shape)}


def _read_constant(fields: Fields) -> Array:
    dtype = fields.string("dtype", choices=_DTYPES)
    shape = fields.items("shape", _dim, most=MAX_RANK)
    read = _read_real if dtype == "float32" else _read_integer
    data = fields.items("data", read, most=MAX_ELEMENTS)
    if math.prod(shape) != len(data):
        raise FieldError(fields.at("data"), f"{math.prod(shape)} elements", str(len(data)))
    fields.done()
    return np.array(data, dtype).reshape(shape)


def _read_real(value: object, path: str) -> float:
    number = read_real(value, path)
    if float(np.float32(number)) != number:
        raise FieldError(path, "a float32", value)
    return number


def read_real(value: object, path: str) -> float:
    """A finite real as `canonical.real` writes it; raises `FieldError`."""
    if isinstance(value, str) and len(value) <= 32 and not CONTROL.search(value):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if math.isfinite(number) and real(number) == value:
            return number
    raise FieldError(path, "a finite number as its shortest text", value)


def _read_integer(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(path, "an integer", value)
    return value


def _dim(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ELEMENTS:
        raise FieldError(path, f"an integer from 0 to {MAX_ELEMENTS}", value)
    return value


def _name(value: object, path: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 1024 or CONTROL.search(value):
        raise FieldError(path, "a name of at most 1024 characters", value)
    return value


def _read_node(value: object, path: str) -> TailNode:
    fields = Fields(value, path)
    op = fields.string("op", choices=tuple(RULES))
    inputs = fields.items("inputs", _name, most=8)
    output = _name(fields.raw("output"), fields.at("output"))
    table = fields.table("attributes")
    attributes = {key: read_attribute(table.raw(key), table.at(key)) for key in table.mapping}
    fields.done()
    least, most = ARITY[op]
    if not least <= len(inputs) <= most or not set(attributes) <= set(ATTRIBUTES.get(op, ())):
        raise FieldError(path, f"operands and attributes of {op}", sorted(attributes))
    return TailNode(op, inputs, output, attributes)


def read_attribute(value: object, path: str) -> int | tuple[int, ...]:
    """An integer of 32 bits, or a short list of them."""

    def one(item: object) -> int:
        if isinstance(item, bool) or not isinstance(item, int) or abs(item) >= 1 << 31:
            raise FieldError(path, "integers of 32 bits", item)
        return item

    if isinstance(value, (list, tuple)):
        if len(value) > MAX_RANK:
            raise FieldError(path, f"at most {MAX_RANK} integers", value)
        return tuple(one(item) for item in value)
    return one(value)


# -- operators ------------------------------------------------------------------------------------

_FLOAT, _INT64 = 1, 7  # onnx.TensorProto's numbers of element types


def _axis(attributes: Attributes, default: int) -> int:
    value = attributes.get("axis", default)
    return value if isinstance(value, int) else default


def _axes(operands: Sequence[Array], attributes: Attributes) -> tuple[int, ...] | None:
    if len(operands) > 1:
        return tuple(int(axis) for axis in operands[1].reshape(-1))
    found = attributes.get("axes")
    return found if isinstance(found, tuple) else None


def _softmax(operands: Sequence[Array], attributes: Attributes) -> Array:
    axis = _axis(attributes, -1)
    powers = np.exp(operands[0] - operands[0].max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True))


def _log_softmax(operands: Sequence[Array], attributes: Attributes) -> Array:
    axis = _axis(attributes, -1)
    shifted = operands[0] - operands[0].max(axis=axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True)))


def _reduce(function: Callable[..., Any]) -> Rule:
    def rule(operands: Sequence[Array], attributes: Attributes) -> Array:
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(
            function(operands[0], axis=_axes(operands, attributes), keepdims=keep),
            operands[0].dtype,
        )

    return rule


def _arg_max(operands: Sequence[Array], attributes: Attributes) -> Array:
    axis = _axis(attributes, 0)
    found = np.argmax(operands[0], axis=axis)
    keep = bool(attributes.get("keepdims", 1))
    return np.asarray(np.expand_dims(found, axis) if keep else found, np.int64)


def _cast(operands: Sequence[Array], attributes: Attributes) -> Array:
    to = attributes.get("to")
    if to not in (_FLOAT, _INT64):
        raise ValueError("Cast to another type than float32 or int64")
    return operands[0].astype(np.float32 if to == _FLOAT else np.int64)


def _reshape(operands: Sequence[Array], attributes: Attributes) -> Array:
    x, shape = operands
    dims = [x.shape[i] if dim == 0 else int(dim) for i, dim in enumerate(shape.reshape(-1))]
    return x.reshape(dims)


def _flatten(operands: Sequence[Array], attributes: Attributes) -> Array:
    axis = _axis(attributes, 1)
    return operands[0].reshape(math.prod(operands[0].shape[:axis]), -1)


def _unsqueeze(operands: Sequence[Array], attributes: Attributes) -> Array:
    return np.expand_dims(operands[0], _axes(operands, attributes) or ())


def _unary(function: Callable[[Array], Any]) -> Rule:
    return lambda operands, attributes: np.asarray(function(operands[0]), operands[0].dtype)


def _binary(function: Callable[[Array, Array], Any]) -> Rule:
    def rule(operands: Sequence[Array], attributes: Attributes) -> Array:
        left, right = operands
        if left.dtype != right.dtype:
            raise ValueError(f"operands of {left.dtype} and {right.dtype}")
        if math.prod(np.broadcast_shapes(left.shape, right.shape)) > MAX_ELEMENTS:
            raise ValueError(f"more than {MAX_ELEMENTS} elements")
        return np.asarray(function(left, right), left.dtype)

    return rule


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Abs": _unary(np.abs),
        "Add": _binary(np.add),
        "ArgMax": _arg_max,
        "Cast": _cast,
        "Concat": lambda operands, attributes: np.concatenate(operands, _axis(attributes, 0)),
        "Div": _binary(np.divide),
        "Exp": _unary(np.exp),
        "Flatten": _flatten,
        "Identity": lambda operands, attributes: operands[0],
        "LogSoftmax": _log_softmax,
        "Mul": _binary(np.multiply),
        "Neg": _unary(np.negative),
        "ReduceMax": _reduce(np.max),
        "ReduceSum": _reduce(np.sum),
        "Relu": _unary(lambda x: np.maximum(x, 0)),
        "Reshape": _reshape,
        "Sigmoid": _unary(lambda x: 1 / (1 + np.exp(-x))),
        "Softmax": _softmax,
        "Softplus": _unary(lambda x: np.logaddexp(0, x)),
        "Squeeze": lambda operands, attributes: np.squeeze(
            operands[0], _axes(operands, attributes)
        ),
        "Sub": _binary(np.subtract),
        "Tanh": _unary(np.tanh),
        "Unsqueeze": _unsqueeze,
    }
)
#: Least and most operands.
ARITY: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(RULES, (1, 1)),
        **dict.fromkeys(("Add", "Div", "Mul", "Reshape", "Sub"), (2, 2)),
        **dict.fromkeys(("ReduceMax", "ReduceSum", "Squeeze", "Unsqueeze"), (1, 2)),
        "Concat": (1, 8),
    }
)
ATTRIBUTES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ArgMax": ("axis", "keepdims"),
        "Cast": ("to",),
        "Concat": ("axis",),
        "Flatten": ("axis",),
        "LogSoftmax": ("axis",),
        "ReduceMax": ("axes", "keepdims"),
        "ReduceSum": ("axes", "keepdims"),
        "Softmax": ("axis",),
        "Squeeze": ("axes",),
        "Unsqueeze": ("axes",),
    }
)
#: Operators at which a tail may begin; the others only follow one.
FINAL = frozenset(
    {"Abs", "ArgMax", "Exp", "LogSoftmax", "ReduceMax", "Relu", "Sigmoid", "Softmax", "Softplus",
     "Tanh"}
)  # fmt: skip
#: Of these, the ones that can be computed under encryption as well.
APPROXIMABLE = frozenset({"Relu", "Sigmoid", "Softplus", "Tanh"})
