"""Verifying Intel quotes: each step by itself, with its number, and then `dcap-qvl` over all.

What has to hold (Intel SGX DCAP ECDSA Orientation Guide; PCS API version 4):

    (4) the PCK certificate's chain ends in a root that the verifier holds
    (5) every certificate is signed by the next one, of its role, valid now
    (6) the root's list and the PCK issuer's list are current; nothing of these chains is on them
    (7) the PCK key signed the quoting enclave's report; the report names the attestation key;
        the attestation key signed header and body
    (8) TCB information and the enclave's identity are signed by a chain to the same root, current,
        and of this platform, this quoting enclave and (TDX) this module

`dcap-qvl` verifies the same again under the same root, and has to find the same TCB status, which
is for appraisal (tee.18): a quote from an outdated platform is a good quote, and so is one from a
guest in debug mode (tee.17) or one that can be moved to another machine (tee.20).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import Certificate

from proofml.errors import BackendUnavailable
from proofml.tee import dcap, x509
from proofml.tee.checks import (
    CERTIFICATES,
    COLLATERAL,
    QUOTE,
    REVOCATION,
    SIGNATURE,
    refuse,
)
from proofml.tee.collateral import (
    Collateral,
    check_dates,
    check_domain,
    check_identity,
    check_tcb_info,
    read_collateral,
)
from proofml.tee.pck import read_pck
from proofml.tee.platform import Attestation, Platform
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.tcb import Tcb, evaluate

TCB_SIGNING: Final = "Intel SGX TCB Signing"


@dataclass(frozen=True)
class Shown:
    """What was verified of a quote beside its body."""

    path: x509.Path
    svns: dict[str, int]
    details: dict[str, str]
    not_before: int
    not_after: int
    status: str | None = None
    advisories: tuple[str, ...] = ()


def verify_signatures(envelope: dcap.Envelope, platform: Platform, roots: Roots, now: int) -> Shown:
    """Chain and signatures, which is all that a quote shows by itself.

    Raises:
        VerificationError: tee.4, tee.5, tee.7.
    """
    signature = envelope.signature
    # Intel's library ends the text with a zero byte.
    chain = x509.load_pems(signature.chain.removesuffix(b"\0"), "PCK chain of the quote")
    if len(chain) != 3:
        expected = "PCK certificate, issuer and root"
        refuse(CERTIFICATES, "PCK chain of the quote", expected=expected, got=len(chain))
    path = x509.walk(chain, platform, roots, now)
    pck = read_pck(path.leaf)
    _ecdsa(
        path.leaf.public_key(), signature.qe_signature, signature.qe_report.raw, SIGNATURE,
        "report of the quoting enclave: not signed by the PCK key",
    )  # fmt: skip
    named = hashlib.sha256(signature.key + signature.qe_auth).digest() + bytes(32)
    if signature.qe_report.report_data != named:
        refuse(
            SIGNATURE,
            "report of the quoting enclave: attestation key",
            expected=named.hex(),
            got=signature.qe_report.report_data.hex(),
        )
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + signature.key)
    except ValueError:
        refuse(SIGNATURE, "attestation key", expected="a point of P-256", got=signature.key.hex())
    _ecdsa(
        key, signature.signature, envelope.signed, SIGNATURE,
        "quote: not signed by its attestation key",
    )  # fmt: skip
    details = {
        "fmspc": pck.fmspc.hex(),
        "ppid": pck.ppid.hex(),
        "pck issuer": x509.name_of(chain[1]),
        "qe isv_svn": str(signature.qe_report.isv_svn),
    }
    svns = {"pce_svn": pck.pce_svn, "qe_isv_svn": signature.qe_report.isv_svn}
    return Shown(path, svns, details, path.not_before, path.not_after)


def verify_envelope(
    envelope: dcap.Envelope,
    evidence: Attestation,
    roots: Roots,
    now: int,
    *,
    domain: dcap.Domain | None = None,
    appraised: frozenset[str] = frozenset(),
) -> Shown:
    """Everything of the list at the head of this file.

    Args:
        domain: of a trust domain's report.
        appraised: reasons for which `dcap-qvl` may refuse this quote, in its words: what the quote
            says of its guest, and what appraisal looks at.

    Raises:
        VerificationError: tee.2, tee.4 to tee.8.
        BackendUnavailable: `dcap-qvl` is not installed.
    """
    shown = verify_signatures(envelope, evidence.platform, roots, now)
    collateral = read_collateral(evidence.collateral)
    path = shown.path
    root = path.certificates[-1]
    tcb = _signing_path(collateral.tcb_chain, "TCB signing chain", root, evidence, roots, now)
    identity = _signing_path(
        collateral.identity_chain, "identity signing chain", root, evidence, roots, now
    )
    windows = [(path.not_before, path.not_after)]
    windows += [(one.not_before, one.not_after) for one in (tcb, identity)]
    windows += _check_revocation(collateral, path, tcb, identity, now)
    for what, signed, signer in (
        ("TCB information", collateral.tcb_info, tcb.leaf),
        ("QE identity", collateral.identity, identity.leaf),
    ):
        problem = f"{what}: not signed by the key of its certificate"
        _ecdsa(signer.public_key(), signed.signature, signed.text, COLLATERAL, problem)
        check_dates(what, signed, now)
        windows.append((signed.issued, signed.next_update))
    pck = read_pck(path.leaf)
    qe_report = envelope.signature.qe_report
    check_tcb_info(collateral.tcb_info, pck, evidence.platform)
    check_identity(collateral.identity, qe_report, evidence.platform)
    if domain is not None:
        check_domain(collateral.tcb_info, domain)
    reached = evaluate(
        collateral.tcb_info.value,
        collateral.identity.value,
        pck,
        qe_report.isv_svn,
        () if domain is None else domain.svns,
    )
    if reached.status == "Revoked":
        appraised |= {_REVOKED_WORDS}
    _second_opinion(reached, evidence.quote, collateral, root, now, appraised)
    # The sender chooses the collateral, so the older of the two is what it rests on.
    evaluation = min(collateral.tcb_info.evaluation, collateral.identity.evaluation)
    return Shown(
        path,
        shown.svns | {"tcb_evaluation": evaluation},
        shown.details
        | {
            "revocation": "checked",
            "tcb evaluation": str(collateral.tcb_info.evaluation),
            "qe evaluation": str(collateral.identity.evaluation),
        },
        max(low for low, _ in windows),
        min(high for _, high in windows),
        reached.status,
        reached.advisories,
    )


def _ecdsa(key: Any, signature: bytes, message: bytes, number: str, problem: str) -> None:
    """r and s of 32 bytes each, by a key on P-256, over SHA-256."""
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        refuse(CERTIFICATES, "signing key", expected="a key of P-256")
    if len(signature) != 64:
        refuse(number, problem, expected="a signature of 64 bytes", got=f"{len(signature)} bytes")
    both = (int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(encode_dss_signature(*both), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        refuse(number, problem)


def _signing_path(
    text: bytes,
    what: str,
    root: Certificate,
    evidence: Attestation,
    roots: Roots,
    now: int,
) -> x509.Path:
    """A chain of the collateral: the signing certificate and the root of the quote's chain."""
    chain = x509.load_pems(text, what)
    path = x509.walk(chain, evidence.platform, roots, now)
    if len(chain) != 2 or x509.der(chain[1]) != x509.der(root):
        expected = f"a certificate by the quote's root {fingerprint(x509.der(root))[:16]}..."
        refuse(CERTIFICATES, what, expected=expected, got="another chain")
    if TCB_SIGNING not in x509.name_of(chain[0]):
        refuse(CERTIFICATES, what, expected=TCB_SIGNING, got=x509.name_of(chain[0]))
    return path


