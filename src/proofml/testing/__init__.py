"""The conformance kit: what every backend passes, a stranger's too (`pip install proofml[test]`).

A backend's test file is a `Case` and an empty class:

    from proofml.testing import Case, ConformanceSuite, gemm

    class TestMine(ConformanceSuite):
        case = Case(
            backend="mine",
            model=gemm(seed=0),
            other_model=gemm(seed=1),
            inputs={"x": np.array([[1, 2, 3, 4]], np.float32)},
            other_inputs={"x": np.array([[4, 3, 2, 1]], np.float32)},
            integrity=frozenset({Integrity.CRYPTOGRAPHIC}),
            bits=128,
            bound_by={...},
        )

`Case` says what the backend promises: its guarantee, and for each field of the Statement the
number of the check that refuses a lie about it. The suite makes one honest proof a class, plays
the verifier who pins everything, nothing, or the lie itself, and plays an attacker who changes
anything, recomputes every digest and signs with a key of his own (`Attacker`, of use for attacks
on a backend's own evidence as well).

A backend that seals inputs says in `Case.sealing` how it proves over them; the suite then plays
two owners, and shows that neither reads anything without an accepted verdict on his own proof.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from proofml.testing.attacker import Attacker
from proofml.testing.case import FIELDS, Case, SealedRun
from proofml.testing.models import gemm

if TYPE_CHECKING:
    from proofml.testing.harness import Facts, Harness
    from proofml.testing.suite import ConformanceSuite

__all__ = [
    "FIELDS",
    "Attacker",
    "Case",
    "ConformanceSuite",
    "Facts",
    "Harness",
    "SealedRun",
    "gemm",
]

_LAZY = {"ConformanceSuite": "suite", "Facts": "harness", "Harness": "harness"}
_ASSERTING = ("suite", "honest", "forged", "hostile", "crashes", "judging", "sealing")


def __getattr__(name: str) -> Any:
    """The suite needs pytest and hypothesis; the rest of the kit does not."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ConformanceSuite":
        import pytest

        pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in _ASSERTING))
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
