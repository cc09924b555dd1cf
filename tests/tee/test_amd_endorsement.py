"""A leaf that is not the report's (tee.8), and good evidence that a policy refuses (tee.16 to 20).

Every certificate and report here is signed as it should be: the attacker has the chip's key, and
where a certificate is changed the intermediate's. What is asserted is the check that refuses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from proofml.checks import Checks
from proofml.tee.amd_collateral import (
    HARDWARE_OID,
    PRODUCT_OID,
    PROVIDER_OID,
    RESERVED_OIDS,
    STRUCT_OID,
    TCB_OIDS,
)
from proofml.tee.appraisal import appraise, record
from proofml.tee.checks import CHECKS
from proofml.tee.platform import Platform
from proofml.tee.policy import TeePolicy
from proofml.tee.reference import Reference
from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.simulator.amd_certificates import Link, integer, text
from proofml.tee.simulator.amd_report import POLICY, TCB, sign
from proofml.tee.snp_report import (
    HOST_VMPL,
    POLICY_BITS,
)
from tests.tee.amd_cases import (
    REPORT_DATA,
    holding,
    judge,
    of_product,
    quote,
    refusal,
    tcb,
    verify,
)
from tests.tee.conftest import NOW
from tests.tee.record_cases import configuration


@pytest.fixture(scope="module")
def collateral(amd: AmdAuthority) -> bytes:
    return amd.collateral(NOW)


@pytest.fixture(scope="module")
def good(amd: AmdAuthority) -> bytes:
    return quote(amd)


# --- the leaf and the report (tee.8) ---------------------------------------------------------


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("part", ["bootloader", "tee", "snp", "microcode"])
def test_a_reported_tcb_other_than_the_certificates_is_refused(
    amd: AmdAuthority, part: str, change: int
) -> None:
    """A newer certificate for an older report, and the other way round."""
    base = tcb(tee=9)
    other = {**base, part: base[part] + change}
    for report, certificate in ((base, other), (other, base)):
        changed = amd.collateral(NOW, leaf=amd.leaf(NOW, components=certificate))
        error = refusal(amd, quote(amd, tcb=report), changed)
        assert error.check == "tee.8"
        assert "reported TCB" in str(error)
    same = amd.collateral(NOW, leaf=amd.leaf(NOW, components=other))
    assert judge(amd, quote(amd, tcb=other), same) == "accepted"


def test_the_fmc_of_a_turin_is_part_of_its_tcb(amd: AmdAuthority) -> None:
    turin = of_product(amd, "Turin")
    assert judge(turin, quote(turin), turin.collateral(NOW)) == "accepted"
    assert judge(turin, quote(turin, tcb=tcb(fmc=2)), turin.collateral(NOW)) == "tee.8"


@pytest.mark.parametrize("field", [0x180, 0x1E0, 0x1F0])
def test_bytes_of_a_tcb_without_a_meaning_have_to_be_zero(
    amd: AmdAuthority, collateral: bytes, field: int
) -> None:
    for at in range(2, 6):
        data = bytearray(amd.claims(report_data=REPORT_DATA).to_bytes())
        data[field + at] = 1
        assert judge(amd, amd.sign(bytes(data)), collateral) == "tee.8"


def test_another_chip_is_refused(amd: AmdAuthority, good: bytes, collateral: bytes) -> None:
    chip = amd.chip_id
    for wrong in (bytes(64), chip[:-1] + b"x", b"x" + chip[1:], chip[::-1]):
        assert judge(amd, quote(amd, chip_id=wrong), collateral) == "tee.8"
    leaf = amd.leaf(NOW)
    other = replace(leaf, extensions={**leaf.extensions, HARDWARE_OID: b"x" * 64})
    assert judge(amd, good, amd.collateral(NOW, leaf=other)) == "tee.8"
    error = refusal(amd, quote(amd, chip_id=bytes(64)), collateral)
    assert "the host masks it" in str(error)


def test_a_turins_chip_id_has_zeros_behind_it(amd: AmdAuthority) -> None:
    turin = of_product(amd, "Turin")
    wrong = turin.chip_id[:8] + b"\1" + bytes(55)
    assert judge(turin, quote(turin, chip_id=wrong), turin.collateral(NOW)) == "tee.8"


def test_the_product_line_is_the_roots(amd: AmdAuthority, good: bytes, collateral: bytes) -> None:
    """As the vendors' pinned roots have it; a simulated one has none."""
    assert judge(amd, good, collateral, roots=holding(amd, "Milan")) == "accepted"
    for other in ("Genoa", "Turin"):
        assert judge(amd, good, collateral, roots=holding(amd, other)) == "tee.8"
        line = of_product(amd, other)
        data, theirs = quote(line), line.collateral(NOW)
        assert judge(line, data, theirs, roots=holding(line, other)) == "accepted"
        assert judge(line, data, theirs, roots=holding(line, "Milan")) == "tee.8"


