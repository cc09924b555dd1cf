"""What a user may ask of the compiler (`--set KEY=VALUE`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from proofml.errors import UsageError

DEFAULT_P_ERROR = 2.0**-40
#: Shown with their cost, and chosen from by `p-error=auto`.
P_ERRORS = (2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
BITS = range(2, 13)
#: Tried by a search of circuits with table lookups, and of those without: there bits cost little.
SEARCHED_BITS, LEVELLED_BITS = range(3, 9), (8, 10, 12)
ROUNDINGS = range(3, 9)
_POWER = re.compile(r"2\^-(\d{1,3})")


@dataclass(frozen=True)
class Options:
    """Checked.

    Attributes:
        bits: of inputs and weights, or of the leaves of trees; None for a search.
        rounding: to so many bits before a table lookup; 0 for none, None for a search.
        p_error: of one table lookup; None for the cheapest whose inferences fail less often than
            `max_failure`.
        agreement, deviation: least and most of these (see `fidelity`) on calibration samples that
            the search is content with. No bounds: the report says what was reached.
    """

    bits: int | None = None
    rounding: int | None = None
    p_error: float | None = DEFAULT_P_ERROR
    max_failure: float = 2.0**-20
    agreement: float = 0.98
    deviation: float = 0.1

    @classmethod
    def read(cls, options: Mapping[str, str]) -> Options:
        """Raises `UsageError` for a key or a value that is not known."""
        known = {"bits", "rounding", "p-error", "max-failure", "agreement", "deviation"}
        extra = sorted(set(options) - known)
        if extra:
            raise UsageError(
                f"concrete: no option {extra[0]!r}; known: {', '.join(sorted(known))}, and when "
                "proving evaluation"
            )
        p_error = options.get("p-error", "2^-40")
        return cls(
            _whole(options, "bits", BITS, {"auto": None}),
            _whole(options, "rounding", ROUNDINGS, {"auto": None, "none": 0}),
            None if p_error == "auto" else _probability("p-error", p_error, 2.0**-12),
            _probability("max-failure", options.get("max-failure", "2^-20"), 0.5),
            _probability("agreement", options.get("agreement", "0.98"), 1.0),
            _probability("deviation", options.get("deviation", "0.1"), 1.0),
        )


def _whole(
    options: Mapping[str, str], key: str, allowed: range, words: Mapping[str, int | None]
) -> int | None:
    text = options.get(key, "auto")
    if text in words:
        return words[text]
    if not text.isascii() or not text.isdigit() or int(text) not in allowed:
        raise UsageError(
            f"concrete: {key}: expected {', '.join(words)} or {allowed[0]} to {allowed[-1]}, "
            f"got {text!r}"
        )
    return int(text)


def _probability(key: str, text: str, most: float) -> float:
    power = _POWER.fullmatch(text)
    try:
        value = 2.0 ** -int(power[1]) if power else float(text)
    except ValueError:
        value = -1.0
    if not 2.0**-128 <= value <= most:
        raise UsageError(
            f"concrete: {key}: expected a number above 0 and at most {most:g}, as 0.001 or 2^-40, "
            f"got {text!r}"
        )
    return value
