"""A store of `worlds` that is two: the book in Python, and the contract on a node.

Whatever is done, is done on both at the same time of the ledger. Both take it, or both refuse it
by the same rule; then every state and every balance that it touched is the same on both.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from typing import Any

from proofml.optimistic import actions, clerk, moves
from proofml.optimistic.actions import Action
from proofml.optimistic.book import Book, ClaimState, Draft, RequestState
from proofml.optimistic.contexts import context_of
from proofml.optimistic.evm_abi import Artefact, artefact
from proofml.optimistic.evm_chain import Chain
from proofml.optimistic.evm_client import EvmLedger
from proofml.optimistic.evm_keys import name_of
from proofml.optimistic.evm_library import Account as Key
from proofml.optimistic.evm_rpc import NodeRefuses
from proofml.optimistic.game import DisputeState
from proofml.optimistic.refusals import IllegalMove, Refusal

from .anvil import CHAIN_ID, GAS, Anvil
from .worlds import NAMES

NOBODY = "0x" + "00" * 20


@cache
def address_of(name: str) -> str:
    """The account on the chain that plays this account of the book."""
    seed = name.encode().rjust(32, b"\0")[-32:]
    return name_of(Key.from_key(seed))


def camel(refusal: Refusal) -> str:
    return "".join(word.capitalize() for word in refusal.name.split("_"))


def deploy(node: Anvil, compiled: Artefact, *arguments: object) -> str:
    """Address of a new contract."""
    sender = address_of(NAMES[0])
    node.fund(sender)
    receipt = node.send(sender, None, compiled.deployment(*arguments))
    return str(receipt["contractAddress"]).lower()


class OnChain:
    """One contract for one world; the node is shared, and its time goes on."""

    def __init__(self, node: Anvil) -> None:
        self.book = Book()
        self._node = node
        self._compiled = artefact()
        self._contract = deploy(node, self._compiled)
        self._chain = Chain(node.node, self._compiled, self._contract)
        self.ledger = EvmLedger(self._chain, CHAIN_ID, None, None)
        # Worlds begin at a time of their own; the chain's cannot go back.
        self._shift = node.time - 1_000_000
        self._now = 0
        #: What accounts have brought along and not yet staked, which the contract knows nothing of.
        self._purses: dict[str, int] = {}
        self._done: list[tuple[Action, str, int, int]] = []
        for name in NAMES:
            node.fund(address_of(name))

    # ------------------------------------------------------------ acting
    def act(self, action: Action, sender: str, now: int) -> int:
        if now != self._now:
            self._node.at(now + self._shift)
            self._now = now
        action = actions.read_action(actions.to_bytes(action))
        try:
            draft = clerk.apply(self.book, action, sender, now)
        except IllegalMove as error:
            self._check_refusal(action, sender, error.refusal)
            raise
        if isinstance(action, actions.Deposit):
            self._purses[sender] = self._purses.get(sender, 0) + action.amount
            self.book.merge(draft)
            return draft.result
        data, value = self._call(action)
        self._purses[sender] = self._purses.get(sender, 0) - value
        self._send(sender, data, value)
        self.book.merge(draft)
        self._done.append((action, sender, now, draft.result))
        self._compare(draft)
        return draft.result

    def _call(self, action: Action) -> tuple[bytes, int]:
        """The transaction's data and value."""
        encoded, book = self._compiled.call, self.book
        match action:
            case actions.Post(terms, header):
                return encoded("post", terms.to_bytes(), header), terms.bond
            case actions.Challenge(claim):
                bond = book.claims[claim].terms.challenge_bond if claim in book.claims else 0
                return encoded("challenge", claim), bond
            case actions.Play(dispute, move):
                return encoded("move", dispute, moves.to_bytes(move), self._context(action)), 0
            case actions.TimeOut(dispute):
                return encoded("timeout", dispute), 0
            case actions.Release(dispute):
                return encoded("release", dispute), 0
            case actions.Ask(claim, number, chunk):
                fee = book.claims[claim].terms.data_fee if claim in book.claims else 0
                return encoded("request", claim, number, chunk, self._content(claim)), fee
            case actions.Answer(request, chunk, path):
                found = book.requests.get(request)
                content = self._content(found.claim) if found else b""
                return encoded("answer", request, chunk, b"".join(path), content), 0
            case actions.Default(request):
                return encoded("declareDefault", request), 0
            case actions.ReleaseRequest(request):
                return encoded("releaseRequest", request), 0
            case actions.InputRange(claim, number, cell, opening):
                content = self._content(claim)
                path = b"".join(opening.path)
                leaf = opening.leaf
                return encoded("proveInputRange", claim, number, cell, leaf, path, content), 0
            case actions.Finalise(claim):
                return encoded("finalise", claim), 0
        raise AssertionError(f"the contract has no {action}")

    def _content(self, claim: int) -> bytes:
        found = self.book.claims.get(claim)
        return found.terms.to_bytes() + found.header.to_bytes() if found else b""

    def _context(self, action: actions.Play) -> bytes:
        dispute = self.book.disputes.get(action.dispute)
        if dispute is None:
            return b""
        try:
            return context_of(dispute.position, action.move, self._content(dispute.claim))
        except ValueError:  # it has none here
            return b""

    def refuses_bytes(self, dispute: int, move: bytes, context: bytes, sender: str) -> bool:
        """Whether the contract refuses these bytes as a move."""
        return self._error(self._compiled.call("move", dispute, move, context), 0, sender) != ""

    def _check_refusal(self, action: Action, sender: str, refusal: Refusal) -> None:
        # The contract is paid by the transaction, so nobody can have too little there.
        if refusal is not Refusal.FUNDS:
            assert self._error(*self._call(action), sender) == camel(refusal), action

    def _error(self, data: bytes, value: int, sender: str) -> str:
        """Name of the error by which the contract ends; nothing where it does not."""
        call = {"from": address_of(sender), "to": self._contract, "gas": hex(GAS)}
        call |= {"data": "0x" + data.hex(), "value": hex(value)}
        try:
            self._node.node.ask("eth_call", call, "latest")
        except NodeRefuses as error:
            if error.data is None:
                raise
            return self._compiled.error(error.data) or error.data.hex()
        return ""

    def _send(self, sender: str, data: bytes, value: int) -> None:
        receipt = self._node.send(address_of(sender), self._contract, data, value)
        assert receipt["status"] == "0x1", "the contract refuses what the rules allow"

    # ------------------------------------------------------------ comparing
    def _compare(self, draft: Draft) -> None:
        for claim in draft.claims:
            self.compare_claim(claim)
        for dispute in draft.disputes:
            self.compare_dispute(dispute)
        for request in draft.requests:
            self.compare_request(request)
        for name in draft.balances:
            owed = self.book.balances[name] - self._purses.get(name, 0)
            assert self.ledger.balance(address_of(name)) == owed, name

    def compare_claim(self, number: int) -> None:
        expected = self.book.claim(number)
        assert self.ledger.claim(number) == self._on_chain(expected)

    def compare_dispute(self, number: int) -> None:
        expected = self.book.dispute(number)
        assert self.ledger.dispute(number) == self._on_chain(expected)

    def compare_request(self, number: int) -> None:
        expected = self.book.request(number)
        assert self.ledger.requested(number) == self._on_chain(expected)

    def _on_chain(self, state: Any) -> Any:
        """A state with the accounts and times of the chain."""
        shift = self._shift
        match state:
            case ClaimState():
                return replace(
                    state, claimant=address_of(state.claimant), posted=state.posted + shift
                )
            case DisputeState():
                return replace(
                    state,
                    claimant=address_of(state.claimant),
                    challenger=address_of(state.challenger),
                    opened=state.opened + shift,
                    clock=replace(state.clock, since=state.clock.since + shift),
                )
            case RequestState():
                asker = address_of(state.requester)
                return replace(state, requester=asker, until=state.until + shift)
        raise AssertionError(state)

    # ------------------------------------------------------------ the rest of a store
    def crash(self, rng: random.Random) -> None:
        """Nothing but the chain survives in a reader."""
        del rng
        self.ledger = EvmLedger(self._chain, CHAIN_ID, None, None)

    def close(self) -> None:
        """All states, all events and all the money, in the end."""
        self.crash(random.Random(0))
        for number in self.book.claims:
            self.compare_claim(number)
        for number in self.book.disputes:
            self.compare_dispute(number)
        for number in self.book.requests:
            self.compare_request(number)
        self._compare_events()
        money = self.book.money
        assert self.ledger.balance(NOBODY) == money.burnt
        owed = sum(self.book.balances.values()) - sum(self._purses.values())
        held = int(self._node.rpc("eth_getBalance", self._contract, "latest"), 16)
        assert held == owed + money.held + money.burnt

    def _compare_events(self) -> None:
        found = []
        while events := self.ledger.events(len(found), 7):
            found += events
        assert [event.number for event in found] == list(range(1, len(self._done) + 1))
        for event, (action, sender, time, result) in zip(found, self._done, strict=True):
            assert event.action == action
            assert event.time == time + self._shift
            assert event.sender in ("", address_of(sender))
            assert event.result == result
