"""Tiny circuits, one for each family of nodes, and their proofs as vectors.

Used by tools/sumcheck_vectors.py. The parameters are far too weak for any other use: they keep
files small.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np

from proofml.circuits import ranges
from proofml.circuits.axes import AxisMap
from proofml.circuits.field.babybear import P
from proofml.circuits.functions import Requant, Table, bits_of
from proofml.circuits.graph import (
    ONES,
    Affine,
    ArgMax,
    Bind,
    Codec,
    Contraction,
    Graph,
    Input,
    Ints,
    Maximum,
    Port,
    Reshape,
    Step,
    Term,
    View,
    Weight,
)
from proofml.circuits.kernels.claims import Tree
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import engine, keys, merkle, prover, proving, verifier
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.layout import PORTS, SALT_CELLS, WITNESS, Visibility
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.reader import Reader
from proofml.zkml.sumcheck.transcript import Transcript

WEAK = Params(mu=5, folds=(2,), rate=3, queries=4, grind=6)


@dataclass
class Family:
    """A circuit with its weights and the numbers of its inputs."""

    comment: str
    graph: Graph
    weights: dict[int, Ints]
    inputs: dict[int, Ints]
    params: Params = WEAK
    visibility: Visibility = Visibility()  # noqa: RUF009 - frozen


class Builder:
    """Nodes one after the other; random numbers from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: dict[int, Ints] = {}
        self.inputs: dict[int, Ints] = {}

    def add(self, node: Any) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def input(self, name: str, shape: tuple[int, ...], low: int = -8, high: int = 7) -> int:
        number = self.add(Input(name, shape, low, high))
        self.inputs[number] = self.rng.integers(low, high + 1, shape)
        return number

    def weight(self, name: str, shape: tuple[int, ...], reach: int = 127) -> int:
        numbers = self.rng.integers(-reach, reach + 1, shape)
        low, high = min(int(numbers.min()), 0), max(int(numbers.max()), 0)
        number = self.add(Weight(name, shape, low, high))
        self.weights[number] = numbers
        return number

    def affine(
        self, shape: tuple[int, ...], terms: tuple[Term, ...], *contractions: Contraction
    ) -> int:
        graph = Graph(tuple(self.nodes), (), (), {})
        node = Affine(shape, terms, contractions)
        found = ranges.ranges(graph)
        low, high = ranges.affine_bounds(graph.nodes, node, found, self.weights)
        return self.add(replace(node, low=low, high=high))

    def requant(self, value: int, scale: float, low: int = -128, high: int = 127) -> int:
        recipe = Requant(bits_of(scale), low, high)
        return self.add(Step(value, self.nodes[value].shape, (recipe,)))

    def graph(self, **outputs: int) -> Graph:
        codec = Codec("codes", "int32", 0, 0, -(1 << 29), 1 << 29)
        inputs = tuple(
            Port(node.name, node.shape, i, replace(codec, low=node.low, high=node.high))
            for i, node in enumerate(self.nodes)
            if isinstance(node, Input)
        )
        ports = tuple(
            Port(name, self.nodes[value].shape, value, codec) for name, value in outputs.items()
        )
        return Graph(tuple(self.nodes), inputs, ports, {})

    def family(self, comment: str, graph: Graph, **more: Any) -> Family:
        return Family(comment, graph, self.weights, self.inputs, **more)


def _dense(b: Builder, x: int, rows: int, k: int, n: int, name: str) -> int:
    w, bias = b.weight(f"{name}.w", (k, n)), b.weight(f"{name}.b", (n,), 500)
    product = Contraction(x, w, (k,), (Bind(out=0), Bind(sum=0)), (Bind(sum=0), Bind(out=1)))
    return b.affine((rows, n), (Term(1, bias, _along((rows, n), 1)),), product)


def _along(shape: tuple[int, ...], axis: int) -> View:
    """A vector along one axis, repeated along the others."""
    return View(shape, ((axis, AxisMap.identity(shape[axis])),))


def dense() -> Family:
    b = Builder(11)
    hidden = b.requant(_dense(b, b.input("x", (2, 5)), 2, 5, 3, "first"), 0.004, 0)
    last = b.requant(_dense(b, hidden, 2, 3, 3, "second"), 0.003)
    graph = b.graph(y=last)
    return b.family("Two dense layers, requantised; the second is public. Trees X and W.", graph)