@pytest.mark.parametrize(
    ("product", "cpuid", "expected"),
    [
        ("Milan", (0x19, 0x00, 0), "accepted"),
        ("Milan", (0x19, 0x0F, 2), "accepted"),
        ("Milan", (0x19, 0x10, 0), "tee.8"),
        ("Milan", (0x19, 0x11, 1), "tee.8"),
        ("Milan", (0x1A, 0x01, 1), "tee.8"),
        ("Milan", (0x17, 0x01, 1), "tee.8"),
        ("Milan", (0, 0, 0), "tee.8"),
        ("Genoa", (0x19, 0x10, 0), "accepted"),
        ("Genoa", (0x19, 0x1F, 2), "accepted"),
        ("Genoa", (0x19, 0xA0, 2), "accepted"),
        ("Genoa", (0x19, 0xAF, 2), "accepted"),
        ("Genoa", (0x19, 0x9F, 2), "tee.8"),
        ("Genoa", (0x19, 0xB0, 2), "tee.8"),
        ("Genoa", (0x19, 0x20, 2), "tee.8"),
        ("Genoa", (0x19, 0x01, 1), "tee.8"),
        ("Turin", (0x1A, 0x00, 0), "accepted"),
        ("Turin", (0x1A, 0x1F, 0), "accepted"),
        ("Turin", (0x1A, 0x20, 0), "tee.8"),
        ("Turin", (0x19, 0x01, 0), "tee.8"),
    ],
)
def test_the_processor_is_of_the_certificates_line(
    amd: AmdAuthority, product: str, cpuid: tuple[int, int, int], expected: str
) -> None:
    line = of_product(amd, product)
    data = quote(line, cpuid=cpuid)
    assert judge(line, data, line.collateral(NOW, without_crl=True)) == expected


def test_products_of_a_line_are_known(amd: AmdAuthority) -> None:
    genoa = of_product(amd, "Genoa")
    leaf = genoa.leaf(NOW)
    for name in ("Genoa", "Genoa-B2", "Bergamo-A0", "Siena-A0"):
        named = replace(leaf, extensions={**leaf.extensions, PRODUCT_OID: text(name)})
        found = genoa.collateral(NOW, leaf=named, without_crl=True)
        assert judge(genoa, quote(genoa), found, roots=holding(genoa, "Genoa")) == "accepted"


def test_a_vcek_signs_as_a_vcek_and_a_vlek_as_a_vlek(amd: AmdAuthority) -> None:
    """The signature holds, and the report names the other kind of key."""
    lent = amd.keys["vlek"]
    assert isinstance(lent, ec.EllipticCurvePrivateKey)
    as_vcek = sign(amd.claims(report_data=REPORT_DATA).to_bytes(), lent)
    error = refusal(amd, as_vcek, amd.collateral(NOW, vlek=True))
    assert (error.check, error.expected, error.got) == ("tee.8", "a VCEK", "VLEK")
    as_vlek = amd.sign(amd.claims(report_data=REPORT_DATA, vlek=True).to_bytes())
    error = refusal(amd, as_vlek, amd.collateral(NOW))
    assert (error.check, error.expected, error.got) == ("tee.8", "a VLEK", "VCEK")


def test_each_intermediate_certifies_its_own_kind_of_key(amd: AmdAuthority) -> None:
    """The ASVK makes keys for providers; it may not make chips."""
    crossed = amd.collateral(NOW, intermediate=amd.intermediate(NOW, vlek=True))
    error = refusal(amd, quote(amd), crossed)
    assert (error.check, error.expected) == ("tee.8", "a VLEK")
    crossed = amd.collateral(NOW, vlek=True, intermediate=amd.intermediate(NOW))
    error = refusal(amd, quote(amd, vlek=True), crossed)
    assert (error.check, error.expected) == ("tee.8", "a VCEK")


