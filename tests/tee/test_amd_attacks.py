"""Attacks on SEV-SNP evidence; whoever attacks signs all that his keys can sign.

`amd` is the authority whose root the verifier holds. Where a test changes one of its certificates,
lists or reports, the attacker had the key above it; what is asserted is the check that refuses all
the same.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.checks import Checks
from proofml.errors import VerificationError
from proofml.tee.amd_collateral import (
    HARDWARE_OID,
    MAX_COLLATERAL_BYTES,
    PRODUCT_OID,
    PROVIDER_OID,
    RESERVED_OIDS,
    STRUCT_OID,
    TCB_OIDS,
    write_collateral,
)
from proofml.tee.appraisal import appraise, record
from proofml.tee.checks import CHECKS
from proofml.tee.platform import Attestation, Platform
from proofml.tee.policy import TeePolicy
from proofml.tee.reference import Reference
from proofml.tee.roots import Roots
from proofml.tee.sev_snp import verify as verify_evidence
from proofml.tee.simulator.amd import DAY, YEAR, AmdAuthority
from proofml.tee.simulator.amd_certificates import Link, integer, issue, text
from proofml.tee.simulator.amd_report import POLICY, TCB, sign
from proofml.tee.snp_report import (
    HOST_VMPL,
    ORDER,
    POLICY_BITS,
    REPORT_BYTES,
    SIGNED_BYTES,
    SigningKey,
    parse,
)
from tests.tee.amd_cases import (
    REPORT_DATA,
    attest,
    holding,
    judge,
    of_product,
    other_root,
    quote,
    tcb,
    verify,
)
from tests.tee.conftest import NOW
from tests.tee.platform_cases import number
from tests.tee.record_cases import configuration

P384 = ec.generate_private_key(ec.SECP384R1())
P256 = ec.generate_private_key(ec.SECP256R1())
RSA_2048 = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def collateral(amd: AmdAuthority) -> bytes:
    return amd.collateral(NOW)


@pytest.fixture(scope="module")
def good(amd: AmdAuthority) -> bytes:
    return quote(amd)


def refusal(authority: AmdAuthority, data: bytes, collateral: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify(authority, data, collateral)
    return caught.value


def test_the_evidence_that_is_attacked_is_good(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    assert judge(amd, good, collateral) == "accepted"


# --- collateral (tee.2) ----------------------------------------------------------------------

REWRITTEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "another version": lambda found: {**found, "version": 2},
    "a version that is a text": lambda found: {**found, "version": "1"},
    "a key more": lambda found: {**found, "root": found["chain"][1]},
    "no leaf": lambda found: {key: found[key] for key in ("version", "chain", "crl")},
    "no chain": lambda found: {key: found[key] for key in ("version", "leaf", "crl")},
    "no list": lambda found: {key: found[key] for key in ("version", "leaf", "chain")},
    "no version": lambda found: {key: found[key] for key in ("leaf", "chain", "crl")},
    "a leaf that is a number": lambda found: {**found, "leaf": 7},
    "a leaf beyond ASCII": lambda found: {**found, "leaf": found["leaf"] + "é"},
    "two leaves": lambda found: {**found, "leaf": found["leaf"] + found["chain"][0]},
    "a chain that is a text": lambda found: {**found, "chain": "".join(found["chain"])},
    "a chain in one text": lambda found: {**found, "chain": ["".join(found["chain"])]},
    "nine of a chain": lambda found: {**found, "chain": found["chain"][:1] * 9},
    "a list": lambda found: [found],
    "nothing": lambda found: None,
}


@pytest.mark.parametrize("name", REWRITTEN)
def test_collateral_of_another_form_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes, name: str
) -> None:
    changed = dumps(REWRITTEN[name](loads(collateral)))  # type: ignore[arg-type]
    assert judge(amd, good, changed) == "tee.2"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b'"version":1', b'"version":1.0'),
        lambda data: data.replace(b'"version":1', b'"version":1,"version":1'),
        lambda data: data.replace(b"\\n", b"\\u000a"),
        lambda data: data[:-1],
        lambda data: b"[" * 100_000,
        lambda data: data[:-1] + b" " * MAX_COLLATERAL_BYTES + b"}",
        lambda data: data.replace(b"-----BEGIN", b"\xff"),
    ],
    ids=["empty", "behind", "front", "float", "twice", "escape", "cut", "deep", "long", "utf-8"],
)
def test_collateral_that_is_not_canonical_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes, change: Callable[[bytes], bytes]
) -> None:
    assert judge(amd, good, change(collateral)) == "tee.2"


def test_an_event_log_is_refused(amd: AmdAuthority, good: bytes, collateral: bytes) -> None:
    evidence = Attestation(Platform.SEV_SNP, good, collateral, b"[]")
    assert number(lambda: verify_evidence(evidence, holding(amd), NOW)) == "tee.2"


# --- roots (tee.4) ---------------------------------------------------------------------------


def test_a_chain_to_another_root_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    mine = other_root(amd)
    assert mine.root.subject == amd.root.subject
    theirs = mine.collateral(NOW)
    assert judge(amd, good, theirs) == "tee.4"
    assert judge(mine, good, theirs) == "accepted"
    assert judge(mine, good, collateral) == "tee.4"
    assert judge(amd, good, collateral, roots=Roots.vendor()) == "tee.4"


def test_a_root_of_another_platform_is_none_here(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    roots = Roots(tuple(replace(one, platform=Platform.TDX) for one in holding(amd).anchors))
    assert judge(amd, good, collateral, roots=roots) == "tee.4"


@pytest.mark.parametrize("order", [(0,), (1, 0), (0, 1, 0), ()])
def test_the_root_has_to_be_the_last(
    amd: AmdAuthority, good: bytes, order: tuple[int, ...]
) -> None:
    leaf, *chain = amd.chain(amd.leaf(NOW), amd.intermediate(NOW))
    changed = write_collateral(leaf, [chain[index] for index in order], None)
    # A leaf alone is no chain at all.
    assert judge(amd, good, changed) == ("tee.4" if order else "tee.5")


# --- certificates (tee.5) --------------------------------------------------------------------


def test_the_held_root_above_a_chain_of_ones_own_is_refused(amd: AmdAuthority, good: bytes) -> None:
    mine = other_root(amd)
    leaf, between, root = mine.chain(mine.leaf(NOW), mine.intermediate(NOW))
    assert judge(amd, good, write_collateral(leaf, [between, amd.root], None)) == "tee.5"
    assert judge(amd, good, write_collateral(leaf, [between, root, amd.root], None)) == "tee.5"


#: Which certificate, what is other about it, what the refusal says.
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "leaf by a stranger": ("leaf", {"signer": P384}, "signature"),
    "leaf by its own key": ("leaf", {"signer": "vcek"}, "signature"),
    "leaf by the root": ("leaf", {"signer": "ark"}, "not signed by"),
    "leaf by the other intermediate": ("leaf", {"signer": "asvk"}, "not signed by"),
    "leaf by an RSA key of his own": ("leaf", {"signer": RSA_2048}, "not signed by"),
    "intermediate by a stranger": ("intermediate", {"signer": P384}, "signature"),
    "intermediate by itself": ("intermediate", {"signer": "ask"}, "not signed by"),
    "leaf is an authority": ("leaf", {"authority": True}, "no authority"),
    "leaf may sign certificates alone": ("leaf", {"signs_certificates": True}, "signing data"),
    "intermediate is none": (
        "intermediate",
        {"authority": False, "path_length": None},
        "an authority",
    ),
    "intermediate may not sign certificates": (
        "intermediate",
        {"signs_certificates": False, "signs_lists": True},
        "signing certificates",
    ),
    "leaf has expired": ("leaf", {"not_after": NOW - 1}, "a time from"),
    "leaf is not valid yet": ("leaf", {"not_before": NOW + 1}, "a time from"),
    "intermediate has expired": ("intermediate", {"not_after": NOW - 1}, "a time from"),
    "intermediate is not valid yet": ("intermediate", {"not_before": NOW + 1}, "a time from"),
    "product is critical": ("leaf", {"critical": frozenset({PRODUCT_OID})}, PRODUCT_OID),
    "chip id is critical": ("leaf", {"critical": frozenset({HARDWARE_OID})}, HARDWARE_OID),
    "leaf with PKCS #1": ("leaf", {"pss": False}, "RSA-PSS with SHA-384"),
    "intermediate with PKCS #1": ("intermediate", {"pss": False}, "RSA-PSS with SHA-384"),
    "leaf with SHA-256": ("leaf", {"digest": hashes.SHA256()}, "RSA-PSS with SHA-384"),
    "intermediate with SHA-512": (
        "intermediate",
        {"digest": hashes.SHA512()},
        "RSA-PSS with SHA-384",
    ),
    "leaf for a key of P-256": ("leaf", {"key": P256}, "a key of P-384"),
    "leaf for a key of RSA": ("leaf", {"key": RSA_2048}, "a key of P-384"),
    "intermediate with a small key": ("intermediate", {"key": RSA_2048}, "a key of RSA-4096"),
    "intermediate with a key of P-384": ("intermediate", {"key": P384}, "RSA-PSS with SHA-384"),
}


def link(authority: AmdAuthority, which: str, changes: dict[str, Any]) -> Link:
    """A certificate that should not be; keys by name are the authority's."""
    found = {
        name: authority.keys[value] if isinstance(value, str) else value
        for name, value in changes.items()
    }
    return replace(getattr(authority, which)(NOW), **found)


