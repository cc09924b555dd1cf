"""Levels, threads and loading: what a user can set, and what must not depend on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.kernels.library import _ABI, _SIGNATURES

FOLDER = Path(kernels.__file__).parent


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


REPORT = "from proofml.circuits import kernels as k; print(k.available(), k.level())"


def test_levels_can_be_set(level):
    assert kernels.level() == level


def test_environment_chooses(level):
    assert python(REPORT, PROOFML_KERNELS=level).stdout.split() == ["True", level]
    assert python(REPORT, PROOFML_KERNELS="none").stdout.split() == ["False", "none"]


def test_environment_with_an_unknown_level():
    found = python(REPORT, PROOFML_KERNELS="sse9")
    assert found.returncode != 0
    assert "expected one of portable, avx2, avx512, none" in found.stderr


def test_environment_sets_threads():
    code = "from proofml.circuits import kernels as k; print(k.threads())"
    assert python(code, PROOFML_THREADS="5").stdout.split() == ["5"]
    for nonsense in ("0", "-3", "many", ""):
        assert python(code, PROOFML_THREADS=nonsense).stdout.split() == [
            str(len(os.sched_getaffinity(0)))
        ]


def test_without_kernels_calls_say_so():
    code = "from proofml.circuits import kernels as k; k.sha256(b'')"
    assert "NumPy twins" in python(code, PROOFML_KERNELS="none").stderr


@pytest.mark.parametrize("name", ["", "none", "AVX2", "sse"])
def test_unknown_level(name):
    with pytest.raises(ValueError, match="expected one of"):
        kernels.set_level(name)


@pytest.mark.parametrize("count", [0, -1, 65])
def test_thread_counts(count):
    with pytest.raises(ValueError, match="expected 1 to 64"):
        kernels.set_threads(count)


def work(rng):
    v = rng.integers(0, 2013265921, 1 << 14, dtype=np.uint32)
    return lambda: kernels.merkle("X", kernels.encode(v, 4, 3))[1].tobytes()


def test_callers_on_several_threads(rng):
    """The pool serves one caller; others compute alone at the same time, with the same result."""
    before, task = kernels.threads(), work(rng)
    kernels.set_threads(3)
    expected, found = task(), []

    def repeat():
        for _ in range(10):
            found.append(task())

    callers = [threading.Thread(target=repeat) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    kernels.set_threads(before)
    assert found == [expected] * 40


def test_more_and_fewer_threads(rng):
    before, task = kernels.threads(), work(rng)
    expected = task()
    for count in (1, 8, 2, 64, 3, 1, 5):
        kernels.set_threads(count)
        assert task() == expected
    kernels.set_threads(before)


def test_after_fork(rng):
    """A forked child has none of the pool's threads and starts its own."""
    code = """
import os, sys
import numpy as np
from proofml.circuits import kernels
from proofml.circuits.kernels.library import _ABI, _SIGNATURES
kernels.set_threads(4)
v = np.arange(1 << 14, dtype=np.uint32)
task = lambda: kernels.merkle("X", kernels.encode(v, 4, 3))[1].tobytes()
expected = task()
child = os.fork()
if child == 0:
    os._exit(0 if task() == expected else 1)
assert task() == expected
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    found = python(code)
    assert found.returncode == 0, found.stderr


def test_every_function_of_the_header_is_wrapped():
    """api.h, the table of signatures and the package agree."""
    header = (FOLDER / "api.h").read_text()
    declared = dict(re.findall(r"PML_API \w+(?: \w+)*? \*?pml_(\w+)\(([^;]*)\);", header))
    assert set(declared) == set(_SIGNATURES)
    for name, (_, arguments) in _SIGNATURES.items():
        text = declared[name]
        count = 0 if text == "void" else text.count(",") + 1
        assert count == len(arguments), name
    assert f"#define PML_ABI {_ABI}\n" in header
    inner = {"abi", "get_threads", "open_size_bound"}
    assert set(declared) - inner <= set(kernels.__all__)
