"""Files of evaluation keys as Concrete writes them, but for what is in the keys: zeros."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

from proofml.fhe.concrete.program import Program

Change = Callable[[dict[str, Any]], None]


class _Writer:
    """One segment of words; what a pointer leads to is written behind all that is there."""

    def __init__(self) -> None:
        self.words = bytearray(8)

    def _pointer(self, at: int, kind: int, upper: int) -> None:
        offset = len(self.words) // 8 - at - 1
        struct.pack_into("<II", self.words, 8 * at, (offset << 2 | kind) & 0xFFFFFFFF, upper)

    def struct(self, at: int, data: bytes, pointers: int) -> list[int]:
        """Places of its pointers."""
        self._pointer(at, 0, len(data) // 8 | pointers << 16)
        first = (len(self.words) + len(data)) // 8
        self.words += data + bytes(8 * pointers)
        return [first + i for i in range(pointers)]

    def structs(self, at: int, count: int, pointers: int) -> list[list[int]]:
        self._pointer(at, 1, 7 | count * pointers << 3)
        self.words += struct.pack("<II", count << 2, pointers << 16)
        first = len(self.words) // 8
        self.words += bytes(8 * count * pointers)
        return [[first + i * pointers + j for j in range(pointers)] for i in range(count)]

    def chunks(self, at: int, size: int) -> None:
        """One list of bytes in a list."""
        self._pointer(at, 1, 6 | 1 << 3)
        first = len(self.words) // 8
        self.words += bytes(8)
        self._pointer(first, 1, 2 | size << 3)
        self.words += bytes(-(-size // 8) * 8)

    def key(self, places: list[int], key: dict[str, Any], params: bytes, size: int) -> None:
        names = ("id", "inputId", "outputId")
        info = struct.pack("<4I", *(key[name] for name in names), key["compression"] == "seed")
        (described,) = self.struct(places[0], info, 1)
        (modulus,) = self.struct(described, params, 1)
        (native,) = self.struct(modulus, bytes(8), 1)
        self.struct(native, b"", 0)
        (payload,) = self.struct(places[1], b"", 1)
        self.chunks(payload, size)


def evaluation(program: Program, change: Change | None = None) -> bytes:
    """The body for these parameters, or what a liar says that they are: `change`."""
    keyset = json.loads(program.data)["keyset"]
    sizes = [_bootstrap(key["params"])[1] for key in keyset["lweBootstrapKeys"]]
    sizes += [_switch(key["params"])[1] for key in keyset["lweKeyswitchKeys"]]
    if change is not None:
        change(keyset)
    writer = _Writer()
    first, second, third = writer.struct(0, b"", 3)
    left = iter(sizes)
    for place, keys, form in (
        (first, keyset["lweBootstrapKeys"], _bootstrap),
        (second, keyset["lweKeyswitchKeys"], _switch),
    ):
        for places, key in zip(writer.structs(place, len(keys), 2), keys, strict=True):
            writer.key(places, key, form(key["params"])[0], next(left, 16))
    writer.structs(third, 0, 0)
    return struct.pack("<II", 0, len(writer.words) // 8) + bytes(writer.words)


def _bootstrap(params: dict[str, Any]) -> tuple[bytes, int]:
    names = ("levelCount", "baseLog", "glweDimension", "polynomialSize")
    data = struct.pack("<4Id", *(params[name] for name in names), params["variance"])
    data += struct.pack("<4I", params["integerPrecision"], 0, params["inputLweDimension"], 0)
    each = params["levelCount"] * (params["glweDimension"] + 1) * params["polynomialSize"]
    return data, 8 * params["inputLweDimension"] * each + 16


def _switch(params: dict[str, Any]) -> tuple[bytes, int]:
    data = struct.pack("<2Id", params["levelCount"], params["baseLog"], params["variance"])
    sizes = params["inputLweDimension"], params["outputLweDimension"]
    data += struct.pack("<4I", params["integerPrecision"], 0, *sizes)
    return data, 8 * params["inputLweDimension"] * params["levelCount"] + 16
