"""What all tests share: a cache of their own, and hypothesis without surprises."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples on every run: what a change breaks, it breaks for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache; workers inherit the setting."""
    before = os.environ.get("PROOFML_CACHE")
    os.environ["PROOFML_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["PROOFML_CACHE"]
    else:
        os.environ["PROOFML_CACHE"] = before
