"""IEEE-754 binary32 by integers alone: what the contract computes, readable.

Conversion, product and rounding to an integer, all to nearest with ties to even, subnormal numbers
and overflow included. Floats are their 32 bits as an int. The requantisation made of them equals
`circuits.functions.Requant.evaluate`, and with it onnxruntime's integer kernels, bit for bit.

`contracts/src/lib/Float32.sol` is the twin, function by function.
"""

from __future__ import annotations

_SIGN = 1 << 31
_INFINITY = 0x7F800000
_LOWEST_NORMAL = 0x00800000
#: What an infinite float becomes as an integer: beyond every finite float.
BEYOND = 1 << 130


def from_int(value: int) -> int:
    """Bits of the float next to an integer; infinite beyond the largest float."""
    return (_SIGN if value < 0 else 0) | _round(abs(value), 0)


def multiply(a: int, b: int) -> int:
    """Bits of the product of two finite floats.

    Raises:
        ValueError: one of them is infinite or not a number.
    """
    (x, p), (y, q) = _parts(a), _parts(b)
    return ((a ^ b) & _SIGN) | _round(x * y, p + q)


def to_int(bits: int) -> int:
    """The integer next to a float (`rint`); an infinite one becomes +-`BEYOND`.

    Raises:
        ValueError: not a number.
    """
    if bits & ~_SIGN == _INFINITY:
        value = BEYOND
    else:
        significand, exponent = _parts(bits)
        value = _shift(significand, -exponent) if exponent < 0 else significand << exponent
    return -value if bits & _SIGN else value


def requantise(state: int, scale: int, low: int, high: int) -> int:
    """`rint(clip(float32(state) * scale, float32(low), float32(high)))`.

    Rounding to integers is monotone and leaves integers as they are, and float32 of an integer is
    one; so clipping may come after it.

    Args:
        state: a 64-bit integer.
        scale: bits of a positive normal float32.
        low, high: int32, in this order.

    Raises:
        ValueError: another scale, or low > high.
    """
    if not _LOWEST_NORMAL <= scale < _INFINITY or low > high:
        raise ValueError(
            f"requantise: expected bits of a positive normal scale and a range, "
            f"got {scale:#010x}, {low} to {high}"
        )
    value = to_int(multiply(from_int(state), scale))
    return min(max(value, to_int(from_int(low))), to_int(from_int(high)))


def _parts(bits: int) -> tuple[int, int]:
    """|x| = significand * 2^exponent."""
    field, significand = bits >> 23 & 0xFF, bits & 0x7FFFFF
    if field == 0xFF:
        raise ValueError(f"float32: expected a finite number, got bits {bits:#010x}")
    if not field:
        return significand, -149
    return significand | 0x800000, field - 150


def _round(value: int, exponent: int) -> int:
    """Bits of the float next to `value * 2^exponent`, value >= 0.

    The carry of a significand that rounds up to the next power of two runs into the exponent by
    itself, from the subnormal numbers to the normal ones too.
    """
    if not value:
        return 0
    top = value.bit_length() - 1 + exponent
    last = max(top - 23, -149)  # weight of the last bit of the significand
    shift = last - exponent
    significand = _shift(value, shift) if shift > 0 else value << -shift
    if top < -126:
        return significand
    return min((top + 126 << 23) + significand, _INFINITY)


def _shift(value: int, shift: int) -> int:
    """value / 2^shift to the nearest integer, ties to even."""
    result, rest, half = value >> shift, value & (1 << shift) - 1, 1 << shift - 1
    return result + (rest > half or (rest == half and result & 1))
