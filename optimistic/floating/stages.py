"""The stages that import onnxruntime; they run in workers only.

Files in the job's folder: `prepared.onnx` and `plan.json` are the plan, `in.N.npy` the inputs; a
run writes the published trace there (see `trace`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto

from proofml.errors import UnsupportedModel
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.calibrate import Calibration
from proofml.optimistic.floating.check import Judge
from proofml.optimistic.floating.descriptor import read_descriptor
from proofml.optimistic.floating.expose import PIECE_BYTES, Piece, model_of, pieces
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.plan import PREPARED, TABLE, Plan, Ref
from proofml.optimistic.floating.prepare import prepare as prepare_model
from proofml.optimistic.floating.prepare import value_info
from proofml.optimistic.floating.settings import Settings
from proofml.optimistic.floating.trace import Recorder, read_trace
from proofml.optimistic.program import Source
from proofml.runtime_stages import translate
from proofml.tensors import DTYPES, Array
from proofml.worker.job import Job

_LEVELS = {
    "none": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def prepare(job: Job) -> dict[str, Any]:
    """`model.onnx` -> `prepared.onnx`, `plan.json`. Args: `shapes`, `grouped`."""
    model = ModelProto.FromString((job.folder / "model.onnx").read_bytes())
    job.progress("prepare")
    found = prepare_model(
        model, job.args["shapes"], Singles().evaluate, grouped=job.args["grouped"]
    )
    (job.folder / PREPARED).write_bytes(found.model.SerializeToString(deterministic=True))
    (job.folder / TABLE).write_text(json.dumps({"types": found.types, "groups": found.groups}))
    return {"operators": len(found.groups)}


def execute(job: Job) -> dict[str, Any]:
    """Run the plan on `in.N.npy` and publish the trace in the folder. Args: `settings`."""
    plan = open_plan(job.folder)
    inputs = [
        np.load(job.folder / f"in.{index}.npy", allow_pickle=False)
        for index in range(len(plan.inputs))
    ]
    job.progress("open sessions")
    engine = Engine(plan, Settings(**job.args["settings"]))
    recorder = Recorder(plan, job.folder)
    job.progress("onnxruntime", 0.0)
    record(
        engine,
        inputs,
        recorder,
        lambda done: job.progress("onnxruntime", done / len(plan.operators)),
    )
    return {"root": recorder.finish().root.hex()}


def record(
    engine: Engine,
    inputs: Sequence[Array],
    recorder: Recorder,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Run, and hash what one piece made while the next one runs.

    `progress` is called with the number of operators that are done.
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(recorder.inputs, inputs)
        for piece, made in engine.run(inputs):
            waiting.result()  # one piece at most waits: memory stays bounded
            waiting = pool.submit(recorder.piece, piece, made)
            progress(piece.last)
        waiting.result()


def check(job: Job) -> dict[str, Any]:
    """Judge operators of the trace in `args.trace`; the plan is the folder's.

    Args: `trace`, a folder; `bounds`; `operators`, or None for all; `element`, `port`.
    """
    plan = open_plan(job.folder)
    trace = read_trace(plan, Path(job.args["trace"]))
    bounds = Bounds.read(job.args["bounds"])
    judge = Judge(plan, Singles().evaluate)
    wanted = job.args["operators"]
    wanted = range(len(plan.operators)) if wanted is None else wanted
    element = job.args["element"]
    findings = []
    for done, index in enumerate(wanted):
        job.progress("check operators", done / len(wanted))
        at = None if element is None else tuple(element)
        findings.append(judge.operator(trace, index, bounds, at, job.args["port"]).to_json())
    return {"findings": findings}


def calibrate(job: Job) -> Any:
    """Bounds by honest runs of `in.SAMPLE.INPUT.npy`. Args: `samples`, `settings` by name."""
    plan = open_plan(job.folder)
    found = Calibration(Judge(plan, Singles().evaluate))
    for name, settings in job.args["settings"].items():
        engine = Engine(plan, Settings(**settings))
        for number in range(job.args["samples"]):
            job.progress(f"calibrate: {name}", number / job.args["samples"])
            inputs = [
                np.load(job.folder / f"in.{number}.{index}.npy", allow_pickle=False)
                for index in range(len(plan.inputs))
            ]
            values: dict[Ref, Array] = {Ref(Source.INPUT, i): a for i, a in enumerate(inputs)}
            for piece, made in engine.run(inputs):
                values.update(zip(piece.makes, (np.array(array) for array in made), strict=True))
            found.add(values, name)
    return found.bounds(Basis.CALIBRATED).to_json()


def judge_one(job: Job) -> dict[str, Any]:
    """Judge one operator by its descriptor and its tensors.

    Files: `descriptor`, and raw operands and outputs `t0.bin`, ... Args: `operator`, `bounds`,
    `types` of the tensors.
    """
    index = job.args["operator"]
    operator = read_descriptor((job.folder / "descriptor").read_bytes()).operator(index)
    tensors = [
        np.fromfile(job.folder / f"t{number}.bin", DTYPES[dtype]).reshape(shape)
        for number, (dtype, shape) in enumerate(job.args["types"])
    ]
    job.progress("judge")
    count = len(operator.inputs)
    bounds = Bounds.read(job.args["bounds"])
    judge = Judge(None, Singles().evaluate)
    return judge.guarded(operator, tensors[:count], tensors[count:], bounds).to_json()


def first_fault(job: Job) -> dict[str, Any]:
    """The first operator of the trace in `args.trace` that can be pointed at; see `check`.

    Args: `trace`, `bounds`, `edge`.
    """
    plan = open_plan(job.folder)
    trace = read_trace(plan, Path(job.args["trace"]))
    bounds = Bounds.read(job.args["bounds"])
    judge = Judge(plan, Singles().evaluate)
    for index in range(len(plan.operators)):
        job.progress("check operators", index / len(plan.operators))
        finding = judge.operator(trace, index, bounds)
        if not finding.inside and not 1 < finding.margin <= 1 + job.args["edge"]:
            return {"finding": finding.to_json()}
    return {"finding": None}


def open_plan(folder: Path) -> Plan:
    return Plan.read((folder / PREPARED).read_bytes(), (folder / TABLE).read_bytes())


# -- sessions -----------------------------------------------------------------------------------


def session(model: bytes, settings: Settings, what: str, *, shared: bool = False) -> Any:
    """An `InferenceSession` on the CPU; `shared` ones have one memory arena together.

    Raises:
        UnsupportedModel: onnxruntime refuses the model.
    """
    import onnxruntime as ort

    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = settings.threads if settings.parallel else 1
    options.execution_mode = (
        ort.ExecutionMode.ORT_PARALLEL if settings.parallel else ort.ExecutionMode.ORT_SEQUENTIAL
    )
    options.graph_optimization_level = getattr(
        ort.GraphOptimizationLevel, _LEVELS[settings.optimization]
    )
    options.log_severity_level = 3
    if not settings.prepacking:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if shared:
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise translate(error, f"{what}: onnxruntime refuses it") from error


_shared = False


def _share_arena() -> None:
    """One CPU arena for all sessions of this process: what one frees, the next one uses."""
    global _shared
    if _shared:
        return
    import onnxruntime as ort

    info = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(info, None)
    _shared = True


@dataclass(frozen=True, eq=False)
class _Opened:
    piece: Piece
    session: Any


class Engine:
    """A plan's sessions; `run` may be called again and again."""

    def __init__(self, plan: Plan, settings: Settings, *, piece_bytes: int = PIECE_BYTES) -> None:
        _share_arena()
        self._plan = plan
        self._opened = [
            _Opened(
                piece,
                session(
                    model_of(plan, piece), settings, f"operators from {piece.first}", shared=True
                ),
            )
            for piece in pieces(plan, piece_bytes)
        ]

    def run(self, inputs: Sequence[Array]) -> Iterator[tuple[Piece, list[Array]]]:
        """Each piece with the arrays of `piece.makes`, as soon as they are there.

        The arrays must not be changed.
        """
        import onnxruntime as ort

        values: dict[Ref, Any] = {
            Ref(Source.INPUT, index): ort.OrtValue.ortvalue_from_numpy(array)
            for index, array in enumerate(inputs)
        }
        for opened in self._opened:
            piece = opened.piece
            feeds = {name: values[ref] for name, ref in piece.reads}
            try:
                made = opened.session.run_with_ort_values(list(piece.names), feeds)
            except Exception as error:
                what = self._plan.operators[piece.first].label
                raise translate(error, f"from operator {what} on: onnxruntime failed") from error
            values.update(zip(piece.makes, made, strict=True))
            yield piece, [view(value) for value in made]
            for ref in piece.frees:
                values.pop(ref, None)


