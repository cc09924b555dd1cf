"""Verifying with the optimistic backend: checks optimistic.1 to optimistic.15, cheap ones first.

A claim says that a program on these inputs gives these outputs; the checks up to 10 find that the
Statement says the same of the verifier's own model, recomputing every root. The others ask the
ledger that the policy pins whether the claim stands. What a proof says about where its claim is
has to agree with that, and is otherwise not used: no path and no address is taken from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from proofml.backend import Trial
from proofml.circuits.quantise.record import MAX_RECORD_BYTES, QuantisationRecord
from proofml.circuits.ranges import RangeError
from proofml.errors import (
    PolicyRefused,
    UnsupportedModel,
    UsageError,
    VerificationError,
    printable,
)
from proofml.fields import FieldError
from proofml.guarantee import Finality, Guarantee
from proofml.optimistic import checks as numbers
from proofml.optimistic import clock
from proofml.optimistic.about import (
    DEFINED_HERE,
    INPUTS_NOT_ASKABLE,
    INTEGRITY,
    LEDGER_LOCAL,
    NAME,
    QUANTISATION_CHOSEN,
    WINDOW_NONE,
    WINDOW_OPEN,
)
from proofml.optimistic.book import ClaimState, ClaimStatus
from proofml.optimistic.claim import Terms
from proofml.optimistic.interface import Interface
from proofml.optimistic.ledgers import Opened, open_pinned
from proofml.optimistic.policy import OptimisticPolicy
from proofml.optimistic.record import (
    CLAIM,
    MAX_CLAIM_BYTES,
    QUANTISATION,
    SEMANTICS,
    ClaimRecord,
    Record,
)
from proofml.optimistic.refusals import IllegalMove
from proofml.statement import Visibility

#: Names of nodes that a note lists.
_LISTED = 12


def verify(trial: Trial) -> Guarantee:
    """All checks.

    Raises:
        VerificationError: with the number of the check that refuses.
        PolicyRefused: the policy pins no ledger; nothing else was found against the proof.
        UsageError: neither a model nor a pin to take the program from.
    """
    policy = OptimisticPolicy.read(trial.policy)
    checks, statement = trial.checks, trial.proof.statement
    record = _check_record(trial)
    check_evidence(trial, () if record.quantisation is None else (QUANTISATION,))
    claim = check_claim(trial)
    pinned = policy.interfaces(statement.model.canonical_sha256, trial.policy.source)
    if not pinned and trial.expect.model is None:
        raise UsageError(
            "verifying an optimistic proof lowers its program from the model; give it (--model "
            "FILE), or pin the program in the policy (backends.optimistic.pinned)"
        )
    quantisation = _check_quantisation(trial, record)
    if pinned:
        roots = {interface.root.hex(): interface for interface in pinned}
        interface = roots.get(record.program, pinned[0])
    else:
        interface = _derive(trial, quantisation)
    _check_program(trial, record, claim.terms, interface, pinned=bool(pinned))
    _check_tensors(trial, interface, claim.terms)
    checks.equal(
        numbers.STATEMENT,
        "Statement of the claim",
        expected=statement.digest,
        got=claim.terms.statement.hex(),
    )
    checks.passed(numbers.STATEMENT, statement.digest)
    checks.skipped(numbers.BOUNDS, "an exact claim")
    with pinned_ledger(policy) as opened:
        state, now = check_ledger(trial, policy, claim, opened)
    moves = interface.moves[claim.terms.k_log - 1]
    longest = clock.longest(claim.terms.clock, claim.terms.extension, moves)
    objections = check_stakes(trial, policy, claim.terms, longest)
    chosen = (
        not pinned
        and record.quantisation is not None
        and record.quantisation not in policy.quantisation
    )
    return _conclude(policy, claim, interface, state, now, opened, objections, chosen=chosen)


def pinned_ledger(policy: OptimisticPolicy) -> Opened:
    """The ledger that the policy names, to be read.

    Raises:
        PolicyRefused: it names none.
        VerificationError: optimistic.11, what is there is none.
    """
    opened = open_pinned(policy, numbers.LEDGER)
    if opened is None:
        raise PolicyRefused(
            [
                f"the policy pins no ledger, and a proof's own word on one is not taken: set "
                f"backends.{NAME}.ledger to the ledger's file, or backends.{NAME}.chain to a "
                "contract (docs/policy.md)"
            ]
        )
    return opened


def check_stakes(
    trial: Trial, policy: OptimisticPolicy, terms: Terms, longest: int
) -> tuple[str, ...]:
    """(14) Whether the stakes are what the policy demands; its objections.

    Args:
        longest: seconds that a dispute lasts at most.
    """
    objections = policy.objections(terms, longest)
    if objections:
        trial.checks.refused(numbers.STAKES, "; ".join(objections))
    else:
        trial.checks.passed(numbers.STAKES, f"bond {terms.bond}, window {terms.window} s")
    return objections


def _check_record(trial: Trial) -> Record:
    """(1) The record is complete, and the model is named with its weights."""
    statement = trial.proof.statement
    try:
        record = Record.read(statement.computation)
    except FieldError as error:
        raise VerificationError(numbers.RECORD, str(error)) from error
    if statement.model.weights_hidden:
        trial.checks.failed(
            numbers.RECORD, "model", expected="named by digest", got="architecture only"
        )
    trial.checks.passed(numbers.RECORD, f"integers as onnxruntime {SEMANTICS} has them")
    return record


def check_evidence(trial: Trial, beside: Sequence[str]) -> None:
    """(2) Nothing is hidden, and the evidence is exactly what is read: the claim, and `beside`."""
    checks, proof = trial.checks, trial.proof
    for role, claim in proof.statement.tensors():
        if claim.visibility is not Visibility.PUBLIC:
            checks.failed(
                numbers.INTERFACE,
                f"visibility of {role}: challengers need it",
                expected=Visibility.PUBLIC,
                got=claim.visibility,
            )
    wanted = {role for role, _ in proof.statement.tensors()} | {CLAIM, *beside}
    got = {entry.name for entry in proof.entries if not entry.beside}
    got |= {f"{entry.name} (beside the proof)" for entry in proof.entries if entry.beside}
    if got != wanted:
        checks.failed(numbers.INTERFACE, "evidence", expected=sorted(wanted), got=sorted(got))
    checks.passed(numbers.INTERFACE, ", ".join(sorted(wanted)))


def check_claim(trial: Trial) -> ClaimRecord:
    """(3) Where the claim is and what it says, read strictly; nothing of it is believed yet."""
    data = trial.proof.evidence(CLAIM, check=numbers.CLAIM, most=MAX_CLAIM_BYTES)
    try:
        found = ClaimRecord.read(data)
    except FieldError as error:
        raise VerificationError(numbers.CLAIM, str(error)) from error
    try:
        found.terms.check()
    except IllegalMove as error:  # no ledger takes them, whatever a node says
        raise VerificationError(numbers.CLAIM, printable(error)) from error
    trial.checks.passed(numbers.CLAIM, f"claim {found.number}, {found.ledger['kind']} ledger")
    return found


def _check_quantisation(trial: Trial, record: Record) -> QuantisationRecord | None:
    """(4) The record that makes a float model one of integers, read strictly."""
    checks, statement = trial.checks, trial.proof.statement
    if record.quantisation is None:
        checks.skipped(numbers.QUANTISATION, "the model is quantised itself")
        return None
    data = trial.proof.evidence(QUANTISATION, check=numbers.QUANTISATION, most=MAX_RECORD_BYTES)
    try:
        found = QuantisationRecord.from_bytes(data)
    except FieldError as error:
        raise VerificationError(numbers.QUANTISATION, str(error)) from error
    for what, expected, got in (
        ("digest of the record", record.quantisation, found.digest),
        ("model of the record", statement.model.canonical_sha256, found.model),
    ):
        checks.equal(numbers.QUANTISATION, what, expected=expected, got=got)
    checks.passed(numbers.QUANTISATION, f"{found.config.method}, {found.samples} samples")
    return found


def _derive(trial: Trial, quantisation: QuantisationRecord | None) -> Interface:
    """(5) The program, lowered from the verifier's own model."""
    # Here, since only this needs ONNX.
    from proofml.circuits.source import CannotCompile, Source, is_quantised
    from proofml.optimistic.compile import interface_of

    checks, model, statement = trial.checks, trial.expect.model, trial.proof.statement
    assert model is not None  # the caller saw to it
    if quantisation is not None and is_quantised(model):
        checks.failed(
            numbers.PROGRAM,
            "a quantisation record",
            expected="none: the model has codes",
            got="one",
        )
    shapes = {claim.name: claim.shape for claim in statement.inputs}
    try:
        return interface_of(Source(model, shapes, quantisation), trial.context)
    except RangeError as error:
        raise VerificationError(numbers.RANGES, str(error)) from error
    except (UnsupportedModel, UsageError, CannotCompile) as error:
        checks.failed(
            numbers.PROGRAM,
            "the expected model does not compile as stated",
            expected="a program",
            got=str(error),
        )


