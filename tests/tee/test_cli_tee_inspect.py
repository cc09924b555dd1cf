"""`proofml tee inspect`: every field, and the checks that the evidence allows; any bytes at all."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.cli import group
from proofml.cli.common import run_guarded
from proofml.cli.tee_inspect import parse_time
from proofml.container import MAGIC
from proofml.errors import UsageError
from proofml.tee import platforms
from proofml.tee.binding import Mode
from proofml.tee.platform import Platform
from proofml.testing import Attacker, gemm

from .cli_cases import Cli, inspected, runner
from .nitro_cases import REAL_TIME, real_document
from .platform_cases import flipped
from .workshop import Enclave, folder, model, root_of

ALL = tuple(Platform)
#: When the collateral of both Intel quotes holds.
INTEL_TIME = "1750330800"
TDX_FILE = "dcap_qvl_tdx_quote_v4.bin"


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Cli:
    return runner(tmp_path, monkeypatch, capsysbinary)


# -- evidence from hardware -----------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    """What a piece of real evidence can show, and what it has to say."""

    platform: Platform
    words: tuple[str, ...]
    passed: str
    skipped: str = ""
    says: str = ""


REAL = {
    TDX_FILE: Real(
        Platform.TDX,
        ("--collateral", "dcap_qvl_tdx_quote_v4.collateral.json", "--at", INTEL_TIME),
        "345678",
        says="UpToDate",
    ),
    "dcap_qvl_sgx_quote_v3.bin": Real(
        Platform.SGX,
        ("--collateral", "dcap_qvl_sgx_quote_v3.collateral.json", "--at", INTEL_TIME),
        "345678",
        says="ConfigurationAndSWHardeningNeeded",
    ),
    "go_tdx_guest_spr_e4_quote_v4.bin": Real(
        Platform.TDX, ("--at", "2025-06-19T11:00:00Z"), "3457", "68"
    ),
    "go_sev_guest_snp_report.bin": Real(
        Platform.SEV_SNP,
        (
            *("--collateral", "go_sev_guest_milan_chain.pem"),
            *("--collateral", "go_sev_guest_vcek.der"),
            *("--at", "1700000000"),
        ),
        "34578",
        "6",
    ),
    "dstack_nitro_attestation.cose": Real(Platform.NITRO, ("--at", str(REAL_TIME)), "3457", "68"),
}


def real(vectors: Path, name: str) -> bytes:
    if name.endswith(".cose"):
        return real_document(vectors)
    return (vectors / "tee" / name).read_bytes()


@pytest.mark.parametrize("name", REAL)
def test_real_evidence(cli: Cli, vectors: Path, name: str) -> None:
    """Every byte is in a field, and each check passes as far as the evidence goes."""
    case, data = REAL[name], real(vectors, name)
    words = [str(vectors / "tee" / w) if w.startswith(("dcap", "go_")) else w for w in case.words]
    done = inspected(cli, data, *words)
    assert done.code == 0, done.out
    value = done.json
    assert (value["kind"], value["platform"], value["size"]) == ("quote", case.platform, len(data))
    assert b"".join(bytes.fromhex(one["hex"]) for one in value["fields"]) == data
    at = 0
    for one in value["fields"]:
        assert (one["offset"], one["size"]) == (at, len(one["hex"]) // 2)
        at += one["size"]
    assert done.results == {
        **{f"tee.{n}": "passed" for n in case.passed},
        **{f"tee.{n}": "not applicable" for n in case.skipped},
    }
    assert value["failed_check"] is None
    if case.says:
        assert value["verified"]["tcb_status"] == case.says
        assert value["verified"]["root"]["kind"] == "vendor"


@pytest.mark.parametrize("name", REAL)
def test_real_evidence_for_people(cli: Cli, vectors: Path, name: str) -> None:
    """The same names, offsets and meanings as lines; nothing is verified where nobody asks."""
    data = real(vectors, name)
    Path("file").write_bytes(data)
    value = cli("tee", "inspect", "file", "--json").json
    assert "checks" not in value
    short, full = cli("tee", "inspect", "file"), cli("tee", "inspect", "file", "--full")
    assert short.code == full.code == 0
    assert "nothing here is verified" in short.out
    for done in (short, full):
        lines = [line.split() for line in done.out.splitlines()[3:]]
        shown = [(line[0], line[1], line[2]) for line in lines]
        assert shown == [(str(f["offset"]), str(f["size"]), f["name"]) for f in value["fields"]]
    assert all(one["hex"] in full.out for one in value["fields"])
    named = [one for one in value["fields"] if one["meaning"]]
    assert len(named) > 0.6 * len(value["fields"])
    assert all(one["meaning"] in short.out for one in named)


@pytest.mark.parametrize(
    ("name", "words", "number", "passed"),
    [
        (TDX_FILE, ("--at", "1"), "tee.5", "3"),
        (
            "dcap_qvl_tdx_quote_v4.bin",
            ("--collateral", "tdx", "--at", "1800000000"),
            "tee.6",
            "3457",
        ),
        ("dcap_qvl_tdx_quote_v4.bin", ("--collateral", "sgx", "--at", INTEL_TIME), "tee.6", "3457"),
        ("dstack_nitro_attestation.cose", ("--verify",), "tee.5", "3"),
    ],
)
def test_real_evidence_at_another_time(
    cli: Cli, vectors: Path, name: str, words: tuple[str, ...], number: str, passed: str
) -> None:
    files = {
        kind: str(vectors / "tee" / f"dcap_qvl_{kind}_quote_v{version}.collateral.json")
        for kind, version in (("tdx", 4), ("sgx", 3))
    }
    done = inspected(cli, real(vectors, name), *(files.get(word, word) for word in words))
    assert done.code == 1
    assert done.json["failed_check"] == number
    assert done.json["verified"] is None
    made = [n for n, result in done.results.items() if result == "passed"]
    assert made == [f"tee.{n}" for n in passed if f"tee.{n}" != number]


# -- simulated evidence ---------------------------------------------------------------------------


@pytest.mark.parametrize("platform", ALL)
def test_proofs_and_session_files(cli: Cli, platform: Platform) -> None:
    """With what they carry beside the quote; their checks go as far as the evidence does."""
    for mode in Mode:
        enclave = Enclave.start(platform, mode, challenge=b"asked" if mode == "session" else None)
        files = {"proof": enclave.proof()}
        if enclave.session is not None:
            files["session file"] = enclave.session.to_bytes()
        for kind, data in files.items():
            done = inspected(cli, data, "--verify")
            assert done.code == 0, done.out
            value = done.json
            assert (value["kind"], value["platform"]) == (kind, platform)
            beside = value["beside"]
            assert beside["config"]["mode"] == mode
            assert beside["config"]["model"] == model().digest
            assert ("events" in beside) == (platform in (Platform.TDX, Platform.NITRO))
            assert ("session" in beside) == (mode is Mode.SESSION)
            if mode is Mode.SESSION:
                assert beside["session"]["challenge"] == b"asked".hex()
            assert ("receipts" in beside) == (mode is Mode.SESSION and kind == "proof")
            assert value["verified"]["root"]["kind"] == "simulated"
            last = 14 if kind == "proof" else 12
            assert list(done.results) == [f"tee.{n}" for n in range(3, last + 1)]
            assert set(done.results.values()) <= {"passed", "not applicable"}
            for number in ("tee.3", "tee.4", "tee.5", "tee.7", "tee.9", "tee.10", "tee.12"):
                assert done.results[number] == "passed"
            assert cli("tee", "inspect", "file", "--verify").code == 0


@pytest.mark.parametrize("platform", ALL)
def test_another_root(cli: Cli, platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Known by the cache, or by a policy; known to nobody, it is refused."""
    data = Enclave.start(platform, Mode.INFERENCE).proof()
    monkeypatch.setenv("PROOFML_CACHE", str(folder() / "another cache"))
    done = inspected(cli, data, "--verify")
    assert done.code == 1
    assert done.json["failed_check"] == "tee.4"
    assert done.results == {"tee.3": "passed", "tee.4": "failed"}
    for key, kind in (("roots", "custom"), ("simulated_roots", "simulated")):
        table = f'[backends.tee]\n{key} = ["{root_of(platform)}"]\n'
        Path("p.toml").write_text("version = 1\n" + table)
        done = inspected(cli, data, "--policy", "p.toml")
        assert done.code == 0
        assert done.json["verified"]["root"]["kind"] == kind


