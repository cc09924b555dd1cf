"""Float claims on a ledger: who wins, what data can be withheld, and what a verdict says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proofml.api import prove
from proofml.backend import Request
from proofml.canonical import dumps
from proofml.errors import UnsupportedModel, UsageError
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.floating.accusation import Values
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.pointing import accuse, values
from proofml.optimistic.floating.record import BOUNDS as BOUNDS_EVIDENCE
from proofml.optimistic.floating.record import FloatRecord
from proofml.optimistic.game import Status
from proofml.optimistic.record import CLAIM
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.proof import Blob, Proof
from proofml.verdict import Status as Judged

from .court import MONEY, NONCE, STAKES, Court, moved
from .parts import made_by, trace_for

BOUNDS = "float-bounds:theoretical"


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path, int(time.time()))
    yield made
    made.close()


def test_an_honest_claim_becomes_final(court: Court) -> None:
    proof = court.prove()
    watcher, responder = court.watcher(), court.responder()
    court.settle(watcher, responder)
    assert [line["result"] for line in court.logged("judged")] == ["true"]
    refused = court.judge(proof, court.policy("window:open"))
    assert refused.status is Judged.REFUSED
    assert any(BOUNDS in reason for reason in refused.reasons)
    pending = court.judge(proof, court.policy(BOUNDS))
    assert pending.status is Judged.PENDING
    court.time += 3700  # `prove` has the machine's clock
    court.settle(watcher, responder)
    assert court.ledger("claimant").claim(1).status is ClaimStatus.FINAL
    accepted = court.judge(proof, court.policy(BOUNDS))
    assert accepted.status is Judged.ACCEPTED, accepted.reasons
    assert court.ledger("claimant").balance(court.account("claimant")) == MONEY


def test_operators_in_groups(court: Court) -> None:
    """Fewer tensors; the verifier and the watcher make the same plan of the model."""
    proof = court.prove(grouped="yes")
    header = court.ledger("claimant").claim(1).floating
    assert header is not None
    assert header.count < len(court.plan.operators)
    court.settle(court.watcher())
    assert [line["result"] for line in court.logged("judged")] == ["true"]
    assert court.judge(proof, court.policy(BOUNDS)).status is Judged.PENDING
    statement = replace(
        proof.statement,
        computation=replace(
            FloatRecord.read(proof.statement.computation), grouped=False
        ).computation(),
    )
    blobs = {
        name: Blob(proof.evidence(name, check="x", most=1 << 20), "application/json")
        for name in (CLAIM, BOUNDS_EVIDENCE)
    }
    tensors = {name: proof.tensor(name) for name in ("input.0", "output.0")}
    other = court.judge(
        Proof.build(statement, "optimistic", 1, blobs, tensors), court.policy(BOUNDS)
    )
    assert other.error is not None
    assert other.error.check == "optimistic.5"


def test_a_false_value_is_pointed_at(court: Court) -> None:
    number, proof = court.post(moved(court.honest(), made_by(4), 0.25))
    court.settle(court.watcher())
    ledger = court.ledger("watcher")
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    assert ledger.dispute(1).status is Status.WON_BY_CHALLENGER
    assert "operator 4" in ledger.dispute(1).why
    assert ledger.balance(court.account("watcher")) == MONEY + 900
    verdict = court.judge(proof, court.policy(BOUNDS))
    assert verdict.status is Judged.INVALID
    assert verdict.error is not None
    assert verdict.error.check == "optimistic.13"
    # Whoever opens the file rules again, and comes to the same.
    ledger.audit()


def test_wiring_is_checked(court: Court) -> None:
    """An operator that reads something else than its producer made."""
    honest = court.honest()
    leaf = honest.leaves[5]
    other = replace(leaf, inputs=(honest.tensor(made_by(3)).digest, *leaf.inputs[1:]))
    leaves = (*honest.leaves[:5], other, *honest.leaves[6:])
    number, _ = court.post(replace(honest, leaves=leaves))
    court.settle(court.watcher())
    ledger = court.ledger("watcher")
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    assert ledger.dispute(1).why == "operator 5, operand 0: not what its source is"


def test_the_model_s_weights_are_checked(court: Court) -> None:
    honest = court.honest()
    leaf = honest.leaves[0]
    other = replace(leaf, inputs=(leaf.inputs[0], bytes(32), *leaf.inputs[2:]))
    court.post(replace(honest, leaves=(other, *honest.leaves[1:])))
    court.settle(court.watcher())
    assert "operand 1: not what its source is" in court.ledger("watcher").dispute(1).why


def test_the_claimed_output_has_to_be_the_trace_s(court: Court) -> None:
    honest = court.honest()
    wrong = moved(honest, made_by(10), 0.5).tensor(made_by(10)).digest
    number, _ = court.post(honest, outputs=(wrong,))
    court.settle(court.watcher())
    assert court.ledger("watcher").claim(number).status is ClaimStatus.DEFEATED
    assert "output 0 is not what operator 10 made" in court.ledger("watcher").dispute(1).why


def test_an_output_of_other_dims(court: Court) -> None:
    """A digest binds dims: what has the right bytes in another shape is not the output."""
    honest = court.honest()
    arrays = dict(honest.arrays)
    arrays[made_by(9)] = arrays[made_by(9)].reshape(10, 1)
    court.post(trace_for(honest.plan, arrays))
    court.settle(court.watcher())
    assert "operator 9: what it made is of another type" in court.ledger("watcher").dispute(1).why


def accuse_wrongly(court: Court, operator: int = 4) -> tuple[int, Values]:
    """An honest claim, and a dispute about it with nothing to show."""
    honest = court.honest()
    court.post(honest, "claimant")
    ledger = court.ledger("griefer")
    ledger.challenge(1, court.account("griefer"))
    return operator, values(honest, operator)


def test_whoever_accuses_wrongly_loses(court: Court) -> None:
    operator, charge = accuse_wrongly(court)
    ledger = court.ledger("griefer")
    ledger.move(1, accuse(court.honest(), operator, charge).move(), court.account("griefer"))
    assert ledger.dispute(1).status is Status.WON_BY_CLAIMANT
    assert ledger.claim(1).status is ClaimStatus.OPEN
    assert ledger.balance(court.account("claimant")) == MONEY - 1000 + 90
    assert ledger.balance(court.account("griefer")) == MONEY - 100
    ledger.audit()


def test_the_ledger_finds_for_itself(court: Court) -> None:
    """A record that says `outside` of what is inside is against the rules, whoever signs it."""
    from proofml.optimistic import clerk
    from proofml.optimistic.actions import Play

    operator, charge = accuse_wrongly(court)
    ledger = court.ledger("griefer")
    move = accuse(court.honest(), operator, charge).ruled(stands=True).move()
    with ledger._reading() as book, pytest.raises(IllegalMove, match="found inside") as error:
        clerk.apply(book, Play(1, move), court.account("griefer"), court.time)
    assert error.value.refusal is Refusal.OPENING


def test_evidence_has_to_be_the_claim_s(court: Court) -> None:
    """Tensors that the trace does not name prove nothing."""
    operator, charge = accuse_wrongly(court)
    changed = np.array(charge.tensors[-1])
    changed.reshape(-1)[0] += 1
    forged = replace(charge, tensors=(*charge.tensors[:-1], changed))
    ledger, honest = court.ledger("griefer"), court.honest()
    accusation = accuse(honest, operator, forged)
    for wrong, refusal in (
        (accusation, Refusal.OPENING),
        (replace(accusation, leaf=accusation.leaf[:-1] + b"!"), Refusal.LEAF),
        (replace(accusation, descriptor=accusation.descriptor + b"!"), Refusal.DESCRIPTOR),
        (replace(accusation, operator=3), Refusal.DESCRIPTOR),
    ):
        with pytest.raises(IllegalMove) as error:
            ledger.move(1, wrong.move(), court.account("griefer"))
        assert error.value.refusal is refusal
    # Having nothing to show he loses by the clock.
    court.time += 601
    court.settle(court.responder())
    assert ledger.dispute(1).status is Status.WON_BY_CLAIMANT


@pytest.mark.parametrize("withheld", ["o4.0.bin", "i0.bin", "trace.json"])
def test_a_trace_that_nobody_can_get_is_not_final(court: Court, withheld: str) -> None:
    number, _ = court.post(court.honest(), leave_out=(withheld,))
    watcher = court.watcher()
    court.settle(watcher)
    ledger = court.ledger("watcher")
    assert ledger.claim(number).asked > 0
    court.time += 301
    court.settle(watcher)
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    assert ledger.balance(court.account("watcher")) == MONEY + 900


@pytest.mark.parametrize("withheld", ["o4.0.bin", "i0.bin", "trace.json"])
def test_what_is_asked_for_is_answered(court: Court, withheld: str) -> None:
    """The claimant has his trace; the watcher sees another folder, in which a part is missing."""
    number, _ = court.post(court.honest(), "claimant")
    watcher, responder = court.watcher(), court.responder()
    ledger = court.ledger("watcher")
    (place,) = ledger.traces.iterdir()
    hidden = court.folder / "hidden"
    (place / withheld).rename(hidden)
    court.settle(watcher)
    assert ledger.claim(number).asked > 0
    hidden.rename(place / withheld)
    responder.step()
    (place / withheld).rename(hidden)
    court.settle(watcher)
    assert [line["result"] for line in court.logged("judged")] == ["true"]
    hidden.rename(place / withheld)
    court.time += 3600
    court.settle(watcher, responder)
    assert ledger.claim(number).status is ClaimStatus.FINAL


def test_a_false_claim_is_found_by_answers_alone(court: Court) -> None:
    """Of a trace of which nothing is published, but every request is answered."""
    number, _ = court.post(moved(court.honest(), made_by(4), 0.25), "claimant")
    watcher, responder = court.watcher(), court.responder()
    (place,) = court.ledger("watcher").traces.iterdir()
    hidden = court.folder / "hidden"
    place.rename(hidden)
    court.settle(watcher)
    hidden.rename(place)
    responder.step()
    place.rename(hidden)
    court.settle(watcher)
    assert court.ledger("watcher").claim(number).status is ClaimStatus.DEFEATED
    assert "operator 4" in court.ledger("watcher").dispute(1).why


def test_claims_that_cannot_be_made(court: Court) -> None:
    with pytest.raises(IllegalMove, match="cannot defer its root") as error:
        court.post(court.honest(), root=bytes(32))
    assert error.value.refusal is Refusal.TERMS
    given = {"rpc": "http://127.0.0.1:1", "contract": "0x" + "12" * 20, "chain-id": "1"}
    request = Request(options={**given, "arithmetic": "float"})
    with pytest.raises(UnsupportedModel, match="arbiter has no float operators"):
        prove(court.model, court.inputs, backend="optimistic", request=request)
    with pytest.raises(UnsupportedModel, match="expected exact or float"):
        court.prove(arithmetic="real")


def test_bounds_are_part_of_the_claim(court: Court) -> None:
    """The proof's bounds are those that the ledger has, or the program is another one."""
    proof = court.prove()
    count = len(court.plan.operators)
    tight = Bounds(
        Basis.CALIBRATED, ((0.5,),) * count, (1.0,), 1.5, 9, ("here",), court.plan.root.hex()
    )
    number, other = court.post(court.honest(), "claimant", bounds=tight)
    assert number == 2
    assert court.judge(other, court.policy("float-bounds:calibrated")).status is Judged.PENDING
    assert court.judge(other, court.policy(BOUNDS)).status is Judged.REFUSED
    assert court.judge(proof, court.policy(BOUNDS)).status is Judged.PENDING
    # The wide bounds' claim with a proof that tells of tight ones.
    header = FloatHeader.of(court.plan, tight)
    statement = replace(proof.statement, computation=FloatRecord.of(header, tight).computation())
    blobs = {
        CLAIM: Blob(proof.evidence(CLAIM, check="x", most=1 << 20), "application/json"),
        BOUNDS_EVIDENCE: Blob(dumps(tight.to_json()), "application/json"),
    }
    tensors = {name: proof.tensor(name) for name in ("input.0", "output.0")}
    mixed = Proof.build(statement, "optimistic", 1, blobs, tensors)
    verdict = court.judge(mixed, court.policy("float-bounds:calibrated"))
    assert verdict.error is not None
    assert verdict.error.check == "optimistic.5"


