"""ONNX -> `network.Network`: every tensor as an affine form of the values before it.

Affine operators only change forms. A non-linear one first makes its operand a value: a `Linear`
step, unless the form is a value already (its elements perhaps in another order). So convolution,
normalisation, pooling and reshapes between two activations become one matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from onnx import TensorProto

from proofml.circuits.quantise.constants import fix_shapes, fold_shapes, move_constants
from proofml.circuits.quantise.graph import Graph, Node, contradictions_refused, read_graph
from proofml.circuits.quantise.patterns import match_gelu
from proofml.errors import UnsupportedModel, printable
from proofml.fhe.ckks import movement, operators, tail
from proofml.fhe.ckks.affine import Form, Index, TooManyEntries, whole
from proofml.fhe.ckks.network import FUNCTIONS, Activation, Linear, Network, Product, Result, Step
from proofml.fhe.ckks.params import MAX_SLOTS
from proofml.fhe.ckks.tail import Tail, TailNode
from proofml.model import Model
from proofml.tensors import Array

MAX_ELEMENTS = 1 << 22
#: Softmax works on one axis since this operator set.
_OLDEST = 13
_MATRIX = ("Conv", "AveragePool", "GlobalAveragePool", "Gemm", "MatMul", "BatchNormalization")
_PLAIN = ("Add", "Sub", "Mul", "Div", "Neg", "Pow", "Concat", "Identity", "Dropout", "Cast")
_REDUCTIONS = ("ReduceMean", "ReduceSum")
SUPPORTED = frozenset(
    {*_MATRIX, *_PLAIN, *_REDUCTIONS, *movement.MOVERS, *FUNCTIONS} - {"GeluTanh"}
)
#: After the last layer only: the owner computes them.
LAST = frozenset(tail.RULES) - SUPPORTED
_MAX_POWER = 8
_CANNOT = (
    f"cannot be computed on CKKS ciphertexts; supported are {', '.join(sorted(SUPPORTED))}, and "
    f"after the last layer {', '.join(sorted(LAST))}"
)


def read_network(model: Model, *, final: str = "client") -> Network:
    """The network of a model of float32 tensors.

    Args:
        final: who computes last activations such as a sigmoid: the `client` exactly after
            decryption, or the `server`, approximately, under encryption. Softmax and argmax are
            always left to the client.

    Raises:
        UnsupportedModel: naming the operator.
    """
    with contradictions_refused(model.name):
        try:
            return _Reader(_graph(model), model, final).read()
        except TooManyEntries as error:
            raise UnsupportedModel(
                f"{model.name}: affine operators that follow each other make a matrix of {error}; "
                "use a smaller model"
            ) from error


def unsupported(model: Model) -> tuple[str, ...]:
    """Names of the model's operators that cannot be taken wherever they stand."""
    return tuple(
        sorted(name for name in model.operators if name not in {*SUPPORTED, *LAST, "Constant"})
    )


def _graph(model: Model) -> Graph:
    unknown = unsupported(model)
    if unknown and not _only_shapes(unknown):
        raise UnsupportedModel(
            f"{model.name}: the operator {printable(', '.join(unknown))} {_CANNOT}"
        )
    _check_interface(model)
    graph = read_graph(model)
    if graph.opset < _OLDEST and any(node.op in ("Softmax", "LogSoftmax") for node in graph.nodes):
        raise UnsupportedModel(
            f"{model.name}: Softmax of operator set {graph.opset}; expected {_OLDEST} or newer, "
            "convert it with onnx.version_converter"
        )
    graph.prune()
    free = {
        spec.name: tuple(dim or 1 for dim in spec.shape)
        for spec in model.inputs
        if spec.shape is not None and None in spec.shape
    }
    if free:
        fix_shapes(graph, model, free)
    else:
        fold_shapes(graph)
    move_constants(graph)
    match_gelu(graph)
    graph.prune()
    return graph


#: What exporters write to compute shapes; folded where the shapes are known.
_SHAPES = frozenset({"Shape", "Gather", "ConstantOfShape", "Expand", "Size"})


def _only_shapes(names: Sequence[str]) -> bool:
    return set(names) <= _SHAPES


