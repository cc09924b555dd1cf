"""What a model computes, as the compiler sees it: affine steps between non-linear ones.

Value i is input i, or what step i - inputs makes; all are vectors, one inference without its batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np

from proofml.fhe.ckks.affine import Index, Matrix, Reals
from proofml.fhe.ckks.tail import Tail


@dataclass(frozen=True, eq=False)
class Linear:
    """Sum of matrices times values, plus a bias.

    Attributes:
        parts: value -> matrix.
        bias: of each element.
        shape: of the tensor that it is, a batch of 1 first: a hint where elements could lie.
        where: the operator, for messages.
    """

    parts: Mapping[int, Matrix]
    bias: Reals
    shape: tuple[int, ...]
    where: str

    @property
    def size(self) -> int:
        return len(self.bias)

    @property
    def operands(self) -> tuple[int, ...]:
        return tuple(self.parts)


@dataclass(frozen=True)
class Activation:
    """A function of each element of a value."""

    operand: int
    function: str
    size: int
    where: str

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.operand,)


@dataclass(frozen=True)
class Product:
    """Two values element by element; a square where they are the same one."""

    left: int
    right: int
    size: int
    where: str

    @property
    def operands(self) -> tuple[int, ...]:
        return (self.left, self.right)


Step: TypeAlias = Linear | Activation | Product
Choose: TypeAlias = Callable[[int, Activation, Reals], Callable[[Reals], Reals]]


@dataclass(frozen=True, eq=False)
class Result:
    """A tensor that the encrypted part makes: elements `index` of a value."""

    name: str
    value: int
    index: Index
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Network:
    """A model without its batch axis.

    Attributes:
        inputs: shapes of the model's inputs, with a batch of 1.
        steps: in an order in which they can run.
        results: what is decrypted.
        tail: what the owner computes from them.
    """

    inputs: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    results: tuple[Result, ...]
    tail: Tail

    @property
    def sizes(self) -> tuple[int, ...]:
        """Of all values."""
        return (*(math.prod(shape) for shape in self.inputs), *(s.size for s in self.steps))

    @property
    def activations(self) -> tuple[int, ...]:
        """Values that steps of this kind make."""
        first = len(self.inputs)
        return tuple(first + i for i, step in enumerate(self.steps) if isinstance(step, Activation))

    def evaluate(self, inputs: Sequence[Reals], choose: Choose | None = None) -> list[Reals]:
        """All values [samples, size], in float64; not to the same bits everywhere.

        Args:
            inputs: [samples, size] each.
            choose: gives what is computed in the place of an activation's own function, from the
                number of what it makes, the step and its argument.
        """
        values = list(inputs)
        for step in self.steps:
            if isinstance(step, Linear):
                total = np.broadcast_to(step.bias, (len(values[0]), step.size)).copy()
                for value, matrix in step.parts.items():
                    total += matrix.apply(values[value])
                values.append(total)
            elif isinstance(step, Product):
                values.append(values[step.left] * values[step.right])
            else:
                argument = values[step.operand]
                function = FUNCTIONS[step.function].exact
                if choose is not None:
                    function = choose(len(values), step, argument)
                values.append(function(argument))
        return values


def _gelu(x: Reals) -> Reals:
    return np.asarray(0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))))


def _gelu_tanh(x: Reals) -> Reals:
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)
    return np.asarray(0.5 * x * (1.0 + np.tanh(inner)))


def _erf(x: Reals) -> Reals:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: Reals) -> Reals:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-x)))


@dataclass(frozen=True)
class Function:
    """A function of one real.

    Attributes:
        exact: in float64.
        kinks: where it has no derivative; an approximation is worst there.
    """

    exact: Callable[[Reals], Reals]
    kinks: tuple[float, ...] = ()


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        "Relu": Function(lambda x: np.maximum(x, 0.0), (0.0,)),
        "Sigmoid": Function(_sigmoid),
        "Tanh": Function(lambda x: np.asarray(np.tanh(x))),
        "Gelu": Function(_gelu),
        "GeluTanh": Function(_gelu_tanh),
        "Erf": Function(_erf),
        "Softplus": Function(lambda x: np.asarray(np.logaddexp(0.0, x))),
        "HardSigmoid": Function(lambda x: np.clip(x / 5 + 0.5, 0.0, 1.0), (-2.5, 2.5)),
        "HardSwish": Function(lambda x: x * np.clip(x / 6 + 0.5, 0.0, 1.0), (-3.0, 3.0)),
    }
)
