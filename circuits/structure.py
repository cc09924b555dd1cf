"""What makes a graph a graph: every rule that does not need the ranges of values.

The importer calls `validate` on what it built and `encoding.read_graph` on what a stranger wrote,
so that everything behind it (`ranges`, the layout, prover and verifier) may rely on the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from proofml.circuits.axes import MAX_AXIS, MAX_COEFFICIENT, AxisMap
from proofml.circuits.codec import INPUT_KINDS, OUTPUT_KINDS
from proofml.circuits.contract import labels_of
from proofml.circuits.functions import Function, float32_of, read_function
from proofml.circuits.graph import (
    MAX_CELLS,
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
    Port,
    Reshape,
    Shape,
    Step,
    Term,
    View,
    Weight,
    cells,
    operands,
)
from proofml.circuits.ranges import LIMIT
from proofml.fields import FieldError, text_item

#: Bounds for files that strangers write.
MAX_NODES = 1 << 16
MAX_PARTS = 1 << 12  # terms, contractions of one Affine
MAX_PORTS = 1 << 10
MAX_NAMES = 1 << 16
#: Cells of all values and of all views' sources and results together; lengths of all maps.
MAX_WORK = 1 << 29
MAX_MAPPED = 1 << 25
#: By how much one term may multiply a value, its coefficient and all cells it sums included.
MAX_REACH = 1 << 31

CLASSES = ("D", "E", "T")
_INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_CODES = (-(1 << 15), (1 << 16) - 1)
_NORMAL = (0x00800000, 0x7F7FFFFF)


def validate(graph: Graph) -> None:
    """Checks every structural rule.

    Raises:
        FieldError: with the path of what breaks the rule.
    """
    _Validator(graph).run()


class _Validator:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.work = 0
        self.mapped = 0
        self.maps: dict[int, AxisMap] = {}
        self.functions: dict[int, Function] = {}
        #: Values that are sums of contractions: never committed, so few nodes may read them.
        self.deep: set[int] = set()

    def run(self) -> None:
        graph = self.graph
        if not 1 <= len(graph.nodes) <= MAX_NODES:
            raise FieldError("nodes", f"1 to {MAX_NODES} nodes", len(graph.nodes))
        for value, node in enumerate(graph.nodes):
            path = f"nodes[{value}]"
            for operand in operands(node):
                _integer(operand, f"{path}: an operand", 0, value - 1)
            self._shape(node.shape, path)
            match node:
                case Input() | Weight():
                    text_item(node.name, f"{path}.name")
                    _bounds(node.low, node.high, path)
                    if isinstance(node, Weight) and not node.low <= 0 <= node.high:
                        raise FieldError(path, "a weight's range with 0", [node.low, node.high])
                case Affine():
                    self._affine(node, value, path)
                case _:
                    self._plain(node, path)
        self._ports()
        if any(name not in CLASSES for name in graph.classes):
            raise FieldError("classes", f"keys among {', '.join(CLASSES)}", list(graph.classes))
        for name, members in graph.classes.items():
            if len(members) > MAX_NAMES:
                raise FieldError(f"classes.{name}", f"at most {MAX_NAMES} names", len(members))
            for member in members:
                text_item(member, f"classes.{name}")

    def _count(self, more: int, path: str) -> None:
        self.work += more
        if self.work > MAX_WORK:
            raise FieldError(path, f"at most {MAX_WORK} cells in all", self.work)

    def _shape(self, shape: Shape, path: str) -> None:
        if len(shape) > MAX_RANK:
            raise FieldError(path, f"a rank of at most {MAX_RANK}", list(shape))
        for length in shape:
            _integer(length, f"{path}.shape", 1, MAX_AXIS)
        if cells(shape) > MAX_CELLS:
            raise FieldError(path, f"at most {MAX_CELLS} cells", list(shape))
        self._count(cells(shape), path)

    def _plain(self, node: Reshape | Step | Maximum | ArgMax, path: str) -> None:
        graph = self.graph
        if not isinstance(node, Step):
            _shallow(operands(node), self.deep, path)
        match node:
            case Reshape(value, shape):
                if cells(shape) != cells(graph.shape(value)):
                    raise FieldError(path, f"as many cells as {graph.shape(value)}", list(shape))
            case Step():
                _equal(node.shape, graph.shape(node.value), path)
                channel = node.channel
                for axis in channel:
                    _integer(axis, f"{path}.channel", 0, len(node.shape) - 1)
                if list(channel) != sorted(set(channel)):
                    raise FieldError(f"{path}.channel", "ascending axes", list(channel))
                count = math.prod(node.shape[axis] for axis in channel)
                if len(node.functions) != count:
                    raise FieldError(f"{path}.functions", f"{count} of them", len(node.functions))
                for function in node.functions:
                    self._function(function, f"{path}.functions")
            case Maximum(left, right, shape):
                _equal(shape, graph.shape(left), path)
                _equal(shape, graph.shape(right), path)
            case ArgMax(value, axis, shape):
                source = graph.shape(value)
                _integer(axis, f"{path}.axis", 0, len(source) - 1)
                _equal(shape, source[:axis] + source[axis + 1 :], path)

    def _function(self, function: Function, path: str) -> None:
        if id(function) not in self.functions:
            if read_function(function.to_json(), path) != function:
                raise FieldError(path, "a recipe in its normal form", "another form")
            self.functions[id(function)] = function

    def _affine(self, node: Affine, value: int, path: str) -> None:
        for parts in (node.terms, node.contractions):
            if len(parts) > MAX_PARTS:
                raise FieldError(path, f"at most {MAX_PARTS} of a kind", len(parts))
        if not node.terms and not node.contractions:
            raise FieldError(path, "a term or a contraction", "none")
        _bounds(node.low, node.high, path)
        for i, term in enumerate(node.terms):
            self._term(term, node.shape, f"{path}.terms[{i}]")
        for i, contraction in enumerate(node.contractions):
            self._contraction(contraction, node.shape, f"{path}.contractions[{i}]")
        if node.contractions:
            _shallow(operands(node), self.deep, path)
        if node.contractions or self.deep.intersection(operands(node)):
            self.deep.add(value)

    def _term(self, term: Term, shape: Shape, path: str) -> None:
        view = term.view
        _integer(abs(term.coefficient), f"{path}.coefficient", 1, MAX_COEFFICIENT)
        _integer(term.value, f"{path}.value", ONES, len(self.graph.nodes) - 1)
        _equal(view.shape, shape, path)
        for target, axis in view.axes:
            _integer(target, f"{path}.view", -1, len(shape) - 1)
            wanted = 1 if target < 0 else shape[target]
            if axis.n_out != wanted:
                raise FieldError(f"{path}.view", f"a map to {wanted} cells", axis.n_out)
            self._map(axis, f"{path}.view")
        targets = [target for target, _ in view.axes if target >= 0]
        if len(targets) != len(set(targets)):
            raise FieldError(f"{path}.view", "each axis of the result at most once", targets)
        self._shape(view.source, path)
        self._count(cells(shape), path)
        if term.value != ONES:
            _equal(view.source, self.graph.shape(term.value), f"{path}.view")
        if _reach(term.coefficient, view) > MAX_REACH:
            raise FieldError(path, f"a factor of at most {MAX_REACH}", _reach(1, view))

    def _map(self, axis: AxisMap, path: str) -> None:
        if id(axis) in self.maps:
            return
        self.maps[id(axis)] = axis
        _integer(axis.n_out, path, 1, MAX_AXIS)
        _integer(axis.n_in, path, 1, MAX_AXIS)
        self.mapped += axis.n_out + axis.n_in
        if self.mapped > MAX_MAPPED:
            raise FieldError(path, f"maps of at most {MAX_MAPPED} cells in all", self.mapped)
        if axis.entries is None:
            _integer(axis.n_in, path, axis.n_out, axis.n_out)
            return
        out, into, coefficient = axis.arrays
        for column, low, high in (
            (out, 0, axis.n_out - 1),
            (into, 0, axis.n_in - 1),
            (coefficient, 1, MAX_COEFFICIENT),
        ):
            if column.size and not (low <= column.min() and column.max() <= high):
                raise FieldError(path, f"entries from {low} to {high}", "others")
        if (np.diff(out * axis.n_in + into) <= 0).any():
            raise FieldError(path, "sorted entries, each pair once", "another order")
        if axis.n_out == axis.n_in == len(out) and (
            (out == into).all() and (coefficient == 1).all()
        ):
            raise FieldError(path, "the identity without entries", "with entries")

    def _contraction(self, contraction: Contraction, shape: Shape, path: str) -> None:
        """Axes of operands fit; each result axis is on one side only, each sum on both.

        So the operands' partial evaluations at a point of the result multiply to a partial
        evaluation of the contraction, which the batched sumcheck of the proof rests upon.
        The right operand has no windows. A summed axis is grouped (one bind has it together with
        an axis of the result and no window) with one axis of the result only, and with no
        window's; an operand has each axis once, grouped ones counted as one.
        """
        graph, sums = self.graph, contraction.sums
        if isinstance(graph.nodes[contraction.left], Weight):
            raise FieldError(path, "the weight on the right", "a weight on the left")
        if len(sums) > MAX_RANK or math.prod(sums) > MAX_CELLS:
            raise FieldError(path, f"at most {MAX_CELLS} products, {MAX_RANK} sums", list(sums))
        for length in sums:
            _integer(length, f"{path}.sums", 1, MAX_AXIS)
        sides = (
            ("left", contraction.left, contraction.left_axes),
            ("right", contraction.right, contraction.right_axes),
        )
        groups: set[tuple[int, int]] = set()
        for side, value, binds in sides:
            if len(binds) != len(graph.shape(value)):
                raise FieldError(f"{path}.{side}", f"{len(graph.shape(value))} axes", len(binds))
            for axis, (bind, length) in enumerate(zip(binds, graph.shape(value), strict=True)):
                _bind(bind, length, shape, sums, f"{path}.{side}[{axis}]")
                if bind.window is not None and side == "right":
                    raise FieldError(f"{path}.{side}[{axis}]", "no window on this side", "one")
                if bind.window is None and bind.out >= 0 and bind.sum >= 0:
                    groups.add((bind.out, bind.sum))
        for i in (0, 1):
            if len({group[i] for group in groups}) != len(groups):
                raise FieldError(path, "one summed axis for one grouped axis", sorted(groups))
        labels = labels_of(contraction, len(shape))
        for side, _, binds in sides:
            own = [label for bind in binds for label in _labels(bind, labels)]
            if len(own) != len(set(own)):
                raise FieldError(f"{path}.{side}", "each axis once", own)
            summed = sorted(bind.sum for bind in binds if bind.sum >= 0)
            if summed != list(range(len(sums))):
                raise FieldError(f"{path}.{side}", f"each of {len(sums)} sums once", summed)
        results = sorted(bind.out for _, _, binds in sides for bind in binds if bind.out >= 0)
        if results != list(range(len(shape))):
            raise FieldError(path, "each axis of the result on one side", results)

    def _ports(self) -> None:
        graph = self.graph
        for kind, ports in (("inputs", graph.inputs), ("outputs", graph.outputs)):
            if len(ports) > MAX_PORTS:
                raise FieldError(kind, f"at most {MAX_PORTS}", len(ports))
            if len({port.name for port in ports}) != len(ports):
                raise FieldError(kind, "each name once", [port.name for port in ports])
            for i, port in enumerate(ports):
                self._port(port, kind, f"{kind}[{i}]")
        if not graph.outputs:
            raise FieldError("outputs", "at least one", "none")
        nodes = [value for value, node in enumerate(graph.nodes) if isinstance(node, Input)]
        if sorted(port.value for port in graph.inputs) != nodes:
            raise FieldError("inputs", f"one port for each of the values {nodes}", "others")
        for i, port in enumerate(graph.inputs):
            node = graph.nodes[port.value]
            assert isinstance(node, Input)
            codec = port.codec
            given = (node.low + codec.zero_point, node.high + codec.zero_point)
            if node.name != port.name or given != (codec.low, codec.high):
                raise FieldError(f"inputs[{i}]", "name and range of its value", "others")
        for value, node in enumerate(graph.nodes):
            if isinstance(node, ArgMax) and (
                value not in graph.output_values or graph.consumers[value]
            ):
                raise FieldError(f"nodes[{value}]", "an index that is an output only", "another")

    def _port(self, port: Port, kind: str, path: str) -> None:
        text_item(port.name, f"{path}.name")
        _integer(port.value, f"{path}.value", 0, len(self.graph.nodes) - 1)
        _equal(port.shape, self.graph.shape(port.value), path)
        _codec(port.codec, INPUT_KINDS if kind == "inputs" else OUTPUT_KINDS, f"{path}.codec")


def _codec(codec: Codec, kinds: tuple[str, ...], path: str) -> None:
    if codec.kind not in kinds:
        raise FieldError(path, f"one of {', '.join(kinds)}", codec.kind)
    if codec.kind == "codes":
        if codec.dtype not in _INTEGERS:
            raise FieldError(f"{path}.dtype", "an integer type", codec.dtype)
        _integer(codec.scale, f"{path}.scale", 0, 0)
        if codec.dtype == "bool":
            least, most = 0, 1
        else:
            info = np.iinfo(codec.dtype)
            least, most = int(info.min), int(info.max)
        _integer(codec.zero_point, f"{path}.zero_point", max(least, -LIMIT), min(most, LIMIT))
    else:
        if codec.dtype != "float32":
            raise FieldError(f"{path}.dtype", "float32", codec.dtype)
        _integer(codec.scale, f"{path}.scale", *_NORMAL)
        least, most = _CODES
    _integer(codec.low, f"{path}.low", least, most)
    _integer(codec.high, f"{path}.high", codec.low, most)
    reach = max(abs(codec.low - codec.zero_point), abs(codec.high - codec.zero_point))
    _integer(reach, path, 0, LIMIT - 1)
    if codec.kind != "codes":
        # Then every code has a float of its own, and 16 bits hold them all.
        _integer(codec.high, f"{path}.high", codec.low, codec.low + (1 << 16) - 1)
        _integer(codec.zero_point, f"{path}.zero_point", codec.low, codec.high)
        if float(float32_of(codec.scale)) * reach > float(np.finfo(np.float32).max):
            raise FieldError(f"{path}.scale", "finite values for all codes", "a larger one")


def _bind(bind: Bind, length: int, shape: Shape, sums: Shape, path: str) -> None:
    _integer(bind.out, f"{path}.out", -1, len(shape) - 1)
    _integer(bind.sum, f"{path}.sum", -1, len(sums) - 1)
    if bind.out < 0 and bind.sum < 0:
        raise FieldError(path, "an axis of the result or a summed one", "neither")
    if bind.window is None:
        for index, lengths in ((bind.out, shape), (bind.sum, sums)):
            if index >= 0 and lengths[index] != length:
                raise FieldError(path, f"an axis of length {length}", lengths[index])
        return
    if bind.out < 0 or bind.sum < 0:
        raise FieldError(path, "a window over a result axis and a summed one", "one of them")
    stride, dilation, offset = bind.window
    _integer(stride, f"{path}.stride", 1, MAX_AXIS)
    _integer(dilation, f"{path}.dilation", 1, MAX_AXIS)
    _integer(offset, f"{path}.offset", -MAX_AXIS, MAX_AXIS)
    last = (shape[bind.out] - 1) * stride + (sums[bind.sum] - 1) * dilation + offset
    _integer(last, f"{path}: the last cell", -MAX_AXIS, MAX_AXIS)


def _labels(bind: Bind, labels: list[int]) -> Iterable[int]:
    """Axes that an operand's axis is, a grouped one counted once."""
    found = [bind.out] if bind.out >= 0 else []
    if bind.sum >= 0 and (bind.window is not None or bind.out < 0):
        found.append(labels[bind.sum])
    return found


def _reach(coefficient: int, view: View) -> int:
    return abs(coefficient) * math.prod(
        1 if axis.is_identity else int(axis.row_sums.max()) for _, axis in view.axes
    )


def _shallow(values: Iterable[int], deep: set[int], path: str) -> None:
    for value in values:
        if value in deep:
            raise FieldError(path, "no operand that sums contractions", f"value {value}")


def _bounds(low: int, high: int, path: str) -> None:
    _integer(low, f"{path}.low", 1 - LIMIT, LIMIT - 1)
    _integer(high, f"{path}.high", low, LIMIT - 1)


def _equal(given: Shape, wanted: Shape, path: str) -> None:
    if given != wanted:
        raise FieldError(path, f"shape {list(wanted)}", list(given))


def _integer(value: object, path: str, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise FieldError(path, f"an integer from {low} to {high}", value)
