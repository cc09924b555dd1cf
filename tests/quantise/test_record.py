"""Any bytes -> a record, or FieldError; any record that is read -> a model, or an error of ours."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps
from proofml.circuits.quantise import QuantisationConfig, QuantisationRecord, apply
from proofml.circuits.quantise.record import MAX_ACTIVATIONS, Params
from proofml.errors import ProofmlError, UnsupportedModel, UsageError
from proofml.fields import FieldError
from proofml.model import Model

from .builder import Builder

ONE = int(np.float32(1).view(np.uint32))


def record(**changes: Any) -> QuantisationRecord:
    values: dict[str, Any] = {
        "model": "ab" * 32,
        "config": QuantisationConfig(),
        "samples": 3,
        "activations": {"x": Params(ONE, 7, "uint8"), "/b": Params(0x3C800000, 0, "uint8")},
    }
    return QuantisationRecord(**{**values, **changes})


@pytest.fixture(scope="module")
def model() -> Model:
    b = Builder([1, 2, 6, 6])
    b.conv(2, 3)
    b.op("Relu")
    b.op("Flatten")
    b.gemm(48, 4)
    return Model.load(b.finish())


def test_round_trip() -> None:
    for config in (
        QuantisationConfig(),
        QuantisationConfig("mse", 999_000, True, "int8"),
        QuantisationConfig(shapes={"y": (2, 3), "/a": ()}, cut_softmax=True),
    ):
        dtype = config.activations
        made = record(config=config, activations={"x": Params(ONE, 5, dtype)})
        again = QuantisationRecord.from_bytes(made.to_bytes())
        assert again == made
        assert again.digest == made.digest
        assert again.to_bytes() == made.to_bytes()
    assert record().activations["/b"].scale == np.float32(0.015625)


def test_what_says_nothing_is_left_out() -> None:
    """Records of before these keys were there keep their digests."""
    assert record().to_json()["config"] == {
        "activations": "uint8",
        "method": "minmax",
        "per_channel": False,
        "percentile": 999_900,
    }


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("_type",), "proofml/quantisation/v2", "one of proofml/quantisation/v1"),
        (("model",), "AB" * 32, "64 lower-case"),
        (("samples",), 0, "an integer from 1"),
        (("samples",), True, "an integer from 1"),
        (("extra",), 1, "no such key"),
        (("config", "method"), "magic", "one of minmax"),
        (("config", "percentile"), 500_000, "an integer from 500001"),
        (("config", "per_channel"), 1, "true or false"),
        (("config", "extra"), 1, "no such key"),
        (("config", "shapes"), {}, "no such key where it says nothing"),
        (("config", "shapes"), [], "a table of keys"),
        (("config", "shapes"), {"x": 3}, "a list of at most 32"),
        (("config", "shapes"), {"x": [1] * 33}, "a list of at most 32"),
        (("config", "shapes"), {"x": [0]}, "an integer from 1"),
        (("config", "shapes"), {"x": [True]}, "an integer from 1"),
        (("config", "shapes"), {"x": ["1"]}, "an integer from 1"),
        (("config", "shapes"), {"x": [(1 << 40) + 1]}, "an integer from 1"),
        (("config", "shapes"), {"": [1]}, "printable characters"),
        (("config", "shapes"), {f"x{i}": [1] for i in range(4097)}, "at most 4096 inputs"),
        (("config", "cut_softmax"), False, "no such key where it says nothing"),
        (("config", "cut_softmax"), 1, "true or false"),
        (("activations",), [], "a table of keys"),
        (("activations", "x"), {}, "this key"),
        (("activations", ""), {"scale": "3f800000", "zero_point": 0}, "printable characters"),
        (("activations", "a\n"), {"scale": "3f800000", "zero_point": 0}, "printable characters"),
        (("activations", "x", "zero_point"), 256, "an integer from 0 to 255"),
        (("activations", "x", "zero_point"), -1, "an integer from 0 to 255"),
        (("activations", "x", "scale"), "00000000", "normal float32"),
        (("activations", "x", "scale"), "007fffff", "normal float32"),
        (("activations", "x", "scale"), "7f800000", "normal float32"),
        (("activations", "x", "scale"), "ff800000", "normal float32"),
        (("activations", "x", "scale"), "bf800000", "normal float32"),
        (("activations", "x", "scale"), "3f8000", "normal float32"),
        (("activations", "x", "scale"), "3F800000", "lower-case hex"),
        (("activations", "x", "extra"), 0, "no such key"),
    ],
)
def test_strict(path: tuple[str, ...], value: Any, message: str) -> None:
    data = json.loads(record().to_bytes())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(FieldError, match=message):
        QuantisationRecord.from_bytes(dumps(data))


def test_bounded() -> None:
    many = {f"v{i}": Params(ONE, 0, "uint8") for i in range(MAX_ACTIVATIONS + 1)}
    with pytest.raises(FieldError, match=f"at most {MAX_ACTIVATIONS} tensors"):
        QuantisationRecord.from_bytes(record(activations=many).to_bytes())
    with pytest.raises(FieldError, match="canonical JSON"):
        QuantisationRecord.from_bytes(b" " * (17 << 20))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(FieldError):
        QuantisationRecord.from_bytes(data)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_mutated_bytes(at: int, patch: bytes) -> None:
    data = bytearray(record().to_bytes())
    at %= len(data)
    data[at : at + len(patch)] = patch
    try:
        made = QuantisationRecord.from_bytes(bytes(data))
    except FieldError:
        return
    assert made.to_bytes() == bytes(data)


@given(
    st.lists(st.integers(0x00800000, 0x7F7FFFFF), min_size=3, max_size=3),
    st.lists(st.integers(0, 255), min_size=3, max_size=3),
    st.booleans(),
    st.sampled_from(["uint8", "int8"]),
)
@settings(max_examples=40)
def test_any_record_applies_or_is_refused(
    model: Model, bits: list[int], zeros: list[int], per_channel: bool, dtype: str
) -> None:
    names = ("v0", "v3", "x")
    low = 0 if dtype == "uint8" else -128
    activations = {
        name: Params(b, z + low, dtype) for name, b, z in zip(names, bits, zeros, strict=True)
    }
    config = QuantisationConfig(per_channel=per_channel, activations=dtype)
    made = record(model=model.digest, config=config, activations=activations)
    try:
        data = apply(model, made)
    except UnsupportedModel:
        return
    assert apply(model, QuantisationRecord.from_bytes(made.to_bytes())) == data


def test_record_of_something_else(model: Model) -> None:
    with pytest.raises(UsageError, match="expected a quantisation record of the model"):
        apply(model, record())
    for names in (["x"], ["x", "v0", "v3", "v9"], []):
        activations = {name: Params(ONE, 0, "uint8") for name in names}
        with pytest.raises(UnsupportedModel, match="expected exactly the values 3"):
            apply(model, record(model=model.digest, activations=activations))


def test_config_is_checked() -> None:
    for bad in ({"method": "x"}, {"activations": "int16"}, {"percentile": 0}):
        with pytest.raises(ProofmlError, match=next(iter(bad))):
            QuantisationConfig(**bad)  # type: ignore[arg-type]
