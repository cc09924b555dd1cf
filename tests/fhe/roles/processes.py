"""Roles as processes: a folder with files and a cache each, the command line in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from proofml.fhe import files
from proofml.fhe.key_files import load_key

#: Runs the command line, then tells which modules that use secrets were imported.
_RUN = """
import sys
from proofml.cli import main
try:
    main(sys.argv[1:])
finally:
    private = [n for n in sys.modules if n.startswith("proofml.fhe") and "owner" in n]
    print("PRIVATE", *sorted(private), file=sys.stderr)
"""


class Role:
    """A folder with a cache, and commands that run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def run(self, *words: str, code: int = 0) -> tuple[dict[str, Any], list[str]]:
        """Result as JSON, and the modules for secrets that the process had imported."""
        environment = {**os.environ, "PROOFML_CACHE": str(self.folder / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *words, "--json", "--no-progress"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert done.returncode == code, done.stderr
        told = next(line for line in done.stderr.splitlines() if line.startswith("PRIVATE"))
        return json.loads(done.stdout) if done.stdout.strip() else {}, told.split()[1:]

    def give(self, other: Role, *names: str) -> None:
        for name in names:
            shutil.copy(self.folder / name, other.folder / name)

    def holds(self, data: bytes) -> bool:
        return any(data in path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def secret(self, words: str | None = None) -> bytes:
        """A stretch of the scheme's secret key in this folder's key file."""
        key = load_key(self.folder / "model.key", passphrase=words)
        assert files.kind(key.to_bytes()) == files.KEY_TYPE
        return key.secret[len(key.secret) // 2 :][:64]
