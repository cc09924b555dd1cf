"""A cache for this folder's tests, and the interpreter that has Concrete, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofml.backend import Context
from proofml.fhe.concrete.circuit import ConcreteCircuit, read
from proofml.fhe.concrete.environment import VARIABLE, find
from proofml.store import Store

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture(scope="session")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(Store(tmp_path_factory.mktemp("concrete-cache")))


@pytest.fixture(scope="session")
def concrete(context: Context) -> Context:
    """The same, where `PROOFML_PYTHON_CONCRETE` names an interpreter that compiles circuits."""
    if find(context.store, "compile") is None:
        pytest.skip(f"{VARIABLE} names no interpreter with Concrete")
    return context


@pytest.fixture(scope="session")
def linear() -> ConcreteCircuit:
    """A circuit of `models.logistic()`, without table lookups."""
    return read((GOLDEN / "logistic.circuit").read_bytes())


@pytest.fixture(scope="session")
def network() -> ConcreteCircuit:
    """A circuit of `models.mlp()`."""
    return read((GOLDEN / "mlp.circuit").read_bytes())


@pytest.fixture(scope="session")
def forest() -> ConcreteCircuit:
    """A circuit of `models.trees()`."""
    return read((GOLDEN / "trees.circuit").read_bytes())
