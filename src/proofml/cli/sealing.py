"""The two files of sealing inputs: where they go, and in which order they are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.sealed import Sealed, Secret


def places(
    model: Path, input: str, output: Path | None, secret: Path | None, *, force: bool
) -> tuple[Path, Path]:
    """Of the sealed file and of the secret; raises `UsageError` where one cannot be written."""
    stem = model.stem if input == "-" else Path(input).stem
    target, kept = output or Path(f"{stem}.sealed"), secret or Path(f"{stem}.secret")
    if target.resolve() == kept.resolve():
        raise UsageError(f"{kept}: the sealed file and the secret need two names (-o, --secret)")
    if target.exists() and not force:
        raise UsageError(f"{target}: exists; give another name (-o) or --force")
    if kept.exists():
        raise UsageError(f"{kept}: exists, and a secret is never written over; give --secret")
    return target, kept


def save(
    sealed: Sealed,
    target: Path,
    secret: Secret,
    kept: Path,
    *,
    passphrase: str | None,
    force: bool,
) -> None:
    """The secret first: a sealed file without one is of no use to anybody."""
    secret.save(kept, passphrase=passphrase)
    try:
        sealed.save(target, force=force)
    except UsageError:
        kept.unlink(missing_ok=True)  # ours, and of nothing
        raise
