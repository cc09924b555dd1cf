"""Any canonical model and record -> a model, or an error of ours; never another exception."""

from __future__ import annotations

import onnx

from .builder import ZOO

BASES = [onnx.ModelProto.FromString(make()) for make in ZOO.values()]
KINDS = ("Add", "ArgMax", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Div", "Dropout")
KINDS += ("Erf", "Gemm", "Identity", "MatMul", "Mul", "Pad", "ReduceMean", "ReduceSum", "Reshape")
KINDS += ("Sigmoid", "Split", "Sqrt", "Squeeze", "Sub", "Transpose")