def _check_program(
    trial: Trial, record: Record, terms: Terms, interface: Interface, *, pinned: bool
) -> None:
    """(5), (6) The program is the one of which Statement and claim speak."""
    checks = trial.checks
    root = interface.root.hex()
    checks.equal(numbers.PROGRAM, "program of the Statement", expected=root, got=record.program)
    checks.equal(numbers.PROGRAM, "program of the claim", expected=root, got=terms.program.hex())
    checks.equal(
        numbers.PROGRAM,
        "number of nodes of each class",
        expected=dict(interface.classes),
        got=dict(record.classes),
    )
    how = "pinned by the policy" if pinned else "lowered from the model"
    checks.passed(numbers.PROGRAM, f"{interface.header.count} operators, {how}")
    # A program comes of no graph whose ranges do not hold: `Source.compile` checks them.
    checks.passed(numbers.RANGES, how)


def _check_tensors(trial: Trial, interface: Interface, terms: Terms) -> None:
    """(7), (8), (9) Every value is a code, and their roots are the claim's."""
    checks, proof = trial.checks, trial.proof
    statement = proof.statement
    roots: dict[str, tuple[bytes, ...]] = {}
    for role, ports, claims, encode in (
        ("input", interface.inputs, statement.inputs, interface.input_roots),
        ("output", interface.outputs, statement.outputs, interface.output_roots),
    ):
        checks.equal(
            numbers.TENSORS,
            f"name, type and shape of each {role}",
            expected=[(port.name, port.codec.dtype, port.shape) for port in ports],
            got=[(claim.name, claim.dtype, claim.shape) for claim in claims],
        )
        tensors = [proof.tensor(f"{role}.{index}") for index in range(len(claims))]
        try:
            roots[role] = encode(tensors)
        except ValueError as error:
            checks.failed(numbers.TENSORS, f"value of an {role}: {error}")
    checks.passed(numbers.TENSORS, "every value is a code")
    for number, role, stated in (
        (numbers.INPUTS, "input", terms.inputs),
        (numbers.OUTPUTS, "output", terms.outputs),
    ):
        checks.equal(
            number,
            f"{role} roots of the claim",
            expected=[root.hex() for root in roots[role]],
            got=[root.hex() for root in stated],
        )
        checks.passed(number, ", ".join(root.hex()[:16] for root in stated))


