"""The report agrees with a second computation: exact, and without proofml's code."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.soundness import Shape, soundness_report

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "soundness_check.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soundness_check", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soundness_check"] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


tool = _load()


@pytest.fixture(scope="module", autouse=True)
def _unload() -> Iterator[None]:
    yield
    sys.modules.pop("soundness_check", None)


def compare(params: Params, shape: Shape) -> None:
    report = soundness_report(params, shape)
    sizes = {
        "leaves": shape.leaves,
        "trees": list(shape.trees.values()),
        "claims": shape.claims,
        "contractions": shape.contractions,
        "rounds": shape.rounds,
        "outputs": shape.outputs,
    }
    setting = tool.Setting.of(params.to_json(), sizes)
    stated, sharp = tool.stated(setting), tool.sharp(setting)
    assert {term.name for term in report.terms} == set(stated)
    for term in report.terms:
        if term.name == "output point":
            continue
        errors = stated[term.name]
        assert term.count == len(errors), term.name
        # The float is right to a hundredth of a bit, in both directions.
        assert abs(100 * term.bits - tool.hundredths(errors[0])) <= 1.01, term.name
        assert len(sharp[term.name]) <= len(errors)
        assert max(sharp[term.name]) <= errors[0], term.name
    points = [term.bits for term in report.terms if term.name == "output point"]
    assert len(points) == len(shape.outputs)
    for bits, error in zip(points, stated.get("output point", ()), strict=True):
        assert abs(100 * bits - tool.hundredths(error)) <= 1.01
    assert abs(100 * report.total - tool.hundredths(tool.total(stated))) <= 1.01
    assert tool.total(sharp) <= tool.total(stated)
    weakest = max(error for errors in stated.values() for error in errors)
    assert abs(100 * report.weakest.bits - tool.hundredths(weakest)) <= 1.01


@st.composite
def settings(draw: st.DrawFn) -> tuple[Params, Shape]:
    rate = draw(st.integers(1, 8))
    mu = draw(st.integers(0, 27 - rate))
    folds, left = [], mu
    while left and draw(st.booleans()):
        folds.append(draw(st.integers(1, min(8, left))))
        left -= folds[-1]
    queries, grind = draw(st.integers(1, 1024)), draw(st.integers(0, 32))
    trees = draw(st.lists(st.integers(1, 27), min_size=1, max_size=3))
    contractions = draw(st.integers(0, 3000))
    shape = Shape(
        leaves=draw(st.integers(1, 27)),
        contractions=contractions,
        rounds=draw(st.integers(0, 26)) if contractions else 0,
        claims=draw(st.integers(1, 1 << 20)),
        outputs=tuple(draw(st.lists(st.integers(0, 26), max_size=3))),
        trees=dict(zip("XWP", trees, strict=False)),
    )
    return Params(mu, tuple(folds), rate, queries, grind), shape


@given(settings())
def test_every_term_and_the_sum(setting: tuple[Params, Shape]) -> None:
    compare(*setting)


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / "tests" / "vectors" / "sumcheck").glob("proof-*.json")),
    ids=lambda path: path.stem,
)
def test_circuits_of_the_vectors(path: Path) -> None:
    circuit = Circuit.read(dumps(json.loads(path.read_text("utf-8"))["circuit"]))
    compare(circuit.params, circuit.shape)


def test_the_tool_imports_nothing_of_proofml() -> None:
    assert "import proofml" not in TOOL.read_text("utf-8")
    assert "from proofml" not in TOOL.read_text("utf-8")


def test_hundredths_are_exact() -> None:
    for bits in (1, 2, 100, 154):
        assert tool.hundredths(tool.Fraction(1, 1 << bits)) == 100 * bits
        assert tool.hundredths(tool.Fraction((1 << 200) + 1, 1 << (200 + bits))) == 100 * bits - 1
