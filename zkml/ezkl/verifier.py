"""Verifying an EZKL proof: checks ezkl.1 to ezkl.17, cheap ones first. Titles in `backend.py`.

EZKL's `verify(proof, settings, vk, srs)` shows that somebody knows a witness for *some* circuit
under *some* string. The checks before and after it tie the circuit to the model, the settings and
the string that this verifier accepts, and the instances to the Statement. The settings that come
with a proof are believed only once they were derived again from the model, or when the policy
pins them.

A failure inside the derivation (a panic, an abort) on a prover's settings is the proof's fault;
a lack of memory, time or disk is this machine's.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from proofml.backend import Context, Trial
from proofml.canonical import sha256
from proofml.checks import Checks
from proofml.errors import (
    BackendUnavailable,
    PolicyRefused,
    ProofmlError,
    UsageError,
    VerificationError,
)
from proofml.fields import FieldError
from proofml.guarantee import Guarantee, Integrity
from proofml.model import Model
from proofml.runtime import run_model, runtime_version
from proofml.statement import TensorClaim, Visibility
from proofml.store import file_sha256
from proofml.tensors import Array
from proofml.worker import Limits, WorkerFailed
from proofml.zkml.ezkl import field
from proofml.zkml.ezkl.circuit import (
    Shape,
    commitment_of_parameters,
    derive_settings,
    ezkl_version,
    make_keys,
    poseidon,
    stage,
)
from proofml.zkml.ezkl.evidence import MAX_INSTANCES, MAX_TRANSCRIPT, ProofBlob
from proofml.zkml.ezkl.fidelity import measure
from proofml.zkml.ezkl.instances import (
    INPUT_CHECK,
    OUTPUT_CHECK,
    PARAMETER_CHECK,
    check_instances,
    uniform,
    visibility_of,
)
from proofml.zkml.ezkl.operators import foreign_operators
from proofml.zkml.ezkl.params import HIDEABLE
from proofml.zkml.ezkl.policy import EzklPolicy, Pin
from proofml.zkml.ezkl.record import Record
from proofml.zkml.ezkl.settings import MAX_SETTINGS_BYTES, Settings
from proofml.zkml.ezkl.srs import CEREMONY, Srs, find, srs_size
from proofml.zkml.ezkl.wrap import WORDS

#: Discrete logarithms in BN254's groups after the improvements to the number field sieve
#: (Kim and Barbulescu 2016; Menezes, Sarkar and Singh, ePrint 2016/1102): near 100 bits.
SOUNDNESS_BITS = 100
MAX_KEY_BYTES = 512 << 20
VERIFY_LIMITS = Limits(memory=4 << 30, seconds=600)
_OUR_FAULT = ("memory", "timeout", "disk")


def verify(trial: Trial) -> Guarantee:
    """All checks, in their order.

    Raises:
        VerificationError: with the number of the check that refuses.
        PolicyRefused: a development string that the policy does not allow; nothing more is read.
        UsageError: neither a model nor a pin to derive the circuit from, or a ceremony string
            that is not imported.
        BackendUnavailable, BackendFailed.
    """
    if ezkl_version() is None:
        raise BackendUnavailable("ezkl is not installed; pip install 'proofml[ezkl]'")
    policy = EzklPolicy.read(trial.policy)
    checks = trial.checks
    record = _check_record(trial)
    _check_interface(trial, record)
    settings = _check_settings(trial, record, policy)
    pin = _find_pin(trial, record, policy)
    if trial.expect.model is None and pin is None:
        raise UsageError(
            "verifying an EZKL proof derives its key from the model; give it (--model FILE), or "
            "pin the circuit in the policy (backends.ezkl.pinned)"
        )
    assumptions = set()
    if pin is None and record.settings not in policy.settings:
        assumptions.add("quantisation:prover-chosen")
    srs = _check_srs(trial, record, settings, policy, assumptions)
    data = trial.proof.evidence("proof", check="ezkl.7", most=_MAX_PROOF_BYTES)
    blob = ProofBlob.unpack(data)
    checks.passed("ezkl.7", f"{len(blob.instances)} instances, {len(blob.transcript)} bytes")
    check_instances(
        trial.proof,
        settings,
        record.parameters,
        record.commitment,
        blob.instances,
        lambda words: poseidon([words], trial.context)[0],
        checks,
    )
    _check_commitments(trial, settings)
    vk = trial.proof.evidence("verifying-key", check="ezkl.14", most=MAX_KEY_BYTES)
    if pin is None:
        _derive(trial, record, settings, srs, vk)
    else:
        _check_shapes(trial, settings)
        if trial.expect.model is None:
            checks.assumed(
                "ezkl.12", "interface:unpinned", "pinned by the policy, no model at hand"
            )
        else:
            checks.passed("ezkl.12", "pinned by the policy")
        checks.passed("ezkl.13", "pinned by the policy")
    checks.equal("ezkl.14", "verifying key", expected=record.verifying_key, got=sha256(vk))
    if pin is not None:
        checks.equal("ezkl.14", "pinned key", expected=pin.verifying_key, got=sha256(vk))
    checks.passed("ezkl.14", record.verifying_key)
    _check_proof(trial, blob, settings, srs, vk)
    notes, objections = _check_fidelity(trial, policy)
    return _conclude(trial, record, settings, srs, assumptions, notes, objections)


def _check_record(trial: Trial) -> Record:
    """(1) The record is complete, and says the same of the weights as the model's claim."""
    statement = trial.proof.statement
    try:
        record = Record.read(statement.computation)
    except FieldError as error:
        raise VerificationError("ezkl.1", str(error)) from error
    trial.checks.equal(
        "ezkl.1",
        "model named by digest",
        expected=record.parameters == "fixed",
        got=not statement.model.weights_hidden,
    )
    trial.checks.passed("ezkl.1", f"made with ezkl {record.ezkl}, verified with {ezkl_version()}")
    return record


