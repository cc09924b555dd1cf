"""One ONNX node with its attributes read, and errors that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, NodeProto, numpy_helper

from proofml.errors import UnsupportedModel, printable
from proofml.graph.walk import operator_name


class Node:
    """Attributes:
    operator: `Conv`, or `domain:Name` outside the default domain.
    name: of the first output, by which messages and classes call the node.
    inputs, outputs: names; empty where an optional one is left out.
    """

    def __init__(self, proto: NodeProto, model: str) -> None:
        self.operator = operator_name(proto)
        self.inputs: tuple[str, ...] = tuple(proto.input)
        self.outputs: tuple[str, ...] = tuple(proto.output)
        self.name = next((name for name in self.outputs if name), "")
        self.where = f"{printable(model)}: node {printable(self.name)!r} ({self.operator})"
        self._attributes = {attribute.name: attribute for attribute in proto.attribute}

    def fail(self, message: str) -> UnsupportedModel:
        return UnsupportedModel(f"{self.where}: {message}")

    def has(self, index: int) -> bool:
        """Whether the optional input is there."""
        return index < len(self.inputs) and bool(self.inputs[index])

    def given(self, name: str) -> bool:
        return name in self._attributes

    def integer(self, name: str, default: int) -> int:
        found = self._typed(name, AttributeProto.INT, "an integer")
        return default if found is None else int(found.i)

    def real(self, name: str, default: float) -> float:
        """The value of a float32 attribute."""
        found = self._typed(name, AttributeProto.FLOAT, "a float")
        return float(np.float32(default)) if found is None else float(found.f)

    def text(self, name: str, default: str) -> str:
        found = self._typed(name, AttributeProto.STRING, "a string")
        return default if found is None else found.s.decode("utf-8", "replace")

    def integers(self, name: str) -> tuple[int, ...] | None:
        found = self._typed(name, AttributeProto.INTS, "a list of integers")
        return None if found is None else tuple(found.ints)

    def reals(self, name: str) -> tuple[float, ...] | None:
        found = self._typed(name, AttributeProto.FLOATS, "a list of floats")
        return None if found is None else tuple(found.floats)

    def tensor(self, name: str) -> NDArray[Any] | None:
        found = self._typed(name, AttributeProto.TENSOR, "a tensor")
        return None if found is None else numpy_helper.to_array(found.t)

    def only(self, name: str, allowed: Sequence[int], default: int) -> int:
        """An integer attribute of which just some values are supported."""
        value = self.integer(name, default)
        if value not in allowed:
            expected = " or ".join(map(str, allowed))
            raise self.fail(f"attribute {name}: expected {expected}, got {value}")
        return value

    def _typed(self, name: str, kind: int, expected: str) -> AttributeProto | None:
        found = self._attributes.get(name)
        if found is not None and found.type != kind:
            raise self.fail(f"attribute {name}: expected {expected}")
        return found
