"""The worker dies in the middle of its work; the host says so, leaves nothing behind, goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from proofml.errors import BackendFailed
from proofml.proof import Proof
from proofml.store import Store
from proofml.testing.harness import Harness


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
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            command = path.joinpath("cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue  # it has just ended
        if parent == os.getpid() and b"proofml.worker.child" in command:
            found.append(int(path.name))
    return found


class CrashTests:
    """Killed at every stage in turn, in one cache, and then left in peace."""

    def test_worker_is_killed(self, harness: Harness, tmp_path: Path) -> None:
        store = Store(tmp_path / "cache")
        for stage in harness.case.stages:
            kill = KillAt(stage)
            with pytest.raises(BackendFailed, match="SIGKILL") as caught:
                harness.prove(store, kill)
            assert kill.killed, f"stage {stage!r} was never reported"
            assert caught.value.stage == stage
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