def _check_interface(trial: Trial, record: Record) -> None:
    """(2) One visibility for all inputs, one for all outputs, and exactly the evidence we read."""
    statement, checks = trial.proof.statement, trial.checks
    for role, claims in (("inputs", statement.inputs), ("outputs", statement.outputs)):
        if not claims or not uniform(claims):
            checks.failed("ezkl.2", f"visibility of the {role}", expected="one for all", got="more")
    inputs, outputs = visibility_of(statement.inputs), visibility_of(statement.outputs)
    if inputs is Visibility.PRIVATE and outputs is Visibility.PRIVATE:
        checks.failed(
            "ezkl.2", "visibility", expected="inputs or outputs visible", got="nothing to bind to"
        )
    for role, claim in statement.tensors():
        if claim.visibility is Visibility.PRIVATE and claim.commitment is not None:
            checks.failed(
                "ezkl.2", f"commitment to {role}", expected="none: no instance shows it", got="one"
            )
    for index, claim in enumerate(statement.inputs):
        if claim.visibility is not Visibility.PUBLIC and claim.dtype not in HIDEABLE:
            checks.failed(
                "ezkl.2",
                f"type of the hidden input.{index}, which the circuit does not hold to its range",
                expected=", ".join(sorted(HIDEABLE)),
                got=claim.dtype,
            )
    wanted = {"proof", "settings", "verifying-key"}
    wanted |= {role for role, claim in statement.tensors() if claim.sha256 is not None}
    if record.srs != CEREMONY.get(record.srs_k):
        wanted.add("srs")
    got = {entry.name for entry in trial.proof.entries}
    if not wanted - {"srs"} <= got <= wanted:
        checks.failed("ezkl.2", "evidence", expected=sorted(wanted), got=sorted(got))
    checks.passed("ezkl.2", f"inputs {inputs}, outputs {outputs}, parameters {record.parameters}")


