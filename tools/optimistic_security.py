"""Figures of docs/optimistic/security.md: how long disputes last, and what attacks cost.

    python tools/optimistic_security.py          write the page's two tables anew
    python tools/optimistic_security.py --check  only tell whether they are current

Times are `game.most_moves`, `longest` and `finality` of programs; money is what the ledger's own
rules book, action by action, for terms with the prover's defaults.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from proofml.benchmarks.models import BUILDERS
from proofml.benchmarks.tables import replace_table
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.circuits.source import Source as ModelSource
from proofml.model import Model
from proofml.optimistic import actions, clerk, encoding, game, merkle
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book
from proofml.optimistic.cells import encode
from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.clock import longest
from proofml.optimistic.commit import TraceLeaf, commit_bytes, header_of, program_root
from proofml.optimistic.lower import lower
from proofml.optimistic.moves import RevealOperator
from proofml.optimistic.options import Stakes
from proofml.optimistic.program import (
    CHUNK,
    Axis,
    Cells,
    Fold,
    Operand,
    Operator,
    Output,
    Part,
    Port,
    Program,
    Source,
)
from proofml.store import Store

PAGE = Path(__file__).resolve().parent.parent / "docs" / "optimistic" / "security.md"
_DAY = 86_400
#: Clock, extension and window that fit a chain on which a transaction may wait for an hour.
_SLOW = (_DAY, 3600, 3 * _DAY)
CLAIMANT, WATCHER, ACCOMPLICE = "claimant", "watcher", "accomplice"
_MONEY = 10**6


# ---------------------------------------------------------------- time
def lenet() -> Program:
    """LeNet-5 as the benchmarks quantise it."""
    model = Model.load(BUILDERS["lenet"]().SerializeToString())
    feed = {"input": np.random.default_rng(0).random((1, 1, 28, 28)).astype(np.float32)}
    config = QuantisationConfig(activations="int8", per_channel=True)
    record = calibrate(model, [feed], config, Store.default())
    compiled = ModelSource(Model.load(apply(model, record)), {"input": (1, 1, 28, 28)}).compile()
    return lower(compiled.graph, compiled.weights)[0]


def hundred() -> Program:
    """100 operators of 2^20 cells of one byte, each cell the sum of 4,608 products (3 x 3 x 512).

    Only what the bounds read is there: the operands are none.
    """
    cells = Cells.of((1 << 20,), 0, 255)
    nothing = Operand(Source.INPUT, 0, cells, ())
    part = Part(1, (512, 3, 3), nothing, nothing)
    operators = (Operator(Fold.SUM, cells, (part,), Output()),) * 100
    ports = Port("", cells, Source.INPUT, 0), Port("", cells, Source.OPERATOR, 99)
    return Program(operators, (ports[0],), (ports[1],), bytes(32))


def times() -> Iterator[Sequence[str]]:
    """Rows: program, k, moves, then seconds of a dispute and until finality for two clocks."""
    quick = Stakes()
    for name, program in (("LeNet-5", lenet()), ("100 operators", hundred())):
        for k_log in (1, 4, 6):
            moves = game.most_moves(program, k_log)
            short = longest(quick.clock, quick.extension, moves)
            clock, extension, window = _SLOW
            slow = longest(clock, extension, moves)
            yield (
                name,
                f"{1 << k_log}",
                f"{moves}",
                f"{short:,} s",
                f"{quick.window + short:,} s",
                f"{slow / _DAY:.2f} days",
                f"{(window + slow) / _DAY:.2f} days",
            )


# ---------------------------------------------------------------- money
class Court:
    """A ledger with one claim, by the prover's defaults: the output is a copy of the input."""

    def __init__(self) -> None:
        stakes = Stakes()
        cells = Cells.of((64,), 0, 255)
        tensor = commit_bytes(encode(cells, np.arange(64, dtype=np.int64)), CHUNK)
        copied = Operand(Source.INPUT, 0, cells, (Axis(64, out=0, stride=1),))
        operator = Operator(Fold.SUM, cells, (Part(1, (), copied),), Output())
        descriptor = encoding.descriptor(operator)
        program = Program(
            (operator,),
            (Port("", cells, Source.INPUT, 0),),
            (Port("", cells, Source.OPERATOR, 0),),
            merkle.leaf_hash(descriptor),
        )
        leaf = TraceLeaf(0, (tensor.root,), tensor.root)
        self.chunk = tensor.opening(0)
        self.reveal = RevealOperator(leaf.to_bytes(), descriptor, ())
        self.terms = Terms(
            bytes(32), program_root(program), (tensor.root,), (tensor.root,), DEFERRED,
            stakes.k_log, stakes.bond, stakes.challenge_bond, stakes.burn, stakes.window,
            stakes.clock, stakes.extension, stakes.answer, stakes.data_fee,
        )  # fmt: skip
        self.book, self.now = Book(), 0
        for account in (CLAIMANT, WATCHER, ACCOMPLICE):
            self.act(actions.Deposit(_MONEY), account)
        self.act(actions.Post(self.terms, header_of(program).to_bytes()), CLAIMANT)

    def act(self, action: Action, sender: str) -> int:
        draft = clerk.apply(self.book, action, sender, self.now)
        self.book.merge(draft)
        return draft.result

    def silence(self, dispute: int) -> None:
        """Whoever owes the move lets the time run out."""
        late = self.book.dispute(dispute).clock.deadline + 1
        self.now = max(self.now, late)
        self.act(actions.TimeOut(dispute), WATCHER)

    def finalise(self) -> None:
        self.now = max(self.now, self.book.claim(1).closes)
        self.act(actions.Finalise(1), WATCHER)

    def row(self, name: str) -> Sequence[str]:
        won = [self.book.balances[who] - _MONEY for who in (CLAIMANT, ACCOMPLICE, WATCHER)]
        status = self.book.claim(1).status.name.lower()
        return name, *(f"{n:+,}" if n else "0" for n in won), f"{self.book.money.burnt:,}", status


