"""What follows from a model and a record: the same bytes for whoever compiles again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.canonical import dumps
from proofml.fhe.ckks.circuit import Argument, CkksCircuit, Place, Record
from proofml.fhe.ckks.frontend import read_network
from proofml.fhe.ckks.layout import Layout, choose
from proofml.fhe.ckks.lower import Lowered, lower
from proofml.fhe.ckks.minimax import Polynomial, largest_error
from proofml.fhe.ckks.network import FUNCTIONS, Activation, Network
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.scheme import Malformed
from proofml.model import Model

#: Errors of polynomials are computed anew, with other last digits: in parts of the error, and of
#: the function. Not of the interval: on a wide one a constant would pass for a sigmoid.
_ROUNDING, _DIGITS = 1e-6, 1e-12


@dataclass(frozen=True, eq=False)
class Derived:
    """A circuit but for its file."""

    network: Network
    layouts: tuple[Layout, ...]
    lowered: Lowered

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return tuple(Argument(register, slots) for register, slots in self.lowered.arguments)

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(
            Place(result.name, result.shape, slots)
            for result, slots in zip(self.network.results, self.lowered.slots, strict=True)
        )


def derive(
    network: Network,
    layouts: Sequence[Layout],
    polynomials: Mapping[int, Polynomial],
    parameters: Parameters,
    scale: float,
    lanes: int,
) -> Derived:
    """The program of a network that was laid out for all slots of these parameters."""
    lowered = lower(network, layouts, polynomials, parameters, scale, lanes)
    return Derived(network, tuple(layouts), lowered)


def check(circuit: CkksCircuit, model: Model) -> None:
    """Find that the circuit is that of the model.

    Raises:
        Malformed: it is not.
        UnsupportedModel: the model cannot be compiled at all.
    """
    if circuit.model != model.digest:
        raise Malformed("circuit's model", model.digest, circuit.model)
    if circuit.inputs != model.inputs or circuit.outputs != model.outputs:
        raise Malformed("circuit's inputs and outputs", "those of the model", "others")
    network = read_network(model, final=circuit.record.final)
    program = circuit.program
    try:
        check_approximations(network, circuit.record)
        derived = derive(
            network,
            choose(network, program.features),
            {a.value: a.polynomial for a in circuit.record.approximations},
            program.parameters,
            circuit.record.scale,
            program.lanes,
        )
    except Malformed:
        raise
    except (ValueError, ArithmeticError) as error:
        # Constants that vanish or are too large, values too wide for the lanes.
        raise Malformed("circuit's record", "one that the model compiles with", error) from error
    made = derived.lowered.program
    same = (
        dumps(made.to_json()) == dumps(program.to_json())
        and made.block() == program.block()
        and dumps(network.tail.to_json()) == dumps(circuit.tail.to_json())
        and [layout.slots().tolist() for layout in derived.layouts[: len(circuit.layouts)]]
        == [layout.tolist() for layout in circuit.layouts]
        and _same_places(derived, circuit)
    )
    if not same:
        raise Malformed(
            "circuit's program", "the one that follows from model and record", "another"
        )


def check_approximations(network: Network, record: Record) -> None:
    """Find that polynomials stand for the network's own functions, and are as close as they say.

    Raises:
        Malformed: they do not.
    """
    first = len(network.inputs)
    wanted = [
        (first + i, step.function)
        for i, step in enumerate(network.steps)
        if isinstance(step, Activation)
    ]
    found = [(a.value, a.function) for a in record.approximations]
    if found != wanted:
        raise Malformed("circuit's polynomials", wanted, found)
    for known in record.approximations:
        polynomial, exact = known.polynomial, FUNCTIONS[known.function].exact
        error = largest_error(polynomial, exact)
        ends = exact(np.array([polynomial.low, polynomial.high]))
        size = min(1.0, polynomial.radius) + float(np.max(np.abs(ends)))
        if not error <= known.error * (1 + _ROUNDING) + _DIGITS * size:
            raise Malformed(
                f"circuit's polynomial of value {known.value}",
                f"an error of at most {known.error:g}",
                f"{error:g}",
            )


def _same_places(derived: Derived, circuit: CkksCircuit) -> bool:
    results = [(p.name, p.shape, p.slots.tolist()) for p in circuit.results]
    arguments = [(a.register, a.slots.tolist()) for a in circuit.arguments]
    return results == [
        (p.name, p.shape, p.slots.tolist()) for p in derived.places
    ] and arguments == [(a.register, a.slots.tolist()) for a in derived.arguments]
