"""The one module that imports onnxruntime; it is loaded in the isolated process only.

Settings are those of `proofml.runtime`, so that outputs are the same to the bit as those of
re-execution on the same machine and version.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from proofml.canonical import JSON
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.runtime import SETTINGS, runtime_version
from proofml.runtime_stages import translate
from proofml.tensors import MAX_RANK, MAX_TENSOR_BYTES, Array, dtype_name

NAME: Final = "onnxruntime"
#: onnxruntime's names of the element types that a Statement has.
_DTYPES: Final = {
    "tensor(bool)": "bool",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_LOOK_SECONDS: Final = 0.05
#: Read while the package's files are there; later there is no file system.
_VERSION: Final = runtime_version() or ort.__version__


def runtime() -> dict[str, JSON]:
    """What runs the model, as a configuration and a Statement record it."""
    return {"name": NAME, "version": _VERSION, "settings": SETTINGS}


@dataclass
class _Run:
    """One run: when it has to end, by the monotonic clock, and what makes it end."""

    options: Any
    end: float
    late: bool = False


class _Watch:
    """Ends a run that takes too long: onnxruntime looks at a flag before each node."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._run: _Run | None = None
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, options: Any) -> _Run:
        self._run = _Run(options, time.monotonic() + self._seconds)
        return self._run

    def end(self) -> None:
        self._run = None

    def _look(self) -> None:
        # A thread that waits costs nothing; one for each run would cost more than a small model.
        while True:
            time.sleep(_LOOK_SECONDS)
            run = self._run  # read once: the next run is another one, with a time of its own
            if run is not None and time.monotonic() > run.end:
                run.late = True
                run.options.terminate = True


class Runner:
    """A loaded model.

    Args:
        model: canonical bytes.
        name: for messages.
        seconds: that a run may take.

    Attributes:
        inputs, outputs: names in graph order.

    Raises:
        UnsupportedModel: onnxruntime refuses it.
        MemoryError: it takes too much memory.
    """

    def __init__(self, model: bytes, name: str, seconds: float | None) -> None:
        ort.disable_telemetry_events()  # it would write below the user's home
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        self._name, self._seconds = name, seconds
        self._watch = None if seconds is None else _Watch(seconds)
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise translate(error, f"{name}: onnxruntime refuses it") from error
        self._inputs = {port.name: _DTYPES.get(port.type) for port in self._session.get_inputs()}
        self._outputs = self._session.get_outputs()
        self.inputs = tuple(self._inputs)
        self.outputs = tuple(port.name for port in self._outputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, in graph order.

        Raises:
            UsageError: other inputs than the model's.
            UnsupportedModel: it fails on them, or makes something else than it declares, or more
                than a proof can hold.
            MemoryError: it takes too much memory.
            BackendFailed: it takes too long.
        """
        self._check(inputs)
        options = ort.RunOptions()
        watch = self._watch
        run = None if watch is None else watch.begin(options)
        try:
            found = self._session.run(list(self.outputs), dict(inputs), options)
        except Exception as error:
            if run is not None and run.late:
                raise BackendFailed(
                    f"{self._name}: expected an end within {self._seconds:g} s, it still ran; "
                    "raise --time-limit",
                    stage=NAME,
                ) from error
            raise translate(error, f"{self._name}: onnxruntime failed") from error
        finally:
            if watch is not None:
                watch.end()
        return self._checked(found)

    def _check(self, inputs: Mapping[str, Array]) -> None:
        if tuple(inputs) != self.inputs:
            raise UsageError(
                f"{self._name}: expected the inputs {', '.join(self.inputs) or 'none'}, in this "
                f"order; got {', '.join(inputs) or 'none'}"
            )
        for name, array in inputs.items():
            wanted, got = self._inputs[name], dtype_name(array)
            if wanted is None or wanted != got:
                raise UsageError(f"{self._name}: input {name!r}: expected {wanted}, got {got}")

    def _checked(self, found: Sequence[Any]) -> dict[str, Array]:
        left, outputs = MAX_TENSOR_BYTES, {}
        for port, array in zip(self._outputs, found, strict=True):
            where = f"{self._name}: output {port.name!r}"
            if not isinstance(array, np.ndarray) or dtype_name(array) is None:
                raise UnsupportedModel(f"{where} is not a tensor of numbers")
            left -= array.nbytes
            if left < 0 or array.ndim > MAX_RANK:
                raise UnsupportedModel(
                    f"{where}: {array.dtype}{list(array.shape)}; expected at most rank {MAX_RANK} "
                    f"and {MAX_TENSOR_BYTES} bytes for all outputs together"
                )
            if _DTYPES.get(port.type) != dtype_name(array) or not _admits(port.shape, array.shape):
                raise UnsupportedModel(
                    f"{where}: declared as {port.type}{port.shape}, got "
                    f"{array.dtype}{list(array.shape)}; declare it as it is"
                )
            outputs[port.name] = array
        return outputs


def _admits(declared: list[Any] | None, shape: tuple[int, ...]) -> bool:
    """Whether the dims fit the declared ones; a name or None stands for any."""
    if not declared:
        return True  # onnxruntime says the same of a scalar and of an unknown rank
    return len(declared) == len(shape) and all(
        not isinstance(want, int) or want == have
        for want, have in zip(declared, shape, strict=True)
    )
