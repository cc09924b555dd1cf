"""The challenger's daemon: runs again what is claimed, and disputes what is false.

Of each open claim it needs the model, which its operator has, and the inputs: from a proof about
the same Statement, or from the ledger, chunk by chunk, for a fee. A claimant who does not answer
loses his claim.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import numpy as np

from proofml.circuits.graph import Ints
from proofml.errors import UsageError
from proofml.optimistic import actions
from proofml.optimistic.agent import Agent
from proofml.optimistic.book import ClaimState
from proofml.optimistic.cells import decode, place
from proofml.optimistic.challenger import Challenger, fault_of
from proofml.optimistic.commit import Committed, commit_bytes
from proofml.optimistic.floating import watching
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.pointing import Pointer
from proofml.optimistic.follow import Followed
from proofml.optimistic.game import Status
from proofml.optimistic.players import Player, opening_of
from proofml.optimistic.program import CHUNK, Cells
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Machine, Outcome, Trace

T = TypeVar("T")

#: Disputes about one claim: a second one where the first was lost by the clock.
MOST_DISPUTES = 2
#: Seconds of judging in one step, before moves are looked after again: their clocks run.
_JUDGING = 5.0


class Judgement(Enum):
    """What was found about a claim."""

    TRUE = "true"
    FALSE = "false"


class Waiting(Exception):
    """The claim's inputs are not there yet."""


class OutOfRange(Exception):
    """An input of the claim has a cell that no tensor of the program can have."""

    def __init__(self, number: int, cell: int, data: Committed) -> None:
        super().__init__(f"input {number}, cell {cell}")
        self.number = number
        self.cell = cell
        self.data = data


