"""Verifying with the trusted-hardware backend: checks tee.1 to tee.20 (see `verify_evidence`).

A proof that passes 1 to 15 shows that hardware of the named root vouches for code with these
measurements, which states this inference. Whether such hardware and such code are good enough is
the policy's to say: 16 to 20 end in objections and assumptions, not in an invalid proof.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from proofml.backend import Trial
from proofml.checks import Checks
from proofml.guarantee import Guarantee
from proofml.policy import Policy
from proofml.store import Store
from proofml.tee import appraisal, commitments
from proofml.tee import checks as numbers
from proofml.tee.about import INTEGRITY, NAME
from proofml.tee.appraisal import Opinion
from proofml.tee.binding import Mode, Session
from proofml.tee.evidence import Parts, Record
from proofml.tee.freshness import Ages, ages_of, check_challenge
from proofml.tee.known_simulators import known_roots
from proofml.tee.nonces import Nonces
from proofml.tee.one_form import check_form
from proofml.tee.policy import TeePolicy
from proofml.tee.session_file import SessionFile
from proofml.tee.verify_evidence import (
    NO_STATEMENT,
    Claim,
    Shown,
    appraise_quote,
    verify_quote,
    verify_receipts,
)

_SEALED_FROM = "whoever runs the machine, and readers of this file"


def verify(trial: Trial) -> Guarantee:
    """All checks.

    Raises:
        VerificationError: with the number of the check that refuses.
        UsageError: a policy table, or a file that it names, that is not good.
        BackendUnavailable: a package of the platform is missing.
    """
    policy = TeePolicy.read(trial.policy)
    checks, statement = trial.checks, trial.proof.statement
    # (1), (2)
    record = Record.read(statement)
    checks.passed(numbers.RECORD, f"{record.platform}, {record.mode} mode")
    parts = Parts.read(trial.proof, record)
    check_form(parts.attestation)
    checks.passed(numbers.EVIDENCE, ", ".join(parts.blobs()))
    # (3) to (12)
    model = statement.model.canonical_sha256
    assert model is not None  # the record was read: the weights are not hidden
    claim = Claim(record.mode, statement.digest, model, record.runtime)
    now = int(time.time()) if policy.at is None else policy.at
    roots = policy.anchors(known_roots(trial.context.store))
    pinned = policy.at is not None
    shown = verify_quote(parts, claim, roots, now, checks, pinned=pinned)
    # (13), (14)
    segment, chain = verify_receipts(parts, statement.digest, policy, checks)
    # (16) to (20)
    opinions = appraise_quote(shown, policy)
    objections = appraisal.record(opinions, checks)
    # (15)
    check_challenge(policy, parts.session)
    ages = ages_of(
        shown.verified,
        parts.session,
        segment,
        policy,
        now,
        nonce=trial.expect.nonce is not None or policy.nonces is not None,
    )
    objections += ages.objections(policy)
    _open_commitments(trial)
    guarantee = Guarantee(
        integrity=INTEGRITY,
        hidden=dict.fromkeys(("input", "output"), _SEALED_FROM) if parts.sealed_outputs else {},
        notes=_notes(record, shown, opinions, ages, parts.session, chain),
        objections=objections,
    )
    _use_nonce(trial, policy, guarantee, ages)
    return guarantee


def _use_nonce(trial: Trial, policy: TeePolicy, guarantee: Guarantee, ages: Ages) -> None:
    """(15) Use up the nonce where the verifier keeps which were used, and nothing else refuses.

    A proof that is refused leaves its nonce unused, so that the verifier may accept it after all,
    by `--allow` or another policy.
    """
    checks, statement, pinned = trial.checks, trial.proof.statement, trial.expect.nonce
    late = ages.objections(policy)
    if late:
        checks.refused(numbers.FRESHNESS, str(ages))
        return
    if policy.nonces is None:
        if pinned is not None:
            words = f"{ages}; whether the nonce was used before, this verifier does not keep"
            checks.passed(numbers.FRESHNESS, words)
        elif policy.max_age is not None or policy.challenge is not None:
            checks.passed(numbers.FRESHNESS, str(ages))
        else:
            checks.skipped(numbers.FRESHNESS, f"{ages}; no nonce was pinned")
        return
    whole = replace(guarantee, assumptions=guarantee.assumptions | checks.assumptions)
    if trial.policy.objections(NAME, whole) or checks.open_commitments:
        checks.skipped(numbers.FRESHNESS, "refused otherwise; the nonce is not used up")
        return
    # The verifier's own clock, whatever time its policy pins.
    used = Nonces(policy.nonces).consume(
        statement.nonce, statement.digest, int(time.time()), own=pinned is not None
    )
    words = "used up now" if used.age is None else f"issued {used.age} s ago, used up now"
    checks.passed(numbers.FRESHNESS, f"nonce {used.nonce.hex()[:16]}... {words}; {ages}")


def _open_commitments(trial: Trial) -> None:
    """Compare hashed tensors with those that the verifier holds, where it holds the salt too."""
    salt, expect = trial.expect.salt, trial.expect
    if salt is None:
        return
    for role, claim in trial.proof.statement.tensors():
        held = expect.inputs if role.startswith("input.") else expect.outputs
        if role not in trial.checks.open_commitments or held is None:
            continue
        if commitments.opens(claim, role, held[claim.name], salt):
            trial.checks.open_commitments.discard(role)


def _notes(
    record: Record,
    shown: Shown,
    opinions: Sequence[Opinion],
    ages: Ages,
    session: Session | None,
    chain: str,
) -> dict[str, str]:
    runtime, verified = record.runtime, shown.verified
    found = {
        "function": f"{runtime.name} {runtime.version}, inside the measured code",
        "platform": f"{verified.platform}, {record.mode} mode",
        "root": f"{verified.root.name} ({verified.root.kind})",
    }
    found |= {name: verified.details[name] for name in sorted(verified.details)}
    found["age"] = str(ages)
    if session is not None:
        found["session"] = session.digest
        found["receipts"] = chain
    return found | appraisal.notes(opinions)


# -- sessions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownSession:
    """A session whose quote was verified and appraised: inputs may be sealed to its key.

    Attributes:
        guarantee: with what remains assumed.
        objections: why the policy refuses; empty where inputs may be sealed.
    """

    session: Session
    guarantee: Guarantee
    objections: tuple[str, ...]


def verify_session(
    file: SessionFile, model: str, policy: Policy, store: Store, checks: Checks | None = None
) -> KnownSession:
    """Verify the quote of a session before anything is sealed to its key.

    Args:
        model: canonical SHA-256 of the model that the session has to be of.
        store: whose simulated roots are known.

    Raises:
        VerificationError: with the number of the check that refuses.
        UsageError: a policy table, or a file that it names, that is not good.
    """
    rules = TeePolicy.read(policy)
    checks = checks or Checks(numbers.CHECKS)
    parts = Parts.of_session(file)
    now = int(time.time()) if rules.at is None else rules.at
    claim = Claim(Mode.SESSION, NO_STATEMENT, model, None)
    roots = rules.anchors(known_roots(store))
    shown = verify_quote(parts, claim, roots, now, checks, pinned=rules.at is not None)
    opinions = appraise_quote(shown, rules)
    objections = appraisal.record(opinions, checks)
    session = parts.session
    assert session is not None
    check_challenge(rules, session)
    ages = ages_of(shown.verified, session, None, rules, now, nonce=False)
    guarantee = Guarantee(
        integrity=INTEGRITY,
        assumptions=frozenset(checks.assumptions),
        notes={"age": str(ages), "session": session.digest, **appraisal.notes(opinions)},
        objections=objections + ages.objections(rules),
    )
    return KnownSession(session, guarantee, policy.objections(NAME, guarantee))
