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
from proofml.tee.amd_collateral import (
    HARDWARE_OID,
    MAX_COLLATERAL_BYTES,
    PRODUCT_OID,
    write_collateral,
)
from proofml.tee.platform import Attestation, Platform
from proofml.tee.roots import Roots
from proofml.tee.sev_snp import verify as verify_evidence
from proofml.tee.simulator.amd import DAY, YEAR, AmdAuthority
from proofml.tee.simulator.amd_certificates import Link, issue
from proofml.tee.simulator.amd_report import POLICY, sign
from proofml.tee.snp_report import (
    ORDER,
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
    refusal,
    tcb,
    verify,
)
from tests.tee.conftest import NOW
from tests.tee.platform_cases import number

P384 = ec.generate_private_key(ec.SECP384R1())
P256 = ec.generate_private_key(ec.SECP256R1())
RSA_2048 = rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def collateral(amd: AmdAuthority) -> bytes:
    return amd.collateral(NOW)


@pytest.fixture(scope="module")
def good(amd: AmdAuthority) -> bytes:
    return quote(amd)


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
