"""Simulated SGX and TDX quotes: every check by an attacker who signs all that he can.

He has the platform's own keys where a test says so; what he never has is the root's.
"""

from __future__ import annotations

import json
from dataclasses import replace
from types import ModuleType

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.tee import one_form, sgx, tdx
from proofml.tee.platform import Attestation, Platform
from proofml.tee.roots import fingerprint
from proofml.tee.simulator.intel import IntelAuthority, raw_signature
from proofml.tee.simulator.intel_certificates import (
    DAY,
    YEAR,
    issue,
    revocations,
)
from tests.tee.conftest import NOW
from tests.tee.intel_cases import BODIES, DATA, TEXTS, Bench, body_with
from tests.tee.platform_cases import flipped, number


@pytest.fixture(params=sorted(BODIES))
def bench(request: pytest.FixtureRequest, intel: IntelAuthority) -> Bench:
    return Bench(intel, request.param)


# -- tee.3 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 7, 12, 27])
def test_tee_3_header(bench: Bench, at: int) -> None:
    """Another version, key type, platform or vendor, and the quote signed by the platform."""
    honest = bench.quote[at]
    for value in {honest ^ 1, honest ^ 0x80, 0xFF - honest}:
        assert bench.judge(bench.authority.sign(bench.body, NOW, header={at: value})) == "tee.3"


def test_tee_3_the_other_kind_of_platform(bench: Bench) -> None:
    """A trust domain that says it is an enclave, and an enclave that says it is a domain."""
    kind = 0x81 if bench.platform is Platform.SGX else 0
    assert bench.judge(bench.authority.sign(bench.body, NOW, header={4: kind})) == "tee.3"
    for version in {3, 4, 5} - {bench.body.version}:
        quote = bench.authority.sign(bench.body, NOW, header={0: version})
        assert bench.judge(quote) == "tee.3"


def test_tee_3_reserved_bytes(intel: IntelAuthority) -> None:
    """Signed by the platform itself: what is reserved has to be zero all the same."""
    reserved = (20, 31, 48 + 7, 96, 127, 160, 191, 262, 303)
    bench = Bench(intel, "sgx-v3")
    for at in reserved:
        assert bench.judge(intel.sign(body_with(bench.body, {at: 0x80}), NOW)) == "tee.3"
    for name in ("tdx-v4", "tdx-v5", "tdx-v5-td15"):
        bench = Bench(intel, name)
        # Bits 1 to 3, 7 to 15, 17 to 26 and 32 to 61 of the attributes, and SEAM attributes.
        for at, value in ((112, 1), (119, 1), (120, 2), (121, 2), (122, 2), (123, 4), (124, 1)):
            body = body_with(bench.body, {at: value | bench.body.data[at]})
            assert bench.judge(intel.sign(body, NOW)) == "tee.3"
        report = bytearray(intel.qe_report(bench.platform, bytes(range(32))))
        for at in reserved:
            changed = bytes(report[:at]) + b"\x80" + bytes(report[at + 1 :])
            assert bench.judge(intel.sign(bench.body, NOW, qe_report=changed)) == "tee.3"


def test_tee_3_certification_data(bench: Bench) -> None:
    """Types that are not the chain, and lengths that are not those of what follows."""
    quote = bench.quote
    chain = quote.index(b"-----BEGIN")
    outer = quote.index(bytes(range(32)) + b"\5\0") - 2 - 64 - 384 - 6
    found = [chain - 6] if bench.body.version == 3 else [chain - 6, outer]
    for at in found:
        for kind in {1, 2, 3, 4, 5, 6, 7, 256} - {int.from_bytes(quote[at : at + 2], "little")}:
            changed = quote[:at] + kind.to_bytes(2, "little") + quote[at + 2 :]
            assert bench.judge(changed) == "tee.3"
    signature = 48 + len(bench.body.data) + (6 if bench.body.version == 5 else 0)
    for at in (*(one + 2 for one in found), signature):
        honest = int.from_bytes(quote[at : at + 4], "little")
        for size in (honest - 1, honest + 1, 0, 2**31, 2**32 - 1):
            changed = quote[:at] + size.to_bytes(4, "little") + quote[at + 4 :]
            assert bench.judge(changed) == "tee.3"
    assert bench.judge(bench.authority.sign(bench.body, NOW, auth=bytes(1025))) == "tee.3"
    long = bench.authority.chain(NOW) * 40
    assert bench.judge(bench.authority.sign(bench.body, NOW, chain=long)) == "tee.3"


