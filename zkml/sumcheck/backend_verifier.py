"""Verifying with the native backend: checks sumcheck.1 to sumcheck.23, cheap ones first.

The proof shows that some circuit gives these outputs for these inputs. The checks before it tie
the circuit to the model: compiled again from the verifier's own copy, or pinned by the policy.
Nothing that comes with the proof is believed: parameters are judged (3), the quantisation record
of a float model is applied here (4, 5), and the weights' root is recomputed.

The bits of (3) depend on the circuit's size, so that check ends once the circuit is known;
8 to 23 are `verifier.verify_proof`. Titles in `checks`.
"""

from __future__ import annotations

from proofml.backend import Trial
from proofml.circuits import ranges
from proofml.circuits.graph import Graph
from proofml.circuits.quantise.record import MAX_RECORD_BYTES, QuantisationRecord
from proofml.circuits.ranges import RangeError
from proofml.errors import UnsupportedModel, UsageError, VerificationError, printable
from proofml.fields import FieldError
from proofml.guarantee import Guarantee, Integrity
from proofml.zkml.sumcheck import checks as numbers
from proofml.zkml.sumcheck.bounds import check_bits, check_parameters, most_bytes
from proofml.zkml.sumcheck.circuit import Circuit, read_circuit
from proofml.zkml.sumcheck.interface import (
    PROOF,
    QUANTISATION,
    check_interface,
    check_root,
    public_values,
)
from proofml.zkml.sumcheck.layout import MODEL, PORTS, Visibility
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.policy import Pin, SumcheckPolicy
from proofml.zkml.sumcheck.ports import NOT_HIDDEN, committed
from proofml.zkml.sumcheck.record import SEMANTICS, Record, classes_of
from proofml.zkml.sumcheck.verifier import verify_proof

_PROTOCOL = tuple(numbers.CHECKS)[list(numbers.CHECKS).index(numbers.ENCODING) :]
#: Names of nodes that a note lists.
_LISTED = 12


def verify(trial: Trial, own: Circuit | None = None) -> Guarantee:
    """All checks.

    Args:
        own: the circuit that the caller holds a proof to, instead of a model or the policy's pin.

    Raises:
        VerificationError: with the number of the check that refuses.
        UsageError: neither a model nor a pin to take the circuit from.
    """
    policy = SumcheckPolicy.read(trial.policy)
    checks, proof, statement = trial.checks, trial.proof, trial.proof.statement
    record = _check_record(trial)
    ports = check_interface(proof, checks, quantised_here=record.quantisation is not None)
    params = _read_parameters(record)
    pin = None if own else policy.pin(statement.model.canonical_sha256, record.circuit)
    if own is None and pin is None and trial.expect.model is None:
        raise UsageError(
            "verifying a sumcheck proof compiles its circuit from the model; give it (--model "
            "FILE), or pin the circuit in the policy (backends.sumcheck.pinned)"
        )
    quantisation = _check_quantisation(trial, record)
    if own is not None:
        circuit, how = own, "the verifier's own"
    elif pin is not None:
        circuit, how = _read_pin(trial, pin), "pinned by the policy"
    else:
        circuit = _derive(trial, params, quantisation, ports.visibility)
        how = "compiled from the model"
    _check_circuit(trial, record, params, circuit, ports.visibility, how)
    _check_ranges(trial, circuit)
    public = public_values(circuit.graph, proof, checks)
    compared = check_root(trial, circuit, ports.root)
    count = sum(codes.size for codes in public.values())
    checks.passed(numbers.PUBLIC, f"{count} codes; {compared}")
    trial.context.progress("verify", None, None)
    data = proof.evidence(PROOF, check=numbers.ENCODING, most=most_bytes(circuit))
    digest = bytes.fromhex(statement.digest)
    verify_proof(circuit, digest, public, data, ports_root=ports.root)
    _record_protocol(trial, circuit, len(data))
    return _conclude(
        circuit,
        record,
        chosen=own is None
        and pin is None
        and record.quantisation is not None
        and record.quantisation not in policy.quantisation,
    )


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


def _read_parameters(record: Record) -> Params:
    """(3), first part: readable and bounded."""
    try:
        return Params.read(record.parameters, "computation.detail.parameters")
    except FieldError as error:
        raise VerificationError(numbers.PARAMETERS, str(error)) from error


def _check_bits(trial: Trial, circuit: Circuit) -> None:
    """(3), second part: enough bits for a circuit of this size. Fewer than the policy demands but
    not absurdly few are the policy's to refuse."""
    check_parameters(circuit.params, circuit.layout)
    check_bits(circuit.report)
    trial.checks.passed(numbers.PARAMETERS, f"{circuit.report.total:.1f} bits")


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
    checks.equal(
        numbers.QUANTISATION,
        "digest of the record",
        expected=record.quantisation,
        got=found.digest,
    )
    checks.equal(
        numbers.QUANTISATION,
        "model of the record",
        expected=statement.model.canonical_sha256,
        got=found.model,
    )
    checks.passed(numbers.QUANTISATION, f"{found.config.method}, {found.samples} samples")
    return found


