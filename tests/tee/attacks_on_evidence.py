"""Lies about the machine: forms, roots, certificates, lists, signatures, collateral, its state."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from proofml.canonical import dumps
from proofml.tee.binding import Mode
from proofml.tee.platform import Platform
from proofml.tee.simulator import amd_report
from proofml.tee.simulator.intel_collateral import EVALUATION

from .attacks import (
    ALL,
    BOTH,
    INFERENCE,
    INTEL,
    Forged,
    attack,
    requoted,
    taken_apart,
    with_parts,
)
from .workshop import LEVELS, Enclave, Verifier, authority, later, quoter

HOUR, DAY, YEAR = 3600, 86400, 365 * 86400
AMD = (Platform.SEV_SNP,)
NITRO = (Platform.NITRO,)
LISTED = (*INTEL, Platform.SEV_SNP)


def damaged(
    platform: Platform, mode: Mode, section: str, change: Callable[[bytes], bytes]
) -> bytes:
    """An honest proof with one section changed, and all digests recomputed."""
    lie = taken_apart(platform, mode)
    lie.sections[section] = change(lie.sections[section])
    return lie.forge()


def with_collateral(
    platform: Platform,
    mode: Mode,
    change: Callable[[bytes], bytes] = lambda data: data,
    **knobs: Any,
) -> bytes:
    """Honest evidence with other collateral of the same authority, made in the same second."""
    now = later(0)
    if platform in INTEL:
        knobs["platform"] = platform
    made = change(authority(platform).collateral(now, **knobs))
    enclave = Enclave.start(platform, mode, on=quoter(platform, clock=lambda: now))
    return with_parts(enclave, lambda parts: requoted(parts, collateral=made))


# -- form -----------------------------------------------------------------------------------------


@attack("tee.1")
def platform_that_does_not_exist(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.statement["computation"]["detail"]["platform"] = "trustzone"
    return Forged(lie.forge())


@attack("tee.1")
def a_word_more_in_the_record(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.statement["computation"]["detail"]["debug"] = False
    return Forged(lie.forge())


@attack("tee.1")
def any_weights_of_the_architecture(platform: Platform, mode: Mode) -> Forged:
    from .workshop import model

    lie = taken_apart(platform, mode)
    lie.statement["model"] = model().architecture_claim.to_json()
    return Forged(lie.forge())


@attack("tee.2")
def mode_of_the_other_kind(platform: Platform, mode: Mode) -> Forged:
    """The Statement says one mode, the evidence is of the other."""
    lie = taken_apart(platform, mode)
    other = next(one for one in BOTH if one is not mode)
    lie.statement["computation"]["detail"]["mode"] = other
    return Forged(lie.forge())


@attack("tee.2")
def evidence_that_nobody_reads(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.sections["report-data"] = b"a copy for those who do not look at the quote"
    return Forged(lie.forge())


@attack("tee.2")
def configuration_that_is_left_out(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    del lie.sections["config"]
    return Forged(lie.forge())


@attack("tee.2")
def one_output_hidden(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.hide("output.0")
    return Forged(lie.forge())


@attack("tee.2", INTEL)
def collateral_in_another_form(platform: Platform, mode: Mode) -> Forged:
    """The same content with its keys in another order."""

    def change(data: bytes) -> bytes:
        return json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode()

    return Forged(damaged(platform, mode, "collateral", change))


@attack("tee.3", (Platform.TDX, Platform.SGX))
def zeros_behind_the_quote(platform: Platform, mode: Mode) -> Forged:
    """As guests hand them out; what stands there, nobody signs."""
    return Forged(damaged(platform, mode, "quote", lambda data: data + bytes(8)))


@attack("tee.2", modes=(Mode.SESSION,))
def session_record_in_another_form(platform: Platform, mode: Mode) -> Forged:
    """The same content with a space in it."""
    return Forged(damaged(platform, mode, "session", lambda data: data.replace(b":", b": ", 1)))


@attack("tee.3")
def quote_cut_short(platform: Platform, mode: Mode) -> Forged:
    return Forged(damaged(platform, mode, "quote", lambda data: data[:-1]))


@attack("tee.3")
def quote_of_another_platform(platform: Platform, mode: Mode) -> Forged:
    other = ALL[(ALL.index(platform) + 1) % len(ALL)]
    quote = quoter(other).quote(bytes(64)).quote
    return Forged(damaged(platform, mode, "quote", lambda data: quote))


@attack("tee.3", NITRO)
def key_that_nobody_knows(platform: Platform, mode: Mode) -> Forged:
    """Signed by the enclave's key: a module that is not AWS's would have to do it."""
    return Forged(_redocumented(platform, mode, lambda found: {**found, "pcrs2": {}}))


@attack("tee.3", NITRO)
def algorithm_of_his_choice(platform: Platform, mode: Mode) -> Forged:
    """The protected header names HMAC, under the public key as its secret."""

    def change(data: bytes) -> bytes:
        _, unprotected, payload, signature = cbor2.loads(data)
        return cbor2.dumps([cbor2.dumps({1: 6}), unprotected, payload, signature])

    return Forged(damaged(platform, mode, "quote", change))


def _redocumented(
    platform: Platform, mode: Mode, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> bytes:
    """A Nitro document with another content, signed by the same key."""
    root = authority(platform)
    enclave = Enclave.start(platform, mode)

    def again(data: bytes) -> bytes:
        found = cbor2.loads(cbor2.loads(data)[2])
        return root.sign(cbor2.dumps(change(found)))

    return with_parts(enclave, lambda parts: requoted(parts, quote=again(parts.attestation.quote)))


# -- roots and certificates -----------------------------------------------------------------------


@attack("tee.4")
def root_of_his_own(platform: Platform, mode: Mode) -> Forged:
    """A whole software platform of his own, with the same names, and an honest service on it."""
    mine = quoter(platform, owner="attacker")
    return Forged(Enclave.start(platform, mode, on=mine).proof())


@attack("tee.4")
def simulated_root_where_none_is_known(platform: Platform, mode: Mode) -> Forged:
    """Under the vendors' roots alone."""
    return Forged(Enclave.start(platform, mode).proof(), Verifier({"simulated_roots": None}))


