"""Ways to make a circuit of one model, and what each gives on the samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proofml.backend import Context
from proofml.canonical import JSON, real
from proofml.fhe.concrete.call import call
from proofml.fhe.concrete.evaluate import apply, need_runtime
from proofml.fhe.concrete.fidelity import Fidelity, measure
from proofml.fhe.concrete.quantiser import Affine, Quantiser, Trees
from proofml.model import Model
from proofml.runtime import RUN_LIMITS
from proofml.tensors import MAX_TENSOR_BYTES, Array
from proofml.worker import run

_SPLIT = "proofml.fhe.concrete.graph_stages:split"
_TREE_ARRAYS = ("features", "thresholds", "modes", "base", "post", "columns", "divisor")


@dataclass(frozen=True)
class Candidate:
    """One way to make the circuit: what it gives on the samples, or why Concrete refuses it."""

    bits: int
    rounding: int | None
    refused: str = ""
    fidelity: Fidelity | None = None
    cost: float = 0.0
    lookups: int = 0
    width: int = 0
    text: bytes = b""
    quantiser: Quantiser | None = None

    @property
    def outputs(self) -> int:
        """Numbers that are decrypted: the function's result in its header line."""
        header = self.text.split(b"\n", 2)[1]
        dims = header.rsplit(b"tensor<", 1)[-1].split(b"x!")[0]
        return int(np.prod([int(dim) for dim in dims.split(b"x") if dim.isdigit()], dtype=np.int64))

    def to_json(self) -> dict[str, JSON]:
        row: dict[str, JSON] = {"bits": self.bits, "rounding": self.rounding}
        if self.fidelity is None:
            return row | {"refused": self.refused}
        row |= self.fidelity.to_json()
        if self.quantiser is None:
            return row
        return row | {
            "cost": real(self.cost),
            "lookups": self.lookups,
            "width": self.width,
        }


class Cut:
    """A model cut on a set of samples, in a folder of its own for the stages to read."""

    def __init__(self, model: Model, rows: Array, folder: Path, context: Context) -> None:
        self.folder, self.context, self.name = folder, context, model.name
        need_runtime()
        (folder / "model.onnx").write_bytes(model.canonical)
        np.save(folder / "samples.npy", rows)
        found = run(
            _SPLIT,
            {"name": model.name},
            folder,
            stage="cut model",
            limits=context.limits.or_else(RUN_LIMITS),
            progress=context.progress,
            file_bytes=MAX_TENSOR_BYTES,
        )
        self.kind: str = found["kind"]
        self.head = _optional(folder / "head.onnx")
        self.tail = _optional(folder / "tail.onnx")
        self.reference: Array = np.load(folder / "reference.npy", allow_pickle=False)
        self.body_reference: Array = np.load(folder / "body.npy", allow_pickle=False)

    def fidelity(self, results: Array) -> Fidelity:
        """Of the body's results [n, ...] in the circuit's integers."""
        rows = np.asarray(results, dtype=np.float32)
        final = apply(self.tail, rows, f"{self.name} (tail)", self.context)
        return measure(self.reference, final, self.body_reference, rows)

    def accuracies(self, wanted: Sequence[tuple[int, int | None]]) -> list[Candidate]:
        """What networks of (bits, rounding) give; they are not compiled, so without a cost."""
        found = []
        for index, row in enumerate(self._stage("accuracy", _pairs(wanted))):
            bits, rounding = wanted[index]
            if "refused" in row:
                found.append(Candidate(bits, rounding, row["refused"]))
                continue
            results = np.load(self.folder / f"y.{index}.npy", allow_pickle=False)
            found.append(Candidate(bits, rounding, fidelity=self.fidelity(results)))
        return found

    def networks(self, wanted: Sequence[tuple[int, int | None]], p_error: float) -> list[Candidate]:
        """Circuits of a network for (bits, rounding)."""
        arguments = _pairs(wanted) | {"p_error": repr(p_error)}
        found = []
        for index, row in enumerate(self._stage("network", arguments)):
            bits, rounding = wanted[index]
            if "refused" in row:
                found.append(Candidate(bits, rounding, row["refused"]))
                continue
            results = np.load(self.folder / f"y.{index}.npy", allow_pickle=False)
            with np.load(self.folder / f"scales.{index}.npz", allow_pickle=False) as scales:
                names = [field.name for field in dataclasses.fields(Affine)]
                quantiser = Affine(*(scales[name] for name in names))
            found.append(self._candidate(bits, rounding, index, row, quantiser, results))
        return found

    def ensembles(self, wanted: Sequence[int], p_error: float) -> list[Candidate]:
        """Circuits of trees for bits of a leaf."""
        arguments = {"bits": list(wanted), "p_error": repr(p_error)}
        with np.load(self.folder / "trees.npz", allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
        middle = np.load(self.folder / "middle.npy", allow_pickle=False)
        paths = arrays["paths"].astype(np.int64)
        found = []
        for index, row in enumerate(self._stage("ensemble", arguments)):
            if "refused" in row:
                found.append(Candidate(wanted[index], None, row["refused"]))
                continue
            with np.load(self.folder / f"leaves.{index}.npz", allow_pickle=False) as leaves:
                scores, scale, values = leaves["columns"], leaves["scale"], leaves["values"]
            common = {name: arrays[name] for name in _TREE_ARRAYS}
            quantiser = Trees(scores=scores, scale=scale, **common)
            bits = np.concatenate([quantiser.quantise(row) for row in middle])
            reached = bits @ paths.T == np.maximum(paths, 0).sum(axis=1)
            results = np.stack(
                [quantiser.dequantise(line[None]) for line in reached.astype(np.int64) @ values]
            )
            found.append(self._candidate(wanted[index], None, index, row, quantiser, results))
        return found

    def _candidate(
        self,
        bits: int,
        rounding: int | None,
        index: int,
        row: Mapping[str, Any],
        quantiser: Quantiser,
        results: Array,
    ) -> Candidate:
        return Candidate(
            bits,
            rounding,
            "",
            self.fidelity(results),
            float(row["cost"]),
            row["lookups"],
            row["width"],
            (self.folder / f"mlir.{index}").read_bytes(),
            quantiser,
        )

    def _stage(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return call(
            f"compile_stages:{name}",
            arguments,
            self.folder,
            self.context,
            title=name,
            purpose="compile",
            threads=1,  # thousands of small evaluations: more threads only wait for each other
        )


def _pairs(wanted: Sequence[tuple[int, int | None]]) -> dict[str, Any]:
    return {"candidates": [{"bits": bits, "rounding": rounding} for bits, rounding in wanted]}


def _optional(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""
