"""Claims, disputes and requests of a contract, as every ledger gives them.

The contract keeps hashes and numbers; what they are of is in its logs. So whatever a node says is
compared: terms and header hash to what the contract keeps, and a dispute's moves, played again by
the rules in Python, lead to the very position that the contract stores.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from proofml.optimistic import game, moves
from proofml.optimistic.book import ClaimState, ClaimStatus, RequestState, RequestStatus
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.encoding import Header, read_header
from proofml.optimistic.evm_chain import Block, Chain, Log, word
from proofml.optimistic.evm_library import Web3
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.phases.positions import (
    AtCells,
    AtChunk,
    AtLeaf,
    AtPoint,
    AtSummand,
    AtSums,
    AtTrace,
    AtWiring,
    Position,
)
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError

T = TypeVar("T")

#: Claims whose terms, and disputes whose moves, are kept.
KEPT = 256
#: Enumerations of the contract, in its order; 0 is nothing at all.
CLAIM_STATUS = (None, ClaimStatus.OPEN, ClaimStatus.FINAL, ClaimStatus.DEFEATED)
DISPUTE_STATUS = (
    None,
    Status.RUNNING,
    Status.WON_BY_CLAIMANT,
    Status.WON_BY_CHALLENGER,
    Status.CANCELLED,
)
REQUEST_STATUS = (
    None,
    RequestStatus.OPEN,
    RequestStatus.ANSWERED,
    RequestStatus.DEFAULTED,
    RequestStatus.RELEASED,
)


@dataclass(frozen=True)
class Content:
    """What a claim says; the contract keeps its hash.

    Attributes:
        block: in which it was posted.
        data: terms and header end to end.
    """

    block: int
    terms: Terms
    header: Header
    data: bytes


@dataclass(frozen=True)
class _Replayed:
    """A dispute's moves up to a block."""

    state: DisputeState
    block: Block


