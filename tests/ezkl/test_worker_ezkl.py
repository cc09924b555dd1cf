"""EZKL dies, runs out of room, or is interrupted: one error, a sound cache, nothing left behind."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.errors import BackendFailed
from proofml.expectation import Expectation
from proofml.proof import Proof
from proofml.store import Store
from proofml.testing.crashes import KillAt, failure_when_killed, leftovers, workers
from proofml.worker import Limits, WorkerFailed

from .models import ALLOWED, OPTIONS, X, mlp
from .workshop import Workshop

#: Seconds that a killed process may take to be gone.
PATIENCE = 10.0
CLI = [sys.executable, "-c", "import sys; from proofml.cli import main; sys.exit(main())"]
PROVE = ["prove", "model.onnx", "x.npz", "-b", "ezkl", "--set", "srs=local-dev", "-o", "out.pml"]
ALLOW = ["--allow", "srs:local-dev", "--allow", "quantisation:prover-chosen"]


class KillAfter:
    """A progress callback that kills this process's workers at its n-th call."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self, stage: str, fraction: float | None, rss: int | None) -> None:
        self.left -= 1
        if self.left == 0:
            for pid in workers():
                os.kill(pid, signal.SIGKILL)


def made(workshop: Workshop, context: Context) -> Proof:
    request = Request(options=OPTIONS)
    return prove(workshop.model, X, backend="ezkl", request=request, context=context)


def test_killed_at_any_moment(workshop: Workshop, tmp_path: Path) -> None:
    """kill -9 of the worker, later and later, always in the same cache."""
    store = Store(tmp_path)
    rng = random.Random(7)
    failures = []
    for latest in (3, 6, 12, 24, 48):
        try:
            made(workshop, Context(store, KillAfter(rng.randint(1, latest))))
        except BackendFailed as error:
            failures.append(str(error))
        assert not workers()
        assert leftovers(store) == []
        assert store.damaged() == ()
    assert failures
    assert all("SIGKILL" in failure for failure in failures)
    assert workshop.judge(made(workshop, Context(store)))
    assert leftovers(store) == []


@pytest.mark.parametrize("stage", ["settings", "compile", "setup", "verify"])
def test_verifiers_worker_is_killed(workshop: Workshop, tmp_path: Path, stage: str) -> None:
    """No verdict: what somebody killed says nothing of the proof."""
    path = tmp_path / "proof.pml"
    workshop.honest().write(path)
    expect, store = Expectation(model=workshop.model), Store(tmp_path / "cache")

    def judge(store: Store, kill: KillAt) -> None:
        verify(path, expect, ALLOWED, context=Context(store, kill))

    assert "SIGKILL" in str(failure_when_killed(judge, store, stage))
    assert leftovers(store) == []
    assert store.damaged() == ()
    assert verify(path, expect, ALLOWED, context=Context(store))


