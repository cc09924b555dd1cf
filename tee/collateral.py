"""DCAP collateral: what Intel's provisioning service says about a platform, signed and dated.

The JSON form is `QuoteCollateralV3` of the provisioning service's clients: chains as PEM, lists and
signatures as hexadecimal digits, TCB information and identity as the exact JSON text that is signed
(Intel SGX and TDX Provisioning Certification Service API, version 4).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from proofml.fields import FieldError, Fields
from proofml.tee.checks import COLLATERAL, EVIDENCE, refuse
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
#: Strings are passed over as a whole: brackets in them open and close nothing.
_STRING_OR_BRACKET: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Signed:
    """One signed text of the collateral, with the parts that are used here.

    Attributes:
        value: the text as JSON.
        issued, next_update: seconds since 1970.
    """

    text: bytes
    signature: bytes
    value: Mapping[str, Any]
    issued: int
    next_update: int


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
    depth = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
    return json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant)


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
        return Signed(
            text, signature, value, _seconds(value["issueDate"]), _seconds(value["nextUpdate"])
        )
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        refuse(COLLATERAL, f"{what}: {error}", expected="JSON with its dates")


def _seconds(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError(f"expected a date, got {type(text).__name__}")
    return int(datetime.strptime(text, _DATE).replace(tzinfo=UTC).timestamp())


def check_dates(what: str, signed: Signed, now: int) -> None:
    """Raises tee.8 where the text does not hold at `now`."""
    if not signed.issued <= now <= signed.next_update:
        refuse(
            COLLATERAL,
            f"{what} at {as_text(now)}",
            expected=f"a time from {as_text(signed.issued)} to {as_text(signed.next_update)}",
            got="one outside",
        )
