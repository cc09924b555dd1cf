"""Structured reference strings: the public ceremony by digest, or a development one for ever so.

File layout (halo2 `ParamsKZG`, raw bytes): u32 k, 2^k G1 points (64 bytes), 2^k G1 points in the
Lagrange basis, two G2 points (128 bytes): 4 + 2^k * 128 + 256 bytes. EZKL does not check it when
it reads it, and accepts trailing bytes; here a file is its SHA-256 and its exact size.

Whoever knows the secret behind a string can prove anything. Only a digest from a ceremony that
many people took part in speaks against that, so a string that is not in `CEREMONY` nor pinned by
the policy is `srs:local-dev`, whoever made it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proofml.errors import BackendFailed, UsageError
from proofml.store import Store, file_sha256
from proofml.worker import Limits, Progress, run, silent

MAX_LOGROWS = 26
LABEL = "ezkl srs"

#: SHA-256 of the files of the perpetual powers of tau (hosted by the halo2 KZG trusted-setup
#: project) in the layout above, by k; the digests that EZKL itself checks (`src/srs_sha.rs`).
CEREMONY: Mapping[int, str] = {
    1: "cafb2aa72c200ddc4e28aacabb8066e829207e2484b8d17059a566232f8a297b",
    2: "8194ec51da5d332d2e17283ade34920644774452c2fadf33742e8c739e275d8e",
    3: "0729e815bce2ac4dfad7819982c6479c3b22c32b71f64dca05e8fdd90e8535ef",
    4: "2c0785da20217fcafd3b12cc363a95eb2529037cc8a9bddf8fb15025cbc8cdc9",
    5: "5b950e3b76e7a9923d69f6d6585ce6b5f9458e5ec57a71c9de5005d32d544692",
    6: "85030b2924111fc60acaf4fb8a7bad89531fbe0271aeab0c21e545f71eee273d",
    7: "e65f95150519fe01c2bedf8f832f5249822ef84c9c017307419e10374ff9eeb1",
    8: "446092fd1d6030e5bb2f2a8368267d5ed0fbdb6a766f6c5e4a4841827ad3106f",
    9: "493d088951882ad81af11e08c791a38a37c0ffff14578cf2c7fb9b7bca654d8b",
    10: "9705d450e5dfd06adb673705f7bc34418ec86339203198beceb2ae7f1ffefedb",
    11: "257fa566ed9bc0767d3e63e92b5e966829fa3347d320a32055dc31ee7d33f8a4",
    12: "28b151069f41abc121baa6d2eaa8f9e4c4d8326ddbefee2bd9c0776b80ac6fad",
    13: "d5d94bb25bdc024f649213593027d861042ee807cafd94b49b54f1663f8f267d",
    14: "c09129f064c08ecb07ea3689a2247dcc177de6837e7d2f5f946e30453abbccef",
    15: "90807800a1c3b248a452e1732c45ee5099f38b737356f5542c0584ec9c3ebb45",
    16: "2a1a494630e71bc026dd5c0eab4c1b9a5dbc656228c1f0d48f5dbd3909b161d3",
    17: "41509f380362a8d14401c5ae92073154922fe23e45459ce6f696f58607655db7",
    18: "d0148475717a2ba269784a178cb0ab617bc77f16c58d4a3cbdfe785b591c7034",
    19: "d1a1655b4366a766d1578beb257849a92bf91cb1358c1a2c37ab180c5d3a204d",
    20: "54ef75911da76d7a6b7ea341998aaf66cb06c679c53e0a88a4fe070dd3add963",
    21: "486e044cf98704e07f41137d2b89698dc03d1fbf34d13b60902fea19a6013b4b",
    22: "1ee9b4396db3e4e2516ac5016626ab6ba967f091d5d23afbdb7df122a0bb9d0c",
    23: "748e48b9b6d06f9c82d26bf551d0af43ee2e801e4be56d7ccb20312e267fd1d6",
    24: "f94fa4afa2f5147680f907d4dd96a8826206c26bd3328cd379feaed614b234de",
    25: "dec49a69893fbcd66cd06296b2d936a6aceb431c130b2e52675fe4274b504f57",
    26: "b198a51d48b88181508d8e4ea9dea39db285e4585663b29b7e4ded0c22a94875",
}


@dataclass(frozen=True, slots=True)
class Srs:
    """A reference string at hand: `path` was checked against `sha256`."""

    k: int
    sha256: str
    path: Path

    @property
    def is_ceremony(self) -> bool:
        return CEREMONY.get(self.k) == self.sha256

    @property
    def origin(self) -> str:
        return "ceremony" if self.is_ceremony else "local-dev"


def srs_size(k: int) -> int:
    """Bytes of a reference string of 2^k points."""
    return 4 + (128 << k) + 256


def _recipe(k: int, sha256: str | None) -> dict[str, int | str]:
    """A development string is found by its k alone, any other by its digest."""
    base: dict[str, int | str] = {"kind": "ezkl-srs", "k": k}
    return base | ({"origin": "local-dev"} if sha256 is None else {"sha256": sha256})


def find(store: Store, k: int, sha256: str) -> Srs | None:
    """The string of this digest from the cache, checked; None where it is not there."""
    for recipe in (_recipe(k, sha256), _recipe(k, None)):
        found = store.find(recipe)
        if found is not None and found["srs"].name == sha256:
            return Srs(k, sha256, found["srs"])
    return None


def find_ceremony(store: Store, k: int) -> Srs | None:
    """An imported ceremony string with at least 2^k points; EZKL cuts a larger one to size."""
    for size in range(k, MAX_LOGROWS + 1):
        found = find(store, size, CEREMONY[size])
        if found is not None:
            return found
    return None


def check_file(path: Path) -> int:
    """k of a file whose size is exactly that of 2^k points; raises `UsageError` otherwise."""
    try:
        with path.open("rb") as file:
            k = int.from_bytes(file.read(4), "little")
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if not 1 <= k <= MAX_LOGROWS or size != srs_size(k):
        wanted = srs_size(k) if 1 <= k <= MAX_LOGROWS else "4 + 128 * 2^k + 256"
        raise UsageError(
            f"{path}: not a reference string: it says k = {k} and has {size} bytes, "
            f"expected {wanted}"
        )
    return k


def import_file(store: Store, path: Path) -> Srs:
    """Copy a ceremony file into the cache; refuses one whose digest is not the ceremony's.

    Raises:
        UsageError: not a reference string, or not the public ceremony's.
    """
    k = check_file(path)
    digest = file_sha256(path)
    if digest != CEREMONY[k]:
        raise UsageError(
            f"{path}: expected the public ceremony's digest for k = {k}, {CEREMONY[k]}, got "
            f"{digest}; a string of your own makes proofs that carry srs:local-dev, use "
            "`proofml srs generate` or pin its digest under backends.ezkl.srs"
        )
    return _take_in(store, path, k, digest)


def adopt(store: Store, path: Path) -> Srs:
    """Copy any well-formed string into the cache by its digest, trusting it no more for that."""
    return _take_in(store, path, check_file(path), file_sha256(path))


def _take_in(store: Store, path: Path, k: int, digest: str) -> Srs:
    with store.scratch() as folder:
        copy = folder / "srs"
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            raise BackendFailed(
                f"{path}: cannot be copied to the cache: {error.strerror}"
            ) from error
        if file_sha256(copy) != digest:
            raise BackendFailed(f"{path}: changed while it was copied")
        stored = store.put(_recipe(k, digest), {"srs": copy}, label=f"{LABEL} k={k}")
    return Srs(k, digest, stored["srs"])


def generate(
    store: Store, k: int, *, progress: Progress = silent, limits: Limits | None = None
) -> Srs:
    """The development string of 2^k points: from the cache, or made now (10 s at k = 15).

    Raises:
        UsageError: k out of range.
        WorkerFailed: out of memory, time or disk.
    """
    if not 1 <= k <= MAX_LOGROWS:
        raise UsageError(f"k = {k}: expected 1 to {MAX_LOGROWS}")
    with store.lock(f"srs-{k}"):
        found = store.find(_recipe(k, None))
        if found is None:
            with store.scratch() as folder:
                run(
                    "proofml.zkml.ezkl.stages:srs",
                    {"logrows": k},
                    folder,
                    stage="generate srs",
                    backend="ezkl",
                    limits=limits,
                    progress=progress,
                )
                files = {"srs": folder / "srs"}
                found = store.put(_recipe(k, None), files, label=f"{LABEL} k={k} local-dev")
    return Srs(k, found["srs"].name, found["srs"])


def known(store: Store) -> tuple[Srs, ...]:
    """Every string in the cache, by k."""
    found = []
    for entry in store.entries():
        artifact = entry.artifacts.get("srs")
        if artifact is not None and entry.label.startswith(LABEL):
            k = int(entry.label.split("k=")[1].split()[0])
            found.append(Srs(k, artifact.sha256, store.object_path(artifact.sha256)))
    return tuple(sorted(found, key=lambda srs: (srs.k, srs.sha256)))
