"""The clock of `clock.c` as a shared library: built with the package, or here on first use.

Without a compiler there is none: a run may then differ from another process's, and whoever compares
runs again in fresh processes (`server.reproduce`).
"""

from __future__ import annotations

import importlib.machinery
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from proofml.canonical import JSON, sha256
from proofml.store import Store

_COMPILERS = ("cc", "gcc", "clang")
_FLAGS = ("-std=gnu11", "-O2", "-shared", "-fPIC", "-Wall", "-Werror")
_SECONDS = 60
_SEPARATOR = re.compile(r"[\s:]")


def library(store: Store) -> Path | None:
    """Path of the library; None where it can neither be found nor built, or not be loaded.

    The dynamic linker ends names at blanks and colons, and goes on without what it does not find.
    """
    found = _installed()
    if found is None or _SEPARATOR.search(str(found)):
        found = _built(store)
    return None if found is None or _SEPARATOR.search(str(found)) else found


def _installed() -> Path | None:
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_clock{suffix}")
        if path.is_file():
            return path
    return None


def _built(store: Store) -> Path | None:
    try:
        source = Path(__file__).resolve().with_name("clock.c").read_bytes()
    except OSError:
        return None
    compiler = next((path for name in _COMPILERS if (path := shutil.which(name))), None)
    if compiler is None or sys.platform != "linux":
        return None
    recipe: dict[str, JSON] = {
        "kind": "concrete-clock",
        "source": sha256(source),
        "machine": platform.machine(),
    }
    with store.lock("concrete-clock"):
        found = store.find(recipe)
        if found is None:
            with store.scratch() as folder:
                (folder / "clock.c").write_bytes(source)
                try:
                    subprocess.run(
                        [compiler, *_FLAGS, "-o", "clock.so", "clock.c", "-ldl"],
                        cwd=folder,
                        check=True,
                        capture_output=True,
                        timeout=_SECONDS,
                    )
                except (OSError, subprocess.SubprocessError):
                    return None
                found = store.put(recipe, {"clock": folder / "clock.so"}, label="concrete clock")
    return found["clock"]
