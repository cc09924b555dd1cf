"""What both exporters take: its types, its checks, and the optional packages behind it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

from proofml.errors import BackendUnavailable, UsageError

Array: TypeAlias = NDArray[Any]
Trees: TypeAlias = Literal["auto", "onnx-ml", "tensor"]
Output: TypeAlias = Literal["probabilities", "decision"]

#: ONNX operator sets that every supported exporter can write.
MIN_OPSET, MAX_OPSET = 13, 18


def load(name: str, where: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library of PyTorch is missing
        package = {"sklearn": "scikit-learn", "hummingbird": "hummingbird-ml"}
        root = name.partition(".")[0]
        raise BackendUnavailable(
            f"{where}: expected the package {package.get(root, root)} to be installed, got: "
            f"{first_line(error)}; install it with: pip install 'proofml[torch]'"
        ) from error


def file_target(path: str | Path, where: str) -> Path:
    if not isinstance(path, str | Path):
        raise UsageError(f"{where}: path: expected str or Path, got {type(path).__name__}")
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(
            f"{where}: path: expected a file in an existing folder, got {target}; create "
            f"{target.parent} first"
        )
    if target.is_dir():
        raise UsageError(f"{where}: path: expected a file, got the folder {target}")
    return target


def check_opset(opset: object, where: str) -> None:
    if isinstance(opset, bool) or not isinstance(opset, int):
        raise UsageError(f"{where}: opset: expected an int, got {type(opset).__name__}")
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise UsageError(f"{where}: opset: expected {MIN_OPSET} to {MAX_OPSET}, got {opset}")


def check_choice(name: str, value: object, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise UsageError(f"{where}: {name}: expected one of {', '.join(allowed)}, got {value!r}")


def first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
