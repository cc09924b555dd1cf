"""Stages that make circuits, in the interpreter that has Concrete ML as well."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofml.fhe.concrete import native
from proofml.tensors import Array
from proofml.worker.job import Job

_WIDTH = re.compile(r"this (\d+)-bit value is used as an input to a table lookup")
_LIMIT = re.compile(r"only up to (\d+)-bit table lookups")
_TAG = re.compile(r"@ *(\S+)")
_MISSING = re.compile(r"not currently implemented: ([^.\n]*)")


class Refused(Exception):
    """Concrete does not take the model with these bits; the message names operator and width."""


def accuracy(job: Job) -> list[dict[str, Any]]:
    """What candidates cost in accuracy, `body.onnx` on `middle.npy`; nothing is compiled.

    Candidate N gives its results `y.N.npy`, float64, or the reason why it is refused.
    """
    builder = _Builder(job)
    candidates = job.args["candidates"]
    found: list[dict[str, Any]] = []
    for index, candidate in enumerate(candidates):
        job.progress("quantise", index / len(candidates))
        try:
            module = builder.module(candidate["bits"], candidate["rounding"])
        except Refused as error:
            found.append({"refused": str(error)})
            continue
        np.save(f"y.{index}.npy", builder.results(module)[0])
        found.append({})
    return found


def network(job: Job) -> list[dict[str, Any]]:
    """Compile `body.onnx` for every candidate of bits and rounding.

    Candidate N gives `mlir.N`, its results on the samples `y.N.npy` (float64), and the arrays of
    its quantisers `scales.N.npz`; or the reason why Concrete refuses it.
    """
    builder = _Builder(job)
    candidates = job.args["candidates"]
    found: list[dict[str, Any]] = []
    for index, candidate in enumerate(candidates):
        job.progress("compile candidates", index / len(candidates))
        try:
            module = builder.module(candidate["bits"], candidate["rounding"])
            circuit = builder.compiled(module, float(job.args["p_error"]))
        except Refused as error:
            found.append({"refused": str(error)})
            continue
        results, scales = builder.results(module)
        Path(f"mlir.{index}").write_text(circuit.mlir)
        np.save(f"y.{index}.npy", results)
        np.savez(f"scales.{index}.npz", **scales)  # type: ignore[arg-type]
        found.append(
            {
                "width": int(circuit.graph.maximum_integer_bit_width()),
                "cost": repr(float(circuit.complexity)),
                "lookups": int(circuit.programmable_bootstrap_count),
            }
        )
    return found


def ensemble(job: Job) -> list[dict[str, Any]]:
    """Compile `trees.npz` for every number of bits of a leaf: `mlir.N`, `leaves.N.npz`."""
    fhe = native.load("concrete.fhe")
    with np.load("trees.npz", allow_pickle=False) as data:
        arrays = {name: data[name] for name in data.files}
    paths = arrays["paths"].astype(np.int64)
    lengths = np.abs(paths).sum(axis=1)
    depth = int(lengths.max())
    # So that every leaf is reached at the same number: the length of the longest path.
    offsets = depth - np.maximum(paths, 0).sum(axis=1)
    found: list[dict[str, Any]] = []
    for index, bits in enumerate(job.args["bits"]):
        job.progress("compile candidates", index / len(job.args["bits"]))
        values, columns, scale = _leaves(arrays, bits)

        infer = _inference(paths, offsets, depth, values)
        # Bits that lead to each leaf, and their complements, reach every bound of every value.
        extremes = np.concatenate([paths > 0, paths < 0]).astype(np.int64)[:, None, :]
        try:
            circuit = _compile(
                fhe, infer, ["x"], [(row,) for row in extremes], float(job.args["p_error"])
            )
        except Refused as error:
            found.append({"refused": str(error)})
            continue
        Path(f"mlir.{index}").write_text(circuit.mlir)
        np.savez(f"leaves.{index}.npz", columns=columns, scale=scale, values=values)
        found.append(
            {
                "width": int(circuit.graph.maximum_integer_bit_width()),
                "cost": repr(float(circuit.complexity)),
                "lookups": int(circuit.programmable_bootstrap_count),
            }
        )
    return found


def _inference(paths: Array, offsets: Array, depth: int, values: Array) -> Any:
    """The function of comparison bits int64[1, P] that is compiled; result int64[1, K]."""

    def infer(x: Any) -> Any:
        reached = (x @ paths.T + offsets) == depth
        return reached.astype(np.int64) @ values

    return infer


def _leaves(arrays: Mapping[str, Array], bits: int) -> tuple[Array, Array, Array]:
    """Integer leaves int64[L, K], a column for each tree and score that it adds to; K -> score."""
    weights, trees = arrays["weights"], arrays["trees"]
    scale = np.float64(np.abs(weights).max() / (2 ** (bits - 1) - 1)) or np.float64(1)
    rounded = np.rint(weights / scale).astype(np.int64)
    columns, values = [], []
    for tree in range(int(trees.max()) + 1):
        mine = trees == tree
        for score in np.flatnonzero(rounded[mine].any(axis=0)):
            column = np.where(mine, rounded[:, score], 0)
            columns.append(score)
            values.append(column)
    if not columns:
        columns, values = [np.int64(0)], [np.zeros(len(trees), dtype=np.int64)]
    return np.stack(values, axis=1), np.array(columns, dtype=np.int64), np.asarray(scale)


class _Builder:
    """Concrete ML's quantisation of one graph on one set of samples."""

    def __init__(self, job: Job) -> None:
        warnings.simplefilter("ignore")
        job.progress("load Concrete ML")
        self.fhe = native.load("concrete.fhe")
        self.build = native.load("concrete.ml.torch.compile").build_quantized_module
        self.quantizers = native.load("concrete.ml.quantization.quantizers")
        self.proxy = native.load("concrete.ml.common.utils").generate_proxy_function
        onnx = native.load("onnx")
        self.model = onnx.load("body.onnx")
        self.samples = np.load("middle.npy", allow_pickle=False)
        # Concrete ML takes one sample for each entry of the first axis, which is 1 in the graph.
        self.rows = self.samples.reshape(-1, *self.samples.shape[2:])

    def module(self, bits: int, rounding: int | None) -> Any:
        """The quantised module, whose input is what the first operator reads.

        Concrete ML would quantise an input once for the circuit and again, by one encrypted table
        lookup for every value, for its first operator. Where that operator is the only reader, the
        owner can do the second step in the clear.
        """
        wanted = {
            "model_inputs": bits,
            "op_inputs": bits,
            "op_weights": bits,
            "model_outputs": bits,
        }
        try:
            module = self.build(
                self.model, self.rows, n_bits=wanted, rounding_threshold_bits=rounding
            )
        except (AssertionError, ValueError, NotImplementedError, KeyError) as error:
            raise _refusal(error) from error
        source = self.model.graph.input[0].name
        readers = [
            operator
            for _, operator in module.quant_layers_dict.values()
            if source in operator.int_input_names
        ]
        if len(readers) == 1 and not readers[0].can_fuse():
            options = self.quantizers.QuantizationOptions(bits)
            options.copy_opts(readers[0].input_quant_opts)
            module.input_quantizers[0] = self.quantizers.QuantizedArray(
                options.n_bits, self.rows.astype(np.float64), options=options
            ).quantizer
        return module

    def quantised(self, module: Any) -> Array:
        """The samples as integers, in the way of `quantiser.Affine`."""
        quantizer = module.input_quantizers[0]
        low, high = _bounds(quantizer)
        scaled = self.rows.astype(np.float64) / np.float64(quantizer.scale) + int(
            quantizer.zero_point
        )
        integers: Array = np.clip(np.rint(scaled), low, high).astype(np.int64)
        return integers

    def compiled(self, module: Any, p_error: float) -> Any:
        function, names = self.proxy(module._clear_forward, module.ordered_module_input_names)
        rows = self.quantised(module)
        inputs = [(row[None],) for row in rows]
        return _compile(self.fhe, function, list(names.values()), inputs, p_error)

    def results(self, module: Any) -> tuple[Array, dict[str, Array]]:
        """Results on the samples [n, 1, ...], and the arrays of the quantisers."""
        quantizer = module.input_quantizers[0]
        low, high = _bounds(quantizer)
        output = module.output_quantizers[0]
        integers = np.asarray(module.quantized_forward(self.quantised(module)))[:, None]
        zero = np.asarray(output.zero_point, dtype=np.float64)
        scale = np.asarray(output.scale, dtype=np.float64)
        scales = {
            "in_scale": np.asarray(quantizer.scale, dtype=np.float64).reshape(()),
            "in_zero": np.asarray(int(quantizer.zero_point), dtype=np.int64),
            "in_low": np.asarray(low, dtype=np.int64),
            "in_high": np.asarray(high, dtype=np.int64),
            "out_scale": scale,
            "out_zero": zero,
        }
        return scale * (integers - zero), scales


