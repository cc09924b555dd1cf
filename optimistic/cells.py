"""Tensors as bytes: where a cell lies, and what it says.

A cell is `value - low`, unsigned and big-endian, in 1, 2 or 4 bytes; `CHUNK` is a multiple of
each, so that no cell lies in two chunks.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.optimistic.program import CHUNK, Cells

Ints: TypeAlias = NDArray[np.int64]
Bytes: TypeAlias = NDArray[np.uint8]

_DTYPES: dict[int, np.dtype[Any]] = {1: np.dtype("u1"), 2: np.dtype(">u2"), 4: np.dtype(">u4")}
_PACKED: dict[int, np.dtype[Any]] = {w: d.newbyteorder("=") for w, d in _DTYPES.items()}


def encode(cells: Cells, values: Ints) -> Bytes:
    """The bytes of a tensor.

    Args:
        values: integers of the cells' shape, each from `cells.low` to `cells.high` (not checked:
            what `circuits.ranges` proves of every tensor of a program).

    Returns:
        uint8 [count * width].
    """
    if values.shape != cells.shape:
        raise ValueError(f"a tensor: expected shape {cells.shape}, got {values.shape}")
    dtype = _PACKED[cells.width]
    packed = np.empty(values.shape, dtype)
    # One pass; the low bits of the difference are right whatever the buffer's type.
    np.subtract(values, cells.low, out=packed, casting="unsafe")
    if cells.width > 1 and sys.byteorder == "little":
        packed.byteswap(inplace=True)
    return packed.reshape(-1).view(np.uint8)


def decode(cells: Cells, data: bytes | Bytes) -> Ints:
    """The tensor of these bytes, int64 of the cells' shape.

    Raises:
        ValueError: another length, or a cell beyond `cells.high`.
    """
    raw = np.frombuffer(data, np.uint8)
    if raw.size != cells.count * cells.width:
        raise ValueError(
            f"a tensor: expected {cells.count * cells.width} bytes for {cells.shape}, "
            f"got {raw.size}"
        )
    values: Ints = raw.view(_DTYPES[cells.width]).astype(np.int64)
    most = int(values.max())
    if most > cells.high - cells.low:
        at = int(values.argmax())
        raise ValueError(f"cell {at}: expected at most {cells.high}, got {most + cells.low}")
    values += cells.low
    return values.reshape(cells.shape)


def gather(cells: Cells, data: Bytes, index: Ints) -> Ints:
    """Some cells of a tensor's bytes, int64 of the shape of their flat indices (not checked)."""
    values: Ints = data.view(_DTYPES[cells.width])[index].astype(np.int64)
    values += cells.low
    return values


def place(cells: Cells, cell: int) -> tuple[int, int]:
    """(chunk, first byte within it) of a cell, by its flat index."""
    if not 0 <= cell < cells.count:
        raise ValueError(f"cell {cell}: expected one of {cells.count}")
    return divmod(cell * cells.width, CHUNK)


def chunk_bytes(cells: Cells, chunk: int) -> int:
    """Length of a chunk; the last one may be shorter than `CHUNK`."""
    if not 0 <= chunk < cells.chunks:
        raise ValueError(f"chunk {chunk}: expected one of {cells.chunks}")
    return min(CHUNK, cells.count * cells.width - chunk * CHUNK)


def cells_of(cells: Cells, chunk: int) -> range:
    """Flat indices of the cells in a chunk."""
    first = chunk * CHUNK // cells.width
    return range(first, first + chunk_bytes(cells, chunk) // cells.width)


def raw_value(cells: Cells, chunk: bytes, at: int) -> int:
    """What the bytes from `at` on say, in range or not."""
    return cells.low + int.from_bytes(chunk[at : at + cells.width], "big")


def value(cells: Cells, chunk: bytes, at: int) -> int:
    """The cell whose first byte is `at`.

    Raises:
        ValueError: it lies beyond the chunk, or beyond `cells.high`.
    """
    if not 0 <= at <= len(chunk) - cells.width:
        raise ValueError(f"byte {at}: expected a cell within {len(chunk)} bytes")
    found = raw_value(cells, chunk, at)
    if found > cells.high:
        raise ValueError(f"byte {at}: expected at most {cells.high}, got {found}")
    return found
