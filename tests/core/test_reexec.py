"""Re-execution's own rules: the tolerance, hostile inputs, and what is this machine's fault."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.reexec.verifier import _distance
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.verdict import Status, Verdict
from proofml.worker import Limits, WorkerFailed


@pytest.fixture(scope="module")
def honest(model: Model, x: dict[str, Array]) -> bytes:
    return prove(model, x, backend="reexec").to_bytes()


def tolerant(value: Any) -> Policy:
    return Policy(sections={"reexec": {"tolerance": value}})


def shifted(honest: bytes, by: float) -> bytes:
    """The same proof with outputs that are off by a little."""
    attacker = Attacker.of(honest)
    array = np.frombuffer(attacker.sections["output.0"][-12:], np.float32).reshape(1, 3)
    attacker.set_value("output.0", array + np.float32(by))
    return attacker.forge()


def judge(data: bytes, model: Model, policy: Policy) -> Verdict:
    return verify(data, Expectation(model=model), policy)


# -- tolerance ------------------------------------------------------------------------------------


def test_tolerance(honest: bytes, model: Model) -> None:
    data = shifted(honest, 0.001)
    for value, status in (
        (0, Status.INVALID),
        (0.0005, Status.INVALID),
        (0.01, Status.ACCEPTED),
        (1, Status.ACCEPTED),
    ):
        verdict = judge(data, model, tolerant(value))
        assert verdict.status is status
        if status is Status.INVALID:
            assert verdict.error is not None
            assert verdict.error.check == "reexec.4"
        else:
            assert verdict.guarantee is not None
            assert float(verdict.guarantee.notes["tolerance"]) == value
            assert 0 < float(verdict.guarantee.notes["largest difference"]) < 0.01


def test_equality_is_said(honest: bytes, model: Model) -> None:
    for policy in (Policy(), tolerant(0.5)):
        (check,) = [c for c in judge(honest, model, policy).checks if c.number == "reexec.4"]
        assert check.detail == "equal to the bit"


def test_no_tolerance_for_nan(honest: bytes, model: Model) -> None:
    for wrong in (math.nan, math.inf):
        verdict = judge(shifted(honest, wrong), model, tolerant(1e30))
        assert verdict.error is not None
        assert verdict.error.check == "reexec.4"


@pytest.mark.parametrize(
    "section",
    [
        {"tolerance": "0.1"},
        {"tolerance": -1},
        {"tolerance": math.nan},
        {"tolerance": math.inf},
        {"tolerance": True},
        {"tolerence": 0.1},
    ],
)
def test_policy_is_read_strictly(honest: bytes, model: Model, section: dict[str, Any]) -> None:
    policy = Policy.from_mapping({"version": 1, "backends": {"reexec": section}}, source="p.toml")
    with pytest.raises(UsageError, match=rf"p\.toml: backends\.reexec\.{next(iter(section))}"):
        judge(honest, model, policy)


@pytest.mark.parametrize(
    ("stated", "got", "distance"),
    [
        (np.float32([1, 2]), np.float32([1, 2]), 0.0),
        (np.float32([1, 2]), np.float32([1, 2.5]), 0.5),
        (np.float32([0.0]), np.float32([-0.0]), math.ulp(0.0)),
        (np.float32([np.nan]), np.float32([np.nan]), 0.0),
        (np.float32([np.nan]), np.float32([1]), math.inf),
        (np.float32([np.inf]), np.float32([-np.inf]), math.inf),
        (np.float32([np.inf]), np.float32([np.inf]), 0.0),
        (np.float32([1]), np.float64([1]), math.inf),
        (np.float32([1]), np.float32([[1]]), math.inf),
        (np.float32([]), np.float32([]), 0.0),
        (np.int64([2**62]), np.int64([2**62 + 1]), math.ulp(0.0)),
        (np.int8([-128]), np.int8([127]), 255.0),
        (np.uint8([0]), np.uint8([255]), 255.0),
        (np.bool_([True]), np.bool_([False]), 1.0),
    ],
)
def test_distance(stated: Array, got: Array, distance: float) -> None:
    """0 for equal bits only; what cannot be measured is infinitely far."""
    assert _distance(stated, got) == distance
    assert _distance(got, stated) == distance


# -- a model that does not run --------------------------------------------------------------------


@pytest.fixture(scope="module")
def picky() -> Model:
    """Reshapes n elements to [2, 2]: whether it runs depends on the input."""
    graph = helper.make_graph(
        [helper.make_node("Reshape", ["x", "to"], ["y"])],
        "picky",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])],
        [helper.make_tensor("to", TensorProto.INT64, [2], [2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return Model.load(model.SerializeToString())


def test_inputs_on_which_the_model_fails(picky: Model) -> None:
    """An honest prover is told; a lying one is refused by the number of the run."""
    good = np.arange(4, dtype=np.float32)
    with pytest.raises(UnsupportedModel, match="onnxruntime failed"):
        prove(picky, {"x": good[:3]}, backend="reexec")
    attacker = Attacker.of(prove(picky, {"x": good}, backend="reexec").to_bytes())
    attacker.set_value("input.0", good[:3])
    verdict = judge(attacker.forge(), picky, Policy())
    assert verdict.error is not None
    assert verdict.error.check == "reexec.4"
    assert "does not run on these inputs" in str(verdict.error)


def test_another_runtime_is_said(honest: bytes, model: Model) -> None:
    attacker = Attacker.of(honest)
    attacker.statement["computation"]["detail"]["version"] = "0.0.1"
    verdict = judge(attacker.forge(), model, Policy())
    assert verdict.status is Status.ACCEPTED
    assert verdict.guarantee is not None
    assert "runtime:other-version" in verdict.guarantee.assumptions


# -- limits ---------------------------------------------------------------------------------------


def test_limits_of_the_caller_hold(model: Model, x: dict[str, Array], tmp_path: Path) -> None:
    context = Context(Store(tmp_path), limits=Limits(seconds=1e-9))
    with pytest.raises(WorkerFailed) as caught:
        prove(model, x, backend="reexec", context=context)
    assert caught.value.kind == "timeout"


def test_a_full_disk_is_not_the_proofs_fault(
    honest: bytes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise WorkerFailed("disk", "onnxruntime: the disk is full", stage="onnxruntime")

    monkeypatch.setattr("proofml.runtime.run", full)
    with pytest.raises(BackendFailed, match="the disk is full"):
        judge(honest, model, Policy())


@pytest.mark.parametrize("wrong", [{"max_error": 0.1}, {"options": {"a": "b"}}])
def test_requests_that_it_cannot_meet(
    model: Model, x: dict[str, Array], wrong: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedModel, match="reexec"):
        prove(model, x, backend="reexec", request=Request(**wrong))
