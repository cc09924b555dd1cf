"""Verifying a float claim: the plan is made again from the verifier's own model, nothing is run.

The numbers are those of exact claims, where they mean the same, and optimistic.15 for the bounds.
What makes the claim true is that anybody could have pointed at an operator; whoever wants to look
himself has the published trace and `proofml watch`.
"""

from __future__ import annotations

from proofml.backend import Trial
from proofml.canonical import CanonicalError, loads
from proofml.errors import UnsupportedModel, UsageError, VerificationError
from proofml.fields import FieldError
from proofml.guarantee import Finality, Guarantee
from proofml.optimistic import checks as numbers
from proofml.optimistic.about import (
    INPUTS_NOT_ASKABLE,
    INTEGRITY,
    LEDGER_LOCAL,
    WINDOW_NONE,
    WINDOW_OPEN,
)
from proofml.optimistic.backend_verifier import (
    check_claim,
    check_evidence,
    check_ledger,
    check_stakes,
    pinned_ledger,
    time_left,
)
from proofml.optimistic.book import ClaimState, ClaimStatus
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.claimable import check_claimable
from proofml.optimistic.floating.digests import tensor_digests
from proofml.optimistic.floating.dispute import longest
from proofml.optimistic.floating.gather import requests_of
from proofml.optimistic.floating.plan import Plan, plan_of
from proofml.optimistic.floating.record import (
    BOUNDS,
    MAX_BOUNDS_BYTES,
    FloatRecord,
    assumption,
)
from proofml.optimistic.ledgers import Opened
from proofml.optimistic.policy import OptimisticPolicy
from proofml.optimistic.wire import WireError


def verify(trial: Trial) -> Guarantee:
    """All checks.

    Raises:
        VerificationError: with the number of the check that refuses.
        PolicyRefused: the policy pins no ledger; nothing else was found against the proof.
        UsageError: no model to make the plan of.
    """
    policy = OptimisticPolicy.read(trial.policy)
    checks, statement = trial.checks, trial.proof.statement
    record = _check_record(trial)
    check_evidence(trial, (BOUNDS,))
    claim = check_claim(trial)
    checks.skipped(numbers.QUANTISATION, "nothing is quantised")
    bounds = _read_bounds(trial, record)
    plan = _derive(trial, grouped=record.grouped)
    header = _check_program(trial, record, claim.terms, plan, bounds)
    _check_tensors(trial, plan, claim.terms)
    checks.equal(
        numbers.STATEMENT,
        "Statement of the claim",
        expected=statement.digest,
        got=claim.terms.statement.hex(),
    )
    checks.passed(numbers.STATEMENT, statement.digest)
    with pinned_ledger(policy) as opened:
        state, now = check_ledger(trial, policy, claim, opened)
        objections = check_stakes(trial, policy, claim.terms, longest(claim.terms))
        requests = requests_of(plan)
        return _conclude(policy, header, bounds, state, now, opened, objections, requests)


def _check_record(trial: Trial) -> FloatRecord:
    """(1) The record is complete, and the model is named with its weights."""
    statement = trial.proof.statement
    try:
        record = FloatRecord.read(statement.computation)
    except FieldError as error:
        raise VerificationError(numbers.RECORD, str(error)) from error
    if statement.model.weights_hidden:
        trial.checks.failed(
            numbers.RECORD, "model", expected="named by digest", got="architecture only"
        )
    trial.checks.passed(numbers.RECORD, f"floating point, {record.basis} bounds")
    return record


def _read_bounds(trial: Trial, record: FloatRecord) -> Bounds:
    """(15) The bounds, strictly read; that they are the claim's, the program shows."""
    data = trial.proof.evidence(BOUNDS, check=numbers.BOUNDS, most=MAX_BOUNDS_BYTES)
    try:
        found = Bounds.read(loads(data, max_bytes=MAX_BOUNDS_BYTES))
    except (FieldError, CanonicalError) as error:
        raise VerificationError(numbers.BOUNDS, str(error)) from error
    for what, expected, got in (
        ("digest of the bounds", record.bounds, found.digest),
        ("basis of the bounds", record.basis, found.basis.value),
    ):
        trial.checks.equal(numbers.BOUNDS, what, expected=expected, got=got)
    return found


def _derive(trial: Trial, *, grouped: bool) -> Plan:
    """(5) The plan, made of the verifier's own model."""
    model, context = trial.expect.model, trial.context
    if model is None:
        raise UsageError(
            "verifying a float claim makes its plan from the model; give it (--model FILE)"
        )
    shapes = {claim.name: claim.shape for claim in trial.proof.statement.inputs}
    try:
        plan = plan_of(
            model,
            shapes,
            context.store,
            grouped=grouped,
            limits=context.limits,
            progress=context.progress,
        )
        check_claimable(plan)
    except (UnsupportedModel, UsageError) as error:
        trial.checks.failed(
            numbers.PROGRAM,
            "the expected model cannot be claimed as stated",
            expected="a plan",
            got=str(error),
        )
    return plan


