"""The public half of this scheme, as server and verifier use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.backend import Context, Probe
from proofml.errors import ProofmlError, printable
from proofml.fhe.concrete import check, messages, server
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete.circuit import LIBRARIES, SCHEME, ConcreteCircuit
from proofml.fhe.concrete.environment import VARIABLE, find, lacking
from proofml.fhe.engine import Quality, Rerun, Shape
from proofml.fhe.scheme import Malformed
from proofml.model import Model
from proofml.store import Store


class ConcreteEngine:
    """See `proofml.fhe.engine.Engine`."""

    name = SCHEME

    def probe(self) -> Probe:
        try:
            found = find(Store.default(), "run")
        except ProofmlError as error:
            return Probe(False, str(error))
        if found is None:
            return Probe(False, "no environment with Concrete; proofml fhe environment --for run")
        problem = lacking(found.python) if found.purpose is None else None
        if problem is not None:
            return Probe(False, f"{VARIABLE}: {problem}, got {printable(str(found.python))}")
        return Probe(True, found.detail)

    def libraries(self) -> Mapping[str, str]:
        """Workers of another version are refused (`call`)."""
        return dict(LIBRARIES)

    def obstacles(self, model: Model) -> tuple[str, ...]:
        if len(model.inputs) != 1 or len(model.outputs) != 1:
            return (
                f"expected one input and one output, got {len(model.inputs)} and "
                f"{len(model.outputs)}",
            )
        return ()

    def read_circuit(self, data: bytes) -> ConcreteCircuit:
        return circuits.read(data)

    def parameters(self, circuit: ConcreteCircuit) -> str:
        return circuit.program.parameters

    def check_circuit(self, circuit: ConcreteCircuit, model: Model, context: Context) -> None:
        check.check_circuit(circuit, model, context)

    def check_keys(self, circuit: ConcreteCircuit, evaluation: bytes) -> str:
        return messages.read_evaluation(evaluation, circuit.program).key

    def check_inputs(
        self,
        circuit: ConcreteCircuit,
        key: str,
        ciphertexts: Sequence[bytes],
        shapes: Sequence[Shape],
    ) -> None:
        self._check(circuit, key, ciphertexts, shapes, "input")

    def check_outputs(
        self,
        circuit: ConcreteCircuit,
        key: str,
        ciphertexts: Sequence[bytes],
        shapes: Sequence[Shape],
    ) -> None:
        self._check(circuit, key, ciphertexts, shapes, "output")

    def _check(
        self,
        circuit: ConcreteCircuit,
        key: str,
        ciphertexts: Sequence[bytes],
        shapes: Sequence[Shape],
        role: str,
    ) -> None:
        _same_shape(circuit, shapes)
        if len(ciphertexts) != 1:
            raise Malformed(f"{role} ciphertexts", "1 of them", len(ciphertexts))
        messages.read_ciphertext(ciphertexts[0], circuit.program, key, role)

    def output_shapes(
        self, circuit: ConcreteCircuit, shapes: Sequence[Shape], context: Context
    ) -> tuple[Shape, ...]:
        _same_shape(circuit, shapes)
        zeros = np.zeros((1, *circuit.program.output_shape), np.int64)
        (result,) = server.dequantise_rows(circuit, zeros, context)
        return (result.shape,)

    def run(
        self,
        circuit: ConcreteCircuit,
        evaluation: bytes,
        ciphertexts: Sequence[bytes],
        context: Context,
    ) -> tuple[bytes, ...]:
        return server.run(circuit, evaluation, ciphertexts, context)

    def rerun(
        self,
        circuit: ConcreteCircuit,
        evaluation: bytes,
        ciphertexts: Sequence[bytes],
        claimed: Sequence[bytes],
        context: Context,
    ) -> Rerun:
        found = server.reproduce(circuit, evaluation, ciphertexts, claimed, context)
        words = "a steady clock" if found.steady else "no steady clock: fresh processes were tried"
        return Rerun(found.matches, found.attempts, words)

    def quality(self, circuit: ConcreteCircuit) -> Quality:
        choice, report = circuit.choice, circuit.report
        rounding = "none" if choice.rounding is None else f"to {choice.rounding} bits"
        notes = {
            "security": f"{circuit.security_bits} bits, by the lattice estimator's line that "
            "Concrete uses (see program)",
            "quantisation": f"{choice.bits} bits, rounding {rounding}",
            "precision": f"error {report['error']} on the circuit's samples",
            "failure": f"an inference is wrong with probability {report['p_error']} at most, by "
            "failing table lookups",
            "sharing": "results that failed to decrypt rightly tell of the secret key where "
            "they are shown (IND-CPA-D); p-error makes them rarer",
        }
        return Quality(True, notes, frozenset({"quantisation", "precision", "failure"}))


def _same_shape(circuit: ConcreteCircuit, shapes: Sequence[Shape]) -> None:
    want = circuit.samples.shape[1:]
    if list(shapes) != [want]:
        got = ", ".join(str(list(shape)) for shape in shapes)
        raise Malformed("shape of the input", list(want), got)
