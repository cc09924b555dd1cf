"""Loads the shared library of C kernels, and chooses the instruction set.

The environment variable PROOFML_KERNELS names a level (`portable`, `avx2`, `avx512`) or is `none`:
then nothing is loaded and callers use their NumPy twins, as they do where no compiler was at hand
when the package was installed. PROOFML_THREADS sets the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field.ext5 import DEGREE, Element

Words: TypeAlias = NDArray[np.uint32]

LEVELS: Final = ("portable", "avx2", "avx512")
NONE: Final = "none"

_ABI: Final = 1
_ERR_SIZE: Final = -0x7FFFFF01
_ERR_MEMORY: Final = -0x7FFFFF02
_ERR_LEVEL: Final = -0x7FFFFF03
_RESERVED: Final = -0x7FFFFF00  # no offset is as low as this

_P: Final = ctypes.c_void_p
_Z: Final = ctypes.c_size_t
_U: Final = ctypes.c_uint
_I: Final = ctypes.c_int
_L: Final = ctypes.c_long
_S: Final = ctypes.c_char_p

# As declared in api.h: result, arguments.
_SIGNATURES: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    "abi": (_I, ()),
    "level": (_I, ()),
    "set_level": (_I, (_I,)),
    "set_threads": (_I, (_I,)),
    "get_threads": (_I, ()),
    "bb_mul": (_I, (_Z, _P, _P, _P)),
    "e5_mul": (_I, (_Z, _P, _P, _P)),
    "eq_table": (_I, (_U, _P, _P)),
    "contract_i32": (_I, (_Z, _Z, _Z, _P, _P, _P)),
    "contract_i8": (_I, (_Z, _Z, _Z, _P, _P, _P)),
    "contract_ext": (_I, (_Z, _Z, _Z, _P, _P, _P)),
    "encode": (_I, (_U, _U, _U, _P, _P)),
    "encode_ext": (_I, (_U, _U, _U, _P, _P)),
    "sha256": (None, (_P, _Z, _P)),
    "merkle": (_I, (_S, _P, _Z, _U, _P)),
    "merkle_open": (_L, (_P, _U, _P, _Z, _P)),
    "chunk_trees": (_I, (_Z, _P, _P, _Z, _P)),
    "grind": (_I, (_P, _U, _P)),
    "absorb": (None, (_P, _S, _P, _Z)),
    "challenge": (None, (_P, _S, _P)),
    "indices": (None, (_P, _S, _Z, _U, _P)),
    "seed": (None, (_P, _S, _P)),
    "logup_prove": (_L, (_U, _P, _P, _P, _P, _P, _P, _P, _P, _P)),
    "product_prove": (_L, (_S, _U, _Z, _P, _P, _P, _P, _P, _P, _P)),
    "open_prove": (_L, (_Z, _P, _Z, _P, _U, _U, _Z, _P, _Z, _U, _P, _P, _Z)),
    "open_size_bound": (_Z, (_Z, _P, _U, _U, _Z, _P, _Z)),
    "rounds_verify": (_L, (_S, _U, _U, _P, _Z, _P, _P, _P)),
    "logup_verify": (_L, (_U, _P, _Z, _P, _P, _P, _P, _P, _P)),
    "merkle_verify": (_L, (_S, _U, _P, _Z, _P, _Z, _P, _Z, _P)),
    "rows_fold_base": (_I, (_Z, _U, _P, _P, _P)),
    "rows_fold_ext": (_I, (_Z, _U, _P, _P, _P)),
    "rows_eval_ext": (_I, (_Z, _U, _P, _U, _P, _P)),
}


class BadBytes(ValueError):
    """Untrusted bytes that are not what they should be.

    `offset` is where the first element that is not canonical begins, or the length of the bytes
    where they end too early.
    """

    def __init__(self, offset: int) -> None:
        super().__init__(f"not canonical, or at an end, at byte {offset}")
        self.offset = offset


def files() -> list[Path]:
    """Where the shared library may be."""
    return [Path(__file__).with_name(f"_native{suffix}") for suffix in EXTENSION_SUFFIXES]


def _open() -> ctypes.CDLL | None:
    for path in files():
        if not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
            if library.pml_abi() != _ABI:
                continue  # built from other sources than these
            for name, (result, arguments) in _SIGNATURES.items():
                function = getattr(library, f"pml_{name}")
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError):  # for another machine, or incomplete
            continue
        return library
    return None


@functools.cache
def _load() -> ctypes.CDLL | None:
    wanted = os.environ.get("PROOFML_KERNELS", "")
    if wanted and wanted not in (*LEVELS, NONE):
        raise ValueError(
            f"PROOFML_KERNELS: expected one of {', '.join((*LEVELS, NONE))}, got {wanted!r}"
        )
    library = None if wanted == NONE else _open()
    if library is not None and wanted and library.pml_set_level(LEVELS.index(wanted)) < 0:
        raise ValueError(f"PROOFML_KERNELS: this machine lacks {wanted}")
    return library


def available() -> bool:
    """Whether the kernels are there and not switched off."""
    return _load() is not None


def native() -> ctypes.CDLL:
    library = _load()
    if library is None:
        raise RuntimeError("the C kernels are not available; use their NumPy twins")
    return library


def level() -> str:
    """The instruction set in use, `none` where the kernels are not available."""
    library = _load()
    return NONE if library is None else LEVELS[library.pml_level()]


def set_level(name: str) -> None:
    if name not in LEVELS:
        raise ValueError(f"expected one of {', '.join(LEVELS)}, got {name!r}")
    if native().pml_set_level(LEVELS.index(name)) < 0:
        raise ValueError(f"this machine lacks {name}")


def set_threads(count: int) -> None:
    if not 1 <= count <= 64:
        raise ValueError(f"expected 1 to 64 threads, got {count}")
    checked(native().pml_set_threads(count))


def threads() -> int:
    return int(native().pml_get_threads())


# ---------------------------------------------------------------- arguments and results
def checked(code: int) -> int:
    """A result of the library, or the exception that it stands for."""
    if code >= 0:
        return code
    if code == _ERR_MEMORY:
        raise MemoryError("no memory for a kernel")
    if code <= _RESERVED:
        raise ValueError("sizes out of bounds")
    raise BadBytes(-1 - code)


def words(array: Words, *shape: int, name: str) -> int:
    """The address of a dense uint32 array of exactly this shape."""
    return address(array, np.uint32, *shape, name=name)


def address(array: NDArray[Any], dtype: Any, *shape: int, name: str) -> int:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        kind = getattr(array, "dtype", type(array).__name__)
        raise ValueError(
            f"{name}: expected {np.dtype(dtype)} {list(shape)}, "
            f"got {kind} {list(getattr(array, 'shape', ()))}"
        )
    if not array.flags.c_contiguous:
        raise ValueError(f"{name}: expected a dense array in C order")
    return array.ctypes.data


def log2(length: int, *, name: str) -> int:
    if length < 1 or length & (length - 1):
        raise ValueError(f"{name}: expected a power of two, got {length}")
    return length.bit_length() - 1


def aligned(*shape: int) -> Words:
    """An array that begins at a line of the cache, as stores of whole lines like it."""
    count = int(np.prod(shape, dtype=np.int64))
    raw = np.empty(count + 16, np.uint32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip : skip + count].reshape(shape)


def state_of(state: bytearray) -> Any:
    """The transcript's 32 bytes, shared, so that the library changes them in place."""
    if not isinstance(state, bytearray) or len(state) != 32:
        raise ValueError("state: expected a bytearray of 32 bytes")
    return (ctypes.c_char * 32).from_buffer(state)


def tag_of(tag: str) -> bytes:
    data = tag.encode("ascii")
    if len(data) > 255 or b"\0" in data:
        raise ValueError(f"tag: expected at most 255 characters and no NUL, got {tag!r}")
    return data


def elements_of(elements: Sequence[Element]) -> Words:
    """Elements as a dense array [n, 5]."""
    return np.array(elements, np.uint32).reshape(len(elements), DEGREE)


def element_from(array: Words) -> Element:
    return cast("Element", tuple(int(word) for word in array))


def elements_from(array: Words) -> list[Element]:
    return [element_from(row) for row in array]
