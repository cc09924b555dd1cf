"""The isolated process: the same bits as re-execution, Statements, sessions, receipts, sealing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from proofml.backend import Context
from proofml.canonical import sha256
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.runtime import SETTINGS, run_model, runtime_version
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tee.binding import (
    Mode,
    ReceiptAlgorithm,
    inference_data,
    session_data,
)
from proofml.tee.commitments import opens, output_salt
from proofml.tee.config import Configuration, Runtime
from proofml.tee.enclave import host
from proofml.tee.enclave.evidence import parts_of
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.isolation import ISOLATION
from proofml.tee.platform import Platform
from proofml.tee.receipt_chain import check_receipt, check_segment
from proofml.tee.receipts import MAX_RECEIPTS, ReceiptKey, check_checkpoint, read_receipts
from proofml.tee.sealing import open_outputs, seal_inputs
from proofml.tensors import same_bits

from .enclave_cases import (
    PlainQuoter,
    graph_model,
    linear,
    lookup,
    started,
    values,
)

DIGITS = Path(__file__).parents[2] / "examples" / "digits"


@pytest.fixture(scope="module")
def session() -> Iterator[Host]:
    """One enclave in session mode for all tests that leave it alive."""
    with started(linear(), Mode.SESSION, challenge=b"challenge") as host:
        yield host


@pytest.fixture(scope="module")
def inference() -> Iterator[tuple[Host, PlainQuoter]]:
    quoter = PlainQuoter()
    with started(linear(), Mode.INFERENCE, quoter=quoter) as host:
        yield host, quoter


# -- outputs --------------------------------------------------------------------------------------


def reexecuted(model: Model, inputs: dict[str, Any]) -> dict[str, Any]:
    return run_model(model, model.check_inputs(inputs), Store.default())


@pytest.mark.parametrize("rows", [1, 3, 0])
def test_outputs_are_those_of_reexecution(session: Host, rows: int) -> None:
    inputs = values(rows, rows)
    found = session.infer(inputs)
    assert same_bits(found.tensors["output.0"], reexecuted(linear(), inputs)["y"])
    assert same_bits(found.tensors["input.0"], inputs["x"])


@pytest.mark.parametrize("name", ["digits_cnn.onnx", "digits_cnn_int8.onnx"])
def test_a_real_network_gives_the_same_bits(name: str) -> None:
    """Networks with convolutions, which onnxruntime fuses by its settings."""
    model = Model.load(DIGITS / name)
    rng = np.random.default_rng(7)
    inputs = {
        spec.name: rng.normal(size=[d or 2 for d in spec.shape or ()]).astype(spec.dtype)
        for spec in model.inputs
    }
    with started(model, Mode.SESSION) as host:
        found = host.infer(model.check_inputs(inputs))
    expected = reexecuted(model, inputs)
    for index, (name, array) in enumerate(expected.items()):
        assert found.statement.outputs[index].name == name
        assert same_bits(found.tensors[f"output.{index}"], array)


def test_every_element_type_passes_through() -> None:
    """Identity of each type that a Statement has, scalars and an empty tensor among them."""
    kinds = {
        "bool": TensorProto.BOOL,
        "int8": TensorProto.INT8,
        "int16": TensorProto.INT16,
        "int32": TensorProto.INT32,
        "int64": TensorProto.INT64,
        "uint8": TensorProto.UINT8,
        "uint16": TensorProto.UINT16,
        "uint32": TensorProto.UINT32,
        "uint64": TensorProto.UINT64,
        "float16": TensorProto.FLOAT16,
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
    }
    model = graph_model(
        [helper.make_node("Identity", [name], [f"{name}_out"]) for name in kinds],
        {name: (kind, ["n", "m"]) for name, kind in kinds.items()},
        {f"{name}_out": (kind, ["n", "m"]) for name, kind in kinds.items()},
    )
    inputs = {
        name: (
            np.arange(6).reshape(2, 3) % 2 if name == "bool" else np.arange(6).reshape(2, 3)
        ).astype(name)
        for name in kinds
    }
    inputs["uint8"] = np.zeros((0, 5), np.uint8)
    inputs["float32"] = np.array([[float("nan"), -0.0, 1e-45]], np.float32)
    with started(model, Mode.SESSION) as host:
        found = host.infer(inputs)
    for index, name in enumerate(kinds):
        assert same_bits(found.tensors[f"output.{index}"], inputs[name]), name


# -- Statements -----------------------------------------------------------------------------------


def test_the_statement_says_what_was_done(session: Host) -> None:
    model, inputs = linear(), values()
    found = session.infer(inputs, b"nonce").statement
    assert found.model == model.claim
    assert found.nonce == b"nonce"
    assert found.computation.kind == "tee"
    assert found.computation.detail == {
        "mode": "session",
        "platform": "tdx",
        "runtime": {
            "name": "onnxruntime",
            "version": runtime_version(),
            "settings": dict(SETTINGS),
        },
    }
    assert [claim.visibility for _, claim in found.tensors()] == [Visibility.PUBLIC] * 2
    assert session.infer(inputs).statement.nonce is None


def test_the_configuration_is_what_was_measured(session: Host) -> None:
    read = Configuration.read(session.config)
    assert read.model == linear().digest
    assert read.mode is Mode.SESSION
    assert read.runtime == Runtime("onnxruntime", runtime_version() or "", dict(SETTINGS))
    assert set(read.isolation) == set(ISOLATION)
    assert session.missing_isolation == read.missing_isolation


def test_the_session_binds_keys_model_configuration_and_challenge(session: Host) -> None:
    record = session.session.record()
    assert record.model == linear().digest
    assert record.config == sha256(session.config)
    assert record.challenge == b"challenge"
    assert abs(record.started - time.time()) < 600
    assert session.session.attestation.quote == b"quote:" + session_data(record)


def test_receipts_form_a_chain(session: Host) -> None:
    record = session.session.record()
    first = session.count
    found = [session.infer(values(i), since=first) for i in range(3)]
    for index, inference in enumerate(found):
        segment = read_receipts(inference.receipts or b"")
        assert [entry.record.counter for entry in segment] == list(range(first, first + index + 1))
        assert segment[-1].record.statement == inference.statement.digest
    whole = session.infer(values(), since=0)
    segment = check_segment(read_receipts(whole.receipts or b""), record)
    check_receipt(segment, whole.statement.digest)
    assert segment.head.counter == session.count
    later = session.receipts(first)
    assert read_receipts(later)[0].record.counter == first
    assert session.receipts(0) == whole.receipts


def test_a_checkpoint_closes_the_chain(session: Host) -> None:
    found = session.infer(values(), since=session.count)
    record = session.session.record()
    key = ReceiptKey.of(record)
    checkpoint = check_checkpoint(session.checkpoint(b"fresh"), key, b"fresh").record
    assert checkpoint.counter == session.count
    assert checkpoint.head == read_receipts(found.receipts or b"")[-1].record.digest


def test_secp256k1_sessions_sign_receipts() -> None:
    with started(linear(), Mode.SESSION, algorithm=ReceiptAlgorithm.SECP256K1) as host:
        found = host.infer(values())
        segment = check_segment(read_receipts(found.receipts or b""), host.session.record())
    check_receipt(segment, found.statement.digest)


def test_inference_mode_quotes_each_statement(inference: tuple[Host, PlainQuoter]) -> None:
    host, quoter = inference
    before = len(quoter.quotes)
    found = [host.infer(values(i), b"n") for i in range(2)]
    expected = [inference_data(one.statement.digest) for one in found]
    assert quoter.quotes[before:] == expected
    for one, data in zip(found, expected, strict=True):
        assert one.receipts is None
        assert one.attestation is not None
        assert one.attestation.quote == b"quote:" + data
        assert one.statement.computation.detail["mode"] == "inference"


def test_inference_mode_has_no_session(inference: tuple[Host, PlainQuoter]) -> None:
    host, _ = inference
    with pytest.raises(UsageError, match="no session"):
        _ = host.session
    with pytest.raises(UsageError, match="inference mode"):
        host.checkpoint(b"nonce")
    with pytest.raises(UsageError, match="session mode"):
        host.infer(b"sealed to nobody")
    assert host.alive()


# -- sealed inputs --------------------------------------------------------------------------------


def test_sealed_inputs_give_sealed_outputs(session: Host) -> None:
    inputs = values(5)
    sealed, secret = seal_inputs(inputs, session.session.record())
    found = session.infer(sealed, b"nonce", since=session.count)
    stated = found.statement
    assert found.tensors == {}
    assert stated.inputs == secret.inputs
    assert [claim.visibility for _, claim in stated.tensors()] == [Visibility.HASHED] * 2
    outputs = open_outputs(found.sealed_outputs or b"", secret, stated)
    expected = reexecuted(linear(), inputs)["y"]
    assert same_bits(outputs["y"], expected)
    assert opens(stated.outputs[0], "output.0", expected, secret.salt)
    assert opens(stated.outputs[0], "output.0", expected, output_salt(secret.salt))
    assert read_receipts(found.receipts or b"")[-1].record.statement == stated.digest


def test_sealed_to_another_session_is_refused(session: Host) -> None:
    other = replace(session.session.record(), started=1)
    sealed, _ = seal_inputs(values(), other)
    count = session.count
    with pytest.raises(UsageError, match="does not open"):
        session.infer(sealed)
    with pytest.raises(UsageError, match="does not open"):
        session.infer(b"no message")
    assert session.count == count, "no receipt for what was not done"


@pytest.fixture(scope="module")
def table() -> Iterator[Host]:
    with started(lookup(), Mode.SESSION) as host:
        yield host


def test_an_error_says_nothing_of_sealed_inputs(table: Host) -> None:
    """In the open onnxruntime's own words tell the value; sealed, three faults look the same."""
    secret_index = np.array([123457], np.int64)
    with pytest.raises(UnsupportedModel, match="123457"):
        table.infer({"x": secret_index})
    said = set()
    for inputs in (
        {"x": secret_index},
        {"x": np.zeros(1, np.float32)},
        {"other": np.zeros(1, np.int64)},
    ):
        sealed, _ = seal_inputs(inputs, table.session.record())
        with pytest.raises(BackendFailed) as caught:
            table.infer(sealed)
        said.add(str(caught.value))
    assert len(said) == 1
    assert "123457" not in said.pop()
    assert table.infer({"x": np.array([3], np.int64)}).tensors["output.0"].tolist() == [3.0]


