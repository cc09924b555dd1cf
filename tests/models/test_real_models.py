"""Models that people use: Google's file-type classifier, and three stages of a text recogniser.

They come with the packages `magika` and `rapidocr-onnxruntime` (extra `test-models`), of which
only the .onnx files are read. What is shown of each: its canonical form computes the same bits,
its digest does not depend on storage, `inspect` knows it, and re-execution proves and verifies it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.api import prove, verify
from proofml.errors import ProofmlError, UnsupportedModel
from proofml.expectation import Expectation
from proofml.graph.canonicalise import canonicalise, parse
from proofml.inspect import inspect
from proofml.model import Model
from proofml.runtime import run_model
from proofml.store import Store
from proofml.verdict import Status

MAGIKA = "models/standard_v3_3"


def folder_of(package: str) -> Path:
    """Where a package lies; nothing of it is imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        if package == "rapidocr_onnxruntime" and sys.version_info >= (3, 13):
            pytest.skip("rapidocr-onnxruntime has no release for this Python")
        pytest.fail(f"{package} is not installed; pip install 'proofml[test-models]'")
    return Path(spec.submodule_search_locations[0])


def tokens(text: bytes) -> dict[str, Any]:
    """magika's input: the first and the last 1024 bytes, padded with 256."""
    text = text.strip()
    first = list(text[:1024])
    last = list(text[-1024:])
    first += [256] * (1024 - len(first))
    last = [256] * (1024 - len(last)) + last
    return {"bytes": np.array([first + last], np.int32)}


def source_code() -> dict[str, Any]:
    return tokens(Path(__file__).read_bytes())


