"""The verifier written from the page alone decides as the package does."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from proofml.canonical import dumps
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.layout import Layout

HERE = Path(__file__).resolve().parent
PROOFS = sorted((HERE.parent / "vectors" / "sumcheck").glob("proof-*.json"))


@pytest.fixture(scope="module")
def independent() -> Iterator[ModuleType]:
    sys.path.insert(0, str(HERE))
    try:
        yield importlib.import_module("independent.verifier")
    finally:
        sys.path.remove(str(HERE))


def test_it_imports_nothing_of_proofml() -> None:
    for path in (HERE / "independent").glob("*.py"):
        source = path.read_text("utf-8")
        assert "import proofml" not in source
        assert "from proofml" not in source


def test_it_has_the_same_tables_and_layout(independent: ModuleType) -> None:
    for path in PROOFS:
        file = json.loads(path.read_text("utf-8"))
        mine = independent.Circuit(file["circuit"])
        layout: Layout = Circuit.read(dumps(file["circuit"])).layout
        assert [first for first, _ in mine.tables] == [t.first_id for t in layout.plan.tables]
        for (_, rows), table in zip(mine.tables, layout.plan.tables, strict=True):
            columns = (table.id_of.tolist(), table.c1.tolist(), table.c2.tolist())
            assert rows == list(zip(*columns, strict=True)), path.stem
        for name, theirs in layout.trees.items():
            blocks, log = mine.trees[name]
            assert (log, {b: o for b, (o, _, _) in blocks.items()}) == (theirs.log, theirs.offsets)


@pytest.mark.parametrize("path", PROOFS, ids=lambda path: path.stem)
def test_it_accepts_and_refuses_the_same(path: Path, independent: ModuleType) -> None:
    file = json.loads(path.read_text("utf-8"))
    circuit = independent.Circuit(file["circuit"])
    independent.Verifier(file, circuit).run()
    for change in file["rejected"]:
        other = None if "circuit" in change else circuit
        with pytest.raises(independent.Refused) as refused:
            independent.Verifier(independent.changed(file, change), other).run()
        assert str(refused.value) == change["check"], change["what"]
