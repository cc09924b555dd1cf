"""`seal`, `prove --sealed` and `open` as a contract: files, exit codes, nothing overwritten."""

from __future__ import annotations

import io
import json
import os
import shlex
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.cli import group
from proofml.cli.common import run_guarded
from proofml.cli.seal import MAX_RECIPIENT_BYTES
from proofml.model import Model
from proofml.proof import Proof
from proofml.sealed import Sealed, Secret
from proofml.testing import Attacker, gemm

from .box import RECIPIENT, Box, evaluate

X = {"x": [[1.0, -2.0, 0.5, 3.25]]}
OPEN = ("open", "x.pml", "--secret", "x.secret", "--model", "model.onnx")


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def box(register: Any) -> Box:
    made = Box()
    register(made, register.Fake())
    return made


@pytest.fixture
def cli(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cli:
    """Runs a command in a fresh folder that holds a model, an input and somebody to seal to."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(gemm())
    Path("other.onnx").write_bytes(gemm(1))
    Path("x.json").write_text(json.dumps(X))
    Path("machine").write_bytes(RECIPIENT)

    def run(*words: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run_guarded(group, [str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    return run


SEAL = ("seal", "model.onnx", "x.json", "-b", "box", "--to", "machine")


@pytest.fixture
def proven(cli: Cli) -> Cli:
    """With x.sealed, x.secret and x.pml."""
    assert cli(*SEAL).code == 0
    done = cli("prove", "model.onnx", "--sealed", "x.sealed")
    assert done.code == 0, done.err
    return cli


def expected() -> Any:
    inputs = {"x": np.array(X["x"], np.float32)}
    return evaluate(Model.load(gemm()), inputs)["y"]


# -- the way through the house --------------------------------------------------------------------


def test_seal_prove_open(cli: Cli) -> None:
    done = cli(*SEAL, "--json")
    assert done.code == 0, done.err
    value = done.json
    assert (value["sealed"], value["secret"], value["backend"]) == ("x.sealed", "x.secret", "box")
    assert value["size"] == Path("x.sealed").stat().st_size
    assert value["sealed_sha256"] == Sealed.load(Path("x.sealed")).digest
    assert stat.S_IMODE(Path("x.secret").stat().st_mode) == 0o600
    words = shlex.split(value["prove"])
    assert words[0] == "proofml"
    proof = cli(*words[1:], "--nonce", "00ff", "--json")
    assert proof.code == 0, proof.err
    assert proof.json["proof"] == "x.pml"
    # What the prover is told to run verifies.
    assert cli(*shlex.split(proof.json["verify"])[1:]).code == 0
    done = cli(*OPEN, "--nonce", "00ff")
    assert done.code == 0, done.err
    assert "ACCEPTED" in done.out
    assert np.array_equal(np.load("x.outputs.npz")["y"], expected())
    assert stat.S_IMODE(Path("x.outputs.npz").stat().st_mode) == 0o600
    assert cli(*OPEN, "--nonce", "00fe", "--force").code == 1


def test_for_people(cli: Cli) -> None:
    done = cli(*SEAL, "-o", "a b", "--secret", "c d")
    assert done.code == 0
    assert "proofml prove model.onnx --sealed 'a b'" in done.out
    assert "c d: stays with you" in done.out


def test_default_names(cli: Cli) -> None:
    """Of standard input the model's name is left."""
    body = Path("x.json").read_bytes()
    done = cli("seal", "model.onnx", "-", "-b", "box", "--to", "machine", stdin=body)
    assert done.code == 0, done.err
    assert {"model.sealed", "model.secret"} <= set(os.listdir())
    assert cli("prove", "model.onnx", "--sealed", "model.sealed").code == 0
    assert Path("model.pml").exists()


@pytest.mark.parametrize(
    ("name", "load"),
    [
        ("y.npz", lambda path: np.load(path)["y"]),
        ("y.npy", np.load),
        ("y.json", lambda path: np.array(json.loads(Path(path).read_text())["y"], np.float32)),
    ],
)
def test_forms_of_the_outputs(proven: Cli, name: str, load: Callable[[str], Any]) -> None:
    """Each is one that `--output` reads."""
    done = proven(*OPEN, "-o", name, "--json")
    assert done.code == 0, done.err
    assert done.json["outputs"] == name
    assert done.json["names"] == ["y"]
    assert done.json["status"] == "accepted"
    assert load(name).dtype == np.float32
    assert np.array_equal(load(name), expected())


def test_several_outputs_with_awkward_names(proven: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from proofml.cli.open import _encoded
    from proofml.errors import UsageError

    outputs = {"file": np.zeros(2, np.int64), "a/b": np.array(np.nan, np.float32)}
    found = np.load(io.BytesIO(_encoded(Path("y.npz"), outputs)), allow_pickle=False)
    assert set(found.files) == set(outputs)
    assert np.isnan(found["a/b"])
    with pytest.raises(UsageError, match="holds one output, there are 2"):
        _encoded(Path("y.npy"), outputs)
    with pytest.raises(UsageError, match="no NaN"):
        _encoded(Path("y.json"), outputs)


def test_passphrase(cli: Cli) -> None:
    Path("pass").write_text("correct horse\n")
    Path("wrong").write_text("battery staple\n")
    assert cli(*SEAL, "--passphrase-file", "pass").code == 0
    assert cli("prove", "model.onnx", "--sealed", "x.sealed").code == 0
    for words in ((), ("--passphrase-file", "wrong")):
        done = cli(*OPEN, *words)
        assert done.code == 2
        assert "x.secret: " in done.err
        assert not Path("x.outputs.npz").exists()
    assert cli(*OPEN, "--passphrase-file", "pass").code == 0


# -- nothing is opened ----------------------------------------------------------------------------


def test_refused(proven: Cli, box: Box) -> None:
    Path("p.toml").write_text('version = 1\n[accept]\nassumptions = ["nonce:unpinned"]\n')
    for words in (("--policy", "p.toml"), ("--policy", "p.toml", "--json")):
        done = proven(*OPEN, *words)
        assert done.code == 3
        assert "nothing was decrypted" in done.err
    assert done.json["status"] == "refused"
    assert done.json["exit_code"] == 3
    assert box.opened == 0
    assert not Path("x.outputs.npz").exists()


def test_invalid(proven: Cli, box: Box) -> None:
    attacker = Attacker.of(Path("x.pml").read_bytes())
    attacker.sections["code"] = bytes(32)
    for data, number in ((attacker.forge(), "box.4"), (b"nothing", "core.1")):
        Path("x.pml").write_bytes(data)
        done = proven(*OPEN, "--json")
        assert done.code == 1
        assert done.json["failed_check"] == number
        assert "nothing was decrypted" in done.err
    assert box.opened == 0
    assert not Path("x.outputs.npz").exists()


def test_secret_of_another_seal(proven: Cli) -> None:
    assert proven(*SEAL, "--secret", "again", "-o", "again.sealed").code == 0
    done = proven("open", "x.pml", "--secret", "again", "--model", "model.onnx")
    assert done.code == 1
    assert "box.5" in done.err
    assert not Path("x.outputs.npz").exists()


def test_expectations_are_those_of_verify(proven: Cli) -> None:
    """`open` takes every option of `verify` that says what is expected."""
    from proofml.cli.open import command as open_command
    from proofml.cli.verify import command as verify_command

    options = {one.name for one in verify_command.params}
    assert options <= {one.name for one in open_command.params}
    done = proven("open", "x.pml", "--secret", "x.secret", "--model", "other.onnx", "--json")
    assert done.code == 1
    assert done.json["failed_check"] == "core.7"
    done = proven("open", "x.pml", "--secret", "x.secret")
    assert done.code == 3
    assert "model:unpinned" in done.out


# -- recipients -----------------------------------------------------------------------------------


def test_recipient(cli: Cli) -> None:
    """Exit codes as of `verify`: 1 bad evidence, 3 refused by the policy, 2 wrong use."""
    Path("other").write_bytes(b"somebody else")
    Path("p.toml").write_text("version = 1\n[backends.box]\nclosed = true\n")
    for words, code, text in (
        (("--to", "other"), 1, "box.6"),
        (("--to", "machine", "--policy", "p.toml"), 3, "backends.box.closed"),
        ((), 2, "--to"),
        (("--to", "none"), 2, "no such file"),
        (("--to", "."), 2, "no such file"),
    ):
        done = cli("seal", "model.onnx", "x.json", "-b", "box", *words)
        assert done.code == code, done.err
        assert text in done.err
        assert not {"x.sealed", "x.secret"} & set(os.listdir())


def test_large_recipient(cli: Cli) -> None:
    with Path("large").open("wb") as file:
        file.truncate(MAX_RECIPIENT_BYTES + 1)
    done = cli("seal", "model.onnx", "x.json", "-b", "box", "--to", "large")
    assert done.code == 2
    assert "at most" in done.err


# -- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("seal", "model.onnx", "x.json", "-b", "fake"), "fake seals nothing"),
        (("seal", "model.onnx", "x.json", "-b", "none"), "no backend 'none'"),
        (("seal", "model.onnx", "x.json"), "--backend"),
        (("seal", "model.onnx", "z.json", "-b", "box", "--to", "machine"), "the inputs x"),
        ((*SEAL, "--allow", "everything"), "--allow everything"),
        ((*SEAL, "--policy", "none.toml"), "cannot read the policy"),
        (("prove", "model.onnx"), "Missing argument"),
        (("prove", "model.onnx", "x.json", "--sealed", "x.sealed"), "leave out x.json"),
        (("prove", "model.onnx", "--sealed", "none", "-o", "n.pml"), "cannot be read"),
        (("prove", "model.onnx", "--sealed", "x.json", "-o", "n.pml"), "proofml seal"),
        (("prove", "model.onnx", "--sealed", "x.secret", "-o", "n.pml"), "proofml seal"),
        (("prove", "other.onnx", "--sealed", "x.sealed", "-o", "n.pml"), "another model"),
        (("prove", "model.onnx", "--sealed", "x.sealed", "-b", "fake", "-o", "n"), "with fake"),
        (("open", "x.pml"), "--secret"),
        (("open", "none.pml", "--secret", "x.secret", "-o", "n.npz"), "cannot be read"),
        (("open", "x.pml", "--secret", "none"), "none: secret cannot be read"),
        (("open", "x.pml", "--secret", "x.sealed"), "proofml seal"),
        (("open", "x.pml", "--secret", "x.secret", "-o", "y.txt"), ".npz, .npy, .json"),
        (("open", "x.pml", "--secret", "x.secret", "-o", "y"), ".npz, .npy, .json"),
    ],
)
def test_wrong_use(proven: Cli, words: tuple[str, ...], text: str) -> None:
    Path("z.json").write_text('{"z": [[1]]}')
    if words[:3] == SEAL[:3]:
        words = (*words, "-o", "new.sealed", "--secret", "new.secret")
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    done = proven(*words)
    assert done.code == 2, done.out + done.err
    assert text in done.err
    assert done.out == ""
    assert before == {name: Path(name).read_bytes() for name in os.listdir()}


