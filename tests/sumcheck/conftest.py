"""One honest run of each case for the whole session, and both arithmetics for who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import pytest

from proofml.zkml.sumcheck import engine

from .malicious import Lie, Trial


@lru_cache(None)
def _trial(name: str) -> Trial:
    return Trial.of(name)


@lru_cache(None)
def _proof(name: str) -> bytes:
    return _trial(name).prove(Lie())


@pytest.fixture(scope="session")
def trial() -> Callable[[str], Trial]:
    """The honest run of a case by its name: not to be changed."""
    return _trial


@pytest.fixture(scope="session")
def proof() -> Callable[[str], bytes]:
    """Its proof; the trial's `log` tells the messages."""
    return _proof


@pytest.fixture(params=[False, True], ids=["numpy", "native"])
def arithmetic(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both arithmetics of the verifier."""
    from proofml.circuits import kernels

    if request.param and not kernels.available():
        pytest.skip("the C kernels are not available")
    with engine.using(native=request.param):
        yield "native" if request.param else "numpy"
