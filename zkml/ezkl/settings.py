"""EZKL's settings file: one canonical form, a strict reader, and a whitelist of run arguments.

EZKL orders some lists at random, stamps the time, ignores unknown run arguments and accepts keys
of old versions; its verifier binds none of it. Here a settings file is the canonical JSON of what
`gen_settings` says for a graph and its run arguments, with lists sorted, the time set to 0 and
the version to 0.0.0. Because the whole of it can be derived again from the graph and the run
arguments, a verifier that holds the model believes nothing in it but the latter, and those are
bounded here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proofml.canonical import sha256
from proofml.fields import FieldError, Fields
from proofml.zkml.ezkl.params import (
    BOUNDS,
    FIXED,
    MAX_COLUMNS,
    MAX_LOOKUP,
    MAX_RANGE_BITS,
    MAX_TABLE_COLUMNS,
    MIN_RANGE_BITS,
    VISIBILITY,
)

MAX_SETTINGS_BYTES = 1 << 20
_SORTED = ("required_range_checks", "required_lookups")
_TOP = (
    "num_rows", "total_assignments", "total_const_size", "total_dynamic_col_size",
    "max_dynamic_input_len", "num_dynamic_lookups", "num_shuffles", "total_shuffle_col_size",
    "einsum_params", "model_instance_shapes", "model_output_scales", "model_input_scales",
    "module_sizes", "required_lookups", "required_range_checks", "check_mode", "version",
    "num_blinding_factors", "timestamp", "input_types", "output_types",
)  # fmt: skip
_COUNTS = _TOP[:8]
_CELLS = (
    "total_assignments", "total_const_size", "total_dynamic_col_size", "total_shuffle_col_size",
)  # fmt: skip
INPUT_TYPES = ("F16", "F32", "F64", "Int", "Bool", "TDim")


def _dump(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def canonical_settings(raw: Mapping[str, Any]) -> bytes:
    """The canonical bytes of what EZKL wrote."""
    value = dict(raw)
    for key in _SORTED:
        value[key] = sorted(value[key], key=_dump)
    value["timestamp"] = 0
    value["version"] = "0.0.0"
    return _dump(value)


@dataclass(frozen=True)
class Settings:
    """A settings file that passed `read`: types, bounds and whitelist hold.

    Attributes:
        data: the canonical bytes; `digest` is their SHA-256.
        run_args: as EZKL spells them.
        input_scales, output_scales, input_types: as the file claims; believed only when the
            file was derived again or pinned.
        instance_shapes: of the public inputs, then of the public outputs; likewise.
    """

    data: bytes
    run_args: Mapping[str, Any]
    input_scales: tuple[int, ...]
    output_scales: tuple[int, ...]
    instance_shapes: tuple[tuple[int, ...], ...]
    input_types: tuple[str, ...]

    @property
    def digest(self) -> str:
        return sha256(self.data)

    @property
    def logrows(self) -> int:
        return int(self.run_args["logrows"])

    @property
    def range_limit(self) -> int:
        """Integers of this magnitude and more cannot pass the circuit's range checks."""
        limit: int = int(self.run_args["decomp_base"]) ** int(self.run_args["decomp_legs"])
        return limit

    @property
    def has_lookups(self) -> bool:
        """Whether the circuit has tables besides those of its range checks."""
        return bool(json.loads(self.data)["required_lookups"])

    def visibility(self, role: str) -> str:
        """`public`, `private`, `fixed` or `hashed`, of `input`, `output` or `param`."""
        spelled = self.run_args[f"{role}_visibility"]
        return next(word for word, ezkl in VISIBILITY.items() if ezkl == spelled)

    @classmethod
    def read(cls, data: bytes) -> Settings:
        """Strictly; raises `FieldError` naming the key for anything unexpected."""
        value = _parse(data)
        fields = Fields(value, "settings")
        arguments = _read_run_args(fields.table("run_args"))
        for key in _COUNTS:
            fields.integer(key, 0, 1 << 40)
        for key in _TOP[8:]:
            fields.raw(key)
        fields.done()
        if value["check_mode"] != "SAFE":
            raise FieldError("settings.check_mode", "SAFE", value["check_mode"])
        if value["version"] != "0.0.0" or value["timestamp"] != 0:
            raise FieldError("settings.version", "0.0.0, and timestamp 0", value["version"])
        if value["num_blinding_factors"] is not None:
            raise FieldError("settings.num_blinding_factors", "null", value["num_blinding_factors"])
        _check_columns(fields, arguments)
        return cls(
            data=data,
            run_args=arguments,
            input_scales=fields.items("model_input_scales", _scale),
            output_scales=fields.items("model_output_scales", _scale),
            instance_shapes=fields.items("model_instance_shapes", _shape),
            input_types=fields.items("input_types", _type),
        )


