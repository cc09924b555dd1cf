"""Verifying an EZKL proof: checks ezkl.1 to ezkl.17, cheap ones first. Titles in `backend.py`.

EZKL's `verify(proof, settings, vk, srs)` shows that somebody knows a witness for *some* circuit
under *some* string. The checks before and after it tie the circuit to the model, the settings and
the string that this verifier accepts, and the instances to the Statement. The settings that come
with a proof are believed only once they were derived again from the model, or when the policy
pins them.

Checks 11 to 13 are in `derivation.py`, 8 to 11 in `instances.py`, 17 in `fidelity_check.py`.
"""

from __future__ import annotations

from proofml.backend import Trial
from proofml.canonical import sha256
from proofml.errors import (
    BackendUnavailable,
    PolicyRefused,
    UsageError,
    VerificationError,
)
from proofml.fields import FieldError
from proofml.guarantee import Guarantee, Integrity
from proofml.statement import Visibility
from proofml.worker import Limits, WorkerFailed
from proofml.zkml.ezkl import field
from proofml.zkml.ezkl.circuit import (
    ezkl_version,
    poseidon,
    stage,
)
from proofml.zkml.ezkl.derivation import check_shapes, derive
from proofml.zkml.ezkl.evidence import MAX_INSTANCES, MAX_TRANSCRIPT, ProofBlob
from proofml.zkml.ezkl.fidelity_check import check_fidelity
from proofml.zkml.ezkl.instances import (
    INPUT_CHECK,
    OUTPUT_CHECK,
    check_instances,
    uniform,
    visibility_of,
)
from proofml.zkml.ezkl.params import HIDEABLE
from proofml.zkml.ezkl.policy import EzklPolicy, Pin
from proofml.zkml.ezkl.record import Record
from proofml.zkml.ezkl.settings import MAX_SETTINGS_BYTES, Settings
from proofml.zkml.ezkl.srs import CEREMONY, Srs, adopt, find, srs_size

#: Discrete logarithms in BN254's groups after the improvements to the number field sieve
#: (Kim and Barbulescu 2016; Menezes, Sarkar and Singh, ePrint 2016/1102): near 100 bits.
SOUNDNESS_BITS = 100
MAX_KEY_BYTES = 512 << 20
VERIFY_LIMITS = Limits(memory=4 << 30, seconds=600)


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
        derive(trial, record, settings, srs, vk)
    else:
        check_shapes(trial, settings)
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
    notes, objections = check_fidelity(trial, policy)
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
    pins = [pin for pin in policy.pinned if (pin.model, pin.settings) == (model, record.settings)]
    # One circuit may be pinned with the keys of several strings; check ezkl.14 names a miss.
    return next(
        (pin for pin in pins if pin.verifying_key == record.verifying_key),
        pins[0] if pins else None,
    )


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
        try:
            # A copy of our own: whoever can write beside the proof could swap the file meanwhile.
            found = adopt(store, path)
        except UsageError as error:
            raise VerificationError("ezkl.6", str(error)) from error
    checks.equal(
        "ezkl.6",
        "reference string",
        expected=(record.srs_k, record.srs),
        got=(found.k, found.sha256),
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
            if error.is_machines_fault and error.kind not in ("memory", "timeout"):
                raise  # no honest proof needs what VERIFY_LIMITS deny
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
