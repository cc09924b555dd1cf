"""Real models as integers: onnxruntime's bits, near the float model, and provable.

A text classifier whose file computes with shapes and ends with a Softmax, and a text detector that
enlarges and transposes convolutions. What onnxruntime computes of their quantised files with its
integer kernels is what the circuits compute, in every cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest

from proofml.circuits import ranges, structure
from proofml.circuits.codec import decode_output, encode_input, encode_output
from proofml.circuits.compiled import Compiled
from proofml.circuits.execute import Executor
from proofml.circuits.onnx import compile_model
from proofml.circuits.onnx.overrides import table_overrides
from proofml.circuits.quantise import QuantisationRecord, apply, measure_fidelity
from proofml.circuits.quantise.fidelity import run_samples
from proofml.circuits.quantise.prepare import prepare
from proofml.errors import UnsupportedModel
from proofml.store import Store
from proofml.zkml.sumcheck.keys import commit_model
from proofml.zkml.sumcheck.prover import prove_circuit
from proofml.zkml.sumcheck.verifier import verify_proof

from ..circuits.agreement import session
from ..optimistic.real_models import ALL, CLASSIFIER, DETECTOR, RealModel, classifier
from .test_real_models import loaded

HELD_OUT = range(100, 140)
WAYS = [(name, by) for name in ALL for by in (False, True)]
each_way = pytest.mark.parametrize(("name", "by_channel"), WAYS, ids=str)


def real(name: str, by_channel: bool) -> RealModel:
    return ALL[name].per_channel() if by_channel else ALL[name]


@cache
def compiled(name: str, by_channel: bool) -> Compiled:
    return compile_model(real(name, by_channel).quantised())


def noise(like: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """Beyond what calibration saw, so that values saturate everywhere."""
    rng = np.random.default_rng(7)
    return {
        name: rng.normal(scale=scale, size=array.shape).astype(np.float32)
        for name, array in like.items()
    }


@each_way
def test_onnxruntimes_bits(name: str, by_channel: bool) -> None:
    chosen = real(name, by_channel)
    graph, weights = compiled(name, by_channel).graph, compiled(name, by_channel).weights
    structure.validate(graph)
    ranges.check(graph, weights)
    assert not graph.classes["D"]
    assert len(graph.classes["E"]) > 200
    executor, runtime = Executor(graph, weights), session(chosen.quantised().proto)
    feeds = [chosen.sample(seed) for seed in HELD_OUT[:6]]
    feeds += [noise(feeds[0], scale) for scale in (0.1, 3.0, 100.0)]
    different = 0
    for feed in feeds:
        values = executor.run({p.value: encode_input(p, feed[p.name]) for p in graph.inputs})
        for port, want in zip(graph.outputs, runtime.run(None, dict(feed)), strict=True):
            have = decode_output(port, values[port.value])
            assert (have.dtype, have.shape) == (want.dtype, want.shape)
            assert have.tobytes() == want.tobytes()
            different += len(np.unique(want))
    assert different > len(feeds)  # not one number everywhere


@pytest.mark.parametrize("name", ALL)
def test_no_function_is_rounded_otherwise(name: str) -> None:
    assert table_overrides(ALL[name].quantised(), Store.default()) == {}


@pytest.mark.parametrize("name", ALL)
def test_a_verifier_makes_the_same_file(name: str) -> None:
    chosen = ALL[name]
    again = QuantisationRecord.from_bytes(chosen.record().to_bytes())
    assert again.config == chosen.config
    assert apply(chosen.float_model(), again) == chosen.quantised().canonical
    assert chosen.quantised().inputs[0].shape == chosen.config.shapes["x"]


@pytest.mark.parametrize("by_channel", [False, True], ids=["tensor", "channel"])
def test_classifier_tells_upright_from_turned(by_channel: bool) -> None:
    chosen = real("classifier", by_channel)
    samples = [chosen.sample(seed) for seed in HELD_OUT]
    (output,) = chosen.quantised().outputs
    assert (output.name, output.shape) == ("linear_1.tmp_1", (1, 2))
    found = run_samples(chosen.quantised(), samples, Store.default())
    right = [
        int(y[output.name].argmax()) == seed % 2 for seed, y in zip(HELD_OUT, found, strict=True)
    ]
    report = measure_fidelity(chosen.float_model(), chosen.quantised(), samples, Store.default())
    (logits,) = report.outputs
    print(f"{np.mean(right):.1%} right; {report}")
    assert np.mean(right) >= 0.9
    assert logits.top1 is not None
    assert logits.top1 >= 0.95
    assert logits.mean_error <= 0.06 * logits.scale


@pytest.mark.parametrize(("by_channel", "least"), [(False, 0.8), (True, 0.9)])
def test_detector_finds_the_same_text(by_channel: bool, least: float) -> None:
    chosen = real("detector", by_channel)
    samples = [chosen.sample(seed) for seed in HELD_OUT]
    masks = [
        np.array([y["sigmoid_0.tmp_0"] > 0.3 for y in run_samples(model, samples, Store.default())])
        for model in (chosen.float_model(), chosen.quantised())
    ]
    assert 0.05 < masks[0].mean() < 0.6
    overlap = (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()
    print(f"{masks[0].mean():.1%} text, overlap {overlap:.3f}")
    assert overlap >= least


@pytest.mark.parametrize("name", ["classifier", pytest.param("detector", marks=pytest.mark.slow)])
def test_proof_with_onnxruntimes_outputs(name: str) -> None:
    chosen = ALL[name]
    graph, weights = compiled(name, False).graph, compiled(name, False).weights
    feed = chosen.sample(101)
    key = commit_model(graph, weights)
    public = {p.value: encode_input(p, feed[p.name]) for p in graph.inputs}
    proof = prove_circuit(key, key.executor.run(public), bytes(32))
    found = session(chosen.quantised().proto).run(None, dict(feed))
    for port, array in zip(graph.outputs, found, strict=True):
        public[port.value] = encode_output(port, array)
    verify_proof(key.circuit, bytes(32), public, proof)


def test_what_the_classifier_needs_is_said() -> None:
    model = CLASSIFIER.float_model()
    message = (
        r"node 550 \(Shape\): of a shape that is open; .*--shape NAME=1,3,48,192.*"
        r"node 564 \(Softmax\): cut the model .*--cut-softmax"
    )
    with pytest.raises(UnsupportedModel, match=message):
        prepare(model)


def test_what_the_recogniser_has_is_named() -> None:
    """Attention: Softmax and normalisation inside."""
    with pytest.raises(UnsupportedModel, match=r"\(Pow\).*\(Softmax\)"):
        prepare(loaded("recogniser"))


def test_the_functions_for_other_tests() -> None:
    model, inputs = classifier()
    assert model is CLASSIFIER.quantised()
    assert model.check_inputs(inputs)
    assert DETECTOR.record().digest == DETECTOR.record().digest