def _derive(
    trial: Trial,
    params: Params,
    quantisation: QuantisationRecord | None,
    visibility: Visibility,
) -> Circuit:
    """(5) The circuit, compiled from the verifier's own model."""
    # Here, since only this needs ONNX.
    from proofml.zkml.sumcheck.compile import CannotCompile, Source, derive, is_quantised

    checks, model, statement = trial.checks, trial.expect.model, trial.proof.statement
    assert model is not None  # the caller saw to it
    if quantisation is not None and is_quantised(model):
        checks.failed(
            numbers.CIRCUIT,
            "a quantisation record",
            expected="none: the model has codes",
            got="one",
        )
    shapes = {claim.name: claim.shape for claim in statement.inputs}
    try:
        return derive(Source(model, shapes, quantisation, visibility), params, trial.context)
    except RangeError as error:
        raise VerificationError(numbers.RANGES, str(error)) from error
    except (UnsupportedModel, UsageError, CannotCompile) as error:
        checks.failed(
            numbers.CIRCUIT,
            "the expected model does not compile as stated",
            expected="a circuit",
            got=str(error),
        )


def _read_pin(trial: Trial, pin: Pin) -> Circuit:
    """The circuit of the verifying key that the policy names; its digest makes it the one."""
    try:
        circuit = read_circuit(pin.read(trial.policy.source))
    except FieldError as error:
        raise UsageError(f"{trial.policy.source}: {pin.key}: {error}") from error
    if circuit.digest != pin.circuit:
        trial.checks.failed(
            numbers.CIRCUIT, f"verifying key {pin.key}", expected=pin.circuit, got=circuit.digest
        )
    return circuit


def _check_circuit(
    trial: Trial,
    record: Record,
    params: Params,
    circuit: Circuit,
    visibility: Visibility,
    how: str,
) -> None:
    """(5) The circuit, compiled here or known beforehand, is the one that the Statement names."""
    checks, own = trial.checks, circuit.visibility
    for what, expected, got in (
        ("what is committed", *(committed(one) or "nothing" for one in (own, visibility))),
        ("parameters of the circuit", circuit.params, params),
    ):
        checks.equal(numbers.CIRCUIT, what, expected=expected, got=got)
    _check_bits(trial, circuit)
    checks.equal(numbers.CIRCUIT, "circuit", expected=circuit.digest, got=record.circuit)
    checks.equal(
        numbers.CIRCUIT,
        "number of nodes of each class",
        expected=classes_of(circuit.graph),
        got=dict(record.classes),
    )
    checks.passed(numbers.CIRCUIT, how)


def _check_ranges(trial: Trial, circuit: Circuit) -> None:
    """(6) The stated bounds of sums over weights were recomputed when the circuit was compiled."""
    try:
        ranges.check(circuit.graph, None)
    except RangeError as error:
        raise VerificationError(numbers.RANGES, str(error)) from error
    trial.checks.passed(numbers.RANGES, f"{len(circuit.graph.nodes)} values")


def _record_protocol(trial: Trial, circuit: Circuit, size: int) -> None:
    """(8) to (23) have passed; those that this circuit has nothing for say so."""
    layout, trees = circuit.layout, circuit.layout.trees
    nothing = {
        numbers.OUTPUTS: "" if layout.bound_outputs else "every output is read in the lookups",
        numbers.CONTRACTIONS: "" if circuit.shape.contractions else "no products",
        numbers.MODEL_ROOT: "" if MODEL in trees else "no weights",
        numbers.PORTS_ROOT: "" if PORTS in trees else "no tensor is committed",
        numbers.LAYER_ROOT: "" if circuit.params.folds else "no layer",
        numbers.LAYER_FOLD: "" if circuit.params.folds else "no layer",
    }
    for number in _PROTOCOL:
        if nothing.get(number):
            trial.checks.skipped(number, nothing[number])
        else:
            trial.checks.passed(number, f"{size} bytes" if number == numbers.LENGTH else "")


def _conclude(circuit: Circuit, record: Record, *, chosen: bool) -> Guarantee:
    graph, report = circuit.graph, circuit.report
    weakest = report.weakest
    notes = {
        "function": f"8-bit integers, as onnxruntime {SEMANTICS} has them (E, T), or as "
        "proofml defines them (D)",
        "circuit": circuit.digest,
        "nodes": ", ".join(f"{count} {name}" for name, count in record.classes.items()),
        "weakest": f"{weakest.name}, {weakest.bits:.1f} bits",
        "hides": "nothing: who sees the proof may learn of inputs, outputs and weights",
    }
    assumptions = set()
    roles = committed(circuit.visibility)
    if roles:
        notes["committed"] = f"{roles}, under one salted root; the codes, not the floats"
        assumptions.add(NOT_HIDDEN)
    if graph.classes.get("D"):
        notes["defined here"] = _named(graph)
        assumptions.add("semantics:defined-here")
    if record.quantisation is not None:
        notes["quantisation"] = record.quantisation
    if chosen:
        assumptions.add("quantisation:prover-chosen")
    return Guarantee(
        integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
        bits=report.bits,
        assumptions=frozenset(assumptions),
        notes=notes,
    )


def _named(graph: Graph) -> str:
    names = graph.classes["D"]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return printable(", ".join(names[:_LISTED])) + more
