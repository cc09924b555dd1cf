"""The worker dies in the middle of its work; the host says so, leaves nothing behind, goes on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from proofml.errors import BackendFailed
from proofml.proof import Proof
from proofml.store import Store
from proofml.testing.harness import Harness

#: How often a stage may be over before its worker is killed.
TRIES = 20


class KillAt:
    """A progress callback that kills this process's worker when it reports the stage."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.killed: list[int] = []

    def __call__(self, stage: str, fraction: float | None, rss: int | None) -> None:
        if stage == self.stage and not self.killed:
            for pid in workers():
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)


def workers() -> list[int]:
    """Process numbers of this process's own workers, from /proc."""
    return [pid for pid in _children() if b"proofml.worker.child" in _read(pid, "cmdline")]


def _children() -> list[int]:
    """At once where the kernel keeps the list: a look at every process takes milliseconds."""
    lists = list(Path("/proc/self/task").glob("*/children"))
    if lists:
        return [int(pid) for path in lists for pid in path.read_text().split()]
    every = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [pid for pid in every if _parent(pid) == os.getpid()]


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def _read(pid: int, name: str) -> bytes:
    """A file of the process below /proc; empty once the process has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def failure_when_killed(
    work: Callable[[Store, KillAt], object], store: Store, stage: str
) -> BackendFailed:
    """The failure of a work whose worker is killed at a stage.

    A short stage may be over before the signal arrives: the work then ends as if in peace, and
    is done again in an empty cache, so that every stage is reported again.
    """
    for _ in range(TRIES):
        kill = KillAt(stage)
        try:
            work(store, kill)
        except BackendFailed as failure:
            return failure
        assert kill.killed, f"stage {stage!r} was never reported"
        shutil.rmtree(store.root)
    raise AssertionError(f"stage {stage!r}: {TRIES} times over before the worker was killed")


class CrashTests:
    """Killed at every stage in turn, in one cache, and then left in peace."""

    def test_worker_is_killed(self, harness: Harness, tmp_path: Path) -> None:
        store = Store(tmp_path / "cache")
        for stage in harness.case.stages:
            failure = failure_when_killed(harness.prove, store, stage)
            assert "SIGKILL" in str(failure)
            assert failure.stage == stage
            assert not workers()
            assert leftovers(store) == []
            assert store.damaged() == ()
        proof: Proof = harness.prove(store)
        path = harness.folder / "after-crashes.pml"
        proof.write(path)
        verdict = harness.judge(path.read_bytes())
        assert verdict, verdict.reasons
        assert leftovers(store) == []

    def test_nothing_is_left_behind(self, harness: Harness) -> None:
        """Neither the prover's nor the verifier's scratch folder holds anything."""
        harness.judge(harness.data)
        assert leftovers(harness.prover) == []
        assert leftovers(harness.verifier) == []


def leftovers(store: Store) -> list[Path]:
    """What lies in the scratch folder of a cache."""
    work = store.root / "work"
    return sorted(work.iterdir()) if work.is_dir() else []