def test_tee_3_bodies_of_version_5(intel: IntelAuthority) -> None:
    for name in ("tdx-v5", "tdx-v5-td15"):
        bench = Bench(intel, name)
        for kind in (0, 1, 4, 5 - bench.body.kind, 258):
            body = replace(bench.body, kind=2)  # what it is signed as decides the TEE type
            quote = bytearray(intel.sign(body, NOW))
            quote[48:50] = kind.to_bytes(2, "little")
            assert bench.judge(bytes(quote)) == "tee.3"
        for size in (0, 583, 585, 647, 649):
            quote = bytearray(bench.quote)
            quote[50:54] = size.to_bytes(4, "little")
            assert bench.judge(bytes(quote)) == "tee.3"


def test_tee_3_lengths(bench: Bench) -> None:
    quote = bench.quote
    for changed in (quote[:-1], quote + b"\1", quote[:100], b"", quote + b"\0" * 16 + b"x"):
        assert bench.judge(changed) == "tee.3"
    assert bench.judge(quote + bytes(64)) == "accepted"  # a guest's buffer ends in zeros
    assert bench.judge(quote + bytes(1 << 18)) == "tee.3"


# -- tee.4, tee.5 ------------------------------------------------------------------------------


def test_tee_4_a_root_of_his_own(bench: Bench) -> None:
    """All of it is honest under another root that has the same names."""
    other = IntelAuthority.create(NOW)
    quote = other.sign(bench.body, NOW)
    collateral = other.collateral(NOW, platform=bench.platform)
    assert bench.judge(quote, collateral) == "tee.4"
    # The quote is his own, the collateral is the honest one, and the reverse.
    assert bench.judge(quote) == "tee.4"
    assert bench.judge(None, collateral) == "tee.4"


def test_tee_4_one_part_of_the_collateral_by_a_root_of_his_own(bench: Bench) -> None:
    other = IntelAuthority.create(NOW)
    theirs = json.loads(other.collateral(NOW, platform=bench.platform))
    for text, chain in zip(
        TEXTS, ("tcb_info_issuer_chain", "qe_identity_issuer_chain"), strict=True
    ):
        parts = {name: theirs[name] for name in (text, f"{text}_signature", chain)}
        assert bench.judge(None, bench.changed(**parts)) == "tee.4"


def test_tee_5_collateral_by_another_root_that_the_verifier_holds(bench: Bench) -> None:
    """Two roots are trusted; what one of them says is nothing about the platforms of the other."""
    other = IntelAuthority.create(NOW)
    roots = bench.roots.with_simulated([fingerprint(other.root_der)])
    theirs = other.collateral(NOW, platform=bench.platform)
    assert bench.judge(None, theirs, roots=roots) == "tee.5"
    assert bench.judge(other.sign(bench.body, NOW), theirs, roots=roots) == "accepted"
    parts = json.loads(theirs)
    lists = {name: parts[name] for name in ("root_ca_crl", "pck_crl", "pck_crl_issuer_chain")}
    assert bench.judge(None, bench.changed(**lists), roots=roots) == "tee.6"
    for text, chain in zip(
        TEXTS, ("tcb_info_issuer_chain", "qe_identity_issuer_chain"), strict=True
    ):
        some = {name: parts[name] for name in (text, f"{text}_signature", chain)}
        assert bench.judge(None, bench.changed(**some), roots=roots) == "tee.5"


