"""The clock steps for Concrete, and for nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from proofml.backend import Context
from proofml.fhe.concrete import clock
from proofml.store import Store

SOURCE = """
#include <time.h>
long long read_clock(int which) {
    struct timespec t;
    clock_gettime(which ? CLOCK_MONOTONIC : CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}
"""
PROBE = """
import ctypes, sys, threading, time
library = ctypes.CDLL(sys.argv[1])
library.read_clock.restype = ctypes.c_longlong
true = time.monotonic()
steps = [library.read_clock(1) for _ in range(4)]
again = []
thread = threading.Thread(target=lambda: again.extend(library.read_clock(1) for _ in range(4)))
thread.start(); thread.join()
real = abs(library.read_clock(0) / 1e9 - time.time())
same, soon = steps == again, time.monotonic() - true < 5
print([b - a for a, b in zip(steps, steps[1:])], same, real < 5, soon)
"""


@pytest.fixture
def shim(context: Context) -> Path:
    found = clock.library(context.store)
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("libConcretelangRuntime-1.so", "[20000000, 20000000, 20000000] True True True"),
        ("libomp.so", None),
    ],
)
def test_who_is_told_what(tmp_path: Path, shim: Path, name: str, expected: str | None) -> None:
    (tmp_path / "probe.c").write_text(SOURCE)
    compiler = shutil.which("cc") or shutil.which("gcc") or "clang"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", name, "probe.c"], cwd=tmp_path, check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / name)],
        env=os.environ | {"LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=True,
    )
    if expected is None:
        assert "20000000" not in done.stdout
        assert done.stdout.strip().endswith("False True True")
    else:
        assert done.stdout.strip() == expected


def test_no_compiler_no_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_installed", lambda: None)
    monkeypatch.setattr(clock, "_COMPILERS", ("no-such-compiler",))
    assert clock.library(Store(tmp_path)) is None


def test_a_compiler_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "_installed", lambda: None)
    monkeypatch.setattr(clock, "_COMPILERS", ("false",))
    assert clock.library(Store(tmp_path)) is None


@pytest.mark.parametrize("name", ["a cache", "a:cache", "a\tcache"])
def test_a_place_that_the_linker_cannot_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shim: Path, name: str
) -> None:
    """Runs there would be without the clock; nobody may be told that they had it."""
    monkeypatch.setattr(clock, "_installed", lambda: None)
    assert clock.library(Store(tmp_path / "cache")) is not None
    assert clock.library(Store(tmp_path / name)) is None
    monkeypatch.setattr(clock, "_installed", lambda: tmp_path / name / "_clock.so")
    assert clock.library(Store(tmp_path / "cache")) is not None
