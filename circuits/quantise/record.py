"""The quantisation record: all that `apply` needs besides the model, as canonical JSON.

Written by whoever calibrates, read by verifiers from files of strangers: the reader is strict and
bounded. Scales are float32 by their bit patterns, since JSON's numbers have no fixed meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from proofml.canonical import JSON, CanonicalError, dumps, loads, sha256
from proofml.errors import CONTROL, UsageError, printable
from proofml.fields import FieldError, Fields
from proofml.tensors import MAX_RANK

RECORD_TYPE = "proofml/quantisation/v1"
METHODS = ("minmax", "percentile", "mse")
ACTIVATIONS = ("uint8", "int8")
MAX_RECORD_BYTES = 16 << 20
MAX_ACTIVATIONS = 100_000
MAX_NAME = 1024
MAX_SAMPLES = 1 << 32
#: Inputs whose shapes a record may fix, and their longest axis.
MAX_INPUTS = 4096
MAX_DIM = 1 << 40
#: Parts per million.
WHOLE = 1_000_000

LOWEST_NORMAL = 0x00800000
INFINITY = 0x7F800000


@dataclass(frozen=True, slots=True)
class Params:
    """What a code means: `(code - zero_point) * scale`. `dtype` is uint8 or int8."""

    scale_bits: int
    zero_point: int
    dtype: str

    @property
    def scale(self) -> np.float32:
        return np.uint32(self.scale_bits).view(np.float32)

    @property
    def low(self) -> int:
        return 0 if self.dtype == "uint8" else -128

    @property
    def high(self) -> int:
        return self.low + 255


@dataclass(frozen=True)
class QuantisationConfig:
    """How to quantise.

    Attributes:
        method: `minmax` (all that was seen), `percentile` (without the largest values) or `mse`
            (the range with the least squared error).
        percentile: parts per million of the values that the range must hold (`percentile` only).
        per_channel: one weight scale for each output channel instead of one for each tensor.
        activations: dtype of the codes.
        shapes: of inputs whose dims the model leaves open; what depends on nothing else is then
            computed once and for all, and the quantised model takes these shapes only.
        cut_softmax: a Softmax or LogSoftmax that makes an output is left out, and what it reads
            is the output instead, under its own name: the classes keep their order.
    """

    method: str = "minmax"
    percentile: int = 999_900
    per_channel: bool = False
    activations: str = "uint8"
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    cut_softmax: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("method", self.method, METHODS),
            ("activations", self.activations, ACTIVATIONS),
        ):
            if value not in known:
                raise UsageError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
        if not WHOLE // 2 < self.percentile <= WHOLE:
            raise UsageError(
                f"percentile: expected more than {WHOLE // 2} and at most {WHOLE} parts per "
                f"million, got {self.percentile}"
            )

        for name, dims in self.shapes.items():
            if not all(1 <= dim <= MAX_DIM for dim in dims):
                raise UsageError(f"shape of {name!r}: expected dims of 1 and more, got {dims}")

    def to_json(self) -> dict[str, JSON]:
        """Without `shapes` and `cut_softmax` where nothing is fixed or cut."""
        result: dict[str, JSON] = {
            "activations": self.activations,
            "method": self.method,
            "per_channel": self.per_channel,
            "percentile": self.percentile,
        }
        if self.shapes:
            result["shapes"] = {name: list(dims) for name, dims in self.shapes.items()}
        if self.cut_softmax:
            result["cut_softmax"] = True
        return result

    @classmethod
    def read(cls, fields: Fields) -> QuantisationConfig:
        config = cls(
            method=fields.string("method", choices=METHODS),
            percentile=fields.integer("percentile", WHOLE // 2 + 1, WHOLE),
            per_channel=fields.boolean("per_channel"),
            activations=fields.string("activations", choices=ACTIVATIONS),
            shapes=_shapes(fields.table("shapes")) if "shapes" in fields else {},
            cut_softmax=fields.boolean("cut_softmax", default=False),
        )
        # One form only: what says nothing is left out.
        for key, says in (("shapes", config.shapes), ("cut_softmax", config.cut_softmax)):
            if key in fields and not says:
                raise FieldError(fields.at(key), "no such key where it says nothing", "it")
        fields.done()
        return config


@dataclass(frozen=True)
class QuantisationRecord:
    """What calibration found.

    Attributes:
        model: canonical SHA-256 of the float model.
        config: as asked for.
        samples: number of calibration inputs.
        activations: first tensor of each set that shares its parameters -> the parameters.
    """

    model: str
    config: QuantisationConfig
    samples: int
    activations: Mapping[str, Params]

    def to_json(self) -> dict[str, JSON]:
        return {
            "_type": RECORD_TYPE,
            "activations": {
                name: {"scale": f"{params.scale_bits:08x}", "zero_point": params.zero_point}
                for name, params in self.activations.items()
            },
            "config": self.config.to_json(),
            "model": self.model,
            "samples": self.samples,
        }

    def to_bytes(self) -> bytes:
        """Canonical bytes."""
        return dumps(self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return sha256(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes) -> QuantisationRecord:
        """Read strictly.

        Raises:
            FieldError: anything else than what `to_bytes` writes.
        """
        try:
            value = loads(data, max_bytes=MAX_RECORD_BYTES)
        except CanonicalError as error:
            raise FieldError("record", "canonical JSON", str(error)) from error
        return cls.read(value)

    @classmethod
    def read(cls, value: object, path: str = "record") -> QuantisationRecord:
        """From parsed JSON; raises `FieldError`."""
        fields = Fields(value, path)
        fields.string("_type", choices=(RECORD_TYPE,))
        config = QuantisationConfig.read(fields.table("config"))
        model = fields.sha256("model")
        samples = fields.integer("samples", 1, MAX_SAMPLES)
        table = fields.table("activations")
        if len(table.mapping) > MAX_ACTIVATIONS:
            raise FieldError(
                table.path, f"at most {MAX_ACTIVATIONS} tensors", str(len(table.mapping))
            )
        activations: dict[str, Params] = {}
        for index, name in enumerate(table.mapping):
            if not acceptable(name):
                at = f"{table.path}, name {index}"
                raise FieldError(at, f"1 to {MAX_NAME} printable characters", printable(name))
            activations[name] = _params(table.table(name), config.activations)
        fields.done()
        return cls(model, config, samples, activations)


def acceptable(name: str) -> bool:
    """Whether a tensor of this name can stand in a record."""
    return 0 < len(name) <= MAX_NAME and not CONTROL.search(name)


def _shapes(table: Fields) -> dict[str, tuple[int, ...]]:
    if len(table.mapping) > MAX_INPUTS:
        raise FieldError(table.path, f"at most {MAX_INPUTS} inputs", str(len(table.mapping)))
    for index, name in enumerate(table.mapping):
        if not acceptable(name):
            at = f"{table.path}, name {index}"
            raise FieldError(at, f"1 to {MAX_NAME} printable characters", printable(name))
    return {name: table.items(name, _dim, most=MAX_RANK) for name in table.mapping}


def _dim(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DIM:
        raise FieldError(path, f"an integer from 1 to {MAX_DIM}", value)
    return value


def _params(fields: Fields, dtype: str) -> Params:
    data = fields.hexadecimal("scale", longest=4)
    bits = int.from_bytes(data, "big")
    if len(data) != 4 or not LOWEST_NORMAL <= bits < INFINITY:
        raise FieldError(fields.at("scale"), "bits of a positive normal float32", data.hex())
    low = 0 if dtype == "uint8" else -128
    params = Params(bits, fields.integer("zero_point", low, low + 255), dtype)
    fields.done()
    return params
