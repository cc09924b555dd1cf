"""Frames: how the isolated process, its host, its platform and clients speak.

    offset  size  field
    0       4     magic "pmlt"
    4       4     size of the head, big-endian, 1 to 4 MiB
    8       n     head: canonical JSON {"blobs": [[name, size], ...], "body": {...}}
    8 + n         the blobs, one after the other

Names of blobs are those of a container's sections, in ascending order. A reader takes memory only
as bytes arrive, and never more than its limit.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from proofml.canonical import JSON, CanonicalError, dumps, loads
from proofml.container import NAME
from proofml.errors import BackendFailed
from proofml.fields import FieldError, Fields

MAGIC: Final = b"pmlt"
MAX_HEAD_BYTES: Final = 4 << 20
#: Every input and output of the largest Statement, and the evidence.
MAX_BLOBS: Final = 2048 + 16
_CHUNK: Final = 1 << 20


class FrameError(BackendFailed):
    """What came is no frame, or one beyond the limit; the stream cannot be read on."""


class Closed(BackendFailed):
    """The other side has gone; between frames, or inside one."""


@dataclass(frozen=True)
class Frame:
    """One message: `body` is plain JSON, `blobs` name -> bytes."""

    body: Mapping[str, JSON]
    blobs: Mapping[str, bytes] = field(default_factory=dict)


class Deadline:
    """A moment by the monotonic clock; `seconds` from now, None for never."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until then, at least 0; None for no end."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def arm(self, connection: socket.socket) -> None:
        """Let the next call on the socket wait no longer; raises `TimeoutError` afterwards."""
        left = self.left()
        if left == 0.0:
            raise TimeoutError
        connection.settimeout(left)


def encode(frame: Frame) -> bytes:
    """Everything before the blobs.

    Raises:
        FrameError: a frame that `read` would refuse.
    """
    sizes: list[JSON] = [[name, len(frame.blobs[name])] for name in sorted(frame.blobs)]
    try:
        head = dumps({"blobs": sizes, "body": frame.body})
    except CanonicalError as error:
        raise FrameError(f"frame: {error}") from error
    if len(head) > MAX_HEAD_BYTES or len(sizes) > MAX_BLOBS:
        raise FrameError(
            f"frame: a head of {len(head)} bytes with {len(sizes)} blobs, at most "
            f"{MAX_HEAD_BYTES} and {MAX_BLOBS}"
        )
    if any(not NAME.fullmatch(name) for name in frame.blobs):
        raise FrameError("frame: a blob's name is not allowed")
    return MAGIC + len(head).to_bytes(4, "big") + head


def write(connection: socket.socket, frame: Frame, deadline: Deadline | None = None) -> None:
    """Send a whole frame.

    Raises:
        FrameError: it has no valid form.
        Closed: the other side has gone.
        TimeoutError: the other side does not read.
    """
    deadline = deadline or Deadline()
    parts = [encode(frame), *(frame.blobs[name] for name in sorted(frame.blobs))]
    try:
        if sum(map(len, parts)) <= _CHUNK:  # one call, and one wake-up of the reader
            parts = [b"".join(parts)]
        for part in parts:
            view = memoryview(part)
            for start in range(0, len(view), _CHUNK):
                deadline.arm(connection)
                connection.sendall(view[start : start + _CHUNK])
    except TimeoutError:
        raise
    except OSError as error:
        raise Closed(f"the connection is closed: {error.strerror or error}") from error


def read(connection: socket.socket, limit: int, deadline: Deadline | None = None) -> Frame:
    """Receive a whole frame whose blobs have at most `limit` bytes together.

    Raises:
        FrameError: what comes is no frame, or too large.
        Closed: the other side has gone.
        TimeoutError: it did not come in time.
    """
    deadline = deadline or Deadline()
    prefix = _take(connection, 8, deadline)
    if prefix[:4] != MAGIC:
        raise FrameError(f"frame: expected {MAGIC!r} first, got {bytes(prefix[:4])!r}")
    size = int.from_bytes(prefix[4:], "big")
    if not 1 <= size <= MAX_HEAD_BYTES:
        raise FrameError(f"frame: expected a head of 1 to {MAX_HEAD_BYTES} bytes, got {size}")
    body, sizes = _head(bytes(_take(connection, size, deadline)))
    total = sum(sizes.values())
    if total > limit:
        raise FrameError(f"frame: expected at most {limit} bytes of blobs, got {total}")
    return Frame(
        body, {name: bytes(_take(connection, size, deadline)) for name, size in sizes.items()}
    )


def _head(data: bytes) -> tuple[Mapping[str, JSON], dict[str, int]]:
    try:
        fields = Fields(loads(data, max_bytes=MAX_HEAD_BYTES), "frame")
        body = fields.table("body").mapping
        entries = fields.items("blobs", _entry, most=MAX_BLOBS)
        fields.done()
    except (CanonicalError, FieldError) as error:
        raise FrameError(str(error)) from error
    names = [name for name, _ in entries]
    if sorted(set(names)) != names:
        raise FrameError("frame.blobs: expected names in ascending order, each once")
    return body, dict(entries)


def _entry(value: object, path: str) -> tuple[str, int]:
    if isinstance(value, list) and len(value) == 2:
        name, size = value
        if (
            isinstance(name, str)
            and NAME.fullmatch(name)
            and isinstance(size, int)
            and not isinstance(size, bool)
            and size >= 0
        ):
            return name, size
    raise FieldError(path, "a name and a size", value)


def _take(connection: socket.socket, size: int, deadline: Deadline) -> bytearray:
    data = bytearray()
    while len(data) < size:
        deadline.arm(connection)
        try:
            chunk = connection.recv(min(_CHUNK, size - len(data)))
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(f"the connection is closed: {error.strerror or error}") from error
        if not chunk:
            raise Closed("the connection is closed")
        data += chunk
    return data