def picture(height: int, width: int) -> Callable[[], dict[str, Any]]:
    """Dark bars on light paper, in the range that the text models want."""

    def make() -> dict[str, Any]:
        image = np.full((1, 3, height, width), 0.9, np.float32)
        image[:, :, height // 4 : height * 3 // 4, 8 : width // 2 : 6] = -0.9
        noise = np.random.default_rng(5).normal(scale=0.02, size=image.shape)
        return {"x": image + noise.astype(np.float32)}

    return make


@dataclass(frozen=True)
class Case:
    package: str
    path: str
    inputs: Callable[[], dict[str, Any]]
    outputs: dict[str, tuple[int, ...]]
    parameters: int
    #: Operators whose shapes onnx cannot infer, even with fixed inputs.
    unknown: frozenset[str] = field(default=frozenset())

    @property
    def file(self) -> Path:
        return folder_of(self.package) / self.path


OCR = "rapidocr_onnxruntime"
CASES = {
    "magika": Case(
        "magika",
        f"{MAGIKA}/model.onnx",
        source_code,
        {"target_label": (1, 214)},
        784_215,
    ),
    "orientation": Case(
        OCR,
        "models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        picture(48, 192),
        {"save_infer_model/scale_0.tmp_1": (1, 2)},
        133_628,
        frozenset({"MatMul"}),
    ),
    "recogniser": Case(
        OCR,
        "models/ch_PP-OCRv4_rec_infer.onnx",
        picture(48, 160),
        {"softmax_11.tmp_0": (1, 20, 6625)},
        2_690_286,
        frozenset({"Conv", "MatMul"}),
    ),
    "detector": Case(
        OCR,
        "models/ch_PP-OCRv4_det_infer.onnx",
        picture(96, 160),
        {"sigmoid_0.tmp_0": (1, 1, 96, 160)},
        1_171_745,
    ),
}
each = pytest.mark.parametrize("name", CASES)


@cache
def loaded(name: str) -> Model:
    return Model.load(CASES[name].file)


def run(data: bytes, inputs: dict[str, Any]) -> dict[str, Any]:
    """onnxruntime in this process, as `run_model` sets it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@each
def test_canonical_form_computes_the_same_bits(name: str) -> None:
    case, model = CASES[name], loaded(name)
    inputs = model.check_inputs(case.inputs())
    original = run(case.file.read_bytes(), inputs)
    canonical = run(model.canonical, inputs)
    worker = run_model(model, inputs, Store.default())
    assert {key: value.shape for key, value in original.items()} == case.outputs
    for key, value in original.items():
        assert value.tobytes() == canonical[key].tobytes() == worker[key].tobytes()
        assert np.isfinite(value).all()


def test_magika_knows_this_file() -> None:
    """The result means something: this test is Python."""
    model = loaded("magika")
    config = json.loads((CASES["magika"].file.parent / "config.min.json").read_text())
    labels = config["target_labels_space"]
    for text, label in (
        (Path(__file__).read_bytes(), "python"),
        (b'{"a": [1, 2, 3], "b": {"c": null}}' * 20, "json"),
        (b"<!DOCTYPE html><html><body><p>Hello</p></body></html>\n" * 20, "html"),
    ):
        scores = run_model(model, model.check_inputs(tokens(text)), Store.default())
        assert labels[int(scores["target_label"].argmax())] == label


@each
def test_digest_does_not_depend_on_storage(name: str, tmp_path: Path) -> None:
    model = loaded(name)
    proto = onnx.load(str(CASES[name].file))
    onnx.save(proto, str(tmp_path / "inline.onnx"))
    onnx.save(
        proto,
        str(tmp_path / "outside.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    (tmp_path / "canonical.onnx").write_bytes(model.canonical)
    # onnx moves raw data only, and this file keeps its weights in typed fields.
    assert (tmp_path / "weights.bin").exists() == (name != "orientation")
    for file in ("inline.onnx", "outside.onnx", "canonical.onnx"):
        again = Model.load(tmp_path / file)
        assert again.digest == model.digest
        assert again.architecture_digest == model.architecture_digest


def measured(model: Model, inputs: dict[str, Any], unknown: tuple[str, ...]) -> int:
    """Multiply-accumulates from the arrays that onnxruntime really makes."""
    proto = model.proto
    nodes = [
        node
        for node in proto.graph.node
        if node.op_type in ("Conv", "ConvTranspose", "MatMul")
        and f"{node.op_type} -> {node.output[0]}" not in unknown
    ]
    known = {value.name for value in (*proto.graph.output, *proto.graph.input)}
    for name in {name for node in nodes for name in (*node.input[:2], node.output[0])} - known:
        proto.graph.output.add(name=name)
    values = {**inputs, **run(proto.SerializeToString(), inputs)}
    total = 0
    for node in nodes:
        first, second, out = (values[name] for name in (*node.input[:2], node.output[0]))
        if node.op_type == "MatMul":
            total += out.size * first.shape[-1]
        else:
            total += (out if node.op_type == "Conv" else first).size * second[0].size
    return total


@each
def test_inspect(name: str) -> None:
    case, model = CASES[name], loaded(name)
    assert inspect(model).macs.total is None  # every one of them has open dimensions
    inputs = case.inputs()
    found = inspect(model, shapes={key: value.shape for key, value in inputs.items()})
    assert found.parameters == case.parameters
    assert {label.partition(" -> ")[0] for label in found.macs.unknown} == case.unknown
    assert found.macs.known == measured(model, inputs, found.macs.unknown) > 10**7
    assert next(report for report in found.backends if report.name == "reexec").supported


@each
def test_reexecution_proves_and_verifies(name: str) -> None:
    case, model = CASES[name], loaded(name)
    inputs = case.inputs()
    data = prove(model, inputs, backend="reexec").to_bytes()
    verdict = verify(data, Expectation(model=model, inputs=inputs))
    assert verdict.status is Status.ACCEPTED
    key, value = next(iter(inputs.items()))
    other = {key: value[..., ::-1]}
    verdict = verify(data, Expectation(model=model, inputs=other))
    assert verdict.status is Status.INVALID
    assert verdict.error is not None
    assert verdict.error.check == "core.9"


def test_another_model_is_refused() -> None:
    model = loaded("orientation")
    proof = prove(model, CASES["orientation"].inputs(), backend="reexec")
    verdict = verify(proof, Expectation(model=loaded("detector")))
    assert verdict.error is not None
    assert verdict.error.check == "core.7"


# -- fuzz: bytes of a real file -----------------------------------------------------------------


@cache
def orientation_bytes() -> bytes:
    return CASES["orientation"].file.read_bytes()


def mutate(places: list[tuple[float, int]], cut: float) -> bytes:
    """Overwrite bytes at relative places, and cut the end off where `cut` is under 1."""
    data = bytearray(orientation_bytes())
    for place, byte in places:
        data[int(place * (len(data) - 1))] = byte
    return bytes(data[: int(cut * len(data))])


share = st.floats(0, 1)
changes = st.lists(st.tuples(share, st.integers(0, 255)), min_size=1, max_size=8)
ends = st.one_of(st.just(1.0), share)


@settings(max_examples=150, deadline=None)
@given(changes, ends)
def test_mutated_bytes_in_process(places: list[tuple[float, int]], cut: float) -> None:
    with contextlib.suppress(UnsupportedModel):
        canonicalise(parse(mutate(places, cut), "m"), "m", None)


@settings(max_examples=8, deadline=None)
@given(changes, ends)
def test_mutated_file(places: list[tuple[float, int]], cut: float) -> None:
    try:
        Model.load(mutate(places, cut))
    except ProofmlError as error:
        assert isinstance(error, UnsupportedModel)  # noqa: PT017 - either end is right
