"""The side of whoever owns the inputs: keys, sealing, and reading the outputs of a proof.

The secret key is used here and nowhere else. Inputs are sealed to a circuit (then keys are made for
this one message) or under a key file, which holds its circuit (`proofml fhe keygen`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from proofml.backend import Context
from proofml.canonical import sha256
from proofml.errors import (
    BackendFailed,
    BackendUnavailable,
    PolicyRefused,
    UsageError,
    VerificationError,
)
from proofml.fhe import evidence, files
from proofml.fhe.about import CKKS
from proofml.fhe.checks import Check, Numbers
from proofml.fhe.engine import engine
from proofml.fhe.files import Key, Message, Ticket
from proofml.fhe.policy import FhePolicy
from proofml.fhe.record import Record, committed
from proofml.fhe.scheme import Circuit, Malformed
from proofml.fhe.schemes import scheme_of
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import PROTECTED_TYPE
from proofml.store import Store
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model

#: All that is said of outputs that do not decrypt: more would tell of the key.
_CLOSED = "the outputs do not open with this secret"


class Owner(Protocol):
    """The private half of a scheme: its module `owner`."""

    def keygen(self, circuit: Circuit, context: Context) -> tuple[bytes, bytes]: ...

    def encrypt(
        self, circuit: Circuit, secret: bytes, inputs: Mapping[str, Array], context: Context
    ) -> tuple[bytes, ...]: ...

    def decrypt(
        self, circuit: Circuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
    ) -> dict[str, Array]: ...


def owner(backend: str) -> Owner:
    """Of a backend."""
    if backend == CKKS:
        from proofml.fhe.ckks import owner as ckks

        return cast(Owner, ckks)
    from proofml.fhe.concrete import owner as concrete

    return cast(Owner, concrete)


def keygen(backend: str, circuit: bytes, context: Context) -> tuple[Key, bytes]:
    """Keys for a circuit: the key file, and the file of evaluation keys.

    Raises:
        UsageError: what is no circuit, or has parameters of less than 128 bits.
    """
    try:
        read = engine(backend).read_circuit(circuit)
        secret, evaluation = owner(backend).keygen(read, context)
    except Malformed as error:
        raise UsageError(f"{backend}: {error}") from error
    return Key(backend, sha256(evaluation), circuit, secret), evaluation


def seal(
    model: Model,
    inputs: Mapping[str, Array],
    recipient: bytes | None,
    policy: Policy,
    context: Context,
    backend: str,
) -> tuple[bytes, bytes]:
    """Encrypt inputs: to a circuit, with keys made for this once, or under a key file.

    Raises:
        UsageError: no recipient, or one that is none, or inputs that the circuit does not take.
        PolicyRefused: the policy names circuits, and not this one.
    """
    if recipient is None:
        raise UsageError(
            f"{backend}: inputs are sealed for a compiled circuit; give its file, or your key file "
            "(--to FILE), which `proofml fhe compile` and `proofml fhe keygen` write"
        )
    found = files.kind(recipient)
    if found == PROTECTED_TYPE:
        raise UsageError("the key file is under a passphrase; seal with `proofml fhe seal`")
    if found == files.KEY_TYPE:
        return seal_with(model, inputs, read_key(recipient, backend), policy, context)
    scheme_of(recipient, "recipient (--to)")
    key, evaluation = keygen(backend, recipient, context)
    return seal_with(model, inputs, key, policy, context, evaluation)


def read_key(data: bytes, backend: str | None = None, what: str = "key file") -> Key:
    """Raises `UsageError`; nothing of a key is quoted."""
    try:
        key = Key.read(data)
    except Malformed as error:
        raise UsageError(f"{what}: {error}") from error
    if backend is not None and key.scheme != backend:
        raise UsageError(f"{what}: expected a key of {backend}, got one of {key.scheme}")
    return key


def seal_with(
    model: Model,
    inputs: Mapping[str, Array],
    key: Key,
    policy: Policy,
    context: Context,
    evaluation: bytes | None = None,
) -> tuple[bytes, bytes]:
    """Message and ticket, under a key.

    Args:
        evaluation: goes into the message where it is given; else the server needs the file.

    Raises:
        UsageError, PolicyRefused: as `seal`.
    """
    backend, digest = key.scheme, sha256(key.circuit)
    rules = FhePolicy.read(policy, backend)
    if rules.circuits and digest not in rules.circuits:
        raise PolicyRefused([f"circuit {digest} is none that the policy names"])
    try:
        circuit = engine(backend).read_circuit(key.circuit)
        if circuit.model != model.digest:
            raise UsageError(
                f"{model.name} ({model.digest}): the circuit is of another model, {circuit.model}"
            )
        ciphertexts = owner(backend).encrypt(circuit, key.secret, inputs, context)
    except Malformed as error:
        raise UsageError(f"{backend}: {error}") from error
    section = files.join(ciphertexts)
    shapes = tuple(inputs[spec.name].shape for spec in model.inputs)
    message = Message(backend, shapes, key.evaluation, key.circuit, section, evaluation)
    ticket = Ticket(
        backend, digest, key.evaluation, files.commitment("inputs", section), key.secret
    )
    return message.to_bytes(), ticket.to_bytes()


def open_proof(proof: Proof, secret: bytes, backend: str) -> dict[str, Array]:
    """Outputs by name; of a proof whose verdict is accepted.

    Raises:
        UsageError: no secret of this backend.
        VerificationError: the proof is over another circuit, other keys or other inputs than the
            secret's, or its outputs do not open.
    """
    numbers = Numbers(backend)
    try:
        ticket = Ticket.read(secret)
        if ticket.scheme != backend:
            raise Malformed("secret: scheme", backend, ticket.scheme)
    except Malformed as error:
        raise UsageError(str(error)) from error
    record = Record.read(proof.statement, numbers)
    inputs = committed(proof.statement.inputs, "inputs", numbers)
    outputs = committed(proof.statement.outputs, "outputs", numbers)
    for check, what, expected, got in (
        (Check.CIRCUIT, "circuit", ticket.circuit, record.circuit),
        (Check.KEYS, "evaluation keys", ticket.evaluation, record.evaluation),
        (Check.INPUTS, "inputs that this secret sealed", ticket.inputs, inputs),
    ):
        if expected != got:
            numbers.refuse(check, what, expected=expected, got=got)
    section = proof.evidence(
        evidence.OUTPUTS, check=numbers.of(Check.OUTPUTS), most=evidence.MAX_CIPHERTEXT_BYTES
    )
    circuit = proof.evidence(
        evidence.CIRCUIT, check=numbers.of(Check.CIRCUIT), most=files.MAX_CIRCUIT_BYTES
    )
    if files.commitment("outputs", section) != outputs or sha256(circuit) != ticket.circuit:
        numbers.refuse(Check.OUTPUTS, "evidence", expected="what was accepted", got="other bytes")
    try:
        return owner(backend).decrypt(
            engine(backend).read_circuit(circuit),
            ticket.secret,
            files.split(section, "output ciphertexts"),
            Context(Store.default()),
        )
    except BackendUnavailable:
        raise
    except BackendFailed as error:
        if getattr(error, "is_machines_fault", True):
            raise
        raise VerificationError(numbers.of(Check.OUTPUTS), _CLOSED) from None
    except Malformed as error:
        if error.what.startswith("secret key"):
            raise UsageError(str(error)) from error
        raise VerificationError(numbers.of(Check.OUTPUTS), _CLOSED) from None
