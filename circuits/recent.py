"""The last few things that were loaded from a cache, kept in memory for the next call.

What is kept is a pure function of its recipe, so that finding it here is as good as making it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from proofml.canonical import JSON
from proofml.store import Store

T = TypeVar("T")


class Recent(Generic[T]):
    """At most `most` of them, the least recently used goes first; safe between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._known: OrderedDict[tuple[Path, str], T] = OrderedDict()

    def get(self, store: Store, recipe: Mapping[str, JSON], make: Callable[[], T]) -> T:
        """What is kept for this cache and recipe, or what `make` makes."""
        key = (store.root, store.recipe_digest(recipe))
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        made = make()
        with self._lock:
            self._known[key] = made
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return made

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
