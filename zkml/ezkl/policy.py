"""The policy's table `[backends.ezkl]`, read strictly.

settings            digests of accepted settings files: the quantisation is then not the
                    prover's choice
pinned              tables {model, settings, verifying_key} of digests: a circuit that is
                    known beforehand; nothing is derived, the model file is not needed
srs                 digests of accepted reference strings besides the public ceremony's
min_input_scale     least bits after the point of inputs (6)
min_param_scale     least bits after the point of parameters (6)
max_logrows         largest circuit that a key is derived for (20)
max_error           largest accepted distance from onnxruntime's outputs
"""

from __future__ import annotations

from dataclasses import dataclass

from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, sha256_item
from proofml.policy import Policy
from proofml.zkml.ezkl.params import DEFAULT_MAX_LOGROWS, DEFAULT_MIN_SCALE

MAX_ERROR = 1e30


@dataclass(frozen=True, slots=True)
class Pin:
    """A circuit known beforehand; `model` is a canonical or an architecture digest."""

    model: str
    settings: str
    verifying_key: str


@dataclass(frozen=True, slots=True)
class EzklPolicy:
    settings: frozenset[str]
    pinned: tuple[Pin, ...]
    srs: frozenset[str]
    min_input_scale: int
    min_param_scale: int
    max_logrows: int
    max_error: float | None

    @classmethod
    def read(cls, policy: Policy) -> EzklPolicy:
        """Raises `UsageError` naming the key."""
        fields = policy.section("ezkl")
        try:
            result = cls(
                settings=frozenset(fields.items("settings", sha256_item, default=())),
                pinned=fields.items("pinned", _pin, default=()),
                srs=frozenset(fields.items("srs", sha256_item, default=())),
                min_input_scale=fields.integer("min_input_scale", 0, 20, default=DEFAULT_MIN_SCALE),
                min_param_scale=fields.integer("min_param_scale", 0, 20, default=DEFAULT_MIN_SCALE),
                max_logrows=fields.integer("max_logrows", 4, 26, default=DEFAULT_MAX_LOGROWS),
                max_error=fields.number("max_error", 0.0, MAX_ERROR)
                if "max_error" in fields
                else None,
            )
            fields.done()
        except FieldError as error:
            raise UsageError(f"{policy.source}: {error}; see docs/policy.md") from error
        return result


def _pin(value: object, path: str) -> Pin:
    fields = Fields(value, path)
    result = Pin(fields.sha256("model"), fields.sha256("settings"), fields.sha256("verifying_key"))
    fields.done()
    return result
