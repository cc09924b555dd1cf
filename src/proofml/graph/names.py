"""Names in a graph: which are visible where, and how a stranger's name looks in a message."""

from __future__ import annotations

from proofml.errors import UnsupportedModel

_LONGEST = 80


def shown(name: str) -> str:
    """A name out of a file, quoted, without control characters and not longer than a line."""
    return repr(name) if len(name) <= _LONGEST else repr(name[: _LONGEST - 3]) + "..."


def text(name: object, where: str) -> str:
    """The name, where it is one: protobuf gives bytes for what is not UTF-8."""
    if not isinstance(name, str):
        raise UnsupportedModel(f"{where}: a name in it is not UTF-8")
    return name


class Scope:
    """The names that one graph defines, with the graphs around it.

    A link to the outer scope instead of a copy: thousands of sub-graphs inside a large graph
    would otherwise cost the product of the two.
    """

    __slots__ = ("_names", "_outer")

    def __init__(self, outer: Scope | None = None) -> None:
        self._names: set[str] = set()
        self._outer = outer

    def __contains__(self, name: str) -> bool:
        scope: Scope | None = self
        while scope is not None:
            if name in scope._names:
                return True
            scope = scope._outer
        return False

    def define(self, name: str, where: str, *, shadows: bool = False) -> None:
        """Add a name; `shadows` allows one that an outer graph has already (a loop's input)."""
        if not text(name, where):
            raise UnsupportedModel(f"{where}: a value without a name")
        if name in (self._names if shadows else self):
            raise UnsupportedModel(f"{where}: {shown(name)} is defined twice")
        self._names.add(name)
