"""A graph as canonical JSON, and strictly back.

    {"format": "proofml-graph/1",
     "maps":      [AxisMap, ...]                     each map, function and view once,
     "functions": [recipe, ...]                      in the order of their first use,
     "views":     [[shape, [[target, map], ...]], ...]
     "nodes":     [["input", name, shape, low, high],
                   ["weight", name, shape, low, high],
                   ["affine", shape, [[coefficient, value, view], ...], [contraction, ...],
                              low, high],
                   ["reshape", value, shape],
                   ["step", value, [function, ...], [channel axis, ...]],
                   ["maximum", left, right],
                   ["argmax", value, axis], ...],
     "inputs":    [[name, shape, value, kind, dtype, scale, zero point, low, high], ...],
     "outputs":   likewise,
     "classes":   {"D": [name, ...], ...}}

    contraction = [left, right, sums, [bind, ...], [bind, ...]]
    bind        = [out, sum] or [out, sum, stride, dilation, offset]

One graph has one such value: what `read_graph` accepts, `graph_to_json` writes again. So a digest
over the canonical bytes is a digest over the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

from proofml.canonical import JSON
from proofml.circuits.axes import MAX_AXIS, AxisMap, integer_item
from proofml.circuits.functions import Function, read_function
from proofml.circuits.graph import (
    MAX_RANK,
    ONES,
    Affine,
    ArgMax,
    Bind,
    Codec,
    Contraction,
    Graph,
    Input,
    Maximum,
    Node,
    Port,
    Reshape,
    Shape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.circuits.structure import (
    CLASSES,
    MAX_NAMES,
    MAX_NODES,
    MAX_PARTS,
    MAX_PORTS,
    validate,
)
from proofml.fields import FieldError, Fields, text_item

__all__ = ["FORMAT", "graph_to_json", "read_graph", "validate"]

FORMAT = "proofml-graph/1"

MAX_FUNCTIONS = 1 << 16
_WIDE = 1 << 53

T = TypeVar("T")
Items: TypeAlias = "list[JSON]"


class _Pool(Generic[T]):
    """Things numbered by their first use; equal ones share a number."""

    def __init__(self, write: Callable[[T], JSON]) -> None:
        self._write = write
        self._by_id: dict[int, tuple[int, T]] = {}
        self._by_value: dict[T, int] = {}
        self.items: list[JSON] = []

    def index(self, item: T) -> int:
        # Hashing a long table costs more than everything else here: identity first.
        known = self._by_id.get(id(item))
        if known is not None:
            return known[0]
        number = self._by_value.get(item)
        if number is None:
            # Written first: a view numbers its maps before itself.
            written = self._write(item)
            number = self._by_value[item] = len(self.items)
            self.items.append(written)
        self._by_id[id(item)] = (number, item)
        return number


def graph_to_json(graph: Graph) -> dict[str, JSON]:
    """The graph as lists, strings and integers; canonical once `canonical.dumps` wrote it."""
    maps: _Pool[AxisMap] = _Pool(lambda axis: _lists(axis.to_json()))
    functions: _Pool[Function] = _Pool(lambda function: _lists(function.to_json()))
    views: _Pool[View] = _Pool(
        lambda view: [
            list(view.shape),
            [[target, maps.index(axis)] for target, axis in view.axes],
        ]
    )
    nodes: list[JSON] = [_write_node(node, functions, views) for node in graph.nodes]
    return {
        "format": FORMAT,
        "maps": maps.items,
        "functions": functions.items,
        "views": views.items,
        "nodes": nodes,
        "inputs": [write_port(port) for port in graph.inputs],
        "outputs": [write_port(port) for port in graph.outputs],
        "classes": {name: list(members) for name, members in sorted(graph.classes.items())},
    }


def _lists(value: object) -> JSON:
    """Tuples as the lists that JSON reads back."""
    if isinstance(value, dict):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(item) for item in value]
    assert isinstance(value, (int, str))
    return value


def _write_node(node: Node, functions: _Pool[Function], views: _Pool[View]) -> JSON:
    match node:
        case Input(name, shape, low, high):
            return ["input", name, list(shape), low, high]
        case Weight(name, shape, low, high):
            return ["weight", name, list(shape), low, high]
        case Affine(shape, terms, contractions, low, high):
            return [
                "affine",
                list(shape),
                [[term.coefficient, term.value, views.index(term.view)] for term in terms],
                [_write_contraction(contraction) for contraction in contractions],
                low,
                high,
            ]
        case Reshape(value, shape):
            return ["reshape", value, list(shape)]
        case Step():
            numbers = [functions.index(function) for function in node.functions]
            return ["step", node.value, numbers, list(node.channel)]
        case Maximum(left, right):
            return ["maximum", left, right]
        case ArgMax(value, axis):
            return ["argmax", value, axis]


def _write_contraction(contraction: Contraction) -> JSON:
    sides: list[JSON] = [
        [[bind.out, bind.sum, *(bind.window or ())] for bind in binds]
        for binds in (contraction.left_axes, contraction.right_axes)
    ]
    return [contraction.left, contraction.right, list(contraction.sums), *sides]


def write_port(port: Port) -> JSON:
    """An input or output; `read_port` reads it."""
    codec = port.codec
    return [
        port.name,
        list(port.shape),
        port.value,
        codec.kind,
        codec.dtype,
        codec.scale,
        codec.zero_point,
        codec.low,
        codec.high,
    ]


def read_graph(value: object) -> Graph:
    """The graph of which `graph_to_json` writes `value`.

    Args:
        value: what `canonical.loads` gives; the caller bounds the bytes.

    Raises:
        FieldError: anything that is not such a value, or a graph that breaks a rule of `validate`.
    """
    fields = Fields(value, "graph")
    fields.string("format", choices=(FORMAT,))
    maps = fields.items("maps", AxisMap.read, most=MAX_NODES)
    functions = fields.items("functions", read_function, most=MAX_FUNCTIONS)
    views = fields.items("views", lambda item, path: _read_view(item, path, maps), most=MAX_NODES)
    shapes: list[Shape] = []
    reader = _Reader(functions, views, shapes)
    nodes = fields.items("nodes", reader.node, most=MAX_NODES)
    inputs = fields.items("inputs", read_port, most=MAX_PORTS)
    outputs = fields.items("outputs", read_port, most=MAX_PORTS)
    table = fields.table("classes")
    classes = {
        name: table.items(name, text_item, most=MAX_NAMES) for name in CLASSES if name in table
    }
    table.done()
    fields.done()
    graph = Graph(nodes, inputs, outputs, classes)
    validate(graph)
    if graph_to_json(graph) != value:
        raise FieldError("graph", "tables of what is used, in the order of first use", "others")
    return graph


def _read_view(value: object, path: str, maps: tuple[AxisMap, ...]) -> View:
    shape, axes = _items(value, path, 2, 2)

    def pair(item: object, at: str) -> tuple[int, AxisMap]:
        target, number = _items(item, at, 2, 2)
        chosen = maps[integer_item(number, at, 0, len(maps) - 1)]
        return integer_item(target, at, -1, MAX_RANK - 1), chosen

    return View(_read_shape(shape, path), _each(axes, path, pair, MAX_RANK))


class _Reader:
    """Reads nodes in their order; knows the shapes of those before."""

    def __init__(
        self, functions: tuple[Function, ...], views: tuple[View, ...], shapes: list[Shape]
    ) -> None:
        self._functions = functions
        self._views = views
        self._shapes = shapes

    def node(self, value: object, path: str) -> Node:
        items = _items(value, path, 3, 6)
        kind = items[0]
        lengths = {
            "input": 5,
            "weight": 5,
            "affine": 6,
            "reshape": 3,
            "step": 4,
            "maximum": 3,
            "argmax": 3,
        }
        if not isinstance(kind, str) or lengths.get(kind) != len(items):
            raise FieldError(path, "a kind of node with all that belongs to it", kind)
        node = self._read(kind, items, path)
        self._shapes.append(node.shape)
        return node

    def _read(self, kind: str, items: list[object], path: str) -> Node:
        if kind in ("input", "weight"):
            name, shape = text_item(items[1], path), _read_shape(items[2], path)
            low, high = _wide(items[3], path), _wide(items[4], path)
            return (
                Input(name, shape, low, high) if kind == "input" else Weight(name, shape, low, high)
            )
        if kind == "affine":
            return Affine(
                _read_shape(items[1], path),
                _each(items[2], f"{path}.terms", self._term, MAX_PARTS),
                _each(items[3], f"{path}.contractions", self._contraction, MAX_PARTS),
                _wide(items[4], path),
                _wide(items[5], path),
            )
        value = self._earlier(items[1], path)
        if kind == "reshape":
            return Reshape(value, _read_shape(items[2], path))
        if kind == "step":
            functions = _each(items[2], f"{path}.functions", self._function, MAX_FUNCTIONS)
            channel = _each(items[3], f"{path}.channel", _axis, MAX_RANK)
            return Step(value, self._shapes[value], functions, channel)
        if kind == "maximum":
            return Maximum(value, self._earlier(items[2], path), self._shapes[value])
        source = self._shapes[value]
        axis = integer_item(items[2], path, 0, len(source) - 1)
        return ArgMax(value, axis, source[:axis] + source[axis + 1 :])

    def _earlier(self, value: object, path: str) -> int:
        return integer_item(value, path, 0, len(self._shapes) - 1)

    def _function(self, value: object, path: str) -> Function:
        return self._functions[integer_item(value, path, 0, len(self._functions) - 1)]

    def _term(self, value: object, path: str) -> Term:
        coefficient, source, view = _items(value, path, 3, 3)
        return Term(
            _wide(coefficient, path),
            integer_item(source, path, ONES, len(self._shapes) - 1),
            self._views[integer_item(view, path, 0, len(self._views) - 1)],
        )

    def _contraction(self, value: object, path: str) -> Contraction:
        left, right, sums, left_axes, right_axes = _items(value, path, 5, 5)
        return Contraction(
            self._earlier(left, path),
            self._earlier(right, path),
            _read_shape(sums, f"{path}.sums"),
            _each(left_axes, f"{path}.left", _read_bind, MAX_RANK),
            _each(right_axes, f"{path}.right", _read_bind, MAX_RANK),
        )


def _read_bind(value: object, path: str) -> Bind:
    out, total, *window = (_wide(item, path) for item in _items(value, path, 2, 5))
    if not window:
        return Bind(out, total)
    if len(window) != 3:
        raise FieldError(path, "a bind of 2 or 5 integers", value)
    return Bind(out, total, (window[0], window[1], window[2]))


def read_port(value: object, path: str) -> Port:
    """Raises `FieldError` for anything that `write_port` would not have written."""
    name, shape, number, kind, dtype, *numbers = _items(value, path, 9, 9)
    scale, zero_point, low, high = (_wide(item, path) for item in numbers)
    codec = Codec(text_item(kind, path), text_item(dtype, path), scale, zero_point, low, high)
    return Port(
        text_item(name, path),
        _read_shape(shape, path),
        integer_item(number, path, 0, MAX_NODES),
        codec,
    )


def _read_shape(value: object, path: str) -> Shape:
    return _each(value, path, lambda item, at: integer_item(item, at, 1, MAX_AXIS), MAX_RANK)


def _axis(value: object, path: str) -> int:
    return integer_item(value, path, 0, MAX_RANK - 1)


def _wide(value: object, path: str) -> int:
    return integer_item(value, path, -_WIDE, _WIDE)


def _items(value: object, path: str, least: int, most: int) -> list[object]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise FieldError(path, f"a list of {least} to {most} items", value)
    return value


def _each(value: object, path: str, read: Callable[[object, str], T], most: int) -> tuple[T, ...]:
    items = _items(value, path, 0, most)
    return tuple(read(item, f"{path}[{i}]") for i, item in enumerate(items))