def view(value: Any) -> Array:
    """An OrtValue on the CPU as an array, without a copy where NumPy can take its type."""
    if not value.is_tensor():
        raise UnsupportedModel(f"an operator made {value.data_type()}; expected a tensor")
    return np.asarray(value.numpy())


class Singles:
    """Runs one node alone: the meaning of the exact operators. Sessions are kept by node."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[bytes, tuple[str, ...]], Any] = {}

    def evaluate(self, node: Node, operands: Sequence[Array | None]) -> list[Array]:
        """Outputs (those that have names) of a node on these operands.

        Raises:
            UnsupportedModel: onnxruntime refuses the node or its operands.
        """
        present = [operand for operand in operands if operand is not None]
        key = (node.proto.SerializeToString(), tuple(o.dtype.name for o in present))
        found = self._sessions.get(key)
        if found is None:
            found = self._sessions[key] = session(
                _alone(node, operands), Settings(optimization="none"), f"operator {node.label}"
            )
        feeds = {
            name: np.ascontiguousarray(operand)
            for name, operand in zip(node.inputs, operands, strict=False)
            if name and operand is not None
        }
        try:
            made = found.run([name for name in node.outputs if name], feeds)
        except Exception as error:
            raise translate(error, f"operator {node.label}: onnxruntime failed") from error
        return [np.asarray(array) for array in made]


def _alone(node: Node, operands: Sequence[Array | None]) -> bytes:
    graph = GraphProto(name="alone")
    graph.node.append(node.proto)
    for name, operand in dict(zip(node.inputs, operands, strict=False)).items():
        if name and operand is not None:
            declared = value_info(name, operand.dtype.name, None)
            graph.input.append(declared)
    for name in filter(None, node.outputs):
        graph.output.add(name=name)
    model = ModelProto(ir_version=8, graph=graph)
    model.opset_import.add(domain="", version=node.opset)
    data: bytes = model.SerializeToString()
    return data
