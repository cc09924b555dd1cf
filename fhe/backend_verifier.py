"""Verifying a run on ciphertexts: checks 1 to 10 (`checks`), in their order, without any secret.

The verifier derives the circuit again from the model that it holds, and runs it again on the same
ciphertexts under the same evaluation keys: a real run, nothing that was kept. It learns neither
inputs nor outputs; so whether an input is what its owner meant is for the owner to say (`open`).
"""

from __future__ import annotations

from collections.abc import Mapping

from proofml.backend import Trial
from proofml.canonical import sha256
from proofml.errors import UsageError
from proofml.fhe import files
from proofml.fhe.about import (
    CIRCUIT_UNDERIVED,
    CIRCUIT_UNPINNED,
    INTEGRITY,
    NONCE_UNAUTHENTICATED,
    OTHER_VERSION,
    TRACE_SAMPLED,
    UNSHARED,
)
from proofml.fhe.checks import Check, Numbers
from proofml.fhe.engine import Engine, Quality, engine
from proofml.fhe.evidence import Parts
from proofml.fhe.policy import FhePolicy
from proofml.fhe.record import Record, committed
from proofml.fhe.scheme import Circuit
from proofml.guarantee import Guarantee

_HIDDEN = "everybody without the secret key: the server, verifiers, readers of this file"


def verify(trial: Trial, backend: str) -> Guarantee:
    """All checks.

    Raises:
        VerificationError: with the number of the check that refuses.
        UsageError: a policy table that is not good, or no model to derive the circuit from.
        BackendUnavailable: the scheme's library is missing.
    """
    numbers, public = Numbers(backend), engine(backend)
    return _Verifier(trial, numbers, public, FhePolicy.read(trial.policy, backend)).verify()


