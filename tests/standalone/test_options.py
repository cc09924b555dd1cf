"""Each option of the command and each exit code, in this process."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.errors import BackendFailed
from proofml.testing import Attacker
from proofml.zkml.sumcheck import standalone, standalone_cli

from .conftest import Golden

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(golden: Golden, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, output and messages; the golden proof and key unless others are named."""

    def command(*words: object, proof: Path | None = None, key: Path | None = None) -> Any:
        head = [str(proof or golden.proof), "--key", str(key or golden.key)]
        code = standalone_cli.main([*head, *map(str, words)])
        return code, *capsys.readouterr()

    return command


def test_everything_pinned(run: Run, golden: Golden) -> None:
    code, out, _ = run(
        *("--circuit-digest", golden.circuit, "--model-digest", golden.model),
        *("--nonce", golden.nonce, "--min-bits", 100),
        *("--input", f"image={golden.save('i', golden.input)}"),
        *("--output", f"logits={golden.save('o', golden.output)}", "--json"),
    )
    assert code == 0
    found = json.loads(out)
    assert found["status"] == "accepted"
    assert found["circuit_sha256"] == golden.circuit
    assert found["signatures"] == "none"
    assert found["guarantee"]["assumptions"] == ["model:file-unpinned", "signer:unsigned"]
    assert found["policy"]["min_bits"] == 100


def test_nothing_pinned_but_the_circuit(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.startswith("ACCEPTED")
    assumed = out.split("still assumed\n")[1].split("\n\n")[0]
    assert {line.split()[0] for line in assumed.splitlines()} == {
        *("input:unpinned", "model:unpinned", "nonce:unpinned", "output:unpinned"),
        "signer:unsigned",
    }
    assert "the model's digest is the prover's word" in assumed


def test_same_verdict_in_numpy(run: Run, golden: Golden) -> None:
    """The level is chosen when the kernels are loaded, so this takes another process."""
    done = subprocess.run(
        [sys.executable, "-m", standalone.__name__, golden.proof, "--key", golden.key, "--json"],
        env={**os.environ, "PROOFML_KERNELS": "none"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    found, here = json.loads(done.stdout), json.loads(run("--json")[1])
    assert found.pop("kernels") == "none"
    here.pop("kernels")
    assert found == here


@pytest.mark.parametrize(
    ("words", "check"),
    [
        (("--nonce", "00"), "core.11"),
        (("--model-digest", "0" * 64), "core.7"),
        (("--model-sha256", "0" * 64), "core.7"),
        (("--circuit-digest", "0" * 64), "sumcheck.5"),
    ],
    ids=lambda value: str(value),
)
def test_what_is_pinned_otherwise(run: Run, words: tuple[str, ...], check: str) -> None:
    code, out, _ = run(*words, "--json")
    found = json.loads(out)
    assert (code, found["status"], found["failed_check"]) == (1, "invalid", check)


def test_other_tensors(run: Run, golden: Golden) -> None:
    other = golden.save("other", golden.input + np.float32(0.0625))
    code, out, _ = run("--input", f"image={other}", "--json")
    assert (code, json.loads(out)["failed_check"]) == (1, "core.9")
    code, out, _ = run("--input", f"picture={other}", "--json")
    assert (code, json.loads(out)["failed_check"]) == (1, "core.9")
    code, out, _ = run("--output", f"logits={golden.save('z', golden.output * 2)}", "--json")
    assert (code, json.loads(out)["failed_check"]) == (1, "core.10")


def test_more_bits_than_there_are(run: Run) -> None:
    code, out, _ = run("--min-bits", 120, "--json")
    found = json.loads(out)
    assert (code, found["status"]) == (3, "refused")
    assert "bits of soundness" in found["reasons"][0]


def test_invalid_for_people(run: Run, golden: Golden) -> None:
    path = golden.folder / "cut.pml"
    path.write_bytes(golden.proof.read_bytes()[:-1])
    code, out, _ = run(proof=path)
    assert code == 1
    assert out.startswith("INVALID")
    assert "because check core.1: " in out


def test_hostile_names_are_printable(run: Run, golden: Golden) -> None:
    lie = Attacker.of(golden.proof.read_bytes())
    lie.claim("input.0")["name"] = "image\u009b2J"
    path = golden.folder / "names.pml"
    path.write_bytes(lie.forge(recompute=False, sign=False))
    code, out, err = run(proof=path)
    assert code == 1
    assert "\u009b" not in out + err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nonce", "zz"), "hexadecimal"),
        (("--nonce", ""), "1 to 64 bytes"),
        (("--min-bits", "79"), "expected 80 to 1024"),
        (("--min-bits", "-1"), "expected 80 to 1024"),
        (("--model-digest", "ABC"), "64 lower-case"),
        (("--circuit-digest", "0" * 63), "64 lower-case"),
        (("--allow", "everything"), "expected an assumption's name"),
        (("--input", "image"), "NAME=FILE.npy"),
        (("--input", "=x.npy"), "NAME=FILE.npy"),
        (("--input", "image=missing.npy"), "no such file"),
        (("--salt-file", "missing"), "no such file"),
    ],
    ids=lambda value: str(value),
)
def test_wrong_use(run: Run, words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err


def test_arguments_that_do_not_parse(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], [str(golden.proof), "--min-bits", "many"], [str(golden.proof), "--ke", "x"]):
        with pytest.raises(SystemExit) as ended:
            standalone_cli.main(words)
        assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        standalone_cli.main(["--help"])
    assert ended.value.code == 0
    assert "0 accepted, 1 invalid" in capsys.readouterr().out


def test_no_key(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    """What a circuit is pinned by, and where to go with a model."""
    assert standalone_cli.main([str(golden.proof)]) == 2
    said = capsys.readouterr().err
    for word in ("--key FILE", "proofml setup", "float model", "proofml verify --model"):
        assert word in said


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b"[1]", b'{"version":1}'], ids=repr)
def test_no_verifying_key(run: Run, golden: Golden, body: bytes) -> None:
    path = golden.folder / "key"
    path.write_bytes(body)
    code, _, err = run(key=path)
    assert code == 2
    assert "verifying key" in err


