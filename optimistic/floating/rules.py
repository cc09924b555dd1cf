"""Which rule an operator has: exact, bounded, or refused by name with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.attention import ATTENTION
from proofml.optimistic.floating.contractions import CONTRACTIONS
from proofml.optimistic.floating.convolution import CONVOLUTIONS
from proofml.optimistic.floating.elementwise import CORRECTLY_ROUNDED, ELEMENTWISE
from proofml.optimistic.floating.formats import format_of
from proofml.optimistic.floating.node import Node, Rule
from proofml.optimistic.floating.normalisation import NORMALISATIONS
from proofml.optimistic.floating.pooling import COORDINATES, POOLING
from proofml.optimistic.floating.reductions import REDUCTIONS

DType = np.dtype[Any]


class Kind(Enum):
    """How an operator's claimed output is judged."""

    #: A run of this operator alone gives the same bits: it moves elements or computes integers.
    EXACT = "exact"
    #: Within the bound around a float64 reference.
    BOUNDED = "bounded"


RULES: dict[str, Rule] = {
    **ELEMENTWISE,
    **CONTRACTIONS,
    **CONVOLUTIONS,
    **REDUCTIONS,
    **NORMALISATIONS,
    **ATTENTION,
    **POOLING,
}

#: Movement, choice, comparison and integers: one right result, whatever the machine.
_EXACT = frozenset(
    {
        "And", "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
        "BitwiseXor", "Cast", "CastLike", "Ceil", "CenterCropPad", "Compress", "Concat",
        "Constant", "ConstantOfShape", "ConvInteger", "DepthToSpace", "Dropout", "Equal",
        "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
        "GlobalMaxPool", "Greater", "GreaterOrEqual", "Hardmax", "Identity", "IsInf", "IsNaN",
        "Less", "LessOrEqual", "MatMulInteger", "MaxPool", "MaxUnpool", "Mod", "NonZero", "Not",
        "OneHot", "Or", "Pad", "Range", "Reshape", "ReverseSequence", "Round", "ScatterElements",
        "ScatterND", "Shape", "Sign", "Size", "Slice", "SpaceToDepth", "Split", "Squeeze",
        "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where",
        "Xor",
    }
)  # fmt: skip

_REFUSED = {
    "If": "control flow is not supported; export the branch that is taken",
    "Loop": "control flow is not supported; unroll it on export",
    "Scan": "control flow is not supported; unroll it on export",
    "LSTM": "recurrent operators are not supported; unroll them on export",
    "GRU": "recurrent operators are not supported; unroll them on export",
    "RNN": "recurrent operators are not supported; unroll them on export",
    "QuantizeLinear": "rounds to integers; quantised models have the exact game",
    "DynamicQuantizeLinear": "rounds to integers; quantised models have the exact game",
    "QLinearConv": "quantised models have the exact game",
    "QLinearMatMul": "quantised models have the exact game",
    "RandomNormal": "its result is random",
    "RandomNormalLike": "its result is random",
    "RandomUniform": "its result is random",
    "RandomUniformLike": "its result is random",
    "Multinomial": "its result is random",
    "Bernoulli": "its result is random",
}
_PREFIXES = {
    "Sequence": "sequences are not supported",
    "SplitToSequence": "sequences are not supported",
    "ConcatFromSequence": "sequences are not supported",
    "Optional": "optional values are not supported",
    "String": "strings are not supported",
    "RegexFullMatch": "strings are not supported",
    "TfIdf": "strings are not supported",
}

_STRETCH = ("", "stretch")

#: May join the group of their only consumer: elementwise, so that a fused kernel keeps their error.
JOINING = frozenset(ELEMENTWISE) | {"BatchNormalization"}
#: May be computed first within a group.
HEADS = frozenset(CONTRACTIONS) | frozenset(CONVOLUTIONS) | {"GlobalAveragePool", "AveragePool"}


def kind_of(node: Node, dtypes: Sequence[DType]) -> Kind:
    """The rule for a node whose outputs (those that have names) have these element types.

    Raises:
        UnsupportedModel: the operator has no rule; the message names it and says why.
    """
    op = node.op
    if op in _REFUSED:
        raise node.refuse(_REFUSED[op])
    for prefix, reason in _PREFIXES.items():
        if op.startswith(prefix):
            raise node.refuse(reason)
    real = any(format_of(dtype) is not None for dtype in dtypes)
    reason = _unbounded(node)
    if reason:
        raise node.refuse(reason)
    if op == "Resize" and node.text("mode", "nearest") == "nearest":
        return Kind.EXACT
    if real and op == "Range":
        raise node.refuse("a range of floats has no error bound; make it of integers")
    if real and op.startswith("Scatter") and node.text("reduction", "none") in ("add", "mul"):
        raise node.refuse("a reduction of floats in no fixed order has no error bound")
    if real and op == "Mod" and not node.integer("fmod", 0):
        raise node.refuse("expected fmod=1 for floats")
    if op in RULES and real:
        return Kind.BOUNDED
    if op in _EXACT or op in RULES:
        return Kind.EXACT
    raise node.refuse(
        "has no error bound here; write it as operators that have one, on export"
        if not node.proto.domain
        else "only operators of the default domain have an error bound here"
    )


def _unbounded(node: Node) -> str:
    """Why the attributes of a node that has a rule leave it without a bound; empty where not."""
    op = node.op
    mode = node.text("mode", "nearest")
    if op == "Resize" and mode == "cubic":
        return "only nearest and linear interpolation have an error bound"
    if op == "Resize" and mode == "linear":
        if node.integer("antialias", 0) or node.integer("exclude_outside", 0):
            return "antialias and exclude_outside have no error bound"
        if node.get("axes", None) or node.text("keep_aspect_ratio_policy", "") not in _STRETCH:
            return "axes and keep_aspect_ratio_policy are not supported; give scales or sizes"
        if node.text("coordinate_transformation_mode", "half_pixel") not in COORDINATES:
            return f"expected coordinates of {', '.join(COORDINATES)}"
    if op == "BatchNormalization" and node.integer("training_mode", 0):
        return "training mode; export the model for inference"
    if op == "Dropout" and len(node.inputs) > 2 and node.inputs[2]:
        return "training mode; export the model for inference"
    if op == "Attention" and (node.real("softcap", 0.0) or any(node.outputs[1:])):
        return "softcap and further outputs have no error bound; write it as operators"
    if op == "Attention" and any(node.inputs[4:]):
        return "a cache of keys and values has no error bound; write it as operators"
    if op == "DequantizeLinear" and node.integer("block_size", 0):
        return "scales for blocks have no error bound; quantise by tensor or axis"
    if op == "Einsum" and "..." in node.text("equation", ""):
        return "an ellipsis in the equation is not supported; name all indices"
    return ""


def foldable(node: Node, dtypes: Sequence[DType]) -> bool:
    """Whether every machine computes the same from constants, so that they can be folded."""
    try:
        exact = kind_of(node, dtypes) is Kind.EXACT
    except UnsupportedModel:
        return False
    return exact or node.op in CORRECTLY_ROUNDED
