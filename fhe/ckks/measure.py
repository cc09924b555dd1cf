"""Precision measured after keys exist, beside what was estimated before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofml.backend import Context
from proofml.fhe.agreement import agreement
from proofml.fhe.ckks import owner, server
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.model import Model
from proofml.runtime import run_model
from proofml.tensors import Array


@dataclass(frozen=True)
class Measured:
    """Over all outputs of some inferences under encryption.

    Attributes:
        inferences: how many.
        noise: largest difference from the simulation; what encryption adds.
        error: largest difference from the float model in onnxruntime.
        agreement: part of the rows decided as by the float model (`proofml.fhe.agreement`).
        noise_bound, error_bound: what compiling estimated; of the decrypted tensors, before the
            last steps that the owner computes.
    """

    inferences: int
    noise: float
    error: float
    agreement: float
    noise_bound: float
    error_bound: float


def measure(
    circuit: CkksCircuit,
    model: Model,
    secret: bytes,
    evaluation: bytes,
    inputs: Mapping[str, Array],
    context: Context,
) -> Measured:
    """Encrypt, run and decrypt these inputs.

    Raises:
        UsageError, Malformed: as the roles do.
        BackendUnavailable: TenSEAL or onnxruntime is not installed.
    """
    given = owner.encrypt(circuit, secret, inputs, context)
    made = server.run(circuit, evaluation, given, context)
    found = owner.decrypt(circuit, secret, made, context)
    simulated = server.simulate(circuit, inputs, context)
    count = len(next(iter(inputs.values())))
    rows = [
        run_model(
            model,
            model.check_inputs({name: array[i : i + 1] for name, array in inputs.items()}),
            context.store,
            progress=context.progress,
        )
        for i in range(count)
    ]
    noise = error = 0.0
    agreements = []
    for name, array in found.items():
        wanted = np.concatenate([row[name] for row in rows])
        noise = max(noise, _largest(array, simulated[name]))
        error = max(error, _largest(array, wanted))
        agreements.append(agreement(wanted, array))
    report: Mapping[str, Any] = circuit.report
    return Measured(
        count,
        noise,
        error,
        min(agreements),
        float(report["noise"]),
        float(report["error"]),
    )


def _largest(left: Array, right: Array) -> float:
    difference = left.astype(np.float64) - right.astype(np.float64)
    return float(np.max(np.abs(difference), initial=0.0))
