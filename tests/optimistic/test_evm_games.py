"""Random games on the contract and on the book in Python: the same moves, refusals and payments.

`PROOFML_EVM_GAMES` is how many worlds the slow test plays.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from proofml.optimistic import actions, clerk
from proofml.optimistic.actions import Action
from proofml.optimistic.moves import Opening
from proofml.optimistic.refusals import IllegalMove

from . import anvil
from .evm_worlds import OnChain
from .test_random_games import Games, play, won
from .worlds import NAMES, Store

GAMES = int(os.environ.get("PROOFML_EVM_GAMES", "400"))
SEEDS = st.integers(0, 2**32 - 1)


class GamesOnChain(Games):
    played: ClassVar[Counter[str]] = Counter()
    refused: ClassVar[Counter[str]] = Counter()
    node: ClassVar[anvil.Anvil]

    def store(self) -> Store:
        return OnChain(self.node)

    @rule(seed=SEEDS)
    def crash(self, seed: int) -> None:
        self.world.store.crash(random.Random(seed))

    @precondition(lambda self: self.world.claims)
    @rule(seed=SEEDS)
    def illegal_actions(self, seed: int) -> None:
        """Whatever anybody may try beside moves: too early, too late, twice, of nobody's."""
        rng = random.Random(seed)
        for action in self._actions(rng):
            sender = rng.choice(NAMES)
            try:
                clerk.apply(self.world.store.book, action, sender, self.world.now)
            except IllegalMove as error:
                self.refused[f"{type(action).__name__} {error.refusal.name}"] += 1
                with pytest.raises(IllegalMove):
                    self.world.act(action, sender)

    def _actions(self, rng: random.Random) -> Iterator[Action]:
        book = self.world.store.book
        claim = rng.randint(1, len(book.claims) + 1)
        dispute = rng.randint(1, len(book.disputes) + 1)
        request = rng.randint(1, len(book.requests) + 1)
        run = rng.choice(self.world.claims).run
        number = rng.randrange(len(run.inputs) + 1)
        tensor = run.inputs[number % len(run.inputs)]
        leaf = rng.randrange(tensor.tree.count if hasattr(tensor.tree, "count") else 1)
        opening = Opening(leaf, tensor.chunk(leaf), tensor.tree.path(leaf))
        cell = rng.choice([0, tensor.cells.count - 1, tensor.cells.count, rng.randrange(1 << 32)])
        yield actions.Challenge(claim)
        yield actions.Finalise(claim)
        yield actions.TimeOut(dispute)
        yield actions.Release(dispute)
        yield actions.Ask(claim, number, rng.choice([0, 1, 1 << 20]))
        yield actions.Answer(request, opening.leaf, opening.path)
        yield actions.Answer(request, opening.leaf[:-1], opening.path)
        yield actions.Default(request)
        yield actions.ReleaseRequest(request)
        yield actions.InputRange(claim, number, cell, opening)
        broken = Opening(leaf, opening.leaf, (*opening.path, bytes(32)))
        yield actions.InputRange(claim, number, cell, broken)


@pytest.fixture(scope="module")
def node() -> Iterator[anvil.Anvil]:
    with anvil.running("--auto-impersonate", "--order", "fifo") as found:
        found.rpc("anvil_setBlockTimestampInterval", 0)
        yield found


def test_random_games_on_a_chain(node: anvil.Anvil) -> None:
    GamesOnChain.node = node
    played = play(GamesOnChain, 40, 25)
    assert won(played) >= 8


@pytest.mark.slow
def test_many_random_games_on_a_chain(node: anvil.Anvil) -> None:
    GamesOnChain.node = node
    assert won(play(GamesOnChain, GAMES, 40)) > GAMES
