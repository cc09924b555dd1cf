"""Crashes, limits and platforms that refuse: the host lives on and says what happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.tee.binding import (
    Mode,
)
from proofml.tee.enclave import child, host
from proofml.tee.enclave.host import Host
from proofml.tee.platform import Attestation
from proofml.tee.receipt_chain import check_segment
from proofml.tee.receipts import read_receipts
from proofml.worker.limits import Limits

from .enclave_cases import (
    PlainQuoter,
    endless,
    linear,
    started,
    swelling,
    values,
)

# -- faults ---------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_is_stopped_and_the_session_lives() -> None:
    with started(endless(), Mode.SESSION, limits=Limits(seconds=0.5)) as enclave:
        record = enclave.session.record()
        x = np.zeros(1, np.float32)
        assert enclave.infer({"count": np.array(5), "x": x}).tensors["output.0"] == 5
        begin = time.monotonic()
        with pytest.raises(BackendFailed, match=r"within 0\.5 s"):
            enclave.infer({"count": np.array(2**40), "x": x})
        assert time.monotonic() - begin < 8
        assert enclave.alive()
        found = enclave.infer({"count": np.array(1), "x": x})
        segment = check_segment(read_receipts(found.receipts or b""), record)
        assert segment.head.counter == 2, "the run that was stopped got no receipt"


def test_a_process_that_does_not_stop_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "GRACE_SECONDS", 0.5)
    with started(linear(), Mode.SESSION, limits=Limits(seconds=0.5)) as enclave:
        os.kill(enclave.process_id, signal.SIGSTOP)
        with pytest.raises(BackendFailed, match="it still ran"):
            enclave.infer(values())
        with pytest.raises(BackendFailed, match="it still ran"):
            enclave.infer(values())
        assert not enclave.alive()
    assert gone(enclave.process_id)


def test_memory_is_limited() -> None:
    """A gigabyte more than allowed ends the process or its address space, and never the host."""
    limits = Limits(memory=400 << 20, seconds=60)
    with started(swelling(), Mode.SESSION, limits=limits) as enclave:
        x = np.ones(1024, np.float32)
        assert enclave.infer({"x": x, "times": np.array([2])}).tensors["output.0"] == 2048
        with pytest.raises(BackendFailed, match="memory"):
            enclave.infer({"x": x, "times": np.array([1 << 18])})
        with pytest.raises((BackendFailed, UnsupportedModel), match="memory"):
            enclave.infer({"x": x, "times": np.array([1 << 40])})


def test_a_crash_is_told_and_is_for_good() -> None:
    with started(linear(), Mode.SESSION) as enclave:
        os.kill(enclave.process_id, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(BackendFailed, match="SIGKILL"):
                enclave.infer(values())
        assert isinstance(enclave.failure, BackendFailed)
    assert gone(enclave.process_id)


def test_a_crash_during_a_run_is_told() -> None:
    with started(endless(), Mode.SESSION, limits=Limits(seconds=60)) as enclave:
        killer = threading.Timer(0.5, os.kill, (enclave.process_id, signal.SIGKILL))
        killer.start()
        with pytest.raises(BackendFailed, match="SIGKILL"):
            enclave.infer({"count": np.array(2**40), "x": np.zeros(1, np.float32)})
        killer.join()


def test_a_closed_enclave_is_gone() -> None:
    enclave = started(linear(), Mode.SESSION)
    number = enclave.process_id
    assert Path(f"/proc/{number}").exists()
    enclave.close()
    enclave.close()
    assert gone(number)
    assert not enclave.alive()
    with pytest.raises(UsageError, match="closed"):
        enclave.infer(values())


def test_closing_does_not_wait_for_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do those who wait for their turn: each is told that the enclave was closed."""
    monkeypatch.setattr(child, "STOP_SECONDS", 0.5)
    enclave = started(endless(), Mode.SESSION, limits=Limits(seconds=60))
    number, told = enclave.process_id, []

    def work() -> None:
        with pytest.raises((BackendFailed, UsageError), match="closed") as caught:
            enclave.infer({"count": np.array(2**40), "x": np.zeros(1, np.float32)})
        told.append(caught.value)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    begin = time.monotonic()
    enclave.close()
    assert time.monotonic() - begin < 5
    for thread in threads:
        thread.join(5)
    assert len(told) == 2
    assert gone(number)


def test_a_receipt_that_was_lost_ends_the_chain(session: Host) -> None:
    """What comes after a gap nobody could check, so it is not handed out."""
    session.infer(values())
    with session._child.speaking(5):  # as if the reply had not come through
        session._child.ask(host._request(values(), None), 5, "lost")
    for _ in range(2):
        with pytest.raises(BackendFailed, match="expected receipt number 1, got"):
            session.infer(values())


def gone(number: int) -> bool:
    """Within two seconds."""
    for _ in range(200):
        if not Path(f"/proc/{number}").exists():
            return True
        time.sleep(0.01)
    return False


def test_the_process_ends_with_its_host(tmp_path: Path) -> None:
    """However the host ends: here by SIGKILL, from a thread that is gone already."""
    import subprocess
    import sys

    code = (
        "import sys, threading, time\n"
        "from tests.tee.enclave_cases import linear, started\n"
        "from proofml.tee.binding import Mode\n"
        "made = []\n"
        "thread = threading.Thread(target=lambda: made.append(started(linear(), Mode.SESSION)))\n"
        "thread.start(); thread.join(); time.sleep(0.3)\n"
        "print(made[0].process_id, made[0].alive(), flush=True)\n"
        "time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        number, alive = process.stdout.readline().split()
        assert alive == "True"
        process.kill()
    assert gone(int(number))


class FailingQuoter(PlainQuoter):
    """Fails at one step."""

    def __init__(self, step: str) -> None:
        super().__init__()
        self.step = step

    def configure(self, config: bytes) -> None:
        if self.step == "configure":
            raise BackendFailed("HOST_DATA: expected another value")

    def quote(self, report_data: bytes) -> Attestation:
        if self.step == "quote":
            raise OSError(5, "no quote today")
        return super().quote(report_data)


@pytest.mark.parametrize(
    ("step", "words"), [("configure", "another value"), ("quote", "no quote today")]
)
def test_a_platform_that_refuses(step: str, words: str) -> None:
    with pytest.raises(BackendFailed, match=words):
        started(linear(), Mode.SESSION, quoter=FailingQuoter(step))


def test_a_quote_that_fails_leaves_the_enclave_alive() -> None:
    quoter = FailingQuoter("")
    with started(linear(), Mode.INFERENCE, quoter=quoter) as enclave:
        quoter.step = "quote"
        with pytest.raises(BackendFailed, match="no quote today"):
            enclave.infer(values())
        quoter.step = ""
        assert enclave.infer(values()).attestation is not None


@pytest.fixture
def session() -> Iterator[Host]:
    with started(linear(), Mode.SESSION) as enclave:
        yield enclave


def test_many_threads_share_one_enclave(session: Host) -> None:
    """Each gets its own outputs, and the chain has each receipt once."""
    first, wrong = session.count, []

    def work(seed: int) -> None:
        inputs = values(seed)
        found = session.infer(inputs, bytes([seed]), since=first)
        stated = found.statement
        last = read_receipts(found.receipts or b"")[-1].record
        if stated.nonce != bytes([seed]) or last.statement != stated.digest:
            wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    counters = [entry.record.counter for entry in read_receipts(session.receipts(first))]
    assert counters == list(range(first, first + 8))
