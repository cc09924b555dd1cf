"""A secret tensor of high entropy, and the forms in which it could lie in a memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from proofml.model import Model

from .enclave_cases import graph_model

SIZE = 4096
#: Bytes of each piece that is looked for: chance finds none of this length.
PIECE = 16
#: Images are looked at in blocks, and a block that was looked at once is not again; each reaches
#: into the next one, so that no piece is missed between two.
BLOCK, LONGEST = 1 << 17, 64
#: Where pieces are taken: at the front, in the middle, near the end.
PLACES = (5, 2051, 4007)


@cache
def scaled() -> Model:
    """y = x * 1.5 - 0.25, so that outputs are as unlike as inputs are."""
    return graph_model(
        [
            helper.make_node("Mul", ["x", "a"], ["p"]),
            helper.make_node("Add", ["p", "b"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, [SIZE])},
        {"y": (TensorProto.FLOAT, [SIZE])},
        {"a": np.array(1.5, np.float32), "b": np.array(-0.25, np.float32)},
    )


def secret_input(seed: int) -> NDArray[Any]:
    """Random mantissas, values in [1, 2): shape (SIZE,), float32."""
    return np.random.default_rng(seed).random(SIZE, dtype=np.float32) + np.float32(1)


@dataclass(frozen=True)
class Marks:
    """`inputs` and `outputs`: form -> pieces; one that is found tells that the tensor is there."""

    output: NDArray[Any]
    inputs: dict[str, tuple[bytes, ...]]
    outputs: dict[str, tuple[bytes, ...]]

    def search(self) -> Search:
        """For both, as `input float32`, `output hex`, ..."""
        wanted = {f"input {form}": group for form, group in self.inputs.items()}
        return Search(wanted | {f"output {form}": group for form, group in self.outputs.items()})


def marks(seed: int) -> Marks:
    x = secret_input(seed)
    y = (x * np.float32(1.5) + np.float32(-0.25)).astype(np.float32)
    return Marks(y, _forms(x), _forms(y))


def _forms(array: NDArray[Any]) -> dict[str, tuple[bytes, ...]]:
    raw, doubles = array.tobytes(), array.astype(np.float64).tobytes()
    pieces = [raw[4 * place : 4 * place + PIECE] for place in PLACES]
    return {
        "float32": tuple(pieces),
        "float64": tuple(doubles[8 * place : 8 * place + PIECE] for place in PLACES),
        "hex": tuple(piece.hex().encode() for piece in pieces),
        "base64": tuple(_base64(piece, shift) for piece in pieces for shift in range(3)),
        # One number as JSON and Python write it, whatever stands around it.
        "json": tuple(repr(float(array[place])).encode() for place in PLACES),
        "numpy": tuple(
            " ".join(str(value) for value in array[place : place + 2]).encode() for place in PLACES
        ),
    }


def _base64(piece: bytes, shift: int) -> bytes:
    """The part that does not depend on what stands before and behind, for one alignment."""
    whole = base64.b64encode(bytes(shift) + piece)
    return whole[4 if shift else 0 : 4 * ((shift + len(piece)) // 3)]


def memory(number: int, *, whole: bool) -> Iterator[bytes]:
    """Mappings of a process as they are at this moment: every readable one, or those that can be
    written to (the others hold what stands in a file).
    """
    with (
        open(f"/proc/{number}/maps", encoding="ascii") as maps,
        open(f"/proc/{number}/mem", "rb", buffering=0) as image,
    ):
        for line in maps:
            place, access = line.split()[:2]
            if "r" not in access or "[v" in line:  # vvar, vsyscall: not memory of its own
                continue
            if not whole and "w" not in access:
                continue
            start, end = (int(text, 16) for text in place.split("-"))
            parts = []
            while start < end:
                try:
                    image.seek(start)
                    part = image.read(min(end - start, 1 << 24))
                except OSError:
                    break  # never touched, or a guard page
                if not part:
                    break
                parts.append(part)
                start += len(part)
            yield b"".join(parts)


class Search:
    """Looks for pieces in one image after the other; what was looked at before is passed over."""

    def __init__(self, wanted: dict[str, tuple[bytes, ...]]) -> None:
        self._wanted = wanted
        self._pieces = {piece for group in wanted.values() for piece in group}
        self._seen: dict[bytes, set[bytes]] = {}

    def __call__(self, image: list[bytes]) -> dict[str, int]:
        """Form -> how many of its pieces are there; forms without any are left out."""
        there: set[bytes] = set()
        for part in image:
            for start in range(0, len(part), BLOCK):
                block = part[start : start + BLOCK + LONGEST]
                if block not in self._seen:
                    self._seen[block] = _found_in(block, self._pieces)
                there |= self._seen[block]
        counted = {
            form: sum(piece in there for piece in group) for form, group in self._wanted.items()
        }
        return {form: number for form, number in counted.items() if number}


def _found_in(part: bytes, pieces: set[bytes]) -> set[bytes]:
    """Those of the pieces that `part` holds: one pass for all of them, which are 8 bytes or more.

    Places where the first, second and third pair of bytes are those of some piece are rare enough
    to be looked at one by one.
    """
    tables = [np.zeros(1 << 16, bool) for _ in range(3)]
    for piece in pieces:
        for index, table in enumerate(tables):
            table[int.from_bytes(piece[2 * index : 2 * index + 2], "little")] = True
    hits: set[bytes] = set()
    data = np.frombuffer(part, np.uint8)
    for shift in (0, 1):
        words = data[shift : shift + (len(data) - shift) // 2 * 2].view("<u2")
        if len(words) < 4:
            continue
        at = np.flatnonzero(tables[0][words[:-3]])
        for index in (1, 2):
            at = at[tables[index][words[at + index]]]
        for place in (2 * at + shift).tolist():
            hits |= {piece for piece in pieces if part.startswith(piece, place)}
    return hits
