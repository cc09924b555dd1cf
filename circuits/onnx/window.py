"""Windows of convolutions and poolings."""

from __future__ import annotations

from collections.abc import Sequence

from proofml.circuits.graph import Shape
from proofml.circuits.onnx.node import Node
from proofml.circuits.onnx.values import Window


def spatial_windows(
    node: Node, spatial: Shape, kernel: Sequence[int], *, ceil: bool = False
) -> list[Window]:
    """Windows of a convolution or a pooling, padding by `pads` or `auto_pad`.

    Raises:
        UnsupportedModel: attributes that do not fit the input's rank, or no room for a window.
    """
    rank = len(spatial)
    strides = node.integers("strides") or (1,) * rank
    dilations = node.integers("dilations") or (1,) * rank
    pads = node.integers("pads") or (0,) * (2 * rank)
    mode = node.text("auto_pad", "NOTSET")
    if not len(kernel) == len(strides) == len(dilations) == rank or len(pads) != 2 * rank:
        raise node.fail(f"kernel, strides, dilations and pads do not fit {rank} spatial axes")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise node.fail("a kernel, stride or dilation below 1, or a negative pad")
    result = []
    for axis, size in enumerate(spatial):
        stride, dilation = strides[axis], dilations[axis]
        extent = (kernel[axis] - 1) * dilation + 1
        before, after = pads[axis], pads[rank + axis]
        if mode in ("SAME_UPPER", "SAME_LOWER"):
            length = -(-size // stride)
            total = max(0, (length - 1) * stride + extent - size)
            before = total // 2 if mode == "SAME_UPPER" else -(-total // 2)
            after = total - before
        else:
            if mode == "VALID":
                before = after = 0
            elif mode != "NOTSET":
                raise node.fail(f"auto_pad {mode!r}; expected NOTSET, VALID or SAME_*")
            room = size + before + after - extent
            length = (-(-room // stride) if ceil else room // stride) + 1
            # A window must begin within the input or the padding before it.
            if ceil and (length - 1) * stride >= size + before:
                length -= 1
        if length < 1:
            raise node.fail(f"no room for a kernel of {extent} in {size} + {before + after}")
        result.append(Window(kernel[axis], stride, dilation, before, length))
    return result