def test_tee_5_a_chain_that_ends_in_the_root_in_name_only(bench: Bench) -> None:
    authority = bench.authority
    own = ec.generate_private_key(ec.SECP256R1())
    leaf, between, root = authority.chain(NOW)
    forged = issue(replace(authority.pck(NOW), key=own, signer=own), between, own)
    quote = authority.sign(bench.body, NOW, chain=(forged, between, root), pck_key=own)
    assert bench.judge(quote) == "tee.5"
    issuer = replace(authority.issuer(NOW), key=own, signer=own)
    between = issue(issuer, root, own)
    forged = issue(authority.pck(NOW), between, own)
    assert bench.judge(authority.sign(bench.body, NOW, chain=(forged, between, root))) == "tee.5"
    assert bench.judge(authority.sign(bench.body, NOW, chain=(leaf, root))) == "tee.5"
    assert bench.judge(authority.sign(bench.body, NOW, chain=(between, leaf, root))) == "tee.5"
    assert (
        bench.judge(authority.sign(bench.body, NOW, chain=(leaf, between, root, root))) == "tee.5"
    )
    assert bench.judge(authority.sign(bench.body, NOW, chain=(leaf, between))) == "tee.5"


def test_tee_5_chains_of_another_form(bench: Bench) -> None:
    """The text of each chain is its certificates and nothing else; and its length is fixed."""
    quote, end = bench.quote, b"-----END CERTIFICATE-----\n"
    assert quote.endswith(end)
    # Text between certificates, of the length of what it replaces: nothing else changes.
    broken = quote[: -len(end)] + b"-----END CERTIFICATE-----\r"
    assert bench.judge(broken) == "tee.5"
    for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain"):
        text = json.loads(bench.collateral)[name]
        first, last = (f"-----BEGIN{one}" for one in text.split("-----BEGIN")[1:])
        for changed in (text + "\n", "remark\n" + text, first, last, first + last + last, ""):
            assert bench.judge(None, bench.changed(**{name: changed})) == "tee.5"
        # The root by itself is no signing chain, nor is a chain in another order.
        assert bench.judge(None, bench.changed(**{name: last + last})) == "tee.5"
        assert bench.judge(None, bench.changed(**{name: last + first})) == "tee.4"


def test_tee_5_an_issuer_of_another_curve(bench: Bench) -> None:
    """The root itself certifies an authority on P-384, which Intel has none of."""
    authority = bench.authority
    issuer = replace(authority.issuer(NOW), key=ec.generate_private_key(ec.SECP384R1()))
    chain = authority.chain(NOW, issuer=issuer)
    between = chain[1]
    pem = "".join(one.public_bytes(Encoding.PEM).decode() for one in chain[1:])
    made = revocations(between, issuer.key, NOW, (), 30).public_bytes(Encoding.DER).hex()
    collateral = bench.changed(pck_crl=made, pck_crl_issuer_chain=pem)
    quote = authority.sign(bench.body, NOW, chain=chain)
    assert bench.judge(quote, collateral) == "tee.5 by dcap-qvl"
    # The same of the keys that sign data.
    own = ec.generate_private_key(ec.SECP384R1())
    chain = authority.chain(NOW, pck=replace(authority.pck(NOW), key=own))
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.5"
    link = replace(authority.tcb_signing(NOW), key=own)
    pem = "".join(
        one.public_bytes(Encoding.PEM).decode()
        for one in authority.signer(NOW, tcb_signing=link).chain
    )
    for name in ("tcb_info_issuer_chain", "qe_identity_issuer_chain"):
        assert bench.judge(None, bench.changed(**{name: pem})) == "tee.5"


@pytest.mark.parametrize(("before", "after"), [(NOW + DAY, NOW + YEAR), (NOW - YEAR, NOW - DAY)])
def test_tee_5_certificates_out_of_time(bench: Bench, before: int, after: int) -> None:
    authority = bench.authority
    late = {"not_before": before, "not_after": after}
    chain = authority.chain(NOW, pck=replace(authority.pck(NOW), **late))
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.5"
    chain = authority.chain(NOW, issuer=replace(authority.issuer(NOW), **late))
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain)) == "tee.5"
    link = replace(authority.tcb_signing(NOW), **late)
    assert bench.judge(None, bench.made(tcb_signing=link)) == "tee.5"