def _check_interface(model: Model) -> None:
    for spec in (*model.inputs, *model.outputs):
        dims = spec.shape
        if dims is None or len(dims) < 1 or None in dims[1:]:
            raise UnsupportedModel(
                f"{model.name}: {printable(spec.name)!r} is {spec}; expected a first axis for the "
                "batch, fixed or free, and fixed other axes"
            )
        if dims[0] not in (None, 1):
            raise UnsupportedModel(
                f"{model.name}: {printable(spec.name)!r} is {spec}; expected a batch that is free "
                "or 1"
            )
    for spec in model.inputs:
        if spec.dtype != "float32":
            raise UnsupportedModel(
                f"{model.name}: the input {printable(spec.name)!r} is {spec.dtype}; expected "
                "float32, the only numbers that CKKS encrypts here"
            )
        count = math.prod(dim or 1 for dim in spec.shape or ())
        _fits(count, f"{model.name}: the input {printable(spec.name)!r}")


def _fits(count: int, where: str) -> None:
    """Raises `UnsupportedModel` where no ciphertext has that many slots."""
    if count > MAX_SLOTS:
        raise UnsupportedModel(
            f"{where}: too wide: needs {count} slots, one ciphertext has at most {MAX_SLOTS}; use "
            "a smaller layer"
        )


