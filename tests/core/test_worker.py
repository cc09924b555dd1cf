"""Workers: native code may panic, abort, hang or eat memory; the host says what happened."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.testing.crashes import KillAt, workers
from proofml.worker import Limits, WorkerFailed, host, run

HERE = Path(__file__).parent
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _probe_path(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(HERE), before])))


def probe(folder: Path, stage: str, args: dict[str, Any] | None = None, **more: Any) -> Any:
    try:
        return run(f"worker_probe_stages:{stage}", args or {}, folder, stage="start", **more)
    finally:
        assert workers() == [], "a worker outlived its run"


def failed(
    folder: Path, stage: str, args: dict[str, Any] | None = None, **more: Any
) -> WorkerFailed:
    with pytest.raises(WorkerFailed) as caught:
        probe(folder, stage, args, **more)
    assert isinstance(caught.value, BackendFailed)
    return caught.value


# -- well ended -----------------------------------------------------------------------------------


def test_result(tmp_path: Path) -> None:
    args = {"a": [1, 2.5, None, True], "b": {"\u20ac": "\n"}}
    found = probe(tmp_path, "echo", args)
    assert found["args"] == args
    assert found["folder"] == str(tmp_path)
    assert found["pid"] != os.getpid()


def test_every_stage_is_reported(tmp_path: Path) -> None:
    seen: list[str] = []

    def note(stage: str, fraction: float | None, rss: int | None) -> None:
        if not seen or seen[-1] != stage:
            seen.append(stage)

    names = [f"stage {i}" for i in range(50)]
    assert probe(tmp_path, "stages", {"names": names}, progress=note) == "done"
    assert seen == ["start", *names]


def test_threads(tmp_path: Path) -> None:
    found = probe(tmp_path, "environment", threads=3)
    assert found == {"RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "3", "MALLOC_ARENA_MAX": "4"}


def test_onnxruntime_leaves_nothing_below_the_home(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    assert probe(tmp_path, "runtime") == []


def test_large_result(tmp_path: Path) -> None:
    assert len(probe(tmp_path, "large", {"size": 8 * MIB})) == 8 * MIB


def test_output_is_not_the_channel(tmp_path: Path) -> None:
    """What native code prints, even in the channel's own format, is a log."""
    assert probe(tmp_path, "talk") == "real"
    assert (tmp_path / "worker.log").stat().st_size > 1_000_000


def test_interpreter_of_a_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPROBE_INTERPRETER=$0 exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PROOFML_PYTHON_MY_BACKEND", str(wrapper))
    assert probe(tmp_path, "interpreter", backend="my-backend") == str(wrapper)
    monkeypatch.setenv("PROOFML_PYTHON_MY_BACKEND", str(tmp_path / "none"))
    error = failed(tmp_path, "interpreter", backend="my-backend")
    assert error.kind == "exit"
    assert "cannot start a worker" in str(error)


# -- badly ended ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "expected", "words"),
    [
        ("value", "exception", "failing: a wrong value"),
        ("panic", "panic", "failing: panicked: called `Option::unwrap"),
        ("exit", "exception", "failing: 3"),
        ("proof", "exception", "check fake.1: a lie"),
        ("memory", "memory", "failing: out of memory"),
        ("full", "disk", "the disk is full"),
        ("interrupt", "exit", "ended with status 130"),
    ],
)
def test_exceptions(tmp_path: Path, kind: str, expected: str, words: str) -> None:
    error = failed(tmp_path, "fail", {"kind": kind})
    assert error.kind == expected
    assert words in str(error)
    assert error.stage == "failing"


def test_the_callers_faults_stay_the_callers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="you gave nothing"):
        probe(tmp_path, "fail", {"kind": "usage"})
    with pytest.raises(UnsupportedModel, match="a loop"):
        probe(tmp_path, "fail", {"kind": "model"})


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_signals(tmp_path: Path, number: signal.Signals) -> None:
    error = failed(tmp_path, "die", {"signal": number})
    assert error.kind == "signal"
    assert f"dying: killed by {number.name}" in str(error)
    assert ("killed by somebody" in str(error)) == (number == signal.SIGKILL)
    assert "these are my last words" in error.last_words


def test_a_signal_without_a_name(tmp_path: Path) -> None:
    error = failed(tmp_path, "die", {"signal": signal.SIGRTMIN + 3})
    assert error.kind == "signal"
    assert f"killed by signal {signal.SIGRTMIN + 3}" in str(error)


def test_last_words_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    error = failed(tmp_path, "curse")
    assert "\\x1b[2J gone" in error.last_words
    assert "\x1b" not in str(error)


def test_invalid_memory_access(tmp_path: Path) -> None:
    error = failed(tmp_path, "crash")
    assert error.kind == "signal"
    assert "SIGSEGV" in str(error)


def test_abort_of_an_allocator(tmp_path: Path) -> None:
    """Rust aborts when it has no memory; the words it leaves say so."""
    error = failed(tmp_path, "abort")
    assert error.kind == "memory"


def test_ends_without_a_word(tmp_path: Path) -> None:
    for code in (0, 7):
        error = failed(tmp_path, "leave", {"code": code})
        assert error.kind == "exit"
        assert f"status {code}" in str(error)


def test_result_that_is_no_json(tmp_path: Path) -> None:
    error = failed(tmp_path, "not_json")
    assert error.kind == "exception"
    assert "not JSON serializable" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "[]",
        "{}",
        '{"event": "progress"}',
        "\x00",
        '{"event": "progress", "stage": 1, "fraction": null}',
        '{"event": "progress", "stage": "s", "fraction": "half"}',
        '{"event": "error", "type": 1, "message": "m"}',
        '{"event": "error", "type": "ValueError", "message": []}',
        "[" * 100_000,
    ],
    ids=range(10),
)
def test_garbage_on_the_channel(tmp_path: Path, text: str) -> None:
    error = failed(tmp_path, "garbage", {"text": text})
    assert error.kind == "exit"
    assert "sent no event" in str(error)


