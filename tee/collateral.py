"""DCAP collateral: what Intel's provisioning service says about a platform, signed and dated.

The JSON form is `QuoteCollateralV3` of the provisioning service's clients: chains as PEM, lists and
signatures as hexadecimal digits, TCB information and identity as the exact JSON text that is signed
(Intel SGX and TDX Provisioning Certification Service API, version 4).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from proofml.fields import FieldError, Fields
from proofml.tee.checks import COLLATERAL, EVIDENCE, refuse
from proofml.tee.dcap import Domain, EnclaveReport
from proofml.tee.pck import PckExtension
from proofml.tee.platform import Platform
from proofml.tee.tcb import module_identity
from proofml.tee.x509 import as_text

MAX_COLLATERAL_BYTES: Final = 4 << 20
_MAX_TEXT: Final = 1 << 20
_CHAINS: Final = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_HEX: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_SIGNED: Final = ("tcb_info", "qe_identity")
#: For quotes without a chain of their own, which are not taken here.
_OPTIONAL: Final = "pck_certificate_chain"
_DATE: Final = "%Y-%m-%dT%H:%M:%SZ"
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed text of the collateral, with the parts that are used here.

    Attributes:
        value: the text as JSON.
        issued, next_update: seconds since 1970.
        evaluation: of which of Intel's evaluations it is; a later one knows more. Intel signs old
            ones anew for more than a year, and whoever sends collateral along chooses.
    """

    text: bytes
    signature: bytes
    value: Mapping[str, Any]
    issued: int
    next_update: int
    evaluation: int


@dataclass(frozen=True, slots=True)
class Collateral:
    """The parts of the right form; nothing was checked.

    Attributes:
        pck_crl_chain, tcb_chain, identity_chain: PEM.
        root_crl, pck_crl: DER.
        raw: the JSON, for `dcap-qvl`.
    """

    pck_crl_chain: bytes
    tcb_chain: bytes
    identity_chain: bytes
    root_crl: bytes
    pck_crl: bytes
    tcb_info: Signed
    identity: Signed
    raw: str


def read_collateral(data: bytes) -> Collateral:
    """Strictly.

    Raises:
        VerificationError: tee.2, not of this form; tee.8, TCB information or identity is missing
            or is not JSON of its kind.
    """
    if not data:
        refuse(COLLATERAL, "collateral", expected="TCB information and identity", got="nothing")
    if len(data) > MAX_COLLATERAL_BYTES:
        refuse(EVIDENCE, "collateral", expected=f"at most {MAX_COLLATERAL_BYTES}", got=len(data))
    try:
        raw = data.decode("utf-8")
        fields = Fields(_loads(raw), "collateral")
        chains = {name: _text(fields, name).encode() for name in _CHAINS}
        binary = {name: _hexadecimal(fields, name) for name in _HEX}
        texts = {name: _text(fields, name).encode() for name in _SIGNED}
        if fields.raw(_OPTIONAL, None) is not None:
            raise FieldError(fields.at(_OPTIONAL), "null: the chain is the quote's", "one")
        fields.done()
    except (UnicodeDecodeError, FieldError, ValueError) as error:
        refuse(EVIDENCE, f"collateral: {error}", expected="the JSON of DCAP collateral")
    return Collateral(
        chains["pck_crl_issuer_chain"],
        chains["tcb_info_issuer_chain"],
        chains["qe_identity_issuer_chain"],
        binary["root_ca_crl"],
        binary["pck_crl"],
        _signed("TCB information", texts["tcb_info"], binary["tcb_info_signature"]),
        _signed("QE identity", texts["qe_identity"], binary["qe_identity_signature"]),
        raw,
    )


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("a key stands twice")
    return found


