"""One workshop, one model and one honest proof for the tests of a module."""

from __future__ import annotations

import pytest

from proofml.model import Model
from proofml.proof import Proof

from .models import X, qdq_gemm
from .workshop import Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("sumcheck"))


@pytest.fixture(scope="session")
def model(workshop: Workshop) -> Model:
    return workshop.load(qdq_gemm(0))


@pytest.fixture(scope="session")
def other(workshop: Workshop) -> Model:
    return workshop.load(qdq_gemm(1))


@pytest.fixture(scope="session")
def honest(workshop: Workshop, model: Model) -> Proof:
    return workshop.prove(model, X)
