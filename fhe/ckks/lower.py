"""Network, layouts and polynomials -> program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.fhe.ckks.affine import Index, Matrix
from proofml.fhe.ckks.builder import Builder
from proofml.fhe.ckks.diagonals import Diagonals, chain, diagonals, horner
from proofml.fhe.ckks.encoding import MAX_COEFFICIENT
from proofml.fhe.ckks.layout import Layout
from proofml.fhe.ckks.minimax import Polynomial
from proofml.fhe.ckks.network import Activation, Linear, Network, Product
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.ckks.polynomial import depth_of, evaluate
from proofml.fhe.ckks.program import Program

#: Of a constant's coefficients; quotients of scales are rounded.
_ROOM = MAX_COEFFICIENT * 0.999


@dataclass(frozen=True, eq=False)
class Lowered:
    """A program, and where its tensors lie.

    Attributes:
        arguments: register and slots of each activation's argument in [-1, 1].
        slots: of each result's elements, in features.
    """

    program: Program
    arguments: tuple[tuple[int, Index], ...]
    slots: tuple[Index, ...]


def depths(network: Network, polynomials: Mapping[int, Polynomial]) -> list[int]:
    """Levels that each value takes from the inputs.

    Args:
        polynomials: of each value that an activation makes.
    """
    found = [0] * len(network.inputs)
    for step in network.steps:
        before = max(found[operand] for operand in step.operands)
        if isinstance(step, Activation):
            found.append(before + depth_of(polynomials[len(found)].coefficients))
        else:
            found.append(before + 1)
    return found


def levels_needed(network: Network, polynomials: Mapping[int, Polynomial]) -> int:
    found = depths(network, polynomials)
    return max(found[result.value] for result in network.results)


def lower(
    network: Network,
    layouts: Sequence[Layout],
    polynomials: Mapping[int, Polynomial],
    parameters: Parameters,
    scale: float,
    lanes: int,
) -> Lowered:
    """The program.

    Args:
        layouts: of all values, of periods that divide the features of a lane.
        polynomials: value -> what its activation is computed by.
        scale: of inputs, and of what each matrix makes.
        lanes: inferences side by side, a power of two.
    """
    return _Lowering(network, layouts, polynomials, Builder(parameters, lanes), scale).lower()


class _Lowering:
    def __init__(
        self,
        network: Network,
        layouts: Sequence[Layout],
        polynomials: Mapping[int, Polynomial],
        builder: Builder,
        scale: float,
    ) -> None:
        self._network = network
        self._layouts = layouts
        self._polynomials = polynomials
        self._builder = builder
        self._scale = scale
        self._depths = depths(network, polynomials)
        self._normal = _normalised(network)
        self._registers: list[int] = []
        self._arguments: list[tuple[int, Index]] = []

    def lower(self) -> Lowered:
        network, builder = self._network, self._builder
        for _ in network.inputs:
            self._registers.append(builder.input(builder.parameters.levels, self._scale))
        for step in network.steps:
            value = len(self._registers)
            if isinstance(step, Linear):
                self._registers.append(self._linear(value, step))
            elif isinstance(step, Product):
                self._registers.append(self._product(step))
            else:
                self._registers.append(self._activation(value, step))
        outputs = [builder.drop_to(self._registers[r.value], 0) for r in network.results]
        slots = tuple(self._layouts[r.value].positions[r.index] for r in network.results)
        return Lowered(builder.finish(outputs), tuple(self._arguments), slots)

    # -- matrices ---------------------------------------------------------------------------------

    def _linear(self, value: int, step: Linear) -> int:
        builder, after = self._builder, self._layouts[value]
        middle, factor = 0.0, 1.0
        reader = self._normal.get(value)
        if reader is not None:
            polynomial = self._polynomials[reader]
            middle, factor = polynomial.middle, 1.0 / polynomial.radius
        level = min(builder.level(self._registers[operand]) for operand in step.parts)
        prime = builder.prime(level)
        bias = np.zeros(after.period)
        bias[after.positions] = (step.bias - middle) * factor
        matrices = {
            operand: self._diagonals(operand, matrix, after, factor)
            for operand, matrix in step.parts.items()
        }
        # Less than the scale that was asked for where a constant would not fit its plaintext.
        target = min(
            self._scale * prime,
            _ROOM * prime / max(float(np.max(np.abs(bias))), 1.0),
            *(
                _ROOM * builder.scale(self._registers[operand]) / matrix.largest
                for operand, matrix in matrices.items()
            ),
        )
        sums: list[tuple[int, int]] = []
        for operand, matrix in matrices.items():
            register = builder.drop_to(self._registers[operand], level)
            sums.append((matrix.period, self._sum(register, matrix, target)))
        total = self._fold(sums, after.period)
        return builder.shift(builder.rescale(total), bias)

    def _diagonals(self, operand: int, matrix: Matrix, after: Layout, factor: float) -> Diagonals:
        before = self._layouts[operand]
        return diagonals(
            before.columns(matrix),
            after.positions[matrix.rows],
            matrix.data * factor,
            before.period,
            after.period,
            self._builder.features,
            self._builder.steps,
        )

    def _sum(self, register: int, matrix: Diagonals, target: float) -> int:
        """Rotations by the small shifts, products, rotations by the large ones."""
        builder = self._builder
        rotated = {0: register}
        for shift, step in chain(matrix.split.small):
            rotated[shift] = builder.rotate(rotated[shift - step], step)

        def of_group(g: int) -> int:
            terms = matrix.groups[g].items()
            return builder.dot([(rotated[b], constants) for b, constants in terms], target)

        sides = []
        for side in horner(matrix.split.large):
            total: int | None = None
            for shift, step in side:
                group = of_group(shift)
                total = builder.rotate(group if total is None else builder.add(total, group), step)
            assert total is not None
            sides.append(total)
        if 0 in matrix.groups:
            sides.append(of_group(0))
        found = sides[0]
        for other in sides[1:]:
            found = builder.add(found, other)
        return found

    def _fold(self, sums: Sequence[tuple[int, int]], period: int) -> int:
        """Add what lies a period further, until the period is that of the output."""
        builder = self._builder
        left = sorted(sums, key=lambda item: -item[0])
        at, total = left.pop(0)
        while True:
            while left and left[0][0] >= at:
                total = builder.add(total, left.pop(0)[1])
            if at <= period:
                break
            at //= 2
            total = builder.add(total, builder.rotate(total, at))
        for _, register in left:
            total = builder.add(total, register)
        return total

    # -- the others -------------------------------------------------------------------------------

    def _product(self, step: Product) -> int:
        builder = self._builder
        left, right = self._registers[step.left], self._registers[step.right]
        level = min(builder.level(left), builder.level(right))
        made = builder.multiply(builder.drop_to(left, level), builder.drop_to(right, level))
        return builder.rescale(made)

    def _activation(self, value: int, step: Activation) -> int:
        builder, polynomial = self._builder, self._polynomials[value]
        argument = self._registers[step.operand]
        if self._normal.get(step.operand) != value:
            argument = builder.label(argument, builder.scale(argument) * polynomial.radius)
            argument = builder.shift(argument, np.array([-polynomial.middle / polynomial.radius]))
        self._arguments.append((argument, self._layouts[value].positions))
        return evaluate(builder, argument, polynomial.coefficients, self._scale)


def _normalised(network: Network) -> dict[int, int]:
    """Matrices' values that only one activation reads -> what that makes.

    They are made as its argument in [-1, 1] at once.
    """
    first = len(network.inputs)
    readers: dict[int, list[int]] = {}
    for index, step in enumerate(network.steps):
        for operand in step.operands:
            readers.setdefault(operand, []).append(first + index)
    results = {result.value for result in network.results}
    found = {}
    for value, steps in readers.items():
        if value < first or value in results or len(steps) != 1:
            continue
        reader = network.steps[steps[0] - first]
        if isinstance(network.steps[value - first], Linear) and isinstance(reader, Activation):
            found[value] = steps[0]
    return found
