"""A server for many clients: whatever one of them sends, the others are served."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.errors import BackendFailed, BackendUnavailable, UnsupportedModel, UsageError
from proofml.runtime import run_model
from proofml.store import Store
from proofml.tee.binding import Mode
from proofml.tee.enclave import frames, messages
from proofml.tee.enclave.client import Client
from proofml.tee.enclave.frames import Closed, Deadline, Frame
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.server import Server
from proofml.tee.receipt_chain import check_segment
from proofml.tee.receipts import ReceiptKey, check_checkpoint, read_receipts
from proofml.tee.sealing import open_outputs, seal_inputs
from proofml.tee.session_file import SessionFile
from proofml.tensors import same_bits
from proofml.worker.limits import Limits

from .enclave_cases import endless, linear, lookup, started, values


def unix_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


@contextlib.contextmanager
def serving(host: Host, **options: object) -> Iterator[Path]:
    """A server of `host` in a thread; its socket. Ends with an assertion that it ended well."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "socket"
        server = Server(host, path, log=lines.append, **options)  # type: ignore[arg-type]
        raised: list[BaseException] = []

        def run() -> None:
            try:
                server.run()
            except BackendFailed as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield path
        finally:
            server.stop()
            thread.join(20)
        assert not thread.is_alive()
        assert not path.exists()
        assert lines == [
            f"tee serve: {error}; the session is lost, start the server again" for error in raised
        ]


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with started(linear(), Mode.SESSION) as enclave:
        yield enclave


@pytest.fixture(scope="module")
def path(host: Host) -> Iterator[Path]:
    with serving(host, transfer_seconds=2.0) as socket_path:
        yield socket_path


# -- the same as the host -------------------------------------------------------------------------


def test_the_socket_is_its_owners(path: Path) -> None:
    mode = os.lstat(path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_client_learns_what_the_host_knows(host: Host, path: Path) -> None:
    with Client(path) as client:
        assert client.platform is host.platform
        assert client.mode is Mode.SESSION
        assert client.config == host.config
        assert client.session == host.session


def test_an_inference_over_the_socket(host: Host, path: Path) -> None:
    inputs = values(3, 2)
    with Client(path) as client:
        found = client.infer(inputs, b"nonce", since=host.count)
        expected = run_model(linear(), inputs, Store.default())["y"]
        assert same_bits(found.tensors["output.0"], expected)
        assert same_bits(found.tensors["input.0"], inputs["x"])
        assert found.statement.nonce == b"nonce"
        receipt = read_receipts(found.receipts or b"")[-1].record
        assert receipt.statement == found.statement.digest
        key = ReceiptKey.of(client.session.record())
        checkpoint = check_checkpoint(client.checkpoint(b"fresh"), key, b"fresh").record
        assert checkpoint.counter == host.count
        segment = check_segment(read_receipts(client.receipts(0)), client.session.record())
        assert segment.head.digest == checkpoint.head


def test_sealed_inputs_over_the_socket(host: Host, path: Path) -> None:
    inputs = values(4)
    with Client(path) as client:
        sealed, secret = seal_inputs(inputs, client.session.record())
        found = client.infer(sealed, since=host.count)
        outputs = open_outputs(found.sealed_outputs or b"", secret, found.statement)
    assert found.tensors == {}
    assert same_bits(outputs["y"], run_model(linear(), inputs, Store.default())["y"])


def test_inference_mode_over_the_socket() -> None:
    with (
        started(linear(), Mode.INFERENCE) as enclave,
        serving(enclave) as path,
        Client(path) as client,
    ):
        found = client.infer(values())
        assert client.mode is Mode.INFERENCE
        assert found.attestation is not None
        assert found.attestation.quote.startswith(b"quote:")
        with pytest.raises(UsageError, match="no session"):
            _ = client.session
        with pytest.raises(UsageError, match="inference mode"):
            client.checkpoint(b"n")
        with pytest.raises(UsageError, match="session mode"):
            client.infer(b"sealed")


def test_errors_come_to_the_client_as_they_are(host: Host, path: Path) -> None:
    with Client(path) as client:
        with pytest.raises(UsageError, match="expected the inputs x"):
            client.infer({})
        with pytest.raises(UsageError, match="does not open"):
            client.infer(b"sealed")
        with pytest.raises(UsageError, match="since"):
            client.infer(values(), since=10**9)
        with pytest.raises(UsageError, match="1 to 64"):
            client.infer(values(), b"")
        with pytest.raises(UsageError, match="none is number"):
            client.receipts(host.count)
        with pytest.raises(UnsupportedModel):
            client.infer({"x": np.zeros((1, 3), np.float32)})
        assert client.infer(values()).statement


def test_many_clients_at_a_time(host: Host, path: Path) -> None:
    """Each gets its own outputs, and the chain has every receipt once."""
    first, right = host.count, []

    def work(seed: int) -> None:
        with Client(path) as client:
            for turn in range(5):
                inputs = values(100 * seed + turn)
                found = client.infer(inputs, bytes([seed, turn]), since=first)
                expected = run[seed, turn]
                last = read_receipts(found.receipts or b"")[-1].record
                right.append(
                    same_bits(found.tensors["output.0"], expected)
                    and last.statement == found.statement.digest
                )

    with Client(path) as client:
        run = {
            (seed, turn): client.infer(values(100 * seed + turn)).tensors["output.0"]
            for seed in range(4)
            for turn in range(5)
        }
    first = host.count
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 20
    counters = [entry.record.counter for entry in read_receipts(host.receipts(first))]
    assert counters == list(range(first, first + 20))


# -- hostile clients ------------------------------------------------------------------------------


def spoken(path: Path, data: bytes, *, seconds: float = 20) -> Frame | None:
    """The reply to these bytes and the end of input; None where the connection just ends."""
    with unix_socket() as connection:
        connection.connect(str(path))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        try:
            return frames.read(connection, 1 << 20, Deadline(seconds))
        except Closed:
            return None


def framed(body: object, blobs: dict[str, bytes] | None = None) -> bytes:
    frame = Frame(body, blobs or {})  # type: ignore[arg-type]
    return frames.encode(frame) + b"".join(frame.blobs[name] for name in sorted(frame.blobs))


@settings(max_examples=60)
@given(st.binary(max_size=300))
def test_any_bytes_are_an_error_or_an_end(path: Path, data: bytes) -> None:
    reply = spoken(path, data)
    assert reply is None or reply.body["ok"] is False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
specs = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["x", "y", ""]),
        "dtype": st.sampled_from(["float32", "int8", "complex64"]),
        "shape": st.lists(st.integers(-1, 2**41) | st.integers(0, 4), max_size=4),
    }
)


