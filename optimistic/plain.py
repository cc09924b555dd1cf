"""A run without a trace, for claims that leave theirs to disputes: outputs, the fastest exact way.

onnxruntime computes a model of classes E and T on uint8 codes to the bit, all operators fused as it
likes, since nobody asks it for anything but the outputs. Whoever claims wrong outputs loses a bond,
so the first run of a program on a machine is compared with the program's own execution, and
whatever disagrees is not used.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping

import numpy as np

from proofml.backend import Context
from proofml.canonical import JSON
from proofml.circuits import kernels
from proofml.circuits.codec import encode_output
from proofml.circuits.graph import Ints
from proofml.circuits.source import Source
from proofml.errors import BackendFailed, printable
from proofml.optimistic.commit import program_root
from proofml.optimistic.record import SEMANTICS
from proofml.optimistic.trace import Machine, Outcome
from proofml.processor import features, sums_exactly
from proofml.runtime import run_model, runtime_version
from proofml.tensors import Array


def outputs_of(machine: Machine, arrays: Mapping[str, Array]) -> tuple[Ints, ...]:
    """onnxruntime's outputs as the program's.

    Raises:
        BackendFailed: an output is none that the program can have.
    """
    found = []
    for port in machine.graph.outputs:
        try:
            found.append(encode_output(port, arrays[port.name]))
        except ValueError as error:
            raise BackendFailed(f"onnxruntime's output is none of the program: {error}") from error
    return tuple(found)


def execute(
    source: Source, machine: Machine, feeds: Mapping[str, Array], context: Context
) -> Outcome:
    """What the program makes of these inputs.

    Args:
        source: of which `machine` was made.
        feeds: the model's inputs, checked.

    Raises:
        UsageError: an input that is none.
        UnsupportedModel, WorkerFailed: as of `runtime.run_model`.
        BackendFailed: as of `outputs_of`.
    """
    inputs = machine.encode(feeds)
    known = (runtime_version() or "").startswith(f"{SEMANTICS}.")
    if not (machine.fused and known and sums_exactly()):
        return machine.execute(inputs)
    arrays = run_model(source.integer_model, feeds, context.store, progress=context.progress)
    found = machine.outcome(inputs, outputs_of(machine, arrays))
    recipe = _agreement(machine)
    if context.store.find(recipe) is not None:
        return found
    context.progress("compare with the program", None, None)
    own = machine.execute(inputs)
    if not all(map(np.array_equal, found.outputs, own.outputs)):
        return own
    label = f"optimistic: onnxruntime agrees about {printable(source.model.name)}"
    context.store.put(recipe, {}, label=label)
    return found


def _agreement(machine: Machine) -> dict[str, JSON]:
    return {
        "kind": "optimistic agreement",
        "program": program_root(machine.program).hex(),
        "onnxruntime": runtime_version(),
        "processor": platform.machine(),
        "features": sorted(features()),
        "instructions": kernels.level() if kernels.available() else None,
    }
