"""One world for each backend; Concrete's where its interpreter is there."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from .world import World, need
from .world import world as made


@pytest.fixture(scope="session", params=["ckks", "concrete"])
def world(request: pytest.FixtureRequest) -> World:
    need(request.param)
    return made(request.param)


@pytest.fixture(scope="session")
def ckks() -> World:
    need("ckks")
    return made("ckks")


@pytest.fixture(scope="session")
def concrete() -> World:
    need("concrete")
    return made("concrete")


@pytest.fixture(autouse=True)
def _freed() -> Iterator[None]:
    """Proofs hold keys of megabytes, and a caught error refers to them in a circle."""
    yield
    gc.collect()
