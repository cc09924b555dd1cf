"""SEV-SNP reports: reading each field, and what is verified of good evidence."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import UsageError, VerificationError
from proofml.tee import sev_snp
from proofml.tee.platform import Attestation, Platform, RootKind
from proofml.tee.roots import Roots
from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.simulator.amd_report import Claims
from proofml.tee.snp_report import (
    HOST_VMPL,
    ORDER,
    PLATFORM_BITS,
    POLICY_ALWAYS,
    POLICY_BITS,
    REPORT_BYTES,
    SIGNED_BYTES,
    SigningKey,
    parse,
)
from tests.tee.amd_cases import (
    PRODUCTS,
    REAL_TIME,
    REPORT_DATA,
    attest,
    judge,
    of_product,
    quote,
    real_collateral,
    real_report,
    tcb,
    verify,
)
from tests.tee.conftest import NOW
from tests.tee.platform_cases import SNAPSHOTS, covers, listing, number

pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

VERSIONS = (2, 3, 4, 5)
R, S = SIGNED_BYTES, SIGNED_BYTES + 72
#: Fields that every version has, with their offsets (AMD 56860).
OFFSETS = {
    "version": 0x000,
    "guest_svn": 0x004,
    "policy": 0x008,
    "family_id": 0x010,
    "image_id": 0x020,
    "vmpl": 0x030,
    "signature_algo": 0x034,
    "current_tcb": 0x038,
    "platform_info": 0x040,
    "flags": 0x048,
    "reserved_4c": 0x04C,
    "report_data": 0x050,
    "measurement": 0x090,
    "host_data": 0x0C0,
    "id_key_digest": 0x0E0,
    "author_key_digest": 0x110,
    "report_id": 0x140,
    "report_id_ma": 0x160,
    "reported_tcb": 0x180,
    "chip_id": 0x1A0,
    "committed_tcb": 0x1E0,
    "current_build": 0x1E8,
    "current_minor": 0x1E9,
    "current_major": 0x1EA,
    "reserved_current": 0x1EB,
    "committed_build": 0x1EC,
    "committed_minor": 0x1ED,
    "committed_major": 0x1EE,
    "reserved_committed": 0x1EF,
    "launch_tcb": 0x1F0,
    "signature.r": 0x2A0,
    "signature.s": 0x2E8,
    "signature.reserved": 0x330,
}


def made(version: int = 3, **claims: object) -> bytes:
    """A report with R and S of 1, which is well-formed; nobody signed it."""
    fields = {"product": "Milan", "chip_id": b"c" * 64, "report_data": REPORT_DATA, **claims}
    data = bytearray(Claims(version=version, **fields).to_bytes())  # type: ignore[arg-type]
    data[R] = data[S] = 1
    return bytes(data)


def put(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


def judged(data: bytes) -> str:
    return number(lambda: parse(data))


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_field_stands_where_the_specification_has_it(version: int) -> None:
    report = parse(made(version))
    found = {field.name: field.offset for field in report.fields}
    assert OFFSETS.items() <= found.items()
    own = {name: at for name, at in found.items() if name not in OFFSETS}
    before = {"reserved_188": 0x188}
    after: dict[str, int] = {"reserved_1f8": 0x1F8}
    if version >= 3:
        before = {"cpuid_family": 0x188, "cpuid_model": 0x189, "cpuid_stepping": 0x18A}
        before["reserved_18b"] = 0x18B
    if version == 5:
        after = {"launch_mit_vector": 0x1F8, "current_mit_vector": 0x200, "reserved_208": 0x208}
    assert own == before | after
    assert covers(report.fields, REPORT_BYTES)


def test_what_was_written_is_read() -> None:
    claims = Claims(
        product="Milan",
        chip_id=b"c" * 64,
        report_data=REPORT_DATA,
        measurement=b"m" * 48,
        host_data=b"h" * 32,
        version=5,
        guest_svn=0x01020304,
        policy=POLICY_ALWAYS | 0x0107 | 1 << POLICY_BITS["single_socket"],
        family_id=b"f" * 16,
        image_id=b"i" * 16,
        vmpl=2,
        platform_info=0b10110101,
        author_key=True,
        mask_chip_key=True,
        signing_key=SigningKey.VLEK,
        id_key_digest=b"k" * 48,
        author_key_digest=b"a" * 48,
        report_id=b"r" * 32,
        tcb=tcb(snp=1),
        current=tcb(snp=4),
        committed=tcb(snp=2),
        launch=tcb(snp=3),
        cpuid=(0x19, 0x11, 7),
        firmware=(1, 58, 3),
        mitigations=(0x0102030405060708, 9),
    )
    report = parse(put(put(claims.to_bytes(), R, b"\5"), S, b"\6\7"))
    assert report.version == 5
    assert report.guest_svn == 0x01020304
    assert report.policy == claims.policy
    assert report.family_id == b"f" * 16
    assert report.image_id == b"i" * 16
    assert report.vmpl == 2
    assert report.platform_info == 0b10110101
    assert (report.author_key, report.mask_chip_key) == (True, True)
    assert report.signing_key is SigningKey.VLEK
    assert report.report_data == REPORT_DATA
    assert report.measurement == b"m" * 48
    assert report.host_data == b"h" * 32
    assert report.id_key_digest == b"k" * 48
    assert report.author_key_digest == b"a" * 48
    assert report.report_id == b"r" * 32
    assert report.report_id_ma == b"\xff" * 32
    assert sev_snp.tcb("Milan", report.reported_tcb)["snp"] == 1
    assert sev_snp.tcb("Milan", report.committed_tcb)["snp"] == 2
    assert sev_snp.tcb("Milan", report.launch_tcb)["snp"] == 3
    assert sev_snp.tcb("Milan", report.current_tcb)["snp"] == 4
    assert report.cpuid == (0x19, 0x11, 7)
    assert report.chip_id == b"c" * 64
    assert report.current_version == report.committed_version == (1, 58, 3)
    assert report.mitigations == (0x0102030405060708, 9)
    assert report.signature == (5, 0x0706)
    assert report.signed == claims.to_bytes()[:SIGNED_BYTES]


def test_what_a_version_does_not_have_is_not_there() -> None:
    assert parse(made(2)).cpuid is None
    assert parse(made(3)).cpuid == (0x19, 0x01, 1)
    assert parse(made(4)).mitigations is None
    assert parse(made(5, mitigations=(1, 2))).mitigations == (1, 2)


@pytest.mark.parametrize("size", [0, 1, 4, REPORT_BYTES - 1, REPORT_BYTES + 1, 2 * REPORT_BYTES])
def test_a_report_has_1184_bytes(size: int) -> None:
    data = made().ljust(size, b"\0")[:size]
    with pytest.raises(VerificationError) as caught:
        parse(data)
    assert (caught.value.check, caught.value.expected) == ("tee.3", "1184 bytes")
    assert caught.value.got == str(size)


@pytest.mark.parametrize("version", [0, 1, 6, 7, 0x0102, 0x03000000, 0xFFFFFFFF])
def test_a_version_that_is_not_known_is_refused(version: int) -> None:
    assert judged(put(made(), 0, version.to_bytes(4, "little"))) == "tee.3"


@pytest.mark.parametrize("version", VERSIONS)
def test_each_reserved_byte_has_to_be_zero(version: int) -> None:
    data = made(version)
    reserved = [field for field in parse(data).fields if "reserved" in field.name]
    assert len(reserved) == 6
    for field in reserved:
        for at in range(field.offset, field.offset + len(field.data)):
            assert judged(put(data, at, b"\x80")) == "tee.3", (field.name, at)


def test_bytes_that_a_later_version_uses_are_reserved_before() -> None:
    for version, at in ((2, 0x188), (2, 0x18A), (2, 0x1F8), (3, 0x1F8), (4, 0x200), (4, 0x207)):
        assert judged(put(made(version), at, b"\1")) == "tee.3"
        assert judged(put(made(5), at, b"\1")) == "accepted"


def test_bits_of_the_policy_are_those_of_the_specification() -> None:
    base = made(policy=POLICY_ALWAYS)
    assert judged(base) == "accepted"
    assert judged(put(base, 8, bytes(8))) == "tee.3"
    for bit in range(64):
        policy = POLICY_ALWAYS | 1 << bit
        expected = "accepted" if bit < 18 or bit in POLICY_BITS.values() else "tee.3"
        assert judged(put(base, 8, policy.to_bytes(8, "little"))) == expected, bit
    assert max(POLICY_BITS.values()) == 25


def test_bits_of_the_platform_are_those_of_the_specification() -> None:
    for bit in range(64):
        expected = "accepted" if bit in (0, 1, 2, 3, 4, 5, 7) else "tee.3"
        assert judged(put(made(), 0x40, (1 << bit).to_bytes(8, "little"))) == expected, bit
    assert sorted(PLATFORM_BITS.values()) == [0, 1, 2, 3, 4, 5, 7]


def test_the_flags_name_a_key_that_exists() -> None:
    for flags in range(64):
        data = put(made(), 0x48, flags.to_bytes(4, "little"))
        key = flags >> 2 & 7
        if key == 7:
            data = put(data, R, bytes(144))
        known = key in (0, 1, 7) and flags < 32
        assert judged(data) == ("accepted" if known else "tee.3"), flags
    for bit in range(5, 32):
        assert judged(put(made(), 0x48, (1 << bit).to_bytes(4, "little"))) == "tee.3"


@pytest.mark.parametrize(
    ("vmpl", "expected"),
    [(0, "accepted"), (3, "accepted"), (4, "tee.3"), (0xFFFFFFFE, "tee.3"), (HOST_VMPL, "accepted")]
    + [(1 << bit, "tee.3") for bit in (8, 31)],
)  # fmt: skip
def test_a_privilege_level_is_one_of_four_or_the_hosts(vmpl: int, expected: str) -> None:
    assert judged(put(made(), 0x30, vmpl.to_bytes(4, "little"))) == expected


@pytest.mark.parametrize("algorithm", [0, 2, 3, 0x101, 0x01000000, 0xFFFFFFFF])
def test_there_is_one_signature_algorithm(algorithm: int) -> None:
    assert judged(put(made(), 0x34, algorithm.to_bytes(4, "little"))) == "tee.3"


@pytest.mark.parametrize("at", [R, S])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "tee.3"),
        (1, "accepted"),
        (ORDER - 1, "accepted"),
        (ORDER, "tee.3"),
        (ORDER + 1, "tee.3"),
        (1 << 384, "tee.3"),
        ((1 << 384) + 1, "tee.3"),
        (1 << 575, "tee.3"),
    ],
)
def test_the_signature_is_two_numbers_below_the_order(at: int, value: int, expected: str) -> None:
    assert judged(put(made(), at, value.to_bytes(72, "little"))) == expected


def test_a_report_that_no_key_signed_has_no_signature() -> None:
    data = put(made(signing_key=SigningKey.NONE), R, bytes(144))
    assert parse(data).signature == (0, 0)
    for at in (R, R + 71, S, S + 47):
        assert judged(put(data, at, b"\1")) == "tee.3"


@given(st.binary(min_size=REPORT_BYTES, max_size=REPORT_BYTES) | st.binary(max_size=2000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert judged(data) in {"accepted", "tee.3"}


@given(st.sampled_from(VERSIONS), st.integers(4, REPORT_BYTES - 1), st.integers(0, 255))
def test_a_byte_of_a_report_is_read_or_refused(version: int, at: int, value: int) -> None:
    data = put(made(version), at, bytes((value,)))

    def read() -> None:
        assert b"".join(field.data for field in parse(data).fields) == data

    assert number(read) in {"accepted", "tee.3"}


# --- the layout of TCB versions --------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "names"),
    [
        ("Milan", ("bootloader", "tee", None, None, None, None, "snp", "microcode")),
        ("Genoa", ("bootloader", "tee", None, None, None, None, "snp", "microcode")),
        ("Turin", ("fmc", "bootloader", "tee", "snp", None, None, None, "microcode")),
    ],
)
def test_the_bytes_of_a_tcb_version(product: str, names: tuple[str | None, ...]) -> None:
    for at, name in enumerate(names):
        data = put(bytes(8), at, b"\x07")
        if name is None:
            assert number(lambda d=data: sev_snp.tcb(product, d)) == "tee.8"
        else:
            found = sev_snp.tcb(product, data)
            assert {key: value for key, value in found.items() if value} == {name: 7}
    assert set(sev_snp.tcb(product, bytes(8))) == {name for name in names if name}


# --- the report from hardware ----------------------------------------------------------------


def test_the_real_report_verifies_under_amds_pinned_root(vectors: Path) -> None:
    evidence = attest(real_report(vectors), real_collateral(vectors))
    found = sev_snp.verify(evidence, Roots.vendor(), REAL_TIME)
    assert found.platform is Platform.SEV_SNP
    assert (found.root.kind, found.root.name) == (RootKind.VENDOR, "ARK-Milan")
    assert found.report_data == b"\1\2\3\4\5" + bytes(59)
    assert found.measurements["measurement"] == (
        "b07af9620f3b839b47996422ddec6058338951d984e312115131ea82705eaf5b"
        "6bdf8a9ece31a5a608eb0cf2e4872b01"
    )
    assert set(found.measurements) == {
        "measurement",
        "host_data",
        "id_key_digest",
        "author_key_digest",
        "family_id",
        "image_id",
    }
    firmware = {"bootloader": 2, "tee": 0, "snp": 5, "microcode": 68}
    for when in ("", "reported_", "committed_", "launch_"):
        assert {name: found.svns[f"{when}{name}_svn"] for name in firmware} == firmware
    assert found.svns["guest_svn"] == 0
    # Its guest can be debugged, as the policy in the report says.
    on = {name for name, value in found.attributes.items() if value}
    assert on == {"debug", "smt", "smt_on", "vmpl0"}
    assert found.tcb_status is None
    assert found.details["product"] == "Milan"
    assert found.details["signing key"] == "VCEK"
    assert found.details["firmware"] == "1.49.3"
    assert found.details["revocation"] == "unknown"
    assert found.details["quote"] == "report of version 2"
    # The VCEK's seven years.
    assert (found.not_before, found.not_after) == (1663980928, 1884905728)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (1663980927, "tee.5"),
        (1663980928, "accepted"),
        (1884905728, "accepted"),
        (1884905729, "tee.5"),
        (0, "tee.5"),
    ],
)
def test_the_real_report_holds_as_long_as_its_certificates(
    vectors: Path, now: int, expected: str
) -> None:
    evidence = attest(real_report(vectors), real_collateral(vectors))
    assert number(lambda: sev_snp.verify(evidence, Roots.vendor(), now)) == expected


def test_the_real_report_is_refused_without_amds_root(vectors: Path, amd: AmdAuthority) -> None:
    evidence = attest(real_report(vectors), real_collateral(vectors))
    others = tuple(root for root in Roots.vendor().anchors if root.name != "ARK-Milan")
    assert number(lambda: sev_snp.verify(evidence, Roots(others), REAL_TIME)) == "tee.4"
    # The root is AMD's, and the policy says that it is another line's.
    (milan,) = (root for root in Roots.vendor().anchors if root.name == "ARK-Milan")
    line = Roots((replace(milan, product="Genoa"),))
    assert number(lambda: sev_snp.verify(evidence, line, REAL_TIME)) == "tee.8"


def test_the_real_certificates_do_not_vouch_for_what_others_sign(
    vectors: Path, amd: AmdAuthority
) -> None:
    data = real_report(vectors)
    evidence = attest(amd.sign(data), real_collateral(vectors))
    assert number(lambda: sev_snp.verify(evidence, Roots.vendor(), REAL_TIME)) == "tee.7"
    evidence = attest(data, amd.collateral(NOW))
    assert number(lambda: sev_snp.verify(evidence, Roots.vendor(), NOW)) == "tee.4"


@pytest.fixture(scope="module")
def real(vectors: Path) -> Attestation:
    return attest(real_report(vectors), real_collateral(vectors))


@given(at=st.integers(0, REPORT_BYTES - 1), change=st.integers(1, 255))
def test_a_changed_byte_of_the_real_report_is_refused(
    real: Attestation, at: int, change: int
) -> None:
    data = bytearray(real.quote)
    data[at] ^= change
    evidence = attest(bytes(data), real.collateral)
    found = number(lambda: sev_snp.verify(evidence, Roots.vendor(), REAL_TIME))
    assert found in {"tee.3", "tee.7"}


@given(draw=st.data(), change=st.integers(1, 255))
def test_a_changed_byte_of_the_real_certificates_is_refused(
    real: Attestation, draw: st.DataObject, change: int
) -> None:
    data = bytearray(real.collateral)
    data[draw.draw(st.integers(0, len(data) - 1))] ^= change
    evidence = attest(real.quote, bytes(data))
    found = number(lambda: sev_snp.verify(evidence, Roots.vendor(), REAL_TIME))
    assert found in {"tee.2", "tee.4", "tee.5"}


def test_the_real_report_is_the_snapshot(vectors: Path) -> None:
    report = parse(real_report(vectors))
    assert covers(report.fields, REPORT_BYTES)
    expected = (SNAPSHOTS / "snp_report_v2.txt").read_text(encoding="utf-8")
    assert listing(report.fields) == expected


def test_the_parser_agrees_with_plain_offsets(vectors: Path) -> None:
    data = real_report(vectors)
    report = parse(data)
    version, svn, policy = struct.unpack_from("<IIQ", data, 0)
    assert (report.version, report.guest_svn, report.policy) == (version, svn, policy)
    assert report.report_data == data[0x50:0x90]
    assert report.measurement == data[0x90:0xC0]
    assert report.chip_id == data[0x1A0:0x1E0]
    assert report.signature[0] == int.from_bytes(data[0x2A0:0x2E8], "little")


# --- simulated evidence ----------------------------------------------------------------------


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("vlek", [False, True], ids=["vcek", "vlek"])
@pytest.mark.parametrize("version", VERSIONS)
def test_good_evidence_is_accepted_under_its_root_alone(
    amd: AmdAuthority, product: str, vlek: bool, version: int
) -> None:
    authority = of_product(amd, product)
    data = quote(authority, vlek=vlek, version=version, measurement=b"m" * 48, mitigations=(3, 7))
    collateral = authority.collateral(NOW, vlek=vlek)
    found = verify(authority, data, collateral)
    assert found.root.kind is RootKind.SIMULATED
    assert found.report_data == REPORT_DATA
    assert found.measurements["measurement"] == (b"m" * 48).hex()
    assert found.details["product"] == product
    assert found.details["signing key"] == ("VLEK" if vlek else "VCEK")
    assert found.details["revocation"] == "checked"
    assert found.details.get("provider") == ("simulated provider" if vlek else None)
    assert found.details.get("mitigations") == ("0x7" if version == 5 else None)
    assert found.details.get("mitigations at launch") == ("0x3" if version == 5 else None)
    assert ("fmc_svn" in found.svns) is (product == "Turin")
    assert judge(authority, data, collateral, roots=Roots.vendor()) == "tee.4"
    assert judge(authority, data, collateral, roots=Roots(())) == "tee.4"


def test_the_revocation_list_bounds_how_long_evidence_holds(amd: AmdAuthority) -> None:
    data = quote(amd)
    found = verify(amd, data, amd.collateral(NOW))
    assert (found.not_before, found.not_after) == (NOW - 86400, NOW + 29 * 86400)
    without = verify(amd, data, amd.collateral(NOW, without_crl=True))
    assert without.details["revocation"] == "unknown"
    assert without.not_after == NOW + 7 * 365 * 86400


def test_each_security_version_is_the_lowest_of_three(amd: AmdAuthority) -> None:
    data = quote(amd, committed=tcb(snp=20, microcode=230), launch=tcb(snp=22, bootloader=3))
    svns = verify(amd, data, amd.collateral(NOW)).svns
    assert svns["snp_svn"] == 20
    assert svns["bootloader_svn"] == 3
    assert svns["microcode_svn"] == 219
    assert (svns["reported_snp_svn"], svns["launch_snp_svn"]) == (24, 22)
    assert svns["committed_microcode_svn"] == 230
    assert set(svns) == {
        f"{when}{name}_svn"
        for when in ("", "reported_", "committed_", "launch_")
        for name in ("bootloader", "tee", "snp", "microcode")
    } | {"guest_svn"}


@pytest.mark.parametrize("name", POLICY_BITS)
def test_each_bit_of_the_policy_is_an_attribute(amd: AmdAuthority, name: str) -> None:
    collateral = amd.collateral(NOW, without_crl=True)
    base = {"platform_info": 0, "vmpl": 1}
    off = verify(amd, quote(amd, policy=POLICY_ALWAYS, **base), collateral).attributes
    assert not any(off.values())
    policy = POLICY_ALWAYS | 1 << POLICY_BITS[name]
    on = verify(amd, quote(amd, policy=policy, **base), collateral).attributes
    assert {key for key, value in on.items() if value} == {name}


@pytest.mark.parametrize("name", PLATFORM_BITS)
def test_each_bit_of_the_platform_is_an_attribute(amd: AmdAuthority, name: str) -> None:
    collateral = amd.collateral(NOW, without_crl=True)
    data = quote(amd, policy=POLICY_ALWAYS, vmpl=3, platform_info=1 << PLATFORM_BITS[name])
    on = verify(amd, data, collateral).attributes
    assert {key for key, value in on.items() if value} == {name}


def test_the_host_asked(amd: AmdAuthority) -> None:
    found = verify(amd, quote(amd, vmpl=HOST_VMPL), amd.collateral(NOW))
    assert not found.attributes["vmpl0"]
    assert found.details["vmpl"] == "host"


def test_a_vlek_is_of_no_chip(amd: AmdAuthority) -> None:
    collateral = amd.collateral(NOW, vlek=True)
    for chip in (bytes(64), b"another chip".ljust(64, b".")):
        assert judge(amd, quote(amd, vlek=True, chip_id=chip), collateral) == "accepted"


def test_evidence_of_another_platform_is_a_mistake_of_the_callers(amd: AmdAuthority) -> None:
    evidence = Attestation(Platform.TDX, quote(amd), amd.collateral(NOW))
    with pytest.raises(UsageError, match="sev-snp was expected"):
        sev_snp.verify(evidence, Roots.vendor(), NOW)