def test_another_input_or_model_is_refused(court: Court) -> None:
    proof = court.prove()
    other = {"x": court.inputs["x"] + np.float32(1)}
    verdict = court.judge(proof, court.policy(BOUNDS), inputs=other)
    assert verdict.status is Judged.INVALID


def test_float64_is_not_claimable(court: Court) -> None:
    from onnx import TensorProto

    from proofml.optimistic.floating.claimable import check_claimable

    from .parts import model_of, node, plan_for

    x = {"x": np.ones((2, 3))}
    plan = plan_for(model_of([node("Exp", ["x"], ["y"])], x, {"y": TensorProto.DOUBLE}), x)
    with pytest.raises(UnsupportedModel, match="Exp -> y: a tensor of float64"):
        check_claimable(plan)
    assert STAKES["bond"] == 1000


def test_a_watcher_that_was_killed_goes_on(court: Court) -> None:
    """Between the challenge and the move."""
    number, _ = court.post(moved(court.honest(), made_by(4), 0.25))
    ledger = court.ledger("watcher")
    first = court.watcher()
    while not ledger.claim(number).running:
        assert first.step()
    court.settle(court.watcher())
    assert ledger.claim(number).status is ClaimStatus.DEFEATED
    assert len(court.logged("challenge")) == 1


