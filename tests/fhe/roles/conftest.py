"""One world for each backend; Concrete's where its interpreter is there."""

from __future__ import annotations

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
