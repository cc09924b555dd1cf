"""The interpreter that has Concrete.

Concrete needs NumPy 1 and pins of a year ago, so it lives in an environment of its own: the one
that `PROOFML_PYTHON_CONCRETE` names, or one in the cache that `make` built. Two sizes: `run` holds
the library (keys, encryption, running circuits, verifying by re-execution), `compile` also holds
Concrete ML and PyTorch, to make circuits or to derive one again from its model.

The packages are installed one by one, without what they claim to need: Concrete ML's own pins bring
several gigabytes that nothing here uses. PyTorch is used for convolutions on calibration samples
only; where pip is shown a CPU build of it (`PIP_FIND_LINKS`, `PIP_EXTRA_INDEX_URL`), that one is
taken. Builds for CUDA do not start without CUDA's libraries, and are refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from proofml.canonical import dumps, loads, sha256
from proofml.errors import BackendFailed, BackendUnavailable, UsageError, printable
from proofml.store import Store
from proofml.worker.limits import Progress, silent

Purpose = Literal["run", "compile"]

VARIABLE = "PROOFML_PYTHON_CONCRETE"
LIBRARY = "2.10.0"
FRONT_END = "1.9.0"
#: Every package is installed in this version and without its dependencies.
RUN_PACKAGES = {
    "concrete-python": LIBRARY,
    "numpy": "1.26.4",
    "setuptools": "80.9.0",  # its package is declared by pkg_resources, which left in 81
}
COMPILE_PACKAGES = RUN_PACKAGES | {
    "brevitas": "0.10.2",
    "cloudpickle": "3.1.1",
    "concrete-ml": FRONT_END,
    "dependencies": "2.0.1",
    "filelock": "3.16.1",
    "joblib": "1.4.2",
    "jsonpickle": "4.0.1",
    "networkx": "3.4.2",
    "onnx": "1.17.0",
    "onnxoptimizer": "0.3.13",
    "packaging": "24.2",
    "protobuf": "5.29.3",
    "scikit-learn": "1.5.0",
    "scipy": "1.14.1",
    "skorch": "0.11.0",
    "sympy": "1.13.3",
    "mpmath": "1.3.0",
    "tabulate": "0.9.0",
    "threadpoolctl": "3.5.0",
    "torch": "2.13.0",  # pip prefers 2.13.0+cpu where it is shown one
    "tqdm": "4.67.1",
    "typing-extensions": "4.12.2",
    "z3-solver": "4.13.0",
}
_PACKAGES: dict[Purpose, dict[str, str]] = {"run": RUN_PACKAGES, "compile": COMPILE_PACKAGES}
_IMPORTS: dict[Purpose, str] = {
    "run": "import concrete.compiler",
    "compile": "import concrete.ml.torch.compile, concrete.fhe",
}
#: Concrete has wheels up to 3.12; this package's own code needs 3.11.
_PYTHONS = ((3, 11), (3, 12))
_MARK = "proofml.json"
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Environment:
    """An interpreter with Concrete; `purpose` is None where somebody else made it."""

    python: Path
    purpose: Purpose | None

    @property
    def detail(self) -> str:
        return f"Concrete in {self.python}" + (f", to {self.purpose}" if self.purpose else "")


def folder(store: Store, purpose: Purpose) -> Path:
    """Where `make` puts an environment: named by what it holds."""
    digest = sha256(dumps({"packages": _PACKAGES[purpose]}))[:16]
    return store.root / "environments" / f"concrete-{purpose}-{digest}"


def find(store: Store, purpose: Purpose) -> Environment | None:
    """The interpreter to use for `purpose`; None where there is none.

    Raises:
        UsageError: `PROOFML_PYTHON_CONCRETE` names no program.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise UsageError(f"{VARIABLE}: expected an interpreter, got {printable(named)}")
        return Environment(Path(found), None)
    wanted: tuple[Purpose, ...] = ("compile",) if purpose == "compile" else ("run", "compile")
    for one in wanted:
        place = folder(store, one)
        if _is_made(place, one):
            return Environment(place / "bin" / "python", one)
    return None


def lacking(python: Path) -> str | None:
    """What keeps an interpreter from running Concrete; nothing of Concrete is imported for it."""
    script = (
        "from importlib.util import find_spec as f; "
        "print(*[n for n in ('numpy', 'concrete') if not f(n)], 'and', 'started')"
    )
    try:
        done = subprocess.run(
            [str(python), "-P", "-s", "-c", script],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.SubprocessError):
        return "expected a Python that starts"
    missing, end, _ = done.stdout.rpartition("and started")
    if done.returncode != 0 or not end:
        return "expected a Python of 3.11 or 3.12"
    return f"expected a Python with {missing.split()[-1]}" if missing.strip() else None