@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_should_not_be_is_refused(
    amd: AmdAuthority, good: bytes, name: str
) -> None:
    which, changes, why = WRONG[name]
    changed = amd.collateral(NOW, **{which: link(amd, which, changes)})
    error = refusal(amd, good, changed)
    assert error.check == "tee.5"
    assert why in str(error)


def test_a_chain_of_two_or_of_four_is_none_of_amds(amd: AmdAuthority, good: bytes) -> None:
    """Each is walked to its root; AMD has one intermediate between key and root."""
    short = amd.chain(amd.leaf(NOW), amd.intermediate(NOW))
    name = short[2].subject
    leaf = issue(amd.leaf(NOW), name, amd.keys["ark"])
    error = refusal(amd, good, write_collateral(leaf, [amd.root], None))
    assert (error.check, error.got) == ("tee.5", "2 certificates")
    above = issue(replace(amd.intermediate(NOW), path_length=1), name, amd.keys["ark"])
    below = issue(
        replace(amd.intermediate(NOW), key=amd.keys["asvk"]), above.subject, amd.keys["ask"]
    )
    leaf = issue(amd.leaf(NOW), below.subject, amd.keys["asvk"])
    error = refusal(amd, good, write_collateral(leaf, [below, above, amd.root], None))
    assert (error.check, error.got) == ("tee.5", "4 certificates")


