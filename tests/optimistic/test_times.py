"""Times and fees: what leaves a watcher enough of both, and what a policy demands by default."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proofml.backend import Request
from proofml.errors import UsageError
from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import longest
from proofml.optimistic.options import ON_CHAIN, Options, Stakes
from proofml.optimistic.policy import OptimisticPolicy, Pace, usual_hints
from proofml.policy import Policy
from proofml.verdict import Status

from .courtroom import Court

CONTRACT = "0x" + "ab" * 20
CHAIN = {"rpc": "http://127.0.0.1:8545", "chain_id": 1, "contract": CONTRACT}
ASKING = "claim:inputs-not-askable"
DAY = 24 * 3600
#: Moves of a long dispute.
MOVES = 65


def policy(*, chain: dict[str, Any] | None = None, **section: Any) -> OptimisticPolicy:
    where = {"ledger": "ledger.db"} if chain is None else {"chain": chain}
    return OptimisticPolicy.read(Policy(sections={"optimistic": {**where, **section}}))


def terms(stakes: Stakes = ON_CHAIN, **changes: Any) -> Terms:
    roots = (bytes([1]) * 32,)
    made = Terms(
        statement=bytes(32),
        program=bytes(32),
        inputs=roots,
        outputs=roots,
        trace=bytes(32),
        k_log=stakes.k_log,
        bond=stakes.bond,
        challenge_bond=stakes.challenge_bond,
        burn=stakes.burn,
        window=stakes.window,
        clock=stakes.clock,
        extension=stakes.extension,
        answer=stakes.answer,
        data_fee=stakes.data_fee,
    )
    return replace(made, **changes)


def dispute(claimed: Terms) -> int:
    return longest(claimed.clock, claimed.extension, MOVES)


# ---------------------------------------------------------------- asking for inputs
def test_requests_for_all_inputs_take_time_on_a_chain() -> None:
    """2 * 12 blocks until a claim, and a request, is believed; 50 requests in each other block."""
    pinned = policy(chain=CHAIN)
    for requests, asking in ((1, 25), (50, 25), (51, 26), (100_000, 2024)):
        least = 2 * 3600 + 600 + asking * 12
        claimed = terms(data_fee=0, window=least)
        assert pinned.askable(claimed, requests)
        assert not pinned.askable(replace(claimed, window=least - 1), requests)
    slow = policy(chain={**CHAIN, "confirmations": 64, "block_seconds": 2})
    claimed = terms(data_fee=0, window=2 * 3600 + 600 + 2 * 129)
    assert slow.askable(claimed, 50)
    assert not slow.askable(claimed, 51)


def test_requests_for_all_inputs_take_time_on_a_file() -> None:
    claimed = terms(Stakes(data_fee=0, window=632))
    assert policy().askable(claimed, 100)
    assert not policy().askable(claimed, 101)


def test_requests_cost_a_part_of_what_is_won() -> None:
    """A liar answers all requests but the last, and keeps their fees: 900 is won, a quarter 225."""
    for burn, most in ((1000, 225), (5000, 125), (10_000, 0)):
        claimed = terms(bond=1000, burn=burn, data_fee=1)
        for chain in (None, CHAIN):
            assert policy(chain=chain).askable(claimed, most)
            assert not policy(chain=chain).askable(claimed, most + 1)
    assert policy().askable(terms(burn=10_000, data_fee=0), 225)


def test_the_verdict_counts_the_chunks(court: Court) -> None:
    """One chunk of a digit: its fee may be a quarter of 900, where the policy allows as much."""
    allowed = court.policy(most_data_fee=1000).allow(["window:open"])
    for fee, status in (("225", Status.ACCEPTED), ("226", Status.REFUSED)):
        options: dict[str, Any] = {"data-fee": fee}
        proof = court.prove(**options)
        verdict = court.judge(proof, allowed)
        assert verdict.status is status, verdict.reasons
        assert (ASKING in proof.hints) is (status is Status.REFUSED)
        assert any(ASKING in reason for reason in verdict.reasons) is (ASKING in proof.hints)


def test_hints_tell_what_a_default_policy_would_say() -> None:
    """On a chain and on a file, for claims around every limit."""
    pinned = {False: policy(chain=CHAIN), True: policy()}
    seen = set()
    for local, found in pinned.items():
        for window in (3599, 3600, 7500, 7900, DAY - 1, DAY):
            for requests in (1, 225, 226):
                claimed = terms(window=window, answer=3600 if window > 7000 else 600)
                short = window < found.least_window
                said = {
                    name
                    for name, raised in {
                        "ledger:local": local,
                        "window:none": short,
                        ASKING: not short and not found.askable(claimed, requests),
                    }.items()
                    if raised
                }
                assert usual_hints(claimed, requests, local=local) == said
                seen.add(frozenset(said))
    assert len(seen) == 6  # on each: too short, long enough, not enough to ask


# ---------------------------------------------------------------- least and most
@pytest.mark.parametrize(
    ("chain", "section", "times"),
    [
        (None, {}, (3600, 60, 30)),
        (CHAIN, {}, (DAY, 1200, 600)),
        ({**CHAIN, "confirmations": 0}, {}, (DAY, 1200, 600)),
        ({**CHAIN, "confirmations": 64}, {}, (DAY, 2136, 1068)),
        ({**CHAIN, "block_seconds": 60}, {}, (DAY, 4440, 2220)),
        (CHAIN, {"least_extension": 5000}, (DAY, 10_000, 5000)),
        (CHAIN, {"least_window": 9, "least_clock": 8, "least_extension": 7}, (9, 8, 7)),
    ],
    ids=str,
)
def test_what_a_policy_demands(
    chain: dict[str, Any] | None, section: dict[str, int], times: tuple[int, int, int]
) -> None:
    found = policy(chain=chain, **section)
    assert (found.least_window, found.least_clock, found.least_extension) == times


def test_what_prove_posts_is_enough() -> None:
    """A default claim raises nothing, and is refused nothing, where its bond is enough."""
    for chain, stakes in ((None, Stakes()), (CHAIN, ON_CHAIN)):
        claimed = terms(stakes)
        found = policy(chain=chain, least_bond=stakes.bond)
        assert found.objections(claimed, dispute(claimed)) == ()
        assert claimed.window >= found.least_window
        assert found.askable(claimed, 200)
    claimed = terms(Stakes())
    words = policy(chain=CHAIN, least_bond=1).objections(claimed, dispute(claimed))
    assert [word.split(" is ")[0] for word in words] == [
        "the claim's clock",
        "the claim's extension",
    ]


def test_the_example_of_the_docs_takes_a_default_claim() -> None:
    claimed = terms(bond=10**17, challenge_bond=10**16)
    section = {"least_window": DAY, "least_extension": 3600, "least_clock": 6 * 3600}
    found = policy(chain={**CHAIN, "confirmations": 64}, least_bond=10**17, **section)
    assert found.objections(claimed, dispute(claimed)) == ()
    assert found.askable(claimed, 10_000)


def test_a_dispute_may_not_hold_a_bond_for_ever() -> None:
    """A clock is limited, and with it all that a claim's times add up to."""
    week = 7 * DAY
    claimed = terms(clock=week)
    assert policy().objections(claimed, dispute(claimed)) == ()
    (word,) = policy().objections(replace(claimed, clock=week + 1), 0)
    assert "clock is 604801" in word
    assert policy(most_clock=week + 1).objections(replace(claimed, clock=week + 1), 0) == ()
    slow = terms(clock=week, extension=2 * DAY)
    (word,) = policy().objections(slow, dispute(slow))
    assert "time to finality" in word
    whole = slow.window + dispute(slow)
    assert policy(most_time=whole).objections(slow, dispute(slow)) == ()
    assert len(policy(most_time=whole - 1).objections(slow, dispute(slow))) == 1
    (word,) = policy().objections(terms(window=31 * DAY), 0)
    assert "time to finality" in word