def test_nothing_is_overwritten(proven: Cli) -> None:
    assert proven(*OPEN).code == 0
    before = {name: Path(name).read_bytes() for name in os.listdir()}
    for words in (
        SEAL,
        (*SEAL, "--secret", "new.secret"),
        (*SEAL, "-o", "new.sealed"),
        ("prove", "model.onnx", "--sealed", "x.sealed"),
        OPEN,
    ):
        done = proven(*words)
        assert done.code == 2
        assert "exists" in done.err
    assert before == {name: Path(name).read_bytes() for name in os.listdir()}
    # A secret is never written over, whatever is forced.
    assert proven(*SEAL, "--force").code == 2
    assert proven(*SEAL, "--force", "--secret", "new.secret").code == 0
    assert Secret.load(Path("new.secret")).sealed == Sealed.load(Path("x.sealed")).digest
    assert Path("x.secret").read_bytes() == before["x.secret"]


@pytest.mark.parametrize("secret", ["same", "./same", "link/same"])
def test_two_files_of_two_names(cli: Cli, secret: str) -> None:
    """Else the sealed file would take the secret's place, and nobody could open the outputs."""
    Path("link").symlink_to(".")
    for more in ((), ("--force",)):
        done = cli(*SEAL, "-o", "same", "--secret", secret, *more)
        assert done.code == 2
        assert "two names" in done.err
        assert not Path("same").exists()