def test_an_intermediate_below_the_intermediate_is_refused(amd: AmdAuthority, good: bytes) -> None:
    _, between, root = amd.chain(amd.leaf(NOW), amd.intermediate(NOW))
    below = issue(
        replace(amd.intermediate(NOW), key=amd.keys["asvk"]), between.subject, amd.keys["ask"]
    )
    leaf = issue(amd.leaf(NOW), below.subject, amd.keys["asvk"])
    error = refusal(amd, good, write_collateral(leaf, [below, between, root], None))
    assert error.check == "tee.5"
    assert "at most 0; got 1" in str(error)


def test_an_expired_root_is_refused_although_it_is_held(amd: AmdAuthority, good: bytes) -> None:
    old = AmdAuthority.create(NOW - 25 * YEAR - 1, keys=amd.keys)
    assert judge(old, good, old.collateral(NOW)) == "tee.5"
    young = AmdAuthority.create(NOW - 25 * YEAR, keys=amd.keys)
    assert judge(young, good, young.collateral(NOW)) == "accepted"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW - DAY - 1, "tee.5"),
        (NOW - DAY, "accepted"),
        (NOW + 7 * YEAR, "accepted"),
        (NOW + 7 * YEAR + 1, "tee.5"),
        (10**18, "tee.5"),
        (-1, "tee.5"),
    ],
)
def test_evidence_holds_as_long_as_its_certificates(
    amd: AmdAuthority, good: bytes, now: int, expected: str
) -> None:
    assert judge(amd, good, amd.collateral(NOW, without_crl=True), now=now) == expected


