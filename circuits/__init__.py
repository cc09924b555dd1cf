"""Quantised ONNX models as integer circuits: quantisation, import, execution, ranges, kernels."""
