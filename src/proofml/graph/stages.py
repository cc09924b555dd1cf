"""Stages that run in a worker: onnx's C++ checker and shape inference, on files of strangers."""

from __future__ import annotations

from typing import Any

from proofml.worker.job import Job


def check(job: Job) -> dict[str, Any]:
    """Check the canonical model in `model.onnx`; infer shapes.

    Returns `{"shapes": {name: [data type, [dim or None, ...]]}, "inference": message}`, where
    the message is empty unless inference gave up (unknown domains, for example).
    """
    import onnx

    from proofml.errors import UnsupportedModel

    job.progress("check")
    model = onnx.ModelProto.FromString((job.folder / "model.onnx").read_bytes())
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise UnsupportedModel(f"{job.args['name']}: {str(error)[:400]}") from error
    job.progress("shapes")
    message = ""
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except Exception as error:  # noqa: BLE001 - InferenceError lives in C++; shapes stay unknown
        message = str(error)[:400]
    shapes: dict[str, Any] = {}
    graph = model.graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        tensor = value.type.tensor_type
        dims: list[int | None] | None = None
        if tensor.HasField("shape"):
            dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
        shapes[value.name] = [tensor.elem_type, dims]
    return {"shapes": shapes, "inference": message}
