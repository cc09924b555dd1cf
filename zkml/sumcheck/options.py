"""What a caller may ask of the prover: `--set KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from proofml.errors import UsageError
from proofml.zkml.sumcheck.bounds import DEFAULT_BITS, MAX_BITS, MIN_BITS

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig

T = TypeVar("T")

KNOWN = ("bits", "self-check", "method", "per-channel", "activations")
#: Of a float model only.
QUANTISING = frozenset({"method", "per-channel", "activations"})


@dataclass(frozen=True, slots=True)
class Options:
    """Read strictly.

    Attributes:
        bits: of soundness that the parameters are chosen for.
        self_check: verify each proof before it is handed out.
        quantisation: how a float model is quantised; None where the model is quantised itself.
    """

    bits: int
    self_check: bool
    quantisation: QuantisationConfig | None

    @classmethod
    def read(cls, options: Mapping[str, str], *, quantised: bool) -> Options:
        """Raises `UsageError` naming the option."""
        for key in options:
            if key not in KNOWN:
                raise UsageError(f"sumcheck has no option {key}; known: {', '.join(KNOWN)}")
            if quantised and key in QUANTISING:
                raise UsageError(f"--set {key}: the model is quantised already; leave it out")
        return cls(
            bits=_read(options, "bits", _bits, DEFAULT_BITS),
            self_check=_read(options, "self-check", _switch, False),
            quantisation=None if quantised else _quantisation(options),
        )


def _quantisation(options: Mapping[str, str]) -> QuantisationConfig:
    from proofml.circuits.quantise.record import ACTIVATIONS, METHODS, QuantisationConfig

    default = QuantisationConfig()
    return QuantisationConfig(
        method=_read(options, "method", _choice(METHODS), default.method),
        per_channel=_read(options, "per-channel", _switch, default.per_channel),
        activations=_read(options, "activations", _choice(ACTIVATIONS), default.activations),
    )


def _read(options: Mapping[str, str], key: str, read: Callable[[str], T], default: T) -> T:
    if key not in options:
        return default
    try:
        return read(options[key])
    except ValueError as error:
        raise UsageError(f"--set {key}={options[key]}: expected {error}") from error


def _bits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and MIN_BITS <= int(text[:5]) <= MAX_BITS):
        raise ValueError(f"an integer from {MIN_BITS} to {MAX_BITS}")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _choice(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read
