"""The command line as a contract: exit codes, JSON, standard input, messages without traces."""

from __future__ import annotations

import io
import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.cli import COMMANDS, group
from proofml.cli.common import run_guarded
from proofml.proof import Proof
from proofml.testing import Attacker, gemm

X = {"x": [[1.0, -2.0, 0.5, 3.25]]}
NONCE = "00ff" * 4
PYTHON = [sys.executable, "-c", "from proofml.cli import main; main()"]


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
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command in a fresh folder that holds model.onnx and x.json."""
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(gemm())
    Path("other.onnx").write_bytes(gemm(1))
    Path("x.json").write_text(json.dumps(X))

    def run(*words: str | Path, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run_guarded(group, [str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def proven(cli: Cli) -> Cli:
    """The same with x.pml, proven by re-execution and signed by key.pem."""
    assert cli("keys", "generate", "key.pem").code == 0
    done = cli("prove", "model.onnx", "x.json", "-b", "reexec", "--sign", "key.pem")
    assert done.code == 0, done.err
    return cli


def forge(change: Callable[[Attacker], object]) -> str:
    """forged.pml: the honest proof with a change, digests recomputed, signed by the attacker."""
    attacker = Attacker.of(Path("x.pml").read_bytes())
    change(attacker)
    Path("forged.pml").write_bytes(attacker.forge())
    return "forged.pml"


# -- the way through the house --------------------------------------------------------------------


def test_prove_and_verify(cli: Cli) -> None:
    done = cli("prove", "model.onnx", "x.json", "-b", "reexec")
    assert done.code == 0
    assert "x.pml" in done.out
    assert "... onnxruntime" in done.err
    verified = cli("verify", "x.pml", "--model", "model.onnx", "--input", "x.json")
    assert verified.code == 0
    assert "ACCEPTED" in verified.out
    assert "reexec.4" in verified.out


@pytest.mark.parametrize("extra", [[], ["--nonce", NONCE]])
def test_the_printed_command_works(proven: Cli, extra: list[str]) -> None:
    """What `prove` prints is what verifies, to the letter."""
    done = proven(
        "prove", "model.onnx", "x.json", "-b", "reexec", "-o", "a b.pml", "--json", *extra
    )
    words = shlex.split(done.json["verify"])
    assert words[:2] == ["proofml", "verify"]
    verified = proven(*words[1:], "--json")
    assert verified.code == 0, verified.out
    assert verified.json["statement_sha256"] == done.json["statement_sha256"]
    assert done.json["size"] == Path("a b.pml").stat().st_size


def test_exit_code_of_the_process(proven: Cli) -> None:
    """0, 1, 2 and 3 as a shell sees them."""
    forged = forge(lambda a: a.set_value("output.0", np.zeros((1, 3), np.float32)))
    for words, code in (
        (["verify", "x.pml", "--model", "model.onnx"], 0),
        (["verify", forged, "--model", "model.onnx"], 1),
        (["verify", "x.pml"], 2),
        (["verify", "none.pml"], 2),
        (["no-such-command"], 2),
        (["verify", "x.pml", "--model", "model.onnx", "--policy", "strict.toml"], 3),
    ):
        Path("strict.toml").write_text("version = 1\n[accept]\nrequire_nonce = true\n")
        done = subprocess.run([*PYTHON, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_results_and_progress_are_apart(proven: Cli) -> None:
    done = proven("verify", "x.pml", "--model", "model.onnx", "--json")
    assert done.json["status"] == "accepted"
    assert "..." in done.err
    quiet = proven("verify", "x.pml", "--model", "model.onnx", "--json", "--no-progress")
    assert quiet.err == ""
    assert quiet.json["exit_code"] == 0


# -- exit code 1: the proof is bad ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda a: a.set_value("output.0", np.zeros((1, 3), np.float32)), "reexec.4"),
        (lambda a: a.set_value("input.0", np.zeros((1, 4), np.float32)), "core.9"),
        (lambda a: a.statement["model"].update(canonical_sha256="1" * 64), "core.7"),
        (lambda a: a.statement["computation"].update(kind="other"), "reexec.1"),
        (lambda a: a.sections.update(extra=b"x"), "reexec.2"),
    ],
)
def test_invalid(proven: Cli, change: Callable[[Attacker], object], number: str) -> None:
    name = forge(change)
    done = proven("verify", name, "--model", "model.onnx", "--input", "x.json", "--json")
    assert done.code == 1
    assert done.json["status"] == "invalid"
    assert done.json["failed_check"] == number
    assert done.json["reasons"][0].startswith(f"check {number}: ")


def test_not_a_proof(cli: Cli) -> None:
    for body in (b"", b"GIF89a", gemm()):
        Path("x.pml").write_bytes(body)
        done = cli("verify", "x.pml")
        assert done.code == 1
        assert "INVALID" in done.out
        assert cli("show", "x.pml").code == 1


def test_terminal_is_not_the_provers(proven: Cli) -> None:
    """Escape sequences in a proof are refused, and shown harmlessly in the message."""
    name = forge(lambda a: a.predicate.update(notes={"by": "x"}))
    attacker = Attacker.of(Path(name).read_bytes())
    attacker.predicate["notes"] = {"by": "\x1b[2J\x1b[32mACCEPTED"}
    attacker.predicate["no such key \x1b[2J"] = 1
    Path(name).write_bytes(attacker.forge(recompute=False))
    for command in ("verify", "show"):
        done = proven(command, name)
        assert done.code == 1
        assert "\x1b" not in done.out + done.err


# -- exit code 3: the policy says no --------------------------------------------------------------


def test_refused(proven: Cli) -> None:
    Path("p.toml").write_text('version = 1\n[accept]\nintegrity = ["cryptographic"]\n')
    done = proven("verify", "x.pml", "--model", "model.onnx", "--policy", "p.toml", "--json")
    assert done.code == 3
    assert done.json["status"] == "refused"
    assert "accept.integrity" in done.json["reasons"][0]
    assert done.json["policy"]["source"] == "p.toml"
    assert "REFUSED" in proven("verify", "x.pml", "--model", "model.onnx", "--policy", "p.toml").out


def test_allow(proven: Cli) -> None:
    words = ("--model", "model.onnx", "--nonce", NONCE)
    proven("prove", "model.onnx", "x.json", "-b", "reexec", "--nonce", NONCE, "-o", "n.pml")
    done = proven("verify", "n.pml", *words)
    assert done.code == 3
    assert "--allow nonce:unauthenticated" in done.out
    assert proven("verify", "n.pml", *words, "--allow", "nonce:unauthenticated").code == 0
    done = proven("verify", "n.pml", *words, "--allow", "nonce:unauthenticate")
    assert done.code == 3
    assert "did you mean nonce:unauthenticated?" in done.err
    key = json.loads(proven("keys", "show", "key.pem", "--json").out)["public"]
    Path("p.toml").write_text(f'version = 1\n[signers]\nkeys = ["{key}"]\n')
    proven(
        "prove",
        "model.onnx",
        "x.json",
        "-b",
        "reexec",
        "--nonce",
        NONCE,
        "-o",
        "s.pml",
        "--sign",
        "key.pem",
    )
    assert proven("verify", "s.pml", *words, "--policy", "p.toml").code == 0
    assert proven("verify", "n.pml", *words, "--policy", "p.toml").code == 3


# -- exit codes 4 and 5 ---------------------------------------------------------------------------


def test_backend_unavailable(proven: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofml.reexec.backend.runtime_version", lambda: None)
    monkeypatch.setattr("proofml.runtime.runtime_version", lambda: None)
    done = proven("prove", "model.onnx", "x.json", "-b", "reexec", "-o", "y.pml")
    assert done.code == 4
    assert "pip install 'proofml[reexec]'" in done.err
    assert proven("verify", "x.pml", "--model", "model.onnx").code == 4


def test_backend_failed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOFML_PYTHON_", "/no/such/python")
    done = cli("prove", "model.onnx", "x.json", "-b", "reexec")
    assert done.code in (2, 5)
    assert "cannot start a worker" in done.err


def test_time_limit(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The model was checked before; the worker that runs it hangs."""
    assert cli("inspect", "model.onnx").code == 0
    wrapper = tmp_path / "python"
    wrapper.write_text("#!/bin/sh\nexec sleep 600\n")
    wrapper.chmod(0o755)
    monkeypatch.setenv("PROOFML_PYTHON_", str(wrapper))
    done = cli("prove", "model.onnx", "x.json", "-b", "reexec", "--time-limit", "0.5")
    assert done.code == 5
    assert "expected an end within 0.5 s" in done.err
    assert "--time-limit" in done.err
    assert not Path("x.pml").exists()


