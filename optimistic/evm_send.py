"""Transactions to a contract: tried, signed here, sent, and waited for until they are confirmed.

A contract's refusal costs nothing: it is found when the gas is estimated, before anything is sent.
What is sent can be told to be late (`BackendFailed`), yet still be mined; so a sender with
transactions under way, of this process or of one that was killed, first waits for them. What was
to be sent may then be done already, so it is not sent: the caller looks again what there is to do.
Only a claim, which is never the same as another one, is posted all the same.

A node that lies can delay; it cannot spend more than `Spending` allows, nor send elsewhere: the
chain's number is signed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from proofml.errors import BackendFailed, ProofmlError, UsageError
from proofml.optimistic.evm_abi import CONTEXT, refusal_of
from proofml.optimistic.evm_chain import MAX_LOGS, Block, Chain, Log
from proofml.optimistic.evm_keys import name_of
from proofml.optimistic.evm_library import LocalAccount, Web3
from proofml.optimistic.evm_rpc import NodeRefuses
from proofml.optimistic.evm_words import HASH_BYTES, address, data, mapping, quantity
from proofml.optimistic.outbox import Busy
from proofml.optimistic.refusals import IllegalMove, Refusal

GWEI = 10**9
_SHORT_PAUSE = 0.02
_GRACE = 5.0  # seconds in which a node may know a nonce and not yet the receipt


@dataclass(frozen=True)
class Spending:
    """What a transaction may cost, and how long it is waited for.

    Attributes:
        most_gas: of one transaction (EIP-7825 allows no more).
        most_fee: wei for a unit of gas.
        patience: seconds until a transaction is given up.
        bump: seconds until it is sent again for a higher fee.
        poll: seconds between two looks, after some that follow each other more quickly.
        most_under_way: transactions of an account that are not mined yet; nodes keep so many.
    """

    most_gas: int = 1 << 24
    most_fee: int = 500 * GWEI
    patience: float = 900.0
    bump: float = 60.0
    poll: float = 1.0
    most_under_way: int = 64


@dataclass(frozen=True)
class Sent:
    """A transaction that was mined.

    Attributes:
        gas: that it used.
        logs: of the contract.
    """

    hash: bytes
    block: Block
    gas: int
    contract: str | None
    logs: tuple[Log, ...]

    def value(self, event: str, name: str) -> Any:
        """A value of its only log of this event."""
        (log,) = (log for log in self.logs if log.event == event)
        return log.values[name]


class StaleContext(Exception):
    """The contract is no longer where the action's bytes say that it is."""


class _NotTaken(Exception):
    """The node does not have the transaction; `why` is what it says of that."""

    def __init__(self, why: ProofmlError | IllegalMove) -> None:
        super().__init__(str(why))
        self.why = why


@dataclass(eq=False)
class Flight:
    """A transaction under way; several of an account have consecutive nonces.

    Attributes:
        hashes: of all its versions; each offers more for its gas than the one before.
        again: when it is sent again, by the monotonic clock.
        lost: when it is given up, as another one has its nonce.
        sent, error: what became of it; at most one of them.
    """

    key: LocalAccount
    request: Mapping[str, str]
    gas: int
    what: str
    nonce: int
    factor: int = 100
    hashes: list[bytes] = field(default_factory=list)
    again: float = 0.0
    mined: bool = False
    lost: float | None = None
    sent: Sent | None = None
    error: Exception | None = None

    @property
    def over(self) -> bool:
        return self.sent is not None or self.error is not None

    @property
    def sender(self) -> str:
        return name_of(self.key)


