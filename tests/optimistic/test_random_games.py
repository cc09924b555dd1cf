"""Random games: honest people never lose, money is neither made nor lost, everything ends in time.

Honest and false claims of every kind of lie, honest and malicious challengers in any number, at any
time, with any delays, illegal moves in between; on the pure book, and on the embedded ledger whose
machine stops and whose processes are killed.

`PROOFML_GAMES` is how many disputes the slow test plays.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from proofml.optimistic import actions
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.clock import Side
from proofml.optimistic.game import Status
from proofml.optimistic.moves import Move
from proofml.optimistic.refusals import IllegalMove, Refusal

from .boards import POSITIONS
from .claims import LIES, false_output, false_run, honest
from .players import Challenger, Claimant, Griefer, Liar, Shifty
from .test_rules import CASES, board_at, legal_at
from .tiny import ZOO
from .worlds import Claim, Dispute, OnFile, Pure, Store, World

GAMES = int(os.environ.get("PROOFML_GAMES", "10000"))
STYLES = ("early", "middle", "late", "random")
SEEDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(sorted(ZOO))
TERMS = st.fixed_dictionaries(
    {
        "k_log": st.integers(1, 6),
        "clock": st.integers(30, 200),
        "extension": st.integers(1, 30),
        "window": st.sampled_from((0, 1, 50, 400)),
        "answer": st.integers(1, 30),
        "burn": st.sampled_from((0, 1, 3333, 10_000)),
        "bond": st.integers(1, 3000),
        "challenge_bond": st.integers(1, 3000),
    }
)


def _moves() -> list[Move]:
    """Moves of every kind, right somewhere and wrong elsewhere."""
    pool = [legal_at(board_at(name)) for name in POSITIONS]
    return pool + [make().illegal for make in CASES]


class Games(RuleBasedStateMachine):
    """`played` counts the disputes by how they ended, over all machines of one test."""

    played: ClassVar[Counter[str]] = Counter()
    pool: ClassVar[list[Move]] = []

    def store(self) -> Store:
        return Pure()

    @initialize(seed=SEEDS)
    def begin(self, seed: int) -> None:
        self.world = World(self.store(), random.Random(seed))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()
            for dispute in self.world.disputes:
                self.played[self.world.state(dispute).status.name] += 1
            self.world.store.close()

    # ------------------------------------------------------------ claims
    @precondition(lambda self: not self.world.crowded)
    @rule(name=NAMES, deferred=st.booleans(), terms=TERMS)
    def honest_claim(self, name: str, deferred: bool, terms: dict[str, Any]) -> None:
        run = honest(name)
        player = Claimant(run)
        self.world.post(run, player, honest=True, answers=True, deferred=deferred, **terms)

    @precondition(lambda self: not self.world.crowded)
    @rule(
        name=NAMES,
        lie=st.sampled_from(sorted(LIES)),
        seed=SEEDS,
        style=st.sampled_from(STYLES),
        answers=st.sampled_from((True, True, True, False)),
        deferred=st.booleans(),
        terms=TERMS,
    )
    def false_claim(
        self,
        name: str,
        lie: str,
        seed: int,
        style: str,
        answers: bool,
        deferred: bool,
        terms: dict[str, Any],
    ) -> None:
        """A lie with its trace; without one a false output, and a trace for each dispute."""
        truth = honest(name) if seed % 2 else None
        run = (false_output if deferred else false_run)(name, lie, seed % 8)
        player: Claimant = Liar(run, random.Random(seed), style, truth)
        if deferred:
            other = Liar(
                false_run(name, "cell_alone", seed % 8), random.Random(seed + 1), style, truth
            )
            player = Shifty(run, [player, Liar(honest(name), random.Random(seed), style), other])
        self.world.post(run, player, honest=False, answers=answers, deferred=deferred, **terms)

    # ------------------------------------------------------------ challenges
    def _open(self) -> list[Claim]:
        book = self.world.store.book
        return [
            claim
            for claim in self.world.claims
            if book.claims[claim.number].status is ClaimStatus.OPEN
            and self.world.now < book.claims[claim.number].closes
        ]

    @precondition(lambda self: not self.world.crowded and self._open())
    @rule(data=st.data())
    def honest_challenge(self, data: st.DataObject) -> None:
        """By somebody who has executed the program, so only where the claim is false."""
        claims = [
            claim
            for claim in self._open()
            if not claim.honest
            and sum(dispute.parts[Side.CHALLENGER].honest for dispute in claim.disputes) < 2
        ]
        if claims:
            claim = data.draw(st.sampled_from(claims))
            self.world.challenge(claim, Challenger(honest(claim.run.tiny.name)), honest=True)

    @precondition(lambda self: not self.world.crowded and self._open())
    @rule(data=st.data(), seed=SEEDS)
    def malicious_challenge(self, data: st.DataObject, seed: int) -> None:
        claims = [claim for claim in self._open() if len(claim.disputes) < 4]
        if not claims:
            return
        claim = data.draw(st.sampled_from(claims))
        self.world.challenge(claim, Griefer(claim.run, random.Random(seed)), honest=False)

    @precondition(lambda self: not self.world.crowded and self._open())
    @rule(data=st.data())
    def request(self, data: st.DataObject) -> None:
        claim = data.draw(st.sampled_from(self._open()))
        state = self.world.store.book.claims[claim.number]
        if self.world.now + 2 * state.terms.answer < state.closes:
            ports = state.header.inputs
            number = data.draw(st.integers(0, len(ports) - 1))
            chunk = data.draw(st.integers(0, ports[number].cells.chunks - 1))
            self.world.ask(claim, number, chunk)

    # ------------------------------------------------------------ moves
    def _malicious(self) -> list[Dispute]:
        """Disputes in which somebody who is not honest owes the move."""
        return [
            dispute
            for dispute in self.world.disputes
            if self.world.running(dispute)
            and not dispute.parts[self.world.state(dispute).clock.turn].honest
        ]

    @precondition(lambda self: self._malicious())
    @rule(data=st.data(), hurry=st.booleans())
    def malicious_move(self, data: st.DataObject, hurry: bool) -> None:
        """In the rules, if he can; perhaps in his last second."""
        dispute = data.draw(st.sampled_from(self._malicious()))
        if not hurry:
            self.world.wait(self.world.state(dispute).clock.deadline - self.world.now)
        if self.world.running(dispute) and dispute in self._malicious():
            self.world.play(dispute)

    @precondition(lambda self: any(map(self.world.running, self.world.disputes)))
    @rule(data=st.data(), count=st.integers(1, 5))
    def illegal_moves(self, data: st.DataObject, count: int) -> None:
        """Moves that fit another dispute, by whoever is not honest in this one, in turn or not."""
        running = [d for d in self.world.disputes if self.world.running(d)]
        dispute = data.draw(st.sampled_from(running))
        state = self.world.state(dispute)
        for _ in range(count):
            side = data.draw(st.sampled_from(Side))
            if dispute.parts[side].honest:
                continue
            move = self.pool[data.draw(st.integers(0, len(self.pool) - 1))]
            before = self.world.state(dispute)
            try:
                self.world.act(actions.Play(dispute.number, move), state.account(side))
            except IllegalMove:
                assert self.world.state(dispute) == before
            else:
                self.world._schedule(dispute)
                return

    @rule(seconds=st.one_of(st.integers(0, 5), st.integers(5, 120)))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)


class GamesOnFile(Games):
    played: ClassVar[Counter[str]] = Counter()

    def store(self) -> Store:
        return OnFile()

    @rule(seed=SEEDS)
    def crash(self, seed: int) -> None:
        self.world.store.crash(random.Random(seed))


def play(machine: type[Games], examples: int, steps: int) -> Counter[str]:
    machine.played.clear()
    machine.pool = machine.pool or _moves()
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return machine.played


def won(played: Counter[str]) -> int:
    """Games that were played to their end."""
    return played["WON_BY_CLAIMANT"] + played["WON_BY_CHALLENGER"]


def test_random_games() -> None:
    played = play(Games, 160, 30)
    assert won(played) > 200
    assert min(played[name] for name in Status.__members__ if name != "RUNNING") > 10


def test_random_games_on_a_file_with_crashes() -> None:
    assert won(play(GamesOnFile, 30, 25)) > 20


@pytest.mark.slow
def test_very_many_random_games() -> None:
    played = play(Games, GAMES // 2, 40)
    assert won(played) >= GAMES
    assert min(played.values()) > GAMES // 10


@pytest.mark.slow
def test_many_random_games_on_a_file_with_crashes() -> None:
    assert won(play(GamesOnFile, GAMES // 20, 40)) >= GAMES // 40


def test_the_refusals_of_illegal_moves_are_of_all_kinds() -> None:
    """The pool from which illegal moves are drawn breaks every rule of a move."""
    refusals = set()
    pool = _moves()
    for name in POSITIONS:
        board = board_at(name)
        for move in pool:
            try:
                board.after(move)
            except IllegalMove as error:
                refusals.add(error.refusal)
    assert {Refusal.WRONG_PHASE, Refusal.CHILDREN, Refusal.LEAF, Refusal.CHUNK} <= refusals
    assert {Refusal.NO_CHILD, Refusal.STATES, Refusal.OPENING, Refusal.NO_CELL} <= refusals
