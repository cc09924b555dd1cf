"""Frames, requests and replies: any bytes end in an answer or a named error."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.canonical import JSON
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.tee.enclave import frames, messages
from proofml.tee.enclave.frames import Closed, Deadline, Frame, FrameError
from proofml.tee.enclave.isolation import ISOLATION
from proofml.tee.enclave.rehearsal import _NoQuoter, _Same, rehearse
from proofml.tee.enclave.remote import serve
from proofml.tee.enclave.service import Service
from proofml.tee.sealing import SealingKey

from .enclave_cases import (
    PlainQuoter,
)

# -- what the host sends --------------------------------------------------------------------------


def service() -> Service:
    return Service(
        dict.fromkeys(ISOLATION, True),
        _NoQuoter(),
        lambda model, name, seconds: _Same(),
        {"name": "none", "version": "0", "settings": {}},
    )


START: dict[str, JSON] = {
    "op": "start",
    "name": "model",
    "model": hashlib.sha256(b"model").hexdigest(),
    "file": "00" * 32,
    "mode": "session",
    "algorithm": "ed25519",
    "challenge": None,
    "milliseconds": 1000,
}


def answered(frame: Frame, using: Service | None = None) -> dict[str, Any]:
    return dict((using or service()).answer(frame).body)


def test_the_enclave_checks_the_model_digest() -> None:
    """The host claims a good model and sends another one."""
    assert answered(Frame(START, {"model": b"model"}))["ok"] is True
    found = answered(Frame(START, {"model": b"modem"}))
    assert found["ok"] is False
    assert "SHA-256" in found["message"]


def test_an_enclave_starts_once() -> None:
    one = service()
    assert answered(Frame(START, {"model": b"model"}), one)["ok"]
    assert "already" in answered(Frame(START, {"model": b"model"}), one)["message"]


@pytest.mark.parametrize(
    "fault", [RuntimeError("123457"), MemoryError("an array of 123457"), KeyError("123457")]
)
def test_faults_while_a_message_is_opened_say_nothing(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    """Whatever fails after the message was decrypted has the words of every other failure."""

    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr(SealingKey, "open", broken)
    one = service()
    assert answered(Frame(START, {"model": b"model"}), one)["ok"]
    request = Frame({"op": "infer-sealed", "nonce": None}, {"sealed": b"message"})
    found = answered(request, one)
    assert (found["ok"], found["error"]) == (False, "failed")
    assert "which of these stays inside" in found["message"]
    assert "123457" not in found["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": "00"},
        {"mode": "both"},
        {"algorithm": "rsa"},
        {"challenge": "0"},
        {"challenge": "00" * 65},
        {"milliseconds": 0},
        {"milliseconds": True},
        {"extra": 1},
        {"op": "infer"},
        {"op": "stop"},
        {"op": 1},
        {"name": "two\nlines"},
    ],
)
def test_a_start_of_another_form_is_refused(change: dict[str, JSON]) -> None:
    found = answered(Frame({**START, **change}, {"model": b"model"}))
    assert found["ok"] is False
    assert found["error"] == "usage"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["op", "nonce", "inputs", "since", "name", "model", "x"]), json_values
    ),
    st.sampled_from(["start", "infer", "infer-sealed", "checkpoint", "about", "x"]),
    st.dictionaries(st.sampled_from(["input.0", "sealed", "model"]), st.binary(max_size=200)),
)
def test_any_request_has_an_answer(
    body: dict[str, JSON], operation: str, blobs: dict[str, bytes]
) -> None:
    """The invariant: any frame -> a reply that can be sent, and the service goes on."""
    one = service()
    assert answered(Frame(START, {"model": b"model"}), one)["ok"]
    reply = one.answer(Frame({**body, "op": operation}, blobs))
    frames.encode(reply)
    assert isinstance(reply.body["ok"], bool)
    assert answered(Frame({"op": "checkpoint", "nonce": "00"}), one)["ok"]
    platform = serve(Frame({**body, "op": operation}, blobs), PlainQuoter())
    assert platform.body["ok"] is False


def test_a_rehearsal_passes() -> None:
    rehearse()


# -- frames ---------------------------------------------------------------------------------------


def sent(data: bytes, limit: int = 1000) -> Frame:
    """What is read where these bytes come, and then the end."""
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        return frames.read(right, limit, Deadline(5))


FRAME = Frame({"op": "x", "list": [1, None, "é"]}, {"a": b"", "b.0": bytes(range(256))})


def test_a_frame_comes_as_it_was_sent() -> None:
    left, right = socket.socketpair()
    with left, right:
        for frame in (FRAME, Frame({}, {}), FRAME):
            frames.write(left, frame)
        assert [frames.read(right, 1000) for _ in range(3)] == [FRAME, Frame({}, {}), FRAME]


def test_a_large_frame_passes() -> None:
    frame = Frame({}, {"data": os.urandom(5 << 20)})
    left, right = socket.socketpair()
    with left, right:
        thread = threading.Thread(target=frames.write, args=(left, frame))
        thread.start()
        assert frames.read(right, 5 << 20) == frame
        thread.join()


def whole() -> bytes:
    return frames.encode(FRAME) + b"".join(FRAME.blobs.values())


@given(st.binary(max_size=100))
def test_any_bytes_are_a_frame_or_an_error(data: bytes) -> None:
    with pytest.raises((FrameError, Closed)):
        sent(data)


@given(st.integers(min_value=0), st.binary(min_size=1, max_size=4))
def test_a_changed_frame_is_another_one_or_an_error(at: int, change: bytes) -> None:
    data = bytearray(whole())
    at %= len(data)
    data[at : at + len(change)] = change
    try:
        found = sent(bytes(data))
    except (FrameError, Closed):
        return
    assert frames.encode(found) + b"".join(found.blobs.values()) == bytes(data)[: len(whole())]


def test_a_cut_frame_is_an_end() -> None:
    for size in range(len(whole())):
        with pytest.raises(Closed):
            sent(whole()[:size])


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b"[]",
        b'{"blobs":[],"body":{},"x":1}',
        b'{"blobs": [],"body":{}}',
        b'{"blobs":[["b",1],["a",1]],"body":{}}',
        b'{"blobs":[["a",1],["a",1]],"body":{}}',
        b'{"blobs":[["A",1]],"body":{}}',
        b'{"blobs":[["a",-1]],"body":{}}',
        b'{"blobs":[["a",true]],"body":{}}',
        b'{"blobs":[["a",1.0]],"body":{}}',
        b'{"blobs":[["a"]],"body":{}}',
        b'{"blobs":[["a",1001]],"body":{}}',
        b'{"blobs":[["a",501],["b",500]],"body":{}}',
        b'{"blobs":[],"body":[]}',
        b"[" * 5000,
    ],
)
def test_a_head_of_another_form_is_refused(head: bytes) -> None:
    with pytest.raises(FrameError):
        sent(b"pmlt" + len(head).to_bytes(4, "big") + head + bytes(2000))


def test_a_head_that_is_too_large_is_refused_unread() -> None:
    for size in (0, frames.MAX_HEAD_BYTES + 1, 2**32 - 1):
        with pytest.raises(FrameError, match="head of 1 to"):
            sent(b"pmlt" + size.to_bytes(4, "big"))


def test_what_cannot_be_read_is_not_sent() -> None:
    for frame in (
        Frame({"x": 1.5}, {}),  # type: ignore[dict-item]
        Frame({}, {"UPPER": b""}),
        Frame({"x": "y" * frames.MAX_HEAD_BYTES}, {}),
        Frame({}, {f"b{i}": b"" for i in range(frames.MAX_BLOBS + 1)}),
    ):
        with pytest.raises(FrameError):
            frames.encode(frame)


def test_a_slow_sender_and_a_slow_reader_are_left() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(whole()[:-1])
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            frames.read(right, 1000, Deadline(0.2))
        with pytest.raises(TimeoutError):
            frames.write(left, Frame({}, {"a": bytes(8 << 20)}), Deadline(0.2))
        assert time.monotonic() - begin < 5


def test_a_drip_does_not_extend_the_deadline() -> None:
    """One byte each tenth of a second is not a whole frame in half a second."""
    left, right = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        for byte in whole():
            if stop.wait(0.1):
                return
            left.send(bytes([byte]))

    with left, right:
        thread = threading.Thread(target=drip)
        thread.start()
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            frames.read(right, 1000, Deadline(0.5))
        assert time.monotonic() - begin < 2
        stop.set()
        thread.join()


# -- replies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        Frame({}),
        Frame({"ok": 1}),
        Frame({"ok": False}),
        Frame({"ok": False, "error": "other", "message": "x"}),
        Frame({"ok": True}),
        Frame({"ok": True, "outputs": [], "statement": {}}),
        Frame({"ok": True, "outputs": [], "statement": None}, {"x": b""}),
    ],
)
def test_a_reply_of_another_form_is_a_failure(reply: Frame) -> None:
    with pytest.raises(BackendFailed):
        messages.take_inference(reply, "peer", {})


def test_errors_keep_their_kind_and_lose_control_characters() -> None:
    for error in (UsageError("a"), UnsupportedModel("b"), BackendFailed("c\x1b[2J")):
        with pytest.raises(type(error)) as caught:
            messages.result(messages.failure(error), "peer")
        assert "\x1b" not in str(caught.value)
    with pytest.raises(BackendFailed, match="out of memory"):
        messages.result(messages.failure(MemoryError()), "peer")
    with pytest.raises(BackendFailed, match="ZeroDivisionError"):
        messages.result(messages.failure(ZeroDivisionError("x")), "peer")
