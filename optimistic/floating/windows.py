"""Where the windows of convolutions and pools lie: pads, strides, dilations, output lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node

Slices = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """Spatial axes only, all tuples of one length.

    Attributes:
        kernel, strides, dilations: as in ONNX.
        before, after: padding; `after` covers the last window of `ceil_mode` as well.
        sizes: of the output.
        declared: padding after as the model declares it, without what `ceil_mode` adds.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    sizes: tuple[int, ...]
    declared: tuple[int, ...]

    @classmethod
    def of(cls, node: Node, kernel: tuple[int, ...], spatial: tuple[int, ...]) -> Windows:
        """Of a Conv or pool with inputs of these spatial dims.

        Raises:
            UnsupportedModel: attributes that do not fit.
        """
        rank = len(spatial)
        strides = node.integers("strides", (1,) * rank)
        dilations = node.integers("dilations", (1,) * rank)
        pads = node.integers("pads", (0,) * (2 * rank))
        mode = node.text("auto_pad", "NOTSET")
        if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
            raise node.refuse(f"expected attributes for {rank} spatial axes")
        if min((*strides, *dilations), default=1) < 1 or min(pads, default=0) < 0:
            raise node.refuse("expected positive strides and dilations, and pads from 0 on")
        before, declared, after, sizes = [], [], [], []
        for axis, (length, k, s, d) in enumerate(
            zip(spatial, kernel, strides, dilations, strict=True)
        ):
            first, last = pads[axis], pads[axis + rank]
            extent = (k - 1) * d + 1
            if mode in ("SAME_UPPER", "SAME_LOWER"):
                size = -(-length // s)
                total = max(0, (size - 1) * s + extent - length)
                first = total // 2 if mode == "SAME_UPPER" else total - total // 2
                last = total - first
            else:
                if mode == "VALID":
                    first = last = 0
                room = length + first + last - extent
                size = room // s + 1
                if node.integer("ceil_mode", 0):
                    size = -(-room // s) + 1
                    # A window that would begin in the padding after the end is left out.
                    if (size - 1) * s >= length + first:
                        size -= 1
            if size < 0:
                raise node.refuse(f"axis {axis}: no window of {extent} fits into {length}")
            before.append(first)
            declared.append(last)
            after.append(max(last, (size - 1) * s + extent - length - first))
            sizes.append(size)
        return cls(
            kernel, strides, dilations, tuple(before), tuple(after), tuple(sizes), tuple(declared)
        )

    def padded(self, x: Reals) -> Reals:
        """`x` [N, C, spatial...] with zeros around."""
        if not any((*self.before, *self.after)):
            return x
        widths = [(0, 0), (0, 0), *zip(self.before, self.after, strict=True)]
        return np.pad(x, widths)

    def taps(self) -> Iterator[tuple[tuple[int, ...], Slices]]:
        """Each position in the kernel, and what of the padded input it meets in all windows."""
        for tap in product(*map(range, self.kernel)):
            yield (
                tap,
                tuple(
                    slice(t * d, t * d + (size - 1) * s + 1, s)
                    for t, d, s, size in zip(
                        tap, self.dilations, self.strides, self.sizes, strict=True
                    )
                ),
            )
