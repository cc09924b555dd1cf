"""Float tensors to the integers of a circuit and back, at the owner's side. Float64 throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from proofml.fhe.concrete import trees
from proofml.fhe.scheme import Malformed
from proofml.tensors import Array

MAX_BITS = 16


@dataclass(frozen=True, eq=False)
class Affine:
    """Of a network: one scale for its input, and one or one for each value for its output.

    A value beyond what calibration saw is taken to the nearest end of the range.
    """

    in_scale: Array
    in_zero: Array
    in_low: Array
    in_high: Array
    out_scale: Array
    out_zero: Array

    kind: ClassVar[str] = "network"

    def check(self) -> None:
        for name in ("in_scale", "in_zero", "in_low", "in_high"):
            if getattr(self, name).shape != ():
                raise Malformed(f"quantiser {name}", "one number", list(getattr(self, name).shape))
        for name in ("in_scale", "out_scale", "out_zero"):
            if getattr(self, name).dtype != np.float64:
                raise Malformed(f"quantiser {name}", "float64", getattr(self, name).dtype)
        for name in ("in_zero", "in_low", "in_high"):
            if getattr(self, name).dtype != np.int64:
                raise Malformed(f"quantiser {name}", "int64", getattr(self, name).dtype)
        scales = (self.in_scale, self.out_scale)
        if not all(np.isfinite(a).all() and (a > 0).all() for a in scales):
            raise Malformed("quantiser scales", "positive numbers", "others")
        if not np.isfinite(self.out_zero).all():
            raise Malformed("quantiser out_zero", "finite numbers", "others")
        low, high = int(self.in_low), int(self.in_high)
        if not -(1 << MAX_BITS) <= low < high <= 1 << MAX_BITS:
            raise Malformed("quantiser range", f"at most {MAX_BITS} bits", f"{low}..{high}")
        if abs(int(self.in_zero)) > 1 << 32:
            raise Malformed("quantiser in_zero", "at most 32 bits", int(self.in_zero))

    def quantise(self, row: Array) -> Array:
        """int64 of float32, in the same shape."""
        scaled = row.astype(np.float64) / self.in_scale + self.in_zero
        return np.clip(np.rint(scaled), self.in_low, self.in_high).astype(np.int64)

    def dequantise(self, integers: Array) -> Array:
        """float32 of int64, in the same shape."""
        return np.asarray(self.out_scale * (integers - self.out_zero), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Trees:
    """Of a tree ensemble: comparisons in, leaves out; see `trees.Ensemble`.

    `scores` int64[K] tells to which score each output of the circuit adds.
    """

    features: Array
    thresholds: Array
    modes: Array
    scores: Array
    scale: Array
    base: Array
    post: Array
    columns: Array
    divisor: Array

    kind: ClassVar[str] = "trees"

    def check(self) -> None:
        forms = {
            "features": (np.int64, 1),
            "thresholds": (np.float32, 1),
            "modes": (np.uint8, 1),
            "scores": (np.int64, 1),
            "scale": (np.float64, 0),
            "base": (np.float64, 1),
            "post": (np.int64, 0),
            "columns": (np.int64, 0),
            "divisor": (np.int64, 0),
        }
        for name, (dtype, rank) in forms.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != rank:
                raise Malformed(
                    f"quantiser {name}", f"{np.dtype(dtype)} of rank {rank}", array.dtype
                )
        count = len(self.features)
        if not count == len(self.thresholds) == len(self.modes) >= 1:
            raise Malformed("comparisons", "arrays of one length", count)
        in_range = {
            "features": (self.features, 0, trees.MAX_NODES),
            "modes": (self.modes, 0, len(trees.MODES)),
            "scores": (self.scores, 0, len(self.base)),
            "post": (self.post, 0, len(trees.POST_TRANSFORMS)),
            "columns": (self.columns, 1, trees.MAX_NODES + 1),
            "divisor": (self.divisor, 1, trees.MAX_NODES + 1),
        }
        for name, (array, low, high) in in_range.items():
            if array.size == 0 or int(array.min()) < low or int(array.max()) >= high:
                raise Malformed(f"quantiser {name}", f"numbers from {low} to {high - 1}", "others")
        finite = (self.thresholds, self.scale, self.base)
        if not all(np.isfinite(array).all() for array in finite) or self.scale <= 0:
            raise Malformed("quantiser of trees", "finite numbers", "others")
        if len(self.base) not in (int(self.columns), 1):
            raise Malformed("quantiser base", f"1 or {int(self.columns)} scores", len(self.base))

    def quantise(self, row: Array) -> Array:
        """Bits int64[1, P] of float32 features, of any shape that holds enough of them."""
        flat = row.reshape(1, -1)
        if int(self.features.max()) >= flat.shape[1]:
            raise Malformed("features of trees", f"below {flat.shape[1]}", int(self.features.max()))
        return trees.compare(flat, self.features, self.thresholds, self.modes)

    def dequantise(self, integers: Array) -> Array:
        """float32 [1, columns] of int64 [1, K]."""
        totals = np.zeros(len(self.base))
        np.add.at(totals, self.scores, integers.reshape(-1).astype(np.float64))
        scores = (self.base + self.scale * totals) / int(self.divisor)
        return trees.finish(scores[None], trees.POST_TRANSFORMS[int(self.post)], int(self.columns))


Quantiser = Affine | Trees
KINDS: dict[str, type[Affine] | type[Trees]] = {"network": Affine, "trees": Trees}
