"""Calibrates, applies and compares in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.circuits.quantise import (
    FidelityReport,
    QuantisationConfig,
    QuantisationRecord,
    apply,
    calibrate,
    measure_fidelity,
)
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array


@dataclass(frozen=True)
class Outcome:
    model: Model
    record: QuantisationRecord
    data: bytes
    quantised: Model
    report: FidelityReport


class Workshop:
    """Quantises with a fixed set of random inputs; compares on the same ones."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def samples(self, model: Model, count: int = 8) -> list[Mapping[str, Array]]:
        rng = np.random.default_rng(7)
        result: list[Mapping[str, Array]] = []
        for _ in range(count):
            sample = {}
            for spec in model.inputs:
                dims = [dim or 1 for dim in spec.shape or ()]
                if spec.dtype == "float32":
                    sample[spec.name] = rng.standard_normal(dims).astype(np.float32)
                else:
                    info = np.iinfo(spec.dtype)
                    sample[spec.name] = rng.integers(info.min, info.max + 1, dims).astype(
                        spec.dtype
                    )
            result.append(sample)
        return result

    def run(
        self,
        source: bytes,
        config: QuantisationConfig | None = None,
        samples: Sequence[Mapping[str, Array]] | None = None,
    ) -> Outcome:
        model = Model.load(source, store=self.store)
        given = samples or self.samples(model)
        record = calibrate(model, given, config or QuantisationConfig(), self.store)
        data = apply(model, record)
        quantised = Model.load(data, store=self.store)
        report = measure_fidelity(model, quantised, given, self.store)
        return Outcome(model, record, data, quantised, report)
