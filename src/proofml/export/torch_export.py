"""PyTorch modules, traced by PyTorch's own exporter."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from proofml.errors import UsageError
from proofml.export.arguments import Array, check_opset, file_target, first_line, load
from proofml.export.onnx_file import atomic_write, finish, set_shape

_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")


def export_torch(
    module: Any,
    example_inputs: Mapping[str, Array] | Sequence[Array],
    path: str | Path,
    *,
    output_names: Sequence[str] | None = None,
    opset: int = 17,
) -> Path:
    """Write `module`, traced in evaluation mode on `example_inputs`, as an ONNX file.

    The trace fixes everything that depends on shapes; control flow that depends on values is
    frozen as the example took it (PyTorch warns with a `TracerWarning`).

    Args:
        module: a `torch.nn.Module` with tensor inputs and one tensor or a sequence of tensors as
            output; its training mode is left as it was.
        example_inputs: one array [1, ...] per input. A mapping names the inputs; its keys are
            matched to the parameters of `forward` by name, or by position where no key is the
            name of one. The inputs of a sequence are called `input`, or `input_0`, `input_1`, ...
        path: file to write; its folder must exist.
        output_names: names of the outputs; by default `output`, or `output_0`, `output_1`, ...
        opset: operator set, 13 to 18.

    Returns:
        `path`.

    Raises:
        UsageError: a wrong argument, or a module that PyTorch cannot export.
        BackendUnavailable: PyTorch is not installed.
    """
    where = "export_torch"
    torch = load("torch", where)
    target = file_target(path, where)
    check_opset(opset, where)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"{where}: module: expected a torch.nn.Module, got {type(module).__name__}; "
            "wrap a function in a module whose forward calls it"
        )
    inputs = _named_inputs(module, example_inputs, where)
    atomic_write(target, trace(torch, module, inputs, output_names, opset, where))
    return target


def _named_inputs(module: Any, given: Any, where: str) -> dict[str, Array]:
    """The example inputs by ONNX name, in the order in which `forward` takes them."""
    if isinstance(given, Mapping):
        inputs = dict(given)
        parameters = [
            name
            for name, parameter in inspect.signature(module.forward).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        known = [name for name in parameters if name in inputs]
        if known and len(known) < len(inputs):
            raise UsageError(
                f"{where}: example_inputs: expected all names or none to be parameters of "
                f"forward ({', '.join(parameters)}), got {', '.join(map(str, inputs))}; rename "
                "them, so that no input takes the place of another"
            )
        if known and known != parameters[: len(known)]:
            raise UsageError(
                f"{where}: example_inputs: expected the first {len(known)} parameters of forward "
                f"({', '.join(parameters)}), got {', '.join(map(str, inputs))}"
            )
        if known:
            inputs = {name: inputs[name] for name in known}
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        one = len(given) == 1
        inputs = {"input" if one else f"input_{i}": value for i, value in enumerate(given)}
    else:
        raise UsageError(
            f"{where}: example_inputs: expected a mapping of names to arrays or a sequence of "
            f"arrays, got {type(given).__name__}"
        )
    if not inputs:
        raise UsageError(f"{where}: example_inputs: expected at least one array, got none")
    for name, value in inputs.items():
        _check_input(name, value, where)
    return inputs


def _check_input(name: object, value: object, where: str) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: example_inputs: expected names that are str, got {name!r}")
    if not isinstance(value, np.ndarray):
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected a numpy.ndarray, "
            f"got {type(value).__name__}; for a tensor pass tensor.numpy()"
        )
    if value.dtype.name not in _DTYPES:
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected one of {', '.join(_DTYPES)}, "
            f"got {value.dtype}"
        )
    if value.ndim == 0 or value.shape[0] != 1:
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected shape [1, ...], "
            f"got {list(value.shape)}; one proof is about one inference"
        )


def trace(
    torch: Any,
    module: Any,
    inputs: Mapping[str, Array],
    output_names: Sequence[str] | None,
    opset: int,
    where: str,
) -> bytes:
    """Trace `module` and return the finished file; `inputs` are checked, in forward's order."""
    args = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values())
    # Parts of a module may be in different modes, a frozen BatchNorm for one: remember each.
    modes = [(part, bool(part.training)) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            results = _flat(torch, module(*args), where)
            names = _output_names(output_names, len(results), set(inputs), where)
            model = _torch_to_onnx(torch, module, args, list(inputs), names, opset)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{where}: module: PyTorch could not export {type(module).__name__}: "
            f"{type(error).__name__}: {first_line(error)}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    # The exporter leaves some dimensions open that the run has just shown.
    for value, result in zip(model.graph.output, results, strict=True):
        set_shape(value, tuple(result.shape))
    return finish(model, where)


def _torch_to_onnx(
    torch: Any,
    module: Any,
    args: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
    opset: int,
) -> onnx.ModelProto:
    """Run PyTorch's exporter.

    The TorchScript-based one: it writes the requested operator set directly and needs no further
    package, where the newer one writes opset 18 and up and needs onnxscript.
    """
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # PyTorch 2.5 and later
        options["dynamo"] = False
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            args,
            buffer,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            **options,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    written = [value.name for value in model.graph.input]
    if written != inputs:
        raise ValueError(f"inputs {', '.join(inputs)} became {', '.join(written) or 'none'}")
    return model


def _flat(torch: Any, result: Any, where: str) -> list[Any]:
    """The outputs of a module as a list of tensors."""
    results = list(result) if isinstance(result, tuple | list) else [result]
    for item in results:
        if not isinstance(item, torch.Tensor):
            raise UsageError(
                f"{where}: module: expected a tensor or a sequence of tensors as output, "
                f"got {type(item).__name__}; wrap the module to return tensors"
            )
        if item.ndim == 0 or item.shape[0] != 1:
            raise UsageError(
                f"{where}: module: expected outputs of shape [1, ...], got {list(item.shape)}"
            )
    return results


def _output_names(
    given: Sequence[str] | None, count: int, taken: set[str], where: str
) -> list[str]:
    if given is None:
        return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    names = [given] if isinstance(given, str) else list(given)
    if len(names) != count:
        raise UsageError(
            f"{where}: output_names: expected {count}, one per output of the module, "
            f"got {len(names)}"
        )
    if len(set(names)) != count or taken & set(names) or not all(names):
        raise UsageError(
            f"{where}: output_names: expected distinct names that no input has, "
            f"got {', '.join(names)}"
        )
    return names
