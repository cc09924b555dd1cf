"""The interpreter of Concrete is found where it was named or made, and runs this very code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from proofml.backend import Context
from proofml.errors import BackendFailed, BackendUnavailable, UsageError
from proofml.fhe.concrete import environment
from proofml.fhe.concrete.call import call
from proofml.fhe.concrete.engine import ConcreteEngine
from proofml.fhe.concrete.options import Options
from proofml.store import Store
from proofml.worker import WorkerFailed, run
from tests.fhe.concrete import models


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv(environment.VARIABLE, raising=False)
    return Store(tmp_path)


def test_none_is_told(nowhere: Store) -> None:
    assert environment.find(nowhere, "run") is None
    with pytest.raises(BackendUnavailable, match=r"proofml fhe environment --for compile"):
        environment.interpreter(nowhere, "compile")


def test_the_variable_wins(nowhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.VARIABLE, sys.executable)
    assert environment.interpreter(nowhere, "compile") == Path(sys.executable)
    monkeypatch.setenv(environment.VARIABLE, "/no/such/python")
    with pytest.raises(UsageError, match=environment.VARIABLE):
        environment.find(nowhere, "run")


def test_half_made_is_not_made(nowhere: Store) -> None:
    place = environment.folder(nowhere, "run")
    place.mkdir(parents=True)
    (place / "proofml.json").write_bytes(b'{"purpose":"run"}')
    assert environment.find(nowhere, "run") is None


@pytest.mark.slow
def test_what_pip_says_is_kept(nowhere: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environment.RUN_PACKAGES, "numpy", "0.0.0.nonsense")
    with pytest.raises(BackendFailed, match="install packages"):
        environment.make(nowhere, "run", pip_arguments=("--no-index",))
    assert list((nowhere.root / "environments").iterdir()) == []


def test_the_other_interpreter_has_these_files(tmp_path: Path) -> None:
    """The bootstrap, in this interpreter: a worker with the modules of this process."""
    (tmp_path / "model.onnx").write_bytes(models.mlp())
    np.save(tmp_path / "rows.npy", np.zeros((2, 1, 4), np.float32))
    run(
        "proofml.fhe.concrete.graph_stages:evaluate",
        {"name": "test"},
        tmp_path,
        stage="onnxruntime",
        command=environment.command(Path(sys.executable)),
    )
    assert np.load(tmp_path / "results.npy").shape == (2, 1, 2)


def test_an_interpreter_without_concrete(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.VARIABLE, sys.executable)
    (tmp_path / "circuit.mlir").write_text("module {\n}\n")
    with pytest.raises(BackendUnavailable, match="a Python with concrete; make an"):
        call("server_stages:derive", {"p_errors": ["0.1"]}, tmp_path, context, title="test")
    with pytest.raises(WorkerFailed):
        call("server_stages:nothing", {}, tmp_path, context, title="test")


def test_a_stage_that_lacks_a_module(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(environment.VARIABLE, sys.executable)
    failed = WorkerFailed("exception", "test: No module named 'numpy'", stage="test")
    monkeypatch.setattr("proofml.fhe.concrete.call.run", raising(failed))
    with pytest.raises(BackendUnavailable, match="a Python with concrete; make an"):
        call("server_stages:derive", {}, tmp_path, context, title="test")
    # the same words with others after them are a worker's own
    failed = WorkerFailed("exception", "No module named 'numpy' in circuit", stage="test")
    monkeypatch.setattr("proofml.fhe.concrete.call.run", raising(failed))
    with pytest.raises(WorkerFailed):
        call("server_stages:derive", {}, tmp_path, context, title="test")


@pytest.mark.parametrize(
    "words", ["missing in the environment: libcuda.so.1", "circuit: No module named 'numpy'"]
)
def test_words_of_a_worker_are_not_believed(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """They can be a stranger's: what is missing is found by an import of one's own."""
    monkeypatch.setattr(
        "proofml.fhe.concrete.call.run",
        raising(WorkerFailed("exception", words, stage="test")),
    )
    other = tmp_path / "other"  # stand-ins: all is there, and can be imported or cannot
    for last, error, match in (
        ("0", WorkerFailed, "numpy|libcuda"),
        ("1", BackendUnavailable, "can run circuits"),
    ):
        other.write_text(
            f'#!/bin/sh\ncase "$4" in *find_spec*) echo and started;; *) exit {last};; esac\n'
        )
        other.chmod(0o755)
        monkeypatch.setenv(environment.VARIABLE, str(other))
        with pytest.raises(error, match=match):
            call("server_stages:derive", {}, tmp_path, context, title="test")


def raising(error: Exception) -> Callable[..., object]:
    def run(*_: object, **__: object) -> object:
        raise error

    return run


@pytest.mark.parametrize(
    ("script", "problem"),
    [("exit 0", "3.11 or 3.12"), ("exit 1", "3.11 or 3.12"), ("echo numpy and started", "numpy")],
)
def test_a_program_that_is_no_python(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    other = tmp_path / "other"
    other.write_text(f"#!/bin/sh\n{script}\n")
    other.chmod(0o755)
    monkeypatch.setenv(environment.VARIABLE, str(other))
    found = ConcreteEngine().probe()
    assert not found.available
    assert problem in found.detail
    with pytest.raises(BackendUnavailable, match=problem):
        call("server_stages:derive", {}, tmp_path, context, title="test")


def test_an_interpreter_lacks_nothing(tmp_path: Path) -> None:
    # a stand-in: what it lacks is what it prints
    other = tmp_path / "other"
    other.write_text("#!/bin/sh\necho and started\n")
    other.chmod(0o755)
    assert environment.lacking(other) is None
    assert environment.lacking(tmp_path / "nothing") == "expected a Python that starts"


@pytest.mark.parametrize(
    "options",
    [
        {"bit": "4"},
        {"bits": "1"},
        {"bits": "13"},
        {"bits": "+4"},
        {"bits": "\u0664"},
        {"rounding": "2"},
        {"rounding": "yes"},
        {"p-error": "0.5"},
        {"p-error": "0"},
        {"p-error": "-1"},
        {"p-error": "nan"},
        {"p-error": "2^-999"},
        {"max-failure": "auto"},
        {"agreement": "1.1"},
        {"deviation": "0"},
    ],
    ids=str,
)
def test_other_options(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="concrete: "):
        Options.read(options)


def test_options() -> None:
    with pytest.raises(UsageError, match="when proving evaluation"):
        Options.read({"evaluatio": "x"})
    assert Options.read({}) == Options()
    found = Options.read({"bits": "5", "rounding": "none", "p-error": "auto", "agreement": "1"})
    assert found == Options(bits=5, rounding=0, p_error=None, agreement=1.0)
    assert Options.read({"p-error": "2^-30"}).p_error == 2.0**-30