# --- revocation (tee.6) ----------------------------------------------------------------------

IDP = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)


@pytest.mark.parametrize("vlek", [False, True], ids=["ask", "asvk"])
def test_a_revoked_intermediate_is_refused(amd: AmdAuthority, vlek: bool) -> None:
    data = quote(amd, vlek=vlek)
    for serial in (amd.intermediate(NOW, vlek=vlek).serial, amd.root.serial_number):
        crl = amd.revocations(NOW, [5, serial, 6])
        changed = amd.collateral(NOW, vlek=vlek, crl=crl)
        assert judge(amd, data, changed) == "tee.6"
    other = amd.revocations(NOW, [amd.intermediate(NOW, vlek=not vlek).serial])
    assert judge(amd, data, amd.collateral(NOW, vlek=vlek, crl=other)) == "accepted"


def test_the_roots_list_says_nothing_of_leaves(amd: AmdAuthority, good: bytes) -> None:
    """Numbers on it are those of certificates that the root issued."""
    crl = amd.revocations(NOW, [amd.leaf(NOW).serial])
    assert judge(amd, good, amd.collateral(NOW, crl=crl)) == "accepted"


WRONG_LISTS: dict[str, tuple[dict[str, Any], str]] = {
    "stale": ({"last_update": NOW - 30 * DAY, "next_update": NOW - 1}, "a time from"),
    "of the future": ({"last_update": NOW + 1}, "a time from"),
    "by the intermediate": ({"signer": "ask"}, "not signed by"),
    "by the chip": ({"signer": "vcek"}, "not signed by"),
    "by a stranger": ({"signer": RSA_2048}, "not signed by"),
    "of some certificates only": ({"critical": IDP}, "critical extension"),
    "with PKCS #1": ({"pss": False}, "RSA-PSS with SHA-384"),
    "with SHA-256": ({"digest": hashes.SHA256()}, "RSA-PSS with SHA-384"),
}


@pytest.mark.parametrize("name", WRONG_LISTS)
def test_a_list_that_should_not_be_is_refused(amd: AmdAuthority, good: bytes, name: str) -> None:
    changes, why = WRONG_LISTS[name]
    changes = {
        key: amd.keys[value] if isinstance(value, str) else value for key, value in changes.items()
    }
    changed = amd.collateral(NOW, crl=amd.revocations(NOW, **changes))
    error = refusal(amd, good, changed)
    assert error.check == "tee.6"
    assert why in str(error)


def test_the_list_of_another_root_is_refused(amd: AmdAuthority, good: bytes) -> None:
    same_name = other_root(amd).revocations(NOW)
    assert judge(amd, good, amd.collateral(NOW, crl=same_name)) == "tee.6"
    same_key = of_product(amd, "Genoa").revocations(NOW)
    assert judge(amd, good, amd.collateral(NOW, crl=same_key)) == "tee.6"


@pytest.mark.parametrize("change", [lambda pem: pem[:-5], lambda pem: "x\n" + pem, lambda pem: ""])
def test_a_list_that_is_broken_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes, change: Callable[[str], str]
) -> None:
    found = loads(collateral)
    assert judge(amd, good, dumps({**found, "crl": change(found["crl"])})) == "tee.6"