@settings(max_examples=60)
@given(
    st.sampled_from(["about", "infer", "infer-sealed", "checkpoint", "receipts", "start", "x"]),
    st.dictionaries(st.sampled_from(["nonce", "since", "inputs", "x"]), json_values),
    st.lists(specs, max_size=2),
    st.dictionaries(st.sampled_from(["input.0", "sealed", "x"]), st.binary(max_size=200)),
)
def test_any_request_has_a_reply(
    path: Path,
    operation: str,
    body: dict[str, object],
    inputs: list[object],
    blobs: dict[str, bytes],
) -> None:
    request = {"nonce": None, "since": 0, "inputs": inputs, **body, "op": operation}
    reply = spoken(path, framed(request, blobs))
    assert reply is not None
    assert isinstance(reply.body["ok"], bool)


@settings(max_examples=60)
@given(st.integers(min_value=0), st.integers(0, 255))
def test_a_changed_request_has_a_reply_or_an_end(path: Path, at: int, byte: int) -> None:
    request = messages.merged(
        Frame({"op": "infer", "nonce": None, "since": 0}),
        messages.put_tensors("inputs", "input", values()),
    )
    data = bytearray(framed(request.body, dict(request.blobs)))
    data[at % len(data)] = byte
    reply = spoken(path, bytes(data))
    assert reply is None or isinstance(reply.body["ok"], bool)


def test_the_server_lives_after_all_that(path: Path) -> None:
    with Client(path) as client:
        assert client.infer(values()).statement


def test_too_large_is_refused_before_it_comes(host: Host) -> None:
    with serving(host, request_bytes=1000) as path:
        reply = spoken(path, framed({"op": "infer"}, {"input.0": bytes(1001)})[:200])
        assert reply is not None
        assert "at most 1000 bytes" in str(reply.body["message"])


def test_a_slow_client_is_cut_off_and_others_are_served(path: Path) -> None:
    """Half a request and then nothing: told after two seconds, and nobody waited for it."""
    with unix_socket() as slow:
        slow.connect(str(path))
        slow.sendall(framed({"op": "about"})[:-1])
        begin = time.monotonic()
        with Client(path) as client:
            assert client.infer(values()).statement
        assert time.monotonic() - begin < 2
        reply = frames.read(slow, 1000, Deadline(20))
        assert "whole request within 2 s" in str(reply.body["message"])
        assert slow.recv(1) == b""


