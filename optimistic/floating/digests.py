"""One digest for one tensor: its element type, its dims, and the tree over its raw bytes.

    digest  SHA-256(0x03 || u8 dtype || u8 rank || u32 dim each || root)

The root is that of `optimistic.merkle` over chunks of 1024 bytes of the little-endian data in C
order; a tensor without elements has one empty chunk. `dtype` is the number of the type in
`CODES`; integers are big-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.errors import UsageError
from proofml.optimistic.merkle import Tree, leaf_hash, tree_of_leaves, trees_of_chunks
from proofml.optimistic.program import CHUNK
from proofml.tensors import DTYPES, Array

_TENSOR = b"\x03"
#: Numbers of element types, in the order in which Statements list them.
CODES: dict[str, int] = {name: code for code, name in enumerate(DTYPES)}
EMPTY_ROOT = leaf_hash(b"")


def dtype_code(name: str) -> int:
    """The number of an element type, by NumPy's name.

    Raises:
        UsageError: one that has no number.
    """
    if name not in CODES:
        raise UsageError(f"element type {name}: expected one of {', '.join(CODES)}")
    return CODES[name]


def raw(array: Array) -> NDArray[np.uint8]:
    """The bytes that are committed; shares memory where the array already has that form.

    Raises:
        UsageError: an element type that has no number.
    """
    name = array.dtype.newbyteorder("=").name
    dtype_code(name)
    dense: NDArray[Any] = np.ascontiguousarray(array, np.dtype(DTYPES[name]))
    return dense.reshape(-1).view(np.uint8)


def bind(name: str, shape: Sequence[int], root: bytes) -> bytes:
    """The digest of a tensor of this type and these dims whose chunks have this root."""
    head = bytes([dtype_code(name), len(shape)])
    dims = b"".join(dim.to_bytes(4, "big") for dim in shape)
    return hashlib.sha256(_TENSOR + head + dims + root).digest()


def tree_of(array: Array) -> Tree:
    """The tree over a tensor's chunks, with all nodes, for openings."""
    data = raw(array)
    return trees_of_chunks([data], CHUNK)[0] if data.size else tree_of_leaves([b""])


def chunk_roots(arrays: Sequence[Array]) -> list[bytes]:
    """Roots over the chunks of several tensors, hashed together."""
    data = [raw(array) for array in arrays]
    full = [part for part in data if part.size]
    trees = iter(trees_of_chunks(full, CHUNK) if full else ())
    return [next(trees).root if part.size else EMPTY_ROOT for part in data]


def tensor_digests(arrays: Sequence[Array]) -> list[bytes]:
    """Digests of several tensors, hashed together."""
    roots = chunk_roots(arrays)
    return [
        bind(array.dtype.newbyteorder("=").name, array.shape, root)
        for array, root in zip(arrays, roots, strict=True)
    ]