class _Verifier:
    def __init__(self, trial: Trial, numbers: Numbers, public: Engine, policy: FhePolicy) -> None:
        self._trial = trial
        self._numbers = numbers
        self._public = public
        self._policy = policy
        self._objections: list[str] = []
        self._assumptions: set[str] = set()
        self._notes: dict[str, str] = {}
        self._sampled = False

    def verify(self) -> Guarantee:
        numbers, statement = self._numbers, self._trial.proof.statement
        # (1) to (3)
        record = Record.read(statement, numbers)
        self._check_libraries(record)
        parts = Parts.read(self._trial.proof, record, numbers)
        self._passed(Check.EVIDENCE)
        inputs = committed(statement.inputs, "inputs", numbers)
        outputs = committed(statement.outputs, "outputs", numbers)
        self._passed(Check.INTERFACE)
        # (4), (5)
        circuit = self._check_circuit(record, parts)
        self._check_model(circuit)
        # (6) to (8)
        key = self._check_keys(circuit, record, parts)
        given = self._check_inputs(circuit, key, parts, inputs)
        claimed = self._check_outputs(circuit, key, parts, outputs)
        # (9), (10)
        if not self._check_trace(circuit, record, parts, given, claimed):
            self._check_run(circuit, parts, given, claimed)
        return self._conclude(circuit, record)

    def _passed(self, check: Check, detail: str = "") -> None:
        self._trial.checks.passed(self._numbers.of(check), detail)

    def _check_libraries(self, record: Record) -> None:
        own, stated = dict(self._public.libraries()), dict(record.libraries)
        if set(own) != set(stated):
            self._numbers.refuse(
                Check.RECORD,
                "libraries",
                expected=", ".join(sorted(own)),
                got=", ".join(sorted(stated)),
            )
        if own == stated:
            self._passed(Check.RECORD, _versions(own))
            return
        self._trial.checks.assumed(
            self._numbers.of(Check.RECORD),
            OTHER_VERSION,
            f"stated {_versions(stated)}, run here {_versions(own)}",
        )

    def _check_circuit(self, record: Record, parts: Parts) -> Circuit:
        """(4)"""
        numbers, public = self._numbers, self._public
        digest = sha256(parts.circuit)
        if digest != record.circuit:
            numbers.refuse(Check.CIRCUIT, "circuit", expected=record.circuit, got=digest)
        with numbers.strangers(Check.CIRCUIT):
            circuit = public.read_circuit(parts.circuit)
            parameters, bits = public.parameters(circuit), circuit.security_bits
        if (parameters, bits) != (record.parameters, record.security_bits):
            numbers.refuse(
                Check.CIRCUIT,
                "parameters",
                expected=f"{parameters}, {bits} bits",
                got=f"{record.parameters}, {record.security_bits} bits",
            )
        pinned = self._policy.circuits
        if not pinned:
            self._trial.checks.assumed(numbers.of(Check.CIRCUIT), CIRCUIT_UNPINNED, digest)
        elif digest in pinned:
            self._passed(Check.CIRCUIT, f"{digest}, pinned by the policy")
        else:
            self._object(Check.CIRCUIT, f"circuit {digest} is none that the policy names")
        return circuit

    def _check_model(self, circuit: Circuit) -> None:
        """(5)"""
        numbers, model = self._numbers, self._trial.expect.model
        if model is None:
            raise UsageError(
                f"verifying with {numbers.backend} derives the circuit from the model; give it "
                "(--model FILE)"
            )
        if circuit.model != model.digest:
            numbers.refuse(Check.MODEL, "circuit's model", expected=model.digest, got=circuit.model)
        if not self._policy.derive:
            self._trial.checks.assumed(numbers.of(Check.MODEL), CIRCUIT_UNDERIVED)
            return
        with numbers.strangers(Check.MODEL):
            self._public.check_circuit(circuit, model, self._trial.context)
        self._passed(Check.MODEL, "derived again from the model and the circuit's own record")

    def _check_keys(self, circuit: Circuit, record: Record, parts: Parts) -> str:
        """(6)"""
        numbers, digest = self._numbers, sha256(parts.evaluation)
        if digest != record.evaluation:
            numbers.refuse(Check.KEYS, "evaluation keys", expected=record.evaluation, got=digest)
        with numbers.strangers(Check.KEYS):
            key = self._public.check_keys(circuit, parts.evaluation)
        if self._policy.keys and digest not in self._policy.keys:
            self._object(Check.KEYS, f"evaluation keys {digest} are none that the policy names")
        else:
            known = "pinned by the policy" if self._policy.keys else "whose they are is not pinned"
            self._passed(Check.KEYS, f"{digest}, {known}")
        return key

    def _check_inputs(
        self, circuit: Circuit, key: str, parts: Parts, stated: str
    ) -> tuple[bytes, ...]:
        """(7)"""
        numbers, shapes = self._numbers, self._shapes
        self._committed(Check.INPUTS, "inputs", parts.inputs, stated)
        with numbers.strangers(Check.INPUTS):
            found = files.split(parts.inputs, "input ciphertexts")
            self._public.check_inputs(circuit, key, found, shapes)
        self._passed(Check.INPUTS, f"{len(found)} ciphertexts, {len(parts.inputs)} bytes")
        return found

    def _check_outputs(
        self, circuit: Circuit, key: str, parts: Parts, stated: str
    ) -> tuple[bytes, ...]:
        """(8)"""
        numbers, shapes = self._numbers, self._shapes
        self._committed(Check.OUTPUTS, "outputs", parts.outputs, stated)
        with numbers.strangers(Check.OUTPUTS):
            found = files.split(parts.outputs, "output ciphertexts")
            self._public.check_outputs(circuit, key, found, shapes)
            made = self._public.output_shapes(circuit, shapes, self._trial.context)
        told = tuple(claim.shape for claim in self._trial.proof.statement.outputs)
        if told != made:
            numbers.refuse(Check.OUTPUTS, "shapes of the outputs", expected=made, got=told)
        self._passed(Check.OUTPUTS, f"{len(found)} ciphertexts, {len(parts.outputs)} bytes")
        return found

    def _check_trace(
        self,
        circuit: Circuit,
        record: Record,
        parts: Parts,
        given: tuple[bytes, ...],
        claimed: tuple[bytes, ...],
    ) -> bool:
        """(9), and (10) where the policy is content with some operators: whether it was."""
        number = self._numbers.of(Check.TRACE)
        if record.trace is None or parts.trace is None:
            self._trial.checks.skipped(number, "none is committed to")
            return False
        from proofml.fhe import trace

        with self._numbers.strangers(Check.TRACE):
            opened = trace.open_trace(circuit, parts.trace, record.trace, given, claimed)
        self._passed(Check.TRACE, f"{record.trace.operators} operators, root {record.trace.root}")
        if self._policy.operators is None:
            return False
        with self._numbers.strangers(Check.RUN):
            found = opened.replay(parts.evaluation, self._policy.operators, self._trial.context)
        if found.wrong is not None:
            self._numbers.refuse(
                Check.RUN,
                f"operator {found.wrong}",
                expected="the committed ciphertext",
                got="another one",
            )
        self._trial.checks.assumed(self._numbers.of(Check.RUN), TRACE_SAMPLED, found.detail)
        self._sampled = True
        self._notes["re-execution"] = found.detail
        return True

    def _check_run(
        self,
        circuit: Circuit,
        parts: Parts,
        given: tuple[bytes, ...],
        claimed: tuple[bytes, ...],
    ) -> None:
        """(10)"""
        with self._numbers.strangers(Check.RUN):
            found = self._public.rerun(
                circuit, parts.evaluation, given, claimed, self._trial.context
            )
        runs = f"{found.attempts} whole run{'s' if found.attempts > 1 else ''}"
        detail = f"{runs}, {found.detail}" if found.detail else runs
        if not found.matches:
            self._numbers.refuse(
                Check.RUN, f"output ciphertexts ({detail})", expected="this run's", got="others"
            )
        self._passed(Check.RUN, f"equal to the byte after {detail}")
        self._notes["re-execution"] = f"{runs}: verifying costs what the server's work cost"

    def _conclude(self, circuit: Circuit, record: Record) -> Guarantee:
        trial, statement = self._trial, self._trial.proof.statement
        quality = self._public.quality(circuit)
        # How much noise hides the key is the compiler's word, and true of honest runs alone.
        pinned = record.circuit in self._policy.circuits
        if quality.leaks or not pinned or self._sampled:
            self._assumptions.add(UNSHARED)
        signed = bool(trial.policy.signers & set(trial.proof.signers))
        if statement.nonce is not None and trial.expect.nonce is not None and not signed:
            self._assumptions.add(NONCE_UNAUTHENTICATED)
        notes = {
            "circuit": record.circuit,
            "keys": record.evaluation,
            "libraries": _versions(self._public.libraries()),
            **quality.notes,
            **({} if self._policy.derive else _said(quality)),
            **self._notes,
        }
        return Guarantee(
            integrity=INTEGRITY,
            hidden={"input": _HIDDEN, "output": _HIDDEN},
            assumptions=frozenset(self._assumptions),
            notes=notes,
            objections=tuple(self._objections),
        )

    @property
    def _shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(claim.shape for claim in self._trial.proof.statement.inputs)

    def _committed(self, check: Check, role: str, section: bytes, stated: str) -> None:
        found = files.commitment(role, section)
        if found != stated:
            self._numbers.refuse(check, f"commitment to the {role}", expected=stated, got=found)

    def _object(self, check: Check, words: str) -> None:
        self._trial.checks.refused(self._numbers.of(check), words)
        self._objections.append(words)


def _said(quality: Quality) -> dict[str, str]:
    """Notes that deriving would have shown, where nobody derived."""
    return {
        name: f"{quality.notes[name]} (said by whoever compiled the circuit; not derived again)"
        for name in sorted(quality.derived)
    }


def _versions(libraries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))
