"""MatMul, Gemm and Einsum: dot products of a known length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node, Rule, needed, optional
from proofml.optimistic.floating.running import Arithmetic, Running

Inputs = Sequence["Running | None"]


def _matmul(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    left, right = needed(node, inputs, 0), needed(node, inputs, 1)
    return [a.contract(left, right, np.matmul, left.value.shape[-1])]


def _gemm(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """alpha A B + beta C; C and the factors may enter the sum or follow it."""
    left, right, bias = needed(node, inputs, 0), needed(node, inputs, 1), optional(inputs, 2)
    if node.integer("transA", 0):
        left = left.map(np.transpose)
    if node.integer("transB", 0):
        right = right.map(np.transpose)
    alpha, beta = node.real("alpha", 1.0), node.real("beta", 1.0)
    n = left.value.shape[-1] + (bias is not None) + (alpha != 1.0)
    result = a.contract(left, right, np.matmul, n)
    if alpha != 1.0:
        result = Running(result.value * alpha, result.error * abs(alpha))
    if bias is not None:
        result = add_bias(a, result, Running(bias.value * beta, bias.error * abs(beta)), n)
    return [result]


def add_bias(a: Arithmetic, result: Running, bias: Running, n: int) -> Running:
    """A bias that is one of the n terms of each sum: started from, or added at the end."""
    gamma = a.gamma(n + a.spare)
    error = result.error + bias.error + gamma * bias.magnitude
    value = result.value + bias.value
    # Added last, the whole sum is rounded once more, which n counts already for the products.
    return Running(value, error + gamma * result.error)


def _einsum(node: Node, a: Arithmetic, inputs: Inputs) -> list[Running]:
    """Any number of factors; each sum is over all indices that the output lacks."""
    factors = [needed(node, inputs, index) for index in range(len(node.inputs))]
    equation = node.text("equation", "").replace(" ", "")
    if any(not factor.exact for factor in factors):
        raise node.refuse("expected operands without errors")
    try:
        summed, lengths = _lengths(equation, [factor.value.shape for factor in factors])
        values = [factor.value for factor in factors]
        value: Reals = np.asarray(np.einsum(equation, *values, optimize="greedy"))
        most: Reals = np.asarray(
            np.einsum(equation, *(np.abs(v) for v in values), optimize="greedy")
        )
    except (ValueError, KeyError) as error:
        raise node.refuse(f"equation {equation[:80]!r} does not fit its operands") from error
    n = len(factors)
    for index in summed:
        n *= lengths[index]
    n = max(n, len(factors)) + a.spare
    return [Running(value, a.gamma(n) * most + n * a.form.tiny)]


def _lengths(equation: str, shapes: list[tuple[int, ...]]) -> tuple[set[str], dict[str, int]]:
    """Indices that are summed, and each index's length."""
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    lengths: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, length in zip(term, shape, strict=True):
            lengths[index] = max(lengths.get(index, 1), length)
    if not arrow:
        right = "".join(index for index in lengths if left.count(index) == 1)
    return set(lengths) - set(right), lengths


CONTRACTIONS: dict[str, Rule] = {"MatMul": _matmul, "Gemm": _gemm, "Einsum": _einsum}