def _check_settings(trial: Trial, record: Record, policy: EzklPolicy) -> Settings:
    """(3) Schema and bounds; (4) the digest that is stated; (5) the visibilities stated."""
    checks = trial.checks
    data = trial.proof.evidence("settings", check="ezkl.3", most=MAX_SETTINGS_BYTES)
    try:
        settings = Settings.read(data)
    except FieldError as error:
        raise VerificationError("ezkl.3", str(error)) from error
    # Whole numbers have scale 0 whatever the settings say, and EZKL calibrates theirs to 0.
    fractions = any(claim.dtype.startswith("float") for claim in trial.proof.statement.inputs)
    for key, low in (
        ("input_scale", policy.min_input_scale if fractions else 0),
        ("param_scale", policy.min_param_scale),
    ):
        if settings.run_args[key] < low:
            checks.failed("ezkl.3", key, expected=f"at least {low}", got=settings.run_args[key])
    if settings.logrows > policy.max_logrows:
        checks.failed(
            "ezkl.3", "logrows", expected=f"at most {policy.max_logrows}", got=settings.logrows
        )
    checks.passed(
        "ezkl.3",
        f"scales {settings.run_args['input_scale']}, "
        f"{settings.run_args['param_scale']}; 2^{settings.logrows} rows",
    )
    checks.equal("ezkl.4", "settings", expected=record.settings, got=settings.digest)
    checks.passed("ezkl.4", settings.digest)
    statement = trial.proof.statement
    for role, want in (
        ("input", visibility_of(statement.inputs).value),
        ("output", visibility_of(statement.outputs).value),
        ("param", record.parameters),
    ):
        checks.equal("ezkl.5", f"{role} visibility", expected=want, got=settings.visibility(role))
    checks.passed("ezkl.5")
    return settings


def _find_pin(trial: Trial, record: Record, policy: EzklPolicy) -> Pin | None:
    claim = trial.proof.statement.model
    model = claim.architecture_sha256 or claim.canonical_sha256
    for pin in policy.pinned:
        if pin.model == model and pin.settings == record.settings:
            return pin
    return None


def _check_srs(
    trial: Trial, record: Record, settings: Settings, policy: EzklPolicy, assumptions: set[str]
) -> Srs:
    """(6) The string is the ceremony's, pinned, or a development one that the policy allows.

    `assumptions` are those that stand already; a refusal names them too.
    """
    checks, store = trial.checks, trial.context.store
    if record.srs_k < settings.logrows:
        checks.failed(
            "ezkl.6", "size of the string", expected=f"k of {settings.logrows}", got=record.srs_k
        )
    found = find(store, record.srs_k, record.srs)
    if record.srs == CEREMONY.get(record.srs_k):
        if found is None:
            raise UsageError(
                f"the proof rests on the public ceremony's string for k = {record.srs_k}; import "
                "it first: proofml srs import FILE"
            )
        checks.assumed("ezkl.6", "srs:ceremony", f"k = {record.srs_k}")
        return found
    listed = next((entry for entry in trial.proof.entries if entry.name == "srs"), None)
    if listed is not None:
        checks.equal(
            "ezkl.6",
            "reference string beside the proof",
            expected=(True, record.srs, srs_size(record.srs_k)),
            got=(listed.beside, listed.sha256, listed.size),
        )
    if record.srs in policy.srs:
        name = "srs:pinned"
    else:
        name = "srs:local-dev"
        if name not in trial.policy.assumptions:
            checks.assumed("ezkl.6", name, "not examined further")
            foreseen = (checks.assumptions | assumptions) - trial.policy.assumptions - {name}
            raise PolicyRefused(
                [
                    f"assumption {name} is not allowed (--allow {name} accepts it): whoever made "
                    "the reference string can prove anything; the rest was not examined",
                    *(
                        f"assumption {other} is not allowed (--allow {other} accepts it)"
                        for other in sorted(foreseen)
                    ),
                ]
            )
    if found is None:
        path = trial.proof.evidence_beside("srs", check="ezkl.6", most=srs_size(record.srs_k))
        checks.equal("ezkl.6", "reference string", expected=record.srs, got=file_sha256(path))
        found = Srs(record.srs_k, record.srs, path)
    if found.path.stat().st_size != srs_size(record.srs_k):
        checks.failed(
            "ezkl.6",
            "size of the string",
            expected=srs_size(record.srs_k),
            got=found.path.stat().st_size,
        )
    checks.assumed("ezkl.6", name, f"k = {record.srs_k}, {record.srs}")
    return found


