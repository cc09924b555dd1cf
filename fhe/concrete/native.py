"""Concrete's compiler and runtime as the stages use them; imported inside a worker only.

`concrete.compiler` is the thin layer on the native library: no pickle, no PyTorch. A circuit is
kept as the text that Concrete compiles (MLIR), never as the machine code that it compiles to: a
library of strangers would run as its host.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

SECURITY_BITS = 128


def load(name: str = "concrete.compiler") -> Any:
    """A module of the other interpreter; the host reads `missing` as BackendUnavailable."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RuntimeError(f"missing in the environment: {error}") from error


def version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed(package)
    except PackageNotFoundError:
        return "none"


def options(concrete: Any, p_error: float, *, simulation: bool = False) -> Any:
    """Compilation options; all of them are fixed but the error probability of a table lookup."""
    made = concrete.CompilationOptions(concrete.Backend.CPU)
    made.simulation(simulation)
    made.set_loop_parallelize(True)
    made.set_dataflow_parallelize(False)
    made.set_auto_parallelize(False)
    made.set_compress_evaluation_keys(True)
    made.set_compress_input_ciphertexts(True)
    made.set_composable(False)
    made.set_p_error(p_error)
    made.set_global_p_error(1.0)
    made.set_optimizer_strategy(concrete.OptimizerStrategy.DAG_MULTI)
    made.set_optimizer_multi_parameter_strategy(concrete.OptimizerMultiParameterStrategy.PRECISION)
    made.set_enable_tlu_fusing(True)
    made.set_security_level(SECURITY_BITS)
    return made


def build(
    concrete: Any,
    text: str,
    p_error: float,
    folder: str,
    *,
    library: bool,
    simulation: bool = False,
) -> Any:
    """Compile MLIR into `folder`, relative to the working folder: the linker is run by a shell."""
    Path(folder).mkdir()
    compiler = concrete.Compiler(
        folder,
        concrete.lookup_runtime_lib(),
        generate_shared_lib=library,
        generate_static_lib=False,
        generate_program_info=True,
        generate_compilation_feedback=True,
    )
    return compiler.compile(text, options(concrete, p_error, simulation=simulation))


def value(concrete: Any, data: bytes) -> Any:
    """A ciphertext from bytes, if they are the bytes that it has."""
    found = concrete.TransportValue.deserialize(data)
    if found.serialize() != data:
        raise ValueError("a ciphertext whose bytes are not the canonical ones")
    return found
