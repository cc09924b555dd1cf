"""The verifier's machine: an attacker who can write where EZKL looks, or set its environment.

EZKL keeps lookup and range tables below `$EZKL_REPO_PATH` (`~/.ezkl`) and reads them unchecked
when it derives a key; other variables of its own change how keys are written.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proofml.expectation import Expectation
from proofml.store import Store
from proofml.zkml.ezkl.srs import generate

from .malicious import Forger
from .models import X, one
from .workshop import Workshop, refused

#: Bare EZKL, as its documentation shows it.
SETUP = """
import ezkl, sys
ezkl.compile_circuit("model.onnx", "circuit", "settings.json")
ezkl.setup("circuit", sys.argv[1], "/dev/null", sys.argv[2])
"""
TABLES = {"lookup_range": [-256, 256], "logrows": 10}


@pytest.fixture
def forger(workshop: Workshop) -> Forger:
    """A model with a lookup table."""
    return workshop.forger(workshop.load(one("Sigmoid")), inputs={"x": X["x"] / 4}, run_args=TABLES)


def bare_setup(forger: Forger, folder: Path, name: str, repository: Path) -> bytes:
    """The key that EZKL derives with this cache of tables."""
    (folder / "model.onnx").write_bytes(forger.shape().wrapped())
    (folder / "settings.json").write_bytes(forger.settings().data)
    srs = generate(forger.context.store, 10)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("EZKL_")}
    subprocess.run(
        [sys.executable, "-c", SETUP, name, str(srs.path)],
        cwd=folder,
        env={**environment, "EZKL_REPO_PATH": str(repository)},
        check=True,
        capture_output=True,
    )
    return (folder / name).read_bytes()


def poison(repository: Path) -> None:
    """Every value of every table: something else."""
    tables = list(repository.glob("cache/*igmoid*/outputs"))
    assert tables
    for table in tables:
        data = bytearray(table.read_bytes())
        data[::32] = bytes(byte ^ 1 for byte in data[::32])
        table.write_bytes(data)


def test_poisoned_tables(
    forger: Forger, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key derived with them is the attacker's; ours is derived without them."""
    home = tmp_path / "home"
    repository = home / ".ezkl"
    repository.mkdir(parents=True)
    proof = forger.prove()
    honest = proof.sections["verifying-key"]
    assert bare_setup(forger, tmp_path, "clean", repository) == honest
    poison(repository)
    assert bare_setup(forger, tmp_path, "poisoned", repository) != honest
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("EZKL_REPO_PATH", str(repository))
    expect = Expectation(model=forger.model)
    accepted = workshop.judge(proof, expect, store=Store(tmp_path / "fresh"))
    assert accepted, accepted.reasons

    def ship(blobs: dict[str, bytes]) -> None:
        blobs["verifying-key"] = (tmp_path / "poisoned").read_bytes()

    forger.ship = ship
    refused(workshop.judge(forger.prove(), expect, store=Store(tmp_path / "new")), "ezkl.13")


def test_ezkl_writes_nothing_to_the_home_folder(
    forger: Forger, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    verdict = workshop.judge(
        forger.prove(), Expectation(model=forger.model), store=Store(tmp_path / "cache")
    )
    assert verdict, verdict.reasons
    assert not (tmp_path / ".ezkl").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("EZKL_KEY_FORMAT", "processed"),
        ("EZKL_REPO_PATH", "/dev/null/nowhere"),
        ("EZKL_MAX_CIRCUIT_AREA", "1"),
        ("EZKL_BUF_CAPACITY", "1"),
        ("HOME", "/dev/null/nowhere"),
        ("RUST_BACKTRACE", "full"),
    ],
)
def test_environment_of_ezkl(
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    """A verifier with a fresh cache derives the same key whatever EZKL's variables say."""
    proof = workshop.honest()
    monkeypatch.setenv(variable, value)
    verdict = workshop.judge(proof, store=Store(tmp_path))
    assert verdict, verdict.reasons


def test_no_home_at_all(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EZKL panics without one; a service often has none."""
    proof = workshop.honest()
    monkeypatch.delenv("HOME")
    verdict = workshop.judge(proof, store=Store(tmp_path))
    assert verdict, verdict.reasons


def test_cached_key_that_was_altered(workshop: Workshop, tmp_path: Path) -> None:
    """An object that no longer hashes to its name is made again, not used."""
    store = Store(tmp_path)
    proof = workshop.honest()
    assert workshop.judge(proof, store=store)
    (entry,) = [entry for entry in store.entries() if "vk" in entry.artifacts]
    path = store.object_path(entry.artifacts["vk"].sha256)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert store.damaged() == ((entry, "vk"),)
    assert workshop.judge(proof, store=store)
    assert store.damaged() == ()


def test_key_is_named_by_all_that_it_depends_on(workshop: Workshop, tmp_path: Path) -> None:
    """One cache, two models with the same settings: neither key stands in for the other."""
    store = Store(tmp_path)
    for model in (workshop.model, workshop.other, workshop.model):
        proof = workshop.forger(model).prove()
        assert workshop.judge(proof, Expectation(model=model), store=store)
    recipes = [entry for entry in store.entries() if "vk" in entry.artifacts]
    assert len({entry.artifacts["vk"].sha256 for entry in recipes}) == len(recipes) == 2
    assert json.loads(workshop.forger().settings().data) == json.loads(
        workshop.forger(workshop.other).settings().data
    )