@attack("tee.5")
def certificates_that_have_expired(platform: Platform, mode: Mode) -> Forged:
    """Evidence of long ago, shown now."""
    seconds = 4 * HOUR if platform is Platform.NITRO else 31 * YEAR
    return Forged(Enclave.start(platform, mode).proof(), _in(seconds))


def _in(seconds: int) -> Verifier:
    """A verifier that much later."""
    allow = (*Verifier().allow, "tee-time:pinned")
    return Verifier({"at": later(seconds)}, allow=allow)


@attack("tee.5")
def certificates_that_do_not_hold_yet(platform: Platform, mode: Mode) -> Forged:
    return Forged(Enclave.start(platform, mode).proof(), _in(-10 * DAY))


@attack("tee.5", NITRO)
def leaf_signed_by_himself(platform: Platform, mode: Mode) -> Forged:
    """The vendor's chain, and a last certificate for a key of his own."""
    root, mine = authority(platform), authority(platform, "attacker")
    now = later(0)

    def change(found: dict[str, Any]) -> dict[str, Any]:
        links = mine.links(now)
        forged = root.chain([*root.links(now)[:3], replace(links[3], signer=links[3].key)])
        return {**found, "certificate": forged[-1], "cabundle": list(forged[:-1])}

    enclave = Enclave.start(platform, mode)

    def again(data: bytes) -> bytes:
        found = cbor2.loads(cbor2.loads(data)[2])
        return mine.sign(cbor2.dumps(change(found)))

    return Forged(
        with_parts(enclave, lambda parts: requoted(parts, quote=again(parts.attestation.quote)))
    )


@attack("tee.5", AMD)
def chip_key_signed_by_himself(platform: Platform, mode: Mode) -> Forged:
    """A chip of his own under the vendor's intermediate, which never signed for it."""
    root, mine = authority(platform), authority(platform, "attacker")
    chip = ec.generate_private_key(ec.SECP384R1())
    leaf = replace(root.leaf(later(0)), key=chip, signer=mine.keys["ark"])
    made = root.collateral(later(0), leaf=leaf)
    enclave = Enclave.start(platform, mode)
    return Forged(
        with_parts(
            enclave,
            lambda parts: requoted(
                parts, quote=amd_report.sign(parts.attestation.quote, chip), collateral=made
            ),
        )
    )


