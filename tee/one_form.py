"""One content, one form: evidence in a proof has no second spelling.

Guests put zeros behind a quote, services write collateral with any white space, order of keys and
case of digits, and with a null for the chain that stands in the quote. None of it changes what is
shown, and each would make another file of the same proof. So provers write one form, and verifiers
of proofs read no other. (Sessions' files, and evidence that `proofml tee inspect` looks at, may
have any.)

AMD's collateral and the documents of Nitro have one form by their own readers. Signatures are as
their signers made them: where one is by ECDSA, (r, s) holds as (r, n - s) too, and no vendor asks
for the lower s. No check goes by the digest of a quote or of a file, so that this deceives nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from proofml.canonical import CanonicalError, dumps, loads
from proofml.tee import platforms
from proofml.tee.checks import EVIDENCE, QUOTE, refuse
from proofml.tee.collateral import MAX_COLLATERAL_BYTES
from proofml.tee.platform import Attestation, Platform

_INTEL: Final = (Platform.TDX, Platform.SGX)
#: Keys of DCAP collateral whose values are hexadecimal digits.
_HEX: Final = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
#: May be null, which says as much as leaving it out.
_CHAIN: Final = "pck_certificate_chain"


def normalised(evidence: Attestation) -> Attestation:
    """The same evidence in its one form.

    Raises:
        VerificationError: tee.2 or tee.3, it cannot be read.
    """
    behind = platforms.padding(evidence)
    quote = evidence.quote[: len(evidence.quote) - behind]
    return replace(evidence, quote=quote, collateral=_collateral(evidence))


def check_form(evidence: Attestation) -> None:
    """It has its one form.

    Raises:
        VerificationError: tee.2, the collateral has another one, or cannot be read; tee.3, so
            has the quote.
    """
    behind = platforms.padding(evidence)
    if behind:
        refuse(QUOTE, "bytes behind the quote", expected="none", got=behind)
    if _collateral(evidence) != evidence.collateral:
        expected = "canonical JSON, digits in lower case"
        refuse(EVIDENCE, "section collateral", expected=expected, got="another form")


def _collateral(evidence: Attestation) -> bytes:
    """As canonical JSON; what is no table is left to whoever reads it."""
    if evidence.platform not in _INTEL or not evidence.collateral:
        return evidence.collateral
    try:
        value: Any = loads(evidence.collateral, max_bytes=MAX_COLLATERAL_BYTES, canonical=False)
        if isinstance(value, dict):
            lower = {key: value[key].lower() for key in _HEX if isinstance(value.get(key), str)}
            value = {**value, **lower}
            if value.get(_CHAIN, "") is None:
                del value[_CHAIN]
        return dumps(value)
    except CanonicalError as error:
        return refuse(EVIDENCE, f"collateral: {error}", expected="JSON without numbers")
