"""Traces of running disputes, within a bound of memory.

To run a model again for each move would lose disputes by the clock; so all runs are kept that fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from proofml.optimistic.trace import Trace

#: Bytes of all traces together.
MOST_BYTES = 1 << 30


@dataclass
class Traces:
    """Claim -> its run; those that were used longest ago go first.

    Attributes:
        most: bytes that are held; the one in use is kept even where it has more, without tensors.
    """

    most: int = MOST_BYTES
    _kept: OrderedDict[int, Trace] = field(default_factory=OrderedDict)

    def put(self, number: int, trace: Trace) -> Trace:
        self._kept[number] = trace
        self._kept.move_to_end(number)
        self.fit()
        return trace

    def get(self, number: int) -> Trace | None:
        found = self._kept.get(number)
        if found is not None:
            self._kept.move_to_end(number)
        return found

    def only(self, numbers: Collection[int]) -> None:
        """Forget the runs of all other claims."""
        for number in [number for number in self._kept if number not in numbers]:
            del self._kept[number]

    def fit(self) -> None:
        """Free tensors, which are computed again where they are wanted, and then whole runs."""
        total = sum(trace.nbytes for trace in self._kept.values())
        for trace in self._kept.values():
            if total <= self.most:
                return
            total -= trace.nbytes
            trace.forget()
            total += trace.nbytes
        while total > self.most and len(self._kept) > 1:
            total -= self._kept.popitem(last=False)[1].nbytes
