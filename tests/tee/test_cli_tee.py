"""`proofml tee`: roots, reference values, nonces, a served enclave from end to end."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.cli.tee_reference import config_registers
from proofml.keys import SigningKey
from proofml.runtime import run_model
from proofml.store import Store
from proofml.tee.binding import Mode
from proofml.tee.enclave.isolation import ISOLATION
from proofml.tee.measure import code_measurement
from proofml.tee.nonces import Nonces
from proofml.tee.platform import Platform
from proofml.tee.reference import ReferenceFile
from proofml.tee.roots import Roots
from proofml.testing import Attacker, gemm

from .cli_cases import Cli, inspected, runner
from .workshop import Enclave, Verifier, X, authority, folder, model, root_of

ALL = tuple(Platform)
COMMAND = [sys.executable, "-c", "from proofml.cli import main; main()"]


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    return runner(tmp_path, monkeypatch, capsysbinary)


# -- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("inspect",), "Missing argument"),
        (("inspect", "none"), "none: no such file"),
        (("inspect", "."), "no such file"),
        (("inspect", "quote", "--at", "yesterday"), "seconds since 1970"),
        (("inspect", "quote", "--at", "-1"), "seconds since 1970"),
        (("inspect", "quote", "--at", "9" * 30), "seconds since 1970"),
        (("inspect", "quote", "--collateral", "none"), "none: no such file"),
        (("inspect", "quote", "--collateral", "x.npz"), "leave it out"),
        (("inspect", "proof", "--collateral", "x.npz"), "carries its own"),
        (("inspect", "proof", "--policy", "none.toml"), "cannot read the policy"),
        (("inspect", "reexec"), "expected a proof of tee, got one of reexec"),
        (("roots", "--policy", "bad.toml"), "backends.tee.rots"),
        (("nonce",), "--store"),
        (("nonce", "--store", "model.onnx"), "not a store of nonces"),
        (("nonce", "--store", "n", "--lifetime", "0"), "--lifetime"),
        (("reference-values", "model.onnx"), "--platform"),
        (("reference-values", "none", "--platform", "tdx"), "none: no such file"),
        (("reference-values", "model.onnx", "--platform", "tz"), "'tz' is not one of"),
        (
            ("reference-values", "model.onnx", "--platform", "tdx", "--shared", "all"),
            "--shared all: expected one of user",
        ),
        (
            ("reference-values", "model.onnx", "--platform", "tdx", "--requires", "torch=1"),
            "torch: expected one of",
        ),
        (
            ("reference-values", "model.onnx", "--platform", "tdx", "-o", "x.npz"),
            "x.npz: exists",
        ),
        (
            ("reference-values", "model.onnx", "--platform", "tdx", "--sign", "none"),
            "cannot read the key",
        ),
        (("serve", "model.onnx"), "--socket"),
        (("serve", "none.onnx", "--socket", "s"), "none.onnx: no such file"),
        (("serve", "model.onnx", "--socket", "s", "--challenge", "xy"), "hexadecimal"),
        (("serve", "model.onnx", "--socket", "s", "--algorithm", "rsa"), "'rsa' is not one of"),
        (("serve", "model.onnx", "--socket", "s", "--set", "server=t"), "server"),
        (("serve", "model.onnx", "--socket", "s", "--set", "quotes=no"), "one of auto"),
        (("checkpoint",), "--socket"),
        (("checkpoint", "--socket", "s", "--nonce", "xy"), "hexadecimal"),
        (("checkpoint", "--socket", "s", "-o", "x.npz"), "x.npz: exists"),
    ],
)
def test_wrong_use(cli: Cli, words: tuple[str, ...], text: str) -> None:
    enclave = Enclave.start(Platform.NITRO, Mode.INFERENCE)
    data = enclave.proof()
    Path("proof").write_bytes(data)
    Path("quote").write_bytes(Attacker.of(data).sections["quote"])
    Path("bad.toml").write_text("version = 1\n[backends.tee]\nrots = []\n")
    if "reexec" in words:
        assert cli("prove", "model.onnx", "x.npz", "-b", "reexec", "-o", "reexec").code == 0
    done = cli("tee", *words)
    assert done.code == 2, done.out + done.err
    assert text in done.err
    assert done.out == ""


def test_no_server(cli: Cli) -> None:
    done = cli("tee", "checkpoint", "--socket", "none.sock")
    assert done.code == 4
    assert "proofml tee serve" in done.err


def test_hardware_that_is_not_here(cli: Cli) -> None:
    words = ("--platform", "sgx", "--socket", "s", "--set", "quotes=hardware")
    done = cli("tee", "serve", "model.onnx", *words)
    assert done.code == 4
    assert not Path("s").exists()


# -- roots and nonces -----------------------------------------------------------------------------


def test_roots(cli: Cli) -> None:
    authority(Platform.TDX)
    mine, theirs = "ab" * 32, "cd" * 32
    table = f'[backends.tee]\nroots = ["{mine}"]\nsimulated_roots = ["{theirs}"]\n'
    Path("p.toml").write_text("version = 1\n" + table)
    rows = cli("tee", "roots", "--policy", "p.toml", "--json").json["roots"]
    vendors = {(one.platform, one.sha256, one.name) for one in Roots.vendor().anchors}
    shown = {(r["platform"], r["sha256"], r["name"]) for r in rows if r["kind"] == "vendor"}
    assert shown == vendors
    assert [r["sha256"] for r in rows if r["kind"] == "custom"] == [mine]
    simulated = {(r["platform"], r["sha256"]) for r in rows if r["kind"] == "simulated"}
    assert ("any", theirs) in simulated
    assert ("tdx", root_of(Platform.TDX)) in simulated
    lines = cli("tee", "roots").out.splitlines()
    assert len(lines) >= len(vendors) + 2
    assert all(theirs not in line and mine not in line for line in lines)


def test_nonce(cli: Cli) -> None:
    """Issued once, used once, by the store that a policy names."""
    value = cli("tee", "nonce", "--store", "n.db", "--lifetime", "60", "--json").json
    assert value["expires"] - value["issued"] == 60
    other = cli("tee", "nonce", "--store", "n.db").out.strip()
    assert len(bytes.fromhex(other)) == 32
    assert other != value["nonce"]
    used = Nonces(Path("n.db")).consume(bytes.fromhex(other), "0" * 64, int(time.time()))
    assert used.issued is not None


# -- reference values -----------------------------------------------------------------------------


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("mode", Mode)
def test_reference_values(cli: Cli, platform: Platform, mode: Mode) -> None:
    """What an enclave of this installation measures, model and mode included."""
    done = cli("tee", "reference-values", "model.onnx", "--platform", platform, "-o", "ref.json")
    assert done.code == 0, done.err
    (reference,) = ReferenceFile.read(Path("ref.json").read_bytes()).references
    assert reference.platform is platform
    code = code_measurement(platform)
    assert {k: v for k, v in reference.registers.items() if k in code} == {
        name: frozenset({value}) for name, value in code.items()
    }
    assert len(reference.registers) == 2
    data = Enclave.start(platform, mode).proof()
    verifier = Verifier({"measurements": [str(Path("ref.json").resolve())]})
    verdict = verifier.judge(data)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert "model.onnx" in verdict.guarantee.notes["tee.16 measurements"]
    # Of another model, another mode, or less isolation: other values.
    other = Mode.SESSION if mode is Mode.INFERENCE else Mode.INFERENCE
    for words in (
        ("other.onnx",),
        ("model.onnx", "--mode", other),
        ("model.onnx", "--shared", "uts"),
        ("model.onnx", "--requires", "onnxruntime=0.1"),
    ):
        path = f"{'-'.join(words)}.json"
        done = cli("tee", "reference-values", *words, "--platform", platform, "-o", path)
        assert done.code == 0, done.err
        wrong = Verifier({"measurements": [str(Path(path).resolve())]}).judge(data)
        assert any(reason.startswith("tee.16: ") for reason in wrong.reasons), words


def test_reference_values_of_the_isolated_process() -> None:
    """The real one: what its kernel did not grant is named, and then the values fit."""
    from proofml.backend import Context
    from proofml.tee.enclave.host import Host
    from proofml.tee.eventlog import EventLog

    from .workshop import quoter

    guest = quoter(Platform.TDX)
    context = Context(Store(folder() / "models"))
    with Host.start(
        model(), platform=Platform.TDX, quoter=guest, mode=Mode.SESSION, context=context
    ) as host:
        log = EventLog.read(host.session.attestation.event_log, Platform.TDX)
        found = config_registers(model(), Platform.TDX, [Mode.SESSION], host.missing_isolation)
        assert found == {"rtmr3": frozenset({log.registers["rtmr3"]})}


def test_reference_values_on_standard_output(cli: Cli) -> None:
    """To the byte: a file that somebody redirects is one that a policy can name."""
    words = ("tee", "reference-values", "model.onnx", "--platform", "nitro", "--name", "mine")
    done = cli(*words)
    assert done.code == 0
    (reference,) = ReferenceFile.read(done.out.encode()).references
    assert reference.name == "mine"


def test_signed_reference_values(cli: Cli) -> None:
    key = SigningKey.generate()
    key.save(Path("key.pem"))
    words = ("--platform", "sgx", "--sign", "key.pem", "-o", "ref.json")
    assert cli("tee", "reference-values", "model.onnx", *words).code == 0
    assert ReferenceFile.read(Path("ref.json").read_bytes()).signers == (key.public,)
    assert cli("tee", "reference-values", "model.onnx", *words).code == 2
    assert cli("tee", "reference-values", "model.onnx", *words, "--force").code == 0


def test_every_isolation_can_be_named() -> None:
    found = config_registers(model(), Platform.SGX, tuple(Mode), tuple(ISOLATION))
    assert len(found["configid"]) == 2
    assert not found["configid"] & config_registers(model(), Platform.SGX, tuple(Mode))["configid"]


# -- a served enclave, end to end -----------------------------------------------------------------


@dataclass
class Served:
    process: subprocess.Popen[str]
    place: Path
    said: Any

    @property
    def socket(self) -> Path:
        return self.place / "tee.sock"

    @property
    def session(self) -> Path:
        return self.place / "tee.sock.session"

    @property
    def allowed(self) -> list[str]:
        """What a verifier of a simulated enclave on this machine has to accept."""
        names = ["tee-root:simulated"]
        if self.said["not_isolated"]:
            names.append("tee-boundary:process-only")
        return [word for name in names for word in ("--allow", name)]


def start(place: Path, *words: str) -> Served:
    authority(Platform.TDX)  # made before the server asks for it
    (place / "model.onnx").write_bytes(gemm())
    process = subprocess.Popen(
        [*COMMAND, "tee", "serve", "model.onnx", "--socket", "tee.sock", "--json", *words],
        cwd=place,
        env=dict(os.environ, PROOFML_CACHE=str(folder() / "vendor")),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    return Served(process, place, json.loads(process.stdout.readline()))


def stop(served: Served) -> int:
    served.process.send_signal(signal.SIGTERM)
    try:
        return served.process.wait(30)
    finally:
        served.process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    found = start(
        tmp_path_factory.mktemp("serve"), "--platform", "tdx", "--challenge", b"asked".hex()
    )
    yield found
    assert stop(found) == 0
    assert not found.socket.exists()


def write_policy(*lines: str) -> None:
    table = [
        'measurements = "own-installation"',
        "min_svn = { tcb_evaluation = 17 }",
        f'challenge = "{b"asked".hex()}"',
        *lines,
    ]
    Path("p.toml").write_text("\n".join(["version = 1", "[backends.tee]", *table, ""]))


def test_sealed_proven_verified_opened(cli: Cli, served: Served) -> None:
    """A client who sees files alone, a host who sees ciphertext alone, and the model's output."""
    write_policy('nonces = "n.db"')
    rules = ("--policy", "p.toml", *served.allowed)
    sealing = ("seal", "model.onnx", "x.npz", "-b", "tee", "--to", served.session)
    # A simulated root is refused unless it is allowed by name.
    refused = cli(*sealing, "--policy", "p.toml")
    assert refused.code == 3
    assert "tee-root:simulated" in refused.err
    assert not Path("x.secret").exists()
    done = cli(*sealing, *rules)
    assert done.code == 0, done.err
    nonce = cli("tee", "nonce", "--store", "n.db").out.strip()
    words = ("prove", "model.onnx", "--sealed", "x.sealed", "--socket", served.socket)
    done = cli(*words, "--nonce", nonce)
    assert done.code == 0, done.err
    secret = X["x"].tobytes()
    assert all(secret not in Path(name).read_bytes() for name in ("x.sealed", "x.pml"))
    opening = ("open", "x.pml", "--secret", "x.secret", "--model", "model.onnx", "--nonce", nonce)
    done = cli(*opening, "--policy", "p.toml", "--json")
    assert done.code == 3
    assert not Path("x.outputs.npz").exists()
    done = cli(*opening, *rules, "-o", "y.npy", "--json")
    assert done.code == 0, done.err
    outputs = run_model(model(), X, Store(folder() / "vendor"))
    assert np.array_equal(np.load("y.npy"), outputs["y"])
    results = {check["check"]: check["result"] for check in done.json["checks"]}
    assert results["tee.4"] == "assumed"
    assert results["tee.15"] == results["tee.16"] == "passed"
    # The nonce is used up.
    done = cli(*opening, *rules, "-o", "z.npy", "--json")
    assert done.code == 1
    assert done.json["failed_check"] == "tee.15"
    assert not Path("z.npy").exists()


