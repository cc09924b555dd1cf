"""Illegal moves on the way to one operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proofml.optimistic import moves
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.commit import TraceLeaf, read_leaf
from proofml.optimistic.encoding import descriptor
from proofml.optimistic.merkle import leaf_hash, node_hash, tree_of_leaves
from proofml.optimistic.moves import Move
from proofml.optimistic.program import Cells, Fold, Operator, Output, Part, Source
from proofml.optimistic.refusals import Refusal

from .boards import POSITIONS, Board, at
from .claims import Run, false_run, honest
from .illegal import Case, flipped, legal_at, wide_cells
from .players import Claimant
from .tiny import Kit, _Ports, finished, whole


# ---------------------------------------------------------------- descending
def child_flipped() -> Case:
    board = at(POSITIONS["trace hidden"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealTrace)
    wrong = replace(move, children=(flipped(move.children[0]), *move.children[1:]))
    return Case(Refusal.CHILDREN, board, wrong, move)


def children_swapped() -> Case:
    board = wide_cells("cells hidden")
    move = legal_at(board)
    assert isinstance(move, moves.RevealCells)
    return Case(Refusal.CHILDREN, board, replace(move, children=move.children[::-1]), move)


def children_too_deep() -> Case:
    """Right nodes, but further down than k allows."""
    board = at(POSITIONS["trace hidden"])
    deeper = board.run.trace.descendants(board.run.trace.depth, 0, 2)
    return Case(Refusal.CHILDREN, board, moves.RevealTrace(deeper), legal_at(board))


def children_too_few() -> Case:
    board = at(POSITIONS["trace hidden"], k_log=2)
    fewer = board.run.trace.descendants(board.run.trace.depth, 0, 1)
    return Case(Refusal.CHILDREN, board, moves.RevealTrace(fewer), legal_at(board))


def child_beyond_the_last() -> Case:
    """A tree that hides a leaf behind the last one: it hashes, and is none of this many leaves."""
    run = honest("wide")
    leaves = [leaf_hash(leaf) for leaf in run.leaves]
    hidden = bytes(range(32))
    root = node_hash(node_hash(*leaves[:2]), node_hash(leaves[2], hidden))
    board = Board.of(replace(run, root=root), k_log=2)
    return Case(Refusal.CHILDREN, board, moves.RevealTrace((*leaves, hidden)), None)


def select_beyond_the_children() -> Case:
    board = at(POSITIONS["trace shown"])
    return Case(Refusal.NO_CHILD, board, moves.Select(2), moves.Select(1))


def select_absent() -> Case:
    """Three operators: the fourth leaf is absent."""
    board = at(POSITIONS["trace shown"], honest("wide"), k_log=2)
    return Case(Refusal.NO_CHILD, board, moves.Select(3), moves.Select(2))


def select_beyond_the_intervals() -> Case:
    board = at(POSITIONS["sums shown"])
    return Case(Refusal.NO_CHILD, board, moves.Select(2), moves.Select(1))


# ---------------------------------------------------------------- a trace that is deferred
def _deferred(run: Run, *played: Move, **changes: Any) -> Board:
    """A dispute about a claim that has no trace, after these moves."""
    board = Board.of(run, **{"trace": DEFERRED, "k_log": 1, **changes})
    for move in played:
        board.play(move)
    return board


def _top(run: Run, below: int = 1) -> moves.RevealTrace:
    return moves.RevealTrace(run.trace.descendants(run.trace.depth, 0, below))


def deferred_absent_nodes() -> Case:
    """They fold to zero, after which the trace would be as free as before."""
    run = honest("network")
    return Case(Refusal.CHILDREN, _deferred(run), moves.RevealTrace((bytes(32),) * 2), _top(run))


def deferred_of_another_form() -> Case:
    """Three operators: a fourth leaf hides where nobody may descend."""
    run = honest("wide")
    leaves = (*map(leaf_hash, run.leaves), bytes(range(32)))
    legal = _top(run, 2)
    return Case(Refusal.CHILDREN, _deferred(run, k_log=2), moves.RevealTrace(leaves), legal)


def deferred_too_few_children() -> Case:
    run = honest("network")
    return Case(Refusal.CHILDREN, _deferred(run, k_log=2), _top(run), _top(run, 2))


def deferred_another_trace_later() -> Case:
    """The first reveal was of another trace: from then on he is held to that."""
    said, true = false_run("network", "cell", 0), honest("network")
    board = _deferred(said, _top(said), moves.Select(0))
    level = said.trace.depth - 1
    assert said.trace.node(level, 0) != true.trace.node(level, 0)
    later = moves.RevealTrace(true.trace.descendants(level, 0, 1))
    return Case(Refusal.CHILDREN, board, later, legal_at(board))


def deferred_zero_node() -> Case:
    """A present node of zeros is a node like any other: nothing is defined again below it."""
    run = honest("network")
    first = moves.RevealTrace((bytes(32), run.trace.node(run.trace.depth - 1, 1)))
    board = _deferred(run, first, moves.Select(0))
    zeros = moves.RevealTrace((bytes(32),) * 2)
    later = moves.RevealTrace(run.trace.descendants(run.trace.depth - 1, 0, 1))
    return Case(Refusal.CHILDREN, board, later, zeros)


def deferred_zero_leaf() -> Case:
    """Nor by a leaf."""
    run = honest("network")
    first = moves.RevealTrace((bytes(32), *run.trace.descendants(run.trace.depth, 0, 3)[1:]))
    board = _deferred(run, first, moves.Select(0), k_log=3)
    return Case(Refusal.LEAF, board, legal_at(board), None)


def deferred_leaf_of_another_operator() -> Case:
    """One operator: its leaf is the trace, and must be its leaf."""
    run = honest("one")
    board = _deferred(run)
    move = legal_at(board)
    assert isinstance(move, moves.RevealOperator)
    leaf = replace(read_leaf(move.leaf), index=1).to_bytes()
    return Case(Refusal.LEAF, board, replace(move, leaf=leaf), move)


def deferred_output_of_one_operator() -> Case:
    run = replace(honest("one"), outputs=(bytes(range(32)),))
    board = _deferred(run)
    return Case(Refusal.OUTPUT_ROOT, board, legal_at(board), None)


def deferred_wiring_of_another_trace() -> Case:
    """The producer's leaf opens under the trace of this dispute, not under the true one."""
    said, true = false_run("network", "wiring", 0), honest("network")
    number = next(i for i, leaf in enumerate(true.leaves) if said.leaves[i] != leaf)
    board = at(POSITIONS["wiring"], said, operator=number, trace=DEFERRED)
    operands = true.tiny.program.operators[number].operands
    t, producer = next(
        (t, each.index)
        for t, each in enumerate(operands)
        if each.source is Source.OPERATOR
        and read_leaf(said.leaves[number]).inputs[t] != read_leaf(true.leaves[number]).inputs[t]
    )
    wrong, right = (
        moves.ProveWiring(t, run.leaves[producer], run.trace.path(producer)) for run in (true, said)
    )
    return Case(Refusal.WIRING, board, wrong, right)