def test_files_that_cannot_be_read(run: Run, golden: Golden) -> None:
    assert run(proof=golden.folder / "missing.pml")[0] == 2
    assert run(key=golden.folder / "missing")[0] == 2
    assert run(key=golden.folder)[0] == 2
    (golden.folder / "text.npy").write_text("no array")
    assert run("--input", f"image={golden.folder / 'text.npy'}")[0] == 2
    pickled = golden.folder / "pickled.npy"
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    assert run("--input", f"image={pickled}")[0] == 2
    strings = golden.folder / "strings.npy"
    np.save(strings, np.array(["a"]))
    code, _, err = run("--input", f"image={strings}")
    assert code == 2
    assert "expected numbers" in err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackendFailed("no memory"), 5),
        (MemoryError(), 5),
        (OSError("disk"), 5),
        (KeyboardInterrupt(), 130),
    ],
    ids=repr,
)
def test_what_else_can_end_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def broken(*args: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(standalone_cli, "verify", broken)
    found, out, err = run()
    assert (found, out) == (code, "")
    assert err


def test_two_versions_of_the_files(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both distributions own these files: of one version they are the same."""
    versions = {"proofml": "2.0.0", "proofml-sumcheck-verifier": "1.0.0"}
    monkeypatch.setattr(standalone, "version", versions.__getitem__)
    standalone.check_installation.cache_clear()
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "pip uninstall proofml proofml-sumcheck-verifier" in err
    versions["proofml"] = "1.0.0"
    assert run()[0] == 0
    standalone.check_installation.cache_clear()


@pytest.mark.parametrize("module", ["standalone", "standalone_cli"])
def test_runs_as_a_module(
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    module: str,
) -> None:
    words = [module, str(golden.proof), "--key", str(golden.key)]
    monkeypatch.setattr(sys, "argv", words)
    monkeypatch.delitem(sys.modules, f"proofml.zkml.sumcheck.{module}")
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"proofml.zkml.sumcheck.{module}", run_name="__main__")
    assert ended.value.code == 0
    assert "ACCEPTED" in capsys.readouterr().out
