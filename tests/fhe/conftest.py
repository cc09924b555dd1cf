"""What needs the interpreter with Concrete is marked, so that it can be run by itself."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        call = getattr(item, "callspec", None)
        names = [one for one in call.params.values() if isinstance(one, str)] if call else []
        if "concrete" in (*getattr(item, "fixturenames", ()), *names):
            item.add_marker(pytest.mark.concrete)
