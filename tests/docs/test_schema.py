"""docs/schema/inference-v1.json takes what the reader takes, and refuses what it refuses."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import Draft202012Validator
from onnx import TensorProto, helper

from proofml import Context, Model, Proof, SigningKey, Store, prove
from proofml.canonical import dumps
from proofml.container import pack
from proofml.errors import VerificationError
from proofml.proof import Blob
from proofml.statement import (
    Commitment,
    Computation,
    ModelClaim,
    Statement,
    TensorClaim,
    Visibility,
)

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schema" / "inference-v1.json"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def model_bytes() -> bytes:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["y"])],
        "neg",
        [tensor("x", TensorProto.FLOAT, [2])],
        [tensor("y", TensorProto.FLOAT, [2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Proof:
    """A proof by re-execution, with a nonce, unsigned."""
    pytest.importorskip("onnxruntime")
    store = Store(tmp_path_factory.mktemp("cache"))
    model = Model.load(model_bytes(), store=store)
    inputs = {"x": np.array([1.0, -2.0], dtype=np.float32)}
    return prove(model, inputs, backend="reexec", nonce=b"nonce", context=Context(store))


def hidden() -> Proof:
    """Hidden weights, a hashed input, a private one without anything, evidence, notes, signed."""
    zeros = "00" * 32
    statement = Statement(
        ModelClaim(architecture_sha256=zeros),
        (
            TensorClaim("a", "int8", (), Visibility.HASHED, commitment=Commitment("test", zeros)),
            TensorClaim("b", "bool", (0, 3), Visibility.PRIVATE),
        ),
        (),
        Computation("test", {"anything": [1, None, {"nested": True}]}),
    )
    return Proof.build(
        statement,
        "other",
        7,
        {"blob": Blob(b"x")},
        {},
        notes={"k": "v"},
        signers=[SigningKey.generate()],
    )


def test_real_proof_is_valid(validator: Draft202012Validator, real: Proof) -> None:
    validator.validate(json.loads(real.attestation))


def test_signed_proof_with_hidden_tensors_is_valid(validator: Draft202012Validator) -> None:
    proof = Proof.read(hidden().to_bytes())
    validator.validate(json.loads(base64.b64decode(json.loads(proof.attestation)["payload"])))


def statement(value: Any) -> Any:
    return value["predicate"]["statement"]


MUTATIONS: dict[str, Callable[[Any], object]] = {
    "unknown key": lambda v: v.update(extra=1),
    "other type": lambda v: v.update(_type="https://in-toto.io/Statement/v0.1"),
    "other predicate": lambda v: v.update(predicateType="https://slsa.dev/provenance/v1"),
    "no subject": lambda v: v.update(subject=[]),
    "subject of another kind": lambda v: v["subject"][0].update(name="file"),
    "subject with another digest": lambda v: v["subject"][0]["digest"].update(sha512="00"),
    "unknown key in the predicate": lambda v: v["predicate"].update(extra=1),
    "no notes": lambda v: v["predicate"].pop("notes"),
    "note that is no text": lambda v: v["predicate"]["notes"].update(n=1),
    "note that moves the cursor": lambda v: v["predicate"]["notes"].update(n="\x1b[2J"),
    "backend version 0": lambda v: v["predicate"]["backend"].update(version=0),
    "backend version true": lambda v: v["predicate"]["backend"].update(version="1"),
    "evidence elsewhere": lambda v: v["predicate"]["evidence"][0].update(location="http"),
    "evidence called attestation": lambda v: v["predicate"]["evidence"][0].update(
        name="attestation"
    ),
    "negative size": lambda v: v["predicate"]["evidence"][0].update(size=-1),
    "digest in capitals": lambda v: v["predicate"]["evidence"][0].update(sha256="A" * 64),
    "statement version 2": lambda v: statement(v).update(version=2),
    "no nonce": lambda v: statement(v).pop("nonce"),
    "empty nonce": lambda v: statement(v).update(nonce=""),
    "long nonce": lambda v: statement(v).update(nonce="00" * 65),
    "model of both kinds": lambda v: statement(v)["model"].update(architecture_sha256="00" * 32),
    "model without its file": lambda v: statement(v)["model"].pop("file_sha256"),
    "dtype of strings": lambda v: statement(v)["inputs"][0].update(dtype="str"),
    "negative dimension": lambda v: statement(v)["inputs"][0].update(shape=[-1]),
    "rank 33": lambda v: statement(v)["inputs"][0].update(shape=[1] * 33),
    "public without a digest": lambda v: statement(v)["inputs"][0].pop("sha256"),
    "private with a digest": lambda v: statement(v)["inputs"][0].update(visibility="private"),
    "public with a commitment": lambda v: statement(v)["inputs"][0].update(
        commitment={"scheme": "s", "value": "00"}
    ),
    "hashed without a commitment": lambda v: (
        statement(v)["inputs"][0].update(visibility="hashed"),
        statement(v)["inputs"][0].pop("sha256"),
    ),
    "computation without detail": lambda v: statement(v)["computation"].pop("detail"),
    "detail that is a list": lambda v: statement(v)["computation"].update(detail=[]),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation_is_refused_by_schema_and_reader(
    validator: Draft202012Validator, real: Proof, name: str
) -> None:
    value = copy.deepcopy(json.loads(real.attestation))
    value["predicate"]["notes"] = {"n": "text"}
    validator.validate(value)
    MUTATIONS[name](value)
    assert not validator.is_valid(value)
    with pytest.raises(VerificationError) as caught:
        Proof.read(pack(dumps(value), real.sections))
    assert caught.value.check in {"core.2", "core.4"}
