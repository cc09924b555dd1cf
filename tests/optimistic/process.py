"""Dishonest players in processes of their own: `python -c "...main()" ROLE FOLDER KIND SEED`.

    post     posts a false claim and a proof about it, prints the claim's number
    lie      stands by false claims, with the traces that they were made from
    grief    challenges whatever is claimed
    quarrel  challenges whatever is claimed, and goes the longest way in each dispute

KIND is one of this file's, by the seed, or one of `benchmarks.optimistic_lies`, whose disputes go
the longest way. All of them find what they did before from the seed and the ledger, so they can be
killed as well.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from proofml.benchmarks import optimistic_lies
from proofml.benchmarks.optimistic_lies import Quarrelsome, Subject
from proofml.circuits.graph import Ints
from proofml.optimistic.accounts import Account
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.follow import Followed
from proofml.optimistic.ledgers import open_chain
from proofml.optimistic.players import Player
from proofml.optimistic.policy import ChainPin
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Machine

from . import liars
from .arena import Arena, GriefingWatcher, LyingResponder, seed_of
from .liars import Lie

#: Clocks that a test can wait for, and that leave time to begin again.
TIMES: dict[str, Any] = {
    "window": 600,
    "clock": 15,
    "extension": 10,
    "answer": 20,
    "k_log": 2,
}
LIES: dict[str, Callable[[Machine, Sequence[Ints], random.Random], Lie]] = {
    "activation": liars.lie_about_activation,
    "output": liars.lie_about_output,
    "wiring": liars.lie_about_wiring,
}


@dataclass
class QuarrellingWatcher(GriefingWatcher):
    """Disputes one operator in the middle of true claims."""

    operator: int = 0

    def player(self, followed: Followed) -> Player | None:
        assert self.trace is not None
        return Quarrelsome(self.trace, self.operator)


class Live(Arena):
    """An arena whose time is the ledger's own: a file, or what `chain.json` in its folder names."""

    @property
    def pin(self) -> ChainPin | None:
        path = self.folder / "chain.json"
        return ChainPin(**json.loads(path.read_text())) if path.exists() else None

    def ledger(self, name: str, money: int = 0) -> Any:
        if name not in self.ledgers:
            if self.pin is None:
                self.ledgers[name] = SqliteLedger(self.path, [Account.of_seed(seed_of(name))])
            else:
                found = open_chain(self.pin, [self.folder / f"{name}.key"]).ledger
                self.ledgers[name] = cast(Any, found)
        return self.ledgers[name]

    def account(self, name: str) -> str:
        if self.pin is None:
            return super().account(name)
        return str(self.ledger(name).account)


def subject(arena: Arena) -> Subject:
    compiled = arena.source.compile()
    return Subject("", compiled.graph, compiled.weights, arena.machine, arena.inputs())


def told(arena: Arena, kind: str, seed: int) -> Lie:
    """The same lie wherever it is told."""
    if kind in optimistic_lies.LIES:
        return Lie(optimistic_lies.LIES[kind](subject(arena)), None)
    if kind == "weight":
        tell = liars.lie_about_weight(arena.source.compile())
    else:
        tell = LIES[kind]
    return tell(arena.machine, arena.inputs(), random.Random(seed))


def main() -> None:
    role, folder, kind, seed = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    terms = {**TIMES, **(json.loads(sys.argv[5]) if len(sys.argv) > 5 else {})}
    if terms.pop("deferred", False):
        terms["trace"] = DEFERRED
    own = folder / "model.onnx"
    arena = Live(folder, file=own) if own.exists() else Live(folder)
    if role == "post":
        lie = told(arena, kind, seed)
        print(json.dumps({"claim": arena.post("attacker", lie.trace, **terms, **lie.terms)}))
        return
    if role == "lie":
        lie = told(arena, kind, seed)
        lies = dict.fromkeys(range(1, 1000), lie)
        style = "early" if kind in optimistic_lies.LIES else "late"
        agent = arena.agent(LyingResponder, "attacker", lies=lies, style=style)
    elif role == "quarrel":
        made = subject(arena)
        trace = arena.machine.run(arena.inputs())
        agent = arena.agent(QuarrellingWatcher, "attacker", trace=trace, operator=made.middle)
    else:
        trace = arena.machine.run(arena.inputs())
        agent = arena.agent(GriefingWatcher, "attacker", trace=trace, seed=seed)
    while True:
        if not agent.step():
            time.sleep(0.05)
