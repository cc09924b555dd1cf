"""docs/licences.md names every requirement, and what its wheel says."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageMetadata, distributions, metadata
from pathlib import Path

import pytest
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
NONE = "**none named**"
#: Old-style names of licences -> SPDX.
SPDX = {
    "MIT License": "MIT",
    "BSD 2-Clause License": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache License v2.0": "Apache-2.0",
    "BSD-3-Clause-Clear": "BSD-3-Clause-Clear: **no patent rights**",
}


def rows() -> dict[str, tuple[Version, str]]:
    """Package -> version that was read and its licence, of both tables."""
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    found: dict[str, tuple[Version, str]] = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) in (3, 4) and re.fullmatch(r"[0-9.]+", cells[-2]):
            found[cells[-3]] = Version(cells[-2]), cells[-1]
    return found


def requirements() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=!~; ]", item, maxsplit=1)[0] for items in lists for item in items}
    return names - {"proofml"}


def licence_of(data: PackageMetadata) -> str:
    for key in ("License-Expression", "License"):
        if key in data and data[key].strip():
            return SPDX.get(data[key].strip(), data[key].strip())
    return ", ".join(c for c in data.get_all("Classifier") or [] if c.startswith("License")) or NONE


def test_every_requirement_has_a_row() -> None:
    assert requirements() <= set(rows())


def installed() -> list[str]:
    """Packages that are here, in the version that the page was read from or a later one."""
    versions = {d.name.lower().replace("_", "-"): Version(d.version) for d in distributions()}
    return sorted(n for n, (read, _) in rows().items() if n in versions and versions[n] >= read)


@pytest.mark.parametrize("name", installed())
def test_row_says_what_the_metadata_says(name: str) -> None:
    stated, found = rows()[name][1], licence_of(metadata(name))
    if name == "numpy":  # the list of bundled parts changes from release to release
        stated, found = stated.split(" ")[0], found.split(" ")[0]
    assert found == stated


def test_vectors_of_others_are_named() -> None:
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    files = [
        path
        for path in (ROOT / "tests" / "vectors").rglob("*.json")
        if b'"licence"' in path.read_bytes()[:4096]
    ]
    assert files
    for path in files:
        assert f"`{path.relative_to(ROOT).as_posix()}`" in page
