"""The public half of this scheme, as server and verifier use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.backend import Context, Probe
from proofml.errors import BackendUnavailable
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import derive, flooding, frontend, messages, server, vectors
from proofml.fhe.ckks.call import library_version, probe
from proofml.fhe.ckks.circuit import SCHEME, CkksCircuit
from proofml.fhe.engine import Quality, Rerun, Shape
from proofml.fhe.scheme import Malformed
from proofml.model import Model


class CkksEngine:
    """See `proofml.fhe.engine.Engine`."""

    name = SCHEME

    def probe(self) -> Probe:
        return probe()

    def libraries(self) -> Mapping[str, str]:
        found = library_version()
        if found is None:
            raise BackendUnavailable("tenseal is not installed; pip install 'proofml[tenseal]'")
        return {"tenseal": found}

    def obstacles(self, model: Model) -> tuple[str, ...]:
        return frontend.unsupported(model)

    def read_circuit(self, data: bytes) -> CkksCircuit:
        return circuits.read(data)

    def parameters(self, circuit: CkksCircuit) -> str:
        return circuit.program.parameters.digest

    def check_circuit(self, circuit: CkksCircuit, model: Model, context: Context) -> None:
        derive.check(circuit, model)

    def check_keys(self, circuit: CkksCircuit, evaluation: bytes) -> str:
        program = circuit.program
        return messages.read_evaluation(
            evaluation, program.parameters, program.rotations, program.multiplies
        ).key

    def check_inputs(
        self, circuit: CkksCircuit, key: str, ciphertexts: Sequence[bytes], shapes: Sequence[Shape]
    ) -> None:
        levels = [register.level for register in circuit.program.inputs]
        self._check(circuit, key, ciphertexts, shapes, levels, "input ciphertext")

    def check_outputs(
        self, circuit: CkksCircuit, key: str, ciphertexts: Sequence[bytes], shapes: Sequence[Shape]
    ) -> None:
        program = circuit.program
        levels = [program.registers[register].level for register in program.outputs]
        self._check(circuit, key, ciphertexts, shapes, levels, "output ciphertext")

    def _check(
        self,
        circuit: CkksCircuit,
        key: str,
        ciphertexts: Sequence[bytes],
        shapes: Sequence[Shape],
        levels: Sequence[int],
        what: str,
    ) -> None:
        program, batch = circuit.program, _batch(circuit, shapes)
        groups = -(-batch // program.lanes)
        if len(ciphertexts) != groups * len(levels):
            raise Malformed(f"{what}s", f"{groups * len(levels)} of them", len(ciphertexts))
        for index, data in enumerate(ciphertexts):
            group, place = divmod(index, len(levels))
            found = messages.read_ciphertext(
                data, program.parameters, key, levels[place], program.lanes, f"{what} {index}"
            )
            count = min(program.lanes, batch - group * program.lanes)
            if found.count != count:
                raise Malformed(f"{what} {index}", f"one of {count} inferences", found.count)

    def output_shapes(
        self, circuit: CkksCircuit, shapes: Sequence[Shape], context: Context
    ) -> tuple[Shape, ...]:
        batch = _batch(circuit, shapes)
        zeros = [np.zeros((1, circuit.program.features)) for _ in circuit.results]
        found = vectors.finish(circuit, zeros)
        return tuple((batch * len(one), *one.shape[1:]) for one in found.values())

    def run(
        self,
        circuit: CkksCircuit,
        evaluation: bytes,
        ciphertexts: Sequence[bytes],
        context: Context,
    ) -> tuple[bytes, ...]:
        return server.run(circuit, evaluation, ciphertexts, context)

    def rerun(
        self,
        circuit: CkksCircuit,
        evaluation: bytes,
        ciphertexts: Sequence[bytes],
        claimed: Sequence[bytes],
        context: Context,
    ) -> Rerun:
        return Rerun(self.run(circuit, evaluation, ciphertexts, context) == tuple(claimed), 1)

    def quality(self, circuit: CkksCircuit) -> Quality:
        record, parameters = circuit.record, circuit.program.parameters
        closest = max((a.error for a in record.approximations), default=0.0)
        flood, least = record.flood, flooding.LEAST_BITS
        notes = {
            "security": f"{parameters.security_bits} bits: ring degree {parameters.degree}, "
            f"modulus of {parameters.modulus_bits} bits, by the HomomorphicEncryption.org tables",
            "approximations": f"{len(record.approximations)} activations by polynomials, each "
            f"within {closest:.3g} of its function on its interval",
            "precision": f"error {circuit.report['error']}, beyond it with probability "
            f"{circuit.report['p_error']}, as whoever compiled the circuit measured",
            "sharing": f"decrypted results get noise that hides the key with {flood} bits (one "
            "result), as far as encryption's noise is what whoever compiled the circuit estimated"
            + ("" if flood >= least else f"; {least} bits would be enough to show results")
            if flood
            else "whoever sees decrypted results and knows inputs can find the secret key "
            "(IND-CPA-D); the option flood adds noise against it",
        }
        return Quality(flood < least, notes, frozenset({"approximations"}))


def _batch(circuit: CkksCircuit, shapes: Sequence[Shape]) -> int:
    """Inferences: the first dimension, the same for all inputs."""
    if len(shapes) != len(circuit.inputs):
        raise Malformed("inputs", len(circuit.inputs), len(shapes))
    first = {shape[0] if shape else 0 for shape in shapes}
    for spec, shape in zip(circuit.inputs, shapes, strict=True):
        if not spec.admits(shape) or len(first) != 1 or not 1 <= shape[0] <= vectors.MAX_SAMPLES:
            raise Malformed(
                f"shape of input {spec.name!r}",
                f"{spec}, a batch of 1 to {vectors.MAX_SAMPLES}, the same for all inputs",
                list(shape),
            )
    return first.pop()
