"""No check without an attack that it alone refuses."""

from __future__ import annotations

import re
from pathlib import Path

from proofml.zkml.ezkl.backend import EzklBackend

REFUSED = re.compile(r'refused\((?:[^()]|\([^()]*(?:\([^()]*\))?[^()]*\))*"(ezkl\.\d+)"\)')


def test_every_check_is_attacked() -> None:
    folder = Path(__file__).parent
    attacked = {
        number
        for path in folder.glob("test_attacks_*.py")
        for number in REFUSED.findall(path.read_text("utf-8"))
    }
    assert attacked == set(EzklBackend.checks)
