"""The way of a claim in worker processes: plan, run, publish, point; then real models and lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from proofml.errors import BackendUnavailable, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.optimistic.floating import work
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.finding import Verdict
from proofml.optimistic.floating.plan import Plan, plan_of
from proofml.optimistic.floating.point import first_fault, point, survey
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.trace import FloatTrace, file_name, read_trace, run_trace
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import Limits, WorkerFailed

from .parts import made_by, model_of, node, small_network

THEORY = Bounds(Basis.THEORETICAL)


@pytest.fixture(scope="module")
def store() -> Store:
    return Store.default()


@pytest.fixture(scope="module")
def network(store: Store) -> tuple[Model, dict[str, Array]]:
    proto, inputs = small_network()
    return Model.load(proto.SerializeToString(), store=store), inputs


def planned(model: Model, inputs: dict[str, Array], store: Store, grouped: bool = True) -> Plan:
    shapes = {name: array.shape for name, array in inputs.items()}
    return plan_of(model, shapes, store, grouped=grouped)


def claimed(
    plan: Plan, inputs: dict[str, Array], folder: Path, settings: Settings | None = None
) -> FloatTrace:
    folder.mkdir()
    return run_trace(plan, inputs, folder, settings=settings)


def test_an_honest_claim(
    network: tuple[Model, dict[str, Array]], store: Store, tmp_path: Path
) -> None:
    model, inputs = network
    plan = planned(model, inputs, store)
    traces = [
        claimed(plan, inputs, tmp_path / str(index), settings)
        for index, settings in enumerate((Settings(), Settings(threads=2, optimization="none")))
    ]
    for trace in traces:
        findings = survey(trace, THEORY, store)
        assert len(findings) == len(plan.operators)
        assert first_fault(findings) is None
        assert sum(finding.elements for finding in findings) > 1000
    # Whoever knows the model reads the same trace from the folder, from his own plan.
    again = planned(model, inputs, store)
    assert again.root == plan.root
    assert read_trace(again, tmp_path / "0").root == traces[0].root


def test_a_lie_is_found_and_pointed_at(
    network: tuple[Model, dict[str, Array]], store: Store, tmp_path: Path
) -> None:
    """One value in the middle; everything after it computed honestly from the lie."""
    model, inputs = network
    plan = planned(model, inputs, store)
    trace = claimed(plan, inputs, tmp_path / "honest")
    honest = np.array(trace.array(made_by(1)))
    lie = honest.copy()
    lie[0, 2, 1, 1] += np.float32(0.01)
    folder = tmp_path / "lie"
    folder.mkdir()
    dishonest = _continued(plan, trace, {1: lie}, folder)
    findings = survey(dishonest, THEORY, store)
    found = first_fault(findings)
    assert found is not None
    assert found.operator == 1
    assert found.verdict is Verdict.OUTSIDE
    assert [finding.inside for finding in findings].count(False) == 1
    alone = point(dishonest, 1, THEORY, store, element=(0, 2, 1, 1))
    assert alone.verdict is Verdict.OUTSIDE
    assert alone.claimed == float(lie[0, 2, 1, 1])
    assert alone.reference == pytest.approx(float(honest[0, 2, 1, 1]), rel=1e-5)
    assert point(dishonest, 1, THEORY, store, element=(0, 2, 1, 0)).inside


def _continued(
    plan: Plan, trace: FloatTrace, changed: dict[int, Array], folder: Path
) -> FloatTrace:
    """The claim of somebody who changes some outputs and runs the rest of the model on them."""
    from proofml.canonical import dumps
    from proofml.optimistic.floating.stages import Singles
    from proofml.optimistic.floating.trace import RECORD, trace_of_arrays

    values = {ref: np.array(trace.array(ref)) for ref in _refs(plan)}
    singles = Singles()
    for operator in plan.operators:
        if operator.index in changed:
            values[made_by(operator.index)] = changed[operator.index]
        elif operator.index > min(changed):
            named = {
                name: values.get(ref, plan.weights[ref.index] if ref.source == 1 else None)
                for name, ref in zip(operator.names, operator.inputs, strict=True)
            }
            for one in operator.nodes:
                made = singles.evaluate(one, [named.get(name) for name in one.inputs])
                named.update(zip(one.outputs, made, strict=True))
            values[made_by(operator.index)] = named[operator.outputs[0]]
    inputs = [values[ref] for ref in values if ref.source == 0]
    memory = trace_of_arrays(plan, inputs, {r: a for r, a in values.items() if r.source == 2})
    for ref, array in values.items():
        array.tofile(folder / file_name(ref))
    (folder / RECORD).write_bytes(dumps(memory.to_json()))
    return read_trace(plan, folder)


def _refs(plan: Plan) -> list[object]:
    from proofml.optimistic.floating.plan import Ref
    from proofml.optimistic.program import Source

    made = [made_by(o.index, port) for o in plan.operators for port in range(len(o.outputs))]
    return [*(Ref(Source.INPUT, index) for index in range(len(plan.inputs))), *made]


def test_misuse(network: tuple[Model, dict[str, Array]], store: Store, tmp_path: Path) -> None:
    model, inputs = network
    for shapes in ({}, {"x": (1, 3, 12)}, {"x": (1, 3, 13, 12)}):
        with pytest.raises(UsageError, match="input 'x': expected dims of"):
            plan_of(model, shapes, store)  # type: ignore[arg-type]
    plan = planned(model, inputs, store)
    for bad in ({}, {"x": inputs["x"][:, :2]}, {"x": inputs["x"].astype(np.float64)}):
        with pytest.raises(UsageError, match="input 'x': expected float32"):
            run_trace(plan, bad, tmp_path)
    for arguments in ({"threads": 0}, {"optimization": "most"}):
        with pytest.raises(UsageError):
            Settings(**arguments)  # type: ignore[arg-type]
    trace = claimed(plan, inputs, tmp_path / "trace")
    with pytest.raises(UsageError, match="operator 99"):
        point(trace, 99, THEORY, store)
    memory = FloatTrace(plan, trace.inputs, trace.outputs, trace.leaves)
    with pytest.raises(UsageError, match="publish it"):
        point(memory, 0, THEORY, store)


def test_refusals_reach_the_caller(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: dict[str, Array] = {"x": np.ones((2, 2), np.float32)}
    model = Model.load(
        model_of([node("Det", ["x"], ["y"])], inputs, ["y"]).SerializeToString(), store=store
    )
    with pytest.raises(UnsupportedModel, match="operator Det -> y: has no error bound"):
        plan_of(model, {"x": (2, 2)}, store)
    with pytest.raises(WorkerFailed, match="time-limit"):
        plan_of(model, {"x": (2, 2)}, store, limits=Limits(seconds=0.01))
    monkeypatch.setattr(work, "runtime_version", lambda: None)
    with pytest.raises(BackendUnavailable, match="onnxruntime is not installed"):
        plan_of(model, {"x": (2, 2)}, store)
