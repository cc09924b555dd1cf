"""What verifying imports: the standard library, NumPy, and the modules of the list."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import Golden

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "packaging" / "sumcheck-verifier"

#: Refuses to import anything but the standard library, NumPy and this project, and notes what was
#: tried; then verifies as the command does.
PROGRAM = """
import json, sys

class Wall:
    tried = set()

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {"numpy", "proofml"}:
            return None
        self.tried.add(name)
        raise ImportError(f"{name} is behind the wall")

# What starting the interpreter imported already (hooks of editable installations) does not count.
before = set(sys.modules)
sys.meta_path.insert(0, Wall())
from proofml.zkml.sumcheck.standalone_cli import main

code = main(sys.argv[1:])
loaded = sorted(name for name in set(sys.modules) - before)
print(json.dumps({"code": code, "loaded": loaded, "tried": sorted(Wall.tried)}))
"""


@pytest.fixture(scope="module")
def listing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("modules", PACKAGE / "modules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def behind_the_wall(*words: object) -> tuple[dict[str, Any], str]:
    """What one run said of itself, and its standard error."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found, done.stderr


def test_list_is_current(listing: ModuleType) -> None:
    text = (PACKAGE / "modules.txt").read_text("utf-8")
    assert text == listing.render(), "run python packaging/sumcheck-verifier/modules.py"


def test_verifying_imports_the_list_and_numpy(golden: Golden, listing: ModuleType) -> None:
    words = (
        golden.proof,
        "--key",
        golden.key,
        "--input",
        f"image={golden.save('i', golden.input)}",
    )
    found, _ = behind_the_wall(*words, "--json")
    assert found["code"] == 0
    tops = {name.partition(".")[0] for name in found["loaded"]}
    assert tops - sys.stdlib_module_names == {"numpy", "proofml"}
    ours = {name for name in found["loaded"] if name.partition(".")[0] == "proofml"}
    assert ours == set(listing.modules())
    # Asked for, and done without; `org` is Jython's, of the standard library's `copy`.
    assert {name.partition(".")[0] for name in found["tried"]} <= {"cryptography", "org"}


def test_no_prover_in_the_list(listing: ModuleType) -> None:
    """The kernels' wrappers for provers are loaded with their package; nothing else is."""
    provers = {name for name in listing.modules() if "prov" in name.removeprefix("proofml")}
    assert provers == {"proofml.circuits.kernels.provers"}
    assert not any(".twin" in name or name.endswith(".compile") for name in listing.modules())


def test_signed_proof_behind_the_wall(golden: Golden) -> None:
    """Without `cryptography` a signature is not checked, and that is said aloud."""
    from proofml.testing import Attacker

    signed = golden.folder / "signed.pml"
    signed.write_bytes(Attacker.of(golden.proof.read_bytes()).forge())
    found, said = behind_the_wall(signed, "--key", golden.key)
    assert found["code"] == 0
    assert "signatures were NOT checked" in said
