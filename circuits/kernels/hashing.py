"""SHA-256, Merkle trees, grinding, and the steps of the transcript, over bytes.

A transcript is its state, a bytearray of 32 bytes that is changed in place; each step here has a
twin of the same name in `proofml.zkml.sumcheck.transcript`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.ext5 import Element
from proofml.circuits.kernels.library import (
    Words,
    address,
    checked,
    element_from,
    log2,
    native,
    state_of,
    tag_of,
    words,
)

Digests = NDArray[np.uint8]


def sha256(data: bytes) -> bytes:
    out = ctypes.create_string_buffer(32)
    native().pml_sha256(data, len(data), out)
    return out.raw


def merkle(tag: str, rows: NDArray[Any]) -> Digests:
    """Nodes [2 n, 32] of the tree over the n rows of an array: 1 is the root, n + i leaf i."""
    if rows.ndim < 1 or not rows.flags.c_contiguous:
        raise ValueError("rows: expected a dense array in C order")
    n = len(rows)
    log_n = log2(n, name="rows")
    out = np.empty((2 * n, 32), np.uint8)
    size = rows.nbytes // n
    checked(native().pml_merkle(tag_of(tag), rows.ctypes.data, size, log_n, out.ctypes.data))
    return out


def chunk_trees(data: Sequence[Digests], leaf: int, nodes: Sequence[Digests]) -> None:
    """Trees over chunks of `leaf` bytes of each array, all levels end to end, into `nodes`.

    Args:
        data: uint8 [bytes], not empty.
        nodes: for each of them uint8 [n, 32]: n leaves, their parents, and so on to the root.
    """
    count = len(data)
    if count < 1 or len(nodes) != count:
        raise ValueError(f"nodes: expected {count} arrays, at least one, got {len(nodes)}")
    sizes = np.array([part.size for part in data], np.uint64)
    starts = (ctypes.c_void_p * count)()
    outs = (ctypes.c_void_p * count)()
    for i, (part, out) in enumerate(zip(data, nodes, strict=True)):
        starts[i] = address(part, np.uint8, part.size, name="data")
        outs[i] = address(out, np.uint8, _chunk_nodes(part.size, leaf), 32, name="nodes")
    checked(native().pml_chunk_trees(count, starts, sizes.ctypes.data, leaf, outs))


def _chunk_nodes(size: int, leaf: int) -> int:
    if leaf < 1:
        raise ValueError(f"leaf: expected at least one byte, got {leaf}")
    level = -(-size // leaf)
    total = level
    while level > 1:
        level = (level + 1) // 2
        total += level
    return total


def _indices(idx: Words, log_n: int) -> int:
    """The address of leaves that are distinct, ascending and in range."""
    pointer = words(idx, idx.size, name="idx")
    if idx.size == 0 or int(idx[-1]) >> log_n or not bool((idx[1:] > idx[:-1]).all()):
        raise ValueError(f"idx: expected distinct ascending leaves below 2^{log_n}")
    return pointer


def merkle_open(nodes: Digests, idx: Words) -> bytes:
    """The siblings that the distinct ascending leaves `idx` need, level by level."""
    log_n = log2(len(nodes), name="nodes") - 1
    if log_n < 0:
        raise ValueError("nodes: expected at least two")
    pointer = address(nodes, np.uint8, 2 << log_n, 32, name="nodes")
    out = np.empty(idx.size * log_n * 32, np.uint8)
    leaves = _indices(idx, log_n)
    length = native().pml_merkle_open(pointer, log_n, leaves, idx.size, out.ctypes.data)
    return out[: checked(length)].tobytes()


def merkle_verify(tag: str, log_n: int, idx: Words, rows: bytes, path: bytes) -> tuple[int, bytes]:
    """The bytes of `path` that are used, and the root that rows and path lead to.

    `rows` holds one row per leaf of `idx`, all of one length. Raises `BadBytes` when the path is
    too short.
    """
    if not 0 <= log_n <= 27 or idx.size == 0 or len(rows) % idx.size:
        raise ValueError("rows: expected one row of the same length per index")
    out = ctypes.create_string_buffer(32)
    size = len(rows) // idx.size
    used = native().pml_merkle_verify(
        tag_of(tag), log_n, _indices(idx, log_n), idx.size, rows, size, path, len(path), out
    )
    return checked(used), out.raw


def grind(seed: bytes, bits: int) -> int:
    """The smallest valid nonce."""
    if len(seed) != 32 or not 0 <= bits <= 40:
        raise ValueError(f"expected a seed of 32 bytes and 0 to 40 bits, got {len(seed)}, {bits}")
    nonce = ctypes.c_uint64()
    checked(native().pml_grind(seed, bits, ctypes.byref(nonce)))
    return nonce.value


def absorb(state: bytearray, tag: str, data: bytes) -> None:
    native().pml_absorb(state_of(state), tag_of(tag), data, len(data))


def challenge(state: bytearray, tag: str) -> Element:
    out = np.empty(5, np.uint32)
    native().pml_challenge(state_of(state), tag_of(tag), out.ctypes.data)
    return element_from(out)


def indices(state: bytearray, tag: str, count: int, log_n: int) -> Words:
    """`count` numbers below 2^log_n, with replacement, in the order drawn."""
    if count < 0 or not 0 <= log_n <= 32:
        raise ValueError(f"expected 0 to 32 bits and a count, got {log_n}, {count}")
    out = np.empty(count, np.uint32)
    native().pml_indices(state_of(state), tag_of(tag), count, log_n, out.ctypes.data)
    return out


def seed(state: bytearray, tag: str) -> bytes:
    out = ctypes.create_string_buffer(32)
    native().pml_seed(state_of(state), tag_of(tag), out)
    return out.raw
