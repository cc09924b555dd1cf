"""ONNX to integer circuits: quantisation, lowering and kernels. Nothing is implemented yet."""
