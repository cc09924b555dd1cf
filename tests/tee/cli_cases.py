"""The command line in a fresh folder, with the cache that holds the simulated roots."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.cli import group
from proofml.cli.common import run_guarded
from proofml.testing import gemm

from .workshop import X, folder


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def results(self) -> dict[str, str]:
        """Number of each check -> its result."""
        return {check["check"]: check["result"] for check in self.json["checks"]}


Cli = Callable[..., Done]


def runner(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    """Runs a command in `place`, which holds two models and an input."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("PROOFML_CACHE", str(folder() / "vendor"))
    Path("model.onnx").write_bytes(gemm())
    Path("other.onnx").write_bytes(gemm(1))
    np.savez("x.npz", **X)

    def run(*words: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsysbinary.readouterr()
        code = run_guarded(group, [str(word) for word in words])
        captured = capsysbinary.readouterr()
        out, err = captured.out.decode(), captured.err.decode()
        assert "Traceback" not in err
        return Done(code, out, err)

    return run


def inspected(cli: Cli, data: bytes, *words: str | Path) -> Done:
    """`proofml tee inspect` of these bytes, as JSON."""
    Path("file").write_bytes(data)
    return cli("tee", "inspect", "file", *words, "--json")