def test_findings_for_people(cli: Cli, served: Served) -> None:
    write_policy('tcb_statuses = ["OutOfDate"]')
    assert cli("prove", "model.onnx", "x.npz", "-b", "tee", "--socket", served.socket).code == 0
    words = ("verify", "x.pml", "--model", "model.onnx", "--policy", "p.toml", *served.allowed)
    done = cli(*words)
    assert done.code == 3
    lines = done.out.splitlines()
    assert "found" in lines
    assert any(line.startswith("  tee.17  debugging is off") for line in lines)
    finding, check = [line for line in lines if line.startswith("  tee.18  ")]
    assert "refuted (derived): UpToDate; accepted: OutOfDate" in finding
    assert check.startswith("  tee.18  refused")
    assert "UpToDate; accepted: OutOfDate" in check
    # What is told among the findings is not told again.
    (passed,) = [line for line in lines if line.startswith("  tee.17  pass")]
    assert passed.split() == ["tee.17", "pass", "appraisal"]
    done = cli(*words, "--json")
    results = {check["check"]: check["result"] for check in done.json["checks"]}
    assert results["tee.18"] == "refused"


def test_checkpoint(cli: Cli, served: Served) -> None:
    """Closes the tail: a later chain that lacks what it covers is a fork."""
    write_policy('checkpoints = ["c.json"]')
    prove = ("prove", "model.onnx", "x.npz", "-b", "tee", "--socket", served.socket, "--force")
    assert cli(*prove).code == 0
    words = ("tee", "checkpoint", "--socket", served.socket)
    done = cli(*words, "--session-file", served.session, "--nonce", "00ff", "-o", "c.json")
    assert done.code == 0, done.err
    value = json.loads(Path("c.json").read_text())["checkpoint"]
    assert value["nonce"] == "00ff"
    assert value["session"] == served.said["session"]
    since = str(value["counter"])
    assert cli(*prove, "--set", f"since={since}").code == 0
    rules = ("--model", "model.onnx", "--policy", "p.toml", *served.allowed)
    assert cli("verify", "x.pml", *rules).code == 0
    printed = cli(*words)
    assert json.loads(printed.out)["checkpoint"]["counter"] == value["counter"] + 1
    # By another session than the one that is known.
    other = Enclave.start(Platform.TDX, Mode.SESSION).session
    assert other is not None
    Path("other").write_bytes(other.to_bytes())
    done = cli(*words, "--session-file", "other")
    assert done.code == 1
    assert "tee.13" in done.err


