"""The only MLIR that is compiled here: operators of Concrete's own dialects on constants.

MLIR can say anything that a machine can do, calls of system functions included, and Concrete
compiles all of it. So a circuit's text is compared line by line with a grammar: one module, one
function, one operation a line, of a list of dialects that compute on ciphertexts and nothing else.
Regions, symbols, strings but those of operator names and of bytes in hexadecimal: none can be
written in it.

What it compiles to does not look whether an index lies inside its tensor, so here no index is left
to chance: slices have constant bounds, single elements are named by constants, maps of lookups are
constants, and each is compared with the type that stands beside it (which MLIR compares with the
operand's).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from proofml.fhe.scheme import Malformed

MAX_BYTES = 64 << 20
MAX_LINES = 1 << 16

_ID = r"%[A-Za-z0-9_]{1,64}"
_ELEMENT = r"(?:!FHE\.es?int<\d{1,2}>|i\d{1,2}|index)"
_TYPE = rf"(?:tensor<(?:\d{{1,9}}x){{0,8}}{_ELEMENT}>|{_ELEMENT})"
_IDS = rf"(?:{_ID}(?:, {_ID})*)?"
_TYPES = rf"(?:{_TYPE}(?:, {_TYPE})*)?"
#: Attributes of an operation: numbers, lists, names; no quotes, braces, parentheses or symbols.
_ATTRIBUTES = r"[A-Za-z0-9_ =,:<>\[\]\-]{0,4096}"
_NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"

_NUMBERS = r"\[(?:\d{1,9}(?:, \d{1,9})*)?\]"
#: All that the front end writes for models, but what computes with indices of its own
#: (`fancy_index`, `fancy_assign`).
_OPERATORS = (
    "add_eint|add_eint_int|apply_lookup_table|apply_mapped_lookup_table|broadcast|change_partition"
    "|concat|conv2d|dot_eint_eint|dot_eint_int|from_element|lsb|matmul_eint_eint|matmul_eint_int"
    "|matmul_int_eint|max_eint|maxpool2d|mul_eint|mul_eint_int|neg_eint|reinterpret_precision|round"
    "|sub_eint|sub_eint_int|sub_int_eint|sum|to_signed|to_unsigned|transpose|zero|zero_tensor"
)

_FIRST = "module {"
_HEADER = re.compile(
    rf"  func\.func @(?P<name>{_NAME})\(%arg0: (?P<input>{_TYPE})\) -> (?P<output>{_TYPE}) \{{"
)
_RETURN = re.compile(rf"    return {_ID} : {_TYPE}")
_CONSTANT = re.compile(
    rf"    (?P<id>{_ID}) = arith\.constant "
    rf'(?:dense<(?P<dense>"0x[0-9A-F]*"|[0-9,\-\[\] a-z]*)> : (?P<type>{_TYPE})'
    rf"|(?P<number>-?\d{{1,20}}) : (?P<scalar>{_TYPE})|true|false)"
)
_OPERATION = re.compile(
    rf'    {_ID} = "FHE(?:Linalg)?\.(?P<operator>{_OPERATORS})"\((?P<ids>{_IDS})\)'
    rf"(?: (?:<)?\{{{_ATTRIBUTES}\}}(?:>)?)? : \((?P<types>{_TYPES})\) -> {_TYPE}"
)
_RESHAPED = re.compile(
    rf"    {_ID} = tensor\.(?:collapse_shape|expand_shape) {_ID} \[[0-9\[\], ]{{0,256}}\]"
    rf"(?: output_shape {_NUMBERS})? : {_TYPE} into {_TYPE}"
)
_LISTED = re.compile(rf"    {_ID} = tensor\.from_elements {_IDS} : {_TYPE}")
_ELEMENT_OF = re.compile(
    rf"    {_ID} = tensor\.(?:extract|insert {_ID} into) {_ID}\[(?P<ids>{_IDS})\]"
    rf" : (?P<type>{_TYPE})"
)
_SLICE_OF = re.compile(
    rf"    {_ID} = tensor\.(?:extract_slice {_ID}|insert_slice {_ID} into {_ID}) ?"
    rf"(?P<offsets>{_NUMBERS}) ?(?P<sizes>{_NUMBERS}) ?(?P<strides>{_NUMBERS})"
    rf" : (?P<source>{_TYPE}) (?P<kind>to|into) (?P<target>{_TYPE})"
)
_LAST = ("  }", "}")
_INTEGER = re.compile(r"-?\d+")
#: Elements of an index in MLIR's hexadecimal form, little-endian.
_INDEX = np.dtype("<i8")


class _Bounds:
    """Constants seen so far that are indices, and what may be done with them."""

    def __init__(self) -> None:
        #: Name -> least and largest.
        self._known: dict[str, tuple[int, int]] = {}

    def learn(self, found: re.Match[str]) -> None:
        if found["number"] is not None and found["scalar"] == "index":
            self._known[found["id"]] = (int(found["number"]), int(found["number"]))
        elif found["dense"] is not None and found["type"].endswith("xindex>"):
            values = _dense(found["dense"])
            if values:
                self._known[found["id"]] = (min(values), max(values))

    def operation(self, found: re.Match[str]) -> bool:
        """A mapped lookup reads tables that are there."""
        if found["operator"] != "apply_mapped_lookup_table":
            return True
        operands, types = found["ids"].split(", "), found["types"].split(", ")
        if len(operands) != 3 or len(types) != 3:
            return False
        dims = _dims(types[1])
        return len(dims) == 2 and self._inside(operands[2], dims[0])

    def element(self, found: re.Match[str]) -> bool:
        names = found["ids"].split(", ") if found["ids"] else []
        dims = _dims(found["type"])
        return len(names) == len(dims) and all(map(self._inside, names, dims))

    def _inside(self, name: str, size: int) -> bool:
        least, largest = self._known.get(name, (-1, -1))
        return least >= 0 and largest < size


def _slice(found: re.Match[str]) -> bool:
    parts = [_integers(found[part]) for part in ("offsets", "sizes", "strides")]
    dims = _dims(found["source"] if found["kind"] == "to" else found["target"])
    if {len(part) for part in parts} != {len(dims)}:
        return False
    return all(
        size >= 1 and stride >= 1 and offset + (size - 1) * stride < dim
        for offset, size, stride, dim in zip(*parts, dims, strict=True)
    )


def _dims(text: str) -> Sequence[int]:
    """Of a tensor's type; none of a scalar's."""
    if not text.startswith("tensor<"):
        return ()
    return [int(dim) for dim in text[len("tensor<") :].split("x") if dim.isdigit()]


def _integers(text: str) -> list[int]:
    return [int(number) for number in _INTEGER.findall(text)]


def _dense(text: str) -> list[int]:
    if not text.startswith('"'):
        return _integers(text)
    data = bytes.fromhex(text[3:-1]) if len(text) % 2 == 0 else b""
    if len(data) % _INDEX.itemsize:
        return []
    return [int(number) for number in np.frombuffer(data, _INDEX)]


def check(text: bytes) -> str:
    """The function's name; raises `Malformed` for all that the grammar does not have."""
    what = "circuit's program"
    if len(text) > MAX_BYTES:
        raise Malformed(what, f"at most {MAX_BYTES} bytes", len(text))
    try:
        lines = text.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed(what, "ASCII text", "other bytes") from error
    if lines and not lines[-1]:
        lines.pop()
    if not 5 <= len(lines) <= MAX_LINES or lines[0] != _FIRST or tuple(lines[-2:]) != _LAST:
        raise Malformed(what, "one module of one function", f"{len(lines)} lines")
    header = _HEADER.fullmatch(lines[1])
    if header is None:
        raise Malformed(what, "a function of one tensor", lines[1][:80])
    if _RETURN.fullmatch(lines[-3]) is None:
        raise Malformed(what, "one returned tensor", lines[-3][:80])
    bounds = _Bounds()
    for number, line in enumerate(lines[2:-3], start=3):
        where = f"{what}, line {number}"
        if constant := _CONSTANT.fullmatch(line):
            bounds.learn(constant)
        elif operation := _OPERATION.fullmatch(line):
            if not bounds.operation(operation):
                raise Malformed(where, "a map of constants, to tables that are there", line[:80])
        elif element := _ELEMENT_OF.fullmatch(line):
            if not bounds.element(element):
                raise Malformed(where, "constant indices inside the tensor", line[:80])
        elif part := _SLICE_OF.fullmatch(line):
            if not _slice(part):
                raise Malformed(where, "a slice inside the tensor", line[:80])
        elif not (_RESHAPED.fullmatch(line) or _LISTED.fullmatch(line)):
            raise Malformed(where, "an operation on ciphertexts", line[:80])
    return header["name"]
