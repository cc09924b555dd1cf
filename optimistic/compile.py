"""From a model to its program, for provers, verifiers and players, and what is kept of it.

A program is a pure function of the canonical model, the shapes of the inputs and the quantisation
record (float models); a verifier lowers its own copy of the model.
"""

from __future__ import annotations

import math

from proofml.backend import Context
from proofml.canonical import JSON
from proofml.circuits.compiled import Compiled
from proofml.circuits.graph import Graph
from proofml.circuits.ranges import RangeError
from proofml.circuits.recent import Recent
from proofml.circuits.source import CannotCompile, Source, compiling
from proofml.errors import UnsupportedModel, printable
from proofml.fields import FieldError
from proofml.optimistic.interface import Interface, read_interface
from proofml.optimistic.lower import lower
from proofml.optimistic.record import PROTOCOL
from proofml.optimistic.trace import Machine

#: Raised with the lowering's output for the same graph: what older versions kept is not found.
LOWERING = 1
_INTERFACES: Recent[Interface] = Recent(8)
_MACHINES: Recent[Machine] = Recent(4)


def _recipe(source: Source, kind: str) -> dict[str, JSON]:
    return {
        "kind": f"optimistic {kind}",
        "protocol": PROTOCOL,
        "lowering": LOWERING,
        **source.origin,
    }


def interface_of(source: Source, context: Context) -> Interface:
    """The interface of the verifier's own model; cached.

    Raises:
        UnsupportedModel, UsageError, RangeError, CannotCompile: as of `Source.compile`.
    """
    recipe = _recipe(source, "interface")

    def make() -> Interface:
        found = context.store.read(recipe)
        if found is not None:
            try:
                return read_interface(found["interface"])
            except (FieldError, KeyError):
                pass  # written by another version of this code under the same number
        context.progress("compile", None, None)
        compiled = source.compile()
        context.progress("commit to the weights", None, None)
        with compiling(source.model):
            program, _ = lower(compiled.graph, compiled.weights, compiled.names)
        return keep_interface(source, Interface.of(compiled.graph, program), context)

    return _INTERFACES.get(context.store, recipe, make)


def keep_interface(source: Source, interface: Interface, context: Context) -> Interface:
    """Put it where `interface_of` finds it."""
    with context.store.scratch() as folder:
        (folder / "interface").write_bytes(interface.data)
        label = f"optimistic interface of {printable(source.model.name)}"
        context.store.put(
            _recipe(source, "interface"), {"interface": folder / "interface"}, label=label
        )
    return interface


def machine_of(source: Source, context: Context, most_cells: int | None = None) -> Machine:
    """What runs the program and opens whatever it committed; kept in memory.

    Args:
        most_cells: of all tensors of a run together, for those whose shapes are a stranger's.

    Raises:
        UnsupportedModel, UsageError: naming what cannot be compiled.
    """

    def make() -> Machine:
        context.progress("compile", None, None)
        compiled = compile_source(source)
        _check_cells(source, compiled.graph, most_cells)
        context.progress("commit to the weights", None, None)
        try:
            with compiling(source.model):
                return Machine.of(
                    compiled.graph,
                    compiled.weights,
                    compiled.names,
                    fused=obstacle(compiled) is None,
                )
        except CannotCompile as error:
            raise UnsupportedModel(f"{error}; this model cannot be lowered") from error

    found = _MACHINES.get(context.store, _recipe(source, "machine"), make)
    _check_cells(source, found.graph, most_cells)  # somebody else may have had another limit
    return found


def obstacle(compiled: Compiled) -> str | None:
    """Why onnxruntime need not compute this model to the bit; None where it does."""
    defined = compiled.graph.classes.get("D", ())
    if defined:
        return (
            f"{len(defined)} operators are not onnxruntime's to the bit, {defined[0]!r} among them"
        )
    other = next((c for c in compiled.codes.values() if c.dtype != "uint8"), None)
    if other is not None:
        return (
            f"{other.name!r} is {other.dtype}; expected codes of uint8, which onnxruntime computes "
            "alike whether or not they are put out"
        )
    return None


def _check_cells(source: Source, graph: Graph, most: int | None) -> None:
    count = sum(math.prod(node.shape) for node in graph.nodes)
    if most is not None and count > most:
        raise UnsupportedModel(
            f"{printable(source.model.name)}: a run has {count} cells at these shapes, expected "
            f"at most {most}"
        )


def compile_source(source: Source) -> Compiled:
    """`Source.compile`, for those who chose the model: every failure is about the model.

    Raises:
        UnsupportedModel, UsageError.
    """
    name = printable(source.model.name)
    try:
        return source.compile()
    except RangeError as error:
        raise UnsupportedModel(
            f"{name}: {error}; a value can leave the range in which integers are exact: use "
            "fewer or smaller weights in one sum"
        ) from error
    except CannotCompile as error:
        raise UnsupportedModel(f"{error}; this model is outside what can be compiled") from error


def clear() -> None:
    """Forget what is kept in memory; what is in a cache on the disk stays."""
    _INTERFACES.clear()
    _MACHINES.clear()