# -- inputs ---------------------------------------------------------------------------------------


def test_forms_of_an_input(cli: Cli) -> None:
    """.json, .npy and .npz, as files and on standard input: one and the same statement."""
    array = np.array(X["x"], np.float32)
    np.save("x.npy", array)
    np.savez("x.npz", x=array)
    digests = set()
    for source in ("x.json", "x.npy", "x.npz", "-"):
        for body in (
            [Path(n).read_bytes() for n in ("x.json", "x.npy", "x.npz")] if source == "-" else [b""]
        ):
            done = cli(
                "prove", "model.onnx", source, "-b", "reexec", "--force", "--json", stdin=body
            )
            assert done.code == 0, done.err
            digests.add(done.json["statement_sha256"])
            assert Path(done.json["proof"]).name == ("model.pml" if source == "-" else "x.pml")
    assert len(digests) == 1
    words = ("verify", "x.pml", "--model", "model.onnx", "--input", "-")
    assert cli(*words, stdin=Path("x.npz").read_bytes()).code == 0
    assert cli(*words, stdin=b'{"x": [[0, 0, 0, 0]]}').code == 1


def test_expected_output(proven: Cli) -> None:
    assert proven("show", "x.pml", "--extract", "output.0", "-o", "y.npy").code == 0
    words = ("verify", "x.pml", "--model", "model.onnx", "--output")
    assert proven(*words, "y.npy").code == 0
    np.save("y.npy", np.load("y.npy") + 1)
    done = proven(*words, "y.npy", "--json")
    assert done.code == 1
    assert done.json["failed_check"] == "core.10"


