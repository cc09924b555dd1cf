"""A committed trace: the ciphertext of every operator, of which a verifier runs some again.

Between the input ciphertexts and the claimed outputs stands one ciphertext for each operator. Their
digests are the leaves of a Merkle tree whose root the Statement names. Where outputs are wrong, the
output of at least one operator does not follow from its operands; a verifier who draws k of N
operators at random, *after* the root was fixed, catches one altered operator with probability k/N.

The section, integers little-endian: u32 N, then N times (u64 size, SHA-256), then N ciphertexts.

Tree, SHA-256, integers big-endian: leaf i = H(0x00 || u32 i || u16 n || n operand digests || digest
of the output); node = H(0x01 || left || right); absent leaves and nodes above none but absent ones
are 32 zero bytes. A leaf names all that is needed to run its operator, so that a dispute about a
trace can descend to one operator and end there.
"""

from __future__ import annotations

import hashlib
import random
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from proofml.backend import Context
from proofml.fhe.ckks import server
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.record import Trace
from proofml.fhe.scheme import Circuit, Malformed, Operator
from proofml.proof import Blob

_ENTRY: Final = 8 + 32
#: A larger trace goes beside the proof.
_MAX_INLINE_BYTES: Final = 256 << 20
_SEED_BYTES: Final = 32
_ABSENT: Final = bytes(32)


@dataclass(frozen=True)
class Recorded:
    """What the server makes: commitment, evidence, and the outputs of the run."""

    commitment: Trace
    blob: Blob = field(repr=False)
    outputs: tuple[bytes, ...] = field(repr=False)


def _own(circuit: Circuit) -> CkksCircuit:
    if not isinstance(circuit, CkksCircuit):
        raise Malformed("trace", f"none of a circuit of {circuit.scheme}", "one")
    return circuit


def record(
    circuit: Circuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
) -> Recorded:
    """Run a circuit and keep every operator's ciphertext; raises as `Scheme.run`."""
    circuit = _own(circuit)
    made = server.trace(circuit, evaluation, ciphertexts, context)
    operators = server.operators(circuit, len(ciphertexts))
    digests = [hashlib.sha256(one).digest() for one in made]
    known = [hashlib.sha256(one).digest() for one in ciphertexts] + digests
    root = root_of(
        [
            leaf(index, one, known, known[len(ciphertexts) + index])
            for index, one in enumerate(operators)
        ]
    )
    everything = [*ciphertexts, *made]
    outputs = tuple(everything[i] for i in server.outputs_of_trace(circuit, len(ciphertexts)))
    table = b"".join(
        struct.pack("<Q", len(one)) + digest for one, digest in zip(made, digests, strict=True)
    )
    parts = [struct.pack("<I", len(made)), table, *made]
    size = sum(map(len, parts))
    if size <= _MAX_INLINE_BYTES:
        blob = Blob(b"".join(parts))
    else:
        with context.store.scratch() as folder:
            with (folder / "trace").open("wb") as file:
                file.writelines(parts)
            recipe = {"kind": "fhe-trace", "root": root.hex()}
            paths = context.store.put(recipe, {"trace": folder / "trace"}, label="ckks trace")
        blob = Blob(path=paths["trace"])
    return Recorded(Trace(len(made), root.hex()), blob, outputs)


