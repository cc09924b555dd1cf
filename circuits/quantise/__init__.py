"""Static post-training quantisation of float ONNX models into QDQ files.

Two steps, so that a verifier can redo the second one without data and without onnxruntime:

    calibrate(model, samples, config, store) -> QuantisationRecord   ranges of activations, observed
    apply(model, record) -> bytes                                    pure: same bytes everywhere

What comes out is an ordinary ONNX file that onnxruntime runs with its integer kernels, so that
what is deployed is what is proven. `measure_fidelity` compares it with the float model.
"""

from proofml.circuits.quantise.calibration import calibrate
from proofml.circuits.quantise.fidelity import FidelityReport, measure_fidelity
from proofml.circuits.quantise.qdq import apply
from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

__all__ = [
    "FidelityReport",
    "QuantisationConfig",
    "QuantisationRecord",
    "apply",
    "calibrate",
    "measure_fidelity",
]
