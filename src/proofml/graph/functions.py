"""Model-local functions: who calls whom, and how large the model is once all are inlined.

Runtimes inline functions, so that thirty functions which each call the next one twice become a
billion nodes; and one that calls itself has no end.
"""

from __future__ import annotations

from collections import Counter

from proofml.errors import UnsupportedModel
from proofml.graph.names import shown

#: Domain, name, overload.
FunctionKey = tuple[str, str, str]

MAX_CALL_DEPTH = 64


class Calls:
    """Counts plain nodes and calls of the main graph, then of one function after another."""

    def __init__(self) -> None:
        self._main = _Body()
        self._current = self._main
        self._bodies: dict[FunctionKey, _Body] = {}

    def begin(self, key: FunctionKey) -> None:
        """From here on nodes belong to the function `key`."""
        self._current = self._bodies[key] = _Body()

    def node(self, callee: FunctionKey | None) -> None:
        """One more node; `callee` where it calls a function of the model."""
        if callee is None:
            self._current.plain += 1
        else:
            self._current.calls[callee] += 1

    def check(self, where: str, most: int) -> None:
        """Refuse recursion, and more than `most` nodes after inlining."""
        sizes: dict[FunctionKey, int] = {}
        total = 0
        for body in (*self._bodies.values(), self._main):
            total = self._size(body, sizes, (), where)
        if total > most:
            raise UnsupportedModel(
                f"{where}: more than {most} nodes once its functions are inlined"
            )

    def _size(
        self,
        body: _Body,
        sizes: dict[FunctionKey, int],
        path: tuple[FunctionKey, ...],
        where: str,
    ) -> int:
        total = body.plain
        for key, times in body.calls.items():
            if key in path or len(path) >= MAX_CALL_DEPTH:
                raise UnsupportedModel(
                    f"{where}: the function {shown(key[1])} calls itself, or calls nest deeper "
                    f"than {MAX_CALL_DEPTH}"
                )
            if key not in sizes:
                sizes[key] = self._size(self._bodies[key], sizes, (*path, key), where)
            total += times * sizes[key]
        return total


class _Body:
    def __init__(self) -> None:
        self.plain = 0
        self.calls: Counter[FunctionKey] = Counter()
