"""The backend end to end: isolated processes, files, verdicts, roots and measurements."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from proofml import api
from proofml.backend import Context, Request, get_backend
from proofml.checks import Result
from proofml.errors import BackendUnavailable, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.runtime import run_model
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tee import about
from proofml.tee.binding import Mode
from proofml.tee.platform import Platform
from proofml.tee.policy import TeePolicy
from proofml.tee.quotes import here
from proofml.tee.reference import ReferenceFile
from proofml.tensors import same_bits
from proofml.verdict import Status

from .workshop import (
    CONTEXT,
    NONCE,
    PLACE,
    Enclave,
    Verifier,
    X,
    assembled,
    code,
    folder,
    model,
    options,
    policy,
    result,
    root_of,
)

ALL = tuple(Platform)
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
    from proofml.canonical import dumps, loads
    from proofml.tee.one_form import check_form, normalised

    enclave = Enclave.start(Platform.TDX, Mode.INFERENCE)
    plain = enclave.parts(enclave.infer()).attestation
    value = loads(plain.collateral)
    spelt = {**value, "pck_crl": value["pck_crl"].upper(), "pck_certificate_chain": None}
    padded = replace(
        plain, quote=plain.quote + bytes(100), collateral=json.dumps(spelt, indent=1).encode()
    )
    assert normalised(padded) == plain
    check_form(plain)
    for one, number in (
        (replace(plain, quote=padded.quote), "tee.3"),
        (replace(plain, collateral=padded.collateral), "tee.2"),
        (replace(plain, collateral=dumps({**value, "pck_certificate_chain": None})), "tee.2"),
        (replace(plain, collateral=dumps({**value, "pck_crl": value["pck_crl"].upper()})), "tee.2"),
        (replace(plain, collateral=plain.collateral + b"\n"), "tee.2"),
        (replace(plain, collateral=b"no JSON"), "tee.2"),
        (replace(plain, collateral=b"1.5"), "tee.2"),
        (replace(plain, collateral=b'"\\ud800"'), "tee.2"),
        (replace(plain, collateral=b"[" * 100_000), "tee.2"),
    ):
        with pytest.raises(VerificationError) as caught:
            check_form(one)
        assert caught.value.check == number


def test_the_default_table_is_the_strict_one() -> None:
    assert TeePolicy.read(Policy()).references() == ()
