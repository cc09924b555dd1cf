"""Link the mapped tree under build/view/proofml, so that checkers see one package.

On installation setuptools maps `src/proofml` and the rooms (`zkml`, `tee`, ...) below the one name
`proofml`; mypy, pyright and import-linter read folders, not that mapping. This lays the same tree
out in real folders with a link for each Python file. Running it again changes nothing but what
changed in the tree.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VIEW = ROOT / "build" / "view"
SUFFIXES = frozenset({".py", ".pyi", ".typed"})


def mapped() -> dict[str, Path]:
    """Import name -> folder, as pyproject.toml maps it."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["setuptools"]["package-dir"]
    return {name: ROOT / folder for name, folder in table.items()}


def wanted() -> dict[Path, Path]:
    """Every link below `VIEW` and the file that it shall lead to."""
    return {
        VIEW.joinpath(*name.split("."), path.relative_to(folder)): path
        for name, folder in mapped().items()
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES and path.is_file()
    }


def build() -> Path:
    """Make the view agree with the tree; returns the folder that holds `proofml`."""
    links = wanted()
    for path in VIEW.rglob("*"):
        if (path.is_symlink() or path.is_file()) and path not in links:
            path.unlink()
    for path, target in links.items():
        relative = Path(os.path.relpath(target, path.parent))
        if path.is_symlink() and path.readlink() == relative:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(relative)
    for folder in sorted((p for p in VIEW.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    return VIEW


if __name__ == "__main__":
    sys.stdout.write(f"{build().relative_to(ROOT)}\n")
