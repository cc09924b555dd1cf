"""What attackers do to a watcher: claims and files that shall blind it, drain it, or stop it."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proofml.errors import BackendFailed, VerificationError
from proofml.optimistic import watch as watching
from proofml.optimistic.agent import Agent
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.daemon import run
from proofml.optimistic.refusals import IllegalMove, Refusal

from . import liars
from .arena import MONEY, Arena, LyingResponder, events, logged
from .liars import TERMS, Lie


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    made = Arena(tmp_path)
    yield made
    made.audit()
    made.close()


def hidden_lies(arena: Arena, count: int) -> dict[int, Lie]:
    """False claims whose proofs only the liar has."""
    lies = {}
    for i in range(count):
        lie = liars.lie_about_activation(arena.machine, arena.inputs(i), random.Random(i))
        lies[arena.post("claimant", lie.trace, i)] = lie
    shutil.move(arena.folder / "proofs", arena.folder / "own")
    (arena.folder / "proofs").mkdir()
    return lies


def test_more_false_claims_than_traces_are_kept(arena: Arena) -> None:
    """Inputs that came from the ledger are kept until the last move: nobody answers again."""
    lies = hidden_lies(arena, 10)
    own = arena.library()
    own.places = [arena.folder / "own"]
    liar = arena.agent(LyingResponder, "claimant", lies=lies, library=own)
    watcher = arena.watcher()
    arena.play(watcher, liar, until=lambda: events(watcher).count("challenge") == len(lies))
    arena.time += TERMS["window"] - 2 * TERMS["answer"]  # too late to ask again
    requests = events(watcher).count("request")
    arena.play(watcher, liar)
    arena.time += TERMS["clock"] + TERMS["extension"]
    arena.play(watcher, liar)
    ledger = arena.ledger("watcher")
    assert events(watcher).count("request") == requests
    assert {ledger.claim(number).status for number in lies} == {ClaimStatus.DEFEATED}


def test_stakes_and_clocks_that_shall_drain_a_watcher(arena: Arena) -> None:
    """Whoever cannot answer in time, or stakes all that he has, loses more than the claim costs."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace, challenge_bond=MONEY)
    arena.post("claimant", lie.trace, clock=10, extension=10)
    arena.post("claimant", lie.trace, bond=1)
    number = arena.post("claimant", lie.trace)
    watcher = arena.watcher(most_bond=TERMS["challenge_bond"], least_clock=60, least_bond=2)
    arena.play(watcher)
    said = {(line["event"], line["claim"]) for line in logged(watcher) if line["level"] != "info"}
    assert said == {
        ("too much to stake", 1),
        ("too little time for moves", 2),
        ("too little at stake", 3),
    }
    assert arena.ledger("watcher").dispute(1).claim == number
    with pytest.raises(IllegalMove):
        arena.ledger("watcher").dispute(2)


