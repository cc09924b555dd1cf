"""Quantised ONNX models to integer graphs.

`compile_model` reads a model node by node: codes stay codes, and what is float between a
DequantizeLinear and a QuantizeLinear is kept as an exact description until it becomes codes again
(`values`). The result is a pure function of the canonical model and the inputs' shapes, so a
verifier that holds the file recomputes it.
"""

from __future__ import annotations

from proofml.circuits.onnx.compiler import compile_model, obstacles

__all__ = ["compile_model", "obstacles"]