def _check_commitments(trial: Trial, settings: Settings) -> None:
    """Part of (9) and (10): a hashed tensor that the verifier knows has the stated hash."""
    statement, checks = trial.proof.statement, trial.checks
    for role, number, claims, known, scales in (
        ("input", INPUT_CHECK, statement.inputs, trial.expect.inputs, settings.input_scales),
        ("output", OUTPUT_CHECK, statement.outputs, trial.expect.outputs, settings.output_scales),
    ):
        for index, claim in enumerate(claims):
            if claim.commitment is None or known is None or claim.name not in known:
                continue
            try:
                values = field.quantise(known[claim.name], scales[index])
            except (ValueError, IndexError) as error:
                checks.failed(number, f"{role}.{index}: {error}")
            checks.equal(
                number,
                f"{role}.{index}: commitment to the expected value",
                expected=poseidon([values], trial.context)[0].hex(),
                got=claim.commitment.value,
            )
            checks.open_commitments.discard(f"{role}.{index}")


def _check_shapes(trial: Trial, settings: Settings) -> None:
    """Part of (12): the visible tensors have the shapes that the settings give to instances.

    ONNX may leave dimensions of an output open; EZKL's file, derived again or pinned, does not.
    It writes a scalar as a vector of one.
    """
    statement = trial.proof.statement
    words = [(1, WORDS)]
    inputs = [claim.shape or (1,) for claim in statement.inputs if claim.sha256 is not None]
    outputs = [claim.shape or (1,) for claim in statement.outputs if claim.sha256 is not None]
    if visibility_of(statement.inputs) is Visibility.PUBLIC:
        inputs += words
    elif visibility_of(statement.outputs) is Visibility.PUBLIC:
        outputs += words
    trial.checks.equal(
        "ezkl.12",
        "shapes of the visible tensors, the Statement's words among them",
        expected=settings.instance_shapes,
        got=(*inputs, *outputs),
    )


def _check_hidden_shapes(trial: Trial, model: Model) -> None:
    """Part of (12): no instance tells the shape of a hidden output, so the model must."""
    statement, checks = trial.proof.statement, trial.checks
    claims = zip(statement.outputs, model.outputs, strict=True)  # core.14
    open_ones = [
        claim
        for claim, spec in claims
        if claim.sha256 is None and (spec.shape is None or None in spec.shape)
    ]
    if not open_ones:
        return
    shapes, _ = model.infer(
        {claim.name: claim.shape for claim in statement.inputs}, store=trial.context.store
    )
    for claim in open_ones:
        found = shapes.get(claim.name, (0, None))[1]
        checks.equal("ezkl.12", f"shape of {claim.name}", expected=found, got=claim.shape)