def deep() -> Family:
    made = dense()
    params = Params(mu=7, folds=(3, 2), rate=1, queries=5, grind=0)
    return replace(
        made,
        comment="The same circuit as `dense` at rate 1/2, two folded layers, no grinding.",
        params=params,
    )


def lookup() -> Family:
    b = Builder(12)
    x = b.input("x", (3, 4), -4, 3)
    recipes = (Table(-4, (0, 1, 4, 9, 9, 4, 1, 0)), Table(-4, (7, 6, 5, 4, 3, 2, 1, 0)))
    y = b.add(Step(x, (3, 4), (recipes[0], recipes[1], recipes[0]), (0,)))
    return b.family("A table for each channel, written out; no weights: one tree.", b.graph(y=y))


def convolution() -> Family:
    b = Builder(13)
    x, w, bias = b.input("x", (1, 2, 5, 4)), b.weight("w", (3, 2, 3, 2)), b.weight("b", (3,), 200)
    shape = (1, 3, 3, 2)
    left = (Bind(out=0), Bind(sum=0), Bind(2, 1, (2, 1, -1)), Bind(3, 2, (2, 2, -1)))
    right = (Bind(out=1), Bind(sum=0), Bind(sum=1), Bind(sum=2))
    product = Contraction(x, w, (2, 3, 2), left, right)
    a = b.affine(shape, (Term(1, bias, _along(shape, 1)),), product)
    scales = (0.01, 0.02, 0.01)
    recipes = tuple(Requant(bits_of(scale), -64, 63) for scale in scales)
    y = b.add(Step(a, shape, recipes, (1,)))
    comment = "A convolution with strides, dilation and padding; a scale for each channel."
    return b.family(comment, b.graph(y=y))


def grouped() -> Family:
    b = Builder(14)
    x, w = b.input("x", (1, 3, 2, 4, 4)), b.weight("w", (3, 2, 3, 3))
    shape = (1, 3, 2, 2)
    window = (1, 1, 0)
    left = (Bind(out=0), Bind(sum=0), Bind(sum=1), Bind(2, 2, window), Bind(3, 3, window))
    right = (Bind(out=1, sum=0), Bind(sum=1), Bind(sum=2), Bind(sum=3))
    a = b.affine(shape, (), Contraction(x, w, (3, 2, 3, 3), left, right))
    return b.family(
        "A convolution with a filter for each group of channels.", b.graph(y=b.requant(a, 0.01))
    )


def product() -> Family:
    b = Builder(15)
    left, right = b.input("q", (2, 3, 4), -50, 50), b.input("k", (2, 2, 4), -50, 50)
    binds = (
        (Bind(sum=0), Bind(out=1), Bind(sum=1)),
        (Bind(out=0, sum=0), Bind(out=2), Bind(sum=1)),
    )
    a = b.affine((2, 3, 2), (), Contraction(left, right, (2, 4), *binds))
    half = b.requant(a, 0.002)
    again = b.affine((2, 3, 2), (), Contraction(half, half, (2, 3, 2), *_square()))
    comment = "Products of two values, by heads; the second one of a committed value by itself."
    return b.family(comment, b.graph(y=b.requant(again, 0.01, -16, 15)))


def _square() -> Any:
    """Each cell times itself: every axis a group."""
    axes = range(3)
    return tuple(Bind(out=i, sum=i) for i in axes), tuple(Bind(sum=i) for i in axes)


def maximum() -> Family:
    b = Builder(16)
    left, right = b.input("a", (2, 3), -9, 5), b.input("b", (2, 3), -7, 11)
    comment = "The greater of two inputs; its value is bound at a random point."
    return b.family(comment, b.graph(y=b.add(Maximum(left, right, (2, 3)))))


def first_maximum() -> Family:
    b = Builder(17)
    scores = b.requant(b.input("x", (2, 5, 3), -20, 20), 0.25)
    graph = b.graph(scores=scores, index=b.add(ArgMax(scores, 1, (2, 3))))
    comment = "Index of the first maximum along the middle axis, and the scores themselves."
    return b.family(comment, graph)