class States:
    """Reads states at a block, and keeps what cannot change."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._contents: OrderedDict[tuple[int, int, bytes], Content] = OrderedDict()
        self._disputes: OrderedDict[int, _Replayed] = OrderedDict()
        self._at: bytes | None = None
        self._called: dict[tuple[str, int], dict[str, Any]] = {}

    # ------------------------------------------------------------ claims
    def claim(self, number: int, at: Block) -> ClaimState:
        stored = self._stored("claimOf", number, "claim", at)
        content = self._content(number, stored, at)
        status = self._status(CLAIM_STATUS, stored)
        return ClaimState(
            content.terms,
            content.header,
            _account(stored["claimant"]),
            stored["posted"],
            status,
            stored["running"],
            stored["asked"],
            self._reason(number, content, at) if status is ClaimStatus.DEFEATED else "",
        )

    def content(self, number: int, at: Block) -> Content:
        return self._content(number, self._stored("claimOf", number, "claim", at), at)

    def first_posted(self, at: Block) -> int | None:
        """When the contract's first claim was posted; None where it has none."""
        found = self._call("claimOf", 1, at)
        return None if found["status"] == 0 else int(found["posted"])

    def claimant(self, number: int, at: Block) -> str:
        return _account(self._stored("claimOf", number, "claim", at)["claimant"])

    def _content(self, number: int, stored: Mapping[str, Any], at: Block) -> Content:
        # After a reorganisation a claim of this number can be another one, or of another time.
        key = number, stored["posted"], stored["content"]
        known = self._contents.get(key)
        if known is None:
            known = self._find(number, stored, at)
            _keep(self._contents, key, known)
        return known

    def _find(self, number: int, stored: Mapping[str, Any], at: Block) -> Content:
        """In the log of its posting, which is in a block of the time that the contract names."""
        chain, posted = self._chain, stored["posted"]
        first = chain.first_at(posted, at)
        last = first
        while last < at.number:
            following = chain.block(last + 1)
            if following is None or following.time != posted:
                break
            last += 1
        wanted = chain.topic("Posted"), word(number)
        for log in chain.logs(first, last, *wanted):
            data = log.values["terms"] + log.values["header"]
            if bytes(Web3.keccak(data)) == stored["content"]:
                return self._read(number, stored, log, data)
        raise chain.faults.bad(
            f"claim {number}: no log of its posting in blocks {first} to {last}",
            expected=stored["content"].hex(),
        )

    def _read(self, number: int, stored: Mapping[str, Any], log: Log, data: bytes) -> Content:
        try:
            terms, header = Terms.read(log.values["terms"]), read_header(log.values["header"])
        except WireError as error:
            raise self._chain.faults.bad(f"claim {number}: {error}") from error
        for name, said, kept in (
            ("claimant", _account(log.values["claimant"]), _account(stored["claimant"])),
            ("bond", terms.bond, stored["bond"]),
            ("challenge bond", terms.challenge_bond, stored["challengeBond"]),
            ("window", terms.window, stored["window"]),
            ("trace", terms.trace, stored["traceRoot"]),
            ("operators", header.count, stored["operators"]),
        ):
            if said != kept:
                raise self._chain.faults.bad(f"claim {number}: {name}", expected=kept, got=said)
        return Content(log.block, terms, header, data)

    def _reason(self, number: int, content: Content, at: Block) -> str:
        """What defeated a claim: the log right before that of its end."""
        chain = self._chain
        for end in chain.logs(content.block, at.number, chain.topic("ClaimEnded"), word(number)):
            for log in chain.logs(end.block, end.block):
                if log.index == end.index - 1 and log.transaction == end.transaction:
                    return why(log)
        raise chain.faults.bad(f"claim {number}: defeated, and no log says by what")

    def _claim_of(
        self, stored: Mapping[str, Any], what: str, at: Block
    ) -> tuple[ClaimState, Content]:
        """The claim that a dispute or a request is about."""
        number = stored["claimId"]
        try:
            return self.claim(number, at), self.content(number, at)
        except IllegalMove as error:
            raise self._chain.faults.bad(f"{what}: its claim", got=number) from error

    # ------------------------------------------------------------ disputes
    def dispute(self, number: int, at: Block) -> DisputeState:
        return self.situation(number, at)[0]

    def situation(self, number: int, at: Block) -> tuple[DisputeState, ClaimState, Content]:
        """A dispute, and the claim that it is about."""
        stored = self._stored("disputeOf", number, "dispute", at)
        claim, content = self._claim_of(stored, f"dispute {number}", at)
        known = self._disputes.get(number)
        if known is not None:
            later = known.block.number > at.number
            if later or not self._chain.holds(known.block):
                known = None
        state = self._replay(number, stored, claim, content, known, at)
        _keep(self._disputes, number, _Replayed(state, at))
        self._compare(number, state, stored)
        if claim.status is ClaimStatus.DEFEATED and state.status is Status.RUNNING:
            state = replace(state, status=Status.CANCELLED, why="the claim was defeated")
        return state, claim, content

    def _replay(
        self,
        number: int,
        stored: Mapping[str, Any],
        claim: ClaimState,
        content: Content,
        known: _Replayed | None,
        at: Block,
    ) -> DisputeState:
        chain = self._chain
        state = None if known is None else known.state
        first = content.block if known is None else known.block.number + 1
        if state is None:
            opened = chain.topic("Challenged"), word(stored["claimId"]), word(number)
            for log in chain.logs(first, at.number, *opened):
                state = game.start(
                    stored["claimId"],
                    claim.claimant,
                    _account(log.values["challenger"]),
                    claim.terms,
                    claim.header,
                    chain.time_of(log),
                )
                first = log.block
                break
        if state is None:
            raise chain.faults.bad(f"dispute {number}: no log of its opening")
        wanted = [chain.topic("Moved"), chain.topic("DisputeEnded")], word(number)
        for log in chain.logs(first, at.number, *wanted):
            state = self._follow(number, state, claim, log)
        return state

    def _follow(
        self, number: int, state: DisputeState, claim: ClaimState, log: Log
    ) -> DisputeState:
        """The dispute after what a log says."""
        time = self._chain.time_of(log)
        try:
            if log.event == "Moved":
                move = moves.read_move(log.values["move"])
                sender = _account(log.values["mover"])
                return game.play(state, claim.terms, claim.header, sender, move, time)
            status = self._status(DISPUTE_STATUS, log.values)
            if status is Status.CANCELLED:
                return replace(state, status=status, why="the claim was defeated")
            if state.status is Status.RUNNING:
                state = game.time_out(state, time)
        except (ValueError, IllegalMove) as error:  # also a time before the one it was last
            raise self._chain.faults.bad(
                f"dispute {number}: move {state.moves + 1} is against the rules: {error}"
            ) from error
        if state.status is not status:
            raise self._chain.faults.bad(
                f"dispute {number}: its end", expected=state.status.name, got=status.name
            )
        return state

    def _compare(self, number: int, state: DisputeState, stored: Mapping[str, Any]) -> None:
        """That the moves lead to where the contract says that the dispute is."""
        expected = {
            "challenger": state.challenger,
            "status": DISPUTE_STATUS.index(state.status),
        }
        if state.status is Status.RUNNING:
            expected |= {
                "since": state.clock.since,
                "claimantLeft": state.clock.left[Side.CLAIMANT],
                "challengerLeft": state.clock.left[Side.CHALLENGER],
                "trace": state.trace,
                **stored_position(state.position),
            }
        for name, value in expected.items():
            got = _account(stored[name]) if name == "challenger" else stored[name]
            if got != value:
                raise self._chain.faults.bad(
                    f"dispute {number}: {name}: its moves and the contract disagree",
                    expected=value,
                    got=got,
                )

    # ------------------------------------------------------------ requests
    def requested(self, number: int, at: Block) -> RequestState:
        stored = self._stored("requestOf", number, "request", at)
        claim, _ = self._claim_of(stored, f"request {number}", at)
        return RequestState(
            stored["claimId"],
            _account(stored["requester"]),
            stored["input"],
            stored["chunk"],
            stored["asked"] + claim.terms.answer,
            self._status(REQUEST_STATUS, stored),
        )

    def asked_about(self, number: int, at: Block) -> int:
        """The claim that a request is about, of which nothing is read."""
        return int(self._stored("requestOf", number, "request", at)["claimId"])

    # ------------------------------------------------------------ storage
    def _stored(self, function: str, number: int, what: str, at: Block) -> dict[str, Any]:
        """A struct of the contract.

        Raises:
            IllegalMove: UNKNOWN.
        """
        if 1 <= number < 1 << 64:
            found = self._call(function, number, at)
            if found["status"] != 0:
                return found
        raise IllegalMove(Refusal.UNKNOWN, f"{what} {number}: the contract has none of this number")

    def _call(self, function: str, number: int, at: Block) -> dict[str, Any]:
        """A view of the contract; asked for once at each block."""
        if self._at != at.hash:
            self._at, self._called = at.hash, {}
        found = self._called.get((function, number))
        if found is None:
            found = self._called[function, number] = self._chain.call(function, number, at=at)
        return found

    def _status(self, names: tuple[T | None, ...], stored: Mapping[str, Any]) -> T:
        number: int = stored["status"]
        found = names[number] if number < len(names) else None
        if found is None:
            raise self._chain.faults.bad("status", expected=f"1 to {len(names) - 1}", got=number)
        return found


