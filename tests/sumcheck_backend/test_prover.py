"""What the prover takes, what it keeps, and what it says where it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.api import prove
from proofml.backend import Context, Request, get_backend
from proofml.circuits import inference
from proofml.circuits.recent import Recent
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.router import route
from proofml.statement import Visibility
from proofml.store import Store
from proofml.testing import gemm
from proofml.zkml.sumcheck import backend_prover
from proofml.zkml.sumcheck.compile import Source
from proofml.zkml.sumcheck.keyfiles import read_key, write_key
from proofml.zkml.sumcheck.keys import commit_model

from .models import BATCH, OTHER_X, X, qdq_gemm
from .workshop import Workshop

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"


def test_default_backend(workshop: Workshop, model: Model) -> None:
    """Without a name the model is proven; what it cannot take is run again."""
    assert route(model, Request()).name == "sumcheck"
    assert route(workshop.load(gemm(0)), Request()).name == "sumcheck"
    trees = Model.load(DIGITS.parent / "trees" / "trees_gbt.onnx", store=workshop.prover.store)
    assert route(trees, Request()).name != "sumcheck"


def test_obstacles_name_operators(workshop: Workshop) -> None:
    trees = Model.load(DIGITS.parent / "trees" / "trees_gbt.onnx", store=workshop.prover.store)
    with pytest.raises(UnsupportedModel, match="Gather"):
        route(trees, Request(), name="sumcheck")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": "79"}, "80 to 120"),
        ({"bits": "121"}, "80 to 120"),
        ({"bits": "9" * 5000}, "80 to 120"),
        ({"bits": "x"}, "80 to 120"),
        ({"self-check": "true"}, "yes or no"),
        ({"method": "minmax"}, "already"),
        ({"what": "1"}, "known: bits"),
    ],
    ids=str,
)
def test_options(workshop: Workshop, model: Model, options: dict[str, str], words: str) -> None:
    with pytest.raises((UsageError, UnsupportedModel), match=words):
        workshop.prove(model, X, options=options)
    with pytest.raises(UsageError, match=words):
        backend_prover.prove(model, X, Request(options=options), workshop.prover)


@pytest.mark.parametrize("bits", ["80", "110", "120"])
def test_bits(workshop: Workshop, model: Model, bits: str) -> None:
    from proofml.policy import Policy

    proof = workshop.prove(model, X, options={"bits": bits})
    verdict = workshop.judge(proof, model, Policy(min_bits=80))
    assert verdict
    assert verdict.guarantee is not None
    assert verdict.guarantee.bits is not None
    assert verdict.guarantee.bits >= int(bits)


def test_nothing_is_hidden(workshop: Workshop, model: Model) -> None:
    consent = {"hiding": "none", "salt-file": "never written"}
    for asked in (
        Request(input_visibility=Visibility.PRIVATE),
        Request(output_visibility=Visibility.PRIVATE, options=consent),
        Request(parameters="private"),
        Request(parameters="hashed"),
    ):
        with pytest.raises(UnsupportedModel, match="cannot hide"):
            prove(model, X, backend="sumcheck", request=asked, context=workshop.prover)
        with pytest.raises(UsageError, match="hides nothing yet"):
            backend_prover.prove(model, X, asked, workshop.prover)


def test_input_without_a_code(workshop: Workshop, model: Model) -> None:
    with pytest.raises(UsageError, match="NaN or infinity"):
        workshop.prove(model, {"x": np.full((1, 4), np.nan, np.float32)})


def test_self_check(workshop: Workshop, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert workshop.judge(workshop.prove(model, X, options={"self-check": "yes"}), model)

    def spoilt(*args: Any, **more: Any) -> bytes:
        return b"\0" * 1000

    monkeypatch.setattr(backend_prover, "prove_circuit", spoilt)
    with pytest.raises(BackendFailed, match="does not verify"):
        workshop.prove(model, X, options={"self-check": "yes"})


def test_distance_from_onnxruntime(workshop: Workshop, model: Model) -> None:
    pytest.importorskip("onnxruntime")
    assert workshop.prove(model, X, max_error=0.0)
    floats = workshop.load(gemm(0))
    calibration = ({"x": X["x"] / 100},)
    with pytest.raises(BackendFailed, match="differs from onnxruntime's"):
        workshop.prove(floats, X, calibration=calibration, max_error=0.01)


def test_outputs_are_onnxruntimes(workshop: Workshop) -> None:
    """The digits model on its held-out images, in a batch of one each: equal to the bit."""
    pytest.importorskip("onnxruntime")
    from proofml.runtime import run_model

    model = Model.load(DIGITS / "digits_cnn_int8.onnx", store=workshop.prover.store)
    with np.load(DIGITS / "digits_heldout.npz") as file:
        images = file["images"][:3].astype(np.float32) / 16
    for image in images:
        inputs = {"image": image[None]}
        proof = workshop.prove(model, inputs)
        wanted = run_model(model, inputs, workshop.prover.store)["logits"]
        assert proof.tensor("output.0").tobytes() == wanted.tobytes()
        assert workshop.judge(proof, model, inputs=inputs)


def test_batches(workshop: Workshop) -> None:
    """A row of a batch has the output that it has alone."""
    model = workshop.load(qdq_gemm(0, batch="n", activation="Relu"))
    together = workshop.prove(model, BATCH).tensor("output.0")
    for index, row in enumerate(BATCH["x"]):
        alone = workshop.prove(model, {"x": row[None]}).tensor("output.0")
        assert (alone[0] == together[index]).all()


def test_setup_needs_shapes(workshop: Workshop) -> None:
    backend = get_backend("sumcheck")
    model = workshop.load(qdq_gemm(0, batch="n"))
    with pytest.raises(UsageError, match="open dimensions"):
        backend.setup(model, Request(), workshop.prover)
    found = backend.setup(model, Request(calibration=(BATCH,)), workshop.prover)
    assert set(found) == {"verifying-key", "policy.toml"}
    floats = workshop.load(gemm(0))
    with pytest.raises(UsageError, match="--calibration"):
        backend.setup(floats, Request(), workshop.prover)
    found = backend.setup(floats, Request(calibration=(X, OTHER_X)), workshop.prover)
    assert set(found) == {"verifying-key", "policy.toml", "quantisation-record"}


def test_calibration_runs_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    model = workshop.load(gemm(3))
    first = workshop.prove(model, X, calibration=(X, OTHER_X))

    def never(*args: Any, **more: Any) -> None:
        raise AssertionError("calibrated again")

    monkeypatch.setattr("proofml.circuits.quantise.calibrate", never)
    inference.RECORDS.clear()
    again = workshop.prove(model, OTHER_X, calibration=(X, OTHER_X))
    assert again.sections["quantisation"] == first.sections["quantisation"]


# -- keys in the cache ----------------------------------------------------------------------------


def test_key_files(model: Model, tmp_path: Path) -> None:
    compiled = Source(model, {"x": (1, 4)}).compile()
    key = commit_model(compiled.graph, compiled.weights)
    files = write_key(key, tmp_path)
    again = read_key(files)
    assert again.circuit == key.circuit
    assert set(again.weights) == set(key.weights)
    for name, block in key.weights.items():
        assert again.weights[name].dtype == block.dtype
        assert (again.weights[name] == block).all()
    assert key.tree is not None
    assert again.tree is not None
    assert (again.tree.tag, again.tree.m) == (key.tree.tag, key.tree.m)
    for name in ("values", "code", "nodes"):
        assert (getattr(again.tree, name) == getattr(key.tree, name)).all()


def test_key_is_made_once(
    workshop: Workshop, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = workshop.prove(model, X)

    def never(*args: Any, **more: Any) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Source, "compile", never)
    backend_prover._KEYS.clear()
    assert workshop.prove(model, X).to_bytes() == first.to_bytes()


def test_damaged_key_is_made_again(tmp_path: Path, model: Model) -> None:
    store = Store(tmp_path / "cache")
    context = Context(store)
    first = prove(model, X, backend="sumcheck", context=context)
    entry = next(e for e in store.entries() if "proving key" in e.label)
    for name in ("nodes", "circuit", "weights"):
        path = store.object_path(entry.artifacts[name].sha256)
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        backend_prover._KEYS.clear()
        again = prove(model, X, backend="sumcheck", context=context)
        assert again.to_bytes() == first.to_bytes()
    assert store.damaged() == ()


def test_cached_key_needs_no_compiler(workshop: Workshop, model: Model) -> None:
    """A second process proves from the cache: neither importer nor onnxruntime is loaded."""
    path = workshop.folder / "model.onnx"
    path.write_bytes(model.canonical)
    workshop.prove(model, X)
    code = f"""
import sys
import numpy as np
from proofml.backend import Context, Request
from proofml.model import Model
from proofml.store import Store
from proofml.zkml.sumcheck import backend_prover
store = Store({str(workshop.prover.store.root)!r})
model = Model.load({str(path)!r}, store=store)
x = {{"x": np.array({X["x"].tolist()}, np.float32)}}
backend_prover.prove(model, x, Request(), Context(store))
loaded = [m for m in sys.modules if m.startswith(("proofml.circuits.onnx", "onnxruntime",
          "proofml.circuits.quantise"))]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_recent_keeps_the_last_few(tmp_path: Path) -> None:
    made: list[int] = []
    recent: Recent[int] = Recent(2)

    def get(number: int) -> int:
        def make() -> int:
            made.append(number)
            return number

        return recent.get(Store(tmp_path), {"n": number}, make)

    assert [get(n) for n in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]
    assert recent.get(Store(tmp_path / "other"), {"n": 1}, lambda: 9) == 9


def test_verifying_loads_no_prover() -> None:
    code = (
        "import proofml.zkml.sumcheck.backend_verifier, sys\n"
        "found = [m for m in sys.modules if m.endswith(('.prover', '.backend_prover'))]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