@attack("tee.6", INTEL)
def machine_that_was_revoked(platform: Platform, mode: Mode) -> Forged:
    serial = authority(platform).pck(later(0)).serial
    return Forged(with_collateral(platform, mode, revoked_pck=(serial,)))


@attack("tee.6", INTEL)
def issuer_that_was_revoked(platform: Platform, mode: Mode) -> Forged:
    serial = authority(platform).issuer(later(0)).serial
    return Forged(with_collateral(platform, mode, revoked=(serial,)))


@attack("tee.6", AMD)
def intermediate_that_was_revoked(platform: Platform, mode: Mode) -> Forged:
    root = authority(platform)
    now = later(0)
    crl = root.revocations(now, [root.intermediate(now).serial])
    return Forged(with_collateral(platform, mode, crl=crl))


@attack("tee.6", AMD)
def list_of_his_own(platform: Platform, mode: Mode) -> Forged:
    """With nobody on it who matters, signed by a root of his own of the same name."""
    mine = authority(platform, "attacker").keys["ark"]
    crl = authority(platform).revocations(later(0), [0xDEAD], signer=mine)
    return Forged(with_collateral(platform, mode, crl=crl))


@attack("tee.6", INTEL)
def list_that_is_left_out(platform: Platform, mode: Mode) -> Forged:
    def change(data: bytes) -> bytes:
        return dumps({**json.loads(data), "pck_crl": ""})

    return Forged(damaged(platform, mode, "collateral", change))


@attack("tee.6", LISTED)
def list_that_is_stale(platform: Platform, mode: Mode) -> Forged:
    """From before the machine was revoked."""
    return Forged(Enclave.start(platform, mode).proof(), _in(40 * DAY))


# -- signatures and collateral --------------------------------------------------------------------

#: Where report data stands in the quotes whose layout is fixed.
REPORT_DATA = {Platform.TDX: 568, Platform.SGX: 368, Platform.SEV_SNP: 0x50}


@attack("tee.7")
def report_data_written_over(platform: Platform, mode: Mode) -> Forged:
    """A quote of his own guest, with the report data that it should have."""
    honest = Enclave.start(platform, mode)
    found = honest.infer()
    wanted = _report_data(platform, honest.parts(found).attestation.quote)
    other = quoter(platform).quote(b"\x5a" * 64).quote
    forged = other.replace(b"\x5a" * 64, wanted)
    assert forged != other
    from .workshop import assembled

    return Forged(assembled(found, requoted(honest.parts(found), quote=forged)))


def _report_data(platform: Platform, quote: bytes) -> bytes:
    if platform is Platform.NITRO:
        return bytes(cbor2.loads(cbor2.loads(quote)[2])["user_data"])
    start = REPORT_DATA[platform]
    return quote[start : start + 64]


@attack("tee.7")
def measurement_written_over(platform: Platform, mode: Mode) -> Forged:
    """Code of his own, with the measurement of the honest one written into its quote."""
    from .workshop import code

    guest = quoter(platform, other_code=True)
    enclave = Enclave.start(platform, mode, on=guest)
    (honest,) = code(platform).values()
    mine = bytes.fromhex(honest[::-1])
    return Forged(
        with_parts(
            enclave,
            lambda parts: requoted(
                parts, quote=parts.attestation.quote.replace(mine, bytes.fromhex(honest))
            ),
        )
    )


@attack("tee.8", INTEL)
def identity_that_is_missing(platform: Platform, mode: Mode) -> Forged:
    """Without it any enclave of Intel's would pass for the quoting one."""
    return Forged(with_collateral(platform, mode, without_identity=True))


@attack("tee.8", INTEL)
def collateral_that_is_stale(platform: Platform, mode: Mode) -> Forged:
    """TCB information from before a hole was known; the lists are younger."""
    return Forged(with_collateral(platform, mode, text_days=3), _in(5 * DAY))


@attack("tee.8", INTEL)
def collateral_of_another_platform(platform: Platform, mode: Mode) -> Forged:
    """The TCB information of a machine that is up to date."""
    return Forged(with_collateral(platform, mode, fmspc=bytes(6)))


