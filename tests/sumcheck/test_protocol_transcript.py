"""Fiat-Shamir: what is absorbed before which challenge, and that each depends on all of it.

The order is written down here a second time, from the protocol's text and the layout alone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from unittest import mock

import pytest

from proofml.circuits import kernels
from proofml.circuits.graph import ArgMax, Input, Step
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import engine, reader, verifier
from proofml.zkml.sumcheck.logup import verifier as logup_verifier
from proofml.zkml.sumcheck.pcs import verifier as pcs_verifier
from proofml.zkml.sumcheck.transcript import Transcript, grind, grind_ok

from .graphs import CASES
from .malicious import Event, Lie, Trial, recorded

Get = Callable[[str], Trial]
NAMES = ("tiny", "mlp", "attention", "committed", "hidden", "argmaxes", "several", "linear")


def challenges(trial: Trial) -> list[str]:
    """Tags of all challenges in order, as section 10 of the protocol lists them."""
    layout, params, shape = trial.layout, trial.key.circuit.params, trial.key.circuit.shape
    found = ["alpha", "beta", "logup line"]
    for layer in range(1, layout.leaves.log):
        found += ["logup lambda", *["logup round"] * layer, "logup line"]
    for size in shape.outputs:
        found += ["output point"] * size
    if shape.contractions:
        found += ["contraction eta", *["contraction round"] * shape.rounds]
    columns = max(0, max(stack.log for stack in layout.trees.values()) - params.mu)
    found += ["open eta", *["open round"] * columns]
    found += ["open select"] * {1: 0, 2: 1, 3: 2}[len(layout.trees)]
    for fold in params.folds:
        found += ["open round"] * fold
    return [*found, *["open round"] * (params.mu - sum(params.folds)), "grind", "queries"]


class _Enough(Exception):
    """All challenges are drawn."""


def verified(trial: Trial, proof: bytes, statement: bytes | None = None, *,
             deaf: bool = False) -> list[Event]:  # fmt: skip
    """The verifier's transcript; `deaf`: up to the last challenge, whatever the checks say."""
    with recorded() as events, ExitStack() as stack:
        if deaf:
            for module in (verifier, logup_verifier, pcs_verifier, reader, engine):
                stack.enter_context(mock.patch.object(module, "refuse"))
            last = Transcript.indices

            def indices(self: Transcript, tag: str, count: int, log_n: int) -> list[int]:
                last(self, tag, count, log_n)
                raise _Enough

            stack.enter_context(mock.patch.object(Transcript, "indices", indices))
            stack.enter_context(suppress(_Enough))
        trial.verify(proof, statement=statement or trial.statement)
    return events


@pytest.mark.parametrize("name", NAMES)
def test_challenges_come_in_the_fixed_order(name: str, trial: Get) -> None:
    run = Trial.on(trial(name).case, trial(name).key)
    events = verified(run, run.prove(Lie()))
    assert [e.tag for e in events if e.kind != "absorb"] == challenges(run)
    assert [e.kind for e in events[-2:]] == ["absorb", "indices"]


@pytest.mark.parametrize("name", NAMES)
def test_trap_02_every_message_is_absorbed_when_it_is_sent(name: str, trial: Get) -> None:
    """Message by message the verifier absorbs what lies in the proof, before the next challenge."""
    run = Trial.on(trial(name).case, trial(name).key)
    proof = run.prove(Lie())
    with recorded() as sent:
        run.prove(Lie())
    received = verified(run, proof)
    assert sent == received
    absorbed = [(e.tag, e.data) for e in received if e.kind == "absorb"]
    assert absorbed == [(s.tag, proof[s.start : s.start + s.size]) for s in run.log if s.absorbed]
    # What is not absorbed comes after the last challenge, and is bound by roots.
    first = next(i for i, s in enumerate(run.log) if not s.absorbed)
    assert not any(s.absorbed for s in run.log[first:])
    assert run.log[first - 1].tag == "nonce"


@pytest.mark.parametrize("name", ["tiny", "committed", "attention"])
def test_trap_02_every_message_changes_all_later_challenges(name: str, trial: Get) -> None:
    run = Trial.on(trial(name).case, trial(name).key)
    proof = run.prove(Lie())
    honest = verified(run, proof)
    messages = [s for s in run.log if s.absorbed]
    places = [i for i, e in enumerate(honest) if e.kind == "absorb"]
    step = 1 if name == "tiny" else 9
    for segment, place in list(zip(messages, places, strict=True))[::step]:
        if not segment.size:
            continue
        at = segment.start
        bent = proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]
        other = verified(run, bent, deaf=True)
        assert other[:place] == honest[:place]
        for one, two in zip(honest[place:], other[place:], strict=True):
            assert one.tag == two.tag
            if one.kind != "absorb" and not (name == "tiny" and one.kind == "indices"):
                assert one.data != two.data, (segment.tag, one.tag)


@pytest.mark.parametrize("name", ["tiny", "committed"])
def test_trap_01_the_statement_comes_first(name: str, trial: Get) -> None:
    run = trial(name)
    proof = run.prove()
    honest = verified(run, proof)
    other = verified(run, proof, bytes(32), deaf=True)
    pairs = [(a, b) for a, b in zip(honest, other, strict=True) if a.kind in ("challenge", "seed")]
    assert pairs
    assert all(a.data != b.data for a, b in pairs)


