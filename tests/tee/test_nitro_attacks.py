"""Attacks on Nitro documents; whoever attacks signs all that his keys can sign.

`AUTHORITY` is the root that the verifier holds. An attacker has an authority of his own, sees each
certificate and document of the real one, and here even has the keys of single certificates of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtensionOID
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import UsageError, VerificationError
from proofml.tee import nitro
from proofml.tee.platform import Attestation, Platform, RootKind, Source, Truth, Verified
from proofml.tee.roots import Roots
from proofml.tee.simulator import aws
from tests.tee.nitro_cases import ORDER, number, simulated

NOW = 1_800_000_000
DAY = 24 * 3600
AUTHORITY = aws.AwsAuthority.create(NOW - 30 * DAY)
OTHER = aws.AwsAuthority.create(NOW - 30 * DAY)
ROOTS = simulated(AUTHORITY.root_der)
LINKS = AUTHORITY.links(NOW)
CHAIN = AUTHORITY.chain(LINKS)
FOREIGN = OTHER.chain(OTHER.links(NOW))
STRANGER = ec.generate_private_key(ec.SECP384R1())

PCRS = {index: bytes([index + 1]) * 48 for index in range(3)}
USER_DATA = b"what the enclave says".ljust(64, b".")
GOOD = AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=PCRS, chain=CHAIN)


def verify(data: bytes, *, roots: Roots = ROOTS, now: int = NOW) -> Verified:
    return nitro.verify(Attestation(Platform.NITRO, data), roots, now)


def judge(data: bytes, *, roots: Roots = ROOTS, now: int = NOW) -> str:
    return number(lambda: verify(data, roots=roots, now=now))


def refusal(data: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify(data)
    return caught.value


def with_chain(chain: Sequence[bytes]) -> bytes:
    """A document with these certificates, signed by the key that the good leaf certifies."""
    return AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=PCRS, chain=chain)


def with_link(index: int, **changes: object) -> bytes:
    """All is reissued from the root down, with one certificate other than it should be."""
    links = list(LINKS)
    links[index] = replace(links[index], **changes)  # type: ignore[arg-type]
    return with_chain(AUTHORITY.chain(links))


def test_the_good_document_is_accepted_and_read() -> None:
    found = verify(GOOD)
    assert found.platform is Platform.NITRO
    assert found.root.kind is RootKind.SIMULATED
    assert found.report_data == USER_DATA
    assert found.measurements["pcr2"] == "03" * 48
    assert sorted(found.measurements) == sorted(f"pcr{index}" for index in range(16))
    assert found.attributes == {"debug": False}
    assert found.not_before == NOW - 3
    assert found.not_after == NOW + 3 * 3600
    assert found.details["timestamp"] == str(NOW * 1000)
    assert found.details["module_id"] == aws.MODULE_ID
    assert "not consulted" in found.details["revocation"]
    assert found.tcb_status is None


def test_a_document_without_user_data_binds_nothing() -> None:
    assert verify(AUTHORITY.sign(changed(user_data=None))).report_data == b""
    assert verify(AUTHORITY.sign(changed(user_data=b""))).report_data == b""


# --- roots (tee.4) ---------------------------------------------------------------------------


def test_the_vendors_roots_do_not_know_the_simulator() -> None:
    assert judge(GOOD, roots=Roots.vendor()) == "tee.4"


def test_another_root_of_the_same_name_is_not_the_root() -> None:
    theirs = OTHER.quote(report_data=USER_DATA, now=NOW, pcrs=PCRS)
    assert judge(theirs) == "tee.4"
    assert judge(theirs, roots=simulated(OTHER.root_der)) == "accepted"


def test_a_root_for_another_platform_is_not_a_root_here() -> None:
    roots = simulated(AUTHORITY.root_der, Platform.SEV_SNP)
    assert judge(GOOD, roots=roots) == "tee.4"


def test_the_real_root_further_down_does_not_help() -> None:
    document = OTHER.document(
        report_data=USER_DATA, now=NOW, chain=[FOREIGN[0], AUTHORITY.root_der, *FOREIGN[1:]]
    )
    assert judge(OTHER.sign(aws.encode(document))) == "tee.4"


def test_a_bundle_the_other_way_round_has_no_root_in_front() -> None:
    assert judge(with_chain([*reversed(CHAIN[:-1]), CHAIN[-1]])) == "tee.4"


def test_a_bundle_without_its_root_is_refused() -> None:
    assert judge(with_chain(CHAIN[1:])) == "tee.4"


# --- certificates (tee.5) --------------------------------------------------------------------


def test_the_real_root_in_front_of_a_chain_of_ones_own_is_refused() -> None:
    document = OTHER.document(
        report_data=USER_DATA, now=NOW, chain=[AUTHORITY.root_der, *FOREIGN[1:]]
    )
    assert judge(OTHER.sign(aws.encode(document))) == "tee.5"


LONG = [CHAIN[0], *(AUTHORITY.chain(LINKS)[1] for _ in range(8)), CHAIN[4]]


def swapped(first: int, second: int) -> list[bytes]:
    chain = list(CHAIN)
    chain[first], chain[second] = chain[second], chain[first]
    return chain


#: Chain -> what the refusal says. The issuer's name is compared before the signature.
WRONG_CHAINS: dict[str, tuple[Sequence[bytes], str]] = {
    "region and zone swapped": (swapped(1, 2), "issuer"),
    "zone and instance swapped": (swapped(2, 3), "issuer"),
    "instance and leaf swapped": (swapped(3, 4), "issuer"),
    "no region": ([*CHAIN[:1], *CHAIN[2:]], "issuer"),
    "no zone": ([*CHAIN[:2], *CHAIN[3:]], "issuer"),
    "no instance": ([*CHAIN[:3], *CHAIN[4:]], "issuer"),
    "no authority but the root": ([CHAIN[0], CHAIN[4]], "issuer"),
    "the root twice": ([CHAIN[0], *CHAIN], "each certificate once"),
    "the zone twice": ([*CHAIN[:3], CHAIN[2], *CHAIN[3:]], "each certificate once"),
    "the leaf in the bundle too": ([*CHAIN[:4], CHAIN[4], CHAIN[4]], "each certificate once"),
    "a foreign root at the end": ([*CHAIN[:4], OTHER.root_der, CHAIN[4]], "issuer"),
    "a foreign root behind the root": ([CHAIN[0], OTHER.root_der, *CHAIN[1:]], "not signed by"),
    "another root's instance": ([*CHAIN[:3], FOREIGN[3], CHAIN[4]], "not signed by"),
    "bytes that are no certificate": ([*CHAIN[:3], b"\x30\x00", CHAIN[4]], "cabundle.3: error"),
    "a leaf that is no certificate": ([*CHAIN[:4], b"\x00"], "certificate: error"),
    "a byte behind a certificate": ([*CHAIN[:3], CHAIN[3] + b"\x00", CHAIN[4]], "ExtraData"),
    "a byte behind the leaf": ([*CHAIN[:4], CHAIN[4] + b"\x00"], "ExtraData"),
    "the instance's certificate for a leaf": (CHAIN[:4], "role; expected no authority"),
    "a root alone": ([CHAIN[0], CHAIN[0]], "each certificate once"),
    "more certificates than any chain has": (LONG, "2 to 8 certificates"),
}


@pytest.mark.parametrize("name", WRONG_CHAINS)
def test_a_chain_in_another_order_or_with_other_certificates_is_refused(name: str) -> None:
    chain, why = WRONG_CHAINS[name]
    error = refusal(with_chain(chain))
    assert error.check == "tee.5"
    assert why in str(error)


P256 = ec.generate_private_key(ec.SECP256R1())
NO_AUTHORITY: dict[str, object] = {"authority": False, "path_length": None}
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"\x05\x00")
#: BasicConstraints without `ca`, with pathLenConstraint 0.
LEAF_WITH_PATH = x509.UnrecognizedExtension(
    ExtensionOID.BASIC_CONSTRAINTS, bytes.fromhex("3003020100")
)
NO_CONSTRAINTS: dict[str, object] = {"without": (x509.BasicConstraints,)}
NO_USAGE: dict[str, object] = {"without": (x509.KeyUsage,)}
#: Index below the root, what is other about it, what the refusal says.
WRONG_LINKS: dict[str, tuple[int, dict[str, object], str]] = {
    "region signed by a stranger": (0, {"signer": STRANGER}, "not signed by"),
    "zone signed by a stranger": (1, {"signer": STRANGER}, "not signed by"),
    "instance signed by a stranger": (2, {"signer": STRANGER}, "not signed by"),
    "leaf signed by a stranger": (3, {"signer": STRANGER}, "not signed by"),
    "leaf signed by itself": (3, {"signer": LINKS[3].key}, "not signed by"),
    "leaf signed by the zone": (3, {"signer": LINKS[1].key}, "not signed by"),
    "region is no authority": (0, NO_AUTHORITY, "expected an authority"),
    "zone is no authority": (1, NO_AUTHORITY, "expected an authority"),
    "instance is no authority": (2, NO_AUTHORITY, "expected an authority"),
    "region says nothing of its role": (0, NO_CONSTRAINTS, "expected an authority"),
    "leaf says nothing of its role": (3, NO_CONSTRAINTS, "extension BasicConstraints"),
    "instance says nothing of its use": (2, NO_USAGE, "cabundle.3; expected extension KeyUsage"),
    "leaf says nothing of its use": (3, NO_USAGE, "certificate; expected extension KeyUsage"),
    "region may not sign certificates": (
        0,
        {"signs_certificates": False},
        "signing certificates",
    ),
    "instance may not sign certificates": (
        2,
        {"signs_certificates": False, "signs_data": True},
        "signing certificates",
    ),
    "leaf may not sign data": (3, {"signs_data": False}, "signing data"),
    "region may have no authority below": (0, {"path_length": 0}, "at most 0; got 2"),
    "region may have one authority below": (0, {"path_length": 1}, "at most 1; got 2"),
    "zone may have no authority below": (1, {"path_length": 0}, "at most 0; got 1"),
    "leaf is an authority": (
        3,
        {"authority": True, "signs_certificates": True},
        "expected no authority",
    ),
    "leaf with a path length": (3, NO_CONSTRAINTS | {"extra": ((LEAF_WITH_PATH, True),)}, "path"),
    "leaf with a critical extension": (3, {"extra": ((UNKNOWN, True),)}, "1.2.3"),
    "region with a critical extension": (0, {"extra": ((UNKNOWN, True),)}, "1.2.3"),
    "leaf signed with SHA-256": (3, {"digest": hashes.SHA256()}, "ECDSA with SHA-384"),
    "region signed with SHA-512": (0, {"digest": hashes.SHA512()}, "ECDSA with SHA-384"),
    **{f"link {i} has a key of P-256": (i, {"key": P256}, "a key of P-384") for i in range(4)},
    "leaf has a key of Ed25519": (3, {"key": Ed25519PrivateKey.generate()}, "a key of P-384"),
    **{f"link {i} has expired": (i, {"not_after": NOW - 1}, "a time from") for i in range(4)},
    **{f"link {i} is not valid yet": (i, {"not_before": NOW + 1}, "a time from") for i in range(4)},
}


@pytest.mark.parametrize("name", WRONG_LINKS)
def test_a_certificate_that_is_not_of_its_role_or_time_is_refused(name: str) -> None:
    index, changes, why = WRONG_LINKS[name]
    error = refusal(with_link(index, **changes))
    assert error.check == "tee.5"
    assert why in str(error)


def test_an_extension_that_is_not_critical_is_no_reason_to_refuse() -> None:
    assert judge(with_link(3, extra=((UNKNOWN, False),))) == "accepted"


def test_an_expired_root_is_refused_although_it_is_held() -> None:
    young = aws.AwsAuthority.create(NOW - 10958 * DAY - 2)
    data = young.quote(report_data=USER_DATA, now=NOW)
    assert judge(data, roots=simulated(young.root_der)) == "tee.5"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (NOW - 4, "tee.5"),
        (NOW - 3, "accepted"),
        (NOW + 3 * 3600, "accepted"),
        (NOW + 3 * 3600 + 1, "tee.5"),
        (NOW + DAY, "tee.5"),
        (0, "tee.5"),
        (253402300799, "tee.5"),
        (2**40, "tee.5"),
    ],
)
def test_a_document_holds_as_long_as_its_leaf(now: int, expected: str) -> None:
    assert judge(GOOD, now=now) == expected


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ((NOW - 3) * 1000, "accepted"),
        ((NOW - 3) * 1000 - 1, "tee.5"),
        ((NOW + 3 * 3600) * 1000, "accepted"),
        ((NOW + 3 * 3600) * 1000 + 1, "tee.5"),
        (NOW, "tee.5"),
        (2**64 - 1, "tee.5"),
    ],
)
def test_a_timestamp_outside_the_leafs_life_is_refused(timestamp: int, expected: str) -> None:
    document = AUTHORITY.document(report_data=USER_DATA, now=NOW, chain=CHAIN)
    data = AUTHORITY.sign(aws.encode(document | {"timestamp": timestamp}))
    assert judge(data) == expected


# --- the signature (tee.7) -------------------------------------------------------------------


def changed(**changes: object) -> bytes:
    document = AUTHORITY.document(report_data=USER_DATA, now=NOW, pcrs=PCRS, chain=CHAIN)
    return aws.encode(document | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"user_data": b"something else".ljust(64, b".")},
        {"user_data": None},
        {"nonce": b"a nonce"},
        {"public_key": b"a key"},
        {"pcrs": {0: b"\x07" * 48}},
        {"module_id": "i-2"},
        {"timestamp": NOW * 1000 + 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_changed_document_is_refused_whoever_signs_it(changes: dict[str, object]) -> None:
    payload = changed(**changes)
    old = cbor2.loads(GOOD)[3]
    assert judge(cbor2.dumps([b"\xa1\x01\x38\x22", {}, payload, old])) == "tee.7"
    assert judge(aws.sign(payload, STRANGER)) == "tee.7"
    assert judge(OTHER.sign(payload)) == "tee.7"
    # Keys further up the chain do not vouch for documents either.
    for link in LINKS[:3]:
        assert judge(aws.sign(payload, link.key)) == "tee.7"
    assert judge(AUTHORITY.sign(payload)) == "accepted"


def test_a_document_under_a_leaf_of_ones_own_is_refused() -> None:
    links = [*LINKS[:3], replace(LINKS[3], key=STRANGER, signer=STRANGER)]
    payload = changed(certificate=AUTHORITY.chain(links)[-1])
    assert judge(aws.sign(payload, STRANGER)) == "tee.5"


def test_the_signature_of_another_document_is_refused() -> None:
    other = AUTHORITY.quote(report_data=b"other", now=NOW, pcrs=PCRS, chain=CHAIN)
    assert judge(GOOD[:-96] + other[-96:]) == "tee.7"


def test_the_other_s_is_accepted_by_design_and_says_the_same() -> None:
    s = int.from_bytes(GOOD[-48:], "big")
    assert verify(GOOD[:-48] + (ORDER - s).to_bytes(48, "big")) == verify(GOOD)


def test_a_tag_in_front_is_another_form_of_the_same() -> None:
    """The tag of COSE_Sign1 is not signed: with it and without, there would be two files."""
    tagged = AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=PCRS, chain=CHAIN, tagged=True)
    assert judge(tagged[1:]) == "accepted"
    for data in (tagged, b"\xd2" + GOOD):
        error = refusal(data)
        assert (error.check, error.expected) == ("tee.3", "none")


# --- every byte ------------------------------------------------------------------------------

FIELDS = nitro.parse(GOOD).fields
CONTENT = {field.name: field for field in FIELDS}
#: What refuses a changed byte of the content of a field.
BY_FIELD = {
    "payload.cabundle.0": {"tee.4"},
    **{f"payload.cabundle.{index}": {"tee.5"} for index in (1, 2, 3)},
    "payload.certificate": {"tee.5"},
    "payload.timestamp": {"tee.3", "tee.5", "tee.7"},
    "payload.module_id": {"tee.3", "tee.7"},
    "payload.digest": {"tee.3"},
    "payload.user_data": {"tee.7"},
    # A null that becomes an empty string, true or another item.
    "payload.public_key": {"tee.3"},
    "payload.nonce": {"tee.3", "tee.7"},
    "signature": {"tee.7"},
    **{f"payload.pcrs.{index}": {"tee.7"} for index in range(16)},
    # An index that becomes another one.
    **{f"payload.pcrs.{index}.key": {"tee.3", "tee.7"} for index in range(16)},
}


def flipped(at: int, change: int) -> bytes:
    data = bytearray(GOOD)
    data[at] ^= change
    return bytes(data)


def expected_at(at: int) -> set[str]:
    field = next(f for f in reversed(FIELDS) if f.offset <= at)
    return BY_FIELD.get(field.name, {"tee.3"})


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_anywhere_is_refused_by_the_check_of_its_field(at: int, change: int) -> None:
    assert judge(flipped(at, change)) in expected_at(at)


def test_a_changed_byte_in_each_field_is_refused() -> None:
    """One byte of each field: its first, last or one in between, by turns."""
    for turn, field in enumerate(field for field in FIELDS if field.data):
        at = field.offset + (0, len(field.data) // 2, len(field.data) - 1)[turn % 3]
        assert judge(flipped(at, 1 << turn % 8)) in expected_at(at), field


@given(st.integers(0, len(GOOD) - 1))
def test_a_truncated_document_is_refused(length: int) -> None:
    assert judge(GOOD[:length]) == "tee.3"


# --- beside the document ---------------------------------------------------------------------


def test_evidence_of_another_platform_is_misuse() -> None:
    with pytest.raises(UsageError, match="nitro"):
        nitro.verify(Attestation(Platform.TDX, GOOD), ROOTS, NOW)


def test_collateral_has_no_place() -> None:
    evidence = Attestation(Platform.NITRO, GOOD, collateral=b"{}")
    assert number(lambda: nitro.verify(evidence, ROOTS, NOW)) == "tee.2"


@pytest.mark.parametrize(
    ("pcrs", "debug"),
    [
        (PCRS, False),
        ({}, True),
        ({0: b"\1" * 48}, True),
        ({0: b"\1" * 48, 1: b"\1" * 48}, True),
        ({3: b"\1" * 48, 4: b"\1" * 48}, True),
    ],
)
def test_an_image_that_is_not_measured_counts_as_debug(pcrs: dict[int, bytes], debug: bool) -> None:
    data = AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=pcrs, chain=CHAIN)
    assert verify(data).attributes["debug"] is debug


def test_a_debug_enclave_is_seen_and_so_is_a_register_that_is_not_shown() -> None:
    data = AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=PCRS, debug=True, chain=CHAIN)
    assert verify(data).attributes["debug"]
    shown = {index: PCRS[index] for index in (0, 2)}
    assert verify(AUTHORITY.sign(changed(pcrs=shown))).attributes["debug"]


def test_what_only_nitro_has_is_found_and_nothing_is_refuted_for_being_absent() -> None:
    plain = {finding.claim: finding for finding in nitro.appraise(verify(GOOD))}
    assert {finding.truth for finding in plain.values()} == {Truth.UNKNOWN}
    pcrs = PCRS | {3: b"\3" * 48, 8: b"\x08" * 48}
    data = AUTHORITY.quote(report_data=USER_DATA, now=NOW, pcrs=pcrs, chain=CHAIN)
    found = {finding.claim: finding for finding in nitro.appraise(verify(data))}
    signed = found["the certificate that signed the image is measured"]
    assert (signed.truth, signed.source) == (Truth.ASSERTED, Source.HARDWARE)
    assert signed.detail == "pcr8 is " + "08" * 48
    assert found["the parent instance's role is measured"].truth is Truth.ASSERTED
    assert found["the parent instance's id is measured"].truth is Truth.UNKNOWN
    revoked = found["no certificate of the chain was revoked"]
    assert (revoked.number, revoked.truth) == ("tee.6", Truth.UNKNOWN)
