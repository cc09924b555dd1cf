"""Static post-training quantisation of float ONNX models into QDQ files.

Two steps, so that a verifier can redo the second one without data and without onnxruntime:

    calibrate(model, samples, config, store) -> QuantisationRecord   ranges of activations, observed
    apply(model, record) -> bytes                                    pure: same bytes everywhere

What comes out is an ordinary ONNX file that onnxruntime runs with its integer kernels, so that
what is deployed is what is proven. `measure_fidelity` compares it with the float model.

Names are imported when they are first used: a verifier reads records and needs nothing of ONNX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proofml.circuits.quantise.calibration import calibrate
    from proofml.circuits.quantise.fidelity import FidelityReport, measure_fidelity
    from proofml.circuits.quantise.qdq import apply
    from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

_MODULE_OF = {
    "FidelityReport": "fidelity",
    "QuantisationConfig": "record",
    "QuantisationRecord": "record",
    "apply": "qdq",
    "calibrate": "calibration",
    "measure_fidelity": "fidelity",
}

__all__ = [
    "FidelityReport",
    "QuantisationConfig",
    "QuantisationRecord",
    "apply",
    "calibrate",
    "measure_fidelity",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
