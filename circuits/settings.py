"""Options of backends that work on integer graphs, `--set KEY=VALUE`: reading them, and those of
quantisation, which all of them share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig

T = TypeVar("T")

#: Of a float model only.
QUANTISING: Final = ("method", "per-channel", "activations")


def check_known(
    options: Mapping[str, str], known: tuple[str, ...], backend: str, *, quantised: bool
) -> None:
    """Refuse options that the backend does not have, or that this model has no use for.

    Raises:
        UsageError: naming the first one.
    """
    for key in options:
        if key not in known:
            raise UsageError(f"{backend} has no option {key}; known: {', '.join(known)}")
        if quantised and key in QUANTISING:
            raise UsageError(f"--set {key}: the model is quantised already; leave it out")


def read_option(options: Mapping[str, str], key: str, read: Callable[[str], T], default: T) -> T:
    """An option's value; `read` raises `ValueError` saying what it expects.

    Raises:
        UsageError: naming the option.
    """
    if key not in options:
        return default
    try:
        return read(options[key])
    except ValueError as error:
        raise UsageError(f"--set {key}={options[key]}: expected {error}") from error


def switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def choice(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read


def whole(low: int, high: int) -> Callable[[str], int]:
    """An integer within bounds, in decimal digits."""

    def read(text: str) -> int:
        longest = len(str(high))
        if not (text.isascii() and text.isdigit() and len(text) <= longest):
            raise ValueError(f"an integer from {low} to {high}")
        if not low <= int(text) <= high:
            raise ValueError(f"an integer from {low} to {high}")
        return int(text)

    return read


def path_option(options: Mapping[str, str], key: str) -> Path | None:
    if key not in options:
        return None
    if not options[key] or "\0" in options[key]:
        raise UsageError(f"--set {key}={options[key]!r}: expected the path of a file")
    return Path(options[key])


def quantisation_config(options: Mapping[str, str]) -> QuantisationConfig:
    """How a float model becomes integers: `QUANTISING`, each with its default."""
    from proofml.circuits.quantise.record import ACTIVATIONS, METHODS, QuantisationConfig

    default = QuantisationConfig()
    return QuantisationConfig(
        method=read_option(options, "method", choice(METHODS), default.method),
        per_channel=read_option(options, "per-channel", switch, default.per_channel),
        activations=read_option(options, "activations", choice(ACTIVATIONS), default.activations),
    )