SNP = TCB_OIDS["snp"]
#: Extensions of the leaf, by what is wrong with them; None takes one away.
EXTENSIONS: dict[str, tuple[dict[str, bytes | None], str]] = {
    "no product": ({PRODUCT_OID: None}, "product; expected a short text"),
    "a product that nobody knows": ({PRODUCT_OID: text("Rome-B0")}, "got Rome-B0"),
    "a newer product": ({PRODUCT_OID: text("Venice-A0")}, "got Venice-A0"),
    "a product in lower case": ({PRODUCT_OID: text("milan-B0")}, "got milan-B0"),
    "an empty product": ({PRODUCT_OID: b"\x16\x00"}, "expected a short text"),
    "a product in UTF-8": ({PRODUCT_OID: b"\x0c\x05Milan"}, "expected a short text"),
    "a product that is longer": ({PRODUCT_OID: b"\x16\x05Milan-B0"}, "expected a short text"),
    "a product that is shorter": ({PRODUCT_OID: b"\x16\x08Milan"}, "expected a short text"),
    "a very long product": ({PRODUCT_OID: text("Milan-" + "B" * 60)}, "expected a short text"),
    "a product beyond ASCII": ({PRODUCT_OID: b"\x16\x06Mil\xc3\xa4n"}, "expected a short text"),
    "no format": ({STRUCT_OID: None}, "format; expected 0 to 255; got nothing"),
    "a Turin's format": ({STRUCT_OID: integer(1)}, "expected 0; got 1"),
    "no version of a component": ({SNP: None}, "TCB, snp; expected 0 to 255; got nothing"),
    "an empty version": ({SNP: b""}, "TCB, snp"),
    "a version of 256": ({SNP: b"\x02\x02\x01\x00"}, "TCB, snp"),
    "a negative version": ({SNP: b"\x02\x01\x98"}, "TCB, snp"),
    "a version with a zero in front": ({SNP: b"\x02\x02\x00\x18"}, "TCB, snp"),
    "a version that is an octet string": ({SNP: b"\x04\x01\x18"}, "TCB, snp"),
    "a version with more behind": ({SNP: b"\x02\x01\x18\x00"}, "TCB, snp"),
    "a reserved component": ({RESERVED_OIDS[0]: integer(1)}, "expected 0; got 020101"),
    "a reserved component that is none": ({RESERVED_OIDS[1]: b"\x05\x00"}, "reserved TCB"),
    "a Turin's component": ({TCB_OIDS["fmc"]: integer(0)}, "extension 1.3.6.1.4.1.3704.1.3.9"),
    "a component that nobody knows": (
        {"1.3.6.1.4.1.3704.1.3.10": integer(0)},
        "extension 1.3.6.1.4.1.3704.1.3.10",
    ),
    "neither chip nor provider": ({HARDWARE_OID: None}, "got neither"),
    "chip and provider": ({PROVIDER_OID: text("somebody")}, "got both"),
    "a Turin's chip id": ({HARDWARE_OID: bytes(8)}, "64 bytes; got 8"),
    "a chip id as an octet string": ({HARDWARE_OID: b"\x04\x40" + bytes(64)}, "64 bytes; got 66"),
    "an empty chip id": ({HARDWARE_OID: b""}, "64 bytes; got 0"),
}


def with_extensions(authority: AmdAuthority, changes: dict[str, bytes | None]) -> bytes:
    leaf = authority.leaf(NOW)
    found = {**leaf.extensions, **changes}
    kept = {key: value for key, value in found.items() if value is not None}
    return authority.collateral(NOW, leaf=replace(leaf, extensions=kept), without_crl=True)


@pytest.mark.parametrize("name", EXTENSIONS)
def test_a_leaf_that_says_something_else_is_refused(
    amd: AmdAuthority, good: bytes, name: str
) -> None:
    changes, why = EXTENSIONS[name]
    error = refusal(amd, good, with_extensions(amd, changes))
    assert error.check == "tee.8"
    assert why in str(error)


