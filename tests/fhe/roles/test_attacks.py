"""Each lie of a server is caught by the check meant for it, and by no other; `open` refuses."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from proofml import api
from proofml.checks import Result
from proofml.errors import PolicyRefused, VerificationError
from proofml.expectation import Expectation
from proofml.fhe import files
from proofml.fhe.checks import TITLES, Check
from proofml.proof import Proof
from proofml.testing.attacker import Attacker
from proofml.verdict import Status, Verdict

from . import attacks
from .attacks import ATTACKS, Attack
from .world import NONCE, World, request
from .world import world as made


def refused(world: World, attacker: Attacker, number: str) -> Verdict:
    """Invalid by exactly this check, whatever the policy pins; and nothing opens."""
    data = attacker.forge()
    verdict = world.judge(data)
    assert verdict.status is Status.INVALID, verdict.status
    assert verdict.error is not None
    assert verdict.error.check == number, str(verdict.error)
    assert [c.number for c in verdict.checks if c.result is Result.FAILED] == [number]
    with pytest.raises(PolicyRefused) as caught:
        api.open(Proof.read(data), world.one.secret, verdict)
    assert caught.value.reasons == (api.NOT_ACCEPTED,)
    with pytest.raises(PolicyRefused):
        api.open(Proof.read(data), world.one.secret, honest(world.backend))
    return verdict


@cache
def honest(backend: str) -> Verdict:
    """On the proof that the attacks begin with; of no use to any other one."""
    of = made(backend)
    return of.judge(of.one.proof, of.policy)


def attacker_of(world: World) -> Attacker:
    return Attacker.of(world.one.proof.to_bytes())


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.__name__)
def test_caught_by_the_check_meant_for_it(world: World, attack: Attack) -> None:
    attacker = attacker_of(world)
    attack(world, attacker)
    refused(world, attacker, f"{world.backend}.{ATTACKS[attack]}")


def test_every_check_has_its_attack() -> None:
    assert set(ATTACKS.values()) == set(TITLES) == set(Check)


def test_honest_proof_signed_by_the_attacker_passes_the_checks(world: World) -> None:
    """So that it is the lie that is refused above, and nothing else of forging."""
    verdict = world.judge(attacker_of(world).forge())
    assert verdict.status is Status.ACCEPTED, verdict.reasons


def test_changed_input_is_seen_by_its_owner(ckks: World) -> None:
    """A run on other ciphertexts under the same keys is a good run: only the owner can tell."""
    attacker = attacker_of(ckks)
    (first, *rest) = attacks.ciphertexts(attacker, "inputs")
    attacks.put(attacker, "inputs", (attacks.nudged(first), *rest))
    attacks.run(ckks, attacker)
    data = attacker.forge()
    verdict = ckks.judge(data)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    with pytest.raises(VerificationError) as caught:
        api.open(Proof.read(data), ckks.one.secret, verdict)
    assert caught.value.check == "ckks.7"


def test_other_circuit_of_the_same_model(ckks: World) -> None:
    """It computes the model, and is not the one that the owner sealed for."""
    attacker = attacker_of(ckks)
    other = attacks.header(ckks.circuit, lambda head: head["report"].update(error="0.5"))
    attacks.put_circuit(ckks, attacker, other)
    data = attacker.forge()
    assert ckks.judge(data, ckks.policy).status is Status.REFUSED
    verdict = ckks.judge(data)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert verdict.guarantee is not None
    assert "circuit:unpinned" in verdict.guarantee.assumptions
    with pytest.raises(VerificationError) as caught:
        api.open(Proof.read(data), ckks.one.secret, verdict)
    assert caught.value.check == "ckks.4"


def test_nonce_of_a_receipt_is_its_signers(ckks: World) -> None:
    """A run does not depend on a nonce: the signature binds it, and the verdict says so."""
    attacker = attacker_of(ckks)
    attacker.statement["nonce"] = b"another".hex()
    data = attacker.forge()
    expect = Expectation(model=ckks.model, nonce=b"another")
    found = api.verify(data, expect, ckks.policy, context=ckks.verifier)
    assert found.status is Status.REFUSED
    mine = api.verify(
        ckks.one.proof,
        Expectation(model=ckks.model, nonce=NONCE),
        ckks.policy,
        context=ckks.verifier,
    )
    assert mine.guarantee is not None
    assert "nonce:unauthenticated" not in mine.guarantee.assumptions


# -- traces ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def traced(ckks: World) -> Proof:
    return api.prove(
        ckks.model,
        ckks.one.sealed,
        request=request(trace="yes"),
        signers=[ckks.signer],
        context=ckks.server,
    )


def test_trace_gives_the_outputs_of_a_run(ckks: World, traced: Proof) -> None:
    assert traced.sections["outputs"] == ckks.one.proof.sections["outputs"]
    whole = ckks.judge(traced, ckks.policy)
    assert whole.status is Status.ACCEPTED, whole.reasons
    assert whole.guarantee is not None
    assert "trace:sampled" not in whole.guarantee.assumptions


def test_some_operators_are_run_again(ckks: World, traced: Proof) -> None:
    total = traced.statement.computation.detail["trace"]["operators"]  # type: ignore[index,call-overload]
    verdict = ckks.judge(traced, ckks.stranger(operators=2))
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert verdict.guarantee is not None
    assert "trace:sampled" in verdict.guarantee.assumptions
    note = verdict.guarantee.notes["re-execution"]
    assert note.startswith(f"2 of {total} operators by seed ")
    assert note.endswith(f"probability {2 / total:.3g}")
    again = [ckks.judge(traced, ckks.stranger(operators=1)).guarantee for _ in range(2)]
    assert len({one.notes["re-execution"] for one in again if one is not None}) == 2


def test_operands_are_held_one_operator_at_a_time(
    ckks: World, traced: Proof, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that are drawn may be larger together than a verifier's memory."""
    from proofml.fhe import trace

    read: list[int] = []
    at, replay = trace.Opened._at, trace.server.replay

    def counted(self: trace.Opened, place: int) -> bytes:
        read.append(place)
        return at(self, place)

    def watched(circuit: Any, evaluation: bytes, tasks: Any, context: Any) -> tuple[bytes, ...]:
        def one_by_one() -> Iterator[tuple[int, list[bytes]]]:
            for number, given in tasks:
                assert len(read) == len(given)
                read.clear()
                yield number, given

        return replay(circuit, evaluation, one_by_one(), context)

    monkeypatch.setattr(trace.Opened, "_at", counted)
    monkeypatch.setattr(trace.server, "replay", watched)
    verdict = ckks.judge(traced, ckks.stranger(operators=5))
    assert verdict.status is Status.ACCEPTED, verdict.reasons


