"""What an import costs: the library is light until something heavy is asked for."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import proofml

HEAVY = (
    "torch", "ezkl", "onnxruntime", "onnx", "sklearn", "cryptography", "rich", "asyncio", "click"
)  # fmt: skip


def loaded(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after `code`."""
    code += "\nimport json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_import_proofml() -> None:
    assert not loaded("import proofml") & {*HEAVY, "numpy"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from proofml import Proof, Policy, Statement", HEAVY),
        ("from proofml import Expectation, Verdict, Guarantee, Store, SigningKey", HEAVY),
        ("from proofml.cli import main", (*HEAVY[:-1], "numpy")),
        ("from proofml import verify, prove, Model", HEAVY),
        ("import proofml.cli.prove, proofml.cli.verify, proofml.cli.render", HEAVY[:-1]),
        ("from proofml.testing import Case, Attacker, gemm", ("pytest", "hypothesis")),
        (
            "from proofml.backend import backend_names, get_backend\n"
            "for name in backend_names(): get_backend(name).probe()",
            ("torch", "ezkl", "onnxruntime", "sklearn"),
        ),
    ],
)
def test_nothing_heavy(code: str, absent: tuple[str, ...]) -> None:
    assert not loaded(code) & set(absent)


def test_verifying_loads_no_prover() -> None:
    code = (
        "from proofml.backend import get_backend\nimport proofml.reexec.verifier, sys\n"
        "assert not [m for m in sys.modules if m.endswith('.prover')]"
    )
    assert "onnxruntime" not in loaded(code)


def test_public_names() -> None:
    for name in proofml.__all__:
        assert getattr(proofml, name).__name__ == name
    assert set(proofml.__all__) < set(dir(proofml))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = proofml.nothing
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = importlib.import_module("proofml.testing").nothing


def test_public_names_are_what_they_say() -> None:
    """The lazy table leads to the modules that the type checker is told."""
    assert proofml.verify.__module__ == "proofml.api"
    assert proofml.Limits.__module__ == "proofml.worker.limits"
    assert proofml.__version__.count(".") == 2