def test_model_by_digest(proven: Cli) -> None:
    digest = Proof.read(Path("x.pml")).statement.model.canonical_sha256
    assert digest is not None
    done = proven("verify", "x.pml", "--model-sha256", "0" * 64, "--json")
    assert done.json["failed_check"] == "core.7"
    done = proven("verify", "x.pml", "--model-sha256", digest)
    assert done.code == 2
    assert "--model FILE" in done.err
    done = proven("verify", "x.pml", "--model", "other.onnx", "--json")
    assert done.json["failed_check"] == "core.7"


# -- wrong use: exit code 2, one message, what to do ----------------------------------------------

WRONG: dict[str, tuple[list[str], str]] = {
    "no arguments": (["prove"], "Missing argument"),
    "no input": (["prove", "model.onnx"], "Missing argument"),
    "no such option": (["verify", "x.pml", "--modle", "m"], "--model"),
    "no such model": (["prove", "none.onnx", "x.json"], "none.onnx: no such file"),
    "model is a folder": (["prove", ".", "x.json"], "expected an ONNX model"),
    "model is no model": (["prove", "x.json", "x.json"], "not an ONNX file"),
    "no such input": (["prove", "model.onnx", "none.json", "-o", "a"], "none.json: cannot be read"),
    "input is a folder": (["prove", "model.onnx", ".", "-o", "a"], "cannot be read"),
    "input of another name": (
        ["prove", "model.onnx", "z.json", "-o", "a"],
        "the inputs x",
    ),
    "input of another shape": (["prove", "model.onnx", "flat.json", "-o", "a"], "float32[1, 4]"),
    "ragged input": (["prove", "model.onnx", "ragged.json", "-o", "a"], "ragged.json"),
    "numbers beyond the dtype": (
        ["prove", "model.onnx", "huge.json", "-o", "a"],
        "'x' holds numbers outside float32",
    ),
    "input is text": (["prove", "model.onnx", "text.json", "-o", "a"], "list of numbers"),
    "input is a list": (["prove", "model.onnx", "list.json", "-o", "a"], "list"),
    "input is binary": (["prove", "model.onnx", "model.onnx", "-o", "a"], "expected .npz, .npy"),
    "pickled input": (["prove", "model.onnx", "pickle.npy", "-o", "a"], "pickle"),
    "no such backend": (["prove", "model.onnx", "x.json", "-b", "magic"], "known: "),
    "no such integrity": (["prove", "model.onnx", "x.json", "--integrity", "magic"], "known: "),
    "integrity nobody has": (
        ["prove", "model.onnx", "x.json", "--integrity", "honest-majority"],
        "no backend asked for can prove it",
    ),
    "cannot hide": (
        ["prove", "model.onnx", "x.json", "-b", "reexec", "--input-visibility", "private"],
        "cannot hide input",
    ),
    "no such visibility": (
        ["prove", "model.onnx", "x.json", "--input-visibility", "secret"],
        "'secret' is not one of",
    ),
    "nonce is no hex": (["prove", "model.onnx", "x.json", "--nonce", "xyz"], "hexadecimal"),
    "nonce is empty": (["prove", "model.onnx", "x.json", "--nonce", ""], "1 to 64 bytes"),
    "nonce is long": (["verify", "good.pml", "--nonce", "00" * 65], "1 to 64 bytes"),
    "option without value": (["prove", "model.onnx", "x.json", "--set", "key"], "KEY=VALUE"),
    "unknown option of a backend": (
        ["prove", "model.onnx", "x.json", "-b", "reexec", "--set", "a=b"],
        "reexec has no options",
    ),
    "no such key": (["prove", "model.onnx", "x.json", "--sign", "none.pem"], "cannot read the key"),
    "key is no key": (["prove", "model.onnx", "x.json", "--sign", "x.json"], "keys generate"),
    "vacuous memory": (["prove", "model.onnx", "x.json", "--memory-limit", "0"], "memory-limit"),
    "vacuous time": (["prove", "model.onnx", "x.json", "--time-limit", "-1"], "time-limit"),
    "no such proof": (["verify", "none.pml"], "none.pml: cannot be read"),
    "proof is a folder": (["verify", "."], "cannot be read"),
    "short digest": (["verify", "good.pml", "--model-sha256", "abc"], "64 lower-case"),
    "no such policy": (["verify", "good.pml", "--policy", "none.toml"], "cannot read the policy"),
    "policy is no TOML": (["verify", "good.pml", "--policy", "x.json"], "not TOML"),
    "policy without version": (["verify", "good.pml", "--policy", "empty.toml"], "version"),
    "no such assumption": (["verify", "good.pml", "--allow", "everything"], "--allow everything"),
    "model is needed": (["verify", "good.pml"], "--model FILE"),
    "no such section": (["show", "good.pml", "--extract", "weights"], "input.0, output.0"),
    "no key to show": (["keys", "show", "none.pem"], "cannot read the key"),
    "empty passphrase": (
        ["keys", "generate", "k.pem", "--passphrase-file", "blank.txt"],
        "expected a line of text, got an empty one",
    ),
    "no passphrase file": (
        ["keys", "generate", "k.pem", "--passphrase-file", "none.txt"],
        "--passphrase-file",
    ),
}


