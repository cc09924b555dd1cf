"""One operator of a claimed trace: does its claimed output follow from its own claimed inputs?

The reference is computed in float64 from the claimed inputs, with the error that any honest machine
may make of them (`running`); operators that move elements or compute integers are run alone and
compared to the bit. Nothing depends on another operator, so errors of earlier ones play no part.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofml.errors import UnsupportedModel, UsageError, VerificationError
from proofml.optimistic.floating.bounds import Bounds
from proofml.optimistic.floating.finding import Finding, Verdict
from proofml.optimistic.floating.formats import REFERENCE_UNIT, Format, format_of
from proofml.optimistic.floating.functions import Reals
from proofml.optimistic.floating.node import Node
from proofml.optimistic.floating.plan import Operator, Plan, Ref
from proofml.optimistic.floating.rules import RULES, Kind
from proofml.optimistic.floating.running import Arithmetic, Running
from proofml.optimistic.floating.trace import FloatTrace
from proofml.optimistic.program import Source
from proofml.tensors import Array

Evaluate = Callable[[Node, Sequence["Array | None"]], Sequence[Array]]

#: Roundings that a kernel which folds its group may add to each product: a scale in the weights.
GROUP_ROUNDINGS = 16


class Judge:
    """Judges operators of one plan; keeps the weights' float64 form between calls.

    Args:
        plan: None where single operators are judged by their arrays.
        evaluate: runs an exact operator alone (`stages.Singles`).
    """

    def __init__(self, plan: Plan | None, evaluate: Evaluate) -> None:
        self._plan = plan
        self._evaluate = evaluate
        self._weights: dict[int, Running] = {}

    @property
    def plan(self) -> Plan:
        """Raises `UsageError` where there is none."""
        if self._plan is None:
            raise UsageError("a judge without a plan: expected an operator with its arrays")
        return self._plan

    # -- what an operator may make ----------------------------------------------------------

    def expected(self, operator: Operator, operands: Sequence[Array]) -> list[Running | Array]:
        """Each output: a reference with its worst-case error, or the exact array.

        Args:
            operands: claimed arrays, in the order of `operator.inputs`.

        Raises:
            UnsupportedModel: what the rule cannot bound, by the operator's name.
        """
        if operator.kind is Kind.EXACT:
            named = dict(zip(operator.names, operands, strict=True))
            node = operator.nodes[-1]
            return list(self._evaluate(node, [named.get(name) for name in node.inputs]))
        values = {
            name: self._running(ref, operand)
            for name, ref, operand in zip(operator.names, operator.inputs, operands, strict=True)
        }
        spare = GROUP_ROUNDINGS if len(operator.nodes) > 1 else 0
        types = dict(zip(operator.outputs, operator.types, strict=True))
        last = np.dtype(operator.types[0].dtype)
        for node in operator.nodes:
            kind = types.get(node.outputs[0])
            form = format_of(np.dtype(kind.dtype) if kind else last)
            assert form is not None  # a bounded operator's output is real, see `rules.kind_of`
            made = RULES[node.op](
                node,
                Arithmetic(form, spare=spare),
                [values.get(name) if name else None for name in node.inputs],
            )
            values.update(zip(filter(None, node.outputs), made, strict=True))
        return [values[name] for name in operator.outputs]

    def _running(self, ref: Ref, operand: Array) -> Running:
        if ref.source is not Source.WEIGHT:
            return _exact(operand)
        found = self._weights.get(ref.index)
        if found is None:
            found = self._weights[ref.index] = _exact(operand)
        return found

    # -- judging ----------------------------------------------------------------------------

    def operator(
        self,
        trace: FloatTrace,
        index: int,
        bounds: Bounds,
        element: tuple[int, ...] | None = None,
        port: int = 0,
    ) -> Finding:
        """The verdict on one operator, at all elements of its outputs or at one.

        Raises:
            UsageError: no such operator, port or element, or bounds of another plan.
        """
        operator = self._find(index, bounds, port)
        output = _Output(operator, port, bounds)
        fault = miswired(trace, index)
        if fault is not None:
            return output.refused(Verdict.MISWIRED, fault)
        try:
            operands = [trace.array(ref) for ref in operator.inputs]
            claimed = [
                trace.array(Ref(Source.OPERATOR, index, p)) for p in range(len(operator.outputs))
            ]
        except VerificationError as error:
            return output.refused(Verdict.WITHHELD, str(error))
        for place, kind in enumerate(operator.types):
            tensor = trace.outputs[index][place]
            if tensor.dtype != kind.dtype or kind.shape not in (None, tensor.shape):
                return output.refused(
                    Verdict.MISSHAPEN,
                    f"output {place}: expected {kind.dtype}{list(kind.shape or ())}, "
                    f"got {tensor.dtype}{list(tensor.shape)}",
                )
        if element is None:
            return self.guarded(operator, operands, claimed, bounds)
        return self.arrays(operator, operands, claimed, bounds, element, port)

    def guarded(
        self,
        operator: Operator,
        operands: Sequence[Array],
        claimed: Sequence[Array],
        bounds: Bounds,
    ) -> Finding:
        """`arrays`, where operands that the operator cannot have are no error but its fault.

        Of a plan that was run once to its end no honest operand is such a one.
        """
        try:
            with np.errstate(all="ignore"):
                return self.arrays(operator, operands, claimed, bounds)
        except (UnsupportedModel, ValueError, IndexError, TypeError) as error:
            detail = f"it cannot be computed: {error}"[:400]
            return _Output(operator, 0, bounds).refused(Verdict.OUTSIDE, detail, math.inf)

    def arrays(
        self,
        operator: Operator,
        operands: Sequence[Array],
        claimed: Sequence[Array],
        bounds: Bounds,
        element: tuple[int, ...] | None = None,
        port: int = 0,
    ) -> Finding:
        """The verdict on claimed arrays."""
        expected = self.expected(operator, operands)
        return compare(operator, expected, claimed, bounds, element, port)

    def _find(self, index: int, bounds: Bounds, port: int) -> Operator:
        if not 0 <= index < len(self.plan.operators):
            raise UsageError(
                f"operator {index}: expected one of {len(self.plan.operators)} in the plan"
            )
        if bounds.shares and bounds.program != self.plan.root.hex():
            raise UsageError(
                f"bounds: expected ones for program {self.plan.root.hex()}, got {bounds.program}"
            )
        operator = self.plan.operators[index]
        if not 0 <= port < len(operator.outputs):
            raise UsageError(f"operator {index}: expected a port below {len(operator.outputs)}")
        return operator


def compare(
    operator: Operator,
    expected: Sequence[Running | Array],
    claimed: Sequence[Array],
    bounds: Bounds,
    element: tuple[int, ...] | None = None,
    port: int = 0,
) -> Finding:
    """The verdict on claimed arrays, given what `Judge.expected` made of the operands."""
    ports = range(len(expected)) if element is None else (port,)
    findings = [
        _Output(operator, p, bounds).compare(expected[p], claimed[p], element) for p in ports
    ]
    return max(findings, key=lambda finding: (not finding.inside, finding.margin))


def _exact(operand: Array) -> Running:
    """Reals as float64; integers and booleans as they are."""
    if format_of(operand.dtype) is None:
        return Running(operand)
    return Running(np.asarray(operand, np.float64))


def miswired(trace: FloatTrace, index: int) -> str | None:
    """What is wrong with an operator's leaf, as against the leaves of what it reads; None if well.

    This needs no data: two openings of the trace's tree, or one and the program's descriptor.
    """
    leaf, operator = trace.leaves[index], trace.plan.operators[index]
    if len(leaf.inputs) != len(operator.inputs):
        return f"expected {len(operator.inputs)} operands, got {len(leaf.inputs)}"
    for place, (ref, got) in enumerate(zip(operator.inputs, leaf.inputs, strict=True)):
        wanted = trace.tensor(ref).digest
        if wanted != got:
            what = f"{ref.source.name.lower()} {ref.index}"
            return f"operand {place} is from {what}: expected {wanted.hex()}, got {got.hex()}"
    return None


@dataclass(frozen=True)
class _Output:
    """One output of an operator under a bound; makes its finding."""

    operator: Operator
    port: int
    bounds: Bounds

    def _finding(self, verdict: Verdict, **found: Any) -> Finding:
        return Finding(
            self.operator.index,
            self.operator.label,
            verdict,
            self.bounds.basis.value,
            self.port,
            **found,
        )

    def refused(self, verdict: Verdict, detail: str, margin: float = 0.0) -> Finding:
        return self._finding(verdict, detail=detail, margin=margin)

    def compare(
        self, expected: Running | Array, claimed: Array, element: tuple[int, ...] | None
    ) -> Finding:
        reference = expected.value if isinstance(expected, Running) else expected
        dtype = np.dtype(self.operator.types[self.port].dtype)
        if claimed.dtype != dtype or claimed.shape != reference.shape:
            return self.refused(
                Verdict.MISSHAPEN,
                f"expected {dtype}{list(reference.shape)}, "
                f"got {claimed.dtype}{list(claimed.shape)}",
            )
        if element is not None and not (
            len(element) == claimed.ndim
            and all(0 <= at < length for at, length in zip(element, claimed.shape, strict=True))
        ):
            raise UsageError(f"element {element}: expected one of a tensor {list(claimed.shape)}")
        form = format_of(dtype)
        if isinstance(expected, Running) and form is not None:
            return self._bounded(expected, claimed, element, form)
        return self._equal(reference, claimed, element)

    def _equal(self, reference: Array, claimed: Array, element: tuple[int, ...] | None) -> Finding:
        """To the bit, but that one NaN is as good as another."""
        wrong = _bits(reference) != _bits(claimed)
        if format_of(claimed.dtype) is not None:
            wrong &= ~(np.isnan(reference) & np.isnan(claimed))
        place = _largest(wrong) if element is None else element
        if place is None or not wrong[place]:
            size = claimed.size if element is None else 1
            return self._finding(Verdict.INSIDE, element=element, elements=size)
        return self._finding(
            Verdict.OUTSIDE,
            element=place,
            claimed=float(claimed[place]),
            reference=float(reference[place]),
            margin=math.inf,
            elements=claimed.size if element is None else 1,
            detail=f"expected {reference[place]}, got {claimed[place]}",
        )

    def _bounded(
        self, expected: Running, claimed: Array, element: tuple[int, ...] | None, form: Format
    ) -> Finding:
        reference, worst = expected.value, expected.error_array()
        values = np.asarray(claimed, np.float64)
        if element is not None:  # as tensors of one element
            reference, worst, values = (array[element].reshape(1) for array in
                                        (reference, worst, values))  # fmt: skip
        error = distance(values, reference, worst, form)
        free = ~np.isfinite(worst) & np.isfinite(reference)
        tolerance = self.bounds.tolerance(self.operator.index, worst, reference, form)
        with np.errstate(divide="ignore", invalid="ignore"):
            margin = np.where(np.isinf(error), np.inf, error / tolerance)
        margin = np.where(free | (error == 0), 0.0, margin)
        at = _largest(margin)
        if at is None:
            return self._finding(Verdict.INSIDE)
        verdict, detail = Verdict.INSIDE, ""
        if margin[at] > 1:
            verdict = Verdict.OUTSIDE
            detail = f"expected {float(reference[at])!r} to within {float(tolerance[at])!r}"
        elif element is None:
            excess = np.where(free, 0.0, error)
            surplus = self.bounds.surplus(self.operator.index, excess, worst, reference, form)
            if surplus is not None:
                verdict = Verdict.OUTSIDE
                detail = f"{surplus[1]} elements too many beyond the limit at {surplus[0]:.1%}"
        return self._finding(
            verdict,
            element=at if element is None else element,
            claimed=float(values[at]),
            reference=float(reference[at]),
            tolerance=float(tolerance[at]),
            margin=float(margin[at]),
            elements=error.size,
            unbounded=int(np.count_nonzero(free)),
            detail=detail,
        )


def _largest(array: Array) -> tuple[int, ...] | None:
    """Index of the largest element; None where there are none."""
    if not array.size:
        return None
    return tuple(map(int, np.unravel_index(int(array.argmax()), array.shape)))


def _bits(array: Array) -> Array:
    dense = np.ascontiguousarray(array)
    return dense.view(f"u{dense.dtype.itemsize}").reshape(array.shape)


def distance(values: Reals, reference: Reals, worst: Reals, form: Format) -> Reals:
    """|claimed - reference|; 0 where both are the same infinity or NaN, or both may overflow."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(values - reference)
        same = (values == reference) | (np.isnan(values) & np.isnan(reference))
        beyond = np.abs(reference) + worst >= form.largest * (1 - REFERENCE_UNIT)
    overflown = np.isinf(values) & beyond & (np.sign(values) == np.sign(reference))
    return np.where(same | overflown, 0.0, np.where(np.isnan(error), np.inf, error))
