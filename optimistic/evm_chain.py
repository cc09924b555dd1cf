"""A contract on a chain, read at one block: calls, and logs in pages.

A reader sees the chain as it was `confirmations` blocks ago, so that no later reorganisation of
that depth changes what it saw. Calls name the block by its hash; logs are asked for by number, and
the block's hash is asked for again behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, TypeVar

from proofml.errors import ProofmlError
from proofml.optimistic.evm_abi import Artefact, Event
from proofml.optimistic.evm_rpc import AnswerTooLong, Node, NodeRefuses
from proofml.optimistic.evm_words import address, data, items, mapping, quantity

T = TypeVar("T")
#: What a topic of a log has to be: one, one of some, or any.
Topic: TypeAlias = Sequence[bytes] | bytes | None

#: Bytes of an answer with logs. A move has at most 256 KiB, and logs are in hexadecimal digits.
MAX_LOGS = 8 << 20
#: Blocks that one request for logs asks for: at first, and at most.
FIRST_PAGE, MAX_PAGE = 1 << 11, 1 << 20
MAX_CODE = 1 << 18
_ATTEMPTS = 4
_TIMES = 4096  # blocks whose time is kept
_MISSING_HEAD = "no block that has so many confirmations"


class Moved(Exception):
    """The block that was read at is no longer one of the chain."""


@dataclass(frozen=True)
class Block:
    """A block, by what readers need of it. `fee` is what its gas costs at least, in wei."""

    number: int
    hash: bytes
    time: int
    fee: int | None = None

    @property
    def tag(self) -> dict[str, Any]:
        """The block as a parameter of a call (EIP-1898)."""
        return {"blockHash": "0x" + self.hash.hex(), "requireCanonical": True}


@dataclass(frozen=True)
class Log:
    """What the contract said.

    Attributes:
        transaction: hash of the one in which it did.
        index: within its block.
        values: of the event, by name.
    """

    block: int
    block_hash: bytes
    transaction: bytes
    index: int
    event: str
    values: dict[str, Any]


class Chain:
    """A contract at its address.

    Args:
        contract: in lower case.
        confirmations: blocks above the one that is read.
    """

    def __init__(
        self, node: Node, artefact: Artefact, contract: str, confirmations: int = 0
    ) -> None:
        self.node = node
        self.faults = node.faults
        self.artefact = artefact
        self.contract = contract
        self.confirmations = confirmations
        self._events = {event.topic: event for event in artefact.events.values()}
        self._page = FIRST_PAGE
        self._times: dict[bytes, int] = {}

    # ------------------------------------------------------------ blocks
    def ask(self, method: str, *params: Any, **limits: Any) -> Any:
        """As `Node.ask`, where the node's own error is not expected."""
        try:
            return self.node.ask(method, *params, **limits)
        except NodeRefuses as error:
            raise self.faults.failed(f"{method}: {error}") from error

    def chain_id(self) -> int:
        return quantity(self.ask("eth_chainId"), "eth_chainId", self.faults)

    def latest(self) -> Block:
        found = self._block("latest")
        if found is None:
            raise self.faults.bad("latest block", expected="a block", got=None)
        return found

    def block(self, number: int) -> Block | None:
        """The chain's block of this number; None where it has none."""
        found = self._block(hex(number))
        if found is not None and found.number != number:
            raise self.faults.bad("block", expected=number, got=found.number)
        return found

    def _block(self, tag: str) -> Block | None:
        found = self.ask("eth_getBlockByNumber", tag, False)
        if found is None:
            return None
        fields = mapping(found, f"block {tag}", self.faults)
        fee = fields.get("baseFeePerGas")
        return Block(
            quantity(fields.get("number"), "number of a block", self.faults, bits=48),
            data(fields.get("hash"), "hash of a block", self.faults, size=32),
            quantity(fields.get("timestamp"), "time of a block", self.faults, bits=40),
            None if fee is None else quantity(fee, "base fee", self.faults),
        )

    def confirmed(self) -> Block:
        """The newest block that has the confirmations.

        Raises:
            VerificationError, BackendFailed: the chain is too short.
        """
        latest = self.latest()
        if self.confirmations == 0:
            return latest
        if latest.number < self.confirmations:
            raise self.faults.bad(_MISSING_HEAD, expected=self.confirmations, got=latest.number)
        found = self.block(latest.number - self.confirmations)
        if found is None:
            raise self.faults.bad(_MISSING_HEAD, expected=latest.number - self.confirmations)
        return found

    def holds(self, block: Block) -> bool:
        """Whether the block still is one of the chain."""
        found = self.block(block.number)
        return found is not None and found.hash == block.hash

    def read(self, question: Callable[[Block], T]) -> T:
        """An answer at one confirmed block, whatever becomes of the chain meanwhile."""
        with self.node.patience():
            for _ in range(_ATTEMPTS):
                block = self.confirmed()
                with suppress(Moved):
                    found = question(block)
                    if self.holds(block):
                        return found
        raise self.faults.failed("the chain is reorganised faster than it can be read")

    def first_at(self, time: int, last: Block) -> int:
        """Number of the first block up to `last` whose time is `time` or later."""
        low, high = 0, last.number
        while low < high:
            middle = (low + high) // 2
            found = self.existing(middle)
            if found.time >= time:
                high = middle
            else:
                low = middle + 1
        return low

    def time_of(self, log: Log) -> int:
        """Of the log's block."""
        known = self._times.get(log.block_hash)
        if known is None:
            block = self.existing(log.block)
            if block.hash != log.block_hash:
                raise Moved
            if len(self._times) >= _TIMES:
                self._times.clear()
            known = self._times[block.hash] = block.time
        return known

    def existing(self, number: int) -> Block:
        """The chain's block of this number, which it had before."""
        found = self.block(number)
        if found is None:
            raise Moved
        return found

    # ------------------------------------------------------------ the contract
    def code(self, at: Block) -> bytes:
        found = self._at(at, "eth_getCode", self.contract, most=4 * MAX_CODE)
        return data(found, "code", self.faults)

    def balance(self, account: str) -> int:
        """Wei of an account, outside the contract."""
        found = self.ask("eth_getBalance", account, "latest")
        return quantity(found, "eth_getBalance", self.faults)

    def call(self, function: str, *arguments: object, at: Block) -> Any:
        """What a view of the contract gives; a struct by the names of its fields."""
        request = {
            "to": self.contract,
            "data": "0x" + self.artefact.call(function, *arguments).hex(),
        }
        found = data(self._at(at, "eth_call", request), function, self.faults)
        try:
            return self.artefact.result(function, found)
        except ValueError as error:
            raise self.faults.bad(function, got=found[:64].hex()) from error

    def _at(self, at: Block, method: str, *params: Any, **limits: Any) -> Any:
        try:
            return self.node.ask(method, *params, at.tag, **limits)
        except NodeRefuses as error:
            if not self.holds(at):
                raise Moved from error
            raise self.faults.failed(f"{method}: {error}") from error

    # ------------------------------------------------------------ logs
    def logs(self, first: int, last: int, *topics: Topic) -> Iterator[Log]:
        """Logs of the contract in blocks first to last, in order.

        Raises:
            VerificationError, BackendFailed: also where the node gives others than were asked for.
        """
        while first <= last:
            end, found = self.page(first, last, topics)
            yield from found
            first = end + 1

    def topic(self, event: str) -> bytes:
        return self.artefact.events[event].topic

    def page(self, first: int, last: int, topics: Sequence[Topic] = ()) -> tuple[int, list[Log]]:
        """The largest page that the node gives: its last block, and its logs."""
        while True:
            end = min(last, first + self._page - 1)
            request = {
                "address": self.contract,
                "fromBlock": hex(first),
                "toBlock": hex(end),
                "topics": [_topic(each) for each in topics],
            }
            try:
                found = self.node.ask("eth_getLogs", request, most=MAX_LOGS, cut=True)
            except (NodeRefuses, AnswerTooLong) as error:
                # Nodes limit blocks or logs of an answer, each by an error of its own.
                if end == first:
                    raise self._no_page(first, error) from error
                self._page = max(1, (end - first + 1) // 2)
                continue
            self._page = min(MAX_PAGE, 2 * self._page)
            return end, self.read_logs(found, first, end, topics)

    def _no_page(self, block: int, error: Exception) -> ProofmlError:
        if isinstance(error, AnswerTooLong):
            return self.faults.bad(f"logs of block {block}: more than {MAX_LOGS} bytes")
        return self.faults.failed(f"logs of block {block}: {error}")

    def read_logs(
        self,
        found: object,
        first: int,
        last: int,
        topics: Sequence[Topic] = (),
    ) -> list[Log]:
        """Logs as a node gives them; those of other contracts are left out."""
        logs: list[Log] = []
        for each in items(found, "logs", self.faults):
            fields = mapping(each, "log", self.faults)
            if address(fields.get("address"), "address of a log", self.faults) != self.contract:
                continue
            logs.append(self._log(fields, topics))
        places = [(log.block, log.index) for log in logs]
        if any(one >= two for one, two in pairwise(places)):
            raise self.faults.bad("logs: expected in order, each once", got=places[:8])
        if logs and not (first <= logs[0].block and logs[-1].block <= last):
            raise self.faults.bad("logs: blocks", expected=(first, last), got=places[:8])
        return logs

    def _log(self, fields: Any, topics: Sequence[Topic]) -> Log:
        faults = self.faults
        given = [
            data(each, "topic", faults, size=32)
            for each in items(fields.get("topics"), "topics", faults)[:4]
        ]
        event: Event | None = self._events.get(given[0]) if given else None
        if event is None:
            raise faults.bad("log: topic", expected="an event of the contract", got=given)
        for wanted, topic in zip(topics, given, strict=False):
            if topic not in _choices(wanted, topic):
                raise faults.bad("log: topic", expected="one that was asked for", got=topic.hex())
        if len(given) < len(topics):
            raise faults.bad("log: topics", expected=len(topics), got=len(given))
        body = data(fields.get("data"), "data of a log", faults)
        try:
            values = event.read(given, body)
        except ValueError as error:
            raise faults.bad(f"log: {error}", got=body[:64].hex()) from error
        return Log(
            quantity(fields.get("blockNumber"), "block of a log", faults, bits=48),
            data(fields.get("blockHash"), "block of a log", faults, size=32),
            data(fields.get("transactionHash"), "transaction of a log", faults, size=32),
            quantity(fields.get("logIndex"), "index of a log", faults, bits=32),
            event.name,
            values,
        )


def _choices(wanted: Topic, topic: bytes) -> Sequence[bytes]:
    if wanted is None:
        return (topic,)
    return (wanted,) if isinstance(wanted, bytes) else wanted


def _topic(wanted: Topic) -> Any:
    if wanted is None:
        return None
    if isinstance(wanted, bytes):
        return "0x" + wanted.hex()
    return ["0x" + each.hex() for each in wanted]


def word(number: int) -> bytes:
    """A number as a topic."""
    return number.to_bytes(32, "big")