@pytest.fixture(scope="module")
def good_proof(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("good")
    (folder / "model.onnx").write_bytes(gemm())
    (folder / "x.json").write_text(json.dumps(X))
    words = ["prove", folder / "model.onnx", folder / "x.json", "-o", folder / "good.pml"]
    assert run_guarded(group, [str(word) for word in [*words, "-b", "reexec"]]) == 0
    return (folder / "good.pml").read_bytes()


@pytest.mark.parametrize("name", sorted(WRONG))
def test_wrong_use(cli: Cli, good_proof: bytes, name: str) -> None:
    words, expected = WRONG[name]
    Path("good.pml").write_bytes(good_proof)
    Path("z.json").write_text('{"z": [[1]]}')
    Path("flat.json").write_text('{"x": [1, 2, 3, 4]}')
    Path("ragged.json").write_text('{"x": [[1, 2], [3]]}')
    Path("text.json").write_text('{"x": [["a", "b", "c", "d"]]}')
    Path("huge.json").write_text('{"x": [[1e300, 0, 0, 0]]}')
    Path("list.json").write_text("[[1, 2, 3, 4]]")
    Path("empty.toml").write_text("")
    Path("blank.txt").write_text("\n")
    np.save("pickle.npy", np.array([{"x": 1}]), allow_pickle=True)
    before = set(os.listdir())
    done = cli(*words)
    assert done.code == 2, done.out + done.err
    assert expected in done.err
    assert done.out == ""
    assert set(os.listdir()) == before


def test_nothing_is_overwritten(proven: Cli) -> None:
    before = {name: Path(name).read_bytes() for name in ("x.pml", "key.pem")}
    Path("input.0").write_text("mine")
    for words in (
        ("prove", "model.onnx", "x.json", "-b", "reexec"),
        ("keys", "generate", "key.pem"),
        ("show", "x.pml", "--extract", "input.0"),
    ):
        done = proven(*words)
        assert done.code == 2
        assert "exists" in done.err
    assert before == {name: Path(name).read_bytes() for name in before}
    assert Path("input.0").read_text() == "mine"
    assert proven("prove", "model.onnx", "x.json", "-b", "reexec", "--force").code == 0
    assert proven("show", "x.pml", "--extract", "input.0", "--force").code == 0
    assert np.load("input.0").shape == (1, 4)


# -- keys, show, backends, help -------------------------------------------------------------------


def test_keys(cli: Cli) -> None:
    made = cli("keys", "generate", "a.pem", "--json").json
    assert cli("keys", "show", "a.pem").out.strip() == made["public"]
    assert stat.S_IMODE(Path("a.pem").stat().st_mode) == 0o600
    Path("pass").write_text("correct horse\n")
    assert cli("keys", "generate", "b.pem", "--passphrase-file", "pass").code == 0
    done = cli("keys", "show", "b.pem")
    assert done.code == 2
    assert "--passphrase-file" in done.err
    assert cli("keys", "show", "b.pem", "--passphrase-file", "pass").code == 0
    words = ("prove", "model.onnx", "x.json", "-b", "reexec", "--sign", "b.pem")
    assert cli(*words).code == 2
    assert cli(*words, "--passphrase-file", "pass").code == 0


def test_show(proven: Cli) -> None:
    done = proven("show", "x.pml")
    assert done.code == 0
    assert "claimed, not verified" in done.out
    assert "3.25" in done.out
    assert "3.25" not in proven("show", "x.pml", "--no-values").out
    value = proven("show", "x.pml", "--json").json
    assert value["backend"] == "reexec"
    assert [entry["name"] for entry in value["evidence"]] == ["input.0", "output.0"]
    assert value["signers"] == [proven("keys", "show", "key.pem").out.strip()]


def test_backends(cli: Cli) -> None:
    rows = {row["name"]: row for row in cli("backends", "--json").json["backends"]}
    assert rows["reexec"]["available"]
    assert rows["reexec"]["integrity"] == ["re-execution"]
    assert "reexec" in cli("backends").out


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: proofml ")
    assert COMMANDS[command].split()[0] in cli("--help").out


def test_version(cli: Cli) -> None:
    assert cli("--version").out.startswith("proofml, version 0.")


# -- environment ----------------------------------------------------------------------------------


def test_every_option_has_a_variable(proven: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOFML_VERIFY_MODEL", "model.onnx")
    monkeypatch.setenv("PROOFML_VERIFY_JSON", "1")
    assert proven("verify", "x.pml").json["status"] == "accepted"
    monkeypatch.setenv("PROOFML_VERIFY_INPUT", "x.json")
    passed = {
        c["check"] for c in proven("verify", "x.pml").json["checks"] if c["result"] == "passed"
    }
    assert "core.9" in passed
    monkeypatch.setenv("PROOFML_VERIFY_MODEL", "other.onnx")
    assert proven("verify", "x.pml").json["failed_check"] == "core.7"
    assert proven("verify", "x.pml", "--model", "model.onnx").code == 0
    monkeypatch.setenv("PROOFML_PROVE_BACKEND", "reexec")
    monkeypatch.setenv("PROOFML_PROVE_NONCE", NONCE)
    monkeypatch.setenv("PROOFML_PROVE_OUTPUT", "from-env.pml")
    assert proven("prove", "model.onnx", "x.json").code == 0
    assert Proof.read(Path("from-env.pml")).statement.nonce == bytes.fromhex(NONCE)
    monkeypatch.setenv("PROOFML_VERIFY_NONCE", NONCE)
    monkeypatch.setenv("PROOFML_VERIFY_ALLOW", "nonce:unauthenticated srs:local-dev")
    done = proven("verify", "from-env.pml", "--model", "model.onnx")
    assert done.json["status"] == "accepted"
    assert "srs:local-dev" in done.json["policy"]["assumptions"]
    monkeypatch.setenv("PROOFML_KEYS_GENERATE_PASSPHRASE_FILE", "x.json")
    assert proven("keys", "generate", "other.pem").code == 0
    assert proven("keys", "show", "other.pem").code == 2


def test_cache_in_the_environment(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("file").write_text("x")
    monkeypatch.setenv("PROOFML_CACHE", str(tmp_path / "file"))
    done = cli("prove", "model.onnx", "x.json", "-b", "reexec")
    assert done.code == 2
    assert "set PROOFML_CACHE" in done.err


def test_reader_goes_away(proven: Cli) -> None:
    """`proofml show | head`: no message, no trace."""
    command = f"{shlex.join(PYTHON)} show x.pml | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