def altered(ckks: World, traced: Proof, number: int) -> Attacker:
    """One operator's ciphertext altered, everything after it computed from that, all committed."""
    from proofml.fhe import trace
    from proofml.fhe.ckks import server
    from proofml.fhe.ckks.circuit import read

    circuit = read(ckks.circuit)
    attacker = Attacker.of(traced.to_bytes())
    given = attacks.ciphertexts(attacker, "inputs")
    operators = server.operators(circuit, len(given))
    known = list(given)
    for index, operator in enumerate(operators):
        (made,) = server.replay(
            circuit,
            ckks.one.evaluation,
            [(index, [known[place] for place in operator.operands])],
            ckks.server,
        )
        known.append(attacks.nudged(made) if index == number else made)
    import hashlib
    import struct

    made = known[len(given) :]
    digests = [hashlib.sha256(one).digest() for one in known]
    leaves = [
        trace.leaf(i, one, digests, digests[len(given) + i]) for i, one in enumerate(operators)
    ]
    table = b"".join(struct.pack("<Q", len(one)) + hashlib.sha256(one).digest() for one in made)
    attacker.sections["trace"] = struct.pack("<I", len(made)) + table + b"".join(made)
    attacks.detail(attacker)["trace"]["root"] = trace.root_of(leaves).hex()
    places = server.outputs_of_trace(circuit, len(given))
    attacks.put(attacker, "outputs", tuple(known[place] for place in places))
    return attacker


def test_altered_operator_is_found_where_it_is_drawn(ckks: World, traced: Proof) -> None:
    """All drawn: found. The probability that is told is the share of seeds that find it."""
    from proofml.fhe import trace
    from proofml.fhe.ckks.circuit import read
    from proofml.fhe.record import Trace

    total = traced.statement.computation.detail["trace"]["operators"]  # type: ignore[index,call-overload]
    attacker = altered(ckks, traced, 0)
    data = attacker.forge()
    for policy in (ckks.stranger(operators=total), ckks.stranger()):
        verdict = ckks.judge(data, policy)
        assert verdict.error is not None
        assert verdict.error.check == "ckks.10"
    root = attacks.detail(attacker)["trace"]["root"]
    opened = trace.open_trace(
        read(ckks.circuit),
        attacker.sections["trace"],
        Trace(total, root),
        files.split(attacker.sections["inputs"], "inputs"),
        files.split(attacker.sections["outputs"], "outputs"),
    )
    import random

    drawn = {bytes([i]): random.Random(bytes([i])).sample(range(total), 1) for i in range(256)}
    hits = next(seed for seed, one in drawn.items() if one == [0])
    misses = next(seed for seed, one in drawn.items() if one != [0])
    found = opened.replay(ckks.one.evaluation, 1, ckks.verifier, hits)
    assert found.wrong == 0
    assert opened.replay(ckks.one.evaluation, 1, ckks.verifier, misses).wrong is None
    share = sum(one == [0] for one in drawn.values()) / len(drawn)
    assert abs(share - 1 / total) < 0.15


def test_trace_that_does_not_lead_to_the_outputs(ckks: World, traced: Proof) -> None:
    attacker = Attacker.of(traced.to_bytes())
    attacks.output_changed(ckks, attacker)
    refused(ckks, attacker, "ckks.9")


def test_committed_ciphertext_that_is_not_in_the_trace(ckks: World, traced: Proof) -> None:
    """A digest in the table, other bytes in the body."""
    attacker = Attacker.of(traced.to_bytes())
    section = attacker.sections["trace"]
    attacker.sections["trace"] = section[:-1] + bytes([section[-1] ^ 1])
    total = attacks.detail(attacker)["trace"]["operators"]
    verdict = ckks.judge(attacker.forge(), ckks.stranger(operators=total))
    assert verdict.error is not None
    assert verdict.error.check == "ckks.10"


def test_trace_beside_the_proof(
    ckks: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from proofml.fhe import trace

    monkeypatch.setattr(trace, "_MAX_INLINE_BYTES", 0)
    proof = api.prove(
        ckks.model, ckks.one.sealed, request=request(trace="yes"), context=ckks.server
    )
    place = tmp_path_factory.mktemp("traced") / "proof.pml"
    proof.write(place)
    assert "trace" not in Proof.read(place).sections
    verdict = ckks.judge(Proof.read(place), ckks.stranger(operators=1))
    assert verdict.status is Status.ACCEPTED, verdict.reasons


def test_concrete_has_no_trace(concrete: World) -> None:
    from proofml.errors import UnsupportedModel

    with pytest.raises(UnsupportedModel, match="no trace"):
        api.prove(
            concrete.model,
            concrete.one.sealed,
            request=request(trace="yes"),
            context=concrete.server,
        )