# -- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "expected the inputs x"),
        ({"y": np.zeros((1, 64), np.float32)}, "expected the inputs x"),
        ({"x": np.zeros((1, 64), np.float64)}, "expected float32"),
        ({"x": np.zeros((1, 63), np.float32)}, "onnxruntime"),
        ({"x": np.zeros(1, np.complex64)}, "no canonical form"),
    ],
    ids=["none", "name", "type", "shape", "complex"],
)
def test_other_inputs_are_refused(session: Host, inputs: dict[str, Any], words: str) -> None:
    count = session.count
    with pytest.raises((UsageError, UnsupportedModel), match=words):
        session.infer(inputs, since=session.count)
    assert session.count == count
    assert session.alive()


@pytest.mark.parametrize("nonce", [b"", bytes(65)])
def test_a_nonce_has_1_to_64_bytes(session: Host, nonce: bytes) -> None:
    with pytest.raises(UsageError, match="1 to 64"):
        session.infer(values(), nonce)
    with pytest.raises(UsageError, match="1 to 64"):
        session.checkpoint(nonce)
    with pytest.raises(UsageError, match="1 to 64"):
        started(linear(), Mode.SESSION, challenge=nonce)


def test_receipts_that_do_not_exist_are_refused(session: Host) -> None:
    for since in (-1, session.count + 1):
        with pytest.raises(UsageError, match="since"):
            session.infer(values(), since=since)
    with pytest.raises(UsageError, match="none is number"):
        session.receipts(session.count)


