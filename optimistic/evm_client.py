"""A ledger that is a contract on a chain, with real money behind its bonds.

Accounts are addresses in lower case, amounts are wei, times are those of blocks. Whoever reads sees
the chain `confirmations` blocks ago; whoever acts waits until the action has as many.

A reader takes from its node which chain there is, and nothing else: the contract's code is pinned,
terms and moves hash to what the contract keeps, and moves are played again by the rules here.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from proofml.canonical import JSON
from proofml.errors import BackendFailed, UsageError
from proofml.optimistic import actions, clerk, moves
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book, ClaimState, RequestState
from proofml.optimistic.claim import Terms
from proofml.optimistic.contexts import context_of
from proofml.optimistic.evm_chain import Block, Chain
from proofml.optimistic.evm_events import Events
from proofml.optimistic.evm_send import Flight, Sender, Sent, StaleContext
from proofml.optimistic.evm_states import Content, States
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.ledger import Event
from proofml.optimistic.moves import Move, Opening
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.sqlite_ledger import CHECK
from proofml.optimistic.wire import WireError

T = TypeVar("T")

MAX_EVENTS = 1000
_ATTEMPTS = 3
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_PLENTY = 1 << 250


class EvmLedger:
    """A contract on a chain; implements `Ledger`. Threads may share one.

    Args:
        sender: None for who only reads.
        account: of the first key.
        check: number of the check that a history fails which was reorganised.
    """

    def __init__(
        self,
        chain: Chain,
        chain_id: int,
        sender: Sender | None,
        account: str | None,
        check: str = CHECK,
    ) -> None:
        self.account = account
        self.identity: dict[str, JSON] = {
            "kind": "evm",
            "chain_id": chain_id,
            "contract": chain.contract,
        }
        self._chain = chain
        self._sender = sender
        self._states = States(chain)
        self._events = Events(chain, self._states, check)
        self._lock = threading.RLock()

    def close(self) -> None:
        self._chain.node.close()

    def __enter__(self) -> EvmLedger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ state
    def now(self) -> int:
        """Time of the latest block, in seconds."""
        return self._chain.latest().time

    def claim(self, number: int) -> ClaimState:
        return self._read(lambda at: self._states.claim(number, at))

    def dispute(self, number: int) -> DisputeState:
        return self._read(lambda at: self._states.dispute(number, at))

    def requested(self, number: int) -> RequestState:
        return self._read(lambda at: self._states.requested(number, at))

    def balance(self, account: str) -> int:
        """What an account can withdraw from the contract, in wei.

        Raises:
            UsageError: no address.
        """
        if not _ADDRESS.fullmatch(account):
            raise UsageError(f"account: expected 0x and 40 hexadecimal digits, got {account!r}")
        return int(self._read(lambda at: self._chain.call("balances", account.lower(), at=at)))

    def events(self, since: int, limit: int = MAX_EVENTS) -> list[Event]:
        """At most `limit` events after number `since`, of confirmed blocks.

        Raises:
            VerificationError: also where the chain was reorganised deeper than the confirmations;
                what was read before is then no longer what happened.
        """
        limit = min(limit, MAX_EVENTS)
        return self._read(lambda at: self._events.after(max(since, 0), limit, at))

    def _read(self, question: Callable[[Block], T]) -> T:
        with self._lock:
            return self._chain.read(question)

    # ------------------------------------------------------------ claims
    def post(self, terms: Terms, header: bytes, sender: str) -> int:
        return int(self._act(actions.Post(terms, header), sender).value("Posted", "claimId"))

    def challenge(self, claim: int, sender: str) -> int:
        return int(self._act(actions.Challenge(claim), sender).value("Challenged", "disputeId"))

    def finalise(self, claim: int, sender: str) -> None:
        self._act(actions.Finalise(claim), sender)

    def prove_input_range(
        self, claim: int, input: int, cell: int, opening: Opening, sender: str
    ) -> None:
        self._act(actions.InputRange(claim, input, cell, opening), sender)

    # ------------------------------------------------------------ disputes
    def move(self, dispute: int, move: Move, sender: str) -> None:
        self._act(actions.Play(dispute, move), sender)

    def timeout(self, dispute: int, sender: str) -> None:
        self._act(actions.TimeOut(dispute), sender)

    def release(self, dispute: int, sender: str) -> None:
        self._act(actions.Release(dispute), sender)

    # ------------------------------------------------------------ requests
    def request(self, claim: int, input: int, chunk: int, sender: str) -> int:
        asked = self._act(actions.Ask(claim, input, chunk), sender)
        return int(asked.value("Requested", "requestId"))

    def answer(self, request: int, chunk: bytes, path: Sequence[bytes], sender: str) -> None:
        self._act(actions.Answer(request, chunk, tuple(path)), sender)

    def default(self, request: int, sender: str) -> None:
        self._act(actions.Default(request), sender)

    def release_request(self, request: int, sender: str) -> None:
        self._act(actions.ReleaseRequest(request), sender)

    # ------------------------------------------------------------ money
    def withdraw(self, sender: str) -> int:
        return int(self._act(actions.Withdraw(), sender).value("Withdrawn", "amount"))

    # ------------------------------------------------------------ several at once
    def settled(self, sender: str) -> bool:
        with self._lock:
            return self._acting.settled(sender)

    def launch(self, action: Action, sender: str) -> Flight:
        """Send an action behind those that are under way; `look` tells what became of it.

        Raises:
            Busy: as many are under way as may be.
            IllegalMove, UsageError, BackendFailed: it was not sent.
        """
        return self._by_call(action, sender, self._acting.launch)

    def look(self, sender: str) -> None:
        with self._lock:
            self._acting.look(sender)

    # ------------------------------------------------------------ acting
    def _act(self, action: Action, sender: str) -> Sent:
        return self._by_call(action, sender, self._acting.act)

    def _by_call(self, action: Action, sender: str, send: Callable[..., T]) -> T:
        """Whatever `send` makes of the action's call, which is made anew where somebody was faster.

        Raises:
            IllegalMove: the rules here, or those of the contract, forbid it.
        """
        for _ in range(_ATTEMPTS):
            call = self._call(action, sender)
            with suppress(StaleContext), self._lock:
                return send(sender, call.function, *call.arguments, value=call.value)
        raise BackendFailed(
            f"{type(action).__name__}: the contract is elsewhere than its logs say; ask another "
            "node",
            stage="evm",
        )

    @property
    def _acting(self) -> Sender:
        if self._sender is None:
            raise UsageError("ledger: opened to be read; open it with a key to act")
        return self._sender

    def _call(self, action: Action, sender: str) -> _Call:
        """What is to be called for an action that the rules here allow."""
        match action:
            case actions.Post(terms, header):
                self._check(action, sender)
                return _Call("post", (terms.to_bytes(), header), terms.bond)
            case actions.Challenge(claim):
                state = self.claim(claim)
                self._check(action, sender, claims={claim: state})
                return _Call("challenge", (claim,), state.terms.challenge_bond)
            case actions.Play(dispute, move):
                situation = self._read(lambda at: self._states.situation(dispute, at))
                played, state, content = situation
                self._check(
                    action, sender, claims={played.claim: state}, disputes={dispute: played}
                )
                context = context_of(played.position, move, content.data)
                return _Call("move", (dispute, moves.to_bytes(move), context))
            case actions.TimeOut(dispute):
                status = self.dispute(dispute).status
                if status is not Status.RUNNING:
                    raise IllegalMove(Refusal.DISPUTE_CLOSED, f"the dispute is {status.name}")
                return _Call("timeout", (dispute,))
            case actions.Ask(claim, number, chunk):
                state = self.claim(claim)
                self._check(action, sender, claims={claim: state})
                asked = (claim, number, chunk, self._content(claim).data)
                return _Call("request", asked, state.terms.data_fee)
            case actions.Answer(request, data, path):
                found = self.requested(request)
                claims = {found.claim: self.claim(found.claim)}
                self._check(action, sender, claims=claims, requests={request: found})
                content = self._content(found.claim)
                return _Call("answer", (request, data, b"".join(path), content.data))
            case actions.InputRange(claim, number, cell, opening):
                # The contract takes the leaf's number from the cell's; here it is checked.
                self._check(action, sender, claims={claim: self.claim(claim)})
                shown = (opening.leaf, b"".join(opening.path), self._content(claim).data)
                return _Call("proveInputRange", (claim, number, cell, *shown))
            case actions.Finalise(number):
                return _Call("finalise", (_number(number, "claim"),))
            case actions.Release(number):
                return _Call("release", (_number(number, "dispute"),))
            case actions.Default(number):
                return _Call("declareDefault", (_number(number, "request"),))
            case actions.ReleaseRequest(number):
                return _Call("releaseRequest", (_number(number, "request"),))
            case actions.Withdraw():
                return _Call("withdraw", ())
            case actions.Deposit():
                raise UsageError("ledger: a contract is paid by the actions that stake something")

    def _check(self, action: Action, sender: str, **states: Any) -> None:
        """That the rules here allow an action; so a refusal says more, and costs nothing.

        Raises:
            IllegalMove: whichever forbids it. What is too early now can be in time in the next
                block, so that is the contract's to say; and so is whether there is money.
        """
        book = Book(balances={sender: _PLENTY}, **states)
        try:
            clerk.apply(book, action, sender, self.now())
        except WireError as error:
            raise UsageError(f"{type(action).__name__}: {error}") from error

    def _content(self, claim: int) -> Content:
        return self._read(lambda at: self._states.content(claim, at))


@dataclass(frozen=True)
class _Call:
    """A function of the contract, what it is given, and the wei that it is paid."""

    function: str
    arguments: tuple[object, ...]
    value: int = 0


def _number(number: int, what: str) -> int:
    """A number that the contract can have given.

    Raises:
        IllegalMove: UNKNOWN.
    """
    if not 1 <= number < 1 << 64:
        raise IllegalMove(Refusal.UNKNOWN, f"{what} {number}: the contract has none of this number")
    return number
