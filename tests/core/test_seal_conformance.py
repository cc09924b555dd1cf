"""The kit's tests of sealing: a careful backend passes them, and each carelessness fails one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from proofml import backend as registry
from proofml.errors import BackendFailed
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.store import Store
from proofml.testing import FIELDS, Case, ConformanceSuite, Harness, SealedRun, gemm
from proofml.testing.sealing import Owners, SealingTests

from .box import RECIPIENT, Box
from .conftest import Point

X = {"x": np.array([[1.0, -2.0, 0.5, 3.25]], np.float32)}


def machine(model: Model, store: Store) -> AbstractContextManager[SealedRun]:
    return nullcontext(SealedRun(recipient=RECIPIENT))


CASE = Case(
    backend="box",
    model=gemm(seed=0),
    other_model=gemm(seed=1),
    inputs=X,
    other_inputs={"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)},
    integrity=frozenset({Integrity.HARDWARE}),
    bound_by={
        **dict.fromkeys(FIELDS, "box.4"),
        "input.visibility": "box.3",
        "output.visibility": "box.3",
        "computation.kind": "box.1",
        "computation.detail": "box.1",
        "evidence.extra": "box.2",
        "evidence:code": ("box.2", "box.4"),
    },
    sealing=machine,
)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """Registered beside the built-in ones for as long as this module runs."""
    made = Box()
    points = {**registry._entry_points(), "box": Point("box", lambda: lambda: made)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_entry_points", lambda: points)
        registry.get_backend.cache_clear()
        yield made
    registry.get_backend.cache_clear()


class TestBox(ConformanceSuite):
    case: ClassVar[Case] = CASE

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _registered(cls, box: Box) -> None:
        """Before the suite looks for it."""

    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, box: Box, tmp_path_factory: pytest.TempPathFactory) -> Harness:
        return Harness(cls.case, tmp_path_factory.mktemp("box"))


class WithoutSealing(ConformanceSuite):
    case: ClassVar[Case] = Case(**{**vars(CASE), "sealing": None})


def test_left_out_where_nothing_is_sealed() -> None:
    """Neither run nor skipped; a suite of a backend that seals has them."""
    names = {name for name in vars(SealingTests) if name.startswith("test_")}
    assert len(names) >= 15
    assert not any(callable(getattr(WithoutSealing, name)) for name in names)
    assert all(callable(getattr(TestBox, name)) for name in names)
    assert callable(WithoutSealing.test_accepted_from_file)


ANY_INPUTS, ANY_OUTPUTS = "inputs not compared", "outputs not compared"
#: Carelessness -> the test that has to notice.
DEFECTS: dict[frozenset[str], str] = {
    frozenset({"inputs beside"}): "test_proof_hides_what_was_sealed",
    frozenset({"not random"}): "test_equal_inputs_seal_differently",
    frozenset({"one answer key", ANY_INPUTS, ANY_OUTPUTS}): "test_secret_of_another_seal",
    frozenset({"not authenticated", ANY_OUTPUTS}): "test_damaged_evidence_never_opens",
    frozenset({"one answer key", "not authenticated", ANY_OUTPUTS}): (
        "test_evidence_of_another_owner"
    ),
    frozenset({"not authenticated", ANY_INPUTS, ANY_OUTPUTS}): "test_tampered_sealed_inputs",
}


@pytest.mark.parametrize("defects", DEFECTS, ids=lambda defects: ", ".join(sorted(defects)))
def test_the_kit_notices(box: Box, tmp_path: Path, defects: frozenset[str]) -> None:
    test: Callable[..., None] = getattr(SealingTests(), DEFECTS[defects])
    harness = Harness(CASE, tmp_path)
    test(Owners(harness, SealedRun(recipient=RECIPIENT)))
    box.defects |= defects
    try:
        owners = Owners(harness, SealedRun(recipient=RECIPIENT))
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test(owners)
    finally:
        box.defects.clear()


def test_the_core_notices_inputs_in_the_open(box: Box, tmp_path: Path) -> None:
    """A prover that shows sealed inputs is stopped before there is a file."""
    harness = Harness(CASE, tmp_path)
    box.defects.add("inputs in the open")
    try:
        with pytest.raises(BackendFailed, match="in the open"):
            Owners(harness, SealedRun(recipient=RECIPIENT))
    finally:
        box.defects.clear()


def test_a_case_says_what_it_seals() -> None:
    value: Any = CASE.sealing
    assert callable(value)