def _parse(data: bytes) -> dict[str, Any]:
    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) != len(pairs):
            raise FieldError("settings", "each key once", "a duplicated key")
        return table

    def refuse(text: str) -> Any:
        raise FieldError("settings", "finite numbers", text)

    if len(data) > MAX_SETTINGS_BYTES:
        raise FieldError("settings", f"at most {MAX_SETTINGS_BYTES} bytes", str(len(data)))
    try:
        value = json.loads(data.decode("ascii"), object_pairs_hook=once, parse_constant=refuse)
        canonical = isinstance(value, dict) and canonical_settings(value) == data
    except FieldError:
        raise
    except (ValueError, RecursionError, TypeError, KeyError, OverflowError) as error:
        raise FieldError("settings", "canonical settings JSON", type(error).__name__) from error
    if not canonical:
        raise FieldError("settings", "canonical settings JSON", "another form of it")
    return value  # type: ignore[no-any-return]


def _read_run_args(fields: Fields) -> Mapping[str, Any]:
    result: dict[str, Any] = {key: fields.integer(key, *BOUNDS[key]) for key in BOUNDS}
    for key, only in FIXED.items():
        value = fields.raw(key)
        if value != only or type(value) is not type(only):
            raise FieldError(fields.at(key), repr(only), value)
        result[key] = value
    for role in ("input", "output", "param"):
        key = f"{role}_visibility"
        value = fields.raw(key)
        if not any(value == known for known in VISIBILITY.values()):
            raise FieldError(fields.at(key), "one of " + ", ".join(VISIBILITY), value)
        result[key] = value
    bounds = fields.items("lookup_range", _lookup_bound, most=2)
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise FieldError(fields.at("lookup_range"), "low, high", list(bounds))
    result["lookup_range"] = list(bounds)
    fields.done()
    limit = result["decomp_base"] ** result["decomp_legs"]
    if not 1 << MIN_RANGE_BITS <= limit <= 1 << MAX_RANGE_BITS:
        raise FieldError(
            fields.at("decomp_base"),
            f"base^legs from 2^{MIN_RANGE_BITS} to 2^{MAX_RANGE_BITS}",
            limit,
        )
    return result


def _check_columns(fields: Fields, arguments: Mapping[str, Any]) -> None:
    """Refuses a circuit that is wider than any sensible one: EZKL's setup would not end on it.

    What does not fit in the rows goes into further columns. The numbers are the prover's, but a
    key is derived only from settings that were derived again and are equal.
    """
    rows = 1 << arguments["logrows"]
    cells = sum(fields.integer(key, 0, 1 << 40) for key in _CELLS)
    cells += fields.table("einsum_params").integer("total_einsum_col_size", 0, 1 << 40)
    if cells > MAX_COLUMNS * rows:
        raise FieldError("settings.total_assignments", f"at most {MAX_COLUMNS} columns", cells)
    tables = [high - low for low, high in fields.items("required_range_checks", _range)]
    if fields.items("required_lookups", lambda value, path: value):
        low, high = arguments["lookup_range"]
        tables.append(high - low)
    if any(table > MAX_TABLE_COLUMNS * rows for table in tables):
        raise FieldError(
            "settings.run_args.lookup_range",
            f"tables of at most {MAX_TABLE_COLUMNS} columns of {rows} rows",
            max(tables),
        )


def _range(value: object, path: str) -> tuple[int, int]:
    if (
        not isinstance(value, list)
        or len(value) != 2
        or any(type(bound) is not int for bound in value)
    ):
        raise FieldError(path, "low, high", value)
    return value[0], value[1]


def _lookup_bound(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_LOOKUP:
        raise FieldError(path, f"an integer within +-{MAX_LOOKUP}", value)
    return value


def _scale(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 60:
        raise FieldError(path, "a scale from 0 to 60", value)
    return value


def _shape(value: object, path: str) -> tuple[int, ...]:
    if not isinstance(value, list) or any(type(dim) is not int for dim in value):
        raise FieldError(path, "a list of dimensions", value)
    return tuple(value)


def _type(value: object, path: str) -> str:
    if not isinstance(value, str) or value not in INPUT_TYPES:
        raise FieldError(path, "one of " + ", ".join(INPUT_TYPES), value)
    return value
