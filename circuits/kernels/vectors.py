"""Products, tables of eq, contractions and Reed-Solomon codes over NumPy arrays.

Base elements are uint32 and canonical, elements of F have a last axis of 5. The twins are in
`proofml.circuits.field`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.ext5 import DEGREE, Element
from proofml.circuits.kernels.library import (
    Words,
    address,
    aligned,
    checked,
    elements_of,
    log2,
    native,
    words,
)

_MAX_LOG = 27


def bb_mul(a: Words, b: Words) -> Words:
    """Products of base elements, [n] each."""
    out = np.empty(a.shape, np.uint32)
    n = a.size
    checked(native().pml_bb_mul(n, words(a, n, name="a"), words(b, n, name="b"), out.ctypes.data))
    return out


def e5_mul(a: Words, b: Words) -> Words:
    """Products in F, [n, 5] each."""
    out = np.empty(a.shape, np.uint32)
    n = a.size // DEGREE
    pointers = words(a, n, DEGREE, name="a"), words(b, n, DEGREE, name="b")
    checked(native().pml_e5_mul(n, *pointers, out.ctypes.data))
    return out


def eq_table(z: Sequence[Element]) -> Words:
    """eq(z, i) for every i < 2^len(z), [2^len(z), 5]."""
    if len(z) > _MAX_LOG:
        raise ValueError(f"z: expected at most {_MAX_LOG} coordinates, got {len(z)}")
    out = np.empty((1 << len(z), DEGREE), np.uint32)
    point = elements_of(z)
    checked(native().pml_eq_table(len(z), point.ctypes.data, out.ctypes.data))
    return out


def _sizes(values: NDArray[np.generic], rank: int) -> tuple[int, int, int]:
    if values.ndim != rank:
        raise ValueError(f"values: expected {rank} axes, got {values.ndim}")
    return values.shape[0], values.shape[1], values.shape[2]


def contract_i32(values: NDArray[np.int32], weights: Words) -> Words:
    """out[a, c] = sum_n values[a, n, c] * weights[n]; weights [N, 5], result [A, C, 5]."""
    a, n, c = _sizes(values, 3)
    out = np.empty((a, c, DEGREE), np.uint32)
    pointers = (
        address(values, np.int32, a, n, c, name="values"),
        words(weights, n, DEGREE, name="weights"),
    )
    checked(native().pml_contract_i32(a, n, c, *pointers, out.ctypes.data))
    return out


def contract_i8(values: NDArray[np.int8], weights: Words) -> Words:
    """The same for values of 8 bits."""
    a, n, c = _sizes(values, 3)
    out = np.empty((a, c, DEGREE), np.uint32)
    pointers = (
        address(values, np.int8, a, n, c, name="values"),
        words(weights, n, DEGREE, name="weights"),
    )
    checked(native().pml_contract_i8(a, n, c, *pointers, out.ctypes.data))
    return out


def contract_ext(values: Words, weights: Words) -> Words:
    """The same for values in F, [A, N, C, 5]."""
    a, n, c = _sizes(values, 4)
    out = np.empty((a, c, DEGREE), np.uint32)
    pointers = (
        words(values, a, n, c, DEGREE, name="values"),
        words(weights, n, DEGREE, name="weights"),
    )
    checked(native().pml_contract_ext(a, n, c, *pointers, out.ctypes.data))
    return out


def _code_sizes(length: int, columns_log: int, rate_log: int) -> tuple[int, int]:
    m = log2(length, name="values")
    if not 0 <= columns_log <= m or rate_log < 0 or m - columns_log + rate_log > _MAX_LOG:
        raise ValueError(f"no code for 2^{m} values, 2^{columns_log} columns, rate 2^-{rate_log}")
    return m, 1 << (m - columns_log + rate_log)


def encode(values: Words, columns_log: int, rate_log: int) -> Words:
    """Interleaved code words [rows, 2^columns_log] of the 2^m values; see `babybear.encode`."""
    m, rows = _code_sizes(len(values), columns_log, rate_log)
    out = aligned(rows, 1 << columns_log)
    pointer = words(values, 1 << m, name="values")
    checked(native().pml_encode(m, columns_log, rate_log, pointer, out.ctypes.data))
    return out


def encode_ext(values: Words, columns_log: int, rate_log: int) -> Words:
    """The same for values in F: [2^m, 5] to [rows, 2^columns_log, 5]."""
    m, rows = _code_sizes(len(values), columns_log, rate_log)
    out = aligned(rows, 1 << columns_log, DEGREE)
    pointer = words(values, 1 << m, DEGREE, name="values")
    checked(native().pml_encode_ext(m, columns_log, rate_log, pointer, out.ctypes.data))
    return out