def test_tee_5_a_pck_key_that_plays_an_authority(bench: Bench) -> None:
    """Whoever has a PCK key certifies another one with it."""
    authority = bench.authority
    pck = authority.pck(NOW)
    leaf = issue(pck, authority.chain(NOW)[1], authority.keys["platform"])
    own = replace(pck, key=ec.generate_private_key(ec.SECP256R1()))
    below = issue(own, leaf, pck.key)
    chain = (below, leaf, authority.root)
    assert bench.judge(authority.sign(bench.body, NOW, chain=chain, pck_key=own.key)) == "tee.5"


def test_tee_5_a_pck_key_that_signs_tcb_information(bench: Bench) -> None:
    """The PCK key is under the same root, but it is no TCB signing key."""
    authority = bench.authority
    link = replace(authority.pck(NOW), key=authority.keys["pck"])
    assert bench.judge(None, bench.made(tcb_signing=link)) == "tee.5"
    # Under the platform CA, as it really is.
    leaf, between, root = (one.public_bytes(Encoding.PEM).decode() for one in authority.chain(NOW))
    for name, text in (
        ("tcb_info_issuer_chain", "tcb_info"),
        ("qe_identity_issuer_chain", TEXTS[1]),
    ):
        value = json.loads(bench.collateral)[text]
        signature = raw_signature(authority.keys["pck"], value.encode()).hex()
        made = bench.changed(**{name: leaf + between + root, f"{text}_signature": signature})
        assert bench.judge(None, made) == "tee.5"


# -- tee.6 -------------------------------------------------------------------------------------


def test_tee_6_revoked(bench: Bench) -> None:
    assert bench.judge(None, bench.made(revoked_pck=(0x2002,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x2001,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x2003,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x3000,), revoked_pck=(0x3000,))) == "accepted"
    # The root itself; and a certificate that is on the list of somebody who did not issue it.
    root = bench.authority.root.serial_number
    assert bench.judge(None, bench.made(revoked=(root,))) == "tee.6"
    assert bench.judge(None, bench.made(revoked=(0x2002,), revoked_pck=(0x2001,))) == "accepted"


def test_tee_6_a_list_that_does_not_name_him(bench: Bench) -> None:
    """His PCK certificate is revoked, and he brings the list of the other authority instead."""
    made = json.loads(bench.made(revoked_pck=(0x2002,)))
    other = json.loads(bench.made(processor=True))
    names = ("pck_crl", "pck_crl_issuer_chain")
    assert bench.judge(None, bench.changed(**{name: made[name] for name in names})) == "tee.6"
    assert bench.judge(None, bench.changed(**{name: other[name] for name in names})) == "tee.6"
    assert bench.judge(None, bench.changed(pck_crl=other["pck_crl"])) == "tee.6"
    # A list that he signs himself, by the keys that he has.
    leaf, between, _ = bench.authority.chain(NOW)
    for key in ("pck", "attestation", "tcb"):
        own = revocations(between, bench.authority.keys[key], NOW, (), 30)
        changed = bench.changed(pck_crl=own.public_bytes(Encoding.DER).hex())
        assert bench.judge(None, changed) == "tee.6"
    own = revocations(leaf, bench.authority.keys["pck"], NOW, (), 30)
    assert bench.judge(None, bench.changed(pck_crl=own.public_bytes(Encoding.DER).hex())) == "tee.6"


SCOPES: tuple[tuple[x509.ExtensionType, str], ...] = (
    (x509.IssuingDistributionPoint(None, None, True, False, None, False, False), "only users"),
    (x509.IssuingDistributionPoint(None, None, False, True, None, False, False), "only CAs"),
    (x509.DeltaCRLIndicator(1), "only changes"),
)


