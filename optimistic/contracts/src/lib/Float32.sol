// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Opening} from "../Errors.sol";

/// @title IEEE-754 binary32 by integers: conversion, product, rounding to an integer
/// @notice All rounding is to nearest, ties to even; subnormal numbers and overflow are as the
/// standard has them. Floats are their 32 bits in a `uint256`.
/// @dev Twin of `proofml.optimistic.softfloat`, which is tested against NumPy and onnxruntime.
library Float32 {
    uint256 private constant SIGN = 1 << 31;
    uint256 private constant INFINITY = 0xFF << 23;
    uint256 private constant LOWEST_NORMAL = 1 << 23;
    /// @dev What an infinite float becomes as an integer: beyond every finite float.
    int256 private constant BEYOND = 1 << 130;

    /// @notice The float next to an integer (of less than 2^254).
    function fromInt(int256 value) internal pure returns (uint256) {
        return value < 0 ? SIGN | _round(uint256(-value), 0) : _round(uint256(value), 0);
    }

    /// @notice Product of two finite floats.
    function mul(uint256 a, uint256 b) internal pure returns (uint256) {
        (uint256 x, int256 p) = _parts(a);
        (uint256 y, int256 q) = _parts(b);
        return ((a ^ b) & SIGN) | _round(x * y, p + q);
    }

    /// @notice The integer next to a float; an infinite one becomes +-2^130.
    function toInt(uint256 bits) internal pure returns (int256 value) {
        if (bits & INFINITY == INFINITY) {
            value = BEYOND;
        } else {
            (uint256 significand, int256 exponent) = _parts(bits);
            value = int256(
                exponent < 0
                    ? _shift(significand, uint256(-exponent))
                    : significand << uint256(exponent)
            );
        }
        if (bits & SIGN != 0) value = -value;
    }

    /// @notice `rint(clip(float32(state) * scale, float32(low), float32(high)))`.
    /// @dev Rounding to integers is monotone and leaves integers as they are, and float32 of an
    /// integer is one; so clipping may come after it.
    /// @param scale Bits of a positive normal float32, with `low <= high`; else `Opening`: it is no
    /// record of a model.
    function requantise(int256 state, uint256 scale, int256 low, int256 high)
        internal
        pure
        returns (int256 value)
    {
        require(scale >= LOWEST_NORMAL && scale < INFINITY && low <= high, Opening());
        uint256 converted = fromInt(state);
        value = toInt(mul(converted, scale));
        int256 bound = toInt(fromInt(low));
        if (value < bound) value = bound;
        bound = toInt(fromInt(high));
        if (value > bound) value = bound;
    }

    /// @dev |x| = significand * 2^exponent, of a finite float.
    function _parts(uint256 bits) private pure returns (uint256 significand, int256 exponent) {
        uint256 field = (bits >> 23) & 0xFF;
        significand = bits & (LOWEST_NORMAL - 1);
        if (field == 0) return (significand, -149);
        return (significand | LOWEST_NORMAL, int256(field) - 150);
    }

    /// @dev Bits of the float next to `value * 2^exponent`, for value < 2^254. The carry of a
    /// significand that rounds up to the next power of two runs into the exponent by itself, from
    /// the subnormal numbers to the normal ones too.
    function _round(uint256 value, int256 exponent) private pure returns (uint256 bits) {
        if (value == 0) return 0;
        int256 top = int256(_log2(value)) + exponent;
        // Weight of the last bit of the significand.
        int256 last = top < -126 ? int256(-149) : top - 23;
        int256 shift = last - exponent;
        uint256 significand = shift > 0 ? _shift(value, uint256(shift)) : value << uint256(-shift);
        if (top < -126) return significand;
        if (top > 127) return INFINITY;
        bits = (uint256(top + 126) << 23) + significand;
        if (bits > INFINITY) bits = INFINITY;
    }

    /// @dev value / 2^shift to the nearest integer, ties to even; shift > 0.
    function _shift(uint256 value, uint256 shift) private pure returns (uint256 result) {
        if (shift > 255) return 0;
        result = value >> shift;
        uint256 rest = value & ((1 << shift) - 1);
        uint256 half = 1 << (shift - 1);
        if (rest > half || (rest == half && result & 1 == 1)) ++result;
    }

    /// @dev Position of the highest bit; value > 0.
    function _log2(uint256 value) private pure returns (uint256 result) {
        unchecked {
            for (uint256 step = 128; step > 0; step >>= 1) {
                if (value >> step > 0) {
                    value >>= step;
                    result += step;
                }
            }
        }
    }
}
