"""The backend end to end: isolated processes, files, verdicts, sealed inputs, running servers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml import api
from proofml.backend import Context, Request, get_backend
from proofml.checks import Result
from proofml.errors import BackendUnavailable, PolicyRefused, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.runtime import run_model
from proofml.sealed import Sealed, Secret
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tee import about
from proofml.tee.binding import Mode
from proofml.tee.enclave.client import Client
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.server import Server
from proofml.tee.platform import Platform
from proofml.tee.policy import TeePolicy
from proofml.tee.quotes import here
from proofml.tee.reference import ReferenceFile
from proofml.tee.session_file import SessionFile
from proofml.tensors import same_bits
from proofml.verdict import Status, Verdict

from .workshop import (
    LEVELS,
    NONCE,
    OTHER_X,
    Enclave,
    Verifier,
    X,
    assembled,
    code,
    folder,
    model,
    quoter,
    root_of,
)

ALL = tuple(Platform)
PLACE = Store(folder() / "backend")
CONTEXT = Context(PLACE)


def options(platform: Platform, mode: Mode, **more: str) -> dict[str, str]:
    simulator = str(folder() / "vendor")
    return {"platform": platform, "mode": mode, "simulator": simulator, **more}


def policy(*allow: str, **table: Any) -> Policy:
    """Pins this installation's code and the simulated roots."""
    section = {
        "measurements": "own-installation",
        "simulated_roots": [root_of(platform) for platform in ALL],
        "min_svn": LEVELS,
        **table,
    }
    section = {name: value for name, value in section.items() if value is not None}
    value = {"version": 1, "backends": {"tee": section}}
    found = Policy.from_mapping(value, source=str(folder() / "policy.toml"))
    return found.allow((about.ROOT_SIMULATED, about.BOUNDARY_PROCESS, *allow))


def result(verdict: Verdict, number: str) -> Result:
    (found,) = [check.result for check in verdict.checks if check.number == number]
    return found


EVERY = [(platform, mode) for platform in ALL for mode in Mode]


@pytest.fixture(scope="module", params=EVERY, ids="-".join)
def made(request: pytest.FixtureRequest) -> Proof:
    """By the isolated process, on each platform in each mode."""
    platform, mode = request.param
    return api.prove(
        model(),
        X,
        backend="tee",
        request=Request(options=options(platform, mode)),
        nonce=NONCE,
        context=CONTEXT,
    )


# -- a proof of the isolated process --------------------------------------------------------------