def why(log: Log) -> str:
    """What the log before a claim's end says of it; as `Book` has it."""
    match log.event, log.values:
        case "DisputeEnded", {"disputeId": number}:
            return f"dispute {number}"
        case "RequestEnded", {"requestId": number}:
            return f"request {number}"
        case "InputBeyondRange", {"input": number, "cell": cell}:
            return f"input {number}, cell {cell}"
        case _:
            return ""


def stored_position(position: Position) -> dict[str, Any]:
    """Fields of the contract's struct that follow from a position; the phase is its number."""
    match position:
        case AtTrace(place):
            return {
                "phase": 1 if place.children else 0,
                **_place(place.node, place.index, place.level),
            }
        case AtLeaf(node, index):
            return {"phase": 2, **_place(node, index, 0)}
        case AtWiring():
            return {"phase": 3, "node": position.site.leaf.output, "index": 0}
        case AtCells(_, place):
            return {
                "phase": 5 if place.children else 4,
                **_place(place.node, place.index, place.level),
            }
        case AtChunk(_, chunk, node, data):
            return {"phase": 6 if data is None else 7, **_place(node, chunk, 0)}
        case AtSums(_, cell, value, first, last, start, end, cuts):
            found = {"cell": cell, "value": value, "from": first, "to": last, "fromState": start}
            if end is None:
                return {"phase": 8, **found}
            return {"phase": 9 if cuts else 10, "toState": end, **found}
        case AtSummand(_, cell, summand, start, end):
            return {
                "phase": 11,
                "cell": cell,
                "from": summand,
                "to": summand + 1,
                "fromState": start,
                "toState": end,
            }
        case AtPoint():
            raise ValueError("a float dispute: no contract has one")


def _place(node: bytes, index: int, level: int) -> dict[str, Any]:
    return {"node": node, "index": index, "level": level}


def _account(value: str) -> str:
    return value.lower()


def _keep(kept: OrderedDict[Any, T], key: object, value: T) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)
