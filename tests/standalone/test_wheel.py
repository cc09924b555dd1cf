"""The second distribution: what it is made of; built, installed with NumPy alone, and used."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from proofml.testing import Attacker

from .conftest import Golden

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "packaging" / "sumcheck-verifier"


def project(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))["project"]
    return found


def kernel_settings(path: Path) -> dict[str, str]:
    """Arguments of the one `Extension` in a setup.py, but for where its files are."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if is_kernel(node)]
    (call,) = calls
    assert isinstance(call, ast.Call)
    named = {word.arg: ast.unparse(word.value) for word in call.keywords if word.arg}
    return {**named, "name": ast.unparse(call.args[0])}


def is_kernel(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "Extension"


def test_kernels_are_built_alike() -> None:
    assert kernel_settings(PACKAGE / "setup.py") == kernel_settings(ROOT / "setup.py")


def test_metadata_is_the_main_ones() -> None:
    own, main = project(PACKAGE / "pyproject.toml"), project(ROOT / "pyproject.toml")
    (numpy,) = own["dependencies"]
    assert numpy.startswith("numpy")
    assert numpy in main["dependencies"]
    assert set(own["optional-dependencies"]["signatures"]) <= set(main["dependencies"])
    for key in ("license", "requires-python"):
        assert own[key] == main[key]


# -- built and installed --------------------------------------------------------------------------


def call(*words: object, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=600, check=False, **more
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = call(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", folder, PACKAGE)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command in an environment with NumPy and nothing else."""
    folder = tmp_path_factory.mktemp("venv")
    assert call(sys.executable, "-m", "venv", folder).returncode == 0
    python = folder / "bin" / "python"
    done = call(python, "-m", "pip", "install", "-q", wheel)
    assert done.returncode == 0, done.stderr
    listed = json.loads(call(python, "-m", "pip", "list", "--format=json").stdout)
    names = {row["name"] for row in listed} - {"pip", "setuptools", "wheel"}
    assert names == {"numpy", "proofml-sumcheck-verifier"}
    return folder / "bin" / "proofml-verify-sumcheck"


@pytest.mark.slow
def test_wheel_is_the_list(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
        if name.endswith(".py")
    }
    assert modules == set((PACKAGE / "modules.txt").read_text("utf-8").split())
    others = {name for name in names if not name.endswith(".py")}
    assert others - {"proofml/circuits/kernels/_native.abi3.so"} == {"proofml/py.typed"}
    assert wheel.stat().st_size < 1 << 20


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["", "none"])
def test_installed_command(command: Path, golden: Golden, kernels: str) -> None:
    environment = {**os.environ, "PROOFML_KERNELS": kernels} if kernels else dict(os.environ)
    head = [golden.proof, "--key", golden.key, "--nonce", golden.nonce, "--json"]

    def run(*words: object) -> tuple[int, Any]:
        done = call(command, *words, env=environment, cwd=golden.folder)
        return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr

    started = time.monotonic()
    code, found = run(*head)
    print(f"verified in {time.monotonic() - started:.2f} s, kernels {found['kernels']}")
    assert (code, found["status"]) == (0, "accepted")
    assert kernels in ("", found["kernels"])
    lie = Attacker.of(golden.proof.read_bytes())
    body = lie.sections["proof"]
    lie.sections["proof"] = body[:999] + bytes([body[999] ^ 1]) + body[1000:]
    path = golden.folder / "tampered.pml"
    path.write_bytes(lie.forge(sign=False))
    code, found = run(path, *head[1:])
    assert code == 1
    assert found["failed_check"].startswith("sumcheck.")
    assert run(*head, "--min-bits", "120")[0] == 3
    code, said = run(golden.proof)
    assert code == 2
    assert "--key FILE" in said
    path.write_bytes(lie.copy().forge()[:-1])
    assert run(path, *head[1:])[0] == 1


@pytest.mark.slow
def test_signed_proof_without_cryptography(command: Path, golden: Golden) -> None:
    path = golden.folder / "signed.pml"
    path.write_bytes(Attacker.of(golden.proof.read_bytes()).forge())
    done = call(command, path, "--key", golden.key)
    assert done.returncode == 0, done.stderr
    assert "signatures were NOT checked" in done.stderr
    assert "signatures   NOT checked" in done.stdout


@pytest.mark.slow
def test_source_distribution(tmp_path: Path) -> None:
    """It carries the files, so that a wheel can be made of it without the checkout."""
    program = (
        "import os, sys\nfrom setuptools import build_meta\n"
        f"os.chdir({str(PACKAGE)!r})\nprint(build_meta.build_sdist(sys.argv[1]))"
    )
    tools = tmp_path / "tools"
    pip = [sys.executable, "-m", "pip"]
    done = call(*pip, "install", "-q", "--target", tools, "setuptools>=77")
    assert done.returncode == 0, done.stderr
    done = call(
        sys.executable, "-c", program, tmp_path, env={**os.environ, "PYTHONPATH": str(tools)}
    )
    assert done.returncode == 0, done.stderr
    (source,) = tmp_path.glob("*.tar.gz")
    done = call(*pip, "wheel", "--no-deps", "-q", "-w", tmp_path, source)
    assert done.returncode == 0, done.stderr
    (found,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(found) as archive:
        assert "proofml/zkml/sumcheck/standalone.py" in archive.namelist()
