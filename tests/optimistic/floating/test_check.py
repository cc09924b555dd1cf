"""Bounds as evidence, calibration, and what each basis sees."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.errors import UsageError
from proofml.fields import FieldError
from proofml.optimistic.floating.bounds import RANKS, Basis, Bounds, distinct, percentiles
from proofml.optimistic.floating.calibrate import Calibration, operands_of
from proofml.optimistic.floating.check import Judge, compare, distance
from proofml.optimistic.floating.finding import Finding, Verdict
from proofml.optimistic.floating.formats import FORMATS
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.running import Running
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Singles
from proofml.tensors import Array

from .parts import made_by, model_of, node, plan_for, run, trace_for

THEORY = Bounds(Basis.THEORETICAL)
F32 = FORMATS["float32"]


def dense() -> tuple[Plan, list[dict[str, Array]]]:
    """One large matrix product and a Relu, and several inputs."""
    rng = np.random.default_rng(9)
    weights = {"w": rng.normal(size=(200, 64)).astype(np.float32)}
    given: list[dict[str, Array]] = [
        {"x": rng.normal(size=(64, 200)).astype(np.float32)} for _ in range(6)
    ]
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"])]
    return plan_for(model_of(nodes, given[0], ["y"], weights), given[0]), given


@pytest.fixture(scope="module")
def calibrated() -> tuple[Plan, Judge, Calibration, dict[Ref, Array]]:
    plan, given = dense()
    judge = Judge(plan, Singles().evaluate)
    calibration = Calibration(judge)
    for name, settings in (("one", Settings()), ("none", Settings(optimization="none"))):
        for values in given[1:]:
            calibration.add(run(plan, values, settings), name)
    return plan, judge, calibration, run(plan, given[0])


def test_calibration_is_tighter_and_still_honest(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    plan, judge, calibration, values = calibrated
    trace = trace_for(plan, values)
    assert calibration.runs == 10
    assert calibration.samples[0] > 10 * 4000
    for basis in Basis:
        bounds = calibration.bounds(basis)
        assert all(judge.operator(trace, index, bounds).inside for index in (0, 1))
    bounds = calibration.bounds(Basis.CALIBRATED)
    assert bounds.limit(0) < 0.1
    assert bounds.limit(1) == 1.0  # a Relu has no error: nothing was seen of it
    assert THEORY.limit(0) == 1.0
    assert bounds.configurations == ("one", "none")
    growth = math.sqrt(math.log(1e12) / math.log(calibration.samples[0] / 2))
    assert bounds.limit(0) == pytest.approx(calibration.seen[0, -1] * 1.5 * growth)


def test_a_change_between_the_two_bounds(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    plan, judge, calibration, values = calibrated
    expected = judge.expected(plan.operators[0], operands_of(plan, values, plan.operators[0]))[0]
    assert isinstance(expected, Running)
    lie = values[made_by(0)].copy()
    lie[3, 4] = expected.value[3, 4] + 0.5 * expected.error_array()[3, 4]
    trace = trace_for(plan, {**values, made_by(0): lie, made_by(1): np.maximum(lie, 0)})
    seen = {basis: judge.operator(trace, 0, calibration.bounds(basis)) for basis in Basis}
    assert seen[Basis.THEORETICAL].inside
    assert seen[Basis.THEORETICAL].margin == pytest.approx(0.5, abs=0.01)
    for basis in (Basis.CALIBRATED, Basis.PROFILE):
        assert seen[basis].verdict is Verdict.OUTSIDE
        assert seen[basis].element == (3, 4)
        assert seen[basis].basis == basis.value
        assert judge.operator(trace, 0, calibration.bounds(basis), (3, 5)).inside
    assert judge.operator(trace, 1, THEORY).inside  # its own input is the lie: it follows from it


def test_a_profile_sees_a_whole_tensor_moved(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    """Every element at the calibrated edge: each alone is allowed, all together are not."""
    plan, judge, calibration, values = calibrated
    bounds = {basis: calibration.bounds(basis) for basis in Basis}
    expected = judge.expected(plan.operators[0], operands_of(plan, values, plan.operators[0]))[0]
    assert isinstance(expected, Running)
    edge = 0.9 * bounds[Basis.CALIBRATED].limit(0)
    lie = (expected.value + edge * expected.error_array()).astype(np.float32)
    trace = trace_for(plan, {**values, made_by(0): lie})
    assert judge.operator(trace, 0, bounds[Basis.CALIBRATED]).inside
    finding = judge.operator(trace, 0, bounds[Basis.PROFILE])
    assert finding.verdict is Verdict.OUTSIDE
    assert "too many beyond the limit at 50.0%" in finding.detail
    # One element of it can be pointed at only beyond the largest share.
    assert judge.operator(trace, 0, bounds[Basis.PROFILE], (0, 0)).inside


def test_a_profile_says_nothing_of_equal_elements() -> None:
    """A blank picture: every element has the same error, which is no more suspect for that."""
    bounds = Bounds(Basis.PROFILE, ((0.1, 1.0),), (0.5, 1.0), 2.0, 1, ("a",), "00")
    error, worst = np.full(10_000, 0.5), np.ones(10_000)
    assert bounds.surplus(0, error, worst, np.full(10_000, 7.0), F32) is None
    assert bounds.surplus(0, error, worst, np.arange(10_000.0), F32) == (0.5, 5_000)
    assert bounds.surplus(0, error * 0.1, worst, np.arange(10_000.0), F32) is None
    assert bounds.surplus(0, error[:50], worst[:50], np.arange(50.0), F32) is None


def test_a_correct_rounding_is_always_allowed() -> None:
    bounds = Bounds(Basis.CALIBRATED, ((0.0,),), (1.0,), 1.0, 1, ("a",), "00")
    reference = np.array([1 / 3, 1e6 / 7, 0.0])
    worst = np.array([1.0, 1.0, 0.0])
    tolerance = bounds.tolerance(0, worst, reference, F32)
    rounded = reference.astype(np.float32).astype(np.float64)
    assert (np.abs(rounded - reference) <= tolerance).all()
    assert (np.abs(np.nextafter(np.float32(1 / 3), 1) - reference[0]) > tolerance[0]).all()
    assert tolerance[2] == 0.0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=300))
def test_percentiles_are_what_they_say(found: list[float]) -> None:
    shares = np.array(found)
    real = shares[shares > 0]
    for rank, share in zip(RANKS, percentiles(shares, RANKS), strict=True):
        allowed = math.ceil((1 - rank) * real.size)
        assert np.count_nonzero(real > share) <= allowed
        if real.size and share:
            assert np.count_nonzero(real >= share) > min(allowed, real.size - 1)


def test_distinct_values_are_estimated() -> None:
    assert distinct(np.zeros(10**6)) == 1
    assert distinct(np.arange(1000.0)) == 1000
    assert 0.9e6 <= distinct(np.arange(1e6)) <= 1e6
    assert distinct(np.arange(1e6) % 64) == 64


# -- special values -----------------------------------------------------------------------------


def judged(op: str, x: list[float], claim: list[float]) -> Finding:
    inputs: dict[str, Array] = {"x": np.array(x, np.float32)}
    plan = plan_for(model_of([node(op, ["x"], ["y"])], inputs, ["y"]), inputs)
    judge = Judge(plan, Singles().evaluate)
    with np.errstate(all="ignore"):
        return judge.arrays(plan.operators[0], [inputs["x"]], [np.array(claim, np.float32)], THEORY)


@pytest.mark.parametrize(
    ("op", "x", "claim", "inside"),
    [
        ("Sqrt", [-1.0], [math.nan], True),
        ("Sqrt", [-1.0], [0.0], False),
        ("Sqrt", [4.0], [math.nan], False),
        ("Exp", [1000.0], [math.inf], True),
        ("Exp", [1000.0], [3e38], False),
        ("Exp", [88.8], [math.inf], True),  # beyond float32, not beyond float64
        ("Exp", [88.0], [math.inf], False),
        ("Exp", [-200.0], [0.0], True),
        ("Exp", [-200.0], [1e-30], False),
        ("Log", [0.0], [-math.inf], True),
        ("Log", [0.0], [math.inf], False),
        ("Reciprocal", [1e-40], [math.inf], True),  # 1e40 overflows
        ("Relu", [math.nan], [math.nan], True),
        ("Relu", [-0.0], [0.0], True),
        ("Relu", [1.0], [np.nextafter(np.float32(1), np.float32(2))], False),
        ("Floor", [-0.5], [-1.0], True),
        ("Floor", [-0.5], [-0.0], False),
        ("Floor", [math.nan], [math.nan], True),
    ],
)
def test_special_values(op: str, x: list[float], claim: list[float], inside: bool) -> None:
    finding = judged(op, x, claim)
    assert finding.inside is inside, finding
    if not inside:
        assert finding.margin > 1


def test_what_cannot_be_bounded_is_counted() -> None:
    """Sums that may overflow on the way: whatever is claimed there is accepted, and told."""
    inputs: dict[str, Array] = {"x": np.array([[3e38, 3e38, -3e38], [1, 2, 3]], np.float32)}
    model = model_of([node("ReduceSum", ["x", "axes"], ["y"])], inputs, ["y"],
                     {"axes": np.array([1], np.int64)})  # fmt: skip
    plan = plan_for(model, inputs)
    judge = Judge(plan, Singles().evaluate)
    operands = [inputs["x"], plan.weights[0]]
    for claim, inside in (([[3e38], [6]], True), ([[math.inf], [6]], True), ([[5], [7]], False)):
        finding = judge.arrays(plan.operators[0], operands, [np.array(claim, np.float32)], THEORY)
        assert finding.inside is inside
        assert finding.unbounded == 1
        assert finding.elements == 2


def test_distance() -> None:
    reference = np.array([1.0, np.inf, -np.inf, np.nan, 3.5e38, 1.0])
    claimed = np.array([1.5, np.inf, np.inf, np.nan, np.inf, np.nan])
    found = distance(claimed, reference, np.ones(6), F32)
    assert found.tolist() == [0.5, 0.0, math.inf, 0.0, 0.0, math.inf]


# -- misuse and evidence ------------------------------------------------------------------------


def test_wrong_questions(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    plan, judge, _, values = calibrated
    trace = trace_for(plan, values)
    for arguments, words in (
        ((2, THEORY), "operator 2: expected one of 2"),
        ((-1, THEORY), "operator -1"),
        ((0, THEORY, (0, 64)), r"element \(0, 64\): expected one of a tensor \[64, 64\]"),
        ((0, THEORY, (0,)), "element"),
        ((0, THEORY, None, 1), "port below 1"),
    ):
        with pytest.raises(UsageError, match=words):
            judge.operator(trace, *arguments)  # type: ignore[arg-type]
    other = Bounds(Basis.CALIBRATED, ((0.1,), (0.1,)), (1.0,), 1.5, 3, ("a",), "11" * 32)
    with pytest.raises(UsageError, match="bounds: expected ones for program"):
        judge.operator(trace, 0, other)


def test_bounds_that_do_not_hold_together(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    for arguments in (
        (Basis.THEORETICAL, ((0.5,),), (1.0,)),
        (Basis.CALIBRATED, ((0.5,),), ()),
        (Basis.CALIBRATED, ((0.5, 0.7),), (0.5, 1.0), 1.0, 1, ("a",)),
        (Basis.PROFILE, ((0.5, 0.7),), (1.0, 0.5), 1.0, 1, ("a",)),
        (Basis.PROFILE, ((0.5, 0.7),), (0.5, 0.9), 1.0, 1, ("a",)),
        (Basis.CALIBRATED, ((0.5,),), (1.0,), 0.5, 1, ("a",)),
        (Basis.CALIBRATED, ((0.5,),), (1.0,), 1.0, 0, ("a",)),
        (Basis.CALIBRATED, ((0.5,),), (1.0,), 1.0, 1, ()),
        (Basis.CALIBRATED, ((1.5,),), (1.0,), 1.0, 1, ("a",)),
        (Basis.CALIBRATED, ((math.nan,),), (1.0,), 1.0, 1, ("a",)),
        (Basis.CALIBRATED, ((0.1, 0.2),), (1.0,), 1.0, 1, ("a",)),
    ):
        with pytest.raises(UsageError):
            Bounds(*arguments)  # type: ignore[arg-type]
    _, judge, calibration, _ = calibrated
    with pytest.raises(UsageError, match="at least one honest run"):
        Calibration(judge).bounds(Basis.CALIBRATED)
    with pytest.raises(UsageError, match="margin"):
        calibration.bounds(Basis.PROFILE, 0.5)
    assert Calibration(judge).bounds(Basis.THEORETICAL) == THEORY


def test_bounds_as_evidence(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    _, _, calibration, _ = calibrated
    digests = set()
    for basis in Basis:
        bounds = calibration.bounds(basis)
        data = dumps(bounds.to_json())
        assert Bounds.read(loads(data)) == bounds
        digests.add(bounds.digest)
        good: Mapping[str, object] = loads(data)
        for change in (
            {"basis": "none"}, {"margin": "1e400"}, {"margin": 1}, {"margin": "0.50"},
            {"shares": [["2.0"]]}, {"ranks": ["x"]}, {"runs": -1}, {"more": 1},
            {"program": 5}, {"shares": [[0]]},
        ):  # fmt: skip
            with pytest.raises(FieldError):
                Bounds.read({**good, **change})
    assert len(digests) == 3


def test_findings_read_back(
    calibrated: tuple[Plan, Judge, Calibration, dict[Ref, Array]],
) -> None:
    plan, judge, _, values = calibrated
    lie = values[made_by(0)] + np.float32(1)
    for claim in (values[made_by(0)], lie):
        expected = judge.expected(plan.operators[0], operands_of(plan, values, plan.operators[0]))
        finding = compare(plan.operators[0], expected, [claim], THEORY)
        assert Finding.read(loads(dumps(finding.to_json()))) == finding