@pytest.mark.parametrize(("scope", "what"), SCOPES, ids=[what for _, what in SCOPES])
def test_tee_6_lists_of_a_part(bench: Bench, scope: x509.ExtensionType, what: str) -> None:
    """Signed by who has to sign, but not the whole list; critical as the standard wants it."""
    authority = bench.authority
    between = authority.chain(NOW)[1]
    for name, issuer, key in (
        ("root_ca_crl", authority.root, "root"),
        ("pck_crl", between, "platform"),
    ):
        for critical, judged in ((True, "tee.6"), (False, "tee.6 by dcap-qvl")):
            made = revocations(issuer, authority.keys[key], NOW, (), 30)
            assert made.next_update_utc is not None
            builder = (
                x509.CertificateRevocationListBuilder()
                .issuer_name(issuer.subject)
                .last_update(made.last_update_utc)
                .next_update(made.next_update_utc)
                .add_extension(scope, critical)
            )
            for extension in made.extensions:
                builder = builder.add_extension(extension.value, extension.critical)
            der = builder.sign(authority.keys[key], hashes.SHA256()).public_bytes(Encoding.DER)
            assert bench.judge(None, bench.changed(**{name: der.hex()})) == judged


def test_tee_6_lists_out_of_date_or_foreign(bench: Bench) -> None:
    assert bench.judge(None, bench.made(list_days=0)) == "tee.6"
    # Of each by itself, and one that holds from tomorrow on.
    late = json.loads(bench.made(list_days=0))
    early = json.loads(bench.authority.collateral(NOW + 2 * DAY, platform=bench.platform))
    for name in ("root_ca_crl", "pck_crl"):
        assert bench.judge(None, bench.changed(**{name: late[name]})) == "tee.6"
        assert bench.judge(None, bench.changed(**{name: early[name]})) == "tee.6"
    other = json.loads(IntelAuthority.create(NOW).collateral(NOW, platform=bench.platform))
    for name in ("root_ca_crl", "pck_crl"):
        value = json.loads(bench.collateral)
        value[name] = other[name]
        assert bench.judge(None, json.dumps(value).encode()) == "tee.6"
        value[name] = ""
        assert bench.judge(None, json.dumps(value).encode()) == "tee.6"
    swapped = json.loads(bench.collateral)
    swapped["pck_crl"], swapped["root_ca_crl"] = swapped["root_ca_crl"], swapped["pck_crl"]
    assert bench.judge(None, json.dumps(swapped).encode()) == "tee.6"


# -- tee.7 -------------------------------------------------------------------------------------


def test_tee_7_each_signature(bench: Bench) -> None:
    authority = bench.authority
    own = ec.generate_private_key(ec.SECP256R1())
    # Header and body by another key; the enclave's report by another key.
    assert bench.judge(authority.sign(bench.body, NOW, key=own)) == "tee.7"
    assert bench.judge(authority.sign(bench.body, NOW, pck_key=own)) == "tee.7"


def test_tee_7_an_attestation_key_of_his_own(bench: Bench) -> None:
    """He keeps the honest enclave's signed report, and signs the quote with a key that it does
    not name."""
    authority = bench.authority
    forger = IntelAuthority(
        {**authority.keys, "attestation": ec.generate_private_key(ec.SECP256R1())},
        authority.root_der,
    )
    report = authority.qe_report(bench.platform, bytes(range(32)))
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=report)) == "tee.7"
    # The key is named, and something more behind it; the name is of other authentication data.
    named = forger.qe_report(bench.platform, bytes(range(32)))
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=named[:-1] + b"\1")) == "tee.7"
    assert bench.judge(forger.sign(bench.body, NOW, qe_report=named, auth=b"other")) == "tee.7"


def test_tee_7_a_key_that_is_none(bench: Bench) -> None:
    """The enclave's signed report names it, and it is no point of the curve."""
    for point in (bytes(64), b"\xff" * 64, bytes(63) + b"\1"):
        assert bench.judge(bench.authority.sign(bench.body, NOW, point=point)) == "tee.7"