@pytest.mark.parametrize(
    ("name", "change", "number"),
    [
        ("quote", lambda q: flipped(q, 8 * 640), "tee.7"),
        ("quote", lambda q: flipped(q, 8 * 600), "tee.7"),
        ("quote", lambda q: q[:-1], "tee.3"),
        ("collateral", lambda c: c.replace(b"UpToDate", b"OutOfDat"), "tee.8"),
        ("session", lambda s: s.replace(b'"started":1', b'"started":2'), "tee.10"),
        ("event-log", lambda _: b"[]", "tee.11"),
        ("config", lambda c: c.replace(b"true", b"false", 1), "tee.12"),
        ("receipts", lambda r: r.replace(b'"counter":0', b'"counter":1'), "tee.13"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_first_check_that_fails(
    cli: Cli, name: str, change: Callable[[bytes], bytes], number: str
) -> None:
    """Said, after all that passed before it; the exit code tells."""
    attacker = Attacker.of(Enclave.start(Platform.TDX, Mode.SESSION).proof())
    attacker.sections[name] = change(attacker.sections[name])
    data = attacker.forge()
    done = inspected(cli, data, "--verify")
    assert done.code == 1
    if number == "tee.3":
        assert "check tee.3" in done.err  # there are no fields to show
        return
    assert done.json["failed_check"] == number
    assert [n for n, result in done.results.items() if result == "failed"] == [number]
    assert list(done.results)[-1] == number
    plain = cli("tee", "inspect", "file", "--verify")
    assert plain.code == 1
    assert "FAIL" in plain.out


def test_bare_quotes_of_every_platform(cli: Cli) -> None:
    """Without what vouches for them, as far as each goes by itself; with it, all the way."""
    for platform, alone in (
        (Platform.TDX, "3457"),
        (Platform.SGX, "3457"),
        (Platform.SEV_SNP, "3"),
        (Platform.NITRO, "3457"),
    ):
        enclave = Enclave.start(platform, Mode.INFERENCE)
        evidence = enclave.parts(enclave.infer()).attestation
        done = inspected(cli, evidence.quote, "--verify")
        assert done.code == 0, done.out
        passed = [n for n, result in done.results.items() if result == "passed"]
        assert passed == [f"tee.{n}" for n in alone]
        if evidence.collateral:
            Path("collateral").write_bytes(evidence.collateral)
            done = inspected(cli, evidence.quote, "--collateral", "collateral")
            assert done.code == 0, done.out
            assert done.results == {f"tee.{n}": "passed" for n in range(3, 9)}


def test_bytes_behind_a_quote_are_a_field(cli: Cli) -> None:
    enclave = Enclave.start(Platform.TDX, Mode.INFERENCE)
    quote = enclave.parts(enclave.infer()).attestation.quote
    done = inspected(cli, quote + b"a remark", "--verify")
    assert done.code == 0
    last = done.json["fields"][-1]
    assert (last["name"], bytes.fromhex(last["hex"])) == ("padding", b"a remark")
    assert "not signed" in last["meaning"]


def test_certificates_of_amd_in_any_form(cli: Cli) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding

    from proofml.tee.amd_collateral import read_collateral

    enclave = Enclave.start(Platform.SEV_SNP, Mode.INFERENCE)
    evidence = enclave.parts(enclave.infer()).attestation
    parts = read_collateral(evidence.collateral)
    assert parts.crl is not None
    Path("leaf").write_bytes(parts.leaf.public_bytes(Encoding.DER))
    Path("chain").write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in parts.chain[::-1]))
    words = ("--collateral", "leaf", "--collateral", "chain")
    done = inspected(cli, evidence.quote, *words)
    assert done.code == 0, done.out
    assert done.results["tee.6"] == "not applicable"
    for encoding in (Encoding.PEM, Encoding.DER):
        Path("crl").write_bytes(parts.crl.public_bytes(encoding))
        done = inspected(cli, evidence.quote, *words, "--collateral", "crl")
        assert done.code == 0, done.out
        assert done.results["tee.6"] == "passed"
    done = inspected(cli, evidence.quote, "--collateral", "chain")
    assert done.code == 2
    assert "got 0 of the signing key" in done.err
    Path("junk").write_bytes(b"junk")
    done = inspected(cli, evidence.quote, *words, "--collateral", "junk")
    assert done.code == 1
    assert "tee.6" in done.err


# -- any bytes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    found = [gemm(), b"", MAGIC]
    for platform in ALL:
        enclave = Enclave.start(platform, Mode.SESSION)
        assert enclave.session is not None
        data = enclave.proof()
        found += [enclave.session.attestation.quote, enclave.session.to_bytes(), data]
    return found


def _quiet(data: bytes) -> int:
    """In this process, output thrown away: an exit code, and never an exception."""
    from contextlib import redirect_stderr, redirect_stdout

    out, err = io.StringIO(), io.StringIO()
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO(data))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = run_guarded(group, ["tee", "inspect", "-", "--verify"])
    finally:
        sys.stdin = before
    assert "Traceback" not in err.getvalue()
    assert "\x1b" not in err.getvalue()
    return code


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_bytes_end_in_words(cli: Cli, seeds: list[bytes], data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(seeds))
    kind = data.draw(st.sampled_from(["flip", "cut", "splice", "random"]))
    if kind == "random" or not seed:
        body = data.draw(st.binary(max_size=2000))
    elif kind == "flip":
        body = flipped(seed, data.draw(st.integers(0, 8 * len(seed) - 1)))
    elif kind == "cut":
        body = seed[: data.draw(st.integers(0, len(seed) - 1))]
    else:
        at = data.draw(st.integers(0, len(seed)))
        body = seed[:at] + data.draw(st.binary(max_size=64)) + seed[at:]
    # 0 where the change is in what nothing vouches for, such as bytes behind a quote.
    assert _quiet(body) in (0, 1)


