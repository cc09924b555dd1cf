"""One ONNX node as the rules read it: operator, attributes, and which operator set it is of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.errors import UnsupportedModel, printable
from proofml.graph.walk import operator_name
from proofml.optimistic.floating.running import Arithmetic, Axes, Running

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True, eq=False)
class Node:
    """A node of the default domain.

    Attributes:
        proto: as in the prepared model; its last attribute values win nowhere, names are unique.
        opset: version of the default operator set.
    """

    proto: NodeProto
    opset: int

    @property
    def op(self) -> str:
        return operator_name(self.proto)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of values; an empty one where an optional input is left out."""
        return tuple(self.proto.input)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.proto.output)

    @property
    def label(self) -> str:
        """`Conv -> name of its first output`, for messages."""
        return f"{self.op} -> {printable(next(filter(None, self.outputs), '?'))}"

    def get(self, name: str, default: Any) -> Any:
        """An attribute's value as onnx gives it (int, float, bytes, list), or the default."""
        from onnx.helper import get_attribute_value

        for attribute in self.proto.attribute:
            if attribute.name == name:
                return get_attribute_value(attribute)
        return default

    def integer(self, name: str, default: int) -> int:
        return int(self.get(name, default))

    def real(self, name: str, default: float) -> float:
        """A float attribute: the float32 that the file holds."""
        return float(np.float32(self.get(name, default)))

    def text(self, name: str, default: str) -> str:
        value = self.get(name, default)
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def integers(self, name: str, default: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(value) for value in self.get(name, default))

    def refuse(self, reason: str) -> UnsupportedModel:
        """The error that names this node."""
        return UnsupportedModel(f"operator {self.label}: {reason}")


#: A family's rule: operands (None where left out) to outputs.
Rule: TypeAlias = Callable[[Node, Arithmetic, Sequence["Running | None"]], list[Running]]


def needed(node: Node, inputs: Sequence[Running | None], index: int) -> Running:
    """An operand that the operator cannot do without.

    Raises:
        UnsupportedModel: it is left out.
    """
    found = inputs[index] if index < len(inputs) else None
    if found is None:
        raise node.refuse(f"expected an input {index}, got none")
    return found


def optional(inputs: Sequence[Running | None], index: int) -> Running | None:
    return inputs[index] if index < len(inputs) else None


def small_integers(operand: Running) -> tuple[int, ...]:
    """Axes, sizes or pads given as a tensor."""
    values: NDArray[np.float64] = operand.value.reshape(-1)
    return tuple(int(value) for value in values)


def normal_axes(axes: Sequence[int], rank: int) -> Axes:
    """Axes counted from the front, without repetition, ascending.

    Raises:
        UnsupportedModel: one that the tensor does not have.
    """
    if any(not -rank <= axis < rank for axis in axes):
        raise UnsupportedModel(f"axes {list(axes)}: expected some of a tensor of rank {rank}")
    return tuple(sorted({axis % rank for axis in axes}))
