"""What of EZKL's run arguments this backend lets a prover choose, and within which bounds.

Everything that is not listed here has one value. The bounds are the verifier's: a prover who
writes other settings makes a proof that check ezkl.3 refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proofml.canonical import JSON
from proofml.errors import UsageError

#: Inclusive bounds of the integer run arguments.
BOUNDS: Mapping[str, tuple[int, int]] = {
    "input_scale": (0, 20),
    "param_scale": (0, 20),
    "scale_rebase_multiplier": (1, 16),
    "logrows": (4, 26),
    "num_inner_cols": (1, 16),
    "decomp_base": (2, 1 << 15),
    "decomp_legs": (1, 8),
}
#: Least and greatest bits of a decomposed integer: too few overflow, too many wrap the field.
MIN_RANGE_BITS, MAX_RANGE_BITS = 20, 62
MAX_LOOKUP = 1 << 25
#: Widest circuit and widest table, in columns of all its rows; calibrated ones have one or two.
MAX_COLUMNS = 256
MAX_TABLE_COLUMNS = 16

#: Run arguments with a single acceptable value.
FIXED: Mapping[str, object] = {
    "rebase_scale": None,
    "variables": [["batch_size", 1]],
    "rebase_frac_zero_constants": False,
    "check_mode": "SAFE",
    "bounded_log_lookup": False,
    "ignore_range_check_inputs_outputs": False,
    "epsilon": 2.220446049250313e-16,
    "disable_freivalds": False,
}

#: Statement's word -> how EZKL's settings spell the visibility.
VISIBILITY: Mapping[str, object] = {
    "public": "Public",
    "private": "Private",
    "fixed": "Fixed",
    "hashed": {"Hashed": {"hash_is_public": True, "outlets": []}},
}

#: Types of inputs that may be hidden: EZKL constrains a hidden input to the range of its checks and
#: a bool to 0 and 1, but not a narrower integer (or float16) to the range of its type.
HIDEABLE = frozenset({"bool", "int64", "float32", "float64"})

#: Policy defaults, `[backends.ezkl]`.
DEFAULT_MIN_SCALE = 6
DEFAULT_MAX_LOGROWS = 20

#: `Computation.kind` of a Statement that this backend proves.
KIND = "ezkl-halo2-kzg"

SRS_KINDS = ("auto", "local-dev", "ceremony")
TARGETS = ("resources", "accuracy")


@dataclass(frozen=True, slots=True)
class Options:
    """The prover's choices (`--set KEY=VALUE`).

    Attributes:
        target: EZKL's calibration target, `resources` or `accuracy`.
        scales: scales that calibration may try, for inputs and parameters.
        lookup_margin: factor by which calibrated lookup ranges are widened.
        decomp_base, decomp_legs: base and digits of range checks, the base is a table's size;
            base 0 for the better of two.
        inner_columns: columns of an accumulated product.
        logrows: 0 for the smallest that works.
        max_logrows: refuse a circuit with more than 2^max_logrows rows.
        max_macs: refuse a model with more multiply-accumulates, before anything is spent.
        srs: `auto` uses an imported ceremony file; `local-dev` a locally generated string.
    """

    target: str = "resources"
    scales: tuple[int, ...] = (7,)
    lookup_margin: int = 2
    decomp_base: int = 0
    decomp_legs: int = 4
    inner_columns: int = 2
    logrows: int = 0
    max_logrows: int = 20
    max_macs: int = 10_000_000
    srs: str = "auto"

    @classmethod
    def read(cls, options: Mapping[str, str]) -> Options:
        """From the request's options; raises `UsageError` naming the key and what it takes."""
        values: dict[str, object] = {}
        for key, text in options.items():
            name = key.replace("-", "_")
            if name in ("target", "srs"):
                choices = TARGETS if name == "target" else SRS_KINDS
                if text not in choices:
                    raise UsageError(f"--set {key}={text}: expected one of {', '.join(choices)}")
                values[name] = text
            elif name == "scales":
                values[name] = tuple(_integer(key, part, 0, 20) for part in text.split(","))
            elif name in _INTEGERS:
                values[name] = _integer(key, text, *_INTEGERS[name])
            else:
                known = ", ".join(sorted([*_INTEGERS, "target", "scales", "srs"]))
                raise UsageError(f"--set {key}: ezkl has no such option; known: {known}")
        return cls(**values)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, JSON]:
        """All that the settings depend on; the reference string is chosen after them."""
        return {
            "target": self.target,
            "scales": list(self.scales),
            "lookup_margin": self.lookup_margin,
            "decomp_base": self.decomp_base,
            "decomp_legs": self.decomp_legs,
            "inner_columns": self.inner_columns,
            "logrows": self.logrows,
            "max_logrows": self.max_logrows,
        }


_INTEGERS: Mapping[str, tuple[int, int]] = {
    "lookup_margin": (1, 64),
    "decomp_base": (0, BOUNDS["decomp_base"][1]),
    "decomp_legs": BOUNDS["decomp_legs"],
    "inner_columns": BOUNDS["num_inner_cols"],
    "logrows": (0, 26),
    "max_logrows": (4, 26),
    "max_macs": (1, 1 << 50),
}


def _integer(key: str, text: str, low: int, high: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if not low <= value <= high:
        raise UsageError(f"--set {key}={text}: expected an integer from {low} to {high}")
    return value
