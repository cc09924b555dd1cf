"""The computed bounds against the longest games that can be played."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.optimistic import game
from proofml.optimistic.game import Status
from proofml.optimistic.phases import descent, sums
from proofml.optimistic.phases.positions import AtSums

from .boards import START, Board, Guide
from .claims import honest
from .players import Claimant
from .tiny import ZOO, tiny


class Slow(Guide):
    """Goes to an operator, and always to the longest interval."""

    def interval(self, at: AtSums) -> int:
        ends = [at.first, *(cut for cut, _ in at.cuts)]
        lengths = [end - start for start, end in itertools.pairwise(ends)]
        return lengths.index(max(lengths))


def played(name: str, operator: int, k_log: int, *, waiting: bool = False) -> Board:
    """A dispute in which every move is made; in the last second each, with `waiting`."""
    run = honest(name)
    board = Board.of(run, k_log=k_log)
    slow = Slow(run, operator, 0, 0)
    while board.running:
        if waiting:
            board.now = board.dispute.clock.deadline
        board.play(board.owed(Claimant(run), slow))
    assert board.dispute.status is Status.WON_BY_CLAIMANT
    return board


@pytest.mark.parametrize("k_log", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("name", ZOO)
def test_the_longest_game_has_exactly_so_many_moves(name: str, k_log: int) -> None:
    program = tiny(name).program
    longest = max(
        played(name, number, k_log).dispute.moves for number in range(len(program.operators))
    )
    assert longest == game.most_moves(program, k_log)


@pytest.mark.parametrize("k_log", [1, 3])
@pytest.mark.parametrize("name", ZOO)
def test_seconds_of_the_longest_game(name: str, k_log: int) -> None:
    """Both sides use their clocks to the last second, then the extension of every turn."""
    program, terms = tiny(name).program, honest(name).terms(k_log=k_log)
    most = game.most_moves(program, k_log)
    lasting = 0
    for number in range(len(program.operators)):
        board = played(name, number, k_log, waiting=True)
        turns = board.dispute.moves
        assert board.now - START == 2 * terms.clock + (turns - 2) * terms.extension
        lasting = max(lasting, board.now - START)
    # The bound grants an extension for the first turns too, and the second that makes one late.
    assert lasting == game.longest(terms, program) - 2 * terms.extension - 1
    assert game.longest(terms, program) == 2 * terms.clock + most * terms.extension + 1
    assert game.finality(terms, program) == terms.window + game.longest(terms, program)


@pytest.mark.parametrize("stop", range(12))
def test_seconds_of_a_game_that_ends_by_the_clock(stop: int) -> None:
    """Whoever stops after some moves, each made in its last second, ends within the bound."""
    run = honest("deep")
    board = Board.of(run, k_log=1)
    slow = Slow(run, 9, 0, 0)
    for _ in range(stop):
        board.now = board.dispute.clock.deadline
        board.play(board.owed(Claimant(run), slow))
    ended = board.dispute.clock.deadline + 1
    assert game.time_out(board.dispute, ended).status is not Status.RUNNING
    assert ended - START <= game.longest(board.terms, run.tiny.program)


@given(st.integers(0, 1000), st.integers(1, 5000), st.integers(1, 6))
def test_cuts(first: int, length: int, k_log: int) -> None:
    cuts = (first, *sums.inner_cuts(first, first + length, 1 << k_log), first + length)
    parts = [end - start for start, end in itertools.pairwise(cuts)]
    assert len(parts) == min(length, 1 << k_log)
    assert min(parts) >= 1
    assert max(parts) == -(-length // (1 << k_log))


@pytest.mark.parametrize("k_log", [1, 2, 3, 4, 5, 6])
def test_rounds_are_logarithms(k_log: int) -> None:
    k = 1 << k_log
    for count in (*range(1, 300), 4095, 4096, 4097, 10**6):
        exact = next(r for r in range(40) if k**r >= count)
        assert descent.rounds(count, k_log) == exact
        assert sums.rounds(count, k) == max(exact, 1)
        assert count == 1 or exact in (math.ceil(math.log(count, k) - 1e-9),)