class Sender:
    """Sends for the accounts of some keys."""

    def __init__(
        self,
        chain: Chain,
        keys: Sequence[LocalAccount],
        chain_id: int,
        spending: Spending | None = None,
    ) -> None:
        self._chain = chain
        self._faults = chain.faults
        self._keys = {name_of(key): key for key in keys}
        self._chain_id = chain_id
        self._flights: dict[str, list[Flight]] = {}
        self._strange: dict[str, float] = {}  # account -> since when others' are under way
        self.spending = spending or Spending()

    # ------------------------------------------------------------ one, and wait
    def act(self, sender: str, function: str, *arguments: object, value: int = 0) -> Sent:
        """Call a function of the contract, and wait until readers see it.

        Raises:
            IllegalMove: the rule by which the contract refuses; nothing was sent, or it was mined
                without effect because somebody else was faster.
            StaleContext: what the arguments repeat is not what the contract keeps.
            UsageError: no key of this sender.
            BackendFailed: not mined in time, or the node does not take it.
        """
        call = self._chain.artefact.call(function, *arguments)
        again = function != "post"
        return self._send(sender, self._chain.contract, call, value, function, again=again)

    def deploy(self, sender: str, deployment: bytes) -> Sent:
        """Make a contract."""
        return self._send(sender, None, deployment, 0, "deployment", again=False)

    def _send(
        self, sender: str, to: str | None, call: bytes, value: int, what: str, *, again: bool
    ) -> Sent:
        key = self._key(sender)
        deadline = time.monotonic() + self.spending.patience
        if self._settle(sender, deadline) and again:
            raise self._faults.failed(
                f"{what}: not sent, as {sender} had other transactions under way, which are "
                "confirmed now; look again what is to do"
            )
        flight = self._ready(key, to, call, value, what)
        self._offer_first(flight)
        flights = self._flights.setdefault(sender, [])
        flights.append(flight)
        try:
            return self._wait(flight, deadline)
        finally:
            if flight in flights:
                flights.remove(flight)

    def _wait(self, flight: Flight, deadline: float) -> Sent:
        pause = _SHORT_PAUSE
        while True:
            self.look(flight.sender)
            if flight.error is not None:
                raise flight.error
            if flight.sent is not None:
                return flight.sent
            if time.monotonic() >= deadline:
                raise self._faults.failed(
                    f"{flight.what}: transaction 0x{flight.hashes[-1].hex()} is not confirmed "
                    f"after {self.spending.patience:g} s; it may still be mined"
                )
            time.sleep(pause)
            pause = min(2 * pause, self.spending.poll)

    def _key(self, sender: str) -> LocalAccount:
        key = self._keys.get(sender)
        if key is None:
            raise UsageError(f"ledger: no key for {sender}; open it with that account's key")
        return key

    # ------------------------------------------------------------ several at once
    def launch(self, sender: str, function: str, *arguments: object, value: int = 0) -> Flight:
        """Send a call behind those that are under way, without waiting; `look` tells of it.

        Raises:
            Busy: as many are under way as may be.
            IllegalMove, StaleContext, UsageError, BackendFailed: as of `act`; nothing was sent.
        """
        key = self._key(sender)
        flights = self._flights.setdefault(sender, [])
        if sum(not flight.mined for flight in flights) >= self.spending.most_under_way:
            raise Busy
        call = self._chain.artefact.call(function, *arguments)
        flight = self._ready(key, self._chain.contract, call, value, function)
        try:
            self._offer_first(flight)
        except ProofmlError:
            if not flight.hashes:
                raise
            # Nobody knows whether the node has it: its nonce is not used for anything else.
        flights.append(flight)
        return flight

    def look(self, sender: str) -> None:
        """See what became of the transactions under way; those not mined are sent again in time.

        Raises:
            BackendFailed: the node does not say; all stay as they were.
        """
        flights = self._flights.get(sender, [])
        if not flights:
            return
        count = self._count(sender)  # before the receipts: what it counts, those can tell of
        try:
            for flight in flights:
                self._look(flight, count)
        finally:
            flights[:] = [flight for flight in flights if not flight.over]

    def settled(self, sender: str) -> bool:
        """Whether no other transactions of the account are under way than flights of this sender.

        Raises:
            BackendFailed: others have been for longer than the patience.
        """
        strange = self._others(sender)
        if not strange:
            self._strange.pop(sender, None)
            return True
        if time.monotonic() - self._strange.setdefault(sender, time.monotonic()) > (
            self.spending.patience
        ):
            raise self._under_way(strange, sender)
        return False

    def _others(self, sender: str) -> int:
        """How many are under way that are no flights of this sender."""
        own = {flight.nonce for flight in self._flights.get(sender, [])}
        last, first = self._count(sender, "pending"), self._confirmed_count(sender)
        return max(last - first, 0) - sum(first <= nonce < last for nonce in own)

    def _under_way(self, count: int, sender: str) -> ProofmlError:
        return self._faults.failed(
            f"{count} transactions of {sender} are under way for too long; replace or await them"
        )

    # ------------------------------------------------------------ before
    def gas_of(self, request: Mapping[str, str], what: str) -> int:
        """Gas that a call takes, with a margin.

        Raises:
            IllegalMove, StaleContext, BackendFailed: the call would revert.
        """
        sender, value = request["from"], int(request["value"], 16)
        balance = self._chain.balance(sender)
        if balance < value:
            raise IllegalMove(
                Refusal.FUNDS, f"{what}: expected {value} wei on {sender}, got {balance}"
            )
        try:
            found = self._estimate(request)
        except NodeRefuses as error:
            self._refused(error, what)
        gas = quantity(found, "eth_estimateGas", self._faults, bits=64)
        gas += gas // 4 + 10_000
        if gas > self.spending.most_gas:
            if gas // 5 * 4 > self.spending.most_gas:
                raise self._faults.failed(
                    f"{what}: takes {gas} gas, more than the {self.spending.most_gas} allowed"
                )
            gas = self.spending.most_gas
        return gas

    def _estimate(self, request: Mapping[str, str]) -> Any:
        """Behind what is under way, where the node can tell that."""
        if self._flights.get(request["from"]):
            try:
                return self._chain.node.ask("eth_estimateGas", dict(request), "pending")
            except NodeRefuses as error:
                if error.data is not None:
                    raise
        return self._chain.node.ask("eth_estimateGas", dict(request))

    def _refused(self, error: NodeRefuses, what: str) -> NoReturn:
        """Raises what a revert means."""
        name = None if error.data is None else self._chain.artefact.error(error.data)
        if name == CONTEXT:
            raise StaleContext from error
        refusal = None if name is None else refusal_of(name)
        if refusal is not None:
            raise IllegalMove(refusal, f"{what}: {refusal.value}") from error
        if name is not None:
            raise UsageError(f"{what}: the contract refuses it: {name}") from error
        raise self._faults.failed(f"{what}: {error}") from error

    def _settle(self, sender: str, deadline: float) -> bool:
        """Wait for what others have under way, until readers see it; whether there was any."""
        waited = False
        while strange := self._others(sender):
            if time.monotonic() > deadline:
                raise self._under_way(strange, sender)
            waited = True
            time.sleep(self.spending.poll)
        return waited

    def _confirmed_count(self, sender: str) -> int:
        """How many have the confirmations."""
        last = self._chain.latest().number
        return self._count(sender, hex(max(last - self._chain.confirmations, 0)))

    def _count(self, sender: str, tag: str = "latest") -> int:
        found = self._chain.ask("eth_getTransactionCount", sender, tag)
        return quantity(found, "eth_getTransactionCount", self._faults, bits=64)

    def _fees(self, factor: int) -> dict[str, int]:
        """What to offer for a unit of gas; `factor` in percent."""
        latest = self._chain.latest()
        most = self.spending.most_fee
        if latest.fee is None:
            price = quantity(self._chain.ask("eth_gasPrice"), "eth_gasPrice", self._faults)
            return {"gasPrice": min(price * factor // 100, most)}
        try:
            tip = quantity(
                self._chain.node.ask("eth_maxPriorityFeePerGas"), "priority fee", self._faults
            )
        except NodeRefuses:
            tip = GWEI
        fee = (2 * latest.fee + tip) * factor // 100
        if latest.fee > most:
            raise self._faults.failed(
                f"a unit of gas costs {latest.fee} wei, more than the {most} allowed"
            )
        return {
            "maxFeePerGas": min(fee, most),
            "maxPriorityFeePerGas": min(tip * factor // 100, fee, most),
        }

    # ------------------------------------------------------------ sending
    def _ready(
        self, key: LocalAccount, to: str | None, call: bytes, value: int, what: str
    ) -> Flight:
        """A transaction with the first free nonce, not yet offered."""
        sender = name_of(key)
        request = {"from": sender, "data": "0x" + call.hex(), "value": hex(value)}
        if to is not None:
            request["to"] = to
        gas = self.gas_of(request, what)
        own = {flight.nonce for flight in self._flights.get(sender, [])}
        nonce = self._count(sender)
        while nonce in own:
            nonce += 1
        return Flight(key, request, gas, what, nonce)

    def _offer_first(self, flight: Flight) -> None:
        """Raises what a refusal of the node means; no hash is noted then."""
        try:
            self._offer(flight)
        except _NotTaken as error:
            flight.hashes.clear()
            raise error.why from error
        except ProofmlError:
            flight.again = 0.0  # offered again by the next look
            raise

    def _offer(self, flight: Flight) -> None:
        """Sign it for the price of now, and hand it to the node, which may have it already.

        Raises:
            _NotTaken: it has not.
            BackendFailed: nobody knows.
        """
        raw, number = self._sign(flight)
        if number not in flight.hashes:
            flight.hashes.append(number)
        flight.again = time.monotonic() + self.spending.bump
        what = flight.what
        try:
            found = self._chain.node.ask("eth_sendRawTransaction", "0x" + raw.hex())
        except NodeRefuses as error:
            if self._chain.ask("eth_getTransactionByHash", "0x" + number.hex()) is not None:
                return
            if "insufficient funds" in str(error).lower():
                raise _NotTaken(IllegalMove(Refusal.FUNDS, f"{what}: {error}")) from error
            raise _NotTaken(self._faults.failed(f"{what}: {error}")) from error
        if data(found, "eth_sendRawTransaction", self._faults, size=HASH_BYTES) != number:
            raise self._faults.bad("hash of a transaction", expected=number.hex(), got=found)

    def _sign(self, flight: Flight) -> tuple[bytes, bytes]:
        """The transaction's bytes and hash."""
        request = flight.request
        fields: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": flight.nonce,
            "gas": flight.gas,
            "value": int(request["value"], 16),
            "data": request["data"],
            **self._fees(flight.factor),
        }
        if "to" in request:
            fields["to"] = Web3.to_checksum_address(request["to"])
        if "maxFeePerGas" in fields:
            fields["type"] = 2
        signed = flight.key.sign_transaction(fields)
        return bytes(signed.raw_transaction), bytes(signed.hash)

    # ------------------------------------------------------------ after
    def _look(self, flight: Flight, count: int) -> None:
        """`count`: transactions of the account that are in blocks."""
        found = self._mined(flight.hashes)
        # One that was mined is only waited for; a reorganisation may take it away again.
        flight.mined = found is not None
        if found is not None:
            flight.lost = None
            self._confirmed(flight, *found)
        elif count > flight.nonce:
            # Another transaction of this account took the nonce, or the node is about to know
            # more of this one.
            flight.lost = flight.lost or time.monotonic() + _GRACE
            if time.monotonic() > flight.lost:
                flight.error = self._faults.failed(
                    f"{flight.what}: another process sends for {flight.sender}; "
                    "look again what is to do"
                )
        elif time.monotonic() >= flight.again:
            flight.factor = flight.factor * 5 // 4
            flight.again = time.monotonic() + self.spending.bump
            # Where this price is not taken the one before still stands.
            with suppress(_NotTaken, ProofmlError):
                self._offer(flight)

    def _mined(self, hashes: Sequence[bytes]) -> tuple[bytes, Mapping[str, Any]] | None:
        """The transaction that is in a block, with its receipt."""
        for number in hashes:
            tag = "0x" + number.hex()
            found = self._chain.ask("eth_getTransactionReceipt", tag, most=MAX_LOGS)
            if found is not None:
                return number, mapping(found, "receipt", self._faults)
        return None

    def _confirmed(self, flight: Flight, number: bytes, fields: Mapping[str, Any]) -> None:
        """Note what became of one that was mined, once its block has the confirmations."""
        faults = self._faults
        height = quantity(fields.get("blockNumber"), "block of a receipt", faults, bits=48)
        if self._chain.latest().number < height + self._chain.confirmations:
            return
        block = self._chain.block(height)
        hash_ = data(fields.get("blockHash"), "block of a receipt", faults, size=HASH_BYTES)
        if block is None or block.hash != hash_:
            return  # reorganised just now
        if quantity(fields.get("status"), "status of a receipt", faults) == 1:
            flight.sent = self._sent(fields, number, block)
            return
        try:
            self._failed(flight.request, block, flight.what)
        except (IllegalMove, StaleContext, ProofmlError) as error:
            flight.error = error

    def _sent(self, fields: Mapping[str, Any], number: bytes, block: Block) -> Sent:
        made = fields.get("contractAddress")
        logs = self._chain.read_logs(fields.get("logs"), block.number, block.number)
        return Sent(
            number,
            block,
            quantity(fields.get("gasUsed"), "gas of a receipt", self._faults, bits=64),
            None if made is None else address(made, "contract of a receipt", self._faults),
            tuple(logs),
        )

    def _failed(self, request: Mapping[str, str], block: Block, what: str) -> NoReturn:
        """A transaction was mined without effect: the state had changed since the estimate."""
        try:
            self._chain.node.ask("eth_call", dict(request), hex(block.number))
        except NodeRefuses as error:
            self._refused(error, what)
        raise BackendFailed(f"{what}: reverted, and now it would not", stage="evm")