# -- out of room ----------------------------------------------------------------------------------


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """What `ulimit -f` sets; a write beyond it fails like one on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [1000, 10_000, 100_000, 400_000])
def test_disk_is_full(workshop: Workshop, tmp_path: Path, size: int) -> None:
    """For the string, the circuit, the proving key."""
    store = Store(tmp_path)
    workshop.model  # noqa: B018 - loaded while there is room
    with no_file_larger_than(size), pytest.raises(WorkerFailed, match="disk is full") as caught:
        made(workshop, Context(store))
    assert caught.value.kind == "disk"
    assert caught.value.exit_code == 5
    assert store.damaged() == ()
    assert leftovers(store) == []
    assert workshop.judge(made(workshop, Context(store)))


def test_disk_is_full_for_this_process(workshop: Workshop, tmp_path: Path) -> None:
    """The same where the host writes, before any worker runs."""
    workshop.model  # noqa: B018 - loaded while there is room
    with no_file_larger_than(100), pytest.raises(BackendFailed, match="File too large"):
        made(workshop, Context(Store(tmp_path)))
    assert leftovers(Store(tmp_path)) == []


@pytest.mark.parametrize("size", [100, 1000, 1400, 3000, 12_000])
def test_disk_is_full_for_the_verifier(workshop: Workshop, tmp_path: Path, size: int) -> None:
    """This machine's fault says nothing of the proof: no verdict at all.

    EZKL does not notice that the settings or the circuit that it writes are cut short.
    """
    path = tmp_path / "proof.pml"
    workshop.honest().write(path)
    expect = Expectation(model=workshop.model)
    context = Context(Store(tmp_path / "cache"))
    with no_file_larger_than(size), pytest.raises(BackendFailed):
        verify(path, expect, ALLOWED, context=context)
    assert verify(path, expect, ALLOWED, context=context)


@pytest.mark.parametrize(
    ("limits", "kind"), [(Limits(memory=12 << 20), "memory"), (Limits(seconds=0.02), "timeout")]
)
def test_limits(workshop: Workshop, tmp_path: Path, limits: Limits, kind: str) -> None:
    """Of the prover, and of the verifier while he derives the key."""
    store = Store(tmp_path / "cache")
    context = Context(store, limits=limits)
    with pytest.raises(WorkerFailed) as caught:
        made(workshop, context)
    assert caught.value.kind == kind
    path = tmp_path / "proof.pml"
    workshop.honest().write(path)
    with pytest.raises(WorkerFailed) as caught:
        verify(path, Expectation(model=workshop.model), ALLOWED, context=context)
    assert caught.value.kind == kind
    assert leftovers(store) == []


# -- the command line -----------------------------------------------------------------------------


class Desk:
    """A folder with a model and an input, and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "cache")
        (folder / "model.onnx").write_bytes(mlp(0))
        np.savez(folder / "x.npz", **X)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*CLI, *words],
            cwd=self.folder,
            env={**os.environ, "PROOFML_CACHE": str(self.store.root)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> int:
        process = self.start(*words)
        process.communicate()
        return process.returncode

    def workers(self) -> list[Path]:
        """Processes that work for this cache, orphans too."""
        mark = f"PROOFML_CACHE={self.store.root}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                ours = mark in path.joinpath("environ").read_bytes().split(b"\0")
                state = path.joinpath("stat").read_text().rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                continue  # gone, or not ours to look at
            if ours and state != "Z":
                found.append(path)
        return found

    def gone(self) -> bool:
        """Whether no worker is left, after a while."""
        end = time.monotonic() + PATIENCE
        while self.workers() and time.monotonic() < end:
            time.sleep(0.02)
        return not self.workers()

    def proves(self) -> bool:
        """The next proof works, and a verifier accepts it."""
        return (
            self.run(*PROVE, "--force") == 0
            and self.run("verify", "out.pml", "--model", "model.onnx", *ALLOW) == 0
        )


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_host_is_killed(desk: Desk) -> None:
    """kill -9 of `proofml prove`: its worker dies with it, the cache stays sound."""
    rng = random.Random(11)
    for longest in (0.5, 1.0, 2.0):
        process = desk.start(*PROVE)
        time.sleep(rng.uniform(0.2, longest))
        process.kill()
        process.communicate()
        assert desk.gone()
        assert desk.store.damaged() == ()
    assert desk.proves()
    assert leftovers(desk.store) == []


@pytest.mark.parametrize("stage", ["calibrate", "setup", "prove"])
def test_interrupted(desk: Desk, stage: str) -> None:
    """Ctrl-C: exit code 130, no worker, no scratch folder, no half of a file."""
    process = desk.start(*PROVE)
    assert process.stderr is not None
    seen = any(stage in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert seen
    assert process.returncode == 130
    assert desk.gone()
    assert leftovers(desk.store) == []
    assert sorted(p.name for p in desk.folder.iterdir()) == ["cache", "model.onnx", "x.npz"]
    assert desk.store.damaged() == ()
    if stage == "prove":
        assert desk.proves()