def test_session_file_of_the_server(cli: Cli, served: Served) -> None:
    done = inspected(cli, served.session.read_bytes(), "--verify")
    assert done.code == 0
    value = done.json
    assert value["beside"]["session"]["digest"] == served.said["session"]
    assert value["beside"]["session"]["challenge"] == b"asked".hex()
    assert served.said["model"] == model().digest
    assert served.said["simulated"] is True
    # Nobody who wants another challenge seals to it.
    write_policy()
    text = Path("p.toml").read_text().replace(b"asked".hex(), "00ff")
    Path("p.toml").write_text(text)
    words = ("-b", "tee", "--to", served.session, "--policy", "p.toml", *served.allowed)
    done = cli("seal", "model.onnx", "x.npz", *words)
    assert done.code == 1
    assert "tee.15" in done.err
    write_policy()
    done = cli("seal", "other.onnx", "x.npz", *words)
    assert done.code == 1
    assert "tee.12" in done.err


def test_one_server_a_socket(cli: Cli, served: Served) -> None:
    done = cli("tee", "serve", "model.onnx", "--socket", served.socket)
    assert done.code == 2
    assert "a server is running there" in done.err
    assert served.socket.exists()


def test_no_socket_without_a_session_file(cli: Cli) -> None:
    authority(Platform.TDX)
    words = ("--platform", "tdx", "--socket", "s", "--session-file", "none/session")
    done = cli("tee", "serve", "model.onnx", *words)
    assert done.code == 2
    assert "none/session: cannot be written" in done.err
    assert not Path("s").exists()


