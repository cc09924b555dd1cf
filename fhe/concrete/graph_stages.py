"""Stages on ONNX graphs, in this package's own interpreter: cutting a model, running one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, version_converter

from proofml.errors import UnsupportedModel, printable
from proofml.fhe.concrete import trees
from proofml.fhe.concrete.cut import drop_copies, find_cut, fix_shapes, is_trees, part, spell_out
from proofml.runtime_stages import open_session, translate
from proofml.tensors import Array
from proofml.worker.job import Job

#: The only operator set that Concrete ML takes.
CONCRETE_OPSET = 14
_NEAR, _TINY = 1e-4, 1e-5


def split(job: Job) -> dict[str, Any]:
    """`model.onnx` at one input shape -> `head.onnx`, `tail.onnx`, and `body.onnx` or `trees.npz`.

    The parts are run one after the other on `samples.npy` and compared with the model.
    """
    name = job.args["name"]
    job.progress("cut model")
    model = onnx.load(job.folder / "model.onnx")
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise UnsupportedModel(
            f"{name}: expected one input and one output, got {len(model.graph.input)} and "
            f"{len(model.graph.output)}; export it with one of each"
        )
    samples = np.load(job.folder / "samples.npy", allow_pickle=False)
    try:
        model = fix_shapes(model, {model.graph.input[0].name: samples.shape[1:]})
    except Exception as error:
        raise UnsupportedModel(
            f"{name}: has no shapes at input {list(samples.shape[1:])}: {printable(error)}"
        ) from error
    drop_copies(model.graph)
    cut = find_cut(model.graph, name)
    head = part(model, model.graph.input[0].name, cut.head, name)
    tail = part(model, cut.tail, model.graph.output[0].name, name)
    for part_name, piece in (("head", head), ("tail", tail)):
        if piece is not None:
            _save(job, part_name, piece)
    ensembles = [node for node in model.graph.node if is_trees(node)]
    middle = _run_part(job, "head", head, samples, name)
    if ensembles:
        if len(ensembles) != 1 or ensembles[0].output[-1] != cut.tail:
            raise UnsupportedModel(f"{name}: expected one tree ensemble and no other weights")
        ensemble = trees.read(ensembles[0], name)
        _save_trees(job, ensemble)
        rows = middle.reshape(len(middle), -1)
        if rows.shape[1] <= int(ensemble.features.max()):
            raise UnsupportedModel(f"{name}: a tree reads a feature beyond the {rows.shape[1]}")
        bits = trees.compare(rows, ensemble.features, ensemble.thresholds, ensemble.modes)
        result = trees.finish(
            trees.float_scores(ensemble, bits), ensemble.post, ensemble.columns
        ).reshape(len(rows), 1, -1)
    else:
        if middle.ndim < 3 or middle.shape[1] != 1:
            raise UnsupportedModel(
                f"{name}: tensor {cut.head!r}: expected a first axis of 1, one inference at a "
                f"time, got {list(middle.shape[1:])}"
            )
        body = part(model, cut.head, cut.tail, name)
        assert body is not None  # a node that multiplies by weights lies between
        body = _to_opset(body, name)
        _save(job, "body", body)
        result = _run_part(job, "body", body, middle, name)
    np.save(job.folder / "body.npy", result)
    got = _run_part(job, "tail", tail, result, name)
    want = run_rows(job.folder / "model.onnx", samples, name)
    worst = float(np.abs(got - want).max(initial=0)) if got.shape == want.shape else np.inf
    if got.shape != want.shape or not np.allclose(got, want, rtol=_NEAR, atol=_TINY):
        raise UnsupportedModel(
            f"{name}: its parts in operator set {CONCRETE_OPSET} do not compute what it does: "
            f"expected outputs {list(want.shape)} within {_NEAR:g}, got "
            f"{list(got.shape)} off by {worst:g}"
        )
    np.save(job.folder / "middle.npy", middle)
    np.save(job.folder / "reference.npy", want)
    return {"kind": "trees" if ensembles else "network", "body_shape": list(result.shape[1:])}


def evaluate(job: Job) -> dict[str, Any]:
    """Run `model.onnx`, of whoever made it, on each row of `rows.npy`, write `results.npy`.

    Raises:
        UnsupportedModel: it is no graph of standard operators that is complete in itself.
    """
    _complete(onnx.load(job.folder / "model.onnx", load_external_data=False), job.args["name"])
    job.progress("onnxruntime")
    rows = np.load(job.folder / "rows.npy", allow_pickle=False)
    np.save(job.folder / "results.npy", run_rows(job.folder / "model.onnx", rows, job.args["name"]))
    return {}


def _complete(model: ModelProto, name: str) -> None:
    """Raises `UnsupportedModel` for a graph that would read other files, or call its own functions.

    An external tensor could name any file of the reader's, and its numbers would be in the result.
    """
    pending = [model.graph]
    while pending:
        graph = pending.pop()
        sparse = [part for one in graph.sparse_initializer for part in (one.values, one.indices)]
        tensors = [*graph.initializer, *sparse]
        for node in graph.node:
            if node.domain not in ("", "ai.onnx", "ai.onnx.ml"):
                raise UnsupportedModel(f"{name}: an operator of domain {printable(node.domain)}")
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                pending += [attribute.g, *attribute.graphs]
        for tensor in tensors:
            if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
                raise UnsupportedModel(f"{name}: a tensor that lies in another file")
    if model.functions:
        raise UnsupportedModel(f"{name}: functions of its own")


def run_rows(path: Path, rows: Array, name: str) -> Array:
    """Outputs of the model at `path`, of one input and output, for each of `rows` [n, ...]."""
    session = open_session(path, name)
    feed = session.get_inputs()[0].name
    try:
        results = [session.run(None, {feed: row})[0] for row in rows]
    except Exception as error:
        raise translate(error, f"{name}: onnxruntime failed") from error
    return np.stack(results)


def _run_part(job: Job, part_name: str, piece: ModelProto | None, rows: Array, name: str) -> Array:
    if piece is None:
        return rows
    return run_rows(job.folder / f"{part_name}.onnx", rows, f"{name} ({part_name})")


def _save(job: Job, part_name: str, piece: ModelProto) -> None:
    # The same graph, the same bytes: circuits are compared by them.
    data = piece.SerializeToString(deterministic=True)
    (job.folder / f"{part_name}.onnx").write_bytes(data)


def _save_trees(job: Job, ensemble: trees.Ensemble) -> None:
    names = ("features", "thresholds", "modes", "paths", "trees", "weights", "base")
    arrays = {name: getattr(ensemble, name) for name in names} | {
        "post": np.array(trees.POST_TRANSFORMS.index(ensemble.post), dtype=np.int64),
        "columns": np.array(ensemble.columns, dtype=np.int64),
        "divisor": np.array(ensemble.divisor, dtype=np.int64),
    }
    np.savez(job.folder / "trees.npz", allow_pickle=False, **arrays)


def _to_opset(body: ModelProto, name: str) -> ModelProto:
    """The body in Concrete ML's operator set; its nodes named by what they make, for messages."""
    version = next((o.version for o in body.opset_import if o.domain in ("", "ai.onnx")), 0)
    others = {node.domain for node in body.graph.node} - {"", "ai.onnx"}
    if others:
        raise UnsupportedModel(
            f"{name}: operators of domain {', '.join(sorted(others))} in between"
        )
    if version != CONCRETE_OPSET:
        try:
            body = version_converter.convert_version(body, CONCRETE_OPSET)
        except Exception as error:
            raise UnsupportedModel(
                f"{name}: cannot be brought from operator set {version} to {CONCRETE_OPSET}, which "
                f"Concrete ML needs: {printable(error)}"
            ) from error
    kept = [o for o in body.opset_import if o.domain in ("", "ai.onnx")]
    del body.opset_import[:]
    body.opset_import.extend(kept)
    body.ir_version = 8
    for index, node in enumerate(body.graph.node):
        node.name = f"{node.op_type}_{index}"
        spell_out(node, body.graph, name)
    for value in (*body.graph.input, *body.graph.output):
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            raise UnsupportedModel(f"{name}: tensor {value.name!r}: expected float32")
    return body