def test_a_list_that_was_left_out_is_said(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    """Whoever brings the evidence can leave it out; then nothing shows that nothing was revoked."""
    without = dumps({**loads(collateral), "crl": None})
    assert verify(amd, good, without).details["revocation"] == "unknown"
    assert verify(amd, good, collateral).details["revocation"] == "checked"


# --- the signature (tee.7) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"measurement": b"x" * 48},
        {"host_data": b"x" * 32},
        {"policy": POLICY | 1 << 20},
        {"vmpl": 1},
        {"guest_svn": 1},
        {"launch": tcb(snp=255)},
        {"committed": tcb(snp=255)},
        {"tcb": tcb(snp=255)},
        {"chip_id": b"x" * 64},
        {"version": 2},
        {"id_key_digest": b"x" * 48},
        {"platform_info": 0},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_a_changed_report_is_refused_whoever_signs_it(
    amd: AmdAuthority, good: bytes, collateral: bytes, claims: dict[str, Any]
) -> None:
    unsigned = amd.claims(report_data=REPORT_DATA, **claims).to_bytes()
    kept = unsigned[:SIGNED_BYTES] + good[SIGNED_BYTES:]
    assert judge(amd, kept, collateral) == "tee.7"
    for key in (P384, amd.keys["vlek"]):
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert judge(amd, sign(unsigned, key), collateral) == "tee.7"


def test_report_data_of_another_report_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    other = amd.quote(report_data=b"other".ljust(64, b"\0"))
    assert judge(amd, other, collateral) == "accepted"
    mixed = good[:0x50] + other[0x50:0x90] + good[0x90:]
    assert judge(amd, mixed, collateral) == "tee.7"
    assert judge(amd, good[:SIGNED_BYTES] + other[SIGNED_BYTES:], collateral) == "tee.7"


def test_a_report_that_no_key_signed_is_refused(amd: AmdAuthority, collateral: bytes) -> None:
    claims = amd.claims(report_data=REPORT_DATA, signing_key=SigningKey.NONE, mask_chip_key=True)
    error = refusal(amd, claims.to_bytes(), collateral)
    assert error.check == "tee.7"
    assert "none, as it says itself" in str(error)


def resigned(data: bytes, r: int, s: int, order: str = "little") -> bytes:
    both = r.to_bytes(72, order) + s.to_bytes(72, order)  # type: ignore[arg-type]
    return (data[:SIGNED_BYTES] + both).ljust(REPORT_BYTES, b"\0")


def test_a_signature_in_another_form_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    r, s = parse(good).signature
    assert judge(amd, resigned(good, s, r), collateral) == "tee.7"
    assert judge(amd, resigned(good, r, 1), collateral) == "tee.7"
    assert judge(amd, resigned(good, r, s + ORDER), collateral) == "tee.3"
    assert judge(amd, resigned(good, r, s, "big"), collateral) == "tee.3"
    assert judge(amd, resigned(good, r, 0), collateral) == "tee.3"
    key = amd.keys["vcek"]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    for data, digest in (
        (good[:SIGNED_BYTES], hashes.SHA256()),
        (good[:SIGNED_BYTES], hashes.SHA512()),
        (good, hashes.SHA384()),
        (good[: SIGNED_BYTES - 1], hashes.SHA384()),
    ):
        found = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        assert judge(amd, resigned(good, *found), collateral) == "tee.7"


def test_the_other_s_is_accepted_by_design_and_says_the_same(
    amd: AmdAuthority, good: bytes, collateral: bytes
) -> None:
    r, s = parse(good).signature
    again = resigned(good, r, ORDER - s)
    assert again != good
    assert verify(amd, again, collateral) == verify(amd, good, collateral)


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
    "a product beyond ASCII": ({PRODUCT_OID: b"\x16\x07Mil\xc3\xa4n"}, "expected a short text"),
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


# --- every byte ------------------------------------------------------------------------------

#: What refuses a changed byte of a field; tee.7 alone where every value has the right form.
BY_FIELD = {
    "version": {"tee.3", "tee.7"},
    "policy": {"tee.3", "tee.7"},
    "vmpl": {"tee.3", "tee.7"},
    "signature_algo": {"tee.3"},
    "platform_info": {"tee.3", "tee.7"},
    "flags": {"tee.3", "tee.7"},
    "signature.r": {"tee.3", "tee.7"},
    "signature.s": {"tee.3", "tee.7"},
}


def expected_at(data: bytes, at: int) -> set[str]:
    field = next(one for one in reversed(parse(data).fields) if one.offset <= at)
    return {"tee.3"} if "reserved" in field.name else BY_FIELD.get(field.name, {"tee.7"})


def changed_at(data: bytes, at: int, change: int) -> bytes:
    return data[:at] + bytes((data[at] ^ change,)) + data[at + 1 :]


@pytest.fixture(scope="module")
def reports(amd: AmdAuthority) -> dict[int, bytes]:
    return {version: quote(amd, version=version) for version in (2, 3, 5)}


@given(st.sampled_from((2, 3, 5)), st.integers(0, REPORT_BYTES - 1), st.integers(1, 255))
def test_a_changed_byte_of_the_report_is_refused_by_the_check_of_its_field(
    amd: AmdAuthority,
    reports: dict[int, bytes],
    collateral: bytes,
    version: int,
    at: int,
    change: int,
) -> None:
    data = reports[version]
    found = judge(amd, changed_at(data, at, change), collateral)
    assert found in expected_at(data, at)


def test_a_changed_byte_in_each_field_is_refused(
    amd: AmdAuthority, reports: dict[int, bytes], collateral: bytes
) -> None:
    for data in reports.values():
        for field in parse(data).fields:
            for at in {field.offset, field.offset + len(field.data) - 1}:
                for change in (1, 0x80):
                    found = judge(amd, changed_at(data, at, change), collateral)
                    assert found in expected_at(data, at), (field.name, at, change)


@given(draw=st.data(), change=st.integers(1, 255))
def test_a_changed_byte_of_the_collateral_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes, draw: st.DataObject, change: int
) -> None:
    at = draw.draw(st.integers(0, len(collateral) - 1))
    found = judge(amd, good, changed_at(collateral, at, change))
    assert found in {"tee.2", "tee.4", "tee.5", "tee.6"}


