"""One cache for all tests of a session, and circuits that several of them use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from proofml.backend import Context
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

from .models import mlp, samples


@dataclass(frozen=True)
class Party:
    """A model with its circuit and keys, inputs, and their ciphertexts."""

    model: Model
    circuit: CkksCircuit
    secret: bytes
    evaluation: bytes
    inputs: dict[str, Array]
    ciphertexts: tuple[bytes, ...]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def context(store: Store) -> Context:
    return Context(store)


@pytest.fixture(scope="session")
def scheme() -> CkksScheme:
    return CkksScheme()


@pytest.fixture(scope="session")
def party(scheme: CkksScheme, context: Context) -> Party:
    """A small network with one activation; lanes for several inferences."""
    pytest.importorskip("tenseal")
    model = mlp(context.store, batch="n")
    options = {"degree": "4", "ring": "8192", "tolerance": "1"}
    circuit = scheme.compile(model, samples(model), options, context)
    secret, evaluation = scheme.keygen(circuit, context)
    inputs = {"x": np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)}
    ciphertexts = scheme.encrypt(circuit, secret, inputs, context)
    return Party(model, circuit, secret, evaluation, inputs, ciphertexts)
