"""The graph that is given to EZKL: the model, and a place for the Statement's digest.

EZKL has no field for a context, so a proof could be presented under any nonce or purpose. The
model therefore gets one more input, `proofml_statement`, int64[1, 16]: the digest's sixteen
16-bit words, big-endian. Integers have scale 0 in EZKL, so the words pass unscaled.

* Where inputs are public the words are instances: halo2 commits to all instances in its
  transcript, and EZKL constrains an unused public input too (measured: each of 16 altered words
  is refused). No output is added, because EZKL fails on a hashed output that is a plain copy of a
  public input.
* Where inputs are hashed or private, an Identity carries the words to one more output, which is
  public or hashed with the others.

Free dimensions are fixed to the shapes of the inputs at hand: a circuit has one shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper

from proofml.errors import UnsupportedModel
from proofml.model import Model

STATEMENT_INPUT = "proofml_statement"
STATEMENT_OUTPUT = "proofml_statement_out"
WORDS = 16
#: Part of every cache key: a change of the wrapping changes circuits and keys.
WRAP_VERSION = 1


def statement_words(digest: str) -> list[int]:
    """The sixteen 16-bit words of a digest (64 hexadecimal digits), big-endian."""
    raw = bytes.fromhex(digest)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, 2 * WORDS, 2)]


def needs_output(input_visibility: str) -> bool:
    """Whether the words must leave the circuit through an output."""
    return input_visibility != "public"


def wrap(model: Model, shapes: Mapping[str, Sequence[int]], input_visibility: str) -> bytes:
    """Bytes of the wrapped ONNX graph; the same for the same arguments everywhere.

    Args:
        model: the canonical model.
        shapes: input name -> concrete shape.
        input_visibility: of the Statement: `public`, `hashed` or `private`.

    Raises:
        UnsupportedModel: the model uses one of the two reserved names.
    """
    proto = model.proto
    graph = proto.graph
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    names |= {value.name for value in (*graph.input, *graph.output)}
    if names & {STATEMENT_INPUT, STATEMENT_OUTPUT}:
        raise UnsupportedModel(
            f"{model.name}: a tensor is called {STATEMENT_INPUT}, a name that the proof needs; "
            "rename it"
        )
    for value in graph.input:
        del value.type.tensor_type.shape.dim[:]
        value.type.tensor_type.shape.SetInParent()
        for size in shapes[value.name]:
            value.type.tensor_type.shape.dim.add().dim_value = size
    _spell_strides(graph)
    graph.input.append(_words(STATEMENT_INPUT))
    if needs_output(input_visibility):
        graph.node.append(helper.make_node("Identity", [STATEMENT_INPUT], [STATEMENT_OUTPUT]))
        graph.output.append(_words(STATEMENT_OUTPUT))
    return bytes(proto.SerializeToString(deterministic=True))


def _spell_strides(graph: onnx.GraphProto) -> None:
    """Write ONNX's default strides out; EZKL refuses a node that leaves them to it."""
    ranks = {tensor.name: len(tensor.dims) - 2 for tensor in graph.initializer}
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if "strides" in attributes:
            continue
        rank = None
        if node.op_type in ("Conv", "ConvTranspose"):
            rank = ranks.get(node.input[1])
        elif node.op_type in ("AveragePool", "MaxPool"):
            rank = len(attributes["kernel_shape"].ints)
        if rank is not None:
            node.attribute.append(helper.make_attribute("strides", [1] * rank))


def _words(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, [1, WORDS])
