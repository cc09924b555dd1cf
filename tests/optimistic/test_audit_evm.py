"""The longest operators of programs, disputed on a chain: every move fits into a transaction.

A transaction has at most 2^24 gas (EIP-7825), and a node's pool takes 128 KiB of one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from proofml.circuits.graph import Affine, Bind, Contraction, Term, View
from proofml.optimistic import moves
from proofml.optimistic.evm_send import Spending
from proofml.optimistic.game import Status
from proofml.optimistic.lower import MOST_DESCRIPTOR, MOST_PARTS
from proofml.optimistic.moves import Move
from proofml.optimistic.phases.positions import AtChunk, AtSums, AtTrace, AtWiring
from proofml.optimistic.players import View as Seen
from proofml.optimistic.trace import Machine

from ..circuits.oracle import Builder
from . import anvil
from .liars import Griefer, Lie
from .test_evm_graphs import Claimant, Table

#: Bytes of a transaction that geth's pool takes.
_POOL = 128 << 10


@pytest.fixture(scope="module")
def node() -> Iterator[anvil.Anvil]:
    with anvil.running("--auto-impersonate", "--order", "fifo") as found:
        found.rpc("anvil_setBlockTimestampInterval", 0)
        yield found


def long(rank: int, parts: int, *, products: bool = False) -> Machine:
    """An operator of so many parts, after one that makes what all of them read."""
    b = Builder(np.random.default_rng(0))
    shape = (2,) * rank
    x = b.input(shape, 0, 9)
    y = b.add(Affine(shape, (Term(1, x, View.identity(shape)),)))
    if products:
        weight = b.weight(shape, 0, 1)
        binds = tuple(Bind(sum=i) for i in range(rank))
        b.add(Affine((), (), (Contraction(y, weight, shape, binds, binds),) * parts))
    else:
        b.add(Affine(shape, (Term(1, y, View.identity(shape)),) * parts))
    return Machine.of(b.graph(), b.weights)


class Last(Griefer):
    """Goes to the last summand of the second operator, or to its last wire."""

    wire = False

    def next_move(self, view: Seen) -> Move | None:
        move = super().next_move(view)
        match view.dispute.position:
            case _ if move is None:
                return None
            case AtTrace():
                return moves.Select(1)
            case AtWiring(site) if self.wire:
                number = max(i for i, o in enumerate(site.operator.operands) if not o.root)
                leaf = self.trace.leaves[0].to_bytes()
                return moves.ProveWiring(number, leaf, self.trace.tree.path(0))
            case AtWiring():
                return moves.DisputeCells()
            case AtChunk():
                return moves.SelectCell(0)
            case AtSums() as at:
                return moves.Select(len(at.cuts) - 1)
        return move


@pytest.mark.parametrize("wire", [False, True])
@pytest.mark.parametrize(
    ("rank", "parts", "products"),
    [(1, MOST_PARTS, False), (2, 481, False), (8, 158, False), (1, 272, True), (8, 69, True)],
)
def test_the_longest_operators(
    node: anvil.Anvil,
    monkeypatch: pytest.MonkeyPatch,
    rank: int,
    parts: int,
    products: bool,
    wire: bool,
) -> None:
    machine = long(rank, parts, products=products)
    whole = len(machine.tables.descriptors[1]) / MOST_DESCRIPTOR
    assert parts == MOST_PARTS or 0.97 < whole <= 1
    shape = machine.program.inputs[0].cells.shape
    trace = machine.run([np.full(shape, 3)])
    send, spent, longest = node.send, list[int](), list[int]()

    def counted(*arguments: Any, **named: Any) -> dict[str, Any]:
        receipt = send(*arguments, **named)
        spent.append(int(receipt["gasUsed"], 16))
        longest.append(len(arguments[2]))
        return receipt

    table = Table(node, random.Random(0), Counter())
    monkeypatch.setattr(table, "change", lambda *_: None)
    monkeypatch.setattr(node, "send", counted)
    griefer = Last(trace, random.Random(0))
    griefer.wire = wire
    assert table.play(Lie(trace, None), Claimant(trace), griefer, 4) is Status.WON_BY_CLAIMANT
    # With the margin that a sender adds to what it estimates.
    assert max(spent) * 5 // 4 + 10_000 <= Spending().most_gas
    assert max(longest) < _POOL
