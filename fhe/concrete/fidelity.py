"""How far a circuit's results are from the model's, on the calibration samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofml.canonical import JSON, real
from proofml.fhe.agreement import agreement
from proofml.tensors import Array


@dataclass(frozen=True)
class Fidelity:
    """`error` is the largest difference, `agreement` the share of samples decided alike.

    `deviation` is the root mean square of the difference before the tail, as part of the standard
    deviation of the model's own numbers there: samples far from every border agree whatever it is,
    inputs to come may lie nearer.
    """

    error: float
    agreement: float
    deviation: float

    def to_json(self) -> dict[str, JSON]:
        return {
            "error": real(self.error),
            "agreement": real(self.agreement),
            "deviation": real(self.deviation),
        }


def measure(reference: Array, results: Array, body_reference: Array, body: Array) -> Fidelity:
    """Of what the model gives [n, ...] and the circuit does, and of both before the tail."""
    want = reference.reshape(len(reference), -1).astype(np.float64)
    got = results.reshape(len(results), -1).astype(np.float64)
    difference = np.abs(want - got)
    error = float(difference.max(initial=0))
    spread = float(body_reference.astype(np.float64).std()) or 1.0
    off = float(np.sqrt(np.mean((body_reference.astype(np.float64) - body) ** 2)))
    return Fidelity(
        error if np.isfinite(error) else float("inf"), agreement(want, got), off / spread
    )
