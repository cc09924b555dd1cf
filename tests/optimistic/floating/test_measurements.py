"""The measurements: gradients, the drift attack, and each table on its smallest size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from proofml.benchmarks.optimistic_float import main
from proofml.benchmarks.optimistic_float_drift import attack, check_all, log_ratio, logit
from proofml.benchmarks.optimistic_float_gradients import backward
from proofml.benchmarks.optimistic_float_machines import BATCH, SETTINGS, available, machine
from proofml.benchmarks.optimistic_float_models import CASES
from proofml.benchmarks.optimistic_float_stages import _smallest
from proofml.optimistic.floating.bounds import Basis
from proofml.optimistic.floating.calibrate import Calibration, operands_of
from proofml.optimistic.floating.check import Judge
from proofml.optimistic.floating.plan import Plan, Ref
from proofml.optimistic.floating.running import Running
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.stages import Singles
from proofml.optimistic.program import Source
from proofml.tensors import Array

from .parts import made_by, model_of, node, plan_for, run, small_network


def every_operator() -> tuple[Plan, dict[str, Array]]:
    """A network with what the real models have and `small_network` has not."""
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32)

    weights = {
        "w": normal(4, 2, 3, 3), "t": normal(4, 3, 2, 2), "scales": np.array([1, 1, 2, 2], "f4"),
        "axes": np.array([2], np.int64), "from": np.array([1], np.int64),
        "to": np.array([4], np.int64), "third": np.array([3], np.int64),
        "half": np.array(0.5, np.float32), "two": np.array(2, np.float32),
        "shape": np.array([1, 9, 27], np.int64), "g": normal(27, 5), "bias": normal(5),
        "wide": np.array([1, 9, 5], np.int64),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w"], ["c"], group=2, pads=[1, 1, 1, 1]),
        node("HardSigmoid", ["c"], ["hs"]),
        node("Mul", ["c", "hs"], ["m"]),
        node("AveragePool", ["m"], ["ap"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Resize", ["ap", "", "scales"], ["r"], mode="nearest",
             coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        node("ConvTranspose", ["ap", "t"], ["ct"], strides=[2, 2]),
        node("Concat", ["r", "ct"], ["cat"], axis=1),
        node("Slice", ["cat", "from", "to", "third"], ["s"]),
        node("Transpose", ["s"], ["tr"], perm=[0, 2, 1, 3]),
        node("ReduceMean", ["tr"], ["mean"], axes=[3], keepdims=1),
        node("Sub", ["tr", "mean"], ["d"]),
        node("Pow", ["d", "two"], ["p"]),
        node("Sqrt", ["p"], ["root"]),
        node("Tanh", ["root"], ["th"]),
        node("Sigmoid", ["d"], ["sg"]),
        node("Add", ["th", "sg"], ["a"]),
        node("ReduceSum", ["a", "axes"], ["rs"], keepdims=0),
        node("Unsqueeze", ["rs", "axes"], ["u"]),
        node("Add", ["d", "u"], ["du"]),
        node("Max", ["du", "a"], ["mx"]),
        node("Exp", ["mx"], ["ex"]),
        node("Reciprocal", ["ex"], ["rc"]),
        node("GlobalMaxPool", ["rc"], ["gm"]),
        node("Div", ["rc", "gm"], ["dv"]),
        node("Squeeze", ["gm", "third"], ["sq"]),
        node("Clip", ["dv", "half"], ["cl"]),
        node("ReduceMax", ["cl"], ["rm"], axes=[3], keepdims=1),
        node("Mul", ["cl", "rm"], ["fin"]),
        node("Softmax", ["fin"], ["y"]),
        node("Identity", ["sq"], ["z"]),
    ]  # fmt: skip
    inputs: dict[str, Array] = {"x": normal(1, 4, 6, 6)}
    return plan_for(model_of(nodes, inputs, ["y", "z"], weights), inputs), inputs


def in_float64(
    judge: Judge, inputs: dict[str, Array], moved: dict[Ref, tuple[tuple[int, ...], float]]
) -> dict[Ref, Array]:
    """The references, each computed from the ones before; some elements moved."""
    plan = judge.plan
    values: dict[Ref, Array] = {
        Ref(Source.INPUT, index): inputs[name].astype(np.float64)
        for index, name in enumerate(plan.inputs)
    }
    for operator in plan.operators:
        operands = [
            operand.astype(np.float64) if operand.dtype == np.float32 and operator.kind.value ==
            "bounded" else operand for operand in operands_of(plan, values, operator)
        ]  # fmt: skip
        if operator.op == "Resize":  # onnxruntime has neither in float64
            value = operands[0].repeat(2, -1).repeat(2, -2)
        elif operator.op == "GlobalMaxPool":
            value = operands[0].max((2, 3), keepdims=True)
        else:
            (made,) = judge.expected(operator, operands)
            value = made.value if isinstance(made, Running) else made
        ref = made_by(operator.index)
        if ref in moved:
            at, by = moved[ref]
            value = value.copy()
            value[at] += by
        values[ref] = value
    return values


def test_gradients_are_finite_differences() -> None:
    plan, inputs = every_operator()
    singles = Singles()
    judge = Judge(plan, singles.evaluate)
    honest = in_float64(judge, inputs, {})
    ends = [made_by(o.index) for o in plan.operators if o.outputs[0] in ("y", "z")]
    rng = np.random.default_rng(2)
    seeds = {ref: rng.normal(size=honest[ref].shape) for ref in ends}
    gradients = backward(plan, honest, seeds, singles.evaluate)

    def score(values: dict[Ref, Array]) -> float:
        return float(sum((values[ref] * seed).sum() for ref, seed in seeds.items()))

    step, seen = 1e-6, set()
    for operator in plan.operators:
        ref = made_by(operator.index)
        for flat in rng.integers(honest[ref].size, size=3):
            at = tuple(map(int, np.unravel_index(flat, honest[ref].shape)))
            ends_of = [
                score(in_float64(judge, inputs, {ref: (at, sign * step)})) for sign in (1, -1)
            ]
            slope = (ends_of[0] - ends_of[1]) / (2 * step)
            got = float(gradients[ref][at]) if ref in gradients else 0.0
            assert got == pytest.approx(slope, rel=2e-4, abs=1e-6), operator.label
            seen.add(operator.op)
    assert seen == {operator.op for operator in plan.operators}


@pytest.mark.parametrize("grouped", [False, True], ids=["single", "grouped"])
def test_the_attack_stays_inside_and_moves_the_score(grouped: bool) -> None:
    model, inputs = small_network()
    plan = plan_for(model, inputs, grouped=grouped)
    singles = Singles()
    judge = Judge(plan, singles.evaluate)
    values = run(plan, inputs)
    calibration = Calibration(judge)
    rng = np.random.default_rng(8)
    for _ in range(3):
        other: dict[str, Array] = {"x": rng.normal(size=inputs["x"].shape).astype(np.float32)}
        calibration.add(run(plan, other), "one")
        calibration.add(run(plan, other, Settings(optimization="none")), "none")
    ref = plan.ports[0]
    order = np.argsort(values[ref][0])
    score = log_ratio(ref, (0, int(order[-2])), (0, int(order[-1])))
    honest = score.value(values[ref])
    moved = {}
    for basis in Basis:
        bounds = calibration.bounds(basis)
        best, trace = attack(judge, singles.evaluate, values, score, bounds, rounds=2)
        assert check_all(judge, trace, bounds) == []
        assert best == score.value(trace[ref])
        moved[basis] = best - honest
    assert moved[Basis.THEORETICAL] > moved[Basis.CALIBRATED] >= moved[Basis.PROFILE] > 0
    # Random directions do much less: what is measured is the attack, not the room.
    assert moved[Basis.THEORETICAL] > 1e-6


def test_scores_have_their_gradients() -> None:
    p = np.array([[0.2, 0.5, 0.3]])
    ref = made_by(0)
    for score in (log_ratio(ref, (0, 2), (0, 1)), logit(ref, (0, 1), -1.0)):
        for at in range(3):
            up, down = p.copy(), p.copy()
            up[0, at] += 1e-7
            down[0, at] -= 1e-7
            slope = (score.value(up) - score.value(down)) / 2e-7
            assert score.gradient(p)[0, at] == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_the_smallest_change_is_found() -> None:
    claimed = np.array([1.0, 8.0], np.float32)

    class Verdict:
        def __init__(self, inside: bool) -> None:
            self.inside = inside

    for at, limit in ((0, 1e-3), (1, 0.25), (1, 3e-6)):
        found = _smallest(
            lambda c, at=at, limit=limit: Verdict(abs(float(c[at]) - float(claimed[at])) <= limit),
            claimed,
            (at,),
        )
        assert limit < found <= limit + 2 * float(np.spacing(claimed[at]))
    assert _smallest(lambda c: Verdict(True), claimed, (0,)) == float("inf")


def test_machines_agree_within_their_bounds() -> None:
    model, inputs = small_network()
    plan = plan_for(model, inputs)
    wide_inputs: dict[str, Array] = {"x": np.concatenate([inputs["x"]] * BATCH)}
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = BATCH
    wide = plan_for(model, wide_inputs)
    reference = machine("one thread", plan, wide).run([inputs["x"]])
    assert set(available()) >= {*SETTINGS, "batch"}
    for name in available():
        values = machine(name, plan, wide).run([inputs["x"]])
        assert set(values) == set(reference)
        for ref, array in values.items():
            assert array.shape == reference[ref].shape
            np.testing.assert_allclose(array, reference[ref], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_inputs_of_the_real_models(name: str) -> None:
    case = CASES[name]
    found = [case.input(seed) for seed in range(16)]
    assert all(array.shape == case.shape for array in found)
    assert len({array.tobytes() for array in found}) >= 14
    assert found[3].tobytes() == case.input(3).tobytes()
    if found[0].dtype == np.float32:
        assert min(float(array.min()) for array in found) >= -1
        assert max(float(array.max()) for array in found) <= 1


def measured(tmp_path: Path, *words: str) -> dict[str, object]:
    output = tmp_path / "found.json"
    result = CliRunner().invoke(main, [*words, "--model", "classifier", "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert (
        "| classifier |" in result.output
        or "| Conv |" in result.output
        or ("| classifier, grouped |" in result.output)
    )
    (found,) = json.loads(output.read_text()).values()
    assert isinstance(found, dict)
    return found


def test_tables_are_written_into_the_page(tmp_path: Path) -> None:
    """Of files that hold some of the models each; nothing else of the page changes."""
    row = {"runs": 2, "operators": 8, "elements": 10, "differing": 0.5,
           "runs_with_alarms": dict.fromkeys(("theoretical", "calibrated", "profile"), 0),
           "margin": dict.fromkeys(("theoretical", "calibrated", "profile"), 0.25)}  # fmt: skip
    for name in ("magika", "classifier"):
        (tmp_path / name).write_text(json.dumps({name: {"rows": {"one thread": row}}}))
    page = tmp_path / "floating.md"
    page.write_text("before\n<!-- table: float alarms -->\nold\n<!-- end -->\nafter\n")
    files = [str(tmp_path / "magika"), str(tmp_path / "classifier")]
    result = CliRunner().invoke(main, ["tables", "alarms", *files, "--docs", str(tmp_path)])
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.startswith("before\n<!-- table: float alarms -->\n| model")
    assert text.endswith("<!-- end -->\nafter\n")
    assert text.index("| classifier | one thread | 2 | 4 |") < text.index("| magika |")
    assert "4 honest runs; with an alarm: 0 theoretical; 0 calibrated; 0 profile." in text


_SMALL = ("--calibration", "2", "--calibrate-on", "one thread", "--calibrate-on", "no optimisation")


def test_alarms_on_a_real_model(tmp_path: Path) -> None:
    found = measured(
        tmp_path, "alarms", "--runs", "1", "--grouped", *_SMALL, "--machine", "parallel",
        "--machine", "one thread",
    )  # fmt: skip
    rows = found["rows"]
    assert isinstance(rows, dict)
    for row in rows.values():
        assert row["alarms"] == {basis.value: 0 for basis in Basis}
        assert row["unbounded"] == 0
        assert row["operators"] == found["operators"] == 68
    assert rows["one thread"]["differing"] > 0.5  # from the machine before: they do differ


def test_detection_on_a_real_model(tmp_path: Path) -> None:
    rows = measured(tmp_path, "detection", "--elements", "1", *_SMALL)["rows"]
    assert isinstance(rows, list)
    assert len(rows) > 150
    for row in rows:
        assert row["caught"]["theoretical"] >= row["caught"]["calibrated"] > 0
        assert row["caught"]["theoretical"] <= 2 * row["worst"] + 2 * row["ulp"]


def test_drift_on_a_real_model(tmp_path: Path) -> None:
    (row,) = measured(tmp_path, "drift", "--inputs", "1", "--rounds", "1", "--grouped", *_SMALL)[
        "rows"
    ]  # type: ignore[misc]
    assert row["seen"] == {basis.value: 0 for basis in Basis}
    moved = [row["moved"][basis.value] for basis in Basis]
    assert moved[0] > moved[1] >= moved[2] > 0
    assert row["score"] < -1  # far from another class, and it stays there
    assert not any(row["flipped"].values())


def test_cost_of_a_real_model(tmp_path: Path) -> None:
    found = measured(tmp_path, "cost", "--repeat", "1", "--small", "--grouped")
    seconds = found["seconds"]
    assert isinstance(seconds, dict)
    assert set(seconds) == {"plain", "exposed", "committed", "overlapped"}
    assert found["bytes"] == 3_232_800
    assert isinstance(found["peaks"], dict)
    assert min(found["peaks"].values()) > 1 << 20
