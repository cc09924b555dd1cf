"""Files of commands: whole or not at all, and no place of anybody else's."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from proofml.cli.files import read_file, write_file
from proofml.errors import UsageError


def test_a_file_is_written_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"first", b"second"):
        write_file(path, data, 0o600)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    other, path = tmp_path / "other", tmp_path / "file"
    other.write_bytes(b"of somebody else")
    path.symlink_to(other)
    write_file(path, b"mine")
    assert other.read_bytes() == b"of somebody else"
    assert path.read_bytes() == b"mine"
    assert not path.is_symlink()


def test_the_umask_counts(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        write_file(tmp_path / "no folder" / "file", b"data")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_file(tmp_path / "folder", b"data")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_file_is_read_up_to_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == read_file(str(path), 5) == b"12345"
    with pytest.raises(UsageError, match=r"--to .*file: expected at most 4 bytes"):
        read_file(path, 4, "--to")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"12345")))
    assert read_file("-", 5) == b"12345"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"12345")))
    with pytest.raises(UsageError, match="-: expected at most 4 bytes"):
        read_file("-", 4)


def test_no_file_is_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe", "."):
        with pytest.raises(UsageError, match="no such file"):
            read_file(tmp_path / name, 10)