def test_no_secret_without_sealed_inputs(cli: Cli) -> None:
    """Where the second file cannot be written, the first one is of nothing."""
    done = cli(*SEAL, "-o", "no folder/x.sealed")
    assert done.code == 2
    assert "no folder" in done.err
    assert not Path("x.secret").exists()


# -- what other backends see of it ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("--platform", "tdx"), "platform"),
        (("--session",), "mode"),
        (("--socket", "s"), "server"),
    ],
)
def test_options_of_one_backend(cli: Cli, words: tuple[str, ...], option: str) -> None:
    """They are short for --set, so a backend that has no such option says so."""
    done = cli("prove", "model.onnx", "x.json", "-b", "box", *words)
    assert done.code == 2
    assert f"box has no option {option}" in done.err
    done = cli("prove", "model.onnx", "x.json", "-b", "box", *words, "--set", f"{option}=a")
    assert done.code == 2
    assert "each key once" in done.err


def test_proof_is_the_same_without_sealing(cli: Cli) -> None:
    assert cli("prove", "model.onnx", "x.json", "-b", "box").code == 0
    assert Proof.read(Path("x.pml")).statement.inputs[0].sha256 is not None
    assert cli(*SEAL).code == 0
    done = cli(*OPEN)
    assert done.code == 1
    assert "box.5" in done.err