def views() -> Family:
    b = Builder(18)
    x = b.requant(b.input("x", (2, 6), -30, 30), 0.5)
    shaped = b.add(Reshape(x, (3, 4)))
    pool = View((3, 2), ((0, AxisMap.identity(3)), (1, AxisMap.window(2, 4, stride=2, taps=3))))
    total = View((3, 2), ((-1, AxisMap.total(2)), (-1, AxisMap.total(6))))
    ones = View((3, 2), ())
    terms = (Term(3, shaped, pool), Term(-1, x, total), Term(40, ONES, ones))
    comment = "Reshape, pooling, a sum over everything, a constant: a bound output."
    return b.family(comment, b.graph(y=b.affine((3, 2), terms)))


def hidden() -> Family:
    made = dense()
    return replace(
        made,
        comment="The same with the output committed too: nothing is public.",
        visibility=Visibility(inputs=False, outputs=False),
    )


def committed() -> Family:
    made = dense()
    return replace(
        made,
        comment="The circuit of `dense` with its input committed in a tree of its own: three"
        " trees, two selector rounds.",
        visibility=Visibility(inputs=False),
    )


FAMILIES: dict[str, Callable[[], Family]] = {
    "dense": dense,
    "deep": deep,
    "lookup": lookup,
    "convolution": convolution,
    "grouped": grouped,
    "product": product,
    "maximum": maximum,
    "argmax": first_maximum,
    "views": views,
    "committed": committed,
    "hidden": hidden,
}


class _Recorder:
    """Replaces transcript and reader of a verification, and notes what passes."""

    def __init__(self) -> None:
        self.challenges: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        recorder = self

        class Watched(Transcript):
            def challenge(self, tag: str) -> Any:
                found = super().challenge(tag)
                recorder.challenges.append({"tag": tag, "element": found})
                return found

            def indices(self, tag: str, count: int, log_n: int) -> list[int]:
                found = super().indices(tag, count, log_n)
                recorder.challenges.append({"tag": tag, "indices": found})
                return found

            def seed(self, tag: str) -> bytes:
                found = super().seed(tag)
                recorder.challenges.append({"tag": tag, "seed": found.hex()})
                return found

        class Read(Reader):
            def take(self, tag: str, size: int) -> bytes:
                if size:
                    recorder.note(tag, self._at, size)
                return super().take(tag, size)

            def skip(self, count: int) -> None:
                if count:
                    recorder.note("path", self._at, count)
                super().skip(count)

        watched = mock.patch.multiple(verifier, Transcript=Watched, Reader=Read)
        with watched, engine.using(native=False):
            yield

    def note(self, tag: str, at: int, size: int) -> None:
        self.messages.append({"tag": tag, "offset": at, "bytes": size})


@dataclass
class Made:
    """A proof and all that a verifier needs."""

    circuit: Circuit
    statement: bytes
    public: dict[int, Ints]
    ports_root: bytes | None
    proof: bytes

    def verify(self, **changes: Any) -> None:
        given = replace(self, **changes)
        verifier.verify_proof(
            given.circuit,
            given.statement,
            given.public,
            given.proof,
            ports_root=given.ports_root,
        )


def make(name: str, family: Family, *, spoil: bool = False) -> Made:
    """An honest proof; with `spoil` the witness committed is no code word."""
    key = keys.commit_model(
        family.graph, family.weights, visibility=family.visibility, params=family.params
    )
    layout = key.circuit.layout
    values = key.executor.run(family.inputs)
    ports = None
    if PORTS in layout.trees:
        salt = np.random.default_rng(9).integers(0, P, SALT_CELLS)
        ports = keys.commit_ports(key.circuit, dict(enumerate(values)), salt=salt)
    statement = hashlib.sha256(f"proofml vectors: {name}".encode()).digest()
    with _spoiled() if spoil else contextlib.nullcontext():
        proof = prover.prove_circuit(key, values, statement, ports=ports)
    shown = {*layout.public, *(layout.graph.outputs[i].value for i in layout.bound_outputs)}
    public = {number: values[number] for number in sorted(shown)}
    root = None if ports is None else ports.nodes[1].tobytes()
    return Made(key.circuit, statement, public, root, proof)


