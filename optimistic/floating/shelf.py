"""Plans of the models at hand, at the dims of strangers' claims."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

from proofml.backend import Context
from proofml.errors import UnsupportedModel, UsageError
from proofml.model import Model
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.plan import Plan, plan_of
from proofml.worker import WorkerFailed

#: Plans hold their models' weights.
_KEPT = 4
_REMEMBERED = 1024


@dataclass
class PlanShelf:
    """Finds the plan that a header is of; the last ones are kept."""

    _plans: OrderedDict[bytes, Plan] = field(default_factory=OrderedDict)
    _unknown: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def find(
        self, models: Iterable[Model], header: FloatHeader, context: Context, most_cells: int
    ) -> Plan | None:
        """The plan whose root the header has; None where no model has it.

        Args:
            most_cells: of all inputs together; claims of larger ones are not looked at.
        """
        root = header.plan_root
        if root in self._plans:
            self._plans.move_to_end(root)
            return self._plans[root]
        if root in self._unknown:
            return None
        shapes = [kind.shape or () for kind in header.inputs]
        if sum(math.prod(shape) for shape in shapes) <= most_cells:
            for model, grouped in product(models, (False, True)):
                found = _plan(model, shapes, context, grouped=grouped)
                if found is not None and found.root == root:
                    self._plans[root] = found
                    while len(self._plans) > _KEPT:
                        self._plans.popitem(last=False)
                    return found
        self._unknown[root] = None
        while len(self._unknown) > _REMEMBERED:
            self._unknown.popitem(last=False)
        return None


def _plan(
    model: Model, shapes: list[tuple[int, ...]], context: Context, *, grouped: bool
) -> Plan | None:
    if len(model.inputs) != len(shapes):
        return None
    named = {spec.name: shape for spec, shape in zip(model.inputs, shapes, strict=True)}
    try:
        return plan_of(model, named, context.store, grouped=grouped, limits=context.limits)
    except (UnsupportedModel, UsageError, WorkerFailed):
        return None