def leaf(index: int, operator: Operator, known: Sequence[bytes], output: bytes) -> bytes:
    """Hash of one operator's leaf; `known` are digests by position, as its operands count."""
    operands = [known[place] for place in operator.operands]
    head = b"\0" + struct.pack(">IH", index, len(operands))
    return hashlib.sha256(head + b"".join(operands) + output).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Of at least one leaf."""
    level = list(leaves)
    while len(level) > 1:
        level += [_ABSENT] * (len(level) % 2)
        level = [node(level[i], level[i + 1]) for i in range(0, len(level), 2)]
    return level[0]


def node(left: bytes, right: bytes) -> bytes:
    if left == right == _ABSENT:
        return _ABSENT
    return hashlib.sha256(b"\x01" + left + right).digest()


# -- verifying ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replayed:
    """What came of running some operators again: the first wrong one, if any."""

    wrong: int | None
    detail: str


@dataclass(frozen=True)
class Opened:
    """A trace whose table fits the commitment, the inputs and the claimed outputs."""

    circuit: CkksCircuit
    operators: tuple[Operator, ...]
    given: tuple[bytes, ...] = field(repr=False)
    digests: tuple[bytes, ...] = field(repr=False)
    sizes: tuple[int, ...] = field(repr=False)
    section: bytes | Path = field(repr=False)

    def ciphertext(self, index: int) -> bytes:
        """Of an operator; raises `Malformed` where it is not the committed one."""
        start = 4 + _ENTRY * len(self.sizes) + sum(self.sizes[:index])
        found = _part(self.section, start, self.sizes[index])
        if hashlib.sha256(found).digest() != self.digests[index]:
            raise Malformed(
                f"ciphertext of operator {index}", self.digests[index].hex(), "another one"
            )
        return found

    def replay(
        self, evaluation: bytes, count: int, context: Context, seed: bytes | None = None
    ) -> Replayed:
        """Run `count` operators again (or all, where there are fewer), drawn at random.

        Args:
            seed: for tests; else drawn here and now, after whoever made the trace is done.

        Raises:
            Malformed: a ciphertext that is not the committed one, or cannot be run.
        """
        seed = secrets.token_bytes(_SEED_BYTES) if seed is None else seed
        total = len(self.operators)
        chosen = sorted(random.Random(seed).sample(range(total), min(count, total)))
        tasks = (  # one by one: together they may be larger than memory
            (number, [self._at(place) for place in self.operators[number].operands])
            for number in chosen
        )
        made = server.replay(self.circuit, evaluation, tasks, context)
        wrong = None
        for number, one in zip(chosen, made, strict=True):
            if one != self.ciphertext(number):
                wrong = number
                break
        detail = (
            f"{len(chosen)} of {total} operators by seed {seed.hex()}: one altered operator is "
            f"caught with probability {len(chosen) / total:.3g}"
        )
        return Replayed(wrong, detail)

    def _at(self, place: int) -> bytes:
        inputs = len(self.given)
        return self.given[place] if place < inputs else self.ciphertext(place - inputs)


def open_trace(
    circuit: Circuit,
    section: bytes | Path,
    commitment: Trace,
    given: tuple[bytes, ...],
    claimed: tuple[bytes, ...],
) -> Opened:
    """Read the table and find that it is what was committed to, from `given` to `claimed`.

    Raises:
        Malformed: it is not.
    """
    circuit = _own(circuit)
    operators = server.operators(circuit, len(given))
    total = len(operators)
    if commitment.operators != total:
        raise Malformed("trace: operators", total, commitment.operators)
    table = _part(section, 0, 4 + _ENTRY * total)
    if len(table) != 4 + _ENTRY * total or int.from_bytes(table[:4], "little") != total:
        raise Malformed("trace: table", f"{total} entries", "another table")
    entries = [table[4 + _ENTRY * i : 4 + _ENTRY * (i + 1)] for i in range(total)]
    sizes = tuple(int.from_bytes(entry[:8], "little") for entry in entries)
    digests = tuple(entry[8:] for entry in entries)
    whole = len(table) + sum(sizes)
    have = len(section) if isinstance(section, bytes) else section.stat().st_size
    if have != whole:
        raise Malformed("trace: size", f"{whole} bytes", have)
    known = [hashlib.sha256(one).digest() for one in given] + list(digests)
    leaves = [leaf(i, one, known, digests[i]) for i, one in enumerate(operators)]
    root = root_of(leaves).hex()
    if root != commitment.root:
        raise Malformed("trace: root", commitment.root, root)
    places = server.outputs_of_trace(circuit, len(given))
    for index, (place, one) in enumerate(zip(places, claimed, strict=True)):
        if known[place] != hashlib.sha256(one).digest():
            raise Malformed(f"trace: output {index}", "the claimed output ciphertext", "another")
    return Opened(circuit, operators, given, digests, sizes, section)


def _part(section: bytes | Path, start: int, size: int) -> bytes:
    if isinstance(section, bytes):
        return section[start : start + size]
    with section.open("rb") as file:
        file.seek(start)
        return file.read(size)