@contextlib.contextmanager
def _spoiled() -> Iterator[None]:
    """Every row of the witness's code word is off by one in its first number."""
    honest = proving.commit

    def commit(tag: str, values: Any, mu: int, rate: int) -> Tree:
        tree = honest(tag, values, mu, rate)
        if tag != WITNESS:
            return tree
        code = np.array(tree.code)
        code[:, 0] = (code[:, 0].astype(np.int64) + 1) % P
        rows = [row.astype("<u4").tobytes() for row in code]
        return replace(tree, code=code, nodes=merkle.build(tag, rows))

    with mock.patch.object(proving, "commit", commit):
        yield


def vector(name: str, family: Callable[[], Family]) -> dict[str, Any]:
    """The file of one family."""
    setting = family()
    made = make(name, setting)
    recorder = _Recorder()
    with recorder.watching():
        made.verify()
    return {
        "_comment": setting.comment,
        "source": "docs/sumcheck/protocol.md, sections 3 to 8",
        "circuit": made.circuit.to_json(),
        "circuit_digest": made.circuit.digest,
        "statement_digest": made.statement.hex(),
        "public": [
            {"value": number, "shape": list(tensor.shape), "codes": tensor.reshape(-1).tolist()}
            for number, tensor in made.public.items()
        ],
        "ports_root": None if made.ports_root is None else made.ports_root.hex(),
        "weights": [
            {"value": number, "codes": tensor.reshape(-1).tolist()}
            for number, tensor in setting.weights.items()
        ],
        "proof_bytes": len(made.proof),
        "proof": made.proof.hex(),
        "messages": recorder.messages,
        "challenges": recorder.challenges,
        "accepted": True,
        "rejected": _rejected(name, setting, made, recorder),
    }


def _rejected(name: str, setting: Family, made: Made, recorder: _Recorder) -> list[dict[str, Any]]:
    """Changes of the proof or the statement, and the check that each fails."""
    found: list[dict[str, Any]] = []

    def case(what: str, changed: Made, change: dict[str, Any]) -> None:
        with engine.using(native=False):
            found.append({"what": what, **change, "check": _check(changed)})

    seen: set[str] = set()
    for message in recorder.messages:
        kind, at = str(message["tag"]), int(message["offset"])
        if kind in seen:
            continue
        seen.add(kind)
        case(f"{kind}: lowest bit flipped", *_replaced(made, at, bytes([made.proof[at] ^ 1])))
    line = next(int(m["offset"]) for m in recorder.messages if m["tag"] == "logup root")
    case("a number that is not canonical", *_replaced(made, line, b"\xff\xff\xff\xff"))
    case("one byte short", replace(made, proof=made.proof[:-1]), {"length": len(made.proof) - 1})
    longer = made.proof + b"\0"
    case("one byte long", replace(made, proof=longer), {"length": len(longer)})
    other = bytes([made.statement[0] ^ 1]) + made.statement[1:]
    case("another statement", replace(made, statement=other), {"statement_digest": other.hex()})
    for number, tensor in made.public.items():
        changed = tensor.copy()
        changed.reshape(-1)[-1] += 1 if changed.reshape(-1)[-1] <= 0 else -1
        case(
            f"public value {number}: last code changed",
            replace(made, public={**made.public, number: changed}),
            {"value": number, "codes": changed.reshape(-1).tolist()},
        )
    for number, node in enumerate(setting.graph.nodes):
        if isinstance(node, ArgMax):
            for index in (-1, setting.graph.shape(node.value)[node.axis]):
                changed = made.public[number].copy()
                changed.reshape(-1)[-1] = index
                case(
                    f"index {index} of a maximum",
                    replace(made, public={**made.public, number: changed}),
                    {"value": number, "codes": changed.reshape(-1).tolist()},
                )
    if name in ("dense", "lookup"):
        setting = setting if name == "dense" else replace(setting, params=replace(WEAK, folds=()))
        spoiled = make(name, setting, spoil=True)
        change: dict[str, Any] = {"proof": spoiled.proof.hex()}
        if name == "lookup":
            change["circuit"] = spoiled.circuit.to_json()
        case("the witness committed is no code word", spoiled, change)
    return found


def _replaced(made: Made, at: int, data: bytes) -> tuple[Made, dict[str, Any]]:
    proof = made.proof[:at] + data + made.proof[at + len(data) :]
    return replace(made, proof=proof), {"offset": at, "bytes": data.hex()}


def _check(made: Made) -> str:
    try:
        made.verify()
    except VerificationError as error:
        return str(error.check)
    raise AssertionError("accepted")
