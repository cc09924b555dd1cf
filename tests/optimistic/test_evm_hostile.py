"""A node that lies in one answer: what it says is found out, or it is what the chain says.

Whatever the lie, a reader ends with a value, `VerificationError`, `BackendFailed`, or with the
refusal of a number that the node denies. Terms, headers and the positions of disputes are hashed or
replayed: of those a single lie changes nothing.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.errors import BackendFailed, BackendUnavailable, VerificationError
from proofml.optimistic import evm_rpc
from proofml.optimistic.evm_client import EvmLedger
from proofml.optimistic.evm_rpc import Node
from proofml.optimistic.refusals import IllegalMove, Refusal

from . import anvil
from .claims import false_run, honest
from .evm_bench import Bench, bench
from .players import Challenger, Griefer, Liar

QUESTIONS: dict[str, Callable[[EvmLedger], Any]] = {
    "now": lambda ledger: ledger.now(),
    "claim": lambda ledger: ledger.claim(1),
    "defeated claim": lambda ledger: ledger.claim(2),
    "dispute": lambda ledger: ledger.dispute(1),
    "dispute that is over": lambda ledger: ledger.dispute(2),
    "request": lambda ledger: ledger.requested(1),
    "balance": lambda ledger: ledger.balance("0x" + "00" * 20),
    "events": lambda ledger: ledger.events(0),
}
#: Of these answers one lie changes nothing that is committed to.
BOUND: dict[str, Callable[[Any], Any]] = {
    "claim": lambda claim: (claim.terms, claim.header),
    "defeated claim": lambda claim: (claim.terms, claim.header),
    "dispute": lambda dispute: (dispute.position, dispute.clock, dispute.moves),
    "dispute that is over": lambda dispute: (dispute.position, dispute.status, dispute.moves),
}


@pytest.fixture(scope="module")
def made() -> Iterator[Bench]:
    """A claim with a dispute that runs and a request, and one that was defeated."""
    with anvil.running() as node, bench(node) as found:
        run, false = honest("network"), false_run("network", "cell", 3)
        found.post(run)
        found.challenge(1)
        found.ledger("asker").request(1, 0, 0, found.account("asker"))
        found.post(false)
        found.challenge(2)
        found.play(2, Liar(false, random.Random(1)), Challenger(honest("network")))
        found.play(1, Liar(run, random.Random(1)), Griefer(run, random.Random(2)), most=7)
        node.mine(2)
        yield found


@pytest.fixture(scope="module")
def truth(made: Bench) -> dict[str, Any]:
    return {name: ask(made.open()) for name, ask in QUESTIONS.items()}


class Lie:
    """Answers of a node, with one of them changed.

    Args:
        change: what becomes of the bytes of an answer.
        at: how many answers are left as they are before.

    Attributes:
        asked: how many answers there were.
    """

    def __init__(self, node: Node, change: Callable[[bytes], bytes], at: int) -> None:
        self._post = node._post
        self._change = change
        self.left = at
        self.asked = 0
        node._post = self  # type: ignore[method-assign,assignment]

    def __call__(self, method: str, body: bytes, most: int) -> bytes:
        data = self._post(method, body, most)
        self.asked += 1
        self.left -= 1
        return self._change(data) if self.left == -1 else data


def other(rng: random.Random, value: Any) -> Any:
    """Another JSON value, near this one or not at all."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: True,
        lambda: rng.randrange(-5, 5),
        lambda: 0.5,
        lambda: "",
        lambda: "0x",
        lambda: "0x" + rng.randbytes(rng.choice((1, 20, 32, 300))).hex(),
        lambda: hex(rng.randrange(1 << rng.choice((4, 16, 60, 300)))),
        list,
        dict,
        lambda: [value],
        lambda: {"a": value},
    ]
    if isinstance(value, str) and len(value) > 2:
        at = rng.randrange(2, len(value))
        kinds += 4 * [lambda: value[:at] + rng.choice("0123456789abcdef") + value[at + 1 :]]
        kinds += [lambda: value[:at], lambda: value + "00", lambda: value[2:], lambda: value * 3]
    if isinstance(value, list) and value:
        kinds += [lambda: value[1:], lambda: value[::-1], lambda: value + value[-1:]]
    if isinstance(value, dict) and value:
        gone = rng.choice(sorted(value))
        kinds += [lambda: {name: v for name, v in value.items() if name != gone}]
    return rng.choice(kinds)()