def _derive(trial: Trial, record: Record, settings: Settings, srs: Srs, vk: bytes) -> None:
    """(11) hashed parameters, (12) settings and (13) key, all from the verifier's own model."""
    model, checks, statement = trial.expect.model, trial.checks, trial.proof.statement
    assert model is not None  # the caller saw to it
    shape = Shape(
        model,
        {claim.name: claim.shape for claim in statement.inputs},
        visibility_of(statement.inputs).value,
        visibility_of(statement.outputs).value,
        record.parameters,
    )
    reasons = foreign_operators(model)
    if reasons:
        checks.failed(
            "ezkl.12", "EZKL computes this model otherwise than ONNX", got="; ".join(reasons)
        )
    try:
        derived = derive_settings(shape, settings.run_args, trial.context)
    except ProofmlError as error:
        _blame("ezkl.12", "EZKL refuses these settings for this model", error, checks)
    if derived != settings.data:
        checks.failed(
            "ezkl.12",
            "settings derived again from the model and the run arguments",
            expected=sha256(derived),
            got=settings.digest,
        )
    _check_shapes(trial, settings)
    _check_hidden_shapes(trial, model)
    checks.passed("ezkl.12", "derived from the model")
    proving = record.parameters == "hashed"  # its commitment needs the compiled circuit
    try:
        keys = make_keys(shape, settings, srs, trial.context, proving=proving)
    except ProofmlError as error:
        _blame("ezkl.13", "EZKL makes no key from the model and these settings", error, checks)
    own = keys.vk.read_bytes()
    checks.equal(
        "ezkl.13",
        f"verifying key derived again (made with ezkl {record.ezkl}, here {ezkl_version()})",
        expected=sha256(own),
        got=sha256(vk),
    )
    checks.passed("ezkl.13", "derived from the model")
    if record.commitment is not None and keys.circuit is not None:
        commitment = _commitment_of(shape, statement.inputs, keys.circuit, trial.context)
        checks.equal(
            PARAMETER_CHECK,
            "commitment to the parameters of the expected model",
            expected=commitment.hex(),
            got=record.commitment.hex(),
        )
        checks.open_commitments.discard("model")


def _commitment_of(
    shape: Shape, claims: tuple[TensorClaim, ...], circuit: Path, context: Context
) -> bytes:
    """The commitment does not depend on the input, but some inputs have no witness (1 / 0)."""
    import numpy as np

    for value in (0, 1):
        inputs = {
            claim.name: np.full(claim.shape, value, np.dtype(claim.dtype)) for claim in claims
        }
        try:
            return commitment_of_parameters(shape, inputs, circuit, context)
        except WorkerFailed as error:
            if _is_our_fault(error) or value:
                raise
    raise AssertionError("unreachable")


def _is_our_fault(error: ProofmlError) -> bool:
    return isinstance(error, WorkerFailed) and (error.kind in _OUR_FAULT or _was_killed(error))


def _was_killed(error: WorkerFailed) -> bool:
    """No proof sends a SIGKILL; a person does, or a system that runs out of memory."""
    return error.kind == "signal" and "SIGKILL" in str(error)


def _blame(number: str, message: str, error: ProofmlError, checks: Checks) -> NoReturn:
    """The proof's fault, unless this machine lacked a resource."""
    if _is_our_fault(error):
        raise error
    checks.failed(number, message, expected="a circuit", got=str(error)[:300])


def _check_proof(trial: Trial, blob: ProofBlob, settings: Settings, srs: Srs, vk: bytes) -> None:
    """(15) halo2's verifier; (16) the transcript is not longer than what was read of it.

    EZKL accepts trailing bytes. A transcript with some would still verify with its last byte cut
    off; one without cannot, for then its last element is incomplete.
    """
    checks = trial.checks
    shorter = ProofBlob(blob.instances, blob.transcript[:-1])
    with trial.context.store.scratch() as folder:
        (folder / "settings.json").write_bytes(settings.data)
        (folder / "vk").write_bytes(vk)
        (folder / "proof.json").write_text(blob.to_ezkl())
        (folder / "shorter.json").write_text(shorter.to_ezkl())
        try:
            verdict = stage(
                "verify",
                {"srs": str(srs.path)},
                folder,
                limits=VERIFY_LIMITS,
                progress=trial.context.progress,
            )
        except WorkerFailed as error:
            if error.kind == "disk" or _was_killed(error):
                raise
            checks.failed("ezkl.15", "EZKL's verifier broke down", got=str(error)[:300])
    if verdict["accepted"] is not True:
        checks.failed(
            "ezkl.15", "halo2 proof", expected="it verifies", got=str(verdict["reason"])[:200]
        )
    checks.passed("ezkl.15")
    if verdict["shorter"] is not False:
        checks.failed(
            "ezkl.16", "transcript", expected="no byte too many", got="bytes that nothing reads"
        )
    checks.passed("ezkl.16", f"{len(blob.transcript)} bytes")


