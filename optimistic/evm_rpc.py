"""JSON-RPC to a node that may lie, stall or flood.

One request, one answer of bounded length within one deadline, whatever the node does; redirects,
compression and the off-chain look-ups of CCIP are not followed. `Node` is a provider of web3.py,
so everything else of that library works through it as well.

A node is trusted to tell which chain is the canonical one, as any client without a light client
must; what it cannot do is anything else.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from proofml.errors import (
    BackendFailed,
    ProofmlError,
    UsageError,
    VerificationError,
    printable,
)
from proofml.optimistic.evm_library import JSONBaseProvider, RPCEndpoint, RPCResponse

#: Seconds for one answer, and for all the answers that one question of a caller takes.
TIMEOUT = 30.0
PATIENCE = 600.0
#: Bytes of an answer, unless the caller expects longer ones.
MAX_ANSWER = 1 << 20
#: Brackets within brackets in an answer; a log has four.
MAX_DEPTH = 16
_QUOTED = 64  # bytes of an answer in a message
_BRACKETS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


@dataclass(frozen=True)
class Faults:
    """What a node's faults are called: whoever only reads judges what strangers say.

    Attributes:
        check: number of the check that a bad answer fails; None for who acts on the ledger.
        node: the node, without what may be secret in its address.
    """

    check: str | None
    node: str

    def bad(self, message: str, *, expected: object = None, got: object = None) -> ProofmlError:
        """An answer that is malformed, too long, too late, or contradicts another one."""
        text = f"node {self.node}: {message}"
        if self.check is not None:
            return VerificationError(self.check, text, expected=expected, got=got)
        if expected is not None:
            text += f"; expected {printable(expected)}"
        if got is not None:
            text += f"; got {printable(got)}"
        return BackendFailed(text + "; ask another node", stage="evm")

    def failed(self, message: str) -> BackendFailed:
        """The node cannot be reached, or says that it cannot answer."""
        return BackendFailed(f"node {self.node}: {message}", stage="evm")


class NodeRefuses(Exception):
    """The node answered by an error; callers decide what that means.

    Attributes:
        data: what a contract reverted with, where the node says it.
    """

    def __init__(self, code: int, message: str, data: bytes | None) -> None:
        super().__init__(f"{printable(message)} ({code})")
        self.code = code
        self.data = data


class AnswerTooLong(Exception):
    """More bytes than the caller takes, who can ask for less."""


class Node(JSONBaseProvider):
    """A node by its address; threads may share one.

    Args:
        url: http or https, with the account for basic authentication where one is needed.
        check: as in `Faults`.
        timeout: seconds for one answer, from the first byte sent to the last one received.

    Raises:
        UsageError: no such address.
    """

    global_ccip_read_enabled = False

    def __init__(self, url: str, check: str | None = None, *, timeout: float = TIMEOUT) -> None:
        super().__init__()
        self._url = _split(url)
        self.faults = Faults(check, f"{self._url.scheme}://{self._url.hostname}")
        self._timeout = timeout
        self._lock = threading.RLock()
        self._wire: _Wire | None = None
        self._until: float | None = None
        self._calls = 0

    def close(self) -> None:
        with self._lock:
            if self._wire is not None:
                self._wire.shut()
                self._wire = None

    @contextmanager
    def patience(self, seconds: float = PATIENCE) -> Iterator[None]:
        """Ends a question of many requests; within another one, that one counts."""
        with self._lock:
            if self._until is not None:
                yield
                return
            self._until = time.monotonic() + seconds
            try:
                yield
            finally:
                self._until = None

    def ask(self, method: str, *params: Any, most: int = MAX_ANSWER, cut: bool = False) -> Any:
        """The result of one request, of at most `most` bytes; whatever JSON the node gives.

        Args:
            cut: whether the caller asks again for less where the answer is too long.

        Raises:
            NodeRefuses: the node's own error.
            AnswerTooLong: where the caller takes that.
            VerificationError, BackendFailed: as of `Faults`.
        """
        with self._lock:
            if self._until is not None and self._until <= time.monotonic():
                raise self.faults.bad(f"{method}: the answers before it took too long")
            self._calls += 1
            number = self._calls
            body = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            try:
                data = self._post(method, json.dumps(body).encode(), most)
            except AnswerTooLong:
                if cut:
                    raise
                raise self.faults.bad(f"{method}: more than {most} bytes") from None
        answer = self._parse(method, data)
        if answer.get("id") != number or isinstance(answer["id"], bool):
            raise self.faults.bad(f"{method}: id", expected=number, got=answer.get("id"))
        if answer.get("error") is not None:
            raise self._refusal(method, answer["error"])
        if "result" not in answer:
            raise self.faults.bad(f"{method}: no result", got=list(answer)[:8])
        return answer["result"]

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """For web3.py."""
        try:
            return {"jsonrpc": "2.0", "id": 0, "result": self.ask(method, *params)}
        except NodeRefuses as error:
            found: Any = {"code": error.code, "message": str(error)}
            if error.data is not None:
                found["data"] = "0x" + error.data.hex()
            return {"jsonrpc": "2.0", "id": 0, "error": found}

    # ------------------------------------------------------------ answers
    def _parse(self, method: str, data: bytes) -> dict[str, Any]:
        try:
            check_depth(data)
            answer = json.loads(data, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise self.faults.bad(f"{method}: the answer is no JSON", got=data[:_QUOTED]) from error
        if not isinstance(answer, dict):
            raise self.faults.bad(f"{method}: expected an object", got=data[:_QUOTED])
        return answer

    def _refusal(self, method: str, error: object) -> NodeRefuses | ProofmlError:
        if not isinstance(error, dict):
            return self.faults.bad(f"{method}: error", expected="an object", got=error)
        code, message = error.get("code"), error.get("message")
        if type(code) is not int or not isinstance(message, str):
            return self.faults.bad(f"{method}: error", expected="code and message", got=error)
        return NodeRefuses(code, message, _revert_data(error.get("data")))

    # ------------------------------------------------------------ transport
    def _post(self, method: str, body: bytes, most: int) -> bytes:
        deadline = time.monotonic() + self._timeout
        if self._until is not None:
            deadline = min(deadline, self._until)
        reused = self._wire is not None
        try:
            return self._exchange(method, body, most, deadline)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            if not reused:
                raise self.faults.failed(f"{method}: {_why(error)}") from error
        # It had closed the connection since its last answer.
        try:
            return self._exchange(method, body, most, deadline)
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            raise self.faults.failed(f"{method}: {_why(error)}") from error

    def _exchange(self, method: str, body: bytes, most: int, deadline: float) -> bytes:
        done = False
        try:
            wire = self._connected(method, deadline)
            wire.request("POST", self._target, body, self._headers)
            response = wire.getresponse()
            data = response.read(most + 1)
            if response.status != http.HTTPStatus.OK:
                raise self.faults.failed(f"{method}: HTTP {response.status}")
            if len(data) > most:
                raise AnswerTooLong
            done = not response.will_close
        except TimeoutError as error:
            late = f"{method}: no whole answer within {self._timeout:g} s"
            raise self.faults.bad(late) from error
        except (http.client.RemoteDisconnected, ConnectionError):
            raise
        except (http.client.HTTPException, ValueError) as error:
            raise self.faults.bad(f"{method}: no HTTP", got=_why(error)) from error
        except OSError as error:
            raise self.faults.failed(f"{method}: {_why(error)}") from error
        finally:
            if not done:
                self.close()
        return data

    def _connected(self, method: str, deadline: float) -> _Wire:
        if self._wire is None:
            try:
                self._wire = _Wire(self._url, deadline)
            except OSError as error:
                raise self.faults.failed(f"{method}: {_why(error)}") from error
        self._wire.deadline = deadline
        return self._wire

    @property
    def _target(self) -> str:
        return (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")

    @property
    def _headers(self) -> dict[str, str]:
        found = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._url.username is not None:
            name, password = unquote(self._url.username), unquote(self._url.password or "")
            secret = base64.b64encode(f"{name}:{password}".encode()).decode()
            found["Authorization"] = f"Basic {secret}"
        return found


class _Wire(http.client.HTTPConnection):
    """A connection of which every operation ends by a deadline, however slowly bytes come.

    Raises:
        OSError: on construction, where there is nobody to connect to.
    """

    def __init__(self, url: SplitResult, deadline: float) -> None:
        assert url.hostname is not None  # checked when it was split
        secure = url.scheme == "https"
        super().__init__(url.hostname, url.port or (443 if secure else 80))
        self.deadline = deadline
        left = max(deadline - time.monotonic(), 0.001)
        self._plain = socket.create_connection((self.host, self.port), left)
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if secure:
                context = ssl.create_default_context()
                self._plain = context.wrap_socket(self._plain, server_hostname=self.host)
        except BaseException:
            self._plain.close()
            raise
        self.sock = _Socket(self)

    def waiting(self) -> socket.socket:
        """The socket, which waits no longer than the deadline."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("deadline")
        self._plain.settimeout(left)
        return self._plain

    def shut(self) -> None:
        self.close()
        self._plain.close()