def test_reserved_components_may_be_left_out(amd: AmdAuthority, good: bytes) -> None:
    changes: dict[str, bytes | None] = dict.fromkeys(RESERVED_OIDS)
    assert judge(amd, good, with_extensions(amd, changes)) == "accepted"


def test_a_turins_leaf_has_its_own_layout(amd: AmdAuthority) -> None:
    turin = of_product(amd, "Turin")
    data = quote(turin)
    for changes in (
        {STRUCT_OID: integer(0)},
        {TCB_OIDS["fmc"]: None},
        {HARDWARE_OID: turin.chip_id},
        {HARDWARE_OID: turin.chip_id[:7]},
    ):
        assert judge(turin, data, with_extensions(turin, changes)) == "tee.8"  # type: ignore[arg-type]


def test_a_vlek_names_its_provider(amd: AmdAuthority) -> None:
    leaf = amd.leaf(NOW, vlek=True)
    for wrong in (b"\x16\x00", b"\x0c\x03AWS", text("x" * 65)):
        changed = replace(leaf, extensions={**leaf.extensions, PROVIDER_OID: wrong})
        found = amd.collateral(NOW, vlek=True, leaf=changed)
        assert judge(amd, quote(amd, vlek=True), found) == "tee.8"


# --- appraisal (tee.16 to tee.20) ------------------------------------------------------------

LEVELS = {f"{name}_svn": TCB[name] for name in ("bootloader", "tee", "snp", "microcode")}
STRICT = TeePolicy(min_svn=LEVELS)


def objections(
    authority: AmdAuthority,
    policy: TeePolicy = STRICT,
    *,
    measurement: bytes = bytes(48),
    leaf: Link | None = None,
    claims: dict[str, Any] | None = None,
) -> set[str]:
    """Numbers under which the policy refuses good evidence."""
    data = quote(authority, **(claims or {}))
    found = verify(authority, data, authority.collateral(NOW, leaf=leaf))
    registers = {"measurement": frozenset({measurement.hex()})}
    reference = Reference(Platform.SEV_SNP, "image", registers)
    opinions = appraise(found, policy, [reference], configuration())
    return {one.partition(":")[0] for one in record(opinions, Checks(CHECKS))}


def test_good_evidence_meets_no_objection(amd: AmdAuthority) -> None:
    assert objections(amd) == set()


def test_other_code_is_refused(amd: AmdAuthority) -> None:
    assert objections(amd, measurement=b"x" * 48) == {"tee.16"}


def test_a_guest_that_can_be_debugged_is_refused(amd: AmdAuthority) -> None:
    assert objections(amd, claims={"debug": True}) == {"tee.17"}


@pytest.mark.parametrize("part", ["bootloader", "snp", "microcode"])
@pytest.mark.parametrize("when", ["committed", "launch"])
def test_a_tcb_to_which_the_host_can_go_back_or_from_which_it_came_counts(
    amd: AmdAuthority, part: str, when: str
) -> None:
    """The signing key is that of new firmware; the guest was launched under old one, or it is one
    command away."""
    old = {**TCB, part: TCB[part] - 1}
    assert objections(amd, claims={when: old}) == {"tee.19"}
    new = {**TCB, part: TCB[part] + 1}
    assert objections(amd, claims={when: new}) == set()


def test_old_firmware_with_its_own_good_key_is_refused(amd: AmdAuthority) -> None:
    """AMD certifies keys of old firmware as well: nothing but the policy refuses them."""
    old = {**TCB, "snp": TCB["snp"] - 1}
    leaf = amd.leaf(NOW, components=old)
    assert objections(amd, leaf=leaf, claims={"tcb": old}) == {"tee.19"}


@pytest.mark.parametrize("vmpl", [1, 2, 3, HOST_VMPL])
def test_a_report_for_which_another_than_the_guests_core_asked_is_refused(
    amd: AmdAuthority, vmpl: int
) -> None:
    assert objections(amd, claims={"vmpl": vmpl}) == {"tee.20"}


def test_a_guest_that_can_be_moved_away_is_refused(amd: AmdAuthority) -> None:
    guest = POLICY | 1 << POLICY_BITS["migrate_ma"]
    assert objections(amd, claims={"policy": guest}) == {"tee.20"}