def check_ledger(
    trial: Trial, policy: OptimisticPolicy, claim: ClaimRecord, opened: Opened
) -> tuple[ClaimState, int]:
    """(11), (12), (13) The claim stands on the pinned ledger; its state, and the ledger's time."""
    checks, number = trial.checks, claim.number
    if policy.ledger_name is not None:
        checks.equal(
            numbers.LEDGER,
            "name of the pinned ledger's file",
            expected=policy.ledger_name.hex(),
            got=opened.identity.get("name"),
        )
    checks.equal(
        numbers.LEDGER,
        "ledger of the claim",
        expected=dict(opened.identity),
        got=dict(claim.ledger),
    )
    try:
        state = opened.ledger.claim(number)
    except IllegalMove as error:
        checks.passed(numbers.LEDGER, opened.words(policy.chain))
        checks.failed(
            numbers.POSTED, f"claim {number}", expected="on the ledger", got=printable(error)
        )
    now = opened.ledger.now()
    checks.passed(numbers.LEDGER, opened.words(policy.chain))
    checks.equal(
        numbers.POSTED,
        f"terms of claim {number}",
        expected=claim.terms.digest.hex(),
        got=state.terms.digest.hex(),
    )
    checks.passed(numbers.POSTED, f"posted by {state.claimant} at {state.posted}")
    if state.status is ClaimStatus.DEFEATED:
        checks.failed(
            numbers.STATUS,
            f"claim {number} was defeated ({printable(state.why)})",
            expected="open or final",
            got="defeated",
        )
    checks.passed(numbers.STATUS, state.status.name.lower())
    return state, now


