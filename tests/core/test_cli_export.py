"""`proofml export`: the user's own function, its mistakes, and the file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

import proofml.export
from proofml.cli.export import command
from proofml.errors import BackendUnavailable, UsageError
from proofml.model import Model

CODE = """
print("training")

def network():
    return "a module", {"x": None}

def forest():
    import numpy
    return "an estimator", numpy.int64(4)

def broken():
    return 1 / 0

def leaves():
    raise SystemExit(3)

def needs_torch():
    import torch_that_is_missing

def triple():
    return 1, 2, 3

def nothing():
    pass

number = 7
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with train.py, and a cache; imports of it do not stay."""
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(CODE)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - modules:
        if name in ("train", "second"):
            del sys.modules[name]


def write(path: Path) -> None:
    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, 1, [1, 4])

    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [value("x")], [])
    graph.output.append(value("y"))
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Stand-ins for the exporters, so that neither PyTorch nor scikit-learn is needed."""
    made: list[Any] = []

    def stand_in(name: str) -> Callable[..., None]:
        def export(model: Any, second: Any, path: Path, **options: Any) -> None:
            made.append((name, model, second, options))
            write(path)

        return export

    monkeypatch.setattr(proofml.export, "export_torch", stand_in("torch"))
    monkeypatch.setattr(proofml.export, "export_sklearn", stand_in("sklearn"))
    return made


def call(*words: str) -> Any:
    return CliRunner().invoke(command, list(words))


def test_torch(calls: list[Any], folder: Path) -> None:
    result = call("train:network", "-o", "m.onnx", "--opset", "15", "--json")
    assert result.exit_code == 0, result.exception
    assert calls == [("torch", "a module", {"x": None}, {"opset": 15})]
    got = json.loads(result.stdout)
    assert got["canonical_sha256"] == Model.load(folder / "m.onnx").digest
    assert got["inputs"] == [{"name": "x", "dtype": "float32", "shape": [1, 4]}]
    assert "training" in result.stderr


def test_sklearn(calls: list[Any]) -> None:
    result = call("train.py:forest", "-o", "m.onnx", "--trees", "onnx-ml", "--decision")
    assert result.exit_code == 0, result.exception
    options = {"trees": "onnx-ml", "output": "decision", "opset": 17}
    assert calls == [("sklearn", "an estimator", 4, options)]
    assert "proofml inspect m.onnx" in result.stdout
    assert "training" not in result.stdout


def test_defaults(calls: list[Any], folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "second.py").write_text("def f():\n    import third\n    return third.pair\n")
    (folder / "sub" / "third.py").write_text("pair = ('estimator', 3)\n")
    # The function may import its neighbours, since they are imported with the module.
    (folder / "sub" / "second.py").write_text("import third\ndef f():\n    return third.pair\n")
    assert call("sub/second.py:f", "-o", "m.onnx").exit_code == 0
    assert calls[0][3] == {"trees": "auto", "output": "probabilities", "opset": 17}
    del sys.modules["third"]


def test_existing_file_is_kept(calls: list[Any], folder: Path) -> None:
    (folder / "m.onnx").write_text("precious")
    result = call("train:network", "-o", "m.onnx")
    assert isinstance(result.exception, UsageError)
    assert (folder / "m.onnx").read_text() == "precious"
    assert not calls
    assert call("train:network", "-o", "m.onnx", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "expected MODULE:FUNCTION"),
        ([":model"], "expected MODULE:FUNCTION"),
        (["train:"], "expected MODULE:FUNCTION"),
        (["train:a.b"], "expected MODULE:FUNCTION"),
        (["train:number"], "expected a function 'number' in train; it has broken, forest, leaves"),
        (["train:missing"], "expected a function 'missing'"),
        (["missing:model"], "No module named 'missing'"),
        (["missing.py:model"], "no such file"),
        (["train:broken"], r"ZeroDivisionError: division by zero \(train.py, line 12\)"),
        (["train:leaves"], r"SystemExit: 3 \(train.py, line 15\)"),
        (["train:needs_torch"], "No module named 'torch_that_is_missing'"),
        (["train:triple"], "a tuple of 3"),
        (["train:nothing"], "got NoneType"),
        (["train:network", "--trees", "tensor"], "for scikit-learn estimators"),
        (["train:network", "--decision"], "for scikit-learn estimators"),
        (["train:network", "-o", "missing/m.onnx"], "no such folder missing"),
    ],
)
def test_mistakes(calls: list[Any], words: list[str], message: str) -> None:
    result = call(*words[:1], "-o", "m.onnx", *words[1:])
    assert isinstance(result.exception, UsageError)
    result.exception.args[0].encode("ascii")
    with pytest.raises(UsageError, match=message):
        raise result.exception
    assert not calls


def test_syntax_error(folder: Path) -> None:
    (folder / "second.py").write_text("def f(:\n")
    result = call("second.py:f", "-o", "m.onnx")
    assert isinstance(result.exception, UsageError)
    assert "SyntaxError" in str(result.exception)


def test_missing_packages(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "second.py").write_text("import torch\n")
    monkeypatch.setitem(sys.modules, "torch", None)  # what import does with it: not found
    result = call("second:f", "-o", "m.onnx")
    assert isinstance(result.exception, BackendUnavailable)
    assert "proofml[torch]" in str(result.exception)


def test_real_module(folder: Path) -> None:
    """The whole way, where PyTorch is installed."""
    torch: ModuleType = pytest.importorskip("torch")
    (folder / "second.py").write_text(
        "import numpy, torch\n"
        "def f():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Linear(4, 2), [numpy.zeros((1, 4), numpy.float32)]\n"
    )
    result = call("second:f", "-o", "m.onnx")
    assert result.exit_code == 0, result.exception
    torch.manual_seed(0)
    loaded = Model.load(folder / "m.onnx")
    assert loaded.parameters == 10
    assert np.prod(loaded.outputs[0].shape or ()) == 2