def _loads(text: str) -> Any:
    """JSON of bounded depth in which no key stands twice; raises `ValueError`."""
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)
    except RecursionError:
        raise ValueError(f"nested deeper than {_MAX_DEPTH} levels") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [child for one in level for child in _children(one)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _text(fields: Fields, name: str) -> str:
    value = fields.raw(name)
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise FieldError(fields.at(name), f"a text of at most {_MAX_TEXT} characters", value)
    return value


def _hexadecimal(fields: Fields, name: str) -> bytes:
    value = _text(fields, name)
    try:
        found = bytes.fromhex(value)
    except ValueError:
        raise FieldError(fields.at(name), "hexadecimal digits", value) from None
    if found.hex() != value.lower():
        raise FieldError(fields.at(name), "hexadecimal digits and nothing between", value)
    return found


def _signed(what: str, text: bytes, signature: bytes) -> Signed:
    if not text or not signature:
        refuse(COLLATERAL, what, expected="there, and signed", got="missing")
    try:
        value = _loads(text.decode("utf-8"))
        if not isinstance(value, dict):
            raise TypeError("not a table of keys")
        dates = _seconds(value["issueDate"]), _seconds(value["nextUpdate"])
        return Signed(text, signature, value, *dates, _count(value["tcbEvaluationDataNumber"]))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        refuse(COLLATERAL, f"{what}: {error}", expected="JSON with its dates and evaluation")


def _seconds(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError(f"expected a date, got {type(text).__name__}")
    return int(datetime.strptime(text, _DATE).replace(tzinfo=UTC).timestamp())


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise ValueError("expected an evaluation, a number of 32 bits")
    return value


def check_dates(what: str, signed: Signed, now: int) -> None:
    """Raises tee.8 where the text does not hold at `now`."""
    if not signed.issued <= now <= signed.next_update:
        refuse(
            COLLATERAL,
            f"{what} at {as_text(now)}",
            expected=f"a time from {as_text(signed.issued)} to {as_text(signed.next_update)}",
            got="one outside",
        )


def check_tcb_info(signed: Signed, pck: PckExtension, platform: Platform) -> None:
    """The TCB information is of this kind of platform; raises tee.8."""
    for name, expected in (
        ("id", "TDX" if platform is Platform.TDX else "SGX"),
        ("version", 3),
        ("fmspc", pck.fmspc.hex().upper()),
        ("pceId", pck.pce_id.hex().upper()),
    ):
        got = signed.value.get(name)
        if isinstance(got, str) and name in ("fmspc", "pceId"):
            got = got.upper()
        if got != expected:
            refuse(COLLATERAL, f"TCB information: {name}", expected=expected, got=got)


def check_identity(signed: Signed, report: EnclaveReport, platform: Platform) -> None:
    """The identity is that of the enclave that quoted, and nobody can debug that one; raises tee.8.

    The level of its version is for `tcb.evaluate`.
    """
    kind, versions = ("TD_QE", (2, 3)) if platform is Platform.TDX else ("QE", (2,))
    value = signed.value
    for name, allowed in (("id", (kind,)), ("version", versions)):
        if value.get(name) not in allowed:
            expected = " or ".join(map(str, allowed))
            refuse(COLLATERAL, f"QE identity: {name}", expected=expected, got=value.get(name))
    # Stored with the bytes of the field, which is little-endian.
    selected = report.misc_select.to_bytes(4, "little")
    try:
        found: dict[str, tuple[object, object]] = {
            "mrsigner": (report.mrsigner.hex(), str(value["mrsigner"]).lower()),
            "isvprodid": (report.isv_prod_id, value["isvprodid"]),
            "miscselect": _masked(selected, value["miscselect"], value["miscselectMask"]),
            "attributes": _masked(report.attributes, value["attributes"], value["attributesMask"]),
            "debug": (report.named_flags()["debug"], False),
        }
    except (KeyError, ValueError, TypeError) as error:
        refuse(COLLATERAL, f"QE identity: {error}", expected="an identity of version 2")
    for name, (mine, stated) in found.items():
        if mine != stated:
            refuse(COLLATERAL, f"QE identity: {name}", expected=stated, got=mine)


def check_domain(signed: Signed, domain: Domain) -> None:
    """Nobody but Intel's TDX module stands above the domain; raises tee.8.

    The module is one that TCB information knows, by its signer and attributes, and no service
    domain is bound: what that may do to the domain, nothing here appraises.
    """
    if any(domain.service):
        got = domain.service.hex()
        refuse(COLLATERAL, "trust domain: MRSERVICETD", expected="none bound, zeros", got=got)
    for version in sorted({svn[1] for svn in domain.svns}):
        what = f"TDX module {version}"
        try:
            known = module_identity(signed.value, version)
            if known is None:
                refuse(COLLATERAL, what, expected="one that TCB information knows", got="another")
            found = {
                "signer": (domain.signer.hex(), str(known["mrsigner"]).lower()),
                "attributes": _masked(
                    domain.attributes, known["attributes"], known["attributesMask"]
                ),
            }
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            refuse(COLLATERAL, f"{what}: {error}", expected="TCB information of version 3")
        for name, (mine, stated) in found.items():
            if mine != stated:
                refuse(COLLATERAL, f"{what}: {name}", expected=stated, got=mine)


def _masked(mine: bytes, stated: str, mask: str) -> tuple[str, str]:
    """What the enclave has and what is stated, of the bits that the mask names."""
    first, second = (
        bytes(a & b for a, b in zip(value, bytes.fromhex(mask), strict=True)).hex()
        for value in (mine, bytes.fromhex(stated))
    )
    return first, second