def _conclude(
    policy: OptimisticPolicy,
    claim: ClaimRecord,
    interface: Interface,
    state: ClaimState,
    now: int,
    opened: Opened,
    objections: tuple[str, ...],
    *,
    chosen: bool,
) -> Guarantee:
    terms, final = state.terms, state.status is ClaimStatus.FINAL
    raised = {
        LEDGER_LOCAL: opened.local,
        WINDOW_OPEN: not final,
        WINDOW_NONE: terms.window < policy.least_window,
        INPUTS_NOT_ASKABLE: terms.window >= policy.least_window
        and not policy.askable(terms, interface.requests),
        QUANTISATION_CHOSEN: chosen,
        DEFINED_HERE: bool(interface.classes["D"]),
    }
    moves = interface.moves[terms.k_log - 1]
    longest = clock.longest(terms.clock, terms.extension, moves)
    notes = {
        "function": f"8-bit integers, as onnxruntime {SEMANTICS} has them (E, T), or as proofml "
        "defines them (D)",
        "program": f"{interface.root.hex()}, {interface.header.count} operators",
        "claim": f"{claim.number} by {state.claimant}, {state.status.name.lower()}",
        "ledger": opened.words(policy.chain),
        "stakes": f"bond {terms.bond}, challenge bond {terms.challenge_bond}, burn "
        f"{terms.burn / 100:g}%",
        "disputes": f"{state.running} running, {state.asked} requests for data open; a dispute has "
        f"at most {moves} moves",
        "time": time_left(state, now, longest),
    }
    if interface.defined:
        names = printable(", ".join(interface.defined[:_LISTED]))
        more = len(interface.defined) - _LISTED
        notes["defined here"] = f"{names} and {more} more" if more > 0 else names
    return Guarantee(
        integrity=INTEGRITY,
        finality=Finality.FINAL if final else Finality.PENDING,
        assumptions=frozenset(name for name, is_raised in raised.items() if is_raised),
        notes=notes,
        objections=objections,
    )


def time_left(state: ClaimState, now: int, longest: int) -> str:
    """What is left until the claim is final."""
    if state.status is ClaimStatus.FINAL:
        return f"final; it could be challenged for {state.terms.window} s"
    left = state.closes - now
    if left > 0:
        return (
            f"can be challenged for {left} s more; final at the latest {left + longest} s from now"
        )
    if state.running or state.asked:
        return f"the window is over; disputes that run end within {longest} s of their beginning"
    return "the window is over and nothing runs: anybody can finalise the claim"
