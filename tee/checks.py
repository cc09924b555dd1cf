"""The numbered checks of the trusted-hardware verifier; each number means one check for ever.

1 to 15 make a proof invalid where they fail. 16 to 20 are appraisal: the evidence is good, and the
policy says whether it is good enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from proofml.errors import VerificationError

RECORD: Final = "tee.1"
EVIDENCE: Final = "tee.2"
QUOTE: Final = "tee.3"
ROOT: Final = "tee.4"
CERTIFICATES: Final = "tee.5"
REVOCATION: Final = "tee.6"
SIGNATURE: Final = "tee.7"
COLLATERAL: Final = "tee.8"
MODE: Final = "tee.9"
BINDING: Final = "tee.10"
EVENT_LOG: Final = "tee.11"
MEASURED: Final = "tee.12"
RECEIPT: Final = "tee.13"
CHAIN: Final = "tee.14"
FRESHNESS: Final = "tee.15"
MEASUREMENTS: Final = "tee.16"
DEBUG: Final = "tee.17"
TCB: Final = "tee.18"
SVN: Final = "tee.19"
ATTRIBUTES: Final = "tee.20"

CHECKS: Final[Mapping[str, str]] = {
    RECORD: "computation: a complete record, of a mode and a platform that are known",
    EVIDENCE: "evidence: exactly the sections of this mode and platform, strictly read",
    QUOTE: "quote: format, lengths and reserved fields",
    ROOT: "root: the certificates end in a root that this verifier holds",
    CERTIFICATES: "certificates: each signed by the next, of its role, valid at this time",
    REVOCATION: "revocation: lists are present, signed and current, no certificate is on them",
    SIGNATURE: "quote: signed by the key for which the certificates vouch",
    COLLATERAL: "collateral: TCB information and identities, signed, of this platform, current",
    MODE: "mode: the quote binds in the mode that the Statement names",
    BINDING: "binding: the quote's report data is that of this Statement, or of this session",
    EVENT_LOG: "event log: replayed, it gives the registers in the quote",
    MEASURED: "events: the model that was measured is the Statement's",
    RECEIPT: "receipt: signed by the session's key, over this Statement",
    CHAIN: "receipts: counters and previous hashes without gap or fork",
    FRESHNESS: "freshness: the nonce was not used before",
    MEASUREMENTS: "appraisal: measurements are among those that the policy allows",
    DEBUG: "appraisal: debugging is off",
    TCB: "appraisal: status and advisories of the trusted computing base",
    SVN: "appraisal: security versions are not below the policy's",
    ATTRIBUTES: "appraisal: attributes of the machine and of the guest",
}


def refuse(check: str, what: str, *, expected: object = None, got: object = None) -> NoReturn:
    raise VerificationError(check, what, expected=expected, got=got)