def test_a_proof_is_verified_with_nothing_of_the_provers(made: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.pml"
    made.write(path)
    context = Context(Store(tmp_path / "never seen"))
    expect = Expectation(model=model(), inputs=X, nonce=NONCE)
    verdict = api.verify(path, expect, policy(), context=context)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert verdict.guarantee.integrity == {Integrity.HARDWARE}
    assert verdict.guarantee.bits is None
    assert not verdict.guarantee.hidden
    assert about.ROOT_SIMULATED in verdict.guarantee.assumptions
    # The prover knew beforehand what has to be allowed.
    tee = {name for name in verdict.guarantee.assumptions if name in about.ASSUMPTIONS}
    assert tee <= made.hints
    # The same bits as by re-execution on this machine.
    again = run_model(model(), X, PLACE)
    assert same_bits(verdict.output("y"), again["y"])


def test_a_simulated_root_is_never_good_enough_by_default(made: Proof, tmp_path: Path) -> None:
    expect = Expectation(model=model(), nonce=NONCE)
    strict = Policy(sections=policy().sections)
    verdict = api.verify(made, expect, strict, context=CONTEXT)
    assert verdict.status is Status.REFUSED
    assert any(about.ROOT_SIMULATED in reason for reason in verdict.reasons)
    # Who has never heard of the root finds no root at all.
    verdict = api.verify(made, expect, Policy(), context=Context(Store(tmp_path)))
    assert verdict.status is Status.INVALID
    assert verdict.error is not None
    assert verdict.error.check == "tee.4"


def test_a_cache_that_holds_the_simulator_knows_its_root(made: Proof) -> None:
    """Such a verifier is told that it is simulated, and not that the proof is broken."""
    expect = Expectation(model=model(), nonce=NONCE)
    context = Context(Store(folder() / "vendor"))
    verdict = api.verify(made, expect, Policy(), context=context)
    assert verdict.status is Status.REFUSED
    assert {reason.split(" ")[1] for reason in verdict.reasons} >= {
        about.ROOT_SIMULATED,
        about.MEASUREMENT_UNPINNED,
    }
    verdict = api.verify(made, expect, Policy().allow(made.hints), context=context)
    assert verdict, verdict.reasons


def test_findings_are_among_the_notes(made: Proof) -> None:
    verdict = api.verify(made, Expectation(model=model()), policy(), context=CONTEXT)
    assert verdict.guarantee is not None
    notes = verdict.guarantee.notes
    assert notes["tee.16 measurements"].startswith("asserted (derived): ")
    assert notes["tee.17 debugging is off"] == "asserted (hardware): off"
    assert "age" in notes
    assert "simulated" in notes["root"]
    mode = made.statement.computation.detail["mode"]
    assert ("receipts" in notes) == (mode == "session")


# -- how the prover is asked ----------------------------------------------------------------------


def test_options_are_listed() -> None:
    backend = get_backend("tee")
    for wrong, words in (
        ({"platform": "trustzone"}, "one of tdx, sgx, sev-snp, nitro"),
        ({"mode": "batch"}, "one of inference, session"),
        ({"mode": "session", "receipts": "rsa"}, "one of ed25519, secp256k1"),
        ({"receipts": "ed25519"}, "mode=session"),
        ({"challenge": "00"}, "mode=session"),
        ({"mode": "session", "challenge": "xy"}, "hexadecimal"),
        ({"mode": "session", "challenge": ""}, "hexadecimal"),
        ({"quotes": "none"}, "one of auto, hardware, simulator"),
        ({"quotes": "hardware", "simulator": "x"}, "leave it out"),
        ({"since": "1"}, "server"),
        ({"server": "s", "mode": "session"}, "server has decided"),
        ({"server": "s", "since": "-1"}, "integer from 0"),
        ({"server": ""}, "expected a path"),
        ({"platform": "sgx", "collateral": "c"}, "of tdx"),
        ({"no-such-option": "1"}, "no-such-option"),
    ):
        support = backend.supports(model(), Request(options=wrong))
        assert not support.supported, wrong
        assert words in support.reasons[0], wrong


@pytest.mark.parametrize(
    "request_",
    [
        Request(input_visibility=Visibility.HASHED),
        Request(output_visibility=Visibility.PRIVATE),
        Request(parameters="hashed"),
        Request(max_error=0.1),
    ],
    ids=["hashed input", "private output", "hidden weights", "an error bound"],
)
def test_what_it_does_not_do(request_: Request) -> None:
    assert not get_backend("tee").supports(model(), request_).supported


def test_hardware_that_is_not_here() -> None:
    absent = next(platform for platform in ALL if platform not in here())
    asked = Request(options={"platform": absent, "quotes": "hardware"})
    with pytest.raises(BackendUnavailable, match="quotes=simulator"):
        api.prove(model(), X, backend="tee", request=asked, context=CONTEXT)


def test_it_is_taken_where_hardware_is_asked_for() -> None:
    found = route(model(), Request(), integrity=frozenset({Integrity.HARDWARE}))
    assert found.name == "tee"
    assert route(model(), Request()).name != "tee"


def test_setup_writes_a_policy_that_accepts(tmp_path: Path) -> None:
    asked = Request(options=options(Platform.TDX, Mode.INFERENCE))
    found = get_backend("tee").setup(model(), asked, CONTEXT)
    for name, path in found.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    file = ReferenceFile.read((tmp_path / "reference-values.json").read_bytes())
    assert dict(file.references[0].registers) == {
        name: frozenset({value}) for name, value in code(Platform.TDX).items()
    }
    loaded = Policy.load(tmp_path / "policy.toml")
    data = Enclave.start(Platform.TDX, Mode.INFERENCE).proof()
    expect = Expectation(model=model())
    verdict = api.verify(data, expect, loaded.allow([about.ROOT_SIMULATED]), context=CONTEXT)
    assert verdict, verdict.reasons
    verdict = api.verify(data, expect, loaded, context=CONTEXT)
    (reason,) = verdict.reasons
    assert about.ROOT_SIMULATED in reason
    # Another platform's proof is not meant.
    other = Enclave.start(Platform.NITRO, Mode.INFERENCE).proof()
    table = {**loaded.sections["tee"], "simulated_roots": [root_of(Platform.NITRO)]}
    strict = replace(loaded, sections={"tee": table}).allow([about.ROOT_SIMULATED])
    verdict = api.verify(other, expect, strict, context=CONTEXT)
    assert any(reason.startswith("tee.20: platform") for reason in verdict.reasons)


# -- measurements ---------------------------------------------------------------------------------


def test_nothing_pinned_is_not_this_installation() -> None:
    """Own values are taken only where the policy says so, even where they would fit."""
    data = Enclave.start(Platform.SGX, Mode.INFERENCE).proof()
    verdict = Verifier({"measurements": None}).judge(data)
    assert verdict.status is Status.REFUSED
    assert any(about.MEASUREMENT_UNPINNED in reason for reason in verdict.reasons)
    assert result(verdict, "tee.16") is Result.ASSUMED
    assert Verifier({"measurements": "own-installation"}).judge(data)


def test_a_file_of_reference_values(tmp_path: Path) -> None:
    from proofml.keys import SigningKey
    from proofml.tee.reference import Reference

    key = SigningKey.generate()
    registers = {name: frozenset({value}) for name, value in code(Platform.TDX).items()}
    path = tmp_path / "values.json"
    file = ReferenceFile((Reference(Platform.TDX, "release 1", registers),))
    path.write_bytes(file.to_bytes([key]))
    data = Enclave.start(Platform.TDX, Mode.INFERENCE).proof()
    table = {"measurements": [str(path)], "reference_keys": [key.public]}
    verdict = Verifier(table).judge(data)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    note = verdict.guarantee.notes["tee.16 measurements"]
    assert note.startswith("asserted (provider): ")
    assert key.public in note
    with pytest.raises(UsageError, match="signed by one of"):
        Verifier({**table, "reference_keys": ["ed25519:" + "00" * 32]}).judge(data)


# -- roots and time -------------------------------------------------------------------------------


def test_a_root_of_the_policys_own() -> None:
    data = Enclave.start(Platform.NITRO, Mode.INFERENCE).proof()
    table = {"simulated_roots": None, "roots": [root_of(Platform.NITRO)]}
    verdict = Verifier(table, allow=(about.ROOT_CUSTOM,)).judge(data)
    assert verdict, verdict.reasons
    verdict = Verifier(table).judge(data)
    assert verdict.status is Status.REFUSED
    assert about.ROOT_CUSTOM in verdict.reasons[0]


def test_a_pinned_time_is_assumed() -> None:
    data = Enclave.start(Platform.TDX, Mode.INFERENCE).proof()
    verdict = Verifier({"at": int(time.time())}).judge(data)
    assert verdict.status is Status.REFUSED
    assert about.TIME_PINNED in verdict.reasons[0]
    assert result(verdict, "tee.5") is Result.ASSUMED


def test_a_list_that_did_not_come_along_is_assumed() -> None:
    """A host may leave AMD's list out; whether the chip was revoked is then not known."""
    enclave = Enclave.start(Platform.SEV_SNP, Mode.INFERENCE)
    found = enclave.infer()
    parts = enclave.parts(found)
    bare = enclave.quoter.authority.collateral(int(time.time()), without_crl=True)
    data = assembled(found, replace(parts, attestation=replace(parts.attestation, collateral=bare)))
    verdict = Verifier().judge(data)
    assert verdict.status is Status.REFUSED
    (reason,) = verdict.reasons
    assert about.REVOCATION_UNKNOWN in reason
    assert result(verdict, "tee.6") is Result.ASSUMED


def test_a_process_that_is_not_isolated_says_so() -> None:
    shared = {name: name != "network" for name in ("user", "network", "pid", "mount", "ipc")}
    data = Enclave.start(Platform.TDX, Mode.SESSION, isolation=shared).proof()
    verdict = Verifier().judge(data)
    assert verdict.status is Status.REFUSED
    (reason,) = verdict.reasons
    assert about.BOUNDARY_PROCESS in reason
    assert Verifier(allow=(about.ROOT_SIMULATED, about.BOUNDARY_PROCESS)).judge(data)


def test_padding_and_spelling_are_taken_off_by_the_prover() -> None:
    """What guests and services add does not reach a proof; a proof has one form."""
    from proofml.canonical import loads
    from proofml.tee.one_form import check_form, normalised

    enclave = Enclave.start(Platform.TDX, Mode.INFERENCE)
    plain = enclave.parts(enclave.infer()).attestation
    value = loads(plain.collateral)
    spelt = {**value, "pck_crl": value["pck_crl"].upper()}
    padded = replace(
        plain, quote=plain.quote + bytes(100), collateral=json.dumps(spelt, indent=1).encode()
    )
    assert normalised(padded) == normalised(plain) == plain
    check_form(plain)
    for one, number in (
        (replace(plain, quote=padded.quote), "tee.3"),
        (replace(plain, collateral=padded.collateral), "tee.2"),
    ):
        with pytest.raises(VerificationError) as caught:
            check_form(one)
        assert caught.value.check == number


# -- freshness ------------------------------------------------------------------------------------


def test_a_nonce_is_kept_for_a_proof_that_is_refused(tmp_path: Path) -> None:
    """So that it can be accepted by another policy, once."""
    table = {"nonces": str(tmp_path / "nonces.sqlite")}
    data = Enclave.start(Platform.TDX, Mode.INFERENCE).proof()
    expect = Expectation(model=model(), nonce=NONCE)
    refused = Verifier(table, allow=(), expect=expect)
    willing = Verifier(table, expect=expect)
    for _ in range(2):
        assert refused.judge(data).status is Status.REFUSED
    verdict = willing.judge(data)
    assert verdict, verdict.reasons
    assert result(verdict, "tee.15") is Result.PASSED
    again = willing.judge(data)
    assert again.error is not None
    assert again.error.check == "tee.15"


def test_an_issued_nonce_needs_no_pin(tmp_path: Path) -> None:
    from proofml.tee.nonces import Nonces

    path = tmp_path / "nonces.sqlite"
    nonce = Nonces(path).issue(int(time.time()))
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    verifier = Verifier({"nonces": str(path)})
    assert verifier.judge(enclave.proof(enclave.infer(nonce=nonce)))


@pytest.mark.parametrize("mode", Mode)
def test_age(mode: Mode) -> None:
    """By the enclave's own clock, or the hypervisor's; a quote of Intel or AMD has no time."""
    early = time.time() - 4000
    enclave = Enclave.start(Platform.SGX, mode, clock=lambda: early)
    data = enclave.proof()
    old = Verifier({"max_age": 3600}).judge(data)
    assert old.status is Status.REFUSED
    assert all(reason.startswith("tee.15: ") for reason in old.reasons)
    assert result(old, "tee.15") is Result.REFUSED
    if mode is Mode.INFERENCE:
        assert "age not known" in old.reasons[0]
        # Where the verifier asked with a nonce, no clock is needed.
        expect = Expectation(model=model(), nonce=NONCE)
        assert Verifier({"max_age": 3600}, expect=expect).judge(data)
    else:
        assert len(old.reasons) == 2
        assert Verifier({"max_age": 5000}).judge(data)


def test_age_of_a_nitro_document() -> None:
    data = Enclave.start(Platform.NITRO, Mode.INFERENCE).proof()
    assert Verifier({"max_age": 60}).judge(data)
    late = {"max_age": 60, "at": int(time.time()) + 100}
    verdict = Verifier(late, allow=(about.ROOT_SIMULATED, about.TIME_PINNED)).judge(data)
    assert verdict.status is Status.REFUSED
    assert verdict.reasons[0].startswith("tee.15: quote: 10")


def test_a_clock_that_is_ahead() -> None:
    ahead = time.time() + 10_000
    enclave = Enclave.start(Platform.TDX, Mode.SESSION, clock=lambda: ahead)
    verdict = Verifier({"max_age": 3600}).judge(enclave.proof())
    assert verdict.status is Status.REFUSED
    assert "in the future" in verdict.reasons[0]


def test_a_challenge_vouches_for_the_session() -> None:
    long_ago = time.time() - 10_000
    enclave = Enclave.start(Platform.TDX, Mode.SESSION, challenge=b"asked", clock=lambda: long_ago)
    data = enclave.proof()
    table = {"challenge": b"asked".hex(), "max_age": 3600}
    expect = Expectation(model=model(), nonce=NONCE)
    assert Verifier(table, expect=expect).judge(data)
    verdict = Verifier({"max_age": 3600}, expect=expect).judge(data)
    assert [reason.split(":")[1].strip() for reason in verdict.reasons] == ["session"]


# -- receipts -------------------------------------------------------------------------------------


def segment(enclave: Enclave, first: int) -> bytes:
    """A proof of the next inference with its receipts from number `first` on."""
    found = enclave.infer()
    parts = enclave.parts(found)
    return assembled(found, replace(parts, receipts=parts.receipts[first:]))


def test_a_chain_from_its_start() -> None:
    enclave = Enclave.start(Platform.TDX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    verdict = Verifier().judge(enclave.proof())
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert verdict.guarantee.notes["receipts"] == "receipts 0 to 3; no checkpoint is held"


def test_a_chain_from_somewhere() -> None:
    enclave = Enclave.start(Platform.TDX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    data = segment(enclave, 2)
    verdict = Verifier().judge(data)
    assert verdict.status is Status.REFUSED
    (reason,) = verdict.reasons
    assert about.RECEIPTS_PARTIAL in reason
    assert result(verdict, "tee.14") is Result.ASSUMED
    assert Verifier(allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)


@pytest.mark.parametrize("held", [0, 1, 2, 3, 4])
def test_a_checkpoint_that_the_verifier_holds(tmp_path: Path, held: int) -> None:
    """Number 3 is the proof's; its receipts begin at 2."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    marks = [enclave.checkpoint()]
    data = b""
    for nonce in range(4):
        if nonce == 3:
            data = segment(enclave, 2)
        else:
            enclave.infer(OTHER_X, bytes([nonce]))
        marks.append(enclave.checkpoint())
    path = tmp_path / "checkpoint.json"
    path.write_bytes(marks[held])
    other = Enclave.start(Platform.SGX, Mode.SESSION)
    (tmp_path / "other.json").write_bytes(other.checkpoint())
    table = {"checkpoints": [str(tmp_path / "other.json"), str(path)]}
    verdict = Verifier(table, allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    words = {
        0: "comes earlier",
        1: "comes earlier",
        2: "through the checkpoint at 2",
        3: "through the checkpoint at 3",
        4: "they end at the checkpoint at 4",
    }
    assert words[held] in verdict.guarantee.notes["receipts"]
    assert (about.RECEIPTS_PARTIAL in verdict.guarantee.assumptions) == (held != 2)


def test_a_partial_chain_that_misses_a_held_checkpoint(tmp_path: Path) -> None:
    """Partial or not, receipts that contradict what is held are a fork."""
    from proofml.tee.receipt_signer import ReceiptSigner

    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    path = tmp_path / "checkpoint.json"
    path.write_bytes(enclave.checkpoint())
    found = enclave.infer()
    parts = enclave.parts(found)
    assert parts.session is not None
    signer = ReceiptSigner(enclave.service._started.session.signer._secret, parts.session)
    forked = [signer.receipt("33" * 32, int(time.time()) + 1) for _ in range(3)]
    forked.append(signer.receipt(found.statement.digest, int(time.time()) + 1))
    data = assembled(found, replace(parts, receipts=tuple(forked[1:])))
    table = {"checkpoints": [str(path)]}
    verdict = Verifier(table, allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)
    assert verdict.error is not None
    assert verdict.error.check == "tee.14"


@pytest.mark.parametrize("content", [b"", b"{}", b"not a checkpoint", b"[" * 5000])
def test_checkpoints_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(content)
    data = Enclave.start(Platform.SGX, Mode.SESSION).proof()
    with pytest.raises(UsageError, match="checkpoint"):
        Verifier({"checkpoints": [str(path)]}).judge(data)


def test_a_checkpoint_that_the_session_did_not_sign(tmp_path: Path) -> None:
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    path = tmp_path / "checkpoint.json"
    signed = enclave.checkpoint()
    path.write_bytes(signed.replace(b'"counter":0', b'"counter":1'))
    with pytest.raises(UsageError, match="does not verify"):
        Verifier({"checkpoints": [str(path)]}).judge(enclave.proof())


# -- a running server, and sealed inputs ----------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """An enclave of the simulated SEV-SNP behind a socket, and its session file beside it."""
    path = folder() / "serve.sock"
    with Host.start(
        model(),
        platform=Platform.SEV_SNP,
        quoter=quoter(Platform.SEV_SNP),
        mode=Mode.SESSION,
        context=CONTEXT,
    ) as host:
        host.session.save(path.with_suffix(".session"))
        running = Server(host, path, log=lambda line: None)
        thread = threading.Thread(target=running.run)
        thread.start()
        try:
            yield path
        finally:
            running.stop()
            thread.join()


def by_server(path: Path, **more: str) -> Request:
    return Request(options={"server": str(path), **more})


def test_a_running_enclave_proves_for_many(server: Path, tmp_path: Path) -> None:
    first = api.prove(model(), X, backend="tee", request=by_server(server), context=_knowing())
    assert api.verify(first, Expectation(model=model()), policy(), context=CONTEXT)
    # A long chain is not sent again to whoever holds a checkpoint.
    with Client(server) as client:
        mark = client.checkpoint(NONCE)
        count = len(client.receipts(0))
    assert count
    (tmp_path / "mark.json").write_bytes(mark)
    from proofml.canonical import loads

    since = loads(mark)["checkpoint"]["counter"]
    request = by_server(server, since=str(since))
    second = api.prove(model(), OTHER_X, backend="tee", request=request, context=_knowing())
    expect = Expectation(model=model(), inputs=OTHER_X)
    held = policy(checkpoints=[str(tmp_path / "mark.json")])
    verdict = api.verify(second, expect, held, context=CONTEXT)
    assert verdict, verdict.reasons
    verdict = api.verify(second, expect, policy(), context=CONTEXT)
    assert about.RECEIPTS_PARTIAL in verdict.reasons[0]


def _knowing() -> Context:
    """A prover whose cache holds the simulator of the server's platform."""
    return Context(Store(folder() / "vendor"))


def test_a_server_of_another_model(server: Path) -> None:
    with pytest.raises(UsageError, match="expected a server that runs"):
        api.prove(model(1), X, backend="tee", request=by_server(server), context=_knowing())


def test_no_server(tmp_path: Path) -> None:
    request = by_server(tmp_path / "none.sock")
    with pytest.raises(BackendUnavailable, match="tee serve"):
        api.prove(model(), X, backend="tee", request=request, context=CONTEXT)


@pytest.fixture(scope="module")
def sealed(server: Path) -> tuple[Sealed, Secret]:
    recipient = server.with_suffix(".session").read_bytes()
    return api.seal(
        model(), X, backend="tee", recipient=recipient, policy=policy(), context=CONTEXT
    )


@pytest.fixture(scope="module")
def proof(server: Path, sealed: tuple[Sealed, Secret]) -> Proof:
    """By whoever runs the enclave; of the inputs he has the sealed message alone."""
    return api.prove(model(), sealed[0], request=by_server(server), nonce=NONCE, context=_knowing())


def test_sealed_inputs_are_proven_verified_and_opened(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    message, secret = sealed
    for data in (message.to_bytes(), proof.to_bytes()):
        assert X["x"].tobytes() not in data
    verdict = api.verify(proof, Expectation(model=model(), nonce=NONCE), policy(), context=CONTEXT)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert set(verdict.guarantee.hidden) == {"input", "output"}
    assert {claim.visibility for _, claim in proof.statement.tensors()} == {Visibility.HASHED}
    outputs = api.open(proof, secret, verdict)
    again = run_model(model(), X, PLACE)
    assert same_bits(outputs["y"], again["y"])
    assert outputs["y"].tobytes() not in proof.to_bytes()


def test_a_sealed_proof_can_be_compared_with_the_salt(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    """Whoever holds inputs and salt insists on them; whoever has no salt cannot."""
    from proofml.tee.sealing import Secret as Kept

    salt = Kept.read(sealed[1].data).salt
    outputs = run_model(model(), X, PLACE)
    whole = Expectation(model=model(), inputs=X, outputs=outputs, salt=salt)
    verdict = api.verify(proof, whole, policy(), context=CONTEXT)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert not {"input:unpinned", "output:unpinned"} & verdict.guarantee.assumptions
    for wrong, number in (
        (replace(whole, inputs=OTHER_X), "core.9"),
        (replace(whole, outputs={"y": np.zeros((1, 3), np.float32)}), "core.10"),
        (replace(whole, salt=bytes(32)), "core.9"),
        (replace(whole, salt=None), "core.9"),
    ):
        refused = api.verify(proof, wrong, policy(), context=CONTEXT)
        assert refused.error is not None
        assert refused.error.check == number


def test_nothing_is_opened_without_an_accepted_verdict(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    verdict = api.verify(proof, Expectation(model=model()), Policy(), context=_knowing())
    assert verdict.status is Status.REFUSED
    with pytest.raises(PolicyRefused):
        api.open(proof, sealed[1], verdict)


def test_a_proof_over_other_sealed_inputs_is_not_opened(server: Path, proof: Proof) -> None:
    recipient = server.with_suffix(".session").read_bytes()
    _, other = api.seal(
        model(), X, backend="tee", recipient=recipient, policy=policy(), context=CONTEXT
    )
    verdict = api.verify(proof, Expectation(model=model()), policy(), context=CONTEXT)
    assert verdict
    with pytest.raises(VerificationError) as caught:
        api.open(proof, other, verdict)
    assert caught.value.check == "tee.2"


def test_sealed_inputs_need_their_enclave(sealed: tuple[Sealed, Secret]) -> None:
    with pytest.raises(UsageError, match="server=SOCKET"):
        api.prove(model(), sealed[0], context=CONTEXT)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda file: replace(file, config=file.config.replace(b"true", b"false", 1)), "tee.12"),
        (lambda file: replace(file, session=_with_key(file.session)), "tee.10"),
        (lambda file: replace(file, attestation=_other().attestation), "tee.10"),
    ],
    ids=["another configuration", "a key of his own", "the quote of another session"],
)
def test_nothing_is_sealed_to_a_session_that_does_not_verify(
    server: Path, change: Any, number: str
) -> None:
    file = change(SessionFile.load(server.with_suffix(".session")))
    with pytest.raises(VerificationError) as caught:
        _seal(file.to_bytes())
    assert caught.value.check == number


def _other() -> SessionFile:
    session = Enclave.start(Platform.SEV_SNP, Mode.SESSION).session
    assert session is not None
    return session


def _with_key(record: bytes) -> bytes:
    from proofml.tee.binding import Session

    return replace(Session.read(record), sealing_key=bytes(31) + b"\x09").to_bytes()


def _seal(recipient: bytes | None, rules: Policy | None = None, of: Model | None = None) -> Sealed:
    sealed, _ = api.seal(
        of or model(),
        X,
        backend="tee",
        recipient=recipient,
        policy=rules or policy(),
        context=CONTEXT,
    )
    return sealed


def test_nothing_is_sealed_to_another_model_or_under_a_policy_that_refuses(server: Path) -> None:
    recipient = server.with_suffix(".session").read_bytes()
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, of=model(1))
    assert caught.value.check == "tee.12"
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, Policy())
    assert caught.value.check == "tee.4"
    for table in (
        {"measurements": {"measurement": ["00" * 48]}},
        {"measurements": None},
        {"platforms": ["tdx"]},
        {"max_age": 1, "at": int(time.time()) + 5000},
    ):
        with pytest.raises(PolicyRefused):
            _seal(recipient, policy(**table))
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, policy(challenge="00ff"))
    assert caught.value.check == "tee.15"
    with pytest.raises(PolicyRefused):
        _seal(recipient, replace(policy(), assumptions=frozenset()))
    with pytest.raises(UsageError, match="session file"):
        _seal(None)
    with pytest.raises(VerificationError) as caught:
        _seal(b"anything")
    assert caught.value.check == "tee.2"


def test_the_default_table_is_the_strict_one() -> None:
    assert TeePolicy.read(Policy()).references() == ()
