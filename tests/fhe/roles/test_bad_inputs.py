"""Every row of the table: the error that it gives, and no other one."""

from __future__ import annotations

from pathlib import Path

import pytest

from proofml.errors import ProofmlError, VerificationError

from .bad_inputs import BAD, Bad
from .world import need
from .world import world as made

CASES = [(one, backend) for one in BAD for backend in one.backends]


@pytest.mark.parametrize(
    ("bad", "backend"), CASES, ids=[f"{backend}: {one.name}" for one, backend in CASES]
)
def test_gives_its_error(bad: Bad, backend: str, tmp_path: Path) -> None:
    need(backend)
    world = made(backend)
    with pytest.raises(ProofmlError) as caught:
        bad.meet(world, tmp_path)
    error = caught.value
    assert type(error) is bad.error, f"{type(error).__name__}: {error}"
    assert bad.words in str(error)
    if isinstance(error, VerificationError):
        assert error.check == f"{backend}.{bad.check}"


def test_names_differ() -> None:
    assert len({one.name for one in BAD}) == len(BAD) >= 25


def test_table_in_the_docs() -> None:
    """Each row stands there, with its error."""
    text = (Path(__file__).parents[3] / "docs" / "fhe" / "bad-inputs.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == len(BAD) + 1
    for bad, row in zip(BAD, rows[1:], strict=True):
        assert row.startswith(f"| {bad.name} | `{bad.where}` | `{bad.error.__name__}`")