def test_a_client_that_takes_no_reply_is_left(host: Host) -> None:
    with (
        serving(host, transfer_seconds=0.5) as path,
        unix_socket() as deaf,
    ):
        deaf.connect(str(path))
        deaf.settimeout(0.5)
        with contextlib.suppress(TimeoutError, OSError):
            for _ in range(2000):
                deaf.sendall(framed({"op": "about"}))
        with Client(path) as client:
            assert client.infer(values()).statement


def test_an_idle_client_is_let_go(host: Host) -> None:
    with (
        serving(host, idle_seconds=0.3) as path,
        unix_socket() as idle,
    ):
        idle.connect(str(path))
        idle.settimeout(20)
        assert idle.recv(1) == b""


def test_more_clients_than_places_are_told(host: Host) -> None:
    with serving(host, clients=2) as path:
        with Client(path) as first, Client(path):
            with pytest.raises(BackendFailed, match="busy"):
                Client(path)
            assert first.infer(values()).statement
        for _ in range(100):  # a place is free once its thread has seen the end
            with contextlib.suppress(BackendFailed), Client(path) as late:
                assert late.infer(values()).statement
                break
            time.sleep(0.05)
        else:
            pytest.fail("no place became free")


# -- ends -----------------------------------------------------------------------------------------


def test_a_crash_of_the_process_is_told_to_clients_and_by_the_server() -> None:
    with started(endless(), Mode.SESSION, limits=Limits(seconds=60)) as enclave:
        lines: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "socket"
            server = Server(enclave, path, log=lines.append)
            ended: list[BackendFailed] = []

            def run() -> None:
                with pytest.raises(BackendFailed) as caught:
                    server.run()
                ended.append(caught.value)

            thread = threading.Thread(target=run)
            thread.start()
            with Client(path) as client, Client(path) as other:
                killer = threading.Timer(0.5, os.kill, (enclave.process_id, signal.SIGKILL))
                killer.start()
                with pytest.raises(BackendFailed, match="SIGKILL"):
                    client.infer({"count": np.array(2**40), "x": np.zeros(1, np.float32)})
                with pytest.raises(BackendFailed):
                    other.infer({"count": np.array(1), "x": np.zeros(1, np.float32)})
            thread.join(20)
            assert len(ended) == 1
            assert "SIGKILL" in str(ended[0])
            assert len(lines) == 1
            assert "the session is lost" in lines[0]
            assert not path.exists()


def test_a_crash_while_nobody_asks_is_seen() -> None:
    with started(linear(), Mode.SESSION) as enclave, tempfile.TemporaryDirectory() as folder:
        server = Server(enclave, Path(folder) / "socket", log=lambda line: None)
        threading.Timer(0.2, os.kill, (enclave.process_id, signal.SIGKILL)).start()
        with pytest.raises(BackendFailed, match="SIGKILL"):
            server.run()


def test_time_is_limited_for_each_request() -> None:
    """A run that takes too long ends for its client; the session goes on for all."""
    enclave = started(endless(), Mode.SESSION, limits=Limits(seconds=0.5))
    with enclave, serving(enclave) as path, Client(path) as client, Client(path) as other:
        x = np.zeros(1, np.float32)
        with pytest.raises(BackendFailed, match=r"within 0\.5 s"):
            client.infer({"count": np.array(2**40), "x": x})
        assert other.infer({"count": np.array(3), "x": x}).tensors["output.0"] == 3


_SERVE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.tee.enclave_cases import endless, linear, started
from proofml.tee.binding import Mode
from proofml.tee.enclave import child, server
from proofml.worker.limits import Limits
child.STOP_SECONDS = server.STOP_SECONDS = 0.5
with started({model}(), Mode.SESSION, limits=Limits(seconds=100)) as host:
    served = server.Server(host, Path(sys.argv[1]))
    with server.stopped_by_signals(served):
        print(host.process_id, flush=True)
        served.run()
