"""What a verifier may conclude from evidence that it checked itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proofml.canonical import JSON


class Integrity(StrEnum):
    """On whose word an output may be believed. A set without an order."""

    CRYPTOGRAPHIC = "cryptographic"
    ECONOMIC = "economic"
    HARDWARE = "hardware"
    HONEST_MAJORITY = "honest-majority"
    RE_EXECUTION = "re-execution"


class Finality(StrEnum):
    FINAL = "final"
    PENDING = "pending"


#: Every assumption that the core itself can raise; each backend documents its own.
CORE_ASSUMPTIONS: Mapping[str, str] = {
    "model:unpinned": "the verifier did not say which model it expects; the proof chose it",
    "model:file-unpinned": "the graph is the expected one; which file it came from is not known",
    "model:file-differs": "the model's graph is the expected one, the file's bytes are not",
    "model:weights-hidden": "only the architecture is fixed; the weights can be any",
    "input:unpinned": "the verifier did not say which input it expects; the proof chose it",
    "output:unpinned": "the verifier did not say which output it expects; the proof states it",
    "nonce:unpinned": "no nonce was asked for; the proof may be an old one",
    "nonce:unauthenticated": "the evidence does not bind the nonce; anybody could have set it",
    "signer:unchecked": "the proof names keys that signed it; nobody checked the signatures",
    "signer:unsigned": "nobody signed the proof",
    "signer:unpinned": "the proof is signed by a key that the policy does not name",
}


@dataclass(frozen=True, slots=True)
class Guarantee:
    """Computed by the verifier, never read from a proof.

    Attributes:
        integrity: on whose word the output may be believed.
        bits: soundness in bits, None where the notion does not apply.
        hidden: what the proof file hides, as `subject -> from whom`.
        finality: whether a later event can still overturn the result.
        assumptions: what remains assumed, by machine-readable name.
        notes: facts for the reader, for example the tolerance that was applied.
        objections: why the backend's own table of the policy refuses; empty where it accepts.
    """

    integrity: frozenset[Integrity]
    bits: int | None = None
    hidden: Mapping[str, str] = field(default_factory=dict)
    finality: Finality = Finality.FINAL
    assumptions: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)
    objections: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
            "integrity": sorted(kind.value for kind in self.integrity),
            "bits": self.bits,
            "hidden": dict(self.hidden),
            "finality": self.finality.value,
            "assumptions": sorted(self.assumptions),
            "notes": dict(self.notes),
        }
