"""Two owners, a server and a verifier for each backend, with caches of their own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from onnx import load_model_from_string, numpy_helper

from proofml import api
from proofml.backend import Context, Request
from proofml.expectation import Expectation
from proofml.fhe.about import CKKS
from proofml.fhe.backend_owner import keygen, seal_with
from proofml.fhe.concrete.environment import VARIABLE
from proofml.fhe.files import Key
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import Sealed, Secret
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import gemm
from proofml.verdict import Verdict

from ..concrete import models as concrete_models

NONCE = b"verifier's own"
GOLDEN = Path(__file__).parent.parent / "concrete" / "golden"
#: Remains assumed where all is pinned that can be.
ALLOWED = frozenset({"decryptions:unshared"})


@dataclass(frozen=True)
class Client:
    """An owner of inputs: keys that are used again, one message, the proof over it."""

    inputs: dict[str, Array]
    key: Key
    evaluation: bytes
    sealed: Sealed
    secret: Secret
    proof: Proof


@dataclass(frozen=True)
class World:
    """What a backend's tests share; nothing in it is changed."""

    backend: str
    folder: Path
    model: Model
    changed: Model
    circuit: bytes
    signer: SigningKey
    one: Client
    two: Client

    @property
    def server(self) -> Context:
        return Context(Store(self.folder / "server"))

    @property
    def verifier(self) -> Context:
        return Context(Store(self.folder / "verifier"))

    @property
    def policy(self) -> Policy:
        """Of the first owner: pins circuit, keys and the server's signature."""
        section: dict[str, Any] = {
            "circuits": [self.one.proof.statement.computation.detail["circuit"]],
            "keys": [self.one.key.evaluation],
        }
        return Policy(
            signers=frozenset({self.signer.public}), sections={self.backend: section}
        ).allow(ALLOWED)

    def stranger(self, **section: Any) -> Policy:
        """Pins nothing, allows what that leaves open."""
        names = [*ALLOWED, "circuit:unpinned", "nonce:unauthenticated", "trace:sampled"]
        return Policy(sections={self.backend: section}).allow([*names, "circuit:underived"])

    def judge(self, proof: Proof | bytes, policy: Policy | None = None) -> Verdict:
        return api.verify(
            proof,
            Expectation(model=self.model, nonce=NONCE),
            self.stranger() if policy is None else policy,
            context=self.verifier,
        )


def one_weight_more(data: bytes) -> bytes:
    """The model with one weight changed a little."""
    proto = load_model_from_string(data)
    tensor = max(proto.graph.initializer, key=lambda one: int(np.prod(one.dims)))
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += np.float32(0.25)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return bytes(proto.SerializeToString())


@cache
def world(backend: str) -> World:
    """Made once a session."""
    made = TemporaryDirectory(prefix=f"proofml-{backend}-")
    _KEPT.append(made)
    folder = Path(made.name)
    server = Store(folder / "server")
    data = gemm(0) if backend == CKKS else concrete_models.mlp()
    model = Model.load(data, store=server)
    changed = Model.load(one_weight_more(data), store=server)
    circuit = (
        compile_ckks(model, Context(server))
        if backend == CKKS
        else (GOLDEN / "mlp.circuit").read_bytes()
    )
    signer = SigningKey.generate()
    clients = []
    for values in ([1.0, -2.0, 0.5, 1.25], [0.25, 1.0, -1.5, 2.0]):
        inputs = {"x": np.array([values], np.float32)}
        context = Context(Store(folder / f"client-{len(clients)}"))
        key, evaluation = keygen(backend, circuit, context)
        message, ticket = seal_with(model, inputs, key, Policy(), context, evaluation)
        sealed = Sealed(backend, model.digest, message)
        secret = Secret(backend, model.digest, sealed.digest, ticket)
        proof = api.prove(model, sealed, nonce=NONCE, signers=[signer], context=Context(server))
        clients.append(Client(inputs, key, evaluation, sealed, secret, proof))
    return World(backend, folder, model, changed, circuit, signer, *clients)


def compile_ckks(model: Model, context: Context, **options: str) -> bytes:
    """A small circuit; the same bytes for the same options."""
    from proofml.fhe.ckks.compiler import compile_model

    return compile_model(model, calibration(), {"ring": "4096", **options}, context).data


def calibration() -> list[Mapping[str, Array]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(0, 2, (1, 4)).astype(np.float32)} for _ in range(16)]


def request(**options: str) -> Request:
    return Request(nonce=NONCE, options=options)


def need(backend: str) -> None:
    """Skips where the scheme's library is not there."""
    if backend == CKKS:
        pytest.importorskip("tenseal")
    elif not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no interpreter with Concrete")


_KEPT: list[TemporaryDirectory[str]] = []