@dataclass
class Watcher(Agent):
    """Challenges false claims.

    Attributes:
        ask: request inputs on the ledger where no proof has them.
        most_fee: for all requests about one claim together; None for no limit.
        least_bond: claims that stake less are not executed.
        most_bond: what a challenge may stake; None for whatever the claim says.
        least_clock, least_extension: claims that leave a side less for a dispute, or for a move,
            are not challenged.
        most_clock: nor those that leave it more, since so long a stake is held; None for no limit.
        finalise: make claims final that were found true, once their window is over.
    """

    ask: bool = True
    most_fee: int | None = None
    least_bond: int = 0
    most_bond: int | None = None
    least_clock: int = 0
    least_extension: int = 0
    most_clock: int | None = None
    finalise: bool = False
    _judged: dict[int, Judgement] = field(default_factory=dict)
    _unknown: dict[int, int] = field(default_factory=dict)  # claim -> records known at that time
    _spent: float = 0.0  # seconds of judging in this step
    _pointers: dict[int, Pointer] = field(default_factory=dict)
    _said: set[tuple[int, str]] = field(default_factory=set)

    def concerns(self, claim: ClaimState) -> bool:
        return claim.claimant != self.account

    def wants(self, claim: ClaimState) -> bool:
        if claim.floating is not None:
            return self.library.plan(claim.floating) is not None
        return self.library.knows(claim.header)

    def step(self) -> bool:
        self._spent = 0.0
        done = super().step()
        waiting = self.follower.claims.keys() - self._judged.keys()
        self.metrics.set("claims_unjudged", len(waiting))
        return done

    def attend(self, followed: Followed, now: int) -> bool:
        number, claim = followed.number, followed.claim
        done = self._defaults(followed, now)
        if now >= claim.closes:
            return self._over(followed, now) or done
        judged = self._judged.get(number)
        if judged is None:
            if self._left_alone(followed):
                return done
            if self._spent >= _JUDGING:
                return True  # the next step comes at once, and moves are made first in it
            begin = time.monotonic()
            try:
                judged = self._judge(followed, now)
            except OutOfRange as wrong:
                return self._prove_range(followed, wrong)
            except Waiting:
                return done
            finally:
                self._spent += time.monotonic() - begin
            if judged is None:
                return done
        if judged is Judgement.FALSE:
            return self._challenge(followed, now) or done
        return done

    def player(self, followed: Followed) -> Player | None:
        """The challenger; None where the claim is true, or its inputs are not there."""
        if followed.claim.floating is not None:
            return self._pointer(followed)
        trace = self.traces.get(followed.number)
        if trace is None:
            try:
                ready = self._ready(followed, self.ledger.now())
            except (Waiting, OutOfRange):
                return None
            trace = None if ready is None else self._timed(ready[0].run, ready[1])
        if trace is None or fault_of(followed.claim.terms, trace) is None:
            return None
        return Challenger(self.traces.put(followed.number, trace))

    def prune(self, followed: set[int]) -> None:
        super().prune(followed)
        self._pointers = {n: found for n, found in self._pointers.items() if n in followed}
        self._judged = {n: judged for n, judged in self._judged.items() if n in followed}
        self._unknown = {n: known for n, known in self._unknown.items() if n in followed}
        self._said = {said for said in self._said if said[0] in followed}

    # ------------------------------------------------------------ judging
    def _left_alone(self, followed: Followed) -> bool:
        """Whether the claim is not worth an execution, or nothing is at hand that it is of."""
        number, bond = followed.number, followed.claim.terms.bond
        if followed.unread:
            self._say(number, "cannot be judged: something about it cannot be read")
            return True
        if bond < self.least_bond:
            self._say(number, "too little at stake", bond=bond)
            return True
        return self._unknown.get(number) == len(self.library.records)

    def _judge(self, followed: Followed, now: int) -> Judgement | None:
        """Run it again; None where the program is unknown.

        Raises:
            Waiting, OutOfRange.
        """
        number, claim = followed.number, followed.claim
        if claim.floating is not None:
            return self._judge_float(followed, claim.floating, now)
        records = len(self.library.records)
        ready = self._ready(followed, now)
        if ready is None:
            self._unknown[number] = records
            self._say(number, "unknown program", program=claim.terms.program.hex())
            return None
        machine, inputs = ready
        # Where the claim says nothing of a trace it takes none to find it true.
        run: Outcome | Trace
        if claim.terms.deferred:
            run = self._timed(machine.execute, inputs)
        else:
            run = self._timed(machine.run, inputs)
        fault = fault_of(claim.terms, run)
        judged = Judgement.TRUE if fault is None else Judgement.FALSE
        self._judged[number] = judged
        self.metrics.count("claims_judged", result=judged.value)
        self.log.info(
            "judged", claim=number, result=judged.value, why="" if fault is None else fault.value
        )
        if judged is Judgement.FALSE:
            self.traces.put(number, run if isinstance(run, Trace) else machine.run(inputs))
        else:
            followed.answers.clear()
        return judged

    def _judge_float(self, followed: Followed, header: FloatHeader, now: int) -> Judgement | None:
        """Look at every operator of the published trace; None where the program is unknown.

        Raises:
            Waiting.
        """
        number, terms = followed.number, followed.claim.terms
        if not isinstance(self.ledger, SqliteLedger):
            raise UsageError(f"claim {number}: a float claim, and no embedded ledger")
        begin = time.monotonic()
        try:
            found = watching.judge(
                self.library, header, terms, self.ledger.traces, followed.answers
            )
        except watching.Missing as missing:
            self._ask(followed, list(missing.places), now)
            raise Waiting from None
        except watching.Unknown:
            self._say(number, "unknown program", program=terms.program.hex())
            return None
        self.metrics.set("execution_seconds", time.monotonic() - begin)
        judged = Judgement.TRUE if found is None else Judgement.FALSE
        self._judged[number] = judged
        self.metrics.count("claims_judged", result=judged.value)
        why = "" if found is None else found.words
        self.log.info("judged", claim=number, result=judged.value, why=why)
        if found is not None:
            self._pointers[number] = Pointer(found)
        return judged

    def _pointer(self, followed: Followed) -> Pointer | None:
        """Who accuses; None where the claim is true, or its trace is not there."""
        if followed.number not in self._pointers:
            try:
                self._judge(followed, self.ledger.now())
            except Waiting:
                return None
        return self._pointers.get(followed.number)

    def _ready(self, followed: Followed, now: int) -> tuple[Machine, tuple[Ints, ...]] | None:
        """Program and inputs of a claim; None where the program is unknown."""
        machine = self.library.machine(followed.claim.header)
        if machine is None:
            return None
        inputs = self.library.inputs(followed.claim, machine)
        return machine, self._gathered(followed, machine, now) if inputs is None else inputs

    def _timed(self, run: Callable[[tuple[Ints, ...]], T], inputs: tuple[Ints, ...]) -> T:
        begin = time.monotonic()
        found = run(inputs)
        self.metrics.set("execution_seconds", time.monotonic() - begin)
        return found

    def _gathered(self, followed: Followed, machine: Machine, now: int) -> tuple[Ints, ...]:
        """The inputs from the ledger's answers; asks for those that are missing."""
        ports = machine.program.inputs
        missing = [
            (number, chunk)
            for number, port in enumerate(ports)
            for chunk in range(port.cells.chunks)
            if (number, chunk) not in followed.answers
        ]
        if missing:
            self._ask(followed, missing, now)
            raise Waiting
        found = []
        for number, port in enumerate(ports):
            parts = [followed.answers[number, chunk] for chunk in range(port.cells.chunks)]
            data = np.frombuffer(b"".join(parts), np.uint8)
            try:
                found.append(decode(port.cells, data))
            except ValueError:
                cell = _beyond(port.cells, data.tobytes())
                raise OutOfRange(number, cell, commit_bytes(data, CHUNK)) from None
        return tuple(found)

    def _ask(self, followed: Followed, missing: list[tuple[int, int]], now: int) -> None:
        number, claim = followed.number, followed.claim
        if not self.ask:
            self._say(number, "inputs missing", chunks=len(missing))
            return
        waited = {asked.place for asked in followed.asked.values()}
        missing = [place for place in missing if place not in waited]
        if not missing:
            return
        if now + 2 * claim.terms.answer >= claim.closes:
            self._say(number, "too late to ask for inputs", chunks=len(missing))
            return
        fee = claim.terms.data_fee * (len(missing) + len(waited))
        if self.most_fee is not None and fee > self.most_fee:
            self._say(number, "inputs too expensive", fee=fee)
            return
        for input_, chunk in missing:
            self.act(
                "request",
                actions.Ask(number, input_, chunk),
                claim=number,
                input=input_,
                chunk=chunk,
            )

    def _say(self, number: int, event: str, **values: int | str) -> None:
        """A warning, once."""
        if (number, event) not in self._said:
            self._said.add((number, event))
            self.log.warning(event, claim=number, **values)
            self.metrics.count("claims_judged", result="unknown")

    # ------------------------------------------------------------ acting
    def _challenge(self, followed: Followed, now: int) -> bool:
        number, terms = followed.number, followed.claim.terms
        if terms.extension < self.least_extension or terms.clock < self.least_clock:
            self._say(
                number, "too little time for moves", clock=terms.clock, extension=terms.extension
            )
            return False
        if self.most_clock is not None and terms.clock > self.most_clock:
            self._say(number, "too much time for moves", clock=terms.clock)
            return False
        if self.most_bond is not None and terms.challenge_bond > self.most_bond:
            self._say(number, "too much to stake", challenge_bond=terms.challenge_bond)
            return False
        states = [self.ledger.dispute(dispute) for dispute in followed.disputes]
        if len(states) >= MOST_DISPUTES or any(s.status is Status.RUNNING for s in states):
            return False
        return self.act("challenge", actions.Challenge(number), claim=number)

    def _prove_range(self, followed: Followed, wrong: OutOfRange) -> bool:
        cells = followed.claim.header.inputs[wrong.number].cells
        opening = opening_of(wrong.data, place(cells, wrong.cell)[0])
        return self.act(
            "prove input range",
            actions.InputRange(followed.number, wrong.number, wrong.cell, opening),
            claim=followed.number,
        )

    def _defaults(self, followed: Followed, now: int) -> bool:
        """Requests that the claimant let pass."""
        done = False
        for request in list(followed.asked):
            if now > self.ledger.requested(request).until:
                action = actions.Default(request)
                done |= self.act("default", action, claim=followed.number, request=request)
        return done

    def _over(self, followed: Followed, now: int) -> bool:
        """The window is over: nothing can be done but to end what runs."""
        number, claim = followed.number, followed.claim
        if claim.running or claim.asked:
            return False
        if self.finalise and self._judged.get(number) is Judgement.TRUE:
            # Once it is final it is followed no longer.
            return self.act("finalise", actions.Finalise(number), claim=number)
        self.follower.drop(number)
        return False


def _beyond(cells: Cells, data: bytes) -> int:
    """The first cell whose bytes say more than the highest value."""
    raw = np.frombuffer(data, f">u{cells.width}")
    return int(np.flatnonzero(raw.astype(np.int64) > cells.high - cells.low)[0])
