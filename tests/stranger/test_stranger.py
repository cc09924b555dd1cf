"""A backend that is not ours: installed beside proofml, listed, and through the whole suite."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "stranger_backend"
MAIN = "from proofml.cli import main; main()"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package and what an installer writes beside it; no index is asked."""
    target = tmp_path_factory.mktemp("site")
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    name = project["name"].replace("-", "_")
    shutil.copytree(SOURCE / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    info = target / f"{name}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{point} = {value}" for point, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH")]))
    environment = dict(os.environ, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1")
    environment.pop("PYTEST_ADDOPTS", None)
    environment = {k: v for k, v in environment.items() if not k.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=installed,
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_listed(installed: Path) -> None:
    result = run(installed, "-c", MAIN, "backends", "--json")
    assert result.returncode == 0, result.stderr
    rows = {row["name"]: row for row in json.loads(result.stdout)["backends"]}
    assert {"quorum", "reexec"} <= set(rows)
    assert rows["quorum"]["available"]
    assert rows["quorum"]["integrity"] == ["honest-majority"]


def test_it_is_unknown_where_it_is_not_installed(tmp_path: Path) -> None:
    result = run(tmp_path, "-c", MAIN, "backends", "--json")
    assert "quorum" not in {row["name"] for row in json.loads(result.stdout)["backends"]}


def suite(installed: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The stranger's own test run, as he would start it in his own checkout."""
    plain = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *options)
    where = ("--rootdir", str(SOURCE), "-c", str(SOURCE / "pyproject.toml"))
    return run(installed, *plain, *where, str(SOURCE / "tests"))


def test_it_passes_the_suite(installed: Path) -> None:
    result = suite(installed)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed is not None
    assert int(passed[1]) > 100
    assert "skipped" not in result.stdout


#: What is wrong with a backend -> file, text, what stands there instead, the test that must fail.
DEFECTS: dict[str, tuple[str, str, str, str]] = {
    "the Statement is not bound": (
        "receipts.py",
        'b"quorum/receipt/v1\\0" + bytes.fromhex(statement_digest)',
        'b"quorum/receipt/v1"',
        "test_lie_to_who_believes_it",
    ),
    "the nonce is not bound": (
        "receipts.py",
        "import VerificationError",
        "import VerificationError\nfrom proofml.statement import Statement\n"
        "Statement.digest = property(lambda s: __import__('hashlib').sha256("
        "repr((s.model, s.inputs, s.outputs)).encode()).hexdigest())",
        "test_lie_to_who_believes_it",
    ),
    "extra evidence is overlooked": (
        "verifier.py",
        'checks.equal("quorum.2", "evidence", expected=[SECTION], got=own)',
        "assert own",
        "test_more_evidence",
    ),
    "private tensors are overlooked": (
        "verifier.py",
        "if claim.visibility is not Visibility.PUBLIC:",
        "if False:",
        "test_lie_to_who_pins_nothing",
    ),
    "a receipt may be anybody's": (
        "verifier.py",
        "if member not in members:",
        "if False:",
        "test_members_of_his_own",
    ),
    "malformed evidence breaks the verifier": (
        "receipts.py",
        "except (CanonicalError, FieldError) as error:",
        "except ZeroDivisionError as error:",
        "test_damaged_evidence",
    ),
    "an assumption that nobody documented": (
        "verifier.py",
        "notes={",
        'assumptions=frozenset({"quorum:hidden"}), notes={',
        "test_guarantee_is_the_documented_one",
    ),
    "a check that is never made": (
        "verifier.py",
        'checks.passed("quorum.5", ',
        "str(",
        "test_every_check_is_made",
    ),
    "a killed worker is hushed up": (
        "prover.py",
        "    outputs = _evaluate(model, inputs, context)",
        "    try:\n        outputs = _evaluate(model, inputs, context)\n"
        "    except BackendFailed:\n        outputs = _evaluate(model, inputs, context)",
        "test_worker_is_killed",
    ),
    "an unknown option is ignored": (
        "__init__.py",
        'OPTIONS = frozenset({"members"})',
        'OPTIONS = frozenset({"members", "no-such-option"})',
        "test_refuses_an_unknown_option",
    ),
}


@pytest.mark.parametrize("defect", sorted(DEFECTS))
def test_the_suite_finds(installed: Path, tmp_path: Path, defect: str) -> None:
    """A kit that cannot fail shows nothing: each defect is caught, by the test meant for it."""
    file, text, instead, test = DEFECTS[defect]
    broken = tmp_path / "site"
    shutil.copytree(installed, broken, ignore=shutil.ignore_patterns("__pycache__"))
    path = broken / "quorum_backend" / file
    source = path.read_text()
    assert source.count(text) == 1
    path.write_text(source.replace(text, instead))
    result = suite(broken, "-x", "-k", test)
    assert result.returncode == 1, result.stdout[-3000:] + result.stderr[-1000:]
    assert re.search(rf"FAILED .*::{test}", result.stdout)
