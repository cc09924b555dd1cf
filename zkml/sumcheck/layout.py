"""Where everything lies: blocks of columns in committed trees, and blocks of LogUp leaves.

A function of the graph, its tables and the visibility of its ports; nothing in a proof chooses
it. A block is a tensor whose axes are padded to powers of two, the last axis in the lowest bits.
Blocks are stacked by size, the largest first, ties in listed order: every offset is a multiple of
its block's size. Cells that belong to no tensor are free: no claim's weight reaches them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from proofml.circuits.field.ext5 import Element, Point
from proofml.circuits.graph import ArgMax, Graph, Input, Maximum, Shape, Step, Weight
from proofml.circuits.tables import Lookup, Plan, TableError, plan

#: Names of the trees, in the order in which they are opened.
WITNESS, MODEL, PORTS = "X", "W", "P"
#: Fewer lookups than the field has elements: a multiplicity cannot wrap around.
MAX_LEAVES_LOG = 27
#: A committed input or output is followed by this many random numbers in its tree.
SALT_CELLS = 8


def ceil_log2(value: int) -> int:
    return max(0, (value - 1).bit_length())


@dataclass(frozen=True)
class Block:
    """A padded tensor."""

    name: str
    shape: Shape

    @cached_property
    def logs(self) -> tuple[int, ...]:
        """Bits of each axis."""
        return tuple(ceil_log2(n) for n in self.shape)

    @cached_property
    def size(self) -> int:
        """Bits of the block."""
        return sum(self.logs)

    def split(self, point: Sequence[Element]) -> list[Point]:
        """The `size` lowest coordinates, one run an axis, in the order of the shape."""
        found: list[Point] = []
        at = 0
        for log in reversed(self.logs):
            found.append(tuple(point[at : at + log]))
            at += log
        return found[::-1]


@dataclass(frozen=True)
class Stack:
    """Blocks one after the other in 2^log cells."""

    blocks: Mapping[str, Block]
    offsets: Mapping[str, int]
    log: int

    @classmethod
    def of(cls, blocks: Iterable[Block], least: int = 0) -> Stack:
        listed = list(blocks)
        offsets: dict[str, int] = {}
        end = 0
        for block in sorted(listed, key=lambda block: -block.size):
            offsets[block.name] = end
            end += 1 << block.size
        return cls({b.name: b for b in listed}, offsets, max(least, ceil_log2(end)))


@dataclass(frozen=True)
class Visibility:
    """Which ports are public; the others are committed in a tree of their own."""

    inputs: bool = True
    outputs: bool = True


@dataclass(frozen=True)
class Layout:
    """All blocks of a graph.

    Attributes:
        trees: tree -> its stack, in the order in which trees are opened.
        leaves: blocks of LogUp leaves: `s<i>` and `r<i>` of lookup i, `t<k>` of table k.
        public: values that the verifier evaluates by itself, from the Statement.
        column: value -> (tree, block) of each committed value.
    """

    graph: Graph
    plan: Plan
    visibility: Visibility
    trees: Mapping[str, Stack]
    leaves: Stack
    public: frozenset[int]
    column: Mapping[int, tuple[str, str]]

    @property
    def lookups(self) -> Sequence[Lookup]:
        return self.plan.lookups

    @property
    def bound_outputs(self) -> tuple[int, ...]:
        """Numbers of output ports whose values are shown by claims at a random point."""
        if not self.visibility.outputs:  # they all lie under the root of the ports
            return ()
        return tuple(
            i
            for i, port in enumerate(self.graph.outputs)
            if port.value not in self.public or isinstance(self.graph.nodes[port.value], Input)
        )


class NotProvable(ValueError):
    """The graph means something, but the protocol has no proof of it in this form."""


def lookup_shape(graph: Graph, lookup: Lookup) -> Shape:
    """The tensor over which a lookup runs: that of the argument."""
    node = graph.nodes[lookup.node]
    return graph.shape(node.value) if isinstance(node, ArgMax) else node.shape


def arrange(graph: Graph, visibility: Visibility | None = None) -> Layout:
    """The layout of a graph.

    Raises:
        TableError: its tables are out of bounds.
        NotProvable: an output that has no column of its own and shall be committed.
    """
    visibility = visibility or Visibility()
    inputs = frozenset(port.value for port in graph.inputs)
    committed = frozenset() if visibility.inputs else inputs
    tables = plan(graph, committed=committed)
    public = set() if committed else set(inputs)
    for port in graph.outputs:
        node = graph.nodes[port.value]
        alone = isinstance(node, Step) and not graph.consumers[port.value]
        if isinstance(node, ArgMax) or (alone and visibility.outputs):
            public.add(port.value)
    column: dict[int, tuple[str, str]] = {}
    ports, witness, model = [], [], []
    for number, node in enumerate(graph.nodes):
        if number in public:
            continue
        block = Block(f"y{number}", node.shape)
        if isinstance(node, Input):
            column[number] = (PORTS, block.name)
            ports.append(block)
        elif isinstance(node, Weight):
            column[number] = (MODEL, block.name)
            model.append(block)
        elif isinstance(node, Step) and number in graph.output_values and not visibility.outputs:
            column[number] = (PORTS, block.name)
            ports.append(block)
        elif isinstance(node, Step | Maximum):
            column[number] = (WITNESS, block.name)
            witness.append(block)
    for port in graph.outputs if not visibility.outputs else ():
        if column.get(port.value, ("", ""))[0] != PORTS:
            raise NotProvable(
                f"output {port.name!r} cannot be committed: only the result of a lookup has "
                "a column of its own, and this is a sum, a maximum, an index or a public input; "
                "leave the outputs public"
            )
    shapes = [lookup_shape(graph, lookup) for lookup in tables.lookups]
    for lookup, shape in zip(tables.lookups, shapes, strict=True):
        if lookup.windows >= 0:
            witness.append(Block(f"d{lookup.node}", shape))
    witness += [Block(f"m{i}", (table.rows,)) for i, table in enumerate(tables.tables)]
    if ports:
        ports.append(Block("salt", (SALT_CELLS,)))
    leaves = [Block(f"s{i}", shape) for i, shape in enumerate(shapes)]
    leaves += [
        Block(f"r{i}", shape)
        for i, (lookup, shape) in enumerate(zip(tables.lookups, shapes, strict=True))
        if lookup.windows >= 0
    ]
    leaves += [Block(f"t{i}", (table.rows,)) for i, table in enumerate(tables.tables)]
    stacked = Stack.of(leaves, 1)
    if stacked.log > MAX_LEAVES_LOG:
        raise TableError(
            f"2^{stacked.log} lookups and table rows, expected at most 2^{MAX_LEAVES_LOG}; prove "
            "a smaller batch"
        )
    trees = {WITNESS: Stack.of(witness)}
    if model:
        trees[MODEL] = Stack.of(model)
    if ports:
        trees[PORTS] = Stack.of(ports)
    return Layout(graph, tables, visibility, trees, stacked, frozenset(public), column)