def caught() -> Court:
    court = Court()
    court.silence(court.act(actions.Challenge(1), WATCHER))
    return court


def with_accomplice() -> Court:
    court = Court()
    first = court.act(actions.Challenge(1), ACCOMPLICE)
    second = court.act(actions.Challenge(1), WATCHER)
    court.silence(first)
    court.act(actions.Release(second), WATCHER)
    return court


def wrong_challenges(count: int) -> Court:
    court = Court()
    disputes = [court.act(actions.Challenge(1), ACCOMPLICE) for _ in range(count)]
    for dispute in disputes:
        court.act(actions.Play(dispute, court.reveal), CLAIMANT)
    for dispute in disputes:  # none of them has anything to show
        court.silence(dispute)
    court.finalise()
    return court


def withheld() -> Court:
    court = Court()
    request = court.act(actions.Ask(1, 0, 0), WATCHER)
    court.now = court.book.request(request).until + 1
    court.act(actions.Default(request), WATCHER)
    return court


def asked(count: int) -> Court:
    court = Court()
    for _ in range(count):
        request = court.act(actions.Ask(1, 0, 0), ACCOMPLICE)
        court.act(actions.Answer(request, *court.chunk), CLAIMANT)
    court.finalise()
    return court


def money() -> Iterator[Sequence[str]]:
    """Rows: what happens, then the change of each balance, what is burnt, what becomes of it."""
    quiet = Court()
    quiet.finalise()
    for name, court in (
        ("nobody disputes", quiet),
        ("a false claim, disputed by the watcher", caught()),
        ("the same, and an accomplice's dispute is lost to him first", with_accomplice()),
        ("one wrong dispute of a true claim", wrong_challenges(1)),
        ("ten of them at once", wrong_challenges(10)),
        ("the watcher asks for an input, and no answer comes", withheld()),
        ("an attacker asks for the same chunk 100 times", asked(100)),
    ):
        yield court.row(name)


# ---------------------------------------------------------------- the page
def table(head: Sequence[str], rows: Iterator[Sequence[str]], left: int) -> str:
    rule = ["---"] * left + ["---:"] * (len(head) - left)
    lines = [head, rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str) -> str:
    """The page with its tables as they are now."""
    head = ("program", "k", "moves R", "dispute", "final by", "dispute, slow", "final by, slow")
    page = replace_table(page, "times", table(head, times(), 1))
    moved = ("what happens", "claimant", "accomplice or attacker", "watcher", "burnt", "claim")
    return replace_table(page, "money", table(moved, money(), 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    page = PAGE.read_text("utf-8")
    found = written(page)
    if check:
        print(f"{PAGE.name}: {'current' if found == page else 'stale; run this without --check'}")
        return int(found != page)
    PAGE.write_text(found, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
