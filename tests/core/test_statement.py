"""The Statement: read back as written, one digest a meaning, each malformed form refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import dumps, loads, sha256
from proofml.fields import FieldError
from proofml.statement import (
    STATEMENT_TAG,
    Commitment,
    Computation,
    ModelClaim,
    Statement,
    TensorClaim,
    Visibility,
)
from proofml.tensors import DTYPES

HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
COMMITMENTS = st.builds(Commitment, NAMES, HEX)
SHAPES = st.lists(st.integers(0, 9), max_size=3).map(tuple)


@st.composite
def tensors(draw: Any) -> TensorClaim:
    visibility = draw(st.sampled_from(Visibility))
    public, hashed = visibility is Visibility.PUBLIC, visibility is Visibility.HASHED
    return TensorClaim(
        draw(NAMES),
        draw(st.sampled_from(sorted(DTYPES))),
        draw(SHAPES),
        visibility,
        draw(HEX) if public else None,
        None if public else draw(COMMITMENTS if hashed else st.none() | COMMITMENTS),
    )


STATEMENTS = st.builds(
    Statement,
    st.builds(ModelClaim, HEX, HEX) | st.builds(lambda d: ModelClaim(architecture_sha256=d), HEX),
    st.lists(tensors(), max_size=3, unique_by=lambda t: t.name).map(tuple),
    st.lists(tensors(), max_size=3, unique_by=lambda t: t.name).map(tuple),
    st.builds(Computation, NAMES, st.dictionaries(NAMES, st.integers(0, 9), max_size=2)),
    st.none() | st.binary(min_size=1, max_size=64),
)


@given(STATEMENTS)
def test_round_trip(statement: Statement) -> None:
    back = Statement.read(loads(dumps(statement.to_json())))
    assert back == statement
    assert back.digest == statement.digest


@given(STATEMENTS, STATEMENTS)
def test_digest_is_injective(one: Statement, two: Statement) -> None:
    assert (one.digest == two.digest) == (one == two)


def test_digest_is_tagged(parts: Any) -> None:
    data = dumps(parts.statement.to_json())
    assert parts.statement.digest == sha256(STATEMENT_TAG.encode() + b"\0" + data)
    assert parts.statement.digest != sha256(data)


def test_roles(parts: Any) -> None:
    assert [role for role, _ in parts.statement.tensors()] == [
        "input.0", "input.1", "input.2", "output.0",
    ]  # fmt: skip


WRONG: dict[str, tuple[str, Any]] = {
    "version 2": ("version", 2),
    "version true": ("version", True),
    "no such kind of model": ("model.kind", "pickle"),
    "short digest": ("model.canonical_sha256", "11"),
    "upper-case digest": ("model.file_sha256", "A" * 64),
    "model is a list": ("model", []),
    "inputs are a table": ("inputs", {}),
    "input is null": ("inputs.0", None),
    "nameless": ("inputs.0.name", 7),
    "name with an escape": ("inputs.0.name", "a\x1b[2J"),
    "name with a newline": ("inputs.0.name", "a\nACCEPTED"),
    "long name": ("inputs.0.name", "a" * 513),
    "unknown dtype": ("inputs.0.dtype", "float8"),
    "negative side": ("inputs.0.shape", [1, -4]),
    "fractional side": ("inputs.0.shape", ["4"]),
    "true side": ("inputs.0.shape", [True]),
    "huge side": ("inputs.0.shape", [2**41]),
    "high rank": ("inputs.0.shape", [1] * 33),
    "too large": ("inputs.0.shape", [2**20, 2**20]),
    "unknown visibility": ("inputs.0.visibility", "secret"),
    "public without digest": ("inputs.0.sha256", None),
    "name twice": ("inputs.1.name", "a"),
    "hashed and public digest": ("inputs.1.sha256", "1" * 64),
    "commitment is text": ("inputs.1.commitment", "ab"),
    "commitment not hex": ("inputs.1.commitment.value", "xy"),
    "commitment in upper case": ("inputs.1.commitment.value", "AB"),
    "long commitment": ("inputs.1.commitment.value", "00" * 129),
    "private with digest": ("inputs.2.sha256", "1" * 64),
    "nonce not hex": ("nonce", "nonce"),
    "nonce of odd length": ("nonce", "abc"),
    "long nonce": ("nonce", "00" * 65),
    "empty nonce": ("nonce", ""),
    "nonce is a number": ("nonce", 5),
    "computation is null": ("computation", None),
    "kind is a number": ("computation.kind", 1),
    "detail is a list": ("computation.detail", []),
}
EXTRA = ("", "model", "inputs.0", "inputs.1.commitment", "computation")
MISSING = (
    "version", "model", "inputs", "outputs", "nonce", "computation", "model.kind",
    "model.canonical_sha256", "model.file_sha256", "inputs.0.name", "inputs.0.dtype",
    "inputs.0.shape", "inputs.0.visibility", "inputs.0.sha256", "inputs.1.commitment",
    "inputs.1.commitment.scheme", "inputs.1.commitment.value", "computation.kind",
    "computation.detail",
)  # fmt: skip


def holder(value: Any, path: str) -> tuple[Any, Any]:
    keys = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        value = value[key]
    return value, keys[-1]


def written(parts: Any) -> Any:
    return copy.deepcopy(loads(dumps(parts.statement.to_json())))


@pytest.mark.parametrize("name", sorted(WRONG))
def test_wrong_value(parts: Any, name: str) -> None:
    path, wrong = WRONG[name]
    value = written(parts)
    place, key = holder(value, path)
    place[key] = wrong
    with pytest.raises(FieldError):
        Statement.read(value)


@pytest.mark.parametrize("path", MISSING)
def test_missing_key(parts: Any, path: str) -> None:
    value = written(parts)
    place, key = holder(value, path)
    del place[key]
    with pytest.raises(FieldError):
        Statement.read(value)


@pytest.mark.parametrize("path", EXTRA)
def test_unknown_key(parts: Any, path: str) -> None:
    value = written(parts)
    place = value
    if path:
        inner, key = holder(value, path)
        place = inner[key]
    place["unknown"] = 1
    with pytest.raises(FieldError, match="unknown"):
        Statement.read(value)


def test_public_tensor_with_a_commitment(parts: Any) -> None:
    value = written(parts)
    value["inputs"][0]["commitment"] = {"scheme": "s", "value": "00"}
    with pytest.raises(FieldError, match="commitment"):
        Statement.read(value)


def test_architecture_instead_of_digests(parts: Any) -> None:
    value = written(parts)
    value["model"] = {"kind": "architecture", "architecture_sha256": "3" * 64}
    assert Statement.read(value).model.weights_hidden
    value["model"]["canonical_sha256"] = "1" * 64
    with pytest.raises(FieldError, match="canonical_sha256"):
        Statement.read(value)


def test_too_many_tensors(parts: Any) -> None:
    value = written(parts)
    value["outputs"] = [{**value["inputs"][2], "name": str(i)} for i in range(1025)]
    with pytest.raises(FieldError, match="at most 1024"):
        Statement.read(value)


SCALARS = st.none() | st.integers() | st.text()


@given(st.recursive(SCALARS, lambda s: st.lists(s) | st.dictionaries(st.text(), s), max_leaves=6))
def test_anything(value: Any) -> None:
    with pytest.raises(FieldError):
        Statement.read(value)