# ---------------------------------------------------------------- options of a claim on a chain
def options(**more: str) -> Options:
    given = {"rpc": CHAIN["rpc"], "chain-id": "1", "contract": CONTRACT, **more}
    return Options.read(Request(options={k: str(v) for k, v in given.items()}), quantised=True)


def test_a_claim_on_a_chain_has_longer_times() -> None:
    assert options().stakes == ON_CHAIN
    assert options(clock="9000").stakes == replace(ON_CHAIN, clock=9000)
    on_file = Options.read(Request(options={"ledger": "ledger.db"}), quantised=True)
    assert on_file.stakes == Stakes()
    pace = Pace.usual(local=False)
    assert ON_CHAIN.extension >= pace.extension
    assert ON_CHAIN.clock >= pace.clock(ON_CHAIN.extension)


def test_the_code_of_a_contract_can_be_pinned() -> None:
    chain = options(**{"code-sha256": "cd" * 32}).chain
    assert chain is not None
    assert chain.code_sha256 == "cd" * 32
    chain = options().chain
    assert chain is not None
    assert chain.code_sha256 is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"code-sha256": "cd" * 31}, "code-sha256"),
        ({"code-sha256": "CD" * 32}, "code-sha256"),
        ({"contract": "0x12"}, "contract"),
    ],
    ids=str,
)
def test_pins_are_read_strictly(given: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        options(**given)


def test_a_pin_without_a_chain() -> None:
    with pytest.raises(UsageError, match="rpc=URL"):
        Options.read(Request(options={"code-sha256": "cd" * 32}), quantised=True)
