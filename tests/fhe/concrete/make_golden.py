"""Writes the circuits in `golden/`: python -m tests.fhe.concrete.make_golden, with Concrete.

They only change when the format or Concrete's version does.
"""

from __future__ import annotations

from pathlib import Path

from proofml.backend import Context
from proofml.fhe.concrete.compiler import compile_model
from proofml.model import Model
from proofml.store import Store
from tests.fhe.concrete import models

MODELS = {
    "logistic": (models.logistic(), {"bits": "6"}),
    "mlp": (models.mlp(), {"bits": "4", "rounding": "4"}),
    "trees": (models.trees(post="SOFTMAX"), {"bits": "6"}),
}


def main() -> None:
    context = Context(Store.default())
    for name, (data, options) in MODELS.items():
        model = Model.load(data, store=context.store)
        circuit = compile_model(model, models.samples((1, 4)), options, context)
        path = Path(__file__).with_name("golden") / f"{name}.circuit"
        path.write_bytes(circuit.data)
        print(path.name, len(circuit.data), circuit.digest)


if __name__ == "__main__":
    main()
