"""Turn trained PyTorch modules and scikit-learn estimators into ONNX files proofml can take.

In the files every dimension is fixed, the leading one is a batch of 1, and no data is external.
The same weights and the same package versions give the same bytes, so that the digest of the file
can stand for the model. Nothing here is needed to prove or to verify; the packages it uses come
with the extra `proofml[torch]` and are imported inside the functions.
"""

from __future__ import annotations

from proofml.export.sklearn_export import export_sklearn
from proofml.export.torch_export import export_torch

__all__ = ["export_sklearn", "export_torch"]
