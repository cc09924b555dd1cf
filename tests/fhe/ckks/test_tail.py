"""Last steps in the clear: read strictly, bounded, as onnxruntime does them (`test_frontend`)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.fhe.ckks.tail import RULES, Tail, TailNode
from proofml.fields import FieldError, Fields


def made() -> Tail:
    return Tail(
        (
            TailNode("Sigmoid", ("a",), "s", {}),
            TailNode("ReduceSum", ("s", "axes"), "t", {"keepdims": 1}),
            TailNode("Div", ("s", "t"), "p", {}),
            TailNode("ArgMax", ("p",), "i", {"axis": 1, "keepdims": 0}),
        ),
        {"axes": np.array([1], np.int64), "one": np.array([[0.1, -0.0]], np.float32)},
        ("p", "i"),
    )


def read(value: object) -> Tail:
    return Tail.read(Fields(value, "tail"), ["a"])


def test_one_form() -> None:
    data = dumps(made().to_json())
    again = read(loads(data))
    assert dumps(again.to_json()) == data
    assert np.signbit(again.constants["one"][0, 1])


def test_it_computes() -> None:
    found = made().run({"a": np.array([[0.0, 2.0]], np.float32)})
    assert found["i"].tolist() == [1]
    assert found["p"].dtype == np.float32
    assert float(found["p"].sum()) == pytest.approx(1.0)


BAD: dict[str, tuple[tuple[Any, ...], Any]] = {
    "unknown operator": (("nodes", 0, "op"), "MatMul"),
    "unknown operand": (("nodes", 0, "inputs"), ["zz"]),
    "later operand": (("nodes", 0, "inputs"), ["p"]),
    "made twice": (("nodes", 1, "output"), "s"),
    "over a constant": (("nodes", 1, "output"), "axes"),
    "too many operands": (("nodes", 0, "inputs"), ["a", "a"]),
    "no operand": (("nodes", 0, "inputs"), []),
    "unknown attribute": (("nodes", 0, "attributes"), {"alpha": 1}),
    "attribute too large": (("nodes", 3, "attributes", "axis"), 1 << 40),
    "attribute of another kind": (("nodes", 3, "attributes", "axis"), "1"),
    "key": (("nodes", 0, "more"), 1),
    "unknown output": (("outputs",), ["zz"]),
    "no output": (("outputs",), []),
    "output twice": (("outputs",), ["p", "p"]),
    "dtype": (("constants", "axes", "dtype"), "int32"),
    "elements": (("constants", "axes", "shape"), [2]),
    "real as an integer": (("constants", "axes", "data"), ["1.0"]),
    "integer as a real": (("constants", "one", "data"), [1, 2]),
    "no float32": (("constants", "one", "data"), ["0.1", "0.5"]),
    "not finite": (("constants", "one", "data"), ["inf", "0.5"]),
    "spelt otherwise": (("constants", "one", "data"), ["0.50", "0.5"]),
    "rank": (("constants", "axes", "shape"), [1] * 9),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    value = loads(dumps(made().to_json()))
    place, replacement = BAD[name]
    at: Any = value
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = replacement
    with pytest.raises(FieldError):
        read(value)


def test_bounded() -> None:
    """Neither by doubling nor by broadcasting can a small file ask for much memory."""
    doubling = [
        {"op": "Concat", "inputs": [f"x{i}"] * 8, "output": f"x{i + 1}", "attributes": {"axis": 0}}
        for i in range(40)
    ]
    value = {"constants": {}, "nodes": doubling, "outputs": ["x40"]}
    value["nodes"][0]["inputs"] = ["a"] * 8  # type: ignore[index]
    tail = read(value)
    with pytest.raises(ValueError, match="elements"):
        tail.run({"a": np.zeros((1, 8), np.float32)})
    outer = Tail((TailNode("Add", ("a", "b"), "c", {}),), {}, ("c",))
    with pytest.raises(ValueError, match="elements"):
        outer.run({"a": np.zeros((60000, 1), np.float32), "b": np.zeros((1, 60000), np.float32)})


@pytest.mark.parametrize("op", ["Reshape", "ReduceSum", "Squeeze", "Unsqueeze"])
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 1e30])
def test_decrypted_numbers_are_no_axes(op: str, number: float) -> None:
    """A ciphertext of somebody else decrypts to anything, infinity included."""
    tail = Tail((TailNode(op, ("a", "b"), "c", {}),), {}, ("c",))
    with pytest.raises(ValueError, match=r"."):
        tail.run({"a": np.ones((1, 2), np.float32), "b": np.array([number], np.float32)})


@settings(max_examples=300)
@given(st.data())
def test_any_nodes_give_tensors_or_value_errors(data: st.DataObject) -> None:
    """Invariant: what is read can be run, or raises `ValueError`."""
    value = copy.deepcopy(loads(dumps(made().to_json())))
    names = ["a", "axes", "one"]
    nodes = []
    for i in range(data.draw(st.integers(1, 5))):
        op = data.draw(st.sampled_from(sorted(RULES)))
        inputs = data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3))
        number = st.integers(-3, 8)
        keys = st.sampled_from(["axis", "axes", "keepdims", "to"])
        attributes = data.draw(
            st.dictionaries(keys, st.one_of(number, st.lists(number, max_size=3)), max_size=2)
        )
        nodes.append({"op": op, "inputs": inputs, "output": f"n{i}", "attributes": attributes})
        names.append(f"n{i}")
    value["nodes"], value["outputs"] = nodes, [names[-1]]
    try:
        tail = read(value)
    except FieldError:
        return
    try:
        tail.run({"a": np.array([[1.0, -2.0]], np.float32)})
    except ValueError:
        return
