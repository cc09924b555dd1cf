"""The scheme `ckks` as one object, for those who hold all roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from proofml.backend import Context, Probe
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks.circuit import SCHEME, CkksCircuit
from proofml.fhe.scheme import Circuit, Operator
from proofml.model import Model
from proofml.tensors import Array


class CkksScheme:
    """See `proofml.fhe.scheme.TracingScheme`; each role's module is imported when first used."""

    name = SCHEME

    def probe(self) -> Probe:
        from proofml.fhe.ckks.call import probe

        return probe()

    def compile(
        self,
        model: Model,
        samples: Sequence[Mapping[str, Array]],
        options: Mapping[str, str],
        context: Context,
    ) -> CkksCircuit:
        from proofml.fhe.ckks.compiler import compile_model

        return compile_model(model, samples, options, context)

    def read_circuit(self, data: bytes) -> CkksCircuit:
        return circuits.read(data)

    def check_circuit(self, circuit: Circuit, model: Model, context: Context) -> None:
        from proofml.fhe.ckks.derive import check

        check(_own(circuit), model)

    def simulate(
        self, circuit: Circuit, inputs: Mapping[str, Array], context: Context
    ) -> dict[str, Array]:
        from proofml.fhe.ckks import server

        return server.simulate(_own(circuit), inputs, context)

    def keygen(self, circuit: Circuit, context: Context) -> tuple[bytes, bytes]:
        from proofml.fhe.ckks import owner

        return owner.keygen(_own(circuit), context)

    def encrypt(
        self, circuit: Circuit, secret: bytes, inputs: Mapping[str, Array], context: Context
    ) -> tuple[bytes, ...]:
        from proofml.fhe.ckks import owner

        return owner.encrypt(_own(circuit), secret, inputs, context)

    def run(
        self, circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]:
        from proofml.fhe.ckks import server

        return server.run(_own(circuit), evaluation, ciphertexts, context)

    def decrypt(
        self, circuit: Circuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> dict[str, Array]:
        from proofml.fhe.ckks import owner

        return owner.decrypt(_own(circuit), secret, ciphertexts, context)

    def operators(self, circuit: Circuit, ciphertexts: int) -> tuple[Operator, ...]:
        from proofml.fhe.ckks import server

        return server.operators(_own(circuit), ciphertexts)

    def trace(
        self, circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]:
        from proofml.fhe.ckks import server

        return server.trace(_own(circuit), evaluation, ciphertexts, context)

    def replay(
        self,
        circuit: Circuit,
        evaluation: bytes,
        tasks: Iterable[tuple[int, Sequence[bytes]]],
        context: Context,
    ) -> tuple[bytes, ...]:
        from proofml.fhe.ckks import server

        return server.replay(_own(circuit), evaluation, tasks, context)


def _own(circuit: Circuit) -> CkksCircuit:
    if not isinstance(circuit, CkksCircuit):
        raise TypeError(f"expected a circuit of {SCHEME}, got one of {circuit.scheme}")
    return circuit
