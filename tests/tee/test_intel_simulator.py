"""Simulated SGX and TDX quotes: what the verifier takes, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proofml.errors import UsageError
from proofml.tee import dcap, tdx
from proofml.tee.platform import RootKind
from proofml.tee.roots import Roots
from proofml.tee.simulator.intel import SVN, IntelAuthority, sgx_body, td_body
from proofml.tee.simulator.intel_certificates import DAY
from proofml.tee.simulator.intel_collateral import BEHIND, OLD_ADVISORIES
from tests.tee.conftest import NOW
from tests.tee.intel_cases import BODIES, DATA, Bench
from tests.tee.platform_cases import covers, number

OTHER_KEY = ed25519.Ed25519PrivateKey.generate().private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


@pytest.fixture(params=sorted(BODIES))
def bench(request: pytest.FixtureRequest, intel: IntelAuthority) -> Bench:
    return Bench(intel, request.param)


def test_dcap_qvl_accepts_it_under_this_root(bench: Bench) -> None:
    found = bench.verify()
    assert (found.root.kind, found.tcb_status) == (RootKind.SIMULATED, "UpToDate")
    assert found.report_data == DATA
    assert not found.attributes["debug"]
    assert found.not_before <= NOW <= found.not_after
    assert covers(bench.module.parse(bench.quote).fields, len(bench.quote))


def test_vendors_roots_do_not_know_it(bench: Bench) -> None:
    assert bench.judge(roots=Roots.vendor()) == "tee.4"


def test_what_is_measured_comes_from_the_signed_bytes(intel: IntelAuthority) -> None:
    registers = {name: bytes([index] * 48) for index, name in enumerate(
        ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3"), 1
    )}  # fmt: skip
    bench = Bench(intel, "tdx-v4")
    quote = intel.sign(td_body(report_data=DATA, registers=registers), NOW)
    found = bench.verify(quote)
    for name, value in registers.items():
        assert found.measurements[name] == value.hex()
    bench = Bench(intel, "sgx-v3")
    body = sgx_body(
        report_data=DATA, mrenclave=b"e" * 32, mrsigner=b"s" * 32, config_id=b"c" * 64, svn=7
    )
    found = bench.verify(intel.sign(body, NOW))
    assert found.measurements["mrenclave"] == (b"e" * 32).hex()
    assert found.measurements["mrsigner"] == (b"s" * 32).hex()
    assert found.measurements["configid"] == (b"c" * 64).hex()
    assert found.svns["isv_svn"] == 7


def test_debug_is_a_good_quote_for_appraisal(bench: Bench) -> None:
    quote = bench.authority.sign(bench.make(report_data=DATA, debug=True), NOW)
    found = bench.verify(quote)
    assert found.attributes["debug"]
    assert found.tcb_status == "UpToDate"


@pytest.mark.parametrize(
    "status",
    ["OutOfDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
     "OutOfDateConfigurationNeeded", "Revoked"],
)  # fmt: skip
def test_a_downgraded_tcb_is_a_good_quote_for_appraisal(bench: Bench, status: str) -> None:
    found = bench.verify(None, bench.made(status=status, advisories=("INTEL-SA-00001",)))
    assert found.tcb_status == status
    assert found.advisories == ("INTEL-SA-00001",)


@pytest.mark.parametrize("bit", sorted(tdx.TD_ATTRIBUTES.values()))
def test_attributes_of_a_domain_are_for_appraisal(intel: IntelAuthority, bit: int) -> None:
    """Each of them is a good quote, whatever `dcap-qvl` says of it, with its status."""
    for name in ("tdx-v4", "tdx-v5", "tdx-v5-td15"):
        bench = Bench(intel, name)
        for others in (0, 1 << 28):
            body = bench.make(report_data=DATA, attributes=1 << bit | others)
            found = bench.verify(intel.sign(body, NOW), bench.made(status="SWHardeningNeeded"))
            on = {one for one, at in tdx.TD_ATTRIBUTES.items() if at in (bit, 28 * bool(others))}
            if not others and bit:
                on.discard("debug")
            assert {one for one, value in found.attributes.items() if value} == on
            assert found.tcb_status == "SWHardeningNeeded"


@pytest.mark.parametrize("bit", sorted(dcap.SGX_ATTRIBUTES.values()))
def test_attributes_of_an_enclave_are_for_appraisal(intel: IntelAuthority, bit: int) -> None:
    bench = Bench(intel, "sgx-v3")
    quote = intel.sign(sgx_body(report_data=DATA, flags=1 << bit), NOW)
    found = bench.verify(quote, bench.made(status="ConfigurationNeeded"))
    (name,) = (one for one, value in found.attributes.items() if value)
    assert dcap.SGX_ATTRIBUTES[name] == bit
    assert found.tcb_status == "ConfigurationNeeded"


def test_a_platform_that_is_behind(bench: Bench) -> None:
    """Its certificate says so: no text was changed for it."""
    authority = bench.authority
    old = {"sgx_svn": SVN["sgx"] - BEHIND["sgx"]}, {"pce_svn": SVN["pce"] - 1}
    for changes in old:
        chain = authority.chain(NOW, pck=authority.pck(NOW, **changes))
        found = bench.verify(authority.sign(bench.body, NOW, chain=chain))
        assert (found.tcb_status, found.advisories) == ("OutOfDate", OLD_ADVISORIES)
    found = bench.verify(authority.sign(bench.body, NOW, qe_svn=SVN["qe"] - 1))
    assert (found.tcb_status, found.advisories) == ("OutOfDate", OLD_ADVISORIES)
    assert found.svns["qe_isv_svn"] == SVN["qe"] - 1


def test_a_platform_that_is_ahead(bench: Bench) -> None:
    authority = bench.authority
    ahead = authority.pck(NOW, sgx_svn=SVN["sgx"] + 1, pce_svn=SVN["pce"] + 1)
    quote = authority.sign(bench.body, NOW, chain=authority.chain(NOW, pck=ahead), qe_svn=99)
    found = bench.verify(quote)
    assert (found.tcb_status, found.advisories) == ("UpToDate", ())
    assert (found.svns["pce_svn"], found.svns["qe_isv_svn"]) == (SVN["pce"] + 1, 99)


@pytest.mark.parametrize("name", ["tdx-v4", "tdx-v5", "tdx-v5-td15"])
def test_a_module_that_is_behind(intel: IntelAuthority, name: str) -> None:
    bench = Bench(intel, name)
    for kind, status in (
        ({"tdx_svn": SVN["tdx"] - 1}, "OutOfDate"),
        ({"tdx_svn": SVN["tdx"] - 1, "module": 0}, "OutOfDate"),
        ({"tdx_svn": SVN["tdx"] + 1, "module": 0}, "UpToDate"),
        ({"module": 3}, "UpToDate"),
    ):
        found = bench.verify(intel.sign(bench.make(report_data=DATA, **kind), NOW))
        assert found.tcb_status == status
        assert found.advisories == (OLD_ADVISORIES if status == "OutOfDate" else ())
        assert found.svns["tee_tcb_svn0"] == kind.get("tdx_svn", SVN["tdx"])
        assert found.svns["tee_tcb_svn1"] == kind.get("module", 1)


def test_a_module_that_was_updated_under_a_domain(intel: IntelAuthority) -> None:
    """The domain started on an old one: Intel advises to start it again."""
    bench = Bench(intel, "tdx-v5-td15")
    body = bench.make(report_data=DATA, tdx_svn=SVN["tdx"] - 1, updated_svn=SVN["tdx"])
    quote = intel.sign(body, NOW)
    assert bench.verify(quote).tcb_status == "TDRelaunchAdvised"
    found = bench.verify(quote, bench.made(status="ConfigurationNeeded"))
    assert found.tcb_status == "TDRelaunchAdvisedConfigurationNeeded"
    body = bench.make(report_data=DATA, updated_svn=SVN["tdx"] - 1)
    assert bench.verify(intel.sign(body, NOW)).tcb_status == "UpToDate"


def test_a_quoting_enclave_that_is_revoked(bench: Bench) -> None:
    for status, whole in (("Revoked", "Revoked"), ("OutOfDate", "OutOfDate")):
        assert bench.verify(None, bench.made(qe_status=status)).tcb_status == whole


def test_the_processor_authority(bench: Bench) -> None:
    authority = bench.authority
    chain = authority.chain(
        NOW, pck=authority.pck(NOW, processor=True), issuer=authority.issuer(NOW, processor=True)
    )
    found = bench.verify(authority.sign(bench.body, NOW, chain=chain), bench.made(processor=True))
    assert found.tcb_status == "UpToDate"
    assert found.details["pck issuer"] == "Simulated SGX PCK Processor CA"


def test_until_when_it_holds(bench: Bench) -> None:
    """The first that ends: lists, then texts, then the PCK certificate."""
    for lists, texts, end in (
        (30, 40, 29 * DAY - 1),
        (40, 30, 29 * DAY),
        (5000, 5000, 7 * 365 * DAY),
    ):
        made = bench.made(list_days=lists, text_days=texts)
        found = bench.verify(None, made)
        assert (found.not_before, found.not_after) == (NOW - DAY, NOW + end)
        assert bench.judge(None, made, now=found.not_after) == "accepted"
        assert bench.judge(None, made, now=found.not_before) == "accepted"
        assert bench.judge(None, made, now=found.not_after + 1) != "accepted"
        assert bench.judge(None, made, now=found.not_before - 1) == "tee.5"
    for now in (-1, 0, NOW - DAY - 1, 2**40, 2**63):
        assert bench.judge(now=now) == "tee.5"


def test_what_a_quote_shows_by_itself(bench: Bench) -> None:
    found = bench.module.signatures(bench.quote, bench.roots, NOW)
    assert (found.status, found.path.root.kind) == (None, RootKind.SIMULATED)
    assert found.svns == {"pce_svn": SVN["pce"], "qe_isv_svn": SVN["qe"]}
    behind = bench.quote + b"remark"
    assert number(lambda: bench.module.signatures(behind, bench.roots, NOW)) == "tee.3"
    bench.module.signatures(behind, bench.roots, NOW, lenient=True)


def test_stored_and_loaded_again(intel: IntelAuthority, tmp_path: Path) -> None:
    intel.save(tmp_path / "root")
    again = IntelAuthority.load(tmp_path / "root")
    assert again.root_der == intel.root_der
    bench = Bench(again, "tdx-v4")
    assert bench.judge() == "accepted"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "root").iterdir())


def test_what_is_stored_is_broken(intel: IntelAuthority, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="delete the folder"):
        IntelAuthority.load(tmp_path / "none")
    for name, data in (
        ("root.der", b"x"),
        ("root.der", IntelAuthority.create(NOW).root_der),
        ("pck.pem", b"x"),
        ("tcb.pem", OTHER_KEY),
    ):
        intel.save(tmp_path / name)
        (tmp_path / name / name).write_bytes(data)
        with pytest.raises(UsageError, match="delete the folder"):
            IntelAuthority.load(tmp_path / name)
