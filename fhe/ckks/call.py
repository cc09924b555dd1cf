"""Runs a stage of this package in a worker, and tells what it found malformed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from proofml.backend import Context, Probe
from proofml.errors import BackendUnavailable
from proofml.fhe.scheme import Malformed
from proofml.worker import Limits, run

_PACKAGE = "proofml.fhe.ckks"
#: Keys of the largest circuits, twice, and the ciphertexts of a long program.
LIMITS = Limits(memory=12 << 30, seconds=1800)


def library_version() -> str | None:
    """The installed TenSEAL, without importing it; None where there is none."""
    try:
        return version("tenseal")
    except PackageNotFoundError:
        return None


def probe() -> Probe:
    found = library_version()
    if found is None:
        return Probe(False, "tenseal is not installed; pip install 'proofml[tenseal]'")
    return Probe(True, f"tenseal {found}")


def call(
    stage: str, args: Mapping[str, Any], folder: Path, context: Context, *, title: str
) -> dict[str, Any]:
    """Result of `module:function`; its files lie in `folder`.

    Raises:
        Malformed: as the stage found.
        BackendUnavailable: TenSEAL is not installed.
        WorkerFailed: as `proofml.worker.run`.
    """
    if library_version() is None:
        raise BackendUnavailable("tenseal is not installed; pip install 'proofml[tenseal]'")
    result: dict[str, Any] = run(
        f"{_PACKAGE}.{stage}",
        args,
        folder,
        stage=title,
        backend="ckks",
        limits=context.limits.or_else(LIMITS),
        progress=context.progress,
        threads=1,
    )
    if "malformed" in result:
        raise Malformed(*result["malformed"])
    return result
