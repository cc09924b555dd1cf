"""The scheme `concrete` as one object, for those who hold all roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofml.backend import Context, Probe
from proofml.errors import ProofmlError
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete.circuit import SCHEME, ConcreteCircuit
from proofml.fhe.concrete.environment import find
from proofml.fhe.scheme import Circuit
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array


class ConcreteScheme:
    """See `proofml.fhe.scheme.Scheme`; every role's module is imported when it is first used."""

    name = SCHEME

    def probe(self) -> Probe:
        try:
            found = find(Store.default(), "run")
        except ProofmlError as error:
            return Probe(False, str(error))
        if found is None:
            return Probe(False, "no environment with Concrete; proofml fhe environment --for run")
        return Probe(True, found.detail)

    def compile(
        self,
        model: Model,
        samples: Sequence[Mapping[str, Array]],
        options: Mapping[str, str],
        context: Context,
    ) -> ConcreteCircuit:
        from proofml.fhe.concrete.compiler import compile_model

        return compile_model(model, samples, options, context)

    def read_circuit(self, data: bytes) -> ConcreteCircuit:
        return circuits.read(data)

    def check_circuit(self, circuit: Circuit, model: Model, context: Context) -> None:
        from proofml.fhe.concrete.check import check_circuit

        check_circuit(_own(circuit), model, context)

    def simulate(
        self, circuit: Circuit, inputs: Mapping[str, Array], context: Context
    ) -> dict[str, Array]:
        from proofml.fhe.concrete import server

        return server.simulate(_own(circuit), inputs, context)

    def keygen(self, circuit: Circuit, context: Context) -> tuple[bytes, bytes]:
        from proofml.fhe.concrete import owner

        return owner.keygen(_own(circuit), context)

    def encrypt(
        self, circuit: Circuit, secret: bytes, inputs: Mapping[str, Array], context: Context
    ) -> tuple[bytes, ...]:
        from proofml.fhe.concrete import owner

        return owner.encrypt(_own(circuit), secret, inputs, context)

    def run(
        self, circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]:
        from proofml.fhe.concrete import server

        return server.run(_own(circuit), evaluation, ciphertexts, context)

    def decrypt(
        self, circuit: Circuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> dict[str, Array]:
        from proofml.fhe.concrete import owner

        return owner.decrypt(_own(circuit), secret, ciphertexts, context)


def _own(circuit: Circuit) -> ConcreteCircuit:
    """A circuit of this scheme; another one's is read again from its bytes, and refused there."""
    return circuit if isinstance(circuit, ConcreteCircuit) else circuits.read(circuit.data)
