"""Verifying: checks quorum.1 to quorum.5, in order. Needs the policy's members, no model."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proofml.backend import Trial
from proofml.errors import UsageError
from proofml.fields import FieldError, text_item
from proofml.guarantee import Guarantee, Integrity
from proofml.keys import KEY_ID, PAYLOAD_TYPE, pae
from proofml.statement import Visibility
from quorum_backend.receipts import DETAIL, MAX_BYTES, SECTION, message, unpack


def verify(trial: Trial) -> Guarantee:
    members = _members(trial)
    checks, proof, statement = trial.checks, trial.proof, trial.proof.statement
    # (1) The function that the members say they ran.
    stated = (statement.computation.kind, dict(statement.computation.detail))
    checks.equal("quorum.1", "computation", expected=("quorum", DETAIL), got=stated)
    checks.passed("quorum.1")
    # (2) Receipts, and nothing besides.
    roles = {role for role, _ in statement.tensors()}
    own = [entry.name for entry in proof.entries if entry.name not in roles]
    checks.equal("quorum.2", "evidence", expected=[SECTION], got=own)
    receipts = unpack(proof.evidence(SECTION, check="quorum.2", most=MAX_BYTES))
    checks.passed("quorum.2", f"{len(receipts)} receipts")
    # (3) The members signed for what they saw.
    if statement.model.weights_hidden:
        checks.failed("quorum.3", "model", expected="named by digest", got="architecture only")
    for role, claim in statement.tensors():
        if claim.visibility is not Visibility.PUBLIC:
            checks.failed("quorum.3", role, expected="public", got=claim.visibility)
    checks.passed("quorum.3")
    # (4) Nobody but a member counts, and nothing but this very Statement.
    signed = pae(PAYLOAD_TYPE, message(statement.digest))
    for member, signature in receipts.items():
        if member not in members:
            checks.failed("quorum.4", "receipt", expected="of a member", got=member)
        try:
            public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(member.split(":")[1]))
            public.verify(signature, signed)
        except InvalidSignature:
            checks.failed("quorum.4", f"{member} did not sign this Statement")
    checks.passed("quorum.4", ", ".join(receipts))
    # (5) The majority.
    need = len(members) // 2 + 1
    if len(receipts) < need:
        checks.failed("quorum.5", "receipts", expected=f"at least {need}", got=len(receipts))
    checks.passed("quorum.5", f"{len(receipts)} of {len(members)}")
    return Guarantee(
        integrity=frozenset({Integrity.HONEST_MAJORITY}),
        notes={"members": str(len(members)), "signed": str(len(receipts))},
    )


def _members(trial: Trial) -> frozenset[str]:
    """Who may sign: the verifier says so, never the proof."""
    fields = trial.policy.section("quorum")
    try:
        members = frozenset(fields.items("members", text_item, most=256, default=()))
        fields.done()
    except FieldError as error:
        raise UsageError(f"{trial.policy.source}: {error}") from error
    if not members or not all(KEY_ID.fullmatch(member) for member in members):
        raise UsageError(
            f"{trial.policy.source}: backends.quorum.members: expected ed25519:... keys"
        )
    return members