def _check_revocation(
    collateral: Collateral, path: x509.Path, tcb: x509.Path, identity: x509.Path, now: int
) -> list[tuple[int, int]]:
    leaf, issuer, root = path.certificates
    chain = x509.load_pems(collateral.pck_crl_chain, "chain of the PCK issuer's list")
    if [x509.der(one) for one in chain] != [x509.der(issuer), x509.der(root)]:
        expected = "issuer and root of the quote's chain"
        refuse(REVOCATION, "chain of the PCK issuer's list", expected=expected, got="another")
    by_root = x509.load_crl(collateral.root_crl, "revocation list of the root")
    by_issuer = x509.load_crl(collateral.pck_crl, "revocation list of the PCK issuer")
    below = [root, issuer, tcb.leaf, identity.leaf]
    windows = [
        x509.check_crl(by_root, root, below, now),
        x509.check_crl(by_issuer, issuer, [leaf], now),
    ]
    # To `dcap-qvl` a list is out of date in the second of its next update.
    return [(low, high - 1) for low, high in windows]


_MAX_WORDS: Final = 300
_REVOKED_WORDS: Final = "TCB status is invalid: Revoked"
#: Parts of what `dcap-qvl` says where it refuses -> the check that it comes nearest to.
_NEAREST: Final = (
    ("revo", REVOCATION),
    ("crl", REVOCATION),
    ("tcb_info", COLLATERAL),
    ("qe_identity", COLLATERAL),
    ("qe report hash", SIGNATURE),
    ("qe auth data", SIGNATURE),
    ("signature is invalid", SIGNATURE),
    ("cert", CERTIFICATES),
    ("decode quote", QUOTE),
)


def _second_opinion(
    reached: Tcb,
    quote: bytes,
    collateral: Collateral,
    root: Certificate,
    now: int,
    appraised: frozenset[str],
) -> None:
    """`dcap-qvl`, which verifies all by itself, accepts the quote and finds the same TCB; or tee.N.

    It finds none where it refuses for one of the reasons in `appraised`: the attributes of a guest
    are the last thing that it looks at, and the status the last but one.
    """
    try:
        import dcap_qvl
    except ImportError as error:
        raise BackendUnavailable(f"{error}; pip install 'proofml[tee]'") from error
    try:
        parts = dcap_qvl.QuoteCollateralV3.from_json(collateral.raw)
        report = dcap_qvl.verify_with_root_ca(quote, parts, x509.der(root), now)
        found = json.loads(report.to_json())
        theirs = Tcb(str(found["status"]), tuple(sorted(set(map(str, found["advisory_ids"])))))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is a BaseException
        words = str(error).removeprefix("Verification failed: ")
    else:
        if theirs != reached:
            mine, other = (" ".join((one.status, *one.advisories)) for one in (reached, theirs))
            refuse(COLLATERAL, "TCB status by dcap-qvl", expected=mine, got=other)
        return
    if words in appraised:
        return
    low = words.lower()
    number = next((one for part, one in _NEAREST if part in low), COLLATERAL)
    shown = " ".join(words.split())[:_MAX_WORDS]
    refuse(number, f"dcap-qvl: {shown}", expected="a quote that it accepts as well")
