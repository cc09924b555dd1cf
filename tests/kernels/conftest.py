"""Tests of kernels run at every level that the machine has; some on one thread and on more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field.babybear import P
from proofml.circuits.kernels import library

# tools/sanitize.sh tests a library of its own.
OTHER = os.environ.get("PROOFML_TEST_KERNELS")
if OTHER:
    library.files = lambda: [Path(OTHER)]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Without a compiler, or with PROOFML_KERNELS=none, the twins are still tested."""
    if not kernels.available() and "twin" not in item.name:
        item.add_marker(pytest.mark.skip(reason="the C kernels are not available"))


def _levels() -> list[str]:
    if not kernels.available():
        return []
    found, before = [], kernels.level()
    for name in kernels.LEVELS:
        try:
            kernels.set_level(name)
        except ValueError:
            continue
        found.append(name)
    kernels.set_level(before)
    return found


@pytest.fixture(params=_levels())
def level(request: pytest.FixtureRequest) -> Iterator[str]:
    before = kernels.level()
    kernels.set_level(request.param)
    yield request.param
    kernels.set_level(before)


@pytest.fixture(params=[1, 3], ids=["one thread", "threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = kernels.threads()
    kernels.set_threads(request.param)
    yield request.param
    kernels.set_threads(before)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    return np.random.default_rng(list(request.node.name.encode()))


EDGES = (0, 1, 2, P - 1, P - 2, P // 2, P // 2 + 1)


@pytest.fixture
def field(rng: np.random.Generator):
    """field(shape): canonical base elements, edge values among them."""

    def draw(*shape: int) -> np.ndarray:
        values = rng.integers(0, P, shape, dtype=np.uint32)
        edges = np.array(EDGES, np.uint32)[rng.integers(0, len(EDGES), shape)]
        return np.where(rng.random(shape) < 0.4, edges, values)

    return draw
