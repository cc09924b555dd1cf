"""Proofs of claims: what a verdict says while time goes on, and what no attacker gets past it.

The attacker has all the code: he states what he likes, posts what he likes under his own account,
recomputes every digest and signs. Each attack names the check that refuses it; where a false claim
is posted by the rules, that is the ledger's verdict after one honest watcher has seen it.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.backend import Request
from proofml.errors import UnsupportedModel, UsageError
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.commit import program_root
from proofml.optimistic.game import Status as DisputeStatus
from proofml.optimistic.policy import OptimisticPolicy
from proofml.optimistic.record import CLAIM, ClaimRecord, classes_of, computation
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Statement
from proofml.verdict import Status, Verdict

from . import liars
from .arena import GriefingWatcher, LyingResponder, statement_of
from .courtroom import NONCE, Court, refused_by
from .liars import TERMS, Lie, compiled_digits, header_bytes, terms_of


# ---------------------------------------------------------------- honest claims
def test_pending_and_then_final(court: Court) -> None:
    proof = court.prove(window="3600")
    verdict = court.judge(proof)
    assert verdict.status is Status.PENDING, verdict.reasons
    assert verdict.exit_code == 3
    assert verdict.guarantee is not None
    assert "can be challenged for 3" in verdict.guarantee.notes["time"]
    assert "window:open" in verdict.guarantee.assumptions
    # Accepted before its time only by who says so by name, and that stays in the verdict.
    early = court.judge(proof, court.policy().allow(["window:open"]))
    assert early.status is Status.ACCEPTED
    assert early.guarantee is not None
    assert early.guarantee.finality == "pending"
    assert "window:open" in early.guarantee.assumptions
    # The ledger's clock is that of whoever writes.
    court.finalise()
    verdict = court.judge(proof)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert verdict.guarantee is not None
    assert verdict.guarantee.integrity == {"economic"}
    assert verdict.guarantee.assumptions & {"window:open", "window:none"} == set()


def test_the_trace_is_left_to_disputes_unless_it_is_asked_for(court: Court) -> None:
    trace = court.machine.run(court.inputs())
    for options, expected in (
        ({}, DEFERRED),
        ({"trace": "deferred"}, DEFERRED),
        ({"trace": "posted"}, trace.root),
    ):
        proof = court.prove(window="3600", **options)
        terms = ClaimRecord.read(proof.sections[CLAIM]).terms
        assert terms.trace == expected
        assert (terms.inputs, terms.outputs) == (trace.input_roots, trace.output_roots)
        assert court.judge(proof).status is Status.PENDING
    with pytest.raises(UnsupportedModel, match="clock must leave time"):
        court.prove(trace="none")


def test_a_claim_without_a_trace_is_defended_from_its_proof(court: Court) -> None:
    """Whoever disputes what `prove` posted is answered with nothing but model and proof."""
    proof = court.prove(window="3600")
    (court.folder / "proofs" / "1.pml").write_bytes(proof.to_bytes())
    honest = court.machine.run(court.inputs())
    griefer = court.agent(GriefingWatcher, "griefer", trace=honest, seed=2)
    court.play(court.responder(), griefer)
    dispute = court.ledger("claimant").dispute(1)
    assert dispute.trace == honest.root
    assert dispute.status is DisputeStatus.WON_BY_CLAIMANT


def test_a_running_dispute_is_told(court: Court) -> None:
    proof = court.prove(window="700", answer="60")
    ledger = court.ledger("griefer")
    ledger.challenge(1, court.account("griefer"))
    court.time = ledger.claim(1).closes
    ledger.deposit(1, court.account("griefer"))  # the ledger's last event sets its time
    verdict = court.judge(proof)
    assert verdict.status is Status.PENDING
    assert verdict.guarantee is not None
    assert "1 running" in verdict.guarantee.notes["disputes"]
    assert "the window is over" in verdict.guarantee.notes["time"]


def test_only_allowed_by_name(court: Court) -> None:
    proof = court.prove(window="0")
    strict = replace(court.policy(), assumptions=Policy().assumptions)
    verdict = court.judge(proof, strict)
    assert verdict.status is Status.REFUSED
    for name in ("ledger:local", "window:none"):
        assert any(name in reason for reason in verdict.reasons)
    assert {"ledger:local", "window:none"} == proof.hints
    assert court.judge(proof, court.policy().allow(["window:none"])).status is Status.ACCEPTED


def test_inputs_that_nobody_can_ask_for(court: Court) -> None:
    proof = court.prove(window="3600", answer="1800")
    verdict = court.judge(proof)
    assert verdict.status is Status.REFUSED
    assert any("claim:inputs-not-askable" in reason for reason in verdict.reasons)
    assert "claim:inputs-not-askable" in proof.hints


# ---------------------------------------------------------------- no ledger but the policy's
def test_without_a_pinned_ledger(court: Court) -> None:
    proof = court.prove(window="0")
    verdict = court.judge(proof, Policy())
    assert verdict.status is Status.REFUSED
    assert "backends.optimistic.ledger" in verdict.reasons[0]
    assert verdict.guarantee is None


def test_a_ledger_that_is_not_there(court: Court) -> None:
    proof = court.prove(window="0")
    with pytest.raises(UsageError, match="expected a ledger's file"):
        court.judge(proof, court.policy(ledger=str(court.folder / "none.db")))


def test_another_ledger(court: Court, tmp_path: Path) -> None:
    """The attacker has a ledger of his own, on which his claim is final."""
    other = Court(tmp_path / "other", time=court.time)
    other.folder.mkdir(exist_ok=True)
    (other.folder / "proofs").mkdir(exist_ok=True)
    proof = other.prove(window="0")
    court.ledger("claimant")
    refused_by(court.judge(proof), "optimistic.11")
    # He calls it the pinned one; there is no such claim on that.
    record = ClaimRecord.read(proof.sections[CLAIM])
    named = court.proof_of(
        proof.statement, other.machine.run(other.inputs()), record.number, record.terms
    )
    refused_by(court.judge(named), "optimistic.12")
    # He puts his file in the place of the pinned one, and says so.
    pinned = court.ledger("claimant").name
    court.close()
    other.close()
    shutil.copy(other.path, court.path)
    verdict = court.judge(proof, court.policy(ledger_name=pinned.hex()))
    refused_by(verdict, "optimistic.11")


@pytest.mark.parametrize("damage", ["noise", "empty", "cut", "edited", "view"])
def test_a_broken_ledger(court: Court, damage: str) -> None:
    proof = court.prove(window="0")
    court.close()
    path = court.path
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    if damage == "noise":
        path.write_bytes(random.Random(0).randbytes(len(data)))
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    else:
        edit = (
            "UPDATE events SET time = time + 1 WHERE number = 2"
            if damage == "edited"
            else "CREATE VIEW more AS SELECT 1"
        )
        with sqlite3.connect(path) as connection:
            connection.execute(edit)
        connection.close()
    refused_by(court.judge(proof), "optimistic.11")


# ---------------------------------------------------------------- lies about an honest claim
def test_another_statement_about_the_claim(court: Court) -> None:
    """Everything in the file is as for an honest proof, but for one thing."""
    court.prove(window="0")
    ledger = court.ledger("claimant")
    terms = ledger.claim(1).terms
    honest = court.machine.run(court.inputs())
    statement = court.statement(honest)
    policy = court.policy().allow(["window:none"])

    def judged(changed: Statement, **more: Any) -> Verdict:
        return court.judge(court.proof_of(changed, honest, 1, terms), policy, **more)

    assert judged(statement).status is Status.ACCEPTED
    refused_by(judged(replace(statement, nonce=b"other"), nonce=b"other"), "optimistic.10")
    other = replace(statement.model, file_sha256="0" * 64)
    refused_by(judged(replace(statement, model=other)), "optimistic.10")
    root = program_root(court.machine.program)
    classes = classes_of(court.machine.graph)
    for wrong, number in (
        (computation(bytes(32), classes, None), "optimistic.5"),
        (computation(root, {**classes, "D": classes["D"] + 1}, None), "optimistic.5"),
        (computation(root, classes, "0" * 64), "optimistic.2"),
    ):
        refused_by(judged(replace(statement, computation=wrong)), number)


def test_another_input_under_the_claim(court: Court) -> None:
    court.prove(window="0")
    terms = court.ledger("claimant").claim(1).terms
    honest = court.machine.run(court.inputs())
    statement = replace(
        statement_of(court.model, court.machine, court.feeds(1), court.outputs(honest)),
        nonce=NONCE,
    )
    proof = court.proof_of(statement, honest, 1, terms, image=1)
    refused_by(court.judge(proof, inputs=court.feeds(1)), "optimistic.8")


def test_another_output_under_the_claim(court: Court) -> None:
    court.prove(window="0")
    terms = court.ledger("claimant").claim(1).terms
    lie = liars.lie_about_output(court.machine, court.inputs(), random.Random(0))
    proof = court.proof_of(court.statement(lie.trace), lie.trace, 1, terms)
    refused_by(court.judge(proof), "optimistic.9")
    # With the terms in line the ledger's are others.
    changed = replace(
        terms,
        outputs=lie.trace.output_roots,
        statement=bytes.fromhex(court.statement(lie.trace).digest),
    )
    proof = court.proof_of(court.statement(lie.trace), lie.trace, 1, changed)
    refused_by(court.judge(proof), "optimistic.12")


def test_an_output_that_no_code_means(court: Court) -> None:
    court.prove(window="0")
    terms = court.ledger("claimant").claim(1).terms
    honest = court.machine.run(court.inputs())
    outputs = court.outputs(honest)
    name = next(iter(outputs))
    outputs[name] = np.nextafter(outputs[name], np.float32(np.inf), dtype=np.float32)
    statement = replace(
        statement_of(court.model, court.machine, court.feeds(), outputs), nonce=NONCE
    )
    made = court.proof_of(statement, honest, 1, terms)
    tensors = {"input.0": court.feeds()["image"], "output.0": outputs[name]}
    blobs = {CLAIM: Blob(made.sections[CLAIM], "application/json")}
    proof = Proof.build(statement, "optimistic", 1, blobs, tensors)
    refused_by(court.judge(proof), "optimistic.7")


def test_another_model(court: Court) -> None:
    """A true claim about another model, under the name of the expected one."""
    compiled = compiled_digits()
    rng = random.Random(0)
    value = sorted(compiled.weights)[0]
    node = compiled.graph.nodes[value]
    weights = dict(compiled.weights)
    weights[value] = liars.changed(weights[value], rng, node.low, node.high)  # type: ignore[union-attr]
    machine = liars.Machine.of(compiled.graph, weights)
    trace = machine.run(court.inputs())
    outputs = court.outputs(trace)
    for root, number in (
        (program_root(machine.program), "optimistic.5"),  # stated as it is
        (program_root(court.machine.program), "optimistic.5"),  # and in the terms as it is
    ):
        made = statement_of(court.model, court.machine, court.feeds(), outputs)
        statement = replace(
            made, nonce=NONCE, computation=computation(root, classes_of(machine.graph), None)
        )
        terms = terms_of(trace, bytes.fromhex(statement.digest))
        ledger = court.ledger("attacker")
        posted = ledger.post(terms, header_bytes(machine), court.account("attacker"))
        refused_by(court.judge(court.proof_of(statement, trace, posted, terms)), number)


def test_another_claims_number(court: Court) -> None:
    first = court.prove(window="0")
    second = court.prove(image=1, window="0")
    record = ClaimRecord.read(first.sections[CLAIM])
    trace = court.machine.run(court.inputs())
    for number in (ClaimRecord.read(second.sections[CLAIM]).number, 3, 1 << 53):
        proof = court.proof_of(first.statement, trace, number, record.terms)
        refused_by(court.judge(proof), "optimistic.12")


@pytest.mark.parametrize(
    "change",
    [
        {"bond": 10**9},
        {"window": 10**6},
        {"trace": bytes(range(32))},
        {"uri": "https://example.org/inputs"},
        {"k_log": 6},
    ],
    ids=str,
)
def test_terms_that_were_not_posted(court: Court, change: dict[str, Any]) -> None:
    proof = court.prove(window="0")
    record = ClaimRecord.read(proof.sections[CLAIM])
    trace = court.machine.run(court.inputs())
    terms = replace(record.terms, **change)
    refused_by(
        court.judge(court.proof_of(proof.statement, trace, record.number, terms)), "optimistic.12"
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bond": "99", "challenge-bond": "99"}, "bond is 99"),
        ({"challenge-bond": "1001"}, "challenge bond is 1001"),
        ({"data-fee": "11"}, "fee for data is 11"),
        ({"clock": "59", "extension": "59"}, "clock is 59"),
        ({"extension": "29"}, "extension is 29"),
        ({"burn": "5001"}, "burn is 5001"),
        ({"burn": "0"}, "burn is 0"),
    ],
    ids=str,
)
def test_stakes_that_are_no_stakes(court: Court, options: dict[str, str], words: str) -> None:
    """Posted by the rules, and true; but nobody would have had a reason, or the time, to look."""
    proof = court.prove(window="3600", **options)
    court.finalise()
    verdict = court.judge(proof, court.policy(least_bond=100))
    assert verdict.status is Status.REFUSED
    assert any(words in reason for reason in verdict.reasons)
    assert "optimistic.14" in {c.number for c in verdict.checks if c.result == "refused"}


def test_on_a_chain_the_policy_says_what_bond_is_enough(court: Court) -> None:
    """A bond of 1 wei is one by the rules; only a verifier knows what is at stake for him."""
    terms = terms_of(court.machine.run(court.inputs()), bond=1, challenge_bond=1, data_fee=0)
    chain = {"rpc": "http://localhost", "chain_id": 1, "contract": "0x" + "00" * 20}

    def objections(**section: Any) -> tuple[str, ...]:
        table = {"chain": chain, "least_clock": 1, "least_extension": 1, **section}
        policy = OptimisticPolicy.read(Policy(sections={"optimistic": table}))
        return policy.objections(terms, 0)

    assert len(objections()) == 1
    assert "least_bond" in objections()[0]
    assert "bond is 1" in objections(least_bond=10**18)[0]
    assert objections(least_bond=1) == ()


@pytest.mark.parametrize(
    "change",
    [{"k_log": 0}, {"k_log": 200}, {"burn": 20_000}, {"clock": 0}, {"uri": "two words"}],
    ids=str,
)
def test_terms_that_no_ledger_takes(court: Court, change: dict[str, Any]) -> None:
    """Also where a node would swear to them."""
    proof = court.prove(window="0")
    record = ClaimRecord.read(proof.sections[CLAIM])
    trace = court.machine.run(court.inputs())
    terms = replace(record.terms, **change)
    refused_by(
        court.judge(court.proof_of(proof.statement, trace, record.number, terms)), "optimistic.3"
    )


def test_which_ledger_is_told(court: Court) -> None:
    verdict = court.judge(court.prove())
    assert verdict.guarantee is not None
    name = court.ledger("claimant").name.hex()
    assert verdict.guarantee.notes["ledger"] == f"embedded, name {name}"
    (found,) = (check for check in verdict.checks if check.number == "optimistic.11")
    assert name in found.detail


def test_a_window_that_was_too_short(court: Court) -> None:
    proof = court.prove(window="599")
    court.finalise()
    verdict = court.judge(proof)
    assert verdict.status is Status.REFUSED
    assert any("window:none" in reason for reason in verdict.reasons)


# ---------------------------------------------------------------- false claims, posted by the rules
LIES: dict[str, Callable[..., Lie]] = {
    "weight": liars.lie_about_weight(compiled_digits()),
    "activation": liars.lie_about_activation,
    "output": liars.lie_about_output,
    "wiring": liars.lie_about_wiring,
}


@pytest.mark.parametrize("name", LIES)
def test_a_false_claim_is_pending_and_then_defeated(court: Court, name: str) -> None:
    lie = LIES[name](court.machine, court.inputs(), random.Random(4))
    number, proof = court.claimed(lie)
    assert court.judge(proof).status is Status.PENDING  # before anybody looked
    liar = court.agent(LyingResponder, "attacker", lies={number: lie})
    watcher = court.watcher()
    court.play(watcher, liar)
    court.time += TERMS["clock"] + TERMS["extension"]
    court.play(watcher, liar)
    refused_by(court.judge(proof), "optimistic.13")


def test_a_false_claim_that_nobody_watches_becomes_final(court: Court) -> None:
    """What is assumed: one honest watcher. The verdict says on whose word it stands."""
    lie = liars.lie_about_output(court.machine, court.inputs(), random.Random(0))
    number, proof = court.claimed(lie)
    court.time += TERMS["window"]
    court.ledger("attacker").finalise(number, court.account("attacker"))
    verdict = court.judge(proof)
    assert verdict.status is Status.ACCEPTED
    assert verdict.guarantee is not None
    assert verdict.guarantee.integrity == {"economic"}


# ---------------------------------------------------------------- pins
def test_a_pinned_program_needs_no_model(court: Court, tmp_path: Path) -> None:
    from proofml.backend import get_backend

    backend = get_backend("optimistic")
    found = backend.setup(court.model, Request(), court.context)
    proof = court.prove(window="0")
    for name, path in found.items():
        shutil.copy(path, tmp_path / name)
    text = (tmp_path / "policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(
        text.replace("[[", f'[backends.optimistic]\nledger = "{court.path}"\n\n[[')
    )
    policy = Policy.load(tmp_path / "policy.toml").allow(["ledger:local", "window:none"])
    known = {"model": None, "model_sha256": court.model.digest}
    verdict = court.judge(proof, policy, **known)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    with pytest.raises(UsageError, match="--model"):
        court.judge(proof, **known)
    (tmp_path / "interface").write_bytes(b"{}")
    with pytest.raises(UsageError, match="interface"):
        court.judge(proof, policy, **known)


def test_a_pinned_program_is_insisted_on(court: Court, tmp_path: Path) -> None:
    """The pin of another program of the same model: other shapes, say."""
    from proofml.optimistic.interface import Interface

    interface = Interface.of(court.machine.graph, court.machine.program)
    other = replace(interface, header=replace(interface.header, descriptors=bytes(32)))
    (tmp_path / "pin").write_bytes(other.data)
    pin = {
        "model": court.model.digest,
        "interface": other.digest,
        "file": str(tmp_path / "pin"),
    }
    proof = court.prove(window="0")
    verdict = court.judge(proof, court.policy(pinned=[pin]))
    refused_by(verdict, "optimistic.5")
    wrong = {**pin, "interface": "0" * 64}
    with pytest.raises(UsageError, match="expected digest"):
        court.judge(proof, court.policy(pinned=[wrong]))


# ---------------------------------------------------------------- policies
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"ledgr": "x"}, "ledgr"),
        ({"ledger": 3}, "ledger"),
        ({"ledger_name": "00" * 31, "ledger": "x"}, "ledger_name"),
        ({"ledger_name": "00" * 32}, "ledger_name"),
        ({"least_bond": 0}, "least_bond"),
        ({"most_burn": 10_001}, "most_burn"),
        ({"most_data_fee": -1}, "most_data_fee"),
        ({"chain": {"rpc": "x", "chain_id": 1}}, "contract"),
        ({"chain": {"rpc": "x", "chain_id": 1, "contract": "0x" + "A" * 40}}, "contract"),
        (
            {"ledger": "x", "chain": {"rpc": "x", "chain_id": 1, "contract": "0x" + "a" * 40}},
            "not both",
        ),
        ({"pinned": [{"model": "0" * 64}]}, "file"),
        ({"quantisation": ["zz"]}, "quantisation"),
    ],
    ids=str,
)
def test_policies_are_read_strictly(court: Court, section: dict[str, Any], words: str) -> None:
    proof = court.prove(window="0")
    with pytest.raises(UsageError, match=words):
        court.judge(proof, Policy(sections={"optimistic": section}))
