"""A client of a node that lies, stalls or floods.

Any bytes from a node end as a value, `NodeRefuses`, `VerificationError` for who judges and
`BackendFailed` for who acts; within the time, and within the bytes, that the client grants.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proofml.errors import BackendFailed, ProofmlError, UsageError, VerificationError
from proofml.optimistic import evm_words
from proofml.optimistic.evm_library import Web3
from proofml.optimistic.evm_rpc import AnswerTooLong, Faults, Node, NodeRefuses

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """A server that does with each connection whatever it is told to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.05)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(5)
                    with suppress(OSError):
                        serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def asked(connection: socket.socket) -> dict[str, Any]:
    """The next request."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65536)
        if not part:
            raise ConnectionError
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return {"head": head.decode(), **json.loads(body)}


def http(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(make: Callable[[dict[str, Any]], bytes]) -> Serve:
    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(make(asked(connection)))

    return serve


def result(value: object) -> Callable[[dict[str, Any]], bytes]:
    return lambda request: http(
        json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode()
    )


# ---------------------------------------------------------------- answers
def test_an_honest_node() -> None:
    seen = []

    def make(request: dict[str, Any]) -> bytes:
        seen.append(request)
        return result({"a": [1, "x"]})(request)

    with serving(answering(make)) as url:
        node = Node(url.replace("//", "//user:pass%20word@") + "/path?key=1")
        assert node.ask("eth_x", 1, {"b": None}) == {"a": [1, "x"]}
        assert node.ask("eth_y") == {"a": [1, "x"]}
        node.close()
    assert [each["method"] for each in seen] == ["eth_x", "eth_y"]
    assert seen[0]["params"] == [1, {"b": None}]
    assert seen[0]["head"].startswith("POST /path?key=1 HTTP/1.1")
    assert "Authorization: Basic dXNlcjpwYXNzIHdvcmQ=" in seen[0]["head"]
    assert "Accept-Encoding: identity" in seen[0]["head"]


def test_it_is_a_provider_of_web3() -> None:
    with serving(answering(result("0x7a69"))) as url:
        node = Node(url)
        assert Web3(node).eth.chain_id == 31337
        node.close()


BAD = {
    "no JSON": b"hello",
    "not UTF-8": b"\xff\xfe\xfa",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "NaN": b'{"id": 1, "result": NaN}',
    "deep": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "long integer": b'{"id": 1, "result": ' + b"9" * 10_000 + b"}",
    "another id": b'{"id": 2, "result": 1}',
    "id is true": b'{"id": true, "result": 1}',
    "no id": b'{"result": 1}',
    "no result": b'{"id": 1}',
    "error is text": b'{"id": 1, "error": "no"}',
    "error without code": b'{"id": 1, "error": {"message": "no"}}',
    "error of other types": b'{"id": 1, "error": {"code": true, "message": 1}}',
    "empty": b"",
}


@pytest.mark.parametrize("name", BAD)
def test_answers_that_are_none(name: str) -> None:
    for check, kind in ((None, BackendFailed), ("optimistic.11", VerificationError)):
        with serving(answering(lambda _: http(BAD[name]))) as url:
            node = Node(url, check)
            with pytest.raises(kind) as caught:
                node.ask("eth_x")
            node.close()
        assert len(str(caught.value)) < 2000


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
@example(b'{"id": 1, "result": "0x"}')
@example(b'{"id": 1, "error": {"code": 3, "message": "x", "data": "0x1"}}')
def test_any_bytes(body: bytes) -> None:
    node = Node("http://localhost", "optimistic.11")
    node._calls = 1
    try:
        answer = node._parse("eth_x", body)
    except VerificationError:
        return
    assert isinstance(answer, dict)
    if answer.get("error") is not None:
        assert isinstance(node._refusal("x", answer["error"]), NodeRefuses | VerificationError)


def test_the_nodes_own_errors() -> None:
    def error(data: object) -> Callable[[dict[str, Any]], bytes]:
        found = {"code": 3, "message": "execution\x1b[2Jreverted", "data": data}
        return lambda request: http(json.dumps({"id": request["id"], "error": found}).encode())

    for data, expected in (
        ("0x12345678", b"\x12\x34\x56\x78"),
        ({"data": "0x1234"}, b"\x12\x34"),
        ("Reverted 0xab", b"\xab"),
        ("0x123", None),
        ("0xzz", None),
        ([], None),
        (None, None),
    ):
        with serving(answering(error(data))) as url:
            node = Node(url)
            with pytest.raises(NodeRefuses) as caught:
                node.ask("eth_call")
            node.close()
        assert caught.value.data == expected
        assert "\x1b" not in str(caught.value)


def test_the_recursion_limit_is_left_alone() -> None:
    """One of the packages behind web3.py sets it so high that deep JSON ends the process."""
    script = "import sys; a = sys.getrecursionlimit(); from proofml.optimistic import evm_library; "
    script += "print(a, sys.getrecursionlimit())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    before, after = done.stdout.split()
    assert before == after


# ---------------------------------------------------------------- lengths and times
@pytest.mark.parametrize("length", [None, 10])
def test_answers_that_are_too_long(length: int | None) -> None:
    """Also where the node says that they are short."""
    body = b'{"id": 1, "result": "' + b"x" * 5000 + b'"}'
    with serving(answering(lambda _: http(body, length=length or len(body)))) as url:
        node = Node(url, "optimistic.11")
        with pytest.raises(
            VerificationError, match="more than 1000 bytes" if not length else "JSON"
        ):
            node.ask("eth_x", most=1000)
        if not length:
            with pytest.raises(AnswerTooLong):
                node.ask("eth_x", most=1000, cut=True)
        node.close()


def test_a_flood_without_an_end() -> None:
    def serve(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")

    with serving(serve) as url:
        node = Node(url, "optimistic.11")
        with pytest.raises(VerificationError, match="more than"):
            node.ask("eth_x")
        node.close()


def _silent(connection: socket.socket) -> None:
    asked(connection)
    connection.recv(1)


def _dripping(head: bytes) -> Serve:
    def serve(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    return serve


@pytest.mark.parametrize(
    "serve",
    [
        _silent,
        _dripping(b"HTTP/1.1 200 OK\r\nX-Header: "),
        _dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
        _dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n"),
        _dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"),
    ],
    ids=["silent", "headers", "body", "chunk", "chunk's length"],
)
def test_answers_that_never_end(serve: Serve) -> None:
    with serving(serve) as url:
        node = Node(url, "optimistic.11", timeout=0.3)
        begin = time.monotonic()
        with pytest.raises(VerificationError, match=r"no whole answer within 0\.3 s"):
            node.ask("eth_x")
        assert time.monotonic() - begin < 2
        node.close()


def test_a_question_of_many_requests_ends_as_well() -> None:
    with serving(answering(result(1))) as url:
        node = Node(url, "optimistic.11")
        with node.patience(0.2), node.patience(100):  # the outer one counts
            assert node.ask("eth_x") == 1
            time.sleep(0.25)
            with pytest.raises(VerificationError, match="took too long"):
                node.ask("eth_x")
        assert node.ask("eth_x") == 1
        node.close()


# ---------------------------------------------------------------- transport
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"nonsense\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "no JSON"),
        (http(b"{}", "Content-Encoding: gzip"), "id"),
    ],
)
def test_what_is_no_http(answer: bytes, said: str) -> None:
    def serve(connection: socket.socket) -> None:
        asked(connection)
        connection.sendall(answer)

    with serving(serve) as url:
        node = Node(url, "optimistic.11")
        with pytest.raises(VerificationError, match=said):
            node.ask("eth_x")
        node.close()


@pytest.mark.parametrize("status", ["301 Moved", "401 No", "429 Slow", "500 Sorry", "204 Nothing"])
def test_statuses_are_no_answers_and_redirects_are_not_followed(status: str) -> None:
    calls = []

    def make(request: dict[str, Any]) -> bytes:
        calls.append(request)
        return http(
            b"{}" if status[0] != "2" else b"", "Location: http://127.0.0.1:9/", status=status
        )

    with serving(answering(make)) as url:
        node = Node(url, "optimistic.11")
        with pytest.raises(BackendFailed, match=f"HTTP {status[:3]}"):
            node.ask("eth_x")
        node.close()
    assert len(calls) == 1


def test_connections_are_kept_and_opened_again() -> None:
    """A node may close one between two answers, or say that it will."""
    opened = []

    def serve(connection: socket.socket) -> None:
        opened.append(connection)
        connection.sendall(result(len(opened))(asked(connection)))
        if len(opened) == 2:
            data = json.dumps({"id": asked(connection)["id"], "result": "last"}).encode()
            connection.sendall(http(data, "Connection: close"))

    with serving(serve) as url:
        node = Node(url)
        assert [node.ask("eth_x") for _ in range(4)] == [1, 2, "last", 3]
        node.close()


def test_nobody_answers() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    node = Node(f"http://127.0.0.1:{port}", "optimistic.11")
    with pytest.raises(BackendFailed, match="refused"):
        node.ask("eth_x")
    with serving(lambda connection: connection.close()) as url, pytest.raises(BackendFailed):
        Node(url, "optimistic.11").ask("eth_x")


def test_a_node_without_tls() -> None:
    with serving(lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")) as url:
        node = Node(url.replace("http", "https"), "optimistic.11", timeout=2)
        with pytest.raises(BackendFailed, match=r"(?i)ssl|wrong version|tls"):
            node.ask("eth_x")


@pytest.mark.parametrize(
    "url", ["", "localhost:8545", "ftp://x", "http://", "http://x:port", "file:///etc/passwd"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected"):
        Node(url)


def test_secrets_of_an_address_are_not_said() -> None:
    node = Node("https://user:secret@node.example/v3/key-of-mine")
    assert "secret" not in node.faults.node
    assert "key-of-mine" not in node.faults.node


# ---------------------------------------------------------------- words
WORDS: dict[str, Callable[[object, Faults], object]] = {
    "mapping": lambda value, faults: evm_words.mapping(value, "x", faults),
    "items": lambda value, faults: evm_words.items(value, "x", faults),
    "quantity": lambda value, faults: evm_words.quantity(value, "x", faults, bits=64),
    "data": lambda value, faults: evm_words.data(value, "x", faults),
    "hash": lambda value, faults: evm_words.data(value, "x", faults, size=32),
    "address": lambda value, faults: evm_words.address(value, "x", faults),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(JSON | st.from_regex(r"0x[0-9a-fA-F]{0,70}", fullmatch=True))
def test_any_value_is_read_or_refused(value: object) -> None:
    faults = Faults("optimistic.11", "node")
    for read in WORDS.values():
        try:
            found = read(value, faults)
        except VerificationError:
            continue
        assert type(found) in (dict, list, int, bytes, str)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("quantity", "0x0", 0),
        ("quantity", "0xffffffffffffffff", (1 << 64) - 1),
        ("quantity", "0x10000000000000000", None),
        ("quantity", "0x" + "0" * 17 + "1", None),
        ("quantity", "0x", None),
        ("quantity", "0x-1", None),
        ("quantity", "0x 1", None),
        ("quantity", "0x1_0", None),
        ("quantity", 1, None),
        ("quantity", "1", None),
        ("data", "0x", b""),
        ("data", "0xABcd", b"\xab\xcd"),
        ("data", "0xabc", None),
        ("hash", "0x" + "ab" * 31, None),
        ("hash", "0x" + "ab" * 32, b"\xab" * 32),
        ("address", "0x" + "AB" * 20, "0x" + "ab" * 20),
        ("address", "0x" + "ab" * 21, None),
        ("mapping", [], None),
        ("items", {}, None),
    ],
)
def test_words(name: str, value: object, expected: object) -> None:
    faults = Faults(None, "node")
    if expected is None:
        with pytest.raises(ProofmlError):
            WORDS[name](value, faults)
    else:
        assert WORDS[name](value, faults) == expected