@given(draw=st.data(), bit=st.integers(0, 7))
def test_a_changed_bit_of_a_certificate_or_list_is_refused(
    amd: AmdAuthority, good: bytes, collateral: bytes, draw: st.DataObject, bit: int
) -> None:
    """Written as PEM anew, so that nothing but the bytes themselves is wrong."""
    found = loads(collateral)
    which = draw.draw(st.sampled_from(("leaf", "between", "root", "crl")))
    index = {"between": 0, "root": 1}.get(which)
    pem: str = found["chain"][index] if index is not None else found[which]
    first, *middle, last = pem.splitlines()
    der = base64.b64decode("".join(middle))
    at = draw.draw(st.integers(0, len(der) - 1))
    lines = base64.b64encode(changed_at(der, at, 1 << bit)).decode()
    body = [lines[start : start + 64] for start in range(0, len(lines), 64)]
    again = "\n".join([first, *body, last, ""])
    if index is None:
        found[which] = again
    else:
        found["chain"] = [*found["chain"][:index], again, *found["chain"][index + 1 :]]
    expected = {
        "leaf": {"tee.5"},
        "between": {"tee.5"},
        "crl": {"tee.6"},
        "root": {"tee.4", "tee.5"},
    }
    assert judge(amd, good, dumps(found)) in expected[which]


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_bytes_are_refused(amd: AmdAuthority, good: bytes, data: bytes, other: bytes) -> None:
    roots = holding(amd)
    assert number(lambda: verify_evidence(attest(data, other), roots, NOW)) == "tee.3"
    assert number(lambda: verify_evidence(attest(good, other), roots, NOW)) == "tee.2"