@attack("tee.8", INTEL)
def status_written_over(platform: Platform, mode: Mode) -> Forged:
    """OutOfDate becomes UpToDate in the signed text."""

    def change(data: bytes) -> bytes:
        assert b"OutOfDate" in data
        return data.replace(b"OutOfDate", b"UpToDate")

    return Forged(with_collateral(platform, mode, change, status="OutOfDate"))


@attack("tee.8", AMD)
def firmware_that_its_key_does_not_know(platform: Platform, mode: Mode) -> Forged:
    """The report states newer firmware than the one for which the chip's key was derived."""
    root = authority(platform)
    now = later(0)
    older = root.leaf(now, components={**amd_report.TCB, "snp": amd_report.TCB["snp"] - 1})
    made = root.collateral(now, leaf=older)
    enclave = Enclave.start(platform, mode)
    return Forged(with_parts(enclave, lambda parts: requoted(parts, collateral=made)))


# -- state of the machine: good evidence that the policy refuses ----------------------------------


@attack("tee.16")
def code_of_his_own(platform: Platform, mode: Mode) -> Forged:
    """On hardware as good as anybody's, stating what he likes."""
    mine = quoter(platform, other_code=True)
    return Forged(Enclave.start(platform, mode, on=mine).proof())


@attack("tee.17", also="tee.18")
def guest_in_debug_mode(platform: Platform, mode: Mode) -> Forged:
    """The honest code, and everything in it can be read and changed."""
    mine = quoter(platform, debug=True)
    # In debug mode Nitro shows no registers of the image, so that a policy cannot pin them.
    table = {"measurements": None} if platform is Platform.NITRO else {}
    allow = (*Verifier().allow, "tee-measurement:unpinned")
    return Forged(Enclave.start(platform, mode, on=mine).proof(), Verifier(table, allow=allow))


@attack("tee.18", INTEL)
def firmware_that_is_out_of_date(platform: Platform, mode: Mode) -> Forged:
    return Forged(with_collateral(platform, mode, status="OutOfDate"))


@attack("tee.18", INTEL)
def advisory_that_nobody_accepted(platform: Platform, mode: Mode) -> Forged:
    return Forged(with_collateral(platform, mode, advisories=("INTEL-SA-00837",)))


@attack("tee.19", AMD)
def firmware_that_was_set_back(platform: Platform, mode: Mode) -> Forged:
    """To a version with a known hole; key and report agree on it."""
    levels = {f"{name}_svn": number for name, number in amd_report.TCB.items()}
    levels["snp_svn"] += 1
    return Forged(Enclave.start(platform, mode).proof(), Verifier({"min_svn": levels}))


@attack("tee.19", INTEL)
def collateral_of_an_older_evaluation(platform: Platform, mode: Mode) -> Forged:
    """Which Intel signs anew for months; it knows of fewer holes."""
    return Forged(
        Enclave.start(platform, mode).proof(),
        Verifier({"min_svn": {**LEVELS, "tcb_evaluation": EVALUATION + 1}}),
    )


@attack("tee.19", (Platform.SGX,))
def enclave_of_an_old_version(platform: Platform, mode: Mode) -> Forged:
    return Forged(
        Enclave.start(platform, mode).proof(),
        Verifier({"min_svn": {**LEVELS, "isv_svn": 1000}}),
    )


@attack("tee.20")
def platform_that_was_not_asked_for(platform: Platform, mode: Mode) -> Forged:
    others = [one.value for one in ALL if one is not platform]
    return Forged(Enclave.start(platform, mode).proof(), Verifier({"platforms": others}))


@attack("tee.20", AMD, INFERENCE)
def report_that_the_host_asked_for(platform: Platform, mode: Mode) -> Forged:
    """Its report data is the host's; only the privilege level tells."""
    root = authority(platform)
    enclave = Enclave.start(platform, mode)

    def again(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[0x30:0x34] = b"\xff" * 4
        return bytes(root.sign(bytes(changed)))

    return Forged(
        with_parts(enclave, lambda parts: requoted(parts, quote=again(parts.attestation.quote)))
    )
