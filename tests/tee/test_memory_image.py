"""The host's memory during and after sealed inferences: inputs and outputs are not in it.

Three processes: a client that holds the secret, the host with its isolated process, and this one,
which stops the host, reads all of its memory, and searches. Controls show that the search would
find what it looks for: in the isolated process, and in a host that was sent the input in the open.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from .memory_marks import BLOCK, PLACES, marks, memory, secret_input

PARTIES = Path(__file__).parent / "memory_parties.py"
#: Taken while the client goes on asking, so that they fall into all stages of a request.
IMAGES = 3


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(PARTIES), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(stream: IO[str] | None) -> str:
    assert stream is not None
    text = stream.readline()
    assert text, "the process has ended"
    return text.strip()


@contextlib.contextmanager
def host(path: Path) -> Iterator[tuple[int, int]]:
    """Numbers of the host and of its isolated process."""
    with run("host", str(path)) as process:
        try:
            own, isolated = (int(text) for text in line(process.stdout).split())
            assert own == process.pid
            yield own, isolated
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def client(path: Path, kind: str, seed: int) -> Iterator[subprocess.Popen[str]]:
    """One that has had an answer, and goes on asking."""
    with run("client", str(path), kind, str(seed)) as process:
        try:
            assert line(process.stdout) == "answered"
            yield process
        finally:
            process.kill()


def image_of(number: int, *, whole: bool = False) -> list[bytes]:
    """A process's memory at one moment; it is stopped while it is read."""
    os.kill(number, signal.SIGSTOP)
    try:
        return list(memory(number, whole=whole))
    except PermissionError:
        pytest.skip("this system does not let a process read the memory of its child")
    finally:
        os.kill(number, signal.SIGCONT)


def end(process: subprocess.Popen[str]) -> None:
    """Let the client finish its last request."""
    process.communicate("\n", timeout=30)
    assert process.returncode == 0


def test_the_host_never_holds_sealed_inputs_or_outputs(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    search = marks(1).search()
    with host(path) as (own, isolated):
        with client(path, "sealed", 1) as asking:
            during = [image_of(own) for _ in range(IMAGES)]
            inside = image_of(isolated) if os.geteuid() == 0 else None
            end(asking)
        after = image_of(own, whole=True)
    for image in (*during, after):
        assert sum(map(len, image)) > 10 << 20, "that is no whole process"
        assert search(image) == {}
    if inside is not None:  # root may read what the same user may not
        found = search(inside)
        assert found["input float32"] > 0
        assert found["output float32"] > 0


def test_a_host_that_is_sent_the_input_in_the_open_holds_it(tmp_path: Path) -> None:
    """The control: the same search, at the same moments."""
    path = tmp_path / "socket"
    search = marks(2).search()
    with host(path) as (own, _), client(path, "plain", 2) as asking:
        images = [image_of(own) for _ in range(IMAGES)]
        end(asking)
    found = [search(image) for image in images]
    assert any("input float32" in forms for forms in found)
    assert any("output float32" in forms for forms in found)


@pytest.mark.parametrize("form", ["float32", "float64", "hex", "base64", "json", "numpy"])
def test_each_form_would_be_found(form: str) -> None:
    """Another control: the tensor is written down in that form, across many blocks."""
    x = secret_input(3)
    written = {
        "float32": x.tobytes(),
        "float64": x.astype(np.float64).tobytes(),
        "hex": x.tobytes().hex().encode(),
        "base64": base64.b64encode(b"?" + x.tobytes()),
        "json": json.dumps(x.tolist()).encode(),
        "numpy": " ".join(map(str, x)).encode(),
    }[form]
    for before in (BLOCK - 8 - len(written) // 2, BLOCK - 17, BLOCK - 40, 3):
        image = [b"", bytes(before) + written + b"behind"]
        assert marks(3).search()(image).get(f"input {form}", 0) >= len(PLACES)
        assert marks(4).search()(image) == {}
