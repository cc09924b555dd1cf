"""How far a fixed-point result is from onnxruntime's on the float model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from proofml.tensors import Array


@dataclass(frozen=True, slots=True)
class Fidelity:
    """`max_error`: largest absolute difference over all outputs; `argmax`: same in each row."""

    max_error: float
    argmax: bool

    def notes(self) -> dict[str, str]:
        return {
            "max error": f"{self.max_error:.6g}",
            "argmax": "same" if self.argmax else "DIFFERS",
        }


def measure(proven: Mapping[str, Array], reference: Mapping[str, Array]) -> Fidelity:
    """Compare outputs by name; a NaN on either side counts as infinitely far."""
    worst, same = 0.0, True
    for name, want in reference.items():
        have = proven[name]
        with np.errstate(all="ignore"):
            gap = np.abs(have.astype(np.float64) - want.astype(np.float64))
        if gap.size:
            worst = max(worst, float(np.where(np.isnan(gap), np.inf, gap).max()))
            rows = (-1, want.shape[-1]) if want.ndim else (1, 1)
            same &= bool((have.reshape(rows).argmax(-1) == want.reshape(rows).argmax(-1)).all())
    return Fidelity(worst, same)
