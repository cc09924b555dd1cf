"""What senders did on a contract, in order, from its logs.

A call says one thing of its own and others that follow from it: a move that ends a dispute is
`Moved`, then `DisputeEnded`, perhaps `ClaimEnded`, then what is credited to whom. Only the first is
an event here. `DisputeEnded` is one where no move of that dispute stands right before it.

The contract does not say who made a timeout, a release, a default or a finalisation, as anybody
may; the sender of those is "".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

from proofml.optimistic import actions, moves
from proofml.optimistic.actions import Action
from proofml.optimistic.book import ClaimStatus, RequestStatus
from proofml.optimistic.claim import Terms
from proofml.optimistic.encoding import read_header
from proofml.optimistic.evm_chain import Block, Chain, Log
from proofml.optimistic.evm_states import CLAIM_STATUS, DISPUTE_STATUS, REQUEST_STATUS, States
from proofml.optimistic.game import Status
from proofml.optimistic.ledger import Event, Reorganised, Unread
from proofml.optimistic.moves import Opening
from proofml.optimistic.program import CHUNK
from proofml.optimistic.wire import HASH, WireError

#: Logs that are about a claim, but for that of its posting and that of its end.
_ABOUT_CLAIMS = ("Challenged", "Requested", "InputBeyondRange")
_Done: TypeAlias = tuple[Action | Unread, str, int]


@dataclass
class _Cursor:
    """How far the logs are read.

    Attributes:
        number: of the last event that was handed out.
        block: everything up to it is read; None before the first.
        waiting: events that are read and not yet handed out.
        before: the last log that was read.
        unread: claims whose terms or header cannot be read here.
    """

    number: int = 0
    block: Block | None = None
    waiting: deque[Event] = field(default_factory=deque)
    before: Log | None = None
    unread: set[int] = field(default_factory=set)


class Events:
    """A contract's events, read forward; whoever asks for earlier ones has them read again.

    Args:
        check: number of the check that a history fails which is no longer one.
    """

    def __init__(self, chain: Chain, states: States, check: str) -> None:
        self._chain = chain
        self._check = check
        self._states = states
        self._cursor = _Cursor()

    def after(self, since: int, limit: int, at: Block) -> list[Event]:
        """At most `limit` events after number `since`, of blocks up to `at`.

        Raises:
            Reorganised: blocks of which events were handed out are no longer of the chain;
                whoever has read those has to begin anew, after number 0.
        """
        cursor = self._cursor
        if cursor.block is not None and not self._chain.holds(cursor.block):
            if cursor.number and since:
                raise Reorganised(
                    self._check,
                    f"ledger: the chain was reorganised below block {cursor.block.number}, so that "
                    f"events up to {cursor.number} are not what they were; read them again from "
                    "the first one, and pin more confirmations",
                )
            cursor = self._cursor = _Cursor()
        if since < cursor.number:
            cursor = self._cursor = _Cursor()
        found: list[Event] = []
        while len(found) < limit:
            if not cursor.waiting and not self._read(cursor, at):
                break
            while cursor.waiting and len(found) < limit:
                event = cursor.waiting.popleft()
                cursor.number = event.number
                if event.number > since:
                    found.append(event)
        return found

    def _read(self, cursor: _Cursor, at: Block) -> bool:
        """One more page of logs; whether there was one."""
        if cursor.block is None:
            # Nothing happened before the first claim.
            posted = self._states.first_posted(at)
            if posted is None:
                return False
            first = self._chain.first_at(posted, at)
        else:
            first = cursor.block.number + 1
        if first > at.number:
            return False
        end, logs = self._chain.page(first, at.number)
        block = at if end == at.number else self._chain.existing(end)
        number, before = cursor.number, cursor.before
        made: list[Event] = []
        for log in logs:
            done = self._done(log, before, at)
            if done is not None:
                number += 1
                action, sender, result = done
                made.append(Event(number, self._chain.time_of(log), sender, action, result))
            before = log
        # Nothing is taken over before the whole page is read.
        cursor.block, cursor.before = block, before
        cursor.waiting.extend(made)
        return True

    # ------------------------------------------------------------ logs as actions
    def _done(self, log: Log, before: Log | None, at: Block) -> _Done | None:
        """The action that a log is of, its sender and result; None where it only follows.

        What cannot be read is no reason to stop: the contract took it, and goes on as well.
        """
        values = log.values
        claim = values.get("claimId", 0)
        if claim in self._cursor.unread and log.event in _ABOUT_CLAIMS:
            return self._unread(log, "of a claim that cannot be read"), "", 0
        if log.event == "Answered":  # asked for here, so that a node's fault is not a log's
            asked = self._states.asked_about(values["requestId"], at)
            sender = self._states.claimant(asked, at)
        elif log.event == "InputBeyondRange":
            return self._beyond(log, at)
        else:
            sender = ""
        try:
            return self._action(log, before, sender)
        except (ValueError, LookupError, ArithmeticError) as error:
            if log.event == "Posted":
                self._cursor.unread.add(claim)
            return self._unread(log, str(error)), "", 0

    def _unread(self, log: Log, why: str) -> Unread:
        where = f"block {log.block}, log {log.index}, {log.event}: {why}"
        claim, dispute, request = (
            log.values.get(name, 0) for name in ("claimId", "disputeId", "requestId")
        )
        return Unread(claim, dispute, request, where)

    def _action(self, log: Log, before: Log | None, sender: str) -> _Done | None:
        values = log.values
        match log.event:
            case "Posted":
                terms = Terms.read(values["terms"])
                read_header(values["header"])
                posted = actions.Post(terms, values["header"])
                return posted, values["claimant"].lower(), values["claimId"]
            case "Challenged":
                action: Action = actions.Challenge(values["claimId"])
                return action, values["challenger"].lower(), values["disputeId"]
            case "Moved":
                action = actions.Play(values["disputeId"], moves.read_move(values["move"]))
                return action, values["mover"].lower(), 0
            case "DisputeEnded":
                return self._dispute_ended(log, before)
            case "Requested":
                action = actions.Ask(values["claimId"], values["input"], values["chunk"])
                return action, values["requester"].lower(), values["requestId"]
            case "Answered":
                number = values["requestId"]
                return actions.Answer(number, values["chunk"], read_path(values["path"])), sender, 0
            case "RequestEnded":
                return self._request_ended(log)
            case "ClaimEnded" if values["status"] == CLAIM_STATUS.index(ClaimStatus.FINAL):
                return actions.Finalise(values["claimId"]), "", 0
            case "Withdrawn":
                return actions.Withdraw(), values["account"].lower(), values["amount"]
            case _:
                return None

    def _dispute_ended(self, log: Log, before: Log | None) -> _Done | None:
        number, status = log.values["disputeId"], log.values["status"]
        if status == DISPUTE_STATUS.index(Status.CANCELLED):
            return actions.Release(number), "", 0
        moved = before is not None and before.event == "Moved" and _adjacent(log, before)
        if moved and before is not None and before.values["disputeId"] == number:
            return None
        return actions.TimeOut(number), "", 0

    def _request_ended(self, log: Log) -> _Done:
        number, status = log.values["requestId"], log.values["status"]
        if status == REQUEST_STATUS.index(RequestStatus.RELEASED):
            return actions.ReleaseRequest(number), "", 0
        return actions.Default(number), "", 0

    def _beyond(self, log: Log, at: Block) -> _Done:
        values = log.values
        header = self._states.content(values["claimId"], at).header
        if values["input"] >= len(header.inputs):
            return self._unread(log, f"the claim has {len(header.inputs)} inputs"), "", 0
        width = header.inputs[values["input"]].cells.width
        leaf = values["cell"] * width // CHUNK
        try:
            opening = Opening(leaf, values["chunk"], read_path(values["path"]))
        except WireError as error:
            return self._unread(log, str(error)), "", 0
        action = actions.InputRange(values["claimId"], values["input"], values["cell"], opening)
        return action, values["sender"].lower(), 0


def _adjacent(log: Log, before: Log) -> bool:
    """Whether the contract said one right after the other, in one transaction."""
    return before.transaction == log.transaction and before.index == log.index - 1


def read_path(data: bytes) -> tuple[bytes, ...]:
    """Nodes of a path, end to end.

    Raises:
        WireError: no whole number of them, or too many.
    """
    if len(data) % HASH or len(data) > moves.MAX_PATH * HASH:
        raise WireError(f"path: {len(data)} bytes")
    return tuple(data[i : i + HASH] for i in range(0, len(data), HASH))