def _check_program(
    trial: Trial, record: FloatRecord, terms: Terms, plan: Plan, bounds: Bounds
) -> FloatHeader:
    """(5), (15) Statement and claim speak of this plan under these bounds."""
    checks = trial.checks
    checks.equal(
        numbers.PROGRAM, "plan of the Statement", expected=plan.root.hex(), got=record.plan
    )
    if bounds.basis is not Basis.THEORETICAL:
        checks.equal(
            numbers.BOUNDS, "plan of the bounds", expected=plan.root.hex(), got=bounds.program
        )
        checks.equal(
            numbers.BOUNDS,
            "number of operators",
            expected=len(plan.operators),
            got=len(bounds.shares),
        )
    try:
        header = FloatHeader.of(plan, bounds)
    except WireError as error:
        raise VerificationError(numbers.BOUNDS, str(error)) from error
    checks.passed(numbers.BOUNDS, f"{bounds.basis.value}, {bounds.digest}")
    for what, got in (("Statement", record.program), ("claim", terms.program.hex())):
        checks.equal(numbers.PROGRAM, f"program of the {what}", expected=header.root.hex(), got=got)
    checks.passed(numbers.PROGRAM, f"{header.count} operators, made of the model")
    checks.skipped(numbers.RANGES, "no integers")
    return header


def _check_tensors(trial: Trial, plan: Plan, terms: Terms) -> None:
    """(7), (8), (9) Types are the plan's, and digests the claim's."""
    checks, proof = trial.checks, trial.proof
    statement = proof.statement
    outputs = [plan.type_of(ref) for ref in plan.ports]
    for number, role, names, kinds, claims, stated in (
        (numbers.INPUTS, "input", plan.inputs, plan.input_types, statement.inputs, terms.inputs),
        (numbers.OUTPUTS, "output", plan.outputs, outputs, statement.outputs, terms.outputs),
    ):
        checks.equal(
            numbers.TENSORS,
            f"name, type and shape of each {role}",
            expected=[(n, kind.dtype, kind.shape) for n, kind in zip(names, kinds, strict=True)],
            got=[(claim.name, claim.dtype, claim.shape) for claim in claims],
        )
        found = tensor_digests([proof.tensor(f"{role}.{i}") for i in range(len(claims))])
        checks.equal(
            number,
            f"{role} digests of the claim",
            expected=[digest.hex() for digest in found],
            got=[digest.hex() for digest in stated],
        )
        checks.passed(number, ", ".join(digest.hex()[:16] for digest in stated))
    checks.passed(numbers.TENSORS, "as the plan has them")


def _conclude(
    policy: OptimisticPolicy,
    header: FloatHeader,
    bounds: Bounds,
    state: ClaimState,
    now: int,
    opened: Opened,
    objections: tuple[str, ...],
    requests: int,
) -> Guarantee:
    terms, final = state.terms, state.status is ClaimStatus.FINAL
    raised = {
        LEDGER_LOCAL: opened.local,
        WINDOW_OPEN: not final,
        WINDOW_NONE: terms.window < policy.least_window,
        INPUTS_NOT_ASKABLE: terms.window >= policy.least_window
        and not policy.askable(terms, requests),
        assumption(bounds.basis): True,
    }
    notes = {
        "function": "the float model; each operator within its bound of the exact result",
        "program": f"{header.root.hex()}, {header.count} operators",
        "bounds": _bounds(bounds),
        "claim": f"{state.terms.trace.hex()} is its trace; by {state.claimant}, "
        f"{state.status.name.lower()}",
        "ledger": opened.words(policy.chain),
        "stakes": f"bond {terms.bond}, challenge bond {terms.challenge_bond}, burn "
        f"{terms.burn / 100:g}%",
        "disputes": f"{state.running} running, {state.asked} requests for data open; a dispute is "
        "one move",
        "time": time_left(state, now, longest(terms)),
    }
    return Guarantee(
        integrity=INTEGRITY,
        finality=Finality.FINAL if final else Finality.PENDING,
        assumptions=frozenset(name for name, is_raised in raised.items() if is_raised),
        notes=notes,
        objections=objections,
    )


def _bounds(bounds: Bounds) -> str:
    if bounds.basis is Basis.THEORETICAL:
        return "IEEE-754's worst case for each operator, in any order of its sums"
    limits = sorted(bounds.limit(index) for index in range(len(bounds.shares)))
    return (
        f"at most {limits[-1]:.3g} of IEEE-754's worst case, {limits[len(limits) // 2]:.3g} for "
        f"the median operator; by the claimant's {bounds.runs} runs"
    )