def test_receipts_for_contracts(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "second"
    place.mkdir()
    served = start(place, "--algorithm", "secp256k1", "--session-file", "known", "--no-progress")
    try:
        value = inspected(cli, (place / "known").read_bytes()).json["beside"]["session"]
        assert value["receipt_algorithm"] == "secp256k1"
        assert value["challenge"] is None
    finally:
        assert stop(served) == 0
    assert not served.session.exists()


def test_a_process_that_dies_ends_its_server(tmp_path: Path) -> None:
    """The session is lost with its keys, and the exit code says so."""
    served = start(tmp_path, "--platform", "tdx")
    try:
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if _parent(path) == served.process.pid:
                    os.kill(int(path.name), signal.SIGKILL)
            except (OSError, ValueError, IndexError):
                continue  # it has just ended
        assert served.process.wait(30) == 5
    finally:
        served.process.kill()


def _parent(path: Path) -> int:
    return int((path / "stat").read_text().rpartition(")")[2].split()[1])


# -- proving in one step --------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [Platform.TDX, Platform.NITRO])
def test_prove_and_the_printed_command(cli: Cli, platform: Platform) -> None:
    authority(platform)
    for words in ((), ("--session",)):
        done = cli(
            *("prove", "model.onnx", "x.npz", "-b", "tee", "--platform", platform),
            *(*words, "--force", "--json"),
        )
        assert done.code == 0, done.err
        verified = cli(*shlex.split(done.json["verify"])[1:], "--json")
        assert verified.code == 0, verified.out
        detail = verified.json["statement"]["computation"]["detail"]
        assert detail["platform"] == platform
        assert detail["mode"] == ("session" if words else "inference")
        assert verified.json["guarantee"]["integrity"] == ["hardware"]
