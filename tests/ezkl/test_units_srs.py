"""Reference strings: by digest and exact size, the ceremony's apart from all others."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from proofml.api import prove
from proofml.backend import Context
from proofml.canonical import sha256
from proofml.errors import UsageError
from proofml.store import Store
from proofml.zkml.ezkl.srs import (
    CEREMONY,
    MAX_LOGROWS,
    Srs,
    adopt,
    check_file,
    find,
    find_ceremony,
    generate,
    import_file,
    known,
    srs_size,
)

from .models import X
from .workshop import Workshop

K = 4


@pytest.fixture(scope="module")
def strings(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A cache with a generated string."""
    store = Store(tmp_path_factory.mktemp("strings"))
    generate(store, K)
    return store


@pytest.fixture
def string(strings: Store) -> Srs:
    return generate(strings, K)


@pytest.fixture
def public(string: Srs, monkeypatch: pytest.MonkeyPatch) -> Srs:
    """The generated string in the role of the ceremony's."""
    monkeypatch.setitem(CEREMONY, K, string.sha256)  # type: ignore[arg-type]
    return string


def test_sizes(string: Srs) -> None:
    assert string.path.stat().st_size == srs_size(K) == 4 + 128 * 2**K + 256
    assert check_file(string.path) == K
    assert sha256(string.path.read_bytes()) == string.sha256
    assert string.origin == "local-dev"
    assert not string.is_ceremony


def test_ceremony_is_complete() -> None:
    assert list(CEREMONY) == list(range(1, MAX_LOGROWS + 1))
    assert len(set(CEREMONY.values())) == MAX_LOGROWS


def test_generated_once(strings: Store, string: Srs) -> None:
    assert generate(strings, K) == string
    assert known(strings) == (string,)
    assert find(strings, K, string.sha256) == string
    assert find(strings, K, "0" * 64) is None
    assert find(strings, K + 1, string.sha256) is None
    assert find_ceremony(strings, 1) is None


@pytest.mark.parametrize("k", [0, -1, MAX_LOGROWS + 1])
def test_generate_out_of_range(strings: Store, k: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 26"):
        generate(strings, k)


def test_altered_string_is_not_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = generate(store, K)
    made.path.write_bytes(made.path.read_bytes()[:-1] + b"\0")
    assert find(store, K, made.sha256) is None
    assert generate(store, K).sha256 != made.sha256


def test_import_refuses_another_digest(strings: Store, string: Srs) -> None:
    with pytest.raises(UsageError, match=f"expected the public ceremony's digest .*{CEREMONY[K]}"):
        import_file(strings, string.path)
    assert find_ceremony(strings, 1) is None


def test_import_takes_the_ceremonys(tmp_path: Path, public: Srs) -> None:
    store = Store(tmp_path)
    assert import_file(store, public.path).origin == "ceremony"
    assert find_ceremony(store, K) == find_ceremony(store, 1) == known(store)[0]
    assert find_ceremony(store, K + 1) is None


@pytest.mark.parametrize("change", ["cut", "longer", "empty", "k of 0", "k of 27", "k of another"])
def test_no_string(tmp_path: Path, string: Srs, change: str) -> None:
    data = string.path.read_bytes()
    changed = {
        "cut": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
        "k of 0": struct.pack("<I", 0) + data[4:],
        "k of 27": struct.pack("<I", 27) + data[4:],
        "k of another": struct.pack("<I", K + 1) + data[4:],
    }
    path = tmp_path / "string"
    path.write_bytes(changed[change])
    for take in (import_file, adopt):
        with pytest.raises(UsageError, match="not a reference string"):
            take(Store(tmp_path / "cache"), path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        check_file(tmp_path / "nothing")


def test_adopted_string_is_trusted_no_more(tmp_path: Path, string: Srs) -> None:
    store = Store(tmp_path)
    assert adopt(store, string.path).origin == "local-dev"
    assert find(store, K, string.sha256) is not None
    assert find_ceremony(store, 1) is None


def test_proving_without_a_string(workshop: Workshop, tmp_path: Path) -> None:
    """None is made unasked: the message names both ways."""
    with pytest.raises(UsageError, match=r"srs import FILE.*srs=local-dev"):
        prove(workshop.model, X, backend="ezkl", context=Context(Store(tmp_path)))
