"""Which kernel took how long in one proof, and how long the same calls take bare.

`record` watches every call of the C kernels while a proof is made and keeps its arguments;
`Call.bare` repeats one of them alone, with everything warm. What a stage took beyond its kernels
is Python and NumPy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from proofml.circuits import kernels

#: The kernels that the prover calls, and what their cost is counted in.
UNITS = {
    "encode": "code word element",
    "merkle": "compression",
    "logup_prove": "leaf",
    "product_prove": "pair",
    "open_prove": "cell",
    "contract_i8": "cell",
    "contract_i32": "cell",
    "contract_ext": "cell",
    "eq_table": "cell",
}
#: Of `open_prove`: its rounds alone, and its search for a nonce.
OPENING, GRINDING = "open_prove", "grind"
_MUTABLE = bytearray


@dataclass
class Call:
    """One call of a kernel: its arguments as they were, and the seconds that it took."""

    name: str
    stage: str
    arguments: tuple[Any, ...]
    seconds: float = 0.0

    @property
    def units(self) -> int:
        return _units(self.name, self.arguments)

    def repeat(self, **changed: Any) -> float:
        """Seconds of the same call once more."""
        arguments = [
            bytearray(item) if isinstance(item, _MUTABLE) else item for item in self.arguments
        ]
        for position, value in changed.items():
            arguments[int(position.lstrip("_"))] = value
        function = _ORIGINAL[self.name]
        started = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - started

    def bare(self, times: int, **changed: Any) -> float:
        return min(self.repeat(**changed) for _ in range(times))


def _units(name: str, arguments: Sequence[Any]) -> int:
    if name == "encode":
        values, _, rate = arguments
        return int(values.size) << int(rate)
    if name == "merkle":
        tag, rows = arguments
        leaf = 2 + len(tag) + int(rows.nbytes) // len(rows) + 9
        return len(rows) * (-(-leaf // 64) + 2)
    if name == "logup_prove":
        return len(arguments[0])
    if name == "product_prove":
        return sum(1 << log for log in arguments[2])
    if name == "open_prove":
        return sum(1 << tree.m for tree in arguments[0])
    if name == "eq_table":
        return 1 << len(arguments[0])
    values = arguments[0]
    a, n, c = values.shape[:3]
    return int(a * n * c)


@dataclass
class Recording:
    """All calls in order; `begin` names the stage that they are counted in."""

    calls: list[Call] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = 0.0

    def begin(self, name: str) -> None:
        now = time.perf_counter()
        if self._stage:
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = name, now

    def end(self) -> None:
        self.begin("")

    def of(self, stage: str, name: str) -> list[Call]:
        return [call for call in self.calls if call.stage == stage and call.name == name]

    def wrap(self, name: str) -> Callable[..., Any]:
        function = _ORIGINAL[name]

        def watched(*arguments: Any) -> Any:
            kept = tuple(
                bytearray(item) if isinstance(item, _MUTABLE) else item for item in arguments
            )
            call = Call(name, self._stage, kept)
            started = time.perf_counter()
            result = function(*arguments)
            call.seconds = time.perf_counter() - started
            self.calls.append(call)
            return result

        return watched


_ORIGINAL: dict[str, Callable[..., Any]] = {name: getattr(kernels, name) for name in UNITS}


@contextmanager
def record() -> Iterator[Recording]:
    """Watch the kernels inside this context; not for several threads."""
    recording = Recording()
    with ExitStack() as patches:
        for name in UNITS:
            patches.enter_context(mock.patch.object(kernels, name, recording.wrap(name)))
        yield recording
    recording.end()


def grinding_rate(bits: int, times: int = 24) -> float:
    """Seconds a hash when nonces of this many bits are searched for."""
    seconds, hashes = 0.0, 0
    for number in range(times):
        seed = number.to_bytes(32, "little")
        started = time.perf_counter()
        nonce = kernels.grind(seed, bits)
        seconds += time.perf_counter() - started
        hashes += nonce + 1
    return seconds / hashes
