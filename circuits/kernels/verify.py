"""What a verifier computes from untrusted bytes. Bad ones raise `BadBytes` and nothing else.

After that exception the transcript's state is not to be used.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import numpy as np

from proofml.circuits.field.ext5 import DEGREE, Element
from proofml.circuits.kernels.library import (
    BadBytes,
    Words,
    checked,
    element_from,
    elements_from,
    elements_of,
    log2,
    native,
    state_of,
    tag_of,
    words,
)


def rounds_verify(
    tag: str, rounds: int, degree: int, data: bytes, state: bytearray, claim: Element
) -> tuple[int, Element, list[Element]]:
    """Sumcheck rounds: the bytes consumed, the claim that is left, and its point."""
    if not 0 <= rounds <= 64 or not 1 <= degree <= 8:
        raise ValueError(f"expected 0 to 64 rounds of degree 1 to 8, got {rounds}, {degree}")
    value = elements_of([claim])
    point = np.empty((rounds, DEGREE), np.uint32)
    used = native().pml_rounds_verify(
        tag_of(tag),
        rounds,
        degree,
        data,
        len(data),
        state_of(state),
        value.ctypes.data,
        point.ctypes.data,
    )
    return checked(used), element_from(value[0]), elements_from(point)


@dataclass(frozen=True, slots=True)
class LogupResult:
    """Claims p and q at `point`; or the check of the protocol that failed, 4 or 5, and its layer.

    `used` counts the bytes consumed. After a failed check point, p and q are empty and zero.
    """

    used: int
    point: list[Element]
    p: Element
    q: Element
    failed_check: int
    failed_layer: int


def logup_verify(variables: int, data: bytes, state: bytearray) -> LogupResult:
    """LogUp-GKR over 2^variables leaves, mirror of `logup_prove`."""
    if not 1 <= variables <= 27:
        raise ValueError(f"expected 1 to 27 variables, got {variables}")
    point = np.zeros((variables, DEGREE), np.uint32)
    ends = np.zeros((2, DEGREE), np.uint32)
    check, layer = ctypes.c_int(), ctypes.c_uint()
    used = checked(
        native().pml_logup_verify(
            variables,
            data,
            len(data),
            state_of(state),
            point.ctypes.data,
            ends[0].ctypes.data,
            ends[1].ctypes.data,
            ctypes.byref(check),
            ctypes.byref(layer),
        )
    )
    return LogupResult(
        used=used,
        point=[] if check.value else elements_from(point),
        p=element_from(ends[0]),
        q=element_from(ends[1]),
        failed_check=check.value,
        failed_layer=layer.value,
    )


def _rows(rows: bytes, row_bytes: int) -> int:
    count, rest = divmod(len(rows), row_bytes)
    if rest:
        raise BadBytes(len(rows))
    return count


def rows_fold_base(rows: bytes, eq: Words) -> Words:
    """sum_j eq[j] row[j] for rows of base elements one after the other: [count, 5]."""
    k = log2(len(eq), name="eq")
    count = _rows(rows, 4 << k)
    out = np.empty((count, DEGREE), np.uint32)
    pointer = words(eq, 1 << k, DEGREE, name="eq")
    checked(native().pml_rows_fold_base(count, k, rows, pointer, out.ctypes.data))
    return out


def rows_fold_ext(rows: bytes, eq: Words) -> Words:
    """The same for rows of elements of F."""
    k = log2(len(eq), name="eq")
    count = _rows(rows, 20 << k)
    out = np.empty((count, DEGREE), np.uint32)
    pointer = words(eq, 1 << k, DEGREE, name="eq")
    checked(native().pml_rows_fold_ext(count, k, rows, pointer, out.ctypes.data))
    return out


def rows_eval_ext(rows: bytes, k: int, log_n: int, idx: Words) -> Words:
    """sum_j x^j row[j] at x = omega^idx of order 2^log_n, for rows of 2^k elements of F."""
    if not 0 <= k <= 24 or not 0 <= log_n <= 27:
        raise ValueError(f"expected k up to 24 and log_n up to 27, got {k}, {log_n}")
    count = _rows(rows, 20 << k)
    out = np.empty((count, DEGREE), np.uint32)
    pointer = words(idx, count, name="idx")
    checked(native().pml_rows_eval_ext(count, k, rows, log_n, pointer, out.ctypes.data))
    return out
