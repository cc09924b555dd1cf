"""What the homomorphic backends say of themselves, for whoever registers them or only verifies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from proofml.guarantee import Integrity

CKKS: Final = "ckks"
CONCRETE: Final = "concrete"
#: Of the evidence.
VERSION: Final = 1
INTEGRITY: Final = frozenset({Integrity.RE_EXECUTION})

UNSHARED: Final = "decryptions:unshared"
CIRCUIT_UNPINNED: Final = "circuit:unpinned"
CIRCUIT_UNDERIVED: Final = "circuit:underived"
NONCE_UNAUTHENTICATED: Final = "nonce:unauthenticated"
OTHER_VERSION: Final = "runtime:other-version"
TRACE_SAMPLED: Final = "trace:sampled"

#: None of them but another version is allowed by the default policy.
ASSUMPTIONS: Final[Mapping[str, str]] = {
    UNSHARED: "the owner of the keys shows decrypted results to nobody who could have chosen or "
    "known the inputs: noise or failures in them tell of the secret key (IND-CPA-D)",
    CIRCUIT_UNPINNED: "the policy names no circuit: whoever compiled this one chose how precisely "
    "it computes the model",
    CIRCUIT_UNDERIVED: "by the policy it was not derived again that the circuit computes the model",
    NONCE_UNAUTHENTICATED: "a run on ciphertexts does not depend on the nonce: without a pinned "
    "signer anybody could have set it",
    OTHER_VERSION: "the library that is named is not of the version that ran here",
    TRACE_SAMPLED: "only some operators, drawn at random, were run again: an altered one is missed "
    "with the probability that the notes tell",
}