class _Socket:
    """As much of a socket as http.client uses; closed with its wire only, as answers are read
    from it after it was closed."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def sendall(self, data: bytes) -> None:
        self._wire.waiting().sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        return io.BufferedReader(_Answer(self._wire))

    def close(self) -> None:
        pass


class _Answer(io.RawIOBase):
    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._wire.waiting().recv_into(buffer)


def check_depth(data: bytes) -> None:
    """That JSON is not nested more deeply than any answer; before a parser walks into it.

    Raises:
        ValueError: it is.
    """
    depth = 0
    for token in _BRACKETS.finditer(data):
        if token[0] in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"nested more than {MAX_DEPTH} deep")
        elif token[0] in (b"]", b"}"):
            depth -= 1


def _split(url: str) -> SplitResult:
    try:
        found = urlsplit(url)
        found.port  # noqa: B018 - raises where it is no number
    except ValueError as error:
        raise UsageError(f"node: expected http://HOST:PORT or https://HOST/...: {error}") from error
    if found.scheme not in ("http", "https") or not found.hostname:
        raise UsageError("node: expected an address like http://HOST:PORT or https://HOST/...")
    return found


def _why(error: BaseException) -> str:
    return printable(str(error) or type(error).__name__)


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no JSON")


def _revert_data(data: object) -> bytes | None:
    """Nodes differ in where they put it; anything but hexadecimal digits is no data."""
    if isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, str):
        return None
    digits = data.removeprefix("Reverted ")
    try:
        return bytes.fromhex(digits.removeprefix("0x")) if digits.startswith("0x") else None
    except ValueError:
        return None
