"""One workshop for all tests of a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofml.store import Store

from .workshop import Workshop


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def digits() -> Path:
    return Path(__file__).resolve().parents[2] / "examples" / "digits"


@pytest.fixture(scope="session")
def workshop(store: Store) -> Workshop:
    return Workshop(store)
