"""How near the quantised model is to the float one, on inputs that calibration did not see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from proofml.canonical import JSON, real
from proofml.circuits.quantise.calibration import work
from proofml.errors import UsageError, printable
from proofml.model import Model
from proofml.runtime import RUN_LIMITS
from proofml.store import Store
from proofml.tensors import Array
from proofml.worker import Limits, Progress, silent


@dataclass(frozen=True)
class OutputFidelity:
    """One output over all samples.

    Attributes:
        name: of the output.
        scale: largest less smallest value of the float model's output.
        max_error, mean_error: absolute.
        cosine: smallest cosine of the angle between a sample's two outputs.
        top1: share of rows (last axis) in which the largest value has the same index; for integer
            outputs the share of equal elements. None where a row has one value.
    """

    name: str
    scale: float
    max_error: float
    mean_error: float
    cosine: float
    top1: float | None

    def to_json(self) -> dict[str, JSON]:
        return {
            "cosine": real(self.cosine),
            "max_error": real(self.max_error),
            "mean_error": real(self.mean_error),
            "name": self.name,
            "scale": real(self.scale),
            "top1": None if self.top1 is None else real(self.top1),
        }

    def __str__(self) -> str:
        def share(value: float) -> str:
            return f"{value:.3g} ({value / self.scale:.2%} of the range)" if self.scale else "0"

        agreement = "" if self.top1 is None else f", top-1 agreement {self.top1:.2%}"
        return (
            f"{self.name}: error at most {share(self.max_error)}, mean {share(self.mean_error)}, "
            f"cosine at least {self.cosine:.5f}{agreement}"
        )


@dataclass(frozen=True)
class FidelityReport:
    """`samples` inputs, the digests of both models, and each output."""

    float_model: str
    quantised_model: str
    samples: int
    outputs: tuple[OutputFidelity, ...]

    def to_json(self) -> dict[str, JSON]:
        """Canonical JSON has no reals: they are decimal strings."""
        return {
            "float_model": self.float_model,
            "outputs": [output.to_json() for output in self.outputs],
            "quantised_model": self.quantised_model,
            "samples": self.samples,
        }

    def __str__(self) -> str:
        head = f"on {self.samples} sample{'' if self.samples == 1 else 's'}"
        return "\n".join([head, *(f"  {output}" for output in self.outputs)])


def measure_fidelity(
    float_model: Model,
    quantised_model: Model,
    samples: Sequence[Mapping[str, Array]],
    store: Store,
    *,
    limits: Limits = RUN_LIMITS,
    progress: Progress = silent,
) -> FidelityReport:
    """Run both models on `samples` and compare the quantised one's outputs with the float values
    of these names: outputs too, or what a Softmax reads that was cut off.

    Raises:
        UsageError: no samples, or outputs that the float model does not compute.
        BackendUnavailable, UnsupportedModel, WorkerFailed: as `proofml.runtime.run_model`.
    """
    names = [spec.name for spec in quantised_model.outputs]
    proto = float_model.proto
    made = {name for node in proto.graph.node for name in node.output if name}
    if not set(names) <= made:
        raise UsageError(
            f"{quantised_model.name}: expected outputs that {float_model.name} computes, got "
            f"{', '.join(printable(name) for name in names[:6])}; compare it with the model that "
            "it was made of"
        )
    if not samples:
        raise UsageError(f"{float_model.name}: expected at least one held-out sample, got none")
    shown = {spec.name for spec in float_model.outputs}
    for name in names:
        if name not in shown:
            proto.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    data: bytes = proto.SerializeToString(deterministic=True)
    want = _run(float_model, data, names, samples, store, limits=limits, progress=progress)
    have = run_samples(quantised_model, samples, store, limits=limits, progress=progress)
    outputs = tuple(
        _compare(name, [one[name] for one in want], [one[name] for one in have]) for name in names
    )
    return FidelityReport(float_model.digest, quantised_model.digest, len(samples), outputs)


def run_samples(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    store: Store,
    *,
    limits: Limits = RUN_LIMITS,
    progress: Progress = silent,
) -> list[dict[str, Array]]:
    """Outputs by name for each sample, in one worker with the settings of `runtime.run_model`."""
    names = [spec.name for spec in model.outputs]
    return _run(model, model.canonical, names, samples, store, limits=limits, progress=progress)


def _run(
    model: Model,
    data: bytes,
    names: Sequence[str],
    samples: Sequence[Mapping[str, Array]],
    store: Store,
    *,
    limits: Limits,
    progress: Progress,
) -> list[dict[str, Array]]:
    """`run_samples` with other bytes of the model, which has the outputs `names`."""
    checked = [model.check_inputs(sample) for sample in samples]
    with store.scratch() as folder:
        (folder / "model.onnx").write_bytes(data)
        work("run_many", model, checked, folder, {"outputs": list(names)}, limits, progress)
        with np.load(folder / "out.npz", allow_pickle=False) as found:
            return [
                {name: found[f"{index}.{place}"] for place, name in enumerate(names)}
                for index in range(len(checked))
            ]


def _compare(name: str, want: Sequence[Array], have: Sequence[Array]) -> OutputFidelity:
    errors, largest, cosine, agree, rows = 0.0, 0.0, 1.0, 0, 0
    low, high, count = np.inf, -np.inf, 0
    for left, right in zip(want, have, strict=True):
        if left.shape != right.shape:
            raise UsageError(
                f"output {name!r}: expected {list(left.shape)}, got {list(right.shape)}"
            )
        if not left.size:
            continue
        a, b = left.astype(np.float64), right.astype(np.float64)
        difference = np.abs(a - b)
        errors, count = errors + float(difference.sum()), count + a.size
        largest = max(largest, float(difference.max()))
        low, high = min(low, float(a.min())), max(high, float(a.max()))
        cosine = min(cosine, _cosine(a.reshape(-1), b.reshape(-1)))
        if left.dtype.kind in "iu":
            agree, rows = agree + int((left == right).sum()), rows + left.size
        elif left.ndim and left.shape[-1] > 1:
            same = left.argmax(-1) == right.argmax(-1)
            agree, rows = agree + int(same.sum()), rows + same.size
    return OutputFidelity(
        name=name,
        scale=high - low if count else 0.0,
        max_error=largest,
        mean_error=errors / count if count else 0.0,
        cosine=cosine,
        top1=agree / rows if rows else None,
    )


def _cosine(a: Array, b: Array) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not norms:
        return 1.0 if np.array_equal(a, b) else 0.0
    return min(1.0, float(a @ b) / norms)
