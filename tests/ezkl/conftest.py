"""One workshop for all tests of a session, shared by xdist's workers: strings and keys are cached.

The prover's cache and the verifier's are different folders, as they are in life.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .workshop import Workshop


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that every process of this test session sees."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "ezkl"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def workshop(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(shared, tmp_path_factory.mktemp("proofs"))