def test_too_much_on_the_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MAX_EVENT_BYTES", MIB)
    error = failed(tmp_path, "large", {"size": 4 * MIB})
    assert "sent too much" in str(error)


def test_flood_of_progress(tmp_path: Path) -> None:
    assert probe(tmp_path, "flood", {"count": 5000}) is None


@pytest.mark.parametrize(
    "target", ["os:getcwd", "proofml.keys:pae", "subprocess:run", "worker_probe_stages_x:echo"]
)
def test_only_stages(tmp_path: Path, target: str) -> None:
    with pytest.raises(WorkerFailed, match="not a module of stages"):
        run(target, {}, tmp_path, stage="start")


@pytest.mark.parametrize("target", ["worker_probe_stages:none", "no_such_stages:echo"])
def test_unknown_stage(tmp_path: Path, target: str) -> None:
    with pytest.raises(WorkerFailed) as caught:
        run(target, {}, tmp_path, stage="start")
    assert caught.value.kind == "exception"


# -- limits ---------------------------------------------------------------------------------------


def test_memory_limit(tmp_path: Path) -> None:
    error = failed(tmp_path, "grow", limits=Limits(memory=200 * MIB))
    assert error.kind == "memory"
    assert "at most 200 MiB" in str(error)
    assert "--memory-limit" in str(error)


def test_memory_that_no_machine_has(tmp_path: Path) -> None:
    """More address space than is allowed is refused before it is touched."""
    error = failed(tmp_path, "allocate", {"bytes": 1 << 44}, limits=Limits(memory=200 * MIB))
    assert error.kind == "memory"


def test_time_limit(tmp_path: Path) -> None:
    for stage in ("sleep", "ignore", "mute"):
        error = failed(tmp_path, stage, limits=Limits(seconds=1.5))
        assert error.kind == "timeout"
        assert "--time-limit" in str(error)


def test_file_limit(tmp_path: Path) -> None:
    error = failed(tmp_path, "fill", file_bytes=100_000)
    assert error.kind == "disk"
    assert (tmp_path / "large").stat().st_size <= 100_000
    assert probe(tmp_path, "fill", file_bytes=2_000_000) is None


def test_a_tighter_limit_of_the_system_stays(tmp_path: Path) -> None:
    """Where the host itself may not write more, the worker keeps that limit and runs."""
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom proofml.worker import run\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "print(run('worker_probe_stages:echo', {}, Path(sys.argv[1]), stage='s', "
        "file_bytes=1 << 40)['folder'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path), done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1 << 20


@pytest.mark.parametrize("wrong", [{"memory": 0}, {"memory": -1}, {"seconds": 0}, {"seconds": -1.0},
                                   {"seconds": float("nan")}])  # fmt: skip
def test_vacuous_limits(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected more than 0"):
        Limits(**wrong)


def test_limits_fall_back() -> None:
    default = Limits(memory=5, seconds=6.0)
    assert Limits().or_else(default) == default
    assert Limits(memory=1).or_else(default) == Limits(memory=1, seconds=6.0)
    assert Limits(seconds=2.0).or_else(default) == Limits(memory=5, seconds=2.0)


# -- nothing is left behind -----------------------------------------------------------------------


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def until(condition: Callable[[], bool]) -> bool:
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_helpers_end_with_their_worker(tmp_path: Path) -> None:
    """A process that the worker leaves behind holds nobody up, and is killed."""
    pid = probe(tmp_path, "helper")
    assert until(lambda: not alive(pid))


def test_a_host_that_does_not_wait_for_children(tmp_path: Path) -> None:
    """Where SIGCHLD is ignored the system reaps the worker; its result is still taken."""
    code = (
        "import signal, sys\nfrom pathlib import Path\nfrom proofml.worker import run\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "print(run('worker_probe_stages:echo', {}, Path(sys.argv[1]), stage='s')['folder'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(tmp_path), done.stderr


def test_killed_from_outside(tmp_path: Path) -> None:
    kill = KillAt("sleeping")
    error = failed(tmp_path, "sleep", progress=kill)
    assert len(kill.killed) == 1
    assert error.stage == "sleeping"
    assert "SIGKILL" in str(error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_host_is_interrupted(tmp_path: Path, error: type[BaseException]) -> None:
    """Ctrl-C, or a progress callback that fails: no worker lives on, not even a deaf one."""

    def interrupt(stage: str, fraction: float | None, rss: int | None) -> None:
        if stage == "deaf":
            raise error

    with pytest.raises(error):
        probe(tmp_path, "ignore", progress=interrupt)
    assert workers() == []


HOST = """
import sys
from proofml.store import Store
from proofml.worker import run
def say(stage, fraction, rss):
    if stage == "deaf":
        print("deaf", flush=True)
with Store(sys.argv[1]).scratch() as folder:
    run("worker_probe_stages:ignore", {}, folder, stage="start", progress=say)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_host_dies(tmp_path: Path, number: signal.Signals) -> None:
    """SIGINT is tidied up at once; after SIGKILL the worker dies too, the next user sweeps."""
    parent = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"deaf\n"
    pids = [
        int(p) for p in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    ]
    assert len(pids) == 1
    os.kill(parent.pid, number)
    parent.wait()
    assert until(lambda: not alive(pids[0]))
    left = list((tmp_path / "work").iterdir())
    assert len(left) == (1 if number == signal.SIGKILL else 0)
    from proofml.store import Store

    with Store(tmp_path).scratch() as folder:
        assert list((tmp_path / "work").iterdir()) == [folder]
