"""Models, platforms and hosts for the tests of the isolated process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from proofml.backend import Context
from proofml.model import Model
from proofml.store import Store
from proofml.tee.binding import Mode, ReceiptAlgorithm
from proofml.tee.enclave.host import Host
from proofml.tee.platform import Attestation, Platform
from proofml.tee.quoter import Quoter
from proofml.worker.limits import Limits

Array = NDArray[Any]


class PlainQuoter:
    """A platform that signs nothing: its quote shows what it was asked for."""

    def __init__(self, platform: Platform = Platform.TDX) -> None:
        self.platform = platform
        self.config = b""
        self.quotes: list[bytes] = []

    def configure(self, config: bytes) -> None:
        self.config = config

    def extend(self, name: str, payload: bytes) -> None:
        raise AssertionError("nothing else is measured")

    def quote(self, report_data: bytes) -> Attestation:
        self.quotes.append(report_data)
        return Attestation(self.platform, b"quote:" + report_data, b"collateral", b"[]")


def graph_model(
    nodes: Sequence[Any],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]],
    outputs: Mapping[str, tuple[int, Sequence[int | str]]],
    weights: Mapping[str, Array] | None = None,
) -> Model:
    """A model of these nodes; inputs and outputs are name -> (ONNX type, dims)."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opset = helper.make_opsetid("", 17)
    proto = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return Model.load(proto.SerializeToString(), store=Store.default())


@cache
def linear(columns: int = 10) -> Model:
    """y = x w + b: float32 [batch, 64] -> [batch, columns]."""
    rng = np.random.default_rng(1)
    return graph_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["p"]),
            helper.make_node("Add", ["p", "b"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["n", 64])},
        {"y": (TensorProto.FLOAT, ["n", columns])},
        {
            "w": rng.normal(size=(64, columns)).astype(np.float32),
            "b": rng.normal(size=columns).astype(np.float32),
        },
    )


@cache
def lookup() -> Model:
    """y = table[x]: an index out of bounds fails, and onnxruntime's words tell the index."""
    return graph_model(
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        {"x": (TensorProto.INT64, ["n"])},
        {"y": (TensorProto.FLOAT, ["n"])},
        {"table": np.arange(16, dtype=np.float32)},
    )


@cache
def endless() -> Model:
    """Adds 1 to `x` as often as `count` says: as long a run as the caller wants."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["goes"]),
            helper.make_node("Add", ["was", "one"], ["is"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("was", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("is", TensorProto.FLOAT, [1]),
        ],
    )
    return graph_model(
        [helper.make_node("Loop", ["count", "true", "x"], ["y"], body=body)],
        {"count": (TensorProto.INT64, []), "x": (TensorProto.FLOAT, [1])},
        {"y": (TensorProto.FLOAT, [1])},
        {"one": np.ones(1, np.float32), "true": np.array(True)},
    )


@cache
def swelling() -> Model:
    """y = x repeated `times` times: as much memory as the caller wants."""
    return graph_model(
        [
            helper.make_node("Tile", ["x", "times"], ["z"]),
            helper.make_node("ReduceSum", ["z"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [1024]), "times": (TensorProto.INT64, [1])},
        {"y": (TensorProto.FLOAT, [1])},
    )


def values(seed: int = 0, rows: int = 1) -> dict[str, Array]:
    """Inputs of `linear`."""
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(rows, 64)).astype(np.float32)}


def started(
    model: Model,
    mode: Mode,
    *,
    quoter: Quoter | None = None,
    algorithm: ReceiptAlgorithm = ReceiptAlgorithm.ED25519,
    challenge: bytes | None = None,
    limits: Limits | None = None,
) -> Host:
    """A host with its isolated process; close it."""
    used = quoter or PlainQuoter()
    return Host.start(
        model,
        platform=used.platform,
        quoter=used,
        mode=mode,
        algorithm=algorithm,
        challenge=challenge,
        context=Context(Store.default(), limits=limits or Limits()),
    )
