"""The numbered checks of the native prover's verifier; each number means one check for ever."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NoReturn

from proofml.errors import VerificationError

RECORD: Final = "sumcheck.1"
INTERFACE: Final = "sumcheck.2"
PARAMETERS: Final = "sumcheck.3"
QUANTISATION: Final = "sumcheck.4"
CIRCUIT: Final = "sumcheck.5"
RANGES: Final = "sumcheck.6"
PUBLIC: Final = "sumcheck.7"
ENCODING: Final = "sumcheck.8"
LOOKUP_ROOT: Final = "sumcheck.9"
LOOKUP_LAYER: Final = "sumcheck.10"
LOOKUP_NUMERATORS: Final = "sumcheck.11"
LOOKUP_DENOMINATORS: Final = "sumcheck.12"
OUTPUTS: Final = "sumcheck.13"
CONTRACTIONS: Final = "sumcheck.14"
OPENING: Final = "sumcheck.15"
GRINDING: Final = "sumcheck.16"
WITNESS_ROOT: Final = "sumcheck.17"
MODEL_ROOT: Final = "sumcheck.18"
PORTS_ROOT: Final = "sumcheck.19"
LAYER_ROOT: Final = "sumcheck.20"
LAYER_FOLD: Final = "sumcheck.21"
FINAL_VECTOR: Final = "sumcheck.22"
LENGTH: Final = "sumcheck.23"

CHECKS: Final[Mapping[str, str]] = {
    RECORD: "computation: a complete record, of this protocol's version",
    INTERFACE: "interface: one visibility a role, and exactly the evidence that is read",
    PARAMETERS: "parameters: not vacuous, and the bits that the policy demands",
    QUANTISATION: "quantisation record: strict schema, the digest that the Statement names",
    CIRCUIT: "circuit: compiled again from the model, or pinned; the digest in the Statement",
    RANGES: "circuit: no value can leave the range in which field and integers agree",
    PUBLIC: "tensors: codes of the circuit's inputs and outputs, or the root of those expected",
    ENCODING: "proof: every element canonical, every message complete",
    LOOKUP_ROOT: "lookups: the sum of fractions is zero, with no pole",
    LOOKUP_LAYER: "lookups: each layer's sumcheck ends at the values of the next",
    LOOKUP_NUMERATORS: "lookups: numerators at the leaves",
    LOOKUP_DENOMINATORS: "lookups: denominators at the leaves: values, tables, ids, padding",
    OUTPUTS: "outputs: the claims at a random point add up to the stated tensor",
    CONTRACTIONS: "contractions: the batched sumcheck ends at the product of its operands",
    OPENING: "opening: the sumcheck ends at final vector times weights",
    GRINDING: "opening: proof of work before the positions",
    WITNESS_ROOT: "opening: rows of the witness lie under the root in the proof",
    MODEL_ROOT: "opening: rows of the weights lie under the model's root",
    PORTS_ROOT: "opening: rows of committed tensors lie under the Statement's root",
    LAYER_ROOT: "opening: rows of each folded layer lie under its root",
    LAYER_FOLD: "opening: each layer is the fold of the one before",
    FINAL_VECTOR: "opening: the final vector is the fold of the last layer",
    LENGTH: "proof: no byte is left over",
}


def refuse(check: str, what: str, *, expected: object = None, got: object = None) -> NoReturn:
    raise VerificationError(check, what, expected=expected, got=got)
