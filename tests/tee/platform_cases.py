"""What the tests of all platforms share: judging by number, flipping bits, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from proofml.errors import VerificationError
from proofml.tee.reader import Field

SNAPSHOTS = Path(__file__).parent / "snapshots"


def number(call: Callable[[], object]) -> str:
    """The check that refuses, or `accepted`; any other exception is a failure of the test."""
    try:
        call()
    except VerificationError as error:
        return error.check
    return "accepted"


def flipped(data: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned over; bits are counted from the front."""
    changed = bytearray(data)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def listing(fields: Iterable[Field]) -> str:
    """A line for each field, as the snapshots have it; long ones are cut."""
    lines = []
    for field in fields:
        text = field.data.hex()
        shown = text if len(text) <= 128 else f"{text[:120]}... ({len(field.data)} bytes)"
        lines.append(f"{field.offset:5} {len(field.data):4} {field.name}: {shown}")
    return "\n".join(lines) + "\n"


def covers(fields: Iterable[Field], size: int) -> bool:
    """Whether the fields are every byte once, in order."""
    at = 0
    for field in fields:
        if field.offset != at:
            return False
        at += len(field.data)
    return at == size
