"""Disputes about random graphs on the contract and in Python, with changed moves in between.

What `lower` makes of any graph, disputed by honest players, liars and griefers. Before each move
its bytes are changed here and there: the contract takes what the rules in Python take, and refuses
the rest by the same rule.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.circuits.graph import Ints
from proofml.optimistic import actions, clerk, moves
from proofml.optimistic.challenger import Challenger
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.clock import Side
from proofml.optimistic.contexts import context_of
from proofml.optimistic.game import Status
from proofml.optimistic.moves import Move
from proofml.optimistic.players import Player, View
from proofml.optimistic.refusals import IllegalMove
from proofml.optimistic.trace import Machine, Trace
from proofml.optimistic.wire import WireError

from ..circuits.oracle import random_graph
from . import anvil, liars
from .evm_worlds import OnChain
from .liars import Griefer, Liar, Lie, header_bytes, terms_of
from .worlds import NAMES

CLAIMANT, CHALLENGER = NAMES[1:3]
#: Changed moves that are tried before each move.
CHANGES = 4


class Table:
    """One dispute on both ledgers, and what was refused on the way."""

    def __init__(self, node: anvil.Anvil, rng: random.Random, refused: Counter[str]) -> None:
        self.store = OnChain(node)
        self.rng = rng
        self.refused = refused
        self._now = 1_000_000

    def act(self, action: actions.Action, sender: str) -> int:
        return self.store.act(action, sender, self._now)

    def play(self, lie: Lie, claimant: Player, challenger: Player, k_log: int) -> Status:
        """The dispute to its end; a side without a legal move lets its time run out."""
        terms = terms_of(lie.trace, k_log=k_log, **lie.terms)
        if self.rng.random() < 0.5:
            terms = replace(terms, trace=DEFERRED)
        for name in (CLAIMANT, CHALLENGER):
            self.act(actions.Deposit(10_000), name)
        claim = self.act(actions.Post(terms, header_bytes(lie.trace.machine)), CLAIMANT)
        number = self.act(actions.Challenge(claim), CHALLENGER)
        made: tuple[Move, ...] = ()
        while (state := self.store.book.dispute(number)).status is Status.RUNNING:
            view = View(self.store.book.claim(claim), state, made)
            side = state.clock.turn
            move = (claimant if side is Side.CLAIMANT else challenger).next_move(view)
            assert move is not None
            sender = state.account(side)
            self.change(view, number, move, sender)
            try:
                self.act(actions.Play(number, move), sender)
            except IllegalMove as error:
                self.refused[error.refusal.name] += 1
                self._now = state.clock.deadline + 1
                self.act(actions.TimeOut(number), NAMES[3])
                continue
            made += (move,)
            self._now += self.rng.choice((0, 0, 1, 7))
        self.store.close()
        return state.status

    def change(self, view: View, dispute: int, move: Move, sender: str) -> None:
        """Try changed bytes of the move on both; what would be legal is left alone."""
        data = moves.to_bytes(move)
        content = view.claim.terms.to_bytes() + view.claim.header.to_bytes()
        context = context_of(view.dispute.position, move, content)
        for _ in range(CHANGES):
            other = self._other(data)
            try:
                changed = actions.Play(dispute, moves.read_move(other))
            except WireError:
                assert self.store.refuses_bytes(dispute, other, context, sender)
                self.refused["malformed"] += 1
                continue
            try:
                clerk.apply(self.store.book, changed, sender, self._now)
            except IllegalMove as error:
                self.refused[error.refusal.name] += 1
                with pytest.raises(IllegalMove):
                    self.act(changed, sender)
        if context:
            at = self.rng.randrange(len(context))
            wrong = context[:at] + bytes([context[at] ^ 1]) + context[at + 1 :]
            assert self.store.refuses_bytes(dispute, data, wrong, sender)

    def _other(self, data: bytes) -> bytes:
        rng = self.rng
        if rng.random() < 0.2:
            return data[:-1] if rng.random() < 0.5 else data + b"\0"
        # Near the front lie kinds, counts and lengths.
        at = rng.randrange(min(len(data), rng.choice((2, 8, 40, len(data)))))
        return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


@pytest.fixture(scope="module")
def node() -> Iterator[anvil.Anvil]:
    with anvil.running("--auto-impersonate", "--order", "fifo") as found:
        found.rpc("anvil_setBlockTimestampInterval", 0)
        yield found


def play(node: anvil.Anvil, seed: int, k_log: int, refused: Counter[str]) -> Status:
    """A random graph, and a claim about it that is honest or not."""
    rng = random.Random(seed)
    b = random_graph(seed)
    count = len(b.nodes)
    graph = b.graph(*sorted({count - 1, *(rng.randrange(count) for _ in range(2))}))
    machine = Machine.of(graph, b.weights)
    feed = b.feed()
    inputs = [feed[port.value] for port in graph.inputs]
    honest = machine.run(inputs)
    table = Table(node, rng, refused)
    lie = _lie(rng, machine, inputs, honest)
    if lie is None:
        found = table.play(Lie(honest, None), Claimant(honest), Griefer(honest, rng), k_log)
        assert found is Status.WON_BY_CLAIMANT
    else:
        style = rng.choice(("early", "late", "middle", "random"))
        found = table.play(lie, Liar(lie.trace, rng, style), Challenger(honest), k_log)
        assert found is Status.WON_BY_CHALLENGER
    return found


def _lie(rng: random.Random, machine: Machine, inputs: Sequence[Ints], honest: Trace) -> Lie | None:
    """A changed activation; None for an honest claim, as where no cell can be another one."""
    free = [i for i, o in enumerate(machine.program.operators) if o.cells.low < o.cells.high]
    if not free or rng.random() < 0.3:
        return None
    operator = rng.choice(free)
    cells = machine.program.operators[operator].cells
    wrong = liars.changed(honest.tensor(operator), rng, cells.low, cells.high)
    return Lie(machine.run(inputs, given={operator: wrong}), operator)


def check(node: anvil.Anvil, count: int) -> Counter[str]:
    refused: Counter[str] = Counter()

    @settings(max_examples=count, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 6))
    def games(seed: int, k_log: int) -> None:
        play(node, seed, k_log, refused)

    games()
    return refused


def test_random_graphs_on_a_chain(node: anvil.Anvil) -> None:
    refused = check(node, 25)
    assert {"malformed", "CHILDREN", "NO_CHILD", "LEAF", "DESCRIPTOR", "CHUNK"} <= set(refused)
    assert {"NO_CELL", "STATES", "RULE", "OPENING"} <= set(refused)


@pytest.mark.slow
def test_many_random_graphs_on_a_chain(node: anvil.Anvil) -> None:
    assert check(node, 400).total() > 1000