@pytest.mark.parametrize("name", NAMES)
def test_trap_03_no_two_challenges_are_equal(name: str, trial: Get) -> None:
    run = trial(name)
    found = [e.data for e in verified(run, run.prove()) if e.kind == "challenge"]
    assert len(set(found)) == len(found)


def test_trap_03_two_squeezes_in_a_row_differ() -> None:
    one = Transcript(bytes(32))
    assert one.challenge("a") != one.challenge("a")
    assert Transcript(bytes(32)).challenge("a") != Transcript(bytes(32)).challenge("b")


def test_a_challenge_drops_what_is_not_below_p() -> None:
    """Words of 31 bits, uniform below p: p itself and what is above it do not count."""
    words = [2013265921, 7, 1 << 31 | 2013265920, 0x7FFFFFFF, 0, 2013265922, 5, 6, 8]
    with mock.patch.object(Transcript, "_words", return_value=iter(words)):
        assert Transcript(bytes(32)).challenge("a") == (7, 2013265920, 0, 5, 6)


def test_a_transcript_needs_32_bytes() -> None:
    for size in (0, 31, 33):
        with pytest.raises(ValueError):
            Transcript(bytes(size))
        with pytest.raises(ValueError):
            Transcript.over(bytearray(size))
    one = Transcript(bytes(32))
    two = Transcript.over(one.state)
    two.absorb("a", b"b")
    assert one.state == two.state


def test_tags_and_lengths_are_bound() -> None:
    states = set()
    for tag, data in (("a", b"bc"), ("ab", b"c"), ("abc", b""), ("", b"abc"), ("a", b"bc\0")):
        run = Transcript(bytes(32))
        run.absorb(tag, data)
        states.add(bytes(run.state))
    twice = Transcript(bytes(32))
    twice.absorb("a", b"b")
    twice.absorb("a", b"c")
    states.add(bytes(twice.state))
    assert len(states) == 6


def test_trap_13_positions_are_uniform() -> None:
    """Indices are low bits of words, without a remainder."""
    counts = [0] * 8
    run = Transcript(bytes(32))
    for index in run.indices("queries", 8000, 3):
        counts[index] += 1
    assert min(counts) > 850
    assert max(counts) < 1150
    assert run.indices("queries", 3, 0) == [0, 0, 0]
    assert max(run.indices("queries", 9, 32)) > 1 << 28
    for bits in (-1, 33):
        with pytest.raises(ValueError):
            run.indices("queries", 1, bits)


def test_grinding_counts_leading_bits() -> None:
    seed = bytes(range(32))
    valid = [sum(grind_ok(seed, n, bits) for n in range(4096)) for bits in (0, 1, 4, 8)]
    assert valid[0] == 4096
    assert 1850 < valid[1] < 2250
    assert 190 < valid[2] < 330
    assert 4 < valid[3] < 32
    assert all(grind_ok(seed, n, 3) for n in range(4096) if grind_ok(seed, n, 4))


def test_grinding_finds_the_smallest_nonce() -> None:
    """So that the same proof is written again."""
    for start in range(8):
        seed = bytes(range(start, start + 32))
        for bits in (0, 1, 5):
            least = next(n for n in range(4096) if grind_ok(seed, n, bits))
            assert grind(seed, bits) == least


def test_trap_15_the_degree_is_the_protocols(trial: Get) -> None:
    """Round messages have the length that the degree gives; no length is read."""
    run = Trial.on(trial("committed").case, trial("committed").key)
    run.prove(Lie())
    sizes = {s.tag: s.size for s in run.log if s.absorbed and s.tag.endswith(("round", "select"))}
    assert sizes == {
        "logup round": 60,
        "contraction round": 40,
        "open round": 40,
        "open select": 40,
    }


@pytest.mark.parametrize("name", ["tiny", "mlp", "committed"])
def test_a_first_message_with_another_claim(name: str, trial: Get) -> None:
    """Public tensors are in the Statement's digest: the caller's; here they change the claims."""
    run = trial(name)
    proof = run.prove()
    for value in run.public:
        node = run.case.graph.nodes[value]
        assert isinstance(node, ArgMax | Input | Step) or value in {
            port.value for port in run.case.graph.outputs
        }
        public = dict(run.public)
        public[value] = public[value].copy()
        public[value].reshape(-1)[-1] -= 1
        with pytest.raises(VerificationError):
            run.verify(proof, public=public)


@pytest.mark.parametrize("name", CASES)
def test_kernels_leave_the_same_transcript(name: str, trial: Get) -> None:
    """The C verifier accepts and refuses with the Python one: see the tampering tests."""
    if not kernels.available():
        pytest.skip("the C kernels are not available")
    run = trial(name)
    proof = run.prove()
    states = []
    honest = Transcript.seed

    def seed(self: Transcript, tag: str) -> bytes:
        found = honest(self, tag)
        states.append(found)
        return found

    with mock.patch.object(Transcript, "seed", seed):
        for native in (False, True):
            with engine.using(native=native):
                run.verify(proof)
    assert len(set(states)) == 1
    assert len(states) == 2