def _bounds(quantizer: Any) -> tuple[int, int]:
    low = -int(quantizer.offset) + bool(quantizer.is_narrow)
    return low, 2 ** int(quantizer.n_bits) - 1 - int(quantizer.offset)


def _compile(
    fhe: Any, function: Any, names: list[str], inputs: Sequence[tuple[Array, ...]], p_error: float
) -> Any:
    configuration = fhe.Configuration(
        p_error=p_error,
        single_precision=False,
        compress_evaluation_keys=True,
        compress_input_ciphertexts=True,
        dump_artifacts_on_unexpected_failures=False,
    )
    compiler = fhe.Compiler(function, dict.fromkeys(names, "encrypted"))
    try:
        return compiler.compile(list(inputs), configuration)
    except (RuntimeError, ValueError, AssertionError, NotImplementedError) as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> Refused:
    """Concrete's pages of explanation as one line: the operator, its width, what is allowed."""
    text = str(error)
    missing = _MISSING.search(text)
    if missing is not None:
        return Refused(f"operators that Concrete ML does not have: {missing[1]}")
    width, limit = _WIDTH.search(text), _LIMIT.search(text)
    if width is None:
        return Refused(" ".join((text or repr(error)).split())[:300])
    # The line before the mark is the operation; its tag is the name of the ONNX node.
    before = [line for line in text[: width.start()].split("\n") if line.startswith("%")]
    tag = _TAG.search(before[-1]) if before else None
    name = tag[1].split(".")[0] if tag else "an operator"
    return Refused(
        f"{name or 'an operator'} makes values of {width[1]} bits for a table lookup, "
        f"which takes {limit[1] if limit else 16}"
    )