def changed(rng: random.Random, value: Any) -> Any:
    """The value with one place in it changed."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(sorted(value))
        return {**value, name: changed(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        return [*value[:at], changed(rng, value[at]), *value[at + 1 :]]
    return other(rng, value)


def lie(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.1:
        at = rng.randrange(len(data))
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    answer = json.loads(data)
    answer["result"] = changed(rng, answer["result"])
    return json.dumps(answer).encode()


def answers(made: Bench, name: str) -> int:
    """How many answers a question takes."""
    ledger = made.open()
    counting = Lie(ledger._chain.node, lambda data: data, -1)
    QUESTIONS[name](ledger)
    return counting.asked


def ask(made: Bench, name: str, rng: random.Random, among: int) -> Any:
    """What a reader makes of a question to a node that lies once; None where it says so.

    Args:
        among: of how many answers one is the lie.
    """
    ledger = made.open()
    Lie(ledger._chain.node, lambda data: lie(rng, data), rng.randrange(among))
    try:
        return QUESTIONS[name](ledger)
    except (VerificationError, BackendFailed):
        return None
    except IllegalMove as error:
        if error.refusal is not Refusal.UNKNOWN:
            raise
        return None


def check(made: Bench, truth: dict[str, Any], count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    among = {name: answers(made, name) for name in QUESTIONS}

    @settings(max_examples=count, deadline=None)
    @given(st.sampled_from(sorted(QUESTIONS)), st.integers(0, 2**32 - 1))
    def lies(name: str, seed: int) -> None:
        answer = ask(made, name, random.Random(seed), among[name])
        found["refused" if answer is None else "answered"] += 1
        if answer is None:
            return
        assert type(answer) is type(truth[name])
        if name in BOUND:
            assert BOUND[name](answer) == BOUND[name](truth[name])
        found["other"] += answer != truth[name]

    lies()
    return found


def test_one_lie(made: Bench, truth: dict[str, Any]) -> None:
    found = check(made, truth, 250)
    assert found["refused"] > 40
    assert found["answered"] > 20


@pytest.mark.slow
def test_very_many_lies(made: Bench, truth: dict[str, Any]) -> None:
    assert check(made, truth, 5000)["refused"] > 1000


@pytest.mark.parametrize("seed", range(40))
def test_lies_while_a_chain_is_opened(made: Bench, seed: int, monkeypatch: Any) -> None:
    rng = random.Random(seed)
    post, left = Node._post, [rng.randrange(6)]

    def lying(node: Node, method: str, body: bytes, most: int) -> bytes:
        data = post(node, method, body, most)
        left[0] -= 1
        return lie(rng, data) if left[0] == -1 else data

    monkeypatch.setattr(Node, "_post", lying)
    for names in ((), ("claimant",)):
        left[0] = rng.randrange(6)
        try:
            made.open(*names)
        except (VerificationError, BackendFailed, BackendUnavailable):
            continue


def test_another_code_is_found_out(made: Bench, monkeypatch: Any) -> None:
    """The pin is of the code that the node shows, so it has to show that very code."""
    post = Node._post

    def lying(node: Node, method: str, body: bytes, most: int) -> bytes:
        answer = json.loads(post(node, method, body, most))
        if method == "eth_getCode":
            answer["result"] = answer["result"][:-2] + "5b"
        return json.dumps(answer).encode()

    monkeypatch.setattr(Node, "_post", lying)
    with pytest.raises(VerificationError, match="code of contract"):
        made.open()


def through(ledger: EvmLedger, change: Callable[[dict[str, Any], Any], Any]) -> None:
    """Put a change of all answers between a ledger and its node: request, answer -> answer."""
    node = ledger._chain.node
    post = node._post

    def changing(method: str, body: bytes, most: int) -> bytes:
        del method
        request = json.loads(body)
        answer = change(request, lambda params: _asked(post, request, params, most))
        return json.dumps({"id": request["id"], **answer}).encode()

    node._post = changing  # type: ignore[method-assign]


def _asked(post: Any, request: dict[str, Any], params: list[Any], most: int) -> Any:
    """What the node answers to this request with these parameters."""
    body = json.dumps({**request, "params": params}).encode()
    return json.loads(post(request["method"], body, most))


Honest = Callable[[list[Any]], dict[str, Any]]


def test_logs_that_are_left_out(made: Bench) -> None:
    """A dispute without one of its moves does not lead to where the contract is."""
    for missing in range(7):

        def leaving_out(request: dict[str, Any], honest: Honest, at: int = missing) -> Any:
            answer = honest(request["params"])
            if request["method"] == "eth_getLogs" and len(answer["result"]) > 3:
                answer["result"].pop(at)
            return answer

        ledger = made.open()
        through(ledger, leaving_out)
        with pytest.raises(VerificationError, match="dispute 1"):
            ledger.dispute(1)


@pytest.mark.parametrize("most", [1, 3])
def test_nodes_that_limit_their_answers(made: Bench, truth: dict[str, Any], most: int) -> None:
    """Some give few blocks at once, some few logs, each by an error of its own."""

    def limited(request: dict[str, Any], honest: Honest) -> Any:
        if request["method"] == "eth_getLogs":
            (wanted,) = request["params"]
            if int(wanted["toBlock"], 16) - int(wanted["fromBlock"], 16) >= most:
                return {"error": {"code": -32005, "message": "more than 10000 results"}}
        return honest(request["params"])

    ledger = made.open()
    through(ledger, limited)
    assert ledger.events(0) == truth["events"]
    assert ledger.dispute(1) == truth["dispute"]


def test_a_node_that_answers_nothing(made: Bench) -> None:
    for name, question in QUESTIONS.items():
        ledger = made.open()
        through(ledger, lambda *_: {"error": {"code": -1, "message": "sorry"}})
        with pytest.raises(BackendFailed, match="sorry"):
            question(ledger)
        assert name


def test_a_chain_that_never_ends(made: Bench, monkeypatch: Any) -> None:
    """Blocks without number, each of them there, and no logs: patience ends the question."""
    latest = made.node.rpc("eth_getBlockByNumber", "latest", False)
    passed = 0

    def endless(request: dict[str, Any], honest: Honest) -> Any:
        nonlocal passed
        passed += 1
        if request["method"] == "eth_getLogs":
            return {"result": []}
        if request["method"] != "eth_getBlockByNumber":
            return honest(request["params"])
        wanted = request["params"][0]
        number = hex(1 << 39) if wanted == "latest" else wanted
        # One each second, or a question about a time would be one about all blocks of that time.
        return {"result": {**latest, "number": number, "timestamp": number}}

    ledger = made.open()
    through(ledger, endless)
    # A second for each answer, however long this machine takes for it.
    monkeypatch.setattr(evm_rpc, "time", SimpleNamespace(monotonic=lambda: float(passed)))
    with pytest.raises(VerificationError, match="took too long"):
        ledger.events(0)
    assert passed == evm_rpc.PATIENCE
    with pytest.raises(VerificationError, match="no log of its posting"):
        ledger.claim(1)
    assert passed < 2 * evm_rpc.PATIENCE
