"""A made-up backend that seals: one machine, whose key everybody here could know.

It is as strict as a real one where the core and the kit look at it. Each name in `defects` makes it
careless in one way, so that tests can show that somebody notices.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from onnx.reference import ReferenceEvaluator

from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.errors import PolicyRefused, UsageError, VerificationError
from proofml.fields import FieldError, Fields
from proofml.guarantee import Guarantee, Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import Commitment, Computation, Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, from_npy, tensor_digest, to_npy

KEY = b"the key of the only machine here"
RECIPIENT = b"box:" + KEY
DETAIL: Mapping[str, JSON] = {"evaluator": "onnx"}


@dataclass
class Box:
    name: str = "box"
    version: int = 1
    summary: str = "a machine that nobody looks into"
    integrity: frozenset[Integrity] = frozenset({Integrity.HARDWARE})
    checks: Mapping[str, str] = field(
        default_factory=lambda: {
            "box.1": "computation: what the box computes",
            "box.2": "evidence: exactly the sections that are read",
            "box.3": "visibility: all public, or all sealed",
            "box.4": "code: the machine's, over the Statement",
            "box.5": "outputs: those to which the Statement commits",
            "box.6": "recipient: the machine",
        }
    )
    assumptions: Mapping[str, str] = field(default_factory=dict)
    hides: frozenset[str] = frozenset({"input", "output"})
    cost: int = 50
    defects: set[str] = field(default_factory=set)
    opened: int = 0

    def probe(self) -> Probe:
        return Probe(True, "made up")

    def supports(self, model: Model, request: Request) -> Support:
        unknown = sorted(request.options)
        return Support(not unknown, tuple(f"box has no option {name}" for name in unknown))

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        return {}

    # -- the owner's side -------------------------------------------------------------------------

    def seal(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        recipient: bytes | None,
        policy: Policy,
        context: Context,
    ) -> tuple[bytes, bytes]:
        if recipient is None:
            raise UsageError("box: expected somebody to seal to (--to), got nobody")
        if recipient != RECIPIENT:
            raise VerificationError("box.6", "recipient", expected="the machine", got="another")
        if policy.section("box").boolean("closed", default=False):
            raise PolicyRefused(["backends.box.closed"])
        salt, answer = self._random(32), self._random(32)
        if "one answer key" in self.defects:
            answer = bytes(32)
        commitments = _claims("input", inputs, salt)
        payload: dict[str, JSON] = {
            "salt": salt.hex(),
            "answer": answer.hex(),
            "tensors": _tensors_to_json(inputs),
        }
        message = self._encrypt(KEY, dumps(payload), model.digest)
        if "inputs beside" in self.defects:
            message += b"".join(map(to_npy, inputs.values()))
        kept: dict[str, JSON] = {
            "salt": salt.hex(),
            "answer": answer.hex(),
            "inputs": [claim.to_json() for claim in commitments],
        }
        return message, dumps(kept)

    def open(self, proof: Proof, secret: bytes) -> Mapping[str, Array]:
        self.opened += 1
        try:
            fields = Fields(loads(secret), "secret")
            salt = fields.hexadecimal("salt")
            answer = fields.hexadecimal("answer")
            inputs = fields.items("inputs", TensorClaim.read)
            fields.done()
        except (CanonicalError, FieldError) as error:
            raise UsageError(f"box: secret: {error}") from error
        statement = proof.statement
        if statement.inputs != inputs and "inputs not compared" not in self.defects:
            raise VerificationError("box.5", "these are outputs over other inputs")
        body = proof.evidence("sealed-outputs", check="box.2", most=1 << 20)
        try:
            value = loads(self._decrypt(answer, body, statement.digest))
            outputs = _tensors_of_json(value)
        except (InvalidTag, ValueError, KeyError, TypeError) as error:
            raise VerificationError("box.5", "sealed outputs do not open") from error
        if "outputs not compared" in self.defects:
            return outputs
        if statement.outputs != _claims("output", outputs, _output_salt(salt)):
            raise VerificationError("box.5", "these are other outputs")
        return outputs

    # -- the prover's side ------------------------------------------------------------------------

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        outputs = evaluate(model, inputs)
        statement = _statement(
            model, _claims("input", inputs, None), _claims("output", outputs, None), request
        )
        tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
        tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
        return Evidence(statement, {"code": Blob(_code(statement))}, tensors)

    def prove_sealed(
        self, model: Model, message: bytes, request: Request, context: Context
    ) -> Evidence:
        if "inputs beside" in self.defects:
            message = message[: -sum(len(to_npy(_zeros(spec))) for spec in model.inputs)]
        try:
            value: Any = loads(self._decrypt(KEY, message, model.digest))
            salt, answer = bytes.fromhex(value["salt"]), bytes.fromhex(value["answer"])
            inputs = _tensors_of_json(value["tensors"])
        except (InvalidTag, ValueError, KeyError, TypeError) as error:
            raise UsageError("box: the message does not open here") from error
        try:
            outputs = evaluate(model, inputs)
        except Exception as error:
            raise UsageError("box: the model does not run on what was sealed") from error
        shown = "inputs in the open" in self.defects
        statement = _statement(
            model,
            _claims("input", inputs, None if shown else salt),
            _claims("output", outputs, _output_salt(salt)),
            request,
        )
        sealed = self._encrypt(answer, dumps(_tensors_to_json(outputs)), statement.digest)
        blobs = {"code": Blob(_code(statement)), "sealed-outputs": Blob(sealed)}
        tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())} if shown else {}
        return Evidence(statement, blobs, tensors)

    # -- the verifier's side ----------------------------------------------------------------------

    def verify(self, trial: Trial) -> Guarantee:
        checks, proof, statement = trial.checks, trial.proof, trial.proof.statement
        stated = (statement.computation.kind, dict(statement.computation.detail))
        checks.equal("box.1", "computation", expected=("box", DETAIL), got=stated)
        checks.passed("box.1")
        shown = {claim.visibility for _, claim in statement.tensors()}
        sealed = shown == {Visibility.HASHED}
        roles = {role for role, _ in statement.tensors()}
        names = [entry.name for entry in proof.entries if entry.name not in roles]
        wanted = ["code", "sealed-outputs"] if sealed else ["code"]
        checks.equal("box.2", "evidence", expected=wanted, got=names)
        checks.passed("box.2")
        if not sealed and shown != {Visibility.PUBLIC}:
            checks.failed("box.3", "visibility", expected="one of two", got=sorted(shown))
        checks.passed("box.3")
        code = proof.evidence("code", check="box.4", most=32)
        if not hmac.compare_digest(code, _code(statement)):
            checks.failed("box.4", "code", expected="the machine's", got=code.hex())
        checks.passed("box.4")
        for number in ("box.5", "box.6"):
            checks.skipped(number, "of the owner's")
        hidden = dict.fromkeys(("input", "output"), "everybody else") if sealed else {}
        return Guarantee(self.integrity, hidden=hidden)

    # -- ciphers ----------------------------------------------------------------------------------

    def _random(self, size: int) -> bytes:
        return bytes(size) if "not random" in self.defects else os.urandom(size)

    def _encrypt(self, key: bytes, data: bytes, about: str) -> bytes:
        nonce = self._random(16)
        if "not authenticated" in self.defects:
            return nonce + _stream(key, nonce, data)
        return nonce + AESGCM(key).encrypt(nonce, data, about.encode())

    def _decrypt(self, key: bytes, data: bytes, about: str) -> bytes:
        """Raises `InvalidTag` or `ValueError`."""
        nonce, body = data[:16], data[16:]
        if "not authenticated" in self.defects:
            return _stream(key, nonce, body)
        return AESGCM(key).decrypt(nonce, body, about.encode())


def evaluate(model: Model, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The model's outputs by onnx's own evaluator."""
    names = [spec.name for spec in model.outputs]
    return dict(zip(names, ReferenceEvaluator(model.proto).run(names, dict(inputs)), strict=True))