def broken(python: Path, purpose: Purpose) -> str | None:
    """What keeps an interpreter from `purpose`, found by a real import, which takes seconds."""
    problem = lacking(python)
    if problem is not None:
        return problem
    try:
        _run([str(python), "-P", "-s", "-c", _IMPORTS[purpose]], "try environment")
    except BackendFailed as error:
        return f"expected one that can {purpose} circuits, got {error.last_words or error}"
    return None


def interpreter(store: Store, purpose: Purpose) -> Path:
    """As `find`.

    Raises:
        BackendUnavailable: there is none; the message says how to make one.
    """
    found = find(store, purpose)
    if found is None:
        raise BackendUnavailable(
            f"there is no Python environment with Concrete, to {purpose} circuits; make one with "
            f"`proofml fhe environment --for {purpose}`, or set {VARIABLE} to an interpreter "
            "that has it"
        )
    return found.python


def make(
    store: Store,
    purpose: Purpose,
    *,
    pip_arguments: tuple[str, ...] = (),
    progress: Progress = silent,
) -> Environment:
    """Build an environment in the cache with pip, or return the one that is there.

    Args:
        pip_arguments: for `pip install`, to say where packages come from.

    Raises:
        BackendUnavailable: no Python 3.11 or 3.12 to build on.
        BackendFailed: pip failed, or what it installed does not start; pip's last words are there.
    """
    place = folder(store, purpose)
    with store.lock(place.name):
        if not _is_made(place, purpose):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.rmtree(place, ignore_errors=True)
            new = Path(tempfile.mkdtemp(prefix=f"{place.name}-", dir=place.parent))
            try:
                _build(new, purpose, pip_arguments, progress)
                new.rename(place)  # a virtual environment's interpreter finds itself anywhere
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return Environment(place / "bin" / "python", purpose)


def _is_made(place: Path, purpose: Purpose) -> bool:
    try:
        with (place / _MARK).open("rb") as file:
            mark = loads(file.read(_MOST_BYTES))
    except (OSError, ValueError):
        return False
    return bool(mark == {"purpose": purpose, "packages": _PACKAGES[purpose]})


def _build(new: Path, purpose: Purpose, pip_arguments: tuple[str, ...], progress: Progress) -> None:
    python = new / "bin" / "python"
    progress("make environment", None, None)
    _run([str(_base()), "-m", "venv", str(new)], "make environment")
    names = [f"{name}=={pin}" if pin else name for name, pin in _PACKAGES[purpose].items()]
    progress("install packages", None, None)
    pip = [str(python), "-m", "pip", "install", "--no-deps", "--no-input", "--quiet"]
    _run([*pip, *pip_arguments, *names], "install packages")
    progress("try environment", None, None)
    _run([str(python), "-P", "-s", "-c", _IMPORTS[purpose]], "try environment")
    (new / _MARK).write_bytes(dumps({"purpose": purpose, "packages": _PACKAGES[purpose]}))


def _base() -> Path:
    """The interpreter to build on: this one, or another of a version that Concrete has."""
    if sys.version_info[:2] in _PYTHONS:
        return Path(sys.executable)
    for major, minor in _PYTHONS:
        found = shutil.which(f"python{major}.{minor}")
        if found:
            return Path(found)
    wanted = " or ".join(f"{major}.{minor}" for major, minor in _PYTHONS)
    raise BackendUnavailable(
        f"Concrete: expected Python {wanted} to build an environment on, got "
        f"{sys.version.split()[0]} and none on the path; install one, or set {VARIABLE}"
    )


def _run(command: list[str], stage: str) -> None:
    # A variable that points this interpreter at its modules would point that one at the same.
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command, env=variables, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise BackendFailed(f"{stage}: {command[0]}: {error.strerror}", stage=stage) from error
    if done.returncode != 0:
        hint = ""
        if stage == "try environment" and "libcu" in done.stderr:
            hint = "; this PyTorch needs CUDA: show pip a CPU build with PIP_EXTRA_INDEX_URL"
        words = printable(" | ".join(done.stderr.split("\n")[-6:]))
        raise BackendFailed(
            f"{stage}: expected exit status 0, got {done.returncode}{hint}",
            stage=stage,
            last_words=words,
        )


def command(python: Path) -> list[str]:
    """What starts a worker there, with this very proofml."""
    import proofml
    import proofml.fhe

    packages = {
        "proofml": str(Path(proofml.__file__).parent),
        "proofml.fhe": str(Path(proofml.fhe.__file__).parent),
    }
    script = Path(__file__).with_name("bootstrap.py")
    return [str(python), "-P", "-s", str(script), "proofml.worker.child", json.dumps(packages)]


def own_version(package: str) -> str | None:
    """Of a package in this interpreter, for messages."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
