"""Every number of the verifier has an attack that it stops, and no other one does."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofml.api import prove
from proofml.backend import Request
from proofml.checks import Result
from proofml.circuits.ranges import RangeError
from proofml.model import Model
from proofml.optimistic import checks
from proofml.optimistic import compile as compiling
from proofml.optimistic.floating.record import BOUNDS
from proofml.optimistic.record import (
    CLAIM,
    QUANTISATION,
    ClaimRecord,
)
from proofml.proof import Blob, Proof
from proofml.statement import Computation, Statement
from proofml.tensors import tensor_digest
from proofml.testing import gemm
from proofml.verdict import Verdict

from ..sumcheck_backend.models import X
from . import liars
from .arena import LyingResponder
from .courtroom import NONCE, Court
from .floating.court import Court as FloatCourt
from .liars import TERMS


def remade(
    proof: Proof,
    statement: Statement | None = None,
    evidence: Mapping[str, bytes] | None = None,
    **tensors: Any,
) -> Proof:
    """The same proof but for these, all of whose digests are made anew."""
    stated = proof.statement if statement is None else statement
    roles = [role for role, _ in stated.tensors()]
    sections = {name: data for name, data in proof.sections.items() if name not in roles}
    blobs = {n: Blob(b, "application/json") for n, b in {**sections, **(evidence or {})}.items()}
    arrays = {role: tensors.get(role.replace(".", "_"), proof.tensor(role)) for role in roles}
    return Proof.build(stated, "optimistic", 1, blobs, arrays)


def restated(proof: Proof, detail: Mapping[str, Any]) -> Proof:
    stated = proof.statement.computation
    made = Computation(stated.kind, {**stated.detail, **detail})
    return remade(proof, replace(proof.statement, computation=made))


def reclaimed(proof: Proof, **changes: Any) -> Proof:
    """With a claim of other terms, about the Statement as it is."""
    record = ClaimRecord.read(proof.sections[CLAIM])
    made = replace(record, terms=replace(record.terms, **changes))
    return remade(proof, evidence={CLAIM: made.to_bytes()})


# ---------------------------------------------------------------- one attack for each number
def an_incomplete_record(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    return court.judge(restated(court.prove(), {"classes": {}}))


def more_evidence(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    return court.judge(remade(court.prove(), evidence={"more": b"{}"}))


def terms_of_no_ledger(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    return court.judge(reclaimed(court.prove(), k_log=200))


def another_quantisation_record(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    """That of the same model by other samples."""
    model = Model.load(gemm(0), store=court.context.store)
    court.ledger("claimant")
    options = {"ledger": str(court.path), "key": str(court.key("claimant"))}
    proofs = []
    for scale in (1, 2):
        samples = ({"x": X["x"] * np.float32(scale)},)
        request = Request(nonce=NONCE, options=options, calibration=samples)
        proofs.append(prove(model, X, backend="optimistic", request=request, context=court.context))
    one, other = proofs
    mixed = remade(one, evidence={QUANTISATION: other.sections[QUANTISATION]})
    return court.judge(mixed, model=model, inputs=X)


def another_program(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    return court.judge(restated(court.prove(), {"program": "0" * 64}))


def a_model_without_ranges(court: Court, patch: pytest.MonkeyPatch) -> Verdict:
    """The compiler refuses sums that can be too large earlier, by name; this is what is behind."""
    proof = court.prove()

    def broken(*_: object, **__: object) -> None:
        raise RangeError("from 0 to 2^40", 7)

    patch.setattr("proofml.circuits.onnx.compile_model", broken)
    compiling.clear()
    return court.judge(proof)


def a_value_that_is_no_code(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    proof = court.prove()
    between = np.nextafter(proof.tensor("output.0"), np.float32(np.inf), dtype=np.float32)
    (claim,) = proof.statement.outputs
    stated = replace(proof.statement, outputs=(replace(claim, sha256=tensor_digest(between)),))
    return court.judge(remade(proof, stated, output_0=between))


def another_input(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    proof = court.prove()
    (other,) = court.feeds(1).values()
    (claim,) = proof.statement.inputs
    stated = replace(proof.statement, inputs=(replace(claim, sha256=tensor_digest(other)),))
    return court.judge(remade(proof, stated, input_0=other), inputs=court.feeds(1))


def another_output(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    proof = court.prove()
    other = court.prove(1)
    stated = replace(proof.statement, outputs=other.statement.outputs)
    return court.judge(remade(proof, stated, output_0=other.tensor("output.0")))


def another_statement(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    proof = court.prove()
    stated = replace(proof.statement, nonce=b"another nonce")
    return court.judge(remade(proof, stated), nonce=b"another nonce")


def another_ledger(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    proof = court.prove()
    record = ClaimRecord.read(proof.sections[CLAIM])
    made = replace(record, ledger={"kind": "sqlite", "name": "ab" * 32})
    return court.judge(remade(proof, evidence={CLAIM: made.to_bytes()}))


def terms_that_were_not_posted(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    return court.judge(reclaimed(court.prove(), bond=10**9))


def a_defeated_claim(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    lie = liars.lie_about_output(court.machine, court.inputs(), random.Random(4))
    number, proof = court.claimed(lie)
    liar, watcher = court.agent(LyingResponder, "attacker", lies={number: lie}), court.watcher()
    court.play(watcher, liar)
    court.time += TERMS["clock"] + TERMS["extension"]
    court.play(watcher, liar)
    return court.judge(proof)


def a_clock_without_end(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    """Whoever disputes it would have his bond held for 136 years."""
    return court.judge(court.prove(clock=str((1 << 32) - 1)))


def other_bounds(court: Court, _: pytest.MonkeyPatch) -> Verdict:
    hall = FloatCourt(court.folder / "floats", court.time)
    hall.folder.mkdir()
    try:
        proof = hall.prove()
        made = remade(proof, evidence={BOUNDS: proof.sections[BOUNDS].replace(b"{", b'{"a":1,', 1)})
        return hall.judge(made, hall.policy("float-bounds:theoretical", "window:open"))
    finally:
        hall.close()


ATTACKS: Mapping[str, Callable[[Court, pytest.MonkeyPatch], Verdict]] = {
    checks.RECORD: an_incomplete_record,
    checks.INTERFACE: more_evidence,
    checks.CLAIM: terms_of_no_ledger,
    checks.QUANTISATION: another_quantisation_record,
    checks.PROGRAM: another_program,
    checks.RANGES: a_model_without_ranges,
    checks.TENSORS: a_value_that_is_no_code,
    checks.INPUTS: another_input,
    checks.OUTPUTS: another_output,
    checks.STATEMENT: another_statement,
    checks.LEDGER: another_ledger,
    checks.POSTED: terms_that_were_not_posted,
    checks.STATUS: a_defeated_claim,
    checks.STAKES: a_clock_without_end,
    checks.BOUNDS: other_bounds,
}


def test_every_number_has_an_attack() -> None:
    assert set(ATTACKS) == set(checks.CHECKS)
    assert len(set(ATTACKS.values())) == len(ATTACKS)


@pytest.mark.parametrize("number", ATTACKS)
def test_exactly_this_check_stops_it(
    court: Court, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    verdict = ATTACKS[number](court, monkeypatch)
    stopping = (Result.FAILED, Result.REFUSED)
    assert [one.number for one in verdict.checks if one.result in stopping] == [number]
