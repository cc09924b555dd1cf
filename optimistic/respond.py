"""The claimant's daemon: answers disputes and requests about its claims, and makes them final.

It needs the model and a proof of each claim, in which the inputs are. A claim that nobody answers
for is lost by the clock, true or not. The trace is made once, when the first move of a dispute is
due: until then a claim costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from proofml.errors import UsageError
from proofml.optimistic import actions
from proofml.optimistic.agent import Agent, Due
from proofml.optimistic.book import ClaimState, RequestStatus
from proofml.optimistic.challenger import fault_of
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.commit import Committed, commit_tensor
from proofml.optimistic.floating.watching import answer_for
from proofml.optimistic.follow import Followed, Place
from proofml.optimistic.players import Player
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Trace


@dataclass
class Responder(Agent):
    """Stands by the account's claims.

    Attributes:
        finalise: make claims final once their window is over.
    """

    finalise: bool = True
    _inputs: dict[int, tuple[Committed, ...]] = field(default_factory=dict)

    def concerns(self, claim: ClaimState) -> bool:
        return claim.claimant == self.account

    def wants(self, claim: ClaimState) -> bool:
        return False

    def attend(self, followed: Followed, now: int) -> bool:
        claim = followed.claim
        if self.finalise and now >= claim.closes and not claim.running and not claim.asked:
            action = actions.Finalise(followed.number)
            return self.act("finalise", action, claim=followed.number)
        return False

    def prune(self, followed: set[int]) -> None:
        super().prune(followed)
        claims = self.follower.claims
        asked = {number for number in followed if number in claims and claims[number].asked}
        self._inputs = {n: found for n, found in self._inputs.items() if n in asked}

    def player(self, followed: Followed) -> Player | None:
        if followed.claim.floating is not None:
            return None  # the challenger alone owes moves
        trace = self.traces.get(followed.number)
        if trace is None:
            trace = self.traces.put(followed.number, self._trace(followed))
        return Claimant(trace)

    def _trace(self, followed: Followed) -> Trace:
        """The claim's run.

        Raises:
            UsageError: no model or no proof of it is at hand, or they give something else.
        """
        claim, number = followed.claim, followed.number
        machine = self.library.machine(claim.header)
        if machine is None:
            raise UsageError(
                f"claim {number}: expected the model of program {claim.terms.program.hex()}; give "
                "it (--model), with its quantisation record if it is a float model"
            )
        inputs = self.library.inputs(claim, machine)
        if inputs is None:
            raise UsageError(
                f"claim {number}: expected a proof about Statement {claim.terms.statement.hex()}; "
                "give its file or folder"
            )
        trace = machine.run(inputs)
        fault = fault_of(claim.terms, trace)
        if fault is not None:
            raise UsageError(f"claim {number} cannot be defended: {fault.value}")
        return trace

    def answers(self, followed: Followed, now: int) -> Iterator[Due]:
        for number, asked in list(followed.asked.items()):
            if self.outbox.answers(number):
                continue
            state = self.ledger.requested(number)
            if state.status is RequestStatus.OPEN and now <= state.until:
                key = (followed.number, "request", number)
                yield Due(state.until, key, partial(self._answer, followed, number, asked.place))

    def _answer(self, followed: Followed, number: int, place: Place) -> bool:
        action = actions.Answer(number, *self._opening(followed, place))
        return self.act("answer", action, claim=followed.number, request=number)

    def _opening(self, followed: Followed, place: Place) -> tuple[bytes, tuple[bytes, ...]]:
        header, terms = followed.claim.floating, followed.claim.terms
        if header is None:
            return self._input(followed, place[0]).opening(place[1])
        if not isinstance(self.ledger, SqliteLedger):
            raise UsageError(f"claim {followed.number}: a float claim, and no embedded ledger")
        return answer_for(self.library, header, terms, self.ledger.traces, place)

    def _input(self, followed: Followed, number: int) -> Committed:
        """An input, for whoever asks for it: its claim need not be true for that."""
        if followed.number not in self._inputs:
            machine = self.library.machine(followed.claim.header)
            found = None if machine is None else self.library.inputs(followed.claim, machine)
            if machine is None or found is None:
                raise UsageError(
                    f"claim {followed.number}: its inputs are asked for; give its model (--model) "
                    "and the file or folder of its proof"
                )
            ports = machine.program.inputs
            self._inputs[followed.number] = tuple(
                commit_tensor(port.cells, array) for port, array in zip(ports, found, strict=True)
            )
        return self._inputs[followed.number][number]