def test_terminal_is_not_the_evidences(cli: Cli) -> None:
    """Names come from the document on Nitro; escape sequences are shown, not obeyed."""
    import cbor2

    hostile = cbor2.dumps({"module_id\x1b[2J": 1})
    data = b"\x84" + cbor2.dumps(bytes.fromhex("a1013822")) + b"\xa0" + cbor2.dumps(hostile)
    done = inspected(cli, data + cbor2.dumps(bytes(96)))
    assert done.code == 1
    assert "\x1b" not in done.out + done.err


def test_parsers_agree_on_what_is_shown(cli: Cli) -> None:
    """The names are those of the parser that the verifier uses."""
    enclave = Enclave.start(Platform.NITRO, Mode.INFERENCE)
    quote = enclave.parts(enclave.infer()).attestation.quote
    value = inspected(cli, quote).json
    parsed = platforms.parse(Platform.NITRO, quote).fields
    assert [one["name"] for one in value["fields"]] == [one.name for one in parsed]
    assert [bytes.fromhex(one["hex"]) for one in value["fields"]] == [one.data for one in parsed]


# -- times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("1750330800", 1750330800),
        ("2025-06-19T11:00:00Z", 1750330800),
        ("2025-06-19T13:00:00+02:00", 1750330800),
        ("2025-06-19 11:00", 1750330800),
        ("2025-06-19", 1750291200),
    ],
)
def test_times(text: str, seconds: int) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1e9", "2025-13-01", "0001-01-01", "٣", "253402300800"])
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="--at"):
        parse_time(text)
