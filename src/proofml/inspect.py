"""What a model is, what it costs, and who can prove it; nothing is run and nothing is proven."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from proofml.backend import Request, backend_names, get_backend
from proofml.canonical import JSON
from proofml.errors import BackendUnavailable, ProofmlError
from proofml.graph.cost import Tally, activation_bytes, multiply_accumulates, with_constants
from proofml.model import Model, TensorSpec
from proofml.router import unmet

if TYPE_CHECKING:
    from proofml.store import Store


@dataclass(frozen=True, slots=True)
class BackendReport:
    """One backend's answer.

    Attributes:
        available: it can run here; `detail` names versions, or what to install.
        supported: it can take the model as requested; None where it could not be asked.
        reasons: the first obstacles, operators by name.
    """

    name: str
    available: bool
    detail: str
    supported: bool | None
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "available": self.available,
            "detail": self.detail,
            "supported": self.supported,
            "reasons": self.reasons,
        }


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        digest, file_digest, architecture_digest: as in a Statement.
        size: bytes of the canonical form.
        opsets: domain -> version; the default domain is the empty string.
        operators: operator -> number of nodes, sub-graphs and functions included.
        parameters: number of learnt constants.
        macs: multiply-accumulates of one inference.
        activations: bytes of all intermediate values and outputs of one inference.
        shapes: the inputs' shapes that were asked for.
        note: why shape inference gave up; empty where it did not.
    """

    name: str
    digest: str
    file_digest: str
    architecture_digest: str
    size: int
    ir_version: int
    opsets: Mapping[str, int]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    parameters: int
    macs: Tally
    activations: Tally
    shapes: Mapping[str, tuple[int, ...]]
    note: str
    backends: tuple[BackendReport, ...]

    def to_json(self) -> dict[str, JSON]:
        return {
            "name": self.name,
            "canonical_sha256": self.digest,
            "file_sha256": self.file_digest,
            "architecture_sha256": self.architecture_digest,
            "canonical_bytes": self.size,
            "ir_version": self.ir_version,
            "opsets": dict(self.opsets),
            "inputs": [_tensor(spec) for spec in self.inputs],
            "outputs": [_tensor(spec) for spec in self.outputs],
            "operators": dict(self.operators),
            "parameters": self.parameters,
            "macs": _tally(self.macs),
            "activation_bytes": _tally(self.activations),
            "input_shapes": {name: list(dims) for name, dims in self.shapes.items()},
            "shape_inference": self.note or None,
            "backends": [report.to_json() for report in self.backends],
        }


def inspect(
    model: Model,
    request: Request | None = None,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    store: Store | None = None,
) -> Inspection:
    """Look at a model from all sides.

    Args:
        model: from `Model.load`.
        request: what a proof shall do; backends are asked whether they can.
        shapes: shapes of inputs whose dimensions are open, so that more can be counted.
        store: where scratch files go; the default cache if None.

    Raises:
        UsageError: `shapes` names an unknown input, or dims that it does not admit.
        UnsupportedModel: shape inference ran out of memory or time.
    """
    request = request or Request()
    fixed = dict(shapes or {})
    inferred, note = (model.shapes, model.note)
    if fixed:
        inferred, note = model.infer(fixed, store=store)
    proto = model.proto
    known = with_constants(proto, inferred)
    counts = sorted(model.operators.items(), key=lambda item: (-item[1], item[0]))
    return Inspection(
        name=model.name,
        digest=model.digest,
        file_digest=model.file_digest,
        architecture_digest=model.architecture_digest,
        size=len(model.canonical),
        ir_version=proto.ir_version,
        opsets={entry.domain: entry.version for entry in proto.opset_import},
        inputs=model.inputs,
        outputs=model.outputs,
        operators=dict(counts),
        parameters=model.parameters,
        macs=multiply_accumulates(proto, known),
        activations=activation_bytes(proto, known),
        shapes=fixed,
        note=note,
        # Without a cache: what backends find in it was not said of a model with these shapes.
        backends=tuple(
            _ask(name, replace(model, shapes=known, store=None), request)
            for name in backend_names()
        ),
    )


def _ask(name: str, model: Model, request: Request) -> BackendReport:
    try:
        backend = get_backend(name)
    except BackendUnavailable as error:
        return BackendReport(name, False, str(error), None)
    probe = backend.probe()
    try:
        support = backend.supports(model, request)
    except ProofmlError as error:  # a backend may need its packages to tell
        return BackendReport(name, probe.available, probe.detail, None, (str(error),))
    missing = sorted(unmet(backend, request))
    reasons = tuple(f"cannot hide {subject}" for subject in missing) + support.reasons
    supported = support.supported and not missing
    return BackendReport(name, probe.available, probe.detail, supported, reasons)


def _tensor(spec: TensorSpec) -> dict[str, JSON]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": spec.shape}


def _tally(tally: Tally) -> dict[str, JSON]:
    return {"total": tally.total, "known": tally.known, "unknown": tally.unknown}
