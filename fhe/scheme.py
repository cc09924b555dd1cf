"""What a homomorphic scheme does for the backends: one object of this protocol for each library.

Three people use it. The *owner* of the inputs makes keys, encrypts and decrypts; the *server* runs
the circuit on ciphertexts; a *verifier* runs it again and compares bytes. Server and verifier hold
the circuit and the evaluation keys, never the secret key, and import no code that uses one.

Everything that touches a native library runs in a worker (`proofml.worker`). What comes as bytes is
read strictly: `Malformed` says what was expected and what came, and the caller turns it into
`VerificationError` (evidence of strangers) or `UsageError` (one's own files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from proofml.backend import Context, Probe
from proofml.canonical import JSON
from proofml.errors import printable
from proofml.model import Model, TensorSpec
from proofml.tensors import Array


class Malformed(ValueError):
    """Bytes that are not what they should be; `what` names the thing, or the part of it."""

    def __init__(self, what: str, expected: object, got: object) -> None:
        self.what = printable(what)
        self.expected = printable(expected)
        self.got = printable(got)
        super().__init__(f"{self.what}: expected {self.expected}, got {self.got}")


@dataclass(frozen=True)
class Operator:
    """One step of a circuit that makes one ciphertext.

    Attributes:
        name: what it does, for people.
        operands: positions of the ciphertexts that it reads: `i` below the number of input
            ciphertexts is that input, others are `inputs + number of the operator`.
    """

    name: str
    operands: tuple[int, ...]


class Circuit(Protocol):
    """A compiled model: public, the same for owner, server and verifier.

    Attributes:
        scheme: name of the scheme that made it.
        data: canonical bytes; `digest` is their SHA-256, 64 hexadecimal digits.
        model: canonical SHA-256 of the model that it computes.
        inputs, outputs: as the model declares them.
        security_bits: what the parameters give by the standard's tables.
        report: accuracy against cost as compiling found it, for people; canonical JSON, so that
            reals are strings. Always there: `error` (the largest difference from the float model
            to be expected) and `p_error` (probability that an inference is wrong beyond that).
    """

    @property
    def scheme(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def digest(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def security_bits(self) -> int: ...
    @property
    def report(self) -> Mapping[str, JSON]: ...


@runtime_checkable
class Scheme(Protocol):
    """All roles. A verifier imports the module of the public half instead of this object.

    Every method may raise `BackendUnavailable` (the library is missing) and `WorkerFailed`.
    """

    name: str

    def probe(self) -> Probe: ...

    def compile(
        self,
        model: Model,
        samples: Sequence[Mapping[str, Array]],
        options: Mapping[str, str],
        context: Context,
    ) -> Circuit:
        """A circuit for `model`, its parameters chosen on calibration samples (inputs by name).

        Raises:
            UnsupportedModel: by operator and reason: unknown, too deep, too wide.
            UsageError: options that are unknown or out of range, samples that do not fit.
        """
        ...

    def read_circuit(self, data: bytes) -> Circuit:
        """Strictly; raises `Malformed`, also for parameters of less than 128 bits."""
        ...

    def check_circuit(self, circuit: Circuit, model: Model, context: Context) -> None:
        """Find that the circuit computes this model: derived again from model and circuit's record.

        Raises:
            Malformed: it does not.
        """
        ...

    def simulate(
        self, circuit: Circuit, inputs: Mapping[str, Array], context: Context
    ) -> dict[str, Array]:
        """Outputs by name as the encrypted run makes them but for its noise, in the clear.

        Raises:
            UsageError: inputs that the model does not take, or that are not finite.
        """
        ...

    def keygen(self, circuit: Circuit, context: Context) -> tuple[bytes, bytes]:
        """Secret key and evaluation keys, both bound to the circuit's parameters."""
        ...

    def encrypt(
        self, circuit: Circuit, secret: bytes, inputs: Mapping[str, Array], context: Context
    ) -> tuple[bytes, ...]:
        """Ciphertexts of the inputs, canonical.

        Raises:
            UsageError: inputs as in `simulate`, or beyond what the circuit was calibrated for.
            Malformed: a secret key that is none, or is for other parameters.
        """
        ...

    def run(
        self, circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]:
        """Ciphertexts of the outputs: the same bytes from the same bytes, in every process.

        Raises:
            Malformed: keys or ciphertexts that are none, foreign, or for other parameters.
        """
        ...

    def decrypt(
        self, circuit: Circuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> dict[str, Array]:
        """Outputs by name, as the model declares them; raises `Malformed` as `run`."""
        ...


@runtime_checkable
class TracingScheme(Scheme, Protocol):
    """A scheme of which each operator can be run again on its own."""

    def operators(self, circuit: Circuit, ciphertexts: int) -> tuple[Operator, ...]:
        """What runs on so many input ciphertexts, in order; the last ones make the outputs."""
        ...

    def trace(
        self, circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> tuple[bytes, ...]:
        """The ciphertext that each operator makes; raises as `run`."""
        ...

    def replay(
        self,
        circuit: Circuit,
        evaluation: bytes,
        tasks: Iterable[tuple[int, Sequence[bytes]]],
        context: Context,
    ) -> tuple[bytes, ...]:
        """Run operators again, each given by its number and the ciphertexts of its operands."""
        ...