# ---------------------------------------------------------------- the operator
def leaf_other_bytes() -> Case:
    board = at(POSITIONS["leaf"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealOperator)
    return Case(Refusal.LEAF, board, replace(move, leaf=flipped(move.leaf, 300)), move)


def committed(lie: str, refusal: Refusal) -> Callable[[], Case]:
    """What he committed to is refused, though it hashes."""

    def case() -> Case:
        seed = 0
        run = false_run("network", lie, seed)
        number = next(
            i
            for i, (a, b) in enumerate(zip(run.leaves, honest("network").leaves, strict=True))
            if a != b
        )
        board = at(POSITIONS["leaf"], run, operator=number)
        return Case(refusal, board, Claimant(run).move(board.terms, board.dispute), None)

    case.__name__ = f"committed_{lie}"
    return case


def operand_not_the_input() -> Case:
    return _operand(Source.INPUT, Refusal.INPUT_ROOT)


def operand_not_the_weight() -> Case:
    return _operand(Source.WEIGHT, Refusal.WEIGHT_ROOT)


def _operand(source: Source, refusal: Refusal) -> Case:
    true = honest("network")
    operands = true.tiny.program.operators[0].operands
    t = next(i for i, operand in enumerate(operands) if operand.source is source)

    def change(leaf: TraceLeaf) -> bytes:
        return replace(leaf, inputs=(*leaf.inputs[:t], bytes(32), *leaf.inputs[t + 1 :])).to_bytes()

    run = Run.of(true.tiny, true.given, true.values, leaves={0: change})
    board = at(POSITIONS["leaf"], run, operator=0)
    return Case(refusal, board, legal_at(board), None)


def output_not_the_claims() -> Case:
    run = replace(honest("network"), outputs=(bytes(32), *honest("network").outputs[1:]))
    board = at(POSITIONS["leaf"], run, operator=5)
    return Case(Refusal.OUTPUT_ROOT, board, legal_at(board), None)


def descriptor_of_another() -> Case:
    board = at(POSITIONS["leaf"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealOperator)
    other = replace(move, descriptor=board.run.tiny.bytes_of[1])
    return Case(Refusal.DESCRIPTOR, board, other, move)


def descriptor_and_path_of_another() -> Case:
    board = at(POSITIONS["leaf"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealOperator)
    model = board.run.tiny
    other = replace(move, descriptor=model.bytes_of[1], path=model.descriptors.path(1))
    return Case(Refusal.DESCRIPTOR, board, other, move)


def descriptor_path_too_short() -> Case:
    board = at(POSITIONS["leaf"])
    move = legal_at(board)
    assert isinstance(move, moves.RevealOperator)
    return Case(Refusal.DESCRIPTOR, board, replace(move, path=move.path[:-1]), move)


def _program_of(bytes_of: list[bytes], operators: list[Operator]) -> Run:
    """A run of a program with these descriptors, whatever they say."""
    cells = operators[0].cells
    model = finished("odd", Kit(), operators, _Ports([cells], [(Source.OPERATOR, 0)]))
    tree = tree_of_leaves(bytes_of)
    program = replace(model.program, root=tree.root)
    model = replace(model, program=program, descriptors=tree, bytes_of=bytes_of)
    numbers = [0] * cells.count
    return Run.of(model, [numbers], [numbers for _ in operators])


def descriptor_malformed() -> Case:
    """A program that somebody committed to, and that is none."""
    cells = Cells.of((3,), -8, 7)
    operator = Operator(Fold.SUM, cells, (Part(1, (), whole(cells, Source.INPUT, 0)),), Output())
    run = _program_of([descriptor(operator) + b"\0"], [operator])
    board = at(POSITIONS["leaf"], run)
    return Case(Refusal.DESCRIPTOR, board, legal_at(board), None)


def descriptor_reads_itself() -> Case:
    cells = Cells.of((3,), -8, 7)
    operator = Operator(Fold.SUM, cells, (Part(1, (), whole(cells, Source.OPERATOR, 0)),), Output())
    run = _program_of([descriptor(operator)], [operator])
    board = at(POSITIONS["leaf"], run)
    return Case(Refusal.DESCRIPTOR, board, legal_at(board), None)


# ---------------------------------------------------------------- wiring
def _wiring() -> tuple[Board, moves.ProveWiring]:
    """At operator 3 of the network: its operand 0 is operator 1, its operand 1 is a weight."""
    board = at(POSITIONS["wiring"], operator=3)
    run = board.run
    return board, moves.ProveWiring(0, run.leaves[1], run.trace.path(1))


def wire_beyond_the_operands() -> Case:
    board, move = _wiring()
    return Case(Refusal.NO_WIRE, board, replace(move, operand=2), move)


def wire_of_a_weight() -> Case:
    board, move = _wiring()
    return Case(Refusal.NO_WIRE, board, replace(move, operand=1), move)


def wire_other_leaf() -> Case:
    board, move = _wiring()
    return Case(Refusal.WIRING, board, replace(move, leaf=flipped(move.leaf, 300)), move)


def wire_leaf_of_another_producer() -> Case:
    board, move = _wiring()
    run = board.run
    other = replace(move, leaf=run.leaves[2], path=run.trace.path(2))
    return Case(Refusal.WIRING, board, other, move)


def wire_path_too_long() -> Case:
    board, move = _wiring()
    return Case(Refusal.WIRING, board, replace(move, path=(*move.path, bytes(32))), move)


def wire_to_a_leaf_that_is_none() -> Case:
    true = honest("network")
    run = Run.of(true.tiny, true.given, true.values, leaves={1: lambda _: b"none"})
    board = at(POSITIONS["wiring"], run, operator=3)
    move = moves.ProveWiring(0, b"none", run.trace.path(1))
    return Case(Refusal.WIRING, board, move, moves.DisputeCells())


def wire_to_a_leaf_of_another_number() -> Case:
    true = honest("network")
    other = TraceLeaf(2, (), true.tensors[1].root).to_bytes()
    run = Run.of(true.tiny, true.given, true.values, leaves={1: lambda _: other})
    board = at(POSITIONS["wiring"], run, operator=3)
    move = moves.ProveWiring(0, other, run.trace.path(1))
    return Case(Refusal.WIRING, board, move, moves.DisputeCells())


CASES: list[Callable[[], Case]] = [
    child_flipped,
    children_swapped,
    children_too_deep,
    children_too_few,
    child_beyond_the_last,
    select_beyond_the_children,
    select_absent,
    select_beyond_the_intervals,
    deferred_absent_nodes,
    deferred_of_another_form,
    deferred_too_few_children,
    deferred_another_trace_later,
    deferred_zero_node,
    deferred_zero_leaf,
    deferred_leaf_of_another_operator,
    deferred_output_of_one_operator,
    deferred_wiring_of_another_trace,
    leaf_other_bytes,
    committed("leaf_garbage", Refusal.LEAF),
    committed("leaf_index", Refusal.LEAF),
    committed("leaf_length", Refusal.OPERANDS),
    operand_not_the_input,
    operand_not_the_weight,
    output_not_the_claims,
    descriptor_of_another,
    descriptor_and_path_of_another,
    descriptor_path_too_short,
    descriptor_malformed,
    descriptor_reads_itself,
    wire_beyond_the_operands,
    wire_of_a_weight,
    wire_other_leaf,
    wire_leaf_of_another_producer,
    wire_path_too_long,
    wire_to_a_leaf_that_is_none,
    wire_to_a_leaf_of_another_number,
]