def test_receipts_are_kept_and_segments_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no longer can be given is refused before the model runs, and says what to do."""
    monkeypatch.setattr(host, "KEPT_RECEIPTS", 4)
    monkeypatch.setattr(host, "MAX_RECEIPTS", 3)
    with started(linear(), Mode.SESSION) as enclave:
        for _ in range(3):
            enclave.infer(values())
        with pytest.raises(UsageError, match="at most 3 go into one proof"):
            enclave.infer(values())
        assert enclave.count == 3
        enclave.infer(values(), since=2)
        enclave.infer(values(), since=3)
        with pytest.raises(UsageError, match="before number 1 are not kept"):
            enclave.receipts(0)
        segment = read_receipts(enclave.receipts(1))
        assert [entry.record.counter for entry in segment] == [1, 2, 3]
    assert MAX_RECEIPTS > 1000


def test_arguments_have_to_fit() -> None:
    with pytest.raises(UsageError, match="challenge"):
        started(linear(), Mode.INFERENCE, challenge=b"x")
    with pytest.raises(UsageError, match="quoter of sgx"):
        Host.start(
            linear(),
            platform=Platform.SGX,
            quoter=PlainQuoter(),
            mode=Mode.SESSION,
            context=Context(Store.default()),
        )


def test_a_model_that_the_runtime_refuses() -> None:
    model = graph_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        {"x": (TensorProto.FLOAT, [1])},
        {"y": (TensorProto.FLOAT, [1])},
    )
    broken = replace(model, canonical=b"no model")
    with pytest.raises(UnsupportedModel, match="refuses it"):
        started(broken, Mode.SESSION)


def test_an_output_that_is_not_declared_so_is_refused() -> None:
    """The declared shape says 2 rows, the data make 3."""
    model = graph_model(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])],
        {"x": (TensorProto.FLOAT, [6]), "shape": (TensorProto.INT64, [2])},
        {"y": (TensorProto.FLOAT, [2, 3])},
    )
    good = {"x": np.zeros(6, np.float32), "shape": np.array([2, 3], np.int64)}
    with started(model, Mode.SESSION) as enclave:
        assert enclave.infer(good).tensors["output.0"].shape == (2, 3)
        with pytest.raises(UnsupportedModel, match="declared as"):
            enclave.infer({**good, "shape": np.array([3, 2], np.int64)})


def test_parts_of_two_modes_do_not_mix(session: Host, inference: tuple[Host, PlainQuoter]) -> None:
    one, other = session.infer(values(), since=session.count), inference[0].infer(values())
    with pytest.raises(BackendFailed):
        parts_of(one, session.config, None)
    with pytest.raises(BackendFailed):
        parts_of(other, session.config, session.session)