def _check_fidelity(trial: Trial, policy: EzklPolicy) -> tuple[dict[str, str], list[str]]:
    """(17) The distance from onnxruntime, measured here where model, input and output are known."""
    proof, checks, model = trial.proof, trial.checks, trial.expect.model
    inputs = _known(trial, "input")
    outputs = _known(trial, "output")
    obstacle = (
        "no model is at hand"
        if model is None
        else "the weights are hidden"
        if proof.statement.model.weights_hidden and "model" in checks.open_commitments
        else "inputs or outputs are not known"
        if inputs is None or outputs is None
        else "onnxruntime is not installed"
        if runtime_version() is None
        else ""
    )
    if obstacle or model is None or inputs is None or outputs is None:
        checks.skipped("ezkl.17", obstacle)
        wanted = (
            []
            if policy.max_error is None
            else [f"backends.ezkl.max_error is set and the distance cannot be measured: {obstacle}"]
        )
        return {}, wanted
    try:
        reference = run_model(model, inputs, trial.context.store, progress=trial.context.progress)
    except ProofmlError as error:
        _blame("ezkl.17", "onnxruntime does not run this input", error, checks)
    fidelity = measure(outputs, reference)
    checks.passed("ezkl.17", f"largest difference {fidelity.max_error:g}")
    objections = []
    if policy.max_error is not None and fidelity.max_error > policy.max_error:
        objections.append(
            f"the outputs differ from onnxruntime's by {fidelity.max_error:g}, "
            f"backends.ezkl.max_error is {policy.max_error:g}"
        )
    return fidelity.notes(), objections


def _known(trial: Trial, role: str) -> dict[str, Array] | None:
    """Values of all inputs (or outputs): public ones, or expected ones whose hash was checked."""
    statement, expect = trial.proof.statement, trial.expect
    claims = statement.inputs if role == "input" else statement.outputs
    wanted = (expect.inputs if role == "input" else expect.outputs) or {}
    result: dict[str, Array] = {}
    for index, claim in enumerate(claims):
        if claim.visibility is Visibility.PUBLIC:
            result[claim.name] = trial.proof.tensor(f"{role}.{index}")
        elif claim.visibility is Visibility.HASHED and claim.name in wanted:
            result[claim.name] = wanted[claim.name]
        else:
            return None
    return result


def _conclude(
    trial: Trial,
    record: Record,
    settings: Settings,
    srs: Srs,
    assumptions: set[str],
    notes: dict[str, str],
    objections: list[str],
) -> Guarantee:
    statement = trial.proof.statement
    hidden: dict[str, str] = {}
    for role, claims in (("input", statement.inputs), ("output", statement.outputs)):
        visibility = visibility_of(claims)
        if visibility is Visibility.PRIVATE:
            hidden[role] = "everybody but the prover"
        elif visibility is Visibility.HASHED:
            hidden[role] = "whoever cannot guess it (an unsalted hash is public)"
    if record.parameters == "private":
        hidden["parameters"] = "everybody but the prover"
    elif record.parameters == "hashed":
        hidden["parameters"] = "whoever cannot guess them (an unsalted hash is public)"
    return Guarantee(
        integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
        bits=SOUNDNESS_BITS,
        hidden=hidden,
        assumptions=frozenset(assumptions),
        notes={
            "function": f"EZKL fixed point, scales {settings.run_args['input_scale']} and "
            f"{settings.run_args['param_scale']}, settings {settings.digest}",
            "string": f"{srs.origin}, k = {srs.k}",
            **notes,
        },
        objections=tuple(objections),
    )


_MAX_PROOF_BYTES = 16 + 32 * MAX_INSTANCES + MAX_TRANSCRIPT
