"""The cache: artifacts by content, recipes that name them, atomic writes under a file lock.

    objects/ab/abcdef...     a file whose name is the SHA-256 of its bytes
    recipes/<digest>.json    canonical JSON: artifact name -> {sha256, size}
    work/<pid>-<random>/     scratch folders; removed when their process is gone

A recipe's digest covers everything that an artifact depends on. An object is hashed once when it
comes in and again whenever it is read; one that no longer matches is dropped and made again.
Killing the process at any moment leaves either the old state or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256, tagged_sha256
from proofml.errors import BackendFailed, UsageError
from proofml.fields import FieldError, Fields

if TYPE_CHECKING:
    from filelock import FileLock

ENVIRONMENT = "PROOFML_CACHE"
_RECIPE_TAG = "proofml/recipe/v1"
_CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 of a file by streaming."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Artifact:
    sha256: str
    size: int

    def to_json(self) -> dict[str, JSON]:
        return {"sha256": self.sha256, "size": self.size}


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """One recipe for `cache ls`: what it is for, its artifacts, when it was last used."""

    digest: str
    label: str
    artifacts: Mapping[str, Artifact]
    used: float

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts.values())


class Store:
    """A content-addressed cache below `root`; safe for several processes at once."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    @classmethod
    def default(cls) -> Store:
        """`$PROOFML_CACHE`, else the platform's cache folder."""
        root = os.environ.get(ENVIRONMENT)
        if root:
            return cls(root)
        import platformdirs

        return cls(platformdirs.user_cache_path("proofml"))

    def _make(self, name: str) -> Path:
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise UsageError(
                f"cache {self.root}: cannot be used: {error.strerror}; set {ENVIRONMENT}"
            ) from error
        return path

    def lock(self, name: str) -> FileLock:
        from filelock import FileLock  # here: it brings asyncio

        return FileLock(self._make("locks") / f"{name}.lock")

    # -- scratch --------------------------------------------------------------------------

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder on the cache's own file system, removed on the way out, whatever happens."""
        work = self._make("work")
        self._sweep(work)
        path = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=work))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _sweep(work: Path) -> None:
        """Remove what killed processes left behind."""
        for path in work.iterdir():
            pid = path.name.split("-", 1)[0]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(path, ignore_errors=True)

    # -- objects --------------------------------------------------------------------------

    def object_path(self, digest: str) -> Path:
        return self.root / "objects" / digest[:2] / digest

    def ingest(self, path: Path) -> Artifact:
        """Move a file into the cache (same file system: a rename, no copy). Hashes it once."""
        try:
            size = path.stat().st_size
            digest = file_sha256(path)
            self._make(f"objects/{digest[:2]}")
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            path.replace(self.object_path(digest))
        except OSError as error:
            raise BackendFailed(f"cache {self.root}: {path.name}: {error.strerror}") from error
        return Artifact(digest, size)

    def intact(self, artifact: Artifact) -> bool:
        """Whether the object is there and its bytes hash to its name."""
        path = self.object_path(artifact.sha256)
        try:
            return path.stat().st_size == artifact.size and file_sha256(path) == artifact.sha256
        except OSError:
            return False

    # -- recipes --------------------------------------------------------------------------

    @staticmethod
    def recipe_digest(recipe: Mapping[str, JSON]) -> str:
        return tagged_sha256(_RECIPE_TAG, dumps(recipe))

    def _recipe_path(self, digest: str) -> Path:
        return self.root / "recipes" / f"{digest}.json"

    def find(self, recipe: Mapping[str, JSON]) -> dict[str, Path] | None:
        """Paths of a recipe's artifacts, each checked by digest; None where one is missing."""
        digest = self.recipe_digest(recipe)
        entry = self._read(digest)
        if entry is None or not all(self.intact(a) for a in entry.artifacts.values()):
            return None
        self._use(digest)
        return {name: self.object_path(a.sha256) for name, a in entry.artifacts.items()}

    def read(self, recipe: Mapping[str, JSON]) -> dict[str, bytes] | None:
        """Contents of a recipe's artifacts, the very bytes that were hashed; None as for `find`."""
        digest = self.recipe_digest(recipe)
        entry = self._read(digest)
        if entry is None:
            return None
        contents = {}
        for name, artifact in entry.artifacts.items():
            path = self.object_path(artifact.sha256)
            try:
                data = path.read_bytes() if path.stat().st_size == artifact.size else b""
            except OSError:
                return None
            if len(data) != artifact.size or sha256(data) != artifact.sha256:
                return None
            contents[name] = data
        self._use(digest)
        return contents

    def _use(self, digest: str) -> None:
        """Pruning goes by when a recipe was last used."""
        with contextlib.suppress(OSError):
            os.utime(self._recipe_path(digest))

    def put(
        self, recipe: Mapping[str, JSON], files: Mapping[str, Path], *, label: str
    ) -> dict[str, Path]:
        """Take files in and name them by the recipe; returns their paths in the cache."""
        artifacts = {name: self.ingest(path) for name, path in sorted(files.items())}
        digest = self.recipe_digest(recipe)
        body = dumps(
            {"label": label, "artifacts": {name: a.to_json() for name, a in artifacts.items()}}
        )
        self._make("recipes")
        try:
            with self.scratch() as folder, (folder / digest).open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
                (folder / digest).replace(self._recipe_path(digest))
        except OSError as error:
            raise BackendFailed(f"cache {self.root}: {error.strerror}; free some room") from error
        return {name: self.object_path(a.sha256) for name, a in artifacts.items()}

    def _read(self, digest: str) -> CacheEntry | None:
        path = self._recipe_path(digest)
        try:
            fields = Fields(loads(path.read_bytes()), digest)
            used = path.stat().st_mtime
            label = fields.string("label")
            table = fields.table("artifacts")
            artifacts = {}
            for name in fields.raw("artifacts"):
                entry = table.table(name)
                artifacts[str(name)] = Artifact(
                    entry.sha256("sha256"), entry.integer("size", 0, 1 << 50)
                )
        except (OSError, CanonicalError, FieldError):
            return None
        return CacheEntry(digest, label, artifacts, used)

    # -- housekeeping ---------------------------------------------------------------------

    def entries(self) -> tuple[CacheEntry, ...]:
        """All recipes, the most recently used first."""
        found = []
        for path in sorted((self.root / "recipes").glob("*.json")):
            entry = self._read(path.stem)
            if entry is not None:
                found.append(entry)
        return tuple(sorted(found, key=lambda entry: -entry.used))

    def damaged(self) -> tuple[tuple[CacheEntry, str], ...]:
        """Every (recipe, artifact name) whose bytes are missing or do not match."""
        return tuple(
            (entry, name)
            for entry in self.entries()
            for name, artifact in entry.artifacts.items()
            if not self.intact(artifact)
        )

    def prune(self, *, older_than: float = 0.0, keep: frozenset[str] = frozenset()) -> int:
        """Drop recipes unused for `older_than` seconds, then objects that no recipe names.

        `keep` lists recipe digests to spare. Returns the number of bytes freed.
        """
        with self.lock("prune"):
            limit = time.time() - older_than
            for entry in self.entries():
                if entry.used <= limit and entry.digest not in keep:
                    self._recipe_path(entry.digest).unlink(missing_ok=True)
            named = {a.sha256 for entry in self.entries() for a in entry.artifacts.values()}
            freed = 0
            for path in (self.root / "objects").glob("*/*"):
                # A young object may belong to a recipe that another process is about to write.
                if path.name not in named and path.stat().st_mtime <= min(limit, time.time() - 60):
                    freed += path.stat().st_size
                    path.unlink(missing_ok=True)
            if (self.root / "work").is_dir():
                self._sweep(self.root / "work")
            return freed


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