print("ended well", flush=True)
"""


def serve(path: Path, model: str) -> subprocess.Popen[str]:
    """A process that serves one of the models of `enclave_cases`."""
    code = _SERVE.format(root=str(Path(__file__).parents[2]), model=model)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "socket"
    with serve(path, "linear") as process:
        assert process.stdout is not None
        isolated = int(process.stdout.readline())
        with Client(path) as client:
            assert client.infer(values()).statement
            process.send_signal(number)
            assert process.stdout.readline() == "ended well\n"
        assert process.wait(20) == 0
    assert not path.exists()
    assert not Path(f"/proc/{isolated}").exists()


def test_a_signal_does_not_wait_for_a_run(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with serve(path, "endless") as process:
        assert process.stdout is not None
        isolated = int(process.stdout.readline())
        with Client(path) as client:
            killer = threading.Timer(0.5, process.send_signal, (signal.SIGTERM,))
            killer.start()
            begin = time.monotonic()
            with pytest.raises(BackendFailed, match=r"closed|ended the connection"):
                client.infer({"count": np.array(2**40), "x": np.zeros(1, np.float32)})
            assert process.stdout.readline() == "ended well\n"
            assert time.monotonic() - begin < 10
        assert process.wait(20) == 0
    assert not path.exists()
    assert not Path(f"/proc/{isolated}").exists()


# -- paths ----------------------------------------------------------------------------------------


def test_the_socket_of_a_dead_server_is_replaced(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with unix_socket() as dead:
        dead.bind(str(path))
    with pytest.raises(BackendUnavailable, match="no server answers"):
        Client(path)
    server = Server(host, path)
    server.stop()
    server.run()
    assert not path.exists()


def test_a_server_that_never_ran_takes_its_socket_away(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(host, path)
    server.close()
    assert not path.exists()
    with unix_socket() as later:
        later.bind(str(path))
        server.close()
        assert path.exists()
    server.stop()  # a signal may come late


def test_another_server_or_file_is_left_alone(host: Host, path: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a server is running"):
        Server(host, path)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(UsageError, match="no socket"):
        Server(host, file)
    assert file.read_text() == "mine"
    with pytest.raises(UsageError, match="107 bytes"):
        Server(host, tmp_path / ("x" * 120))
    with pytest.raises(UsageError, match="cannot listen"):
        Server(host, tmp_path / "no" / "folder")
    with Client(path) as client:
        assert client.infer(values()).statement


def test_a_later_socket_at_the_same_path_is_not_removed(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = Server(host, path)
    path.unlink()
    with unix_socket() as later:
        later.bind(str(path))
        server.stop()
        server.run()
        assert path.exists()


def test_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="proofml tee serve"):
        Client(tmp_path / "socket")


# -- hostile servers ------------------------------------------------------------------------------


@contextlib.contextmanager
def answering(tmp_path: Path, *answers: bytes) -> Iterator[Path]:
    """A server that gives these bytes for each request in turn, and ends."""
    path = tmp_path / "socket"
    with unix_socket() as listener:
        listener.bind(str(path))
        listener.listen()

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                for answer in answers:
                    with contextlib.suppress(Closed, OSError):
                        frames.read(connection, 1 << 20, Deadline(10))
                        connection.sendall(answer)

        thread = threading.Thread(target=run)
        thread.start()
        yield path
        thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        framed({}),
        framed({"ok": True}),
        framed({"ok": True, "mode": "session", "platform": "tdx"}, {"config": b"{}"}),
        framed({"ok": True, "mode": "inference", "platform": "x"}, {"config": b"{}"}),
        framed({"ok": True, "mode": "inference", "platform": "tdx"}, {"config": b"", "x": b""}),
        framed({"ok": False, "error": "failed", "message": "no"}),
        b"pmlt\xff\xff\xff\xff",
    ],
    ids=range(9),
)
def test_a_server_that_answers_anything_is_a_failure(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer) as path, pytest.raises(BackendFailed):
        Client(path)


def test_a_server_that_is_silent_is_left(tmp_path: Path) -> None:
    about = framed({"ok": True, "mode": "inference", "platform": "tdx"}, {"config": b"{}"})
    with (
        answering(tmp_path, about) as path,
        Client(path, seconds=5) as client,
        pytest.raises(BackendFailed, match="ended the connection"),
    ):
        client.infer(values())
    path.unlink()
    with unix_socket() as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(BackendFailed, match=r"within 0\.3 s"):
            Client(path, seconds=0.3)


# -- session files --------------------------------------------------------------------------------


def test_a_session_file_survives_a_disk(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "session"
    host.session.save(file)
    host.session.save(file)
    assert SessionFile.load(file) == host.session
    assert [path.name for path in tmp_path.iterdir()] == ["session"]
    assert stat.S_IMODE(file.stat().st_mode) & 0o133 == 0


def test_an_error_over_the_socket_says_nothing_of_sealed_inputs() -> None:
    with (
        started(lookup(), Mode.SESSION) as enclave,
        serving(enclave) as path,
        Client(path) as client,
    ):
        sealed, _ = seal_inputs({"x": np.array([123457])}, client.session.record())
        with pytest.raises(BackendFailed) as caught:
            client.infer(sealed)
        assert "123457" not in str(caught.value)