class _Reader:
    def __init__(self, graph: Graph, model: Model, final: str) -> None:
        self._graph = graph
        self._model = model
        self._free = any(spec.shape and spec.shape[0] is None for spec in model.inputs)
        self._forms: dict[str, Form] = {}
        self._steps: list[Step] = []
        self._tail_nodes = self._find_tail(final)
        self._inputs = tuple(tuple(dim or 1 for dim in spec.shape or ()) for spec in model.inputs)
        for i, (spec, shape) in enumerate(zip(model.inputs, self._inputs, strict=True)):
            self._forms[spec.name] = whole(i, shape)

    def read(self) -> Network:
        for node in self._graph.nodes:
            if node in self._tail_nodes:
                continue
            form = self._node(node)
            if form.size > MAX_ELEMENTS:
                raise UnsupportedModel(f"{node.where}: makes more than {MAX_ELEMENTS} elements")
            if self._free and (not form.shape or form.shape[0] != 1):
                raise UnsupportedModel(
                    f"{node.where}: does not keep the free batch on the first axis; fix the batch "
                    "to 1"
                )
            self._forms[node.output] = form
        results, made = self._results()
        return Network(self._inputs, tuple(self._steps), results, made)

    # -- the client's part ------------------------------------------------------------------------

    def _find_tail(self, final: str) -> frozenset[Node]:
        """Nodes after which only such nodes come, from the first one that asks for it."""
        begins = tail.FINAL if final == "client" else tail.FINAL - tail.APPROXIMABLE
        readers: dict[str, list[Node]] = {}
        for node in self._graph.nodes:
            for name in set(node.inputs):
                readers.setdefault(name, []).append(node)
        closed: set[Node] = set()
        for node in reversed(self._graph.nodes):
            if node.op in tail.RULES and all(
                reader in closed for name in node.outputs for reader in readers.get(name, ())
            ):
                closed.add(node)
        chosen: set[Node] = set()
        made: set[str] = set()
        for node in self._graph.nodes:
            if node in closed and (node.op in begins or made.intersection(node.inputs)):
                chosen.add(node)
                made.update(node.outputs)
        return frozenset(chosen)

    def _results(self) -> tuple[tuple[Result, ...], Tail]:
        nodes = [node for node in self._graph.nodes if node in self._tail_nodes]
        read = [name for node in nodes for name in node.inputs if name]
        wanted = dict.fromkeys(
            name for name in (*read, *self._graph.output_names) if name in self._forms
        )
        results = tuple(self._result(name) for name in wanted)
        known = {*wanted, *(node.output for node in nodes)}
        constants: dict[str, Array] = {}
        for name in (*read, *self._graph.output_names):
            if name in known:
                continue
            if name not in self._graph.constants:
                raise UnsupportedModel(
                    f"{self._model.name}: the output {printable(name)!r} depends on no input"
                )
            constants[name] = self._tail_constant(name)
        made = Tail(
            tuple(self._tail_node(node) for node in nodes),
            constants,
            tuple(self._graph.output_names),
        )
        if len(nodes) > tail.MAX_NODES:
            raise UnsupportedModel(
                f"{self._model.name}: more than {tail.MAX_NODES} operators after the last layer"
            )
        self._check_outputs(made, results)
        return results, made

    def _check_outputs(self, made: Tail, results: Sequence[Result]) -> None:
        """Run the tail once, so that what it cannot do is known before anything is encrypted."""
        trial = made.run({r.name: np.zeros(r.shape, np.float32) for r in results})
        for spec in self._model.outputs:
            array = trial[spec.name]
            if array.dtype.name != spec.dtype or not spec.admits(array.shape):
                raise UnsupportedModel(
                    f"{self._model.name}: output {printable(spec.name)!r} is declared as {spec}, "
                    f"and computed as {array.dtype}{list(array.shape)}"
                )

    def _tail_constant(self, name: str) -> Array:
        array = self._graph.constants[name]
        if array.dtype.name not in ("float32", "int64") or array.size > tail.MAX_ELEMENTS:
            raise UnsupportedModel(
                f"{self._model.name}: the constant {printable(name)!r} after the last layer: "
                f"expected at most {tail.MAX_ELEMENTS} elements of float32 or int64"
            )
        return array

    def _tail_node(self, node: Node) -> TailNode:
        kept: dict[str, int | tuple[int, ...]] = {}
        for key, value in node.attributes.items():
            if key not in tail.ATTRIBUTES.get(node.op, ()):
                if (node.op, key, value) in _IDLE:
                    continue
                raise UnsupportedModel(f"{node.where}: its attribute {printable(key)} is not known")
            kept[key] = tail.read_attribute(value, node.where)
        inputs = tuple(name for name in node.inputs if name)
        least, most = tail.ARITY[node.op]
        if not least <= len(inputs) <= most:
            raise UnsupportedModel(f"{node.where}: {len(inputs)} operands")
        return TailNode(node.op, inputs, node.output, kept)

    def _result(self, name: str) -> Result:
        value, index = self._value(self._forms[name], f"{self._model.name}: {printable(name)!r}")
        return Result(name, value, index.reshape(-1), index.shape)

    # -- the server's part ------------------------------------------------------------------------

    def _add(self, step: Step) -> int:
        self._steps.append(step)
        return len(self._inputs) + len(self._steps) - 1

    def _value(self, form: Form, where: str) -> tuple[int, Index]:
        """A value and which of its elements the form is made of, in the form's shape.

        Raises:
            UnsupportedModel: it depends on no input.
        """
        parts = {value: part for value, part in form.parts.items() if len(part.rows)}
        if not parts:
            raise UnsupportedModel(f"{where}: depends on no input; there is nothing to encrypt")
        if len(parts) == 1 and not form.bias.any():
            value, part = next(iter(parts.items()))
            if part.is_gather:
                return value, part.cols.reshape(form.shape)
        _fits(form.size, where)
        value = self._add(Linear(parts, form.bias, form.shape, where))
        return value, np.arange(form.size).reshape(form.shape)

    def _node(self, node: Node) -> Form:
        op = node.op
        if op in ("Identity", "Dropout", "Cast"):
            return self._same(node)
        if op in _RULES:
            return _RULES[op](self._graph, node, self._form(node, 0))
        if op in ("Add", "Sub"):
            return self._sum(node)
        if op in ("Mul", "Div"):
            return self._scaled(node)
        if op == "Neg":
            return operators.scaled(self._form(node, 0), np.array(-1.0))
        if op == "Pow":
            return self._power(node)
        if op == "Concat":
            return movement.concatenate(node, [self._form_or_constant(n) for n in node.inputs])
        if op in FUNCTIONS or op == "Gelu":
            return self._activation(node)
        raise UnsupportedModel(f"{node.where}: {_CANNOT}")

    def _form(self, node: Node, place: int) -> Form:
        name = node.inputs[place] if place < len(node.inputs) else ""
        if name not in self._forms:
            raise UnsupportedModel(
                f"{node.where}: its operand {place} is a constant; expected a tensor that depends "
                "on the inputs"
            )
        return self._forms[name]

    def _form_or_constant(self, name: str) -> Form:
        if name in self._forms:
            return self._forms[name]
        array = self._graph.constants[name].astype(np.float64)
        return Form(array.shape, {}, array.reshape(-1))

    def _same(self, node: Node) -> Form:
        if node.op == "Cast" and node.integer("to", 0) != TensorProto.FLOAT:
            raise UnsupportedModel(f"{node.where}: only a Cast to float32 changes nothing here")
        if node.op == "Dropout":
            training = len(node.inputs) > 2 and node.inputs[2]
            if any(node.outputs[1:]) or (
                training and np.any(self._graph.constants.get(training, True))
            ):
                raise UnsupportedModel(
                    f"{node.where}: it is in training mode; export for inference"
                )
        return self._form(node, 0)

    def _sum(self, node: Node) -> Form:
        left, right = (self._form_or_constant(name) for name in node.inputs)
        shape = np.broadcast_shapes(left.shape, right.shape)
        if math.prod(shape) > MAX_ELEMENTS:
            raise UnsupportedModel(f"{node.where}: makes more than {MAX_ELEMENTS} elements")
        left, right = operators.broadcast(left, shape), operators.broadcast(right, shape)
        if node.op == "Sub":
            right = operators.scaled(right, np.array(-1.0))
        return left.plus(right)

    def _scaled(self, node: Node) -> Form:
        left, right = node.inputs
        if node.op == "Div":
            with np.errstate(divide="ignore"):
                factor = 1.0 / operators.required(self._graph, node, 1)
        elif left in self._forms and right in self._forms:
            return self._product(node, self._forms[left], self._forms[right])
        else:
            factor = operators.required(self._graph, node, 1 if left in self._forms else 0)
        if not np.isfinite(factor).all():
            raise UnsupportedModel(f"{node.where}: divides by zero")
        return operators.scaled(self._form(node, 0 if left in self._forms else 1), factor)

    def _product(self, node: Node, left: Form, right: Form) -> Form:
        shape = np.broadcast_shapes(left.shape, right.shape)
        if math.prod(shape) > MAX_ELEMENTS:
            raise UnsupportedModel(f"{node.where}: makes more than {MAX_ELEMENTS} elements")
        if left is right:
            value, index = self._value(left, node.where)
            return self._made(Product(value, value, left.size, node.where), index)
        a, a_index = self._value(operators.broadcast(left, shape), node.where)
        b, b_index = self._value(operators.broadcast(right, shape), node.where)
        if not np.array_equal(a_index, b_index):
            # One of them is put into the other's order.
            order = np.empty(a_index.size, np.int64)
            order[a_index.reshape(-1)] = np.arange(a_index.size)
            moved = operators.broadcast(right, shape).moved(order)
            b = self._add(Linear(moved.parts, moved.bias, moved.shape, node.where))
        return self._made(Product(a, b, a_index.size, node.where), a_index)

    def _made(self, step: Step, index: Index) -> Form:
        value = self._add(step)
        return whole(value, (step.size,)).moved(index)

    def _power(self, node: Node) -> Form:
        exponent = self._graph.constants.get(node.inputs[1])
        power = float(exponent.reshape(-1)[0]) if exponent is not None and exponent.size else 0.0
        if exponent is None or exponent.size != 1 or power not in range(1, _MAX_POWER + 1):
            raise UnsupportedModel(
                f"{node.where}: expected one exponent, a whole number from 1 to {_MAX_POWER}"
            )
        x = self._form(node, 0)
        value, index = self._value(x, node.where)
        size = x.size
        result: int | None = None
        left, square = int(power), value
        while left:  # by squaring, so that the depth is the logarithm
            if left % 2:
                result = (
                    square
                    if result is None
                    else self._add(Product(result, square, size, node.where))
                )
            left //= 2
            if left:
                square = self._add(Product(square, square, size, node.where))
        assert result is not None
        return whole(result, (size,)).moved(index)

    def _activation(self, node: Node) -> Form:
        name = node.op
        if name == "Gelu" and node.attributes.get("approximate", b"none") == b"tanh":
            name = "GeluTanh"
        for key, value in node.attributes.items():
            if key != "approximate" and not _is_default(name, key, value):
                raise UnsupportedModel(f"{node.where}: {printable(key)} {value:g} is not supported")
        value, index = self._value(self._form(node, 0), node.where)
        return self._made(Activation(value, name, index.size, node.where), index)


#: (operator, attribute, value) of tail operators that change nothing.
_IDLE = frozenset(
    {("ArgMax", "select_last_index", 0), ("Reshape", "allowzero", 0), ("Cast", "saturate", 1),
     ("ReduceSum", "noop_with_empty_axes", 0), ("ReduceMax", "noop_with_empty_axes", 0)}
)  # fmt: skip
_DEFAULTS = {("HardSigmoid", "alpha"): 0.2, ("HardSigmoid", "beta"): 0.5}


def _is_default(op: str, key: str, value: float) -> bool:
    default = _DEFAULTS.get((op, key))
    return default is not None and float(np.float32(default)) == value


_RULES: Mapping[str, Callable[[Graph, Node, Form], Form]] = {
    "AveragePool": operators.average_pool,
    "BatchNormalization": operators.normalisation,
    "Conv": operators.convolution,
    "Gemm": operators.matrix_product,
    "GlobalAveragePool": operators.average_pool,
    "MatMul": operators.matrix_product,
    **dict.fromkeys(_REDUCTIONS, operators.reduction),
    **dict.fromkeys(movement.MOVERS, movement.move),
}
