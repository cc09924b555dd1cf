"""What a node says, read strictly: JSON values as numbers, bytes and addresses.

Whatever else comes is a fault of the node, `evm_rpc.Faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proofml.optimistic.evm_rpc import Faults

ADDRESS_BYTES = 20
HASH_BYTES = 32
_DIGITS = frozenset("0123456789abcdefABCDEF")


def mapping(value: object, what: str, faults: Faults) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise faults.bad(what, expected="an object", got=value)
    return value


def items(value: object, what: str, faults: Faults) -> list[Any]:
    if not isinstance(value, list):
        raise faults.bad(what, expected="a list", got=value)
    return value


def quantity(value: object, what: str, faults: Faults, *, bits: int = 256) -> int:
    """An unsigned integer of at most so many bits, in hexadecimal digits."""
    digits = _digits(value, what, faults)
    if not 1 <= len(digits) <= bits // 4 + 1:
        raise faults.bad(what, expected=f"a number of at most {bits} bits", got=value)
    number = int(digits, 16)
    if number >> bits:
        raise faults.bad(what, expected=f"a number of at most {bits} bits", got=value)
    return number


def data(value: object, what: str, faults: Faults, *, size: int | None = None) -> bytes:
    """Bytes in hexadecimal digits."""
    digits = _digits(value, what, faults)
    if len(digits) % 2 or (size is not None and len(digits) != 2 * size):
        wanted = "bytes" if size is None else f"{size} bytes"
        raise faults.bad(what, expected=f"{wanted} in hexadecimal digits", got=value)
    return bytes.fromhex(digits)


def address(value: object, what: str, faults: Faults) -> str:
    """An account, in lower case."""
    return "0x" + data(value, what, faults, size=ADDRESS_BYTES).hex()


def _digits(value: object, what: str, faults: Faults) -> str:
    if not isinstance(value, str) or not value.startswith("0x") or set(value[2:]) - _DIGITS:
        raise faults.bad(what, expected="0x and hexadecimal digits", got=value)
    return value[2:]
