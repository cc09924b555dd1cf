"""What the trusted-hardware backend says of itself, for whoever registers it or only verifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofml.guarantee import Integrity

NAME: Final = "tee"
#: Of the evidence.
VERSION: Final = 1
INTEGRITY: Final = frozenset({Integrity.HARDWARE})

ROOT_SIMULATED: Final = "tee-root:simulated"
ROOT_CUSTOM: Final = "tee-root:custom"
MEASUREMENT_UNPINNED: Final = "tee-measurement:unpinned"
SVN_UNPINNED: Final = "tee-svn:unpinned"
DEBUG_ENABLED: Final = "tee-debug:enabled"
TIME_PINNED: Final = "tee-time:pinned"
REVOCATION_UNKNOWN: Final = "tee-revocation:unknown"
BOUNDARY_PROCESS: Final = "tee-boundary:process-only"
RECEIPTS_PARTIAL: Final = "tee-receipts:partial"

#: None of them is allowed by the default policy.
ASSUMPTIONS: Final[Mapping[str, str]] = {
    ROOT_SIMULATED: "a software root signed the quote: there is no hardware behind it, and whoever "
    "holds its keys can show anything",
    ROOT_CUSTOM: "the quote ends in a root that the policy names, not in the vendor's",
    MEASUREMENT_UNPINNED: "which code runs inside was compared with nothing, or not all of it was",
    SVN_UNPINNED: "the policy names no least security versions (AMD) or no least evaluation of "
    "Intel's by which to call firmware up to date: old firmware passes",
    DEBUG_ENABLED: "the guest can be debugged, so whoever runs the machine can read and change it; "
    "the policy accepts that",
    TIME_PINNED: "certificates, lists and collateral were judged at the policy's time, not at now",
    REVOCATION_UNKNOWN: "no revocation list came with the evidence: a certificate may be revoked",
    BOUNDARY_PROCESS: "the simulator's process is not isolated as far as it can be; the detail "
    "says what it shares with its host",
    RECEIPTS_PARTIAL: "receipts before the first one shown were not seen, and no checkpoint that "
    "the verifier holds covers them",
}