def test_tee_7_authentication_data_of_another_size(bench: Bench) -> None:
    """Named and signed as it has to be; Intel's enclave has 32 bytes."""
    for size in (0, 31, 33):
        quote = bench.authority.sign(bench.body, NOW, auth=bytes(size))
        assert bench.judge(quote) == "tee.7 by dcap-qvl"


def test_tee_7_signatures_without_a_value(bench: Bench) -> None:
    """r and s that every weak verifier takes: zeros, and the order of the group."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    start = 52 + len(bench.body.data) + (6 if bench.body.version == 5 else 0)
    report = start + 128 + (6 if bench.body.version >= 4 else 0) + 384
    for at in (start, report):
        for value in (bytes(64), order.to_bytes(32, "big") * 2, b"\xff" * 64):
            assert bench.judge(bench.quote[:at] + value + bench.quote[at + 64 :]) == "tee.7"


def test_tee_7_a_body_from_another_quote(bench: Bench) -> None:
    other = bench.authority.sign(bench.make(report_data=DATA[::-1]), NOW)
    size = 48 + len(bench.body.data) + (6 if bench.body.version == 5 else 0)
    assert bench.judge(other[:size] + bench.quote[size:]) == "tee.7"


# -- any bytes -------------------------------------------------------------------------------


#: Field -> the checks that may refuse one flipped bit of it; the longest name that fits counts.
REGIONS = {
    "header": {"tee.3"},
    "header.qe_svn": {"tee.3", "tee.7"},  # reserved in TDX quotes
    "header.pce_svn": {"tee.3", "tee.7"},
    "header.user_data": {"tee.7"},
    "body": {"tee.3"},
    "td": {"tee.7"},
    "td.seam_attributes": {"tee.3"},
    "td.attributes": {"tee.3", "tee.7"},
    "report": {"tee.7"},
    "report.attributes": {"tee.3", "tee.7"},
    "report.reserved": {"tee.3"},
    "signature": {"tee.7"},
    "signature_length": {"tee.3"},
    "signature.certification": {"tee.3"},
    "qe_report": {"tee.7"},
    "qe_report.attributes": {"tee.3", "tee.7"},
    "qe_report.reserved": {"tee.3"},
    "qe_report_signature": {"tee.7"},
    "qe_auth": {"tee.7"},
    "qe_auth_length": {"tee.3"},
    "pck_chain": {"tee.3"},
    "pck_chain.pem": {"tee.4", "tee.5"},
}


def test_one_bit_of_every_region(bench: Bench) -> None:
    for field in bench.module.parse(bench.quote).fields:
        region = max((one for one in REGIONS if field.name.startswith(one)), key=len)
        for at in (field.offset, field.offset + len(field.data) // 2):
            for bit in (8 * at, 8 * at + 7):
                found = bench.judge(flipped(bench.quote, bit))
                assert found in REGIONS[region], (field.name, bit, found)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_one_bit_of_quote_or_collateral(bench: Bench, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(bench.quote) - 1))
    assert bench.judge(flipped(bench.quote, bit)) != "accepted"
    evidence = one_form.normalised(Attestation(bench.platform, bench.quote, bench.collateral))
    one_form.check_form(evidence)
    bit = data.draw(st.integers(0, 8 * len(evidence.collateral) - 1))
    changed = flipped(evidence.collateral, bit)
    if bench.judge(None, changed) == "accepted":
        # Nothing but how the JSON is written (a space for another, a digit in upper case), which
        # evidence in a proof has one form of.
        mine, theirs = json.loads(evidence.collateral), json.loads(changed)
        assert {key: one.lower() for key, one in mine.items()} == {
            key: one.lower() for key, one in theirs.items()
        }
        other = replace(evidence, collateral=changed)
        assert number(lambda: one_form.check_form(other)) == "tee.2"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=2000), st.sampled_from([tdx, sgx]))
def test_any_bytes(data: bytes, module: ModuleType) -> None:
    assert number(lambda: module.parse(data)) == "tee.3"
