"""What a caller may ask of the compiler: KEY=VALUE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from proofml.errors import UsageError
from proofml.fhe.ckks.circuit import FINAL
from proofml.fhe.ckks.flooding import MAX_BITS
from proofml.fhe.ckks.minimax import MAX_DEGREE
from proofml.fhe.ckks.params import DEGREES

T = TypeVar("T")

#: Name -> what it says, for people.
HELP: Final[Mapping[str, str]] = {
    "degree": f"of the polynomials in the place of activations, 1 to {MAX_DEGREE}, or auto",
    "margin": "by how much calibrated intervals are widened, 1 to 10",
    "tolerance": "largest error of the polynomials in the outputs, in parts of their spread",
    "noise": "largest noise of encryption in the outputs, in parts of the largest one",
    "batch": "inferences in one ciphertext, a power of two, or auto",
    "final": "who computes a last sigmoid or the like: client, exactly, or server",
    "flood": f"bits that hide the key in results shown to others, 0 to {MAX_BITS}",
    "ring": f"degree of the ring, one of {', '.join(map(str, DEGREES))}, or auto",
}


@dataclass(frozen=True)
class Options:
    """Read strictly; None where the compiler chooses."""

    degree: int | None = None
    margin: float = 1.25
    tolerance: float = 0.05
    noise: float = 1e-3
    batch: int | None = None
    final: str = "client"
    flood: int = 0
    ring: int | None = None

    @classmethod
    def read(cls, options: Mapping[str, str]) -> Options:
        """Raises `UsageError` naming the option."""
        for key in options:
            if key not in HELP:
                raise UsageError(
                    f"ckks has no option {key}; known: {', '.join(HELP)}, and when proving "
                    "evaluation, trace"
                )
        default = cls()
        return cls(
            degree=_read(options, "degree", _auto(_whole(1, MAX_DEGREE)), None),
            margin=_read(options, "margin", _real(1.0, 10.0), default.margin),
            tolerance=_read(options, "tolerance", _real(1e-9, 1e6), default.tolerance),
            noise=_read(options, "noise", _real(1e-9, 1.0), default.noise),
            batch=_read(options, "batch", _auto(_power), None),
            final=_read(options, "final", _choice, default.final),
            flood=_read(options, "flood", _whole(0, MAX_BITS), default.flood),
            ring=_read(options, "ring", _auto(_ring), None),
        )


def _read(options: Mapping[str, str], key: str, read: Callable[[str], T], default: T) -> T:
    if key not in options:
        return default
    try:
        return read(options[key])
    except ValueError as error:
        raise UsageError(f"--set {key}={options[key]}: expected {error}") from error


def _auto(read: Callable[[str], int]) -> Callable[[str], int | None]:
    return lambda text: None if text == "auto" else read(text)


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9) or not (
            low <= int(text) <= high
        ):
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _real(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = low - 1.0
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def _power(text: str) -> int:
    value = _whole(1, 1 << 14)(text)
    if value & (value - 1):
        raise ValueError("a power of two")
    return value


def _ring(text: str) -> int:
    if text not in map(str, DEGREES):
        raise ValueError(f"one of {', '.join(map(str, DEGREES))}")
    return int(text)


def _choice(text: str) -> str:
    if text not in FINAL:
        raise ValueError(f"one of {', '.join(FINAL)}")
    return text