def test_a_flood_of_claims_does_not_take_the_time_for_moves(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that judges for long ends, so that the next one begins with the moves."""
    monkeypatch.setattr(watching, "_JUDGING", 1e-9)
    for i in range(6):
        arena.post("claimant", arena.machine.run(arena.inputs(i)), i)
    watcher = arena.watcher()
    for judged in range(1, 7):
        assert watcher.step() == (judged < 6)
        assert events(watcher).count("judged") == judged


def test_unknown_programs_are_looked_up_once(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look-up can be a compilation."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)
    watcher = arena.watcher(library=arena.library(most_cells=100))
    asked = []
    machine = watcher.library.machine
    monkeypatch.setattr(
        watcher.library, "machine", lambda header: asked.append(header) or machine(header)
    )
    for _ in range(5):
        watcher.step()
        arena.time += 1
    assert len(asked) == 1


def test_what_is_asked_already_is_not_too_late(arena: Arena) -> None:
    hidden_lies(arena, 1)
    watcher = arena.watcher()
    arena.play(watcher)
    assert events(watcher) == ["request"]
    arena.time += TERMS["window"] - 2 * TERMS["answer"]
    watcher.step()
    assert "too late to ask for inputs" not in events(watcher)


# ---------------------------------------------------------------- files of proofs
def cut(path: Path) -> None:
    path.unlink()


def other_inputs(path: Path) -> None:
    path.write_bytes(b"no proof any more")


@pytest.mark.parametrize("damage", [cut, other_inputs])
def test_a_proof_that_goes_away(arena: Arena, damage: Callable[[Path], None]) -> None:
    """The watcher asks on the ledger then, as if it had never been there."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)
    watcher = arena.watcher()
    watcher.library.scan()
    damage(arena.folder / "proofs" / "1.pml")
    arena.play(watcher)
    assert "request" in events(watcher)
    assert "put off" not in events(watcher)


def test_a_proof_that_hides_another(arena: Arena) -> None:
    """A later file about the same Statement does not take away what an earlier one gave."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)
    folder = arena.folder / "proofs"
    shutil.copy(folder / "1.pml", folder / "2.pml")
    watcher = arena.watcher(ask=False)
    watcher.library.scan()
    (folder / "2.pml").write_bytes(b"")
    arena.play(watcher)
    assert "challenge" in events(watcher)


def test_a_folder_that_cannot_be_read(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)

    def unreadable(self: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", unreadable)
    watcher = arena.watcher()
    arena.play(watcher)
    assert "proof unreadable" in events(watcher)
    assert "request" in events(watcher)


def test_a_place_that_is_not_there_is_said_once(arena: Arena) -> None:
    arena.ledger("watcher")
    library = arena.library()
    library.places = [arena.folder / "gone"]
    assert len(library.scan()) == 1
    assert library.scan() == []


# ---------------------------------------------------------------- the loop
class Ended(threading.Event):
    """Is set after so many pauses, none of which takes time."""

    def __init__(self, pauses: int) -> None:
        super().__init__()
        self.left = pauses
        self.longest = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        self.longest = max(self.longest, timeout or 0.0)
        self.left -= 1
        if not self.left:
            self.set()
        return self.is_set()


def failing(arena: Arena, error: Exception, monkeypatch: pytest.MonkeyPatch) -> Agent:
    watcher = arena.watcher()

    def step() -> bool:
        raise error

    monkeypatch.setattr(watcher, "step", step)
    return watcher


@pytest.mark.parametrize(
    "error",
    [IllegalMove(Refusal.FUNDS, "withdraw: no gas"), BackendFailed("the node is away")],
    ids=lambda error: type(error).__name__,
)
def test_the_loop_goes_on(arena: Arena, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """More often than a float has powers of two, and without pauses longer than a move may take."""
    stop = Ended(1100)
    run(failing(arena, error, monkeypatch), poll=1, once=False, stop=stop)
    assert stop.is_set()
    assert stop.longest <= 10
    with pytest.raises(type(error)):
        run(failing(arena, error, monkeypatch), poll=1, once=True, stop=Ended(5))


def test_the_loop_ends_where_the_record_is_broken(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = VerificationError("optimistic.ledger", "ledger: event 1")
    with pytest.raises(VerificationError):
        run(failing(arena, error, monkeypatch), poll=1, once=False, stop=Ended(5))


def test_a_withdrawal_that_is_refused(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without money for gas still makes its moves."""
    lie = liars.lie_about_output(arena.machine, arena.inputs(), random.Random(0))
    arena.post("claimant", lie.trace)
    watcher = arena.watcher(withdraw=True)

    def withdraw(sender: str) -> int:
        raise IllegalMove(Refusal.FUNDS, "withdraw: no gas")

    monkeypatch.setattr(watcher.ledger, "withdraw", withdraw)
    run(watcher, poll=1, once=False, stop=Ended(3))
    assert {"challenge", "step failed"} <= set(events(watcher))