def _stream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.CTR(nonce)).encryptor().update(data)


def _code(statement: Statement) -> bytes:
    return hmac.digest(KEY, bytes.fromhex(statement.digest), "sha256")


def _statement(
    model: Model,
    inputs: tuple[TensorClaim, ...],
    outputs: tuple[TensorClaim, ...],
    request: Request,
) -> Statement:
    return Statement(model.claim, inputs, outputs, Computation("box", DETAIL), request.nonce)


def _output_salt(salt: bytes) -> bytes:
    return hashlib.sha256(b"outputs" + salt).digest()


def _claims(kind: str, tensors: Mapping[str, Array], salt: bytes | None) -> tuple[TensorClaim, ...]:
    """Public without a salt, else committed to."""
    found = []
    for index, (name, array) in enumerate(tensors.items()):
        dtype = str(dtype_name(array))
        if salt is None:
            digest = tensor_digest(array)
            found.append(TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, digest))
            continue
        data = salt + f"{kind}.{index}".encode() + to_npy(array)
        commitment = Commitment("box-sha256", hashlib.sha256(data).hexdigest())
        found.append(
            TensorClaim(name, dtype, array.shape, Visibility.HASHED, commitment=commitment)
        )
    return tuple(found)


def _tensors_to_json(tensors: Mapping[str, Array]) -> list[JSON]:
    return [
        [name, str(dtype_name(array)), list(array.shape), to_npy(array).hex()]
        for name, array in tensors.items()
    ]


def _tensors_of_json(value: Any) -> dict[str, Array]:
    return {name: from_npy(bytes.fromhex(data), dtype, shape) for name, dtype, shape, data in value}


def _zeros(spec: Any) -> Array:
    import numpy as np

    return np.zeros(spec.shape, spec.dtype)