def test_bounds_calibrated_by_the_prover(court: Court) -> None:
    rng = np.random.default_rng(5)
    samples = [{"x": rng.normal(size=(1, 3, 12, 12)).astype(np.float32)} for _ in range(2)]
    options = {
        "ledger": str(court.path),
        "key": str(court.key("claimant")),
        "arithmetic": "float",
        "bounds": "calibrated",
    }
    court.ledger("claimant")
    request = Request(nonce=NONCE, calibration=samples, options=options)
    proof = prove(
        court.model, court.inputs, backend="optimistic", request=request, context=court.context
    )
    header = court.ledger("claimant").claim(1).floating
    assert header is not None
    assert header.basis is Basis.CALIBRATED
    by_op = {o.op: header.limits[o.index] for o in court.plan.operators}
    # Sums of what the input makes keep their worst case; a convolution's have weights.
    assert by_op["GlobalAveragePool"] == by_op["Softmax"] == 1.0
    assert 0 < by_op["Conv"] < 1
    court.settle(court.watcher())
    assert [line["result"] for line in court.logged("judged")] == ["true"]
    assert court.judge(proof, court.policy("float-bounds:calibrated")).status is Judged.PENDING
    alone = Request(options={**options, "ledger": str(court.path)})
    with pytest.raises(UsageError, match="expected samples"):
        prove(court.model, court.inputs, backend="optimistic", request=alone)
