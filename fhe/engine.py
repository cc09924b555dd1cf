"""The public half of a scheme, as server and verifier use it: no secret key, no code for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from proofml.backend import Context, Probe
from proofml.fhe.about import CKKS
from proofml.fhe.scheme import Circuit
from proofml.model import Model

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rerun:
    """Whether a run gave the claimed bytes, and after how many whole runs."""

    matches: bool
    attempts: int
    detail: str = ""


@dataclass(frozen=True)
class Quality:
    """What a verdict says of a circuit.

    Attributes:
        leaks: whether decrypted results that are shown can tell of the secret key.
        notes: precision, probability of failure, security; for people.
        derived: of these, the names of those that deriving the circuit has shown; where it was not
            derived they are what whoever compiled it says.
    """

    leaks: bool
    notes: Mapping[str, str]
    derived: frozenset[str]


class Engine(Protocol):
    """Circuits are those of `read_circuit`; every method may raise `Malformed` on foreign bytes."""

    name: str

    def probe(self) -> Probe: ...

    def libraries(self) -> Mapping[str, str]:
        """Package -> version of what runs here; raises `BackendUnavailable`."""
        ...

    def obstacles(self, model: Model) -> tuple[str, ...]:
        """Why the model cannot be taken, as far as its graph shows it."""
        ...

    def read_circuit(self, data: bytes) -> Circuit: ...

    def parameters(self, circuit: Any) -> str:
        """Digest of the cryptographic parameters."""
        ...

    def check_circuit(self, circuit: Any, model: Model, context: Context) -> None: ...

    def check_keys(self, circuit: Any, evaluation: bytes) -> str:
        """The name that ciphertexts under these keys carry."""
        ...

    def check_inputs(
        self, circuit: Any, key: str, ciphertexts: Sequence[bytes], shapes: Sequence[Shape]
    ) -> None: ...

    def check_outputs(
        self, circuit: Any, key: str, ciphertexts: Sequence[bytes], shapes: Sequence[Shape]
    ) -> None:
        """`shapes` are the inputs'."""
        ...

    def output_shapes(
        self, circuit: Any, shapes: Sequence[Shape], context: Context
    ) -> tuple[Shape, ...]:
        """Of the model's outputs, for these shapes of its inputs."""
        ...

    def run(
        self, circuit: Any, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]: ...

    def rerun(
        self,
        circuit: Any,
        evaluation: bytes,
        ciphertexts: Sequence[bytes],
        claimed: Sequence[bytes],
        context: Context,
    ) -> Rerun: ...

    def quality(self, circuit: Any) -> Quality: ...


def engine(name: str) -> Engine:
    """Of a backend."""
    if name == CKKS:
        from proofml.fhe.ckks.engine import CkksEngine

        return CkksEngine()
    from proofml.fhe.concrete.engine import ConcreteEngine

    return ConcreteEngine()
