"""Where the arithmetic of prover and verifier runs: the C kernels, or their NumPy twins.

Both give the same bits. `PROOFML_KERNELS=none` forces NumPy; a verifier without a compiler uses
it as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from proofml.circuits import kernels
from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import Array, P
from proofml.circuits.field.ext5 import Element, Point
from proofml.zkml.sumcheck import checks
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.merkle import leaf_hash, node_hash
from proofml.zkml.sumcheck.transcript import Transcript

#: Below this many cells a call to C costs more than it saves.
_SMALL = 64
_forced: list[bool] = []


def native() -> bool:
    """Whether the C kernels are in use."""
    return _forced[-1] if _forced else kernels.available()


@contextmanager
def using(*, native: bool) -> Iterator[None]:
    """Use the C kernels, or the NumPy twins, inside this context (not thread-safe: for tests)."""
    if native and not kernels.available():
        raise ValueError("the C kernels are not available here")
    _forced.append(native)
    try:
        yield
    finally:
        _forced.pop()


def _words(array: Array) -> NDArray[np.uint32]:
    return np.ascontiguousarray(array, np.uint32)


def contract(values: NDArray[np.signedinteger], weights: Array) -> Array:
    """out[a, c] = sum_n values[a, n, c] * weights[n]: integers of 32 bits, uint64 [n, 5]."""
    if not native() or values.size < _SMALL:
        return ext5.contract(values, weights)
    if values.dtype == np.int8:
        found = kernels.contract_i8(np.ascontiguousarray(values), _words(weights))
    else:
        found = kernels.contract_i32(np.ascontiguousarray(values, np.int32), _words(weights))
    return found.astype(np.uint64)


def contract_ext(values: Array, weights: Array) -> Array:
    """The same for values in F, uint64 [a, n, c, 5]."""
    if not native():
        return ext5.contract_ext(values, weights)
    return kernels.contract_ext(_words(values), _words(weights)).astype(np.uint64)


def eq_table(z: Point) -> Array:
    """eq(z, i) for all i, uint64 [2^len(z), 5]."""
    if not native() or len(z) < 2:
        return ext5.eq_table(z)
    return kernels.eq_table(z).astype(np.uint64)


def rounds(
    tag: str, count: int, degree: int, claim: Element, data: bytes, transcript: Transcript
) -> tuple[list[Element], Element]:
    """The rounds of a sumcheck, absorbed: its point and the claim that is left.

    A round message holds c0, c2, .., cd; c1 = claim - 2 c0 - c2 - .. - cd, so that the round
    polynomial's values at 0 and 1 add up to the claim by construction. `data` is exactly as long
    as the messages.
    """
    if native() and count:
        try:
            _, claim, found = kernels.rounds_verify(
                tag, count, degree, data, transcript.state, claim
            )
        except kernels.BadBytes as error:
            refuse(checks.ENCODING, f"{tag}: not canonical", got=f"byte {error.offset}")
        return found, claim
    size = 4 * ext5.DEGREE * degree
    point: list[Element] = []
    for index in range(count):
        message = data[index * size : (index + 1) * size]
        transcript.absorb(tag, message)
        c0, *rest = decode_elements(message, tag)
        r = transcript.challenge(tag)
        c1 = ext5.sub(claim, ext5.total([c0, c0, *rest]))
        claim = ext5.ZERO
        for c in reversed([c0, c1, *rest]):
            claim = ext5.add(ext5.mul(claim, r), c)
        point.append(r)
    return point, claim


def decode_elements(data: bytes, tag: str) -> list[Element]:
    """Elements of F from 20 bytes each; a number that is not canonical fails sumcheck.8."""
    words = struct.unpack(f"<{len(data) // 4}I", data)
    for index, word in enumerate(words):
        if word >= P:
            refuse(
                checks.ENCODING,
                f"{tag}, number {index}: not canonical",
                expected=f"a number below {P}",
                got=word,
            )
    return [
        (words[i], words[i + 1], words[i + 2], words[i + 3], words[i + 4])
        for i in range(0, len(words), ext5.DEGREE)
    ]


def decode_vector(data: bytes, tag: str) -> Array:
    """The same as an array, uint64 [n, 5]."""
    return _canonical(data, tag).astype(np.uint64).reshape(-1, ext5.DEGREE)


def _canonical(data: bytes, tag: str) -> NDArray[np.uint32]:
    words = np.frombuffer(data, "<u4")
    bad = words >= P
    if bad.any():
        at = int(bad.argmax())
        refuse(
            checks.ENCODING,
            f"{tag}, number {at}: not canonical",
            expected=f"a number below {P}",
            got=int(words[at]),
        )
    return words


def inner_ext(a: Array, b: Array) -> Element:
    if native():
        return ext5.element(contract_ext(a[None, :, None, :], b).reshape(-1))
    return ext5.vsum(ext5.vmul(a, b))


def zeros(count: int) -> Array:
    return np.zeros((count, ext5.DEGREE), np.uint64)


def fold_rows(rows: bytes, k: int, eq: Array, tag: str) -> Array:
    """`<eq, row>` for rows of 2^k base elements: uint64 [rows, 5]."""
    words = _canonical(rows, tag)
    return contract(words.astype(np.int64).reshape(-1, 1 << k, 1), eq).reshape(-1, ext5.DEGREE)


def fold_rows_ext(rows: Array, eq: Array) -> Array:
    """`<eq, row>` for rows of elements of F, uint64 [rows, 2^k, 5]."""
    return contract_ext(rows[:, :, None, :], eq).reshape(-1, ext5.DEGREE)


def evaluate_rows(rows: Array, positions: Sequence[int], log_n: int) -> Array:
    """`sum_j x^j row[j]` at x = omega^position: uint64 [rows, 5]."""
    if native():
        width = rows.shape[1]
        data = _words(rows).tobytes()
        index = np.array(positions, np.uint32)
        return kernels.rows_eval_ext(data, (width - 1).bit_length(), log_n, index).astype(np.uint64)
    x = _points(positions, log_n)
    value = rows[:, -1]
    for j in range(rows.shape[1] - 2, -1, -1):
        value = ext5.vadd(babybear.reduce(value * x), rows[:, j])
    return value


def evaluate_polynomial(coefficients: Array, positions: Sequence[int], log_n: int) -> Array:
    """`sum_b x^b coefficients[b]` at x = omega^position: uint64 [positions, 5].

    With about the square root of the degree in each of two steps, as matrices.
    """
    count = len(coefficients)
    low = 1 << ((count - 1).bit_length() + 1 >> 1)
    x = _points(positions, log_n)
    baby = np.ones((len(positions), low), np.uint64)
    for j in range(1, low):
        baby[:, j] = babybear.reduce(baby[:, j - 1] * x[:, 0])
    giant = babybear.reduce(baby[:, -1:] * x)
    value = zeros(len(positions))
    for start in range((count - 1) // low * low, -1, -low):
        block = coefficients[start : start + low]
        part = contract(baby[:, : len(block)].astype(np.int64)[:, :, None], block)
        value = ext5.vadd(babybear.reduce(value * giant), part.reshape(-1, ext5.DEGREE))
    return value


def _points(positions: Sequence[int], log_n: int) -> Array:
    omega = babybear.root_of_unity(log_n)
    return np.array([[pow(omega, a, P)] for a in positions], np.uint64)


def merkle_root(
    tag: str, log_n: int, positions: Sequence[int], rows: bytes, path: bytes
) -> tuple[int, bytes | None]:
    """Bytes of the path that were read, and the root; None where the path ends too early.

    `positions` are distinct and ascending; siblings that are not known come level by level.
    """
    size = len(rows) // len(positions)
    if native():
        try:
            index = np.array(positions, np.uint32)
            return kernels.merkle_verify(tag, log_n, index, rows, path)
        except kernels.BadBytes:
            return 0, None
    known = {a: leaf_hash(tag, rows[i * size : (i + 1) * size]) for i, a in enumerate(positions)}
    used = 0
    for _ in range(log_n):
        above: dict[int, bytes] = {}
        for a, digest in known.items():  # ascending, as inserted
            if a >> 1 in above:
                continue
            sibling = known.get(a ^ 1)
            if sibling is None:
                sibling = path[used : used + 32]
                if len(sibling) < 32:
                    return used, None
                used += 32
            above[a >> 1] = node_hash(sibling, digest) if a & 1 else node_hash(digest, sibling)
        known = above
    return used, known[0]
