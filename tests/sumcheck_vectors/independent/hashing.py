"""Section 2: transcript, trees, and the reader of a proof."""

from __future__ import annotations

import hashlib
import struct
from typing import Any

from .notation import ONE, ZERO, Element, P, add, mul, neg


class Refused(Exception):
    """`check` is the number."""

    def __init__(self, check: int) -> None:
        self.check = check
        super().__init__(f"sumcheck.{check}")


def demand(check: int, condition: bool) -> None:
    if not condition:
        raise Refused(check)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def tagged(tag: str) -> bytes:
    return bytes([len(tag)]) + tag.encode()


class Transcript:
    def __init__(self, statement: bytes) -> None:
        self.s = sha(b"\0proofml/sumcheck/1" + statement)

    def absorb(self, tag: str, data: bytes) -> None:
        self.s = sha(b"\1" + tagged(tag) + self.s + struct.pack("<Q", len(data)) + data)

    def words(self, tag: str) -> Any:
        self.s = sha(b"\2" + tagged(tag) + self.s)
        counter = 0
        while True:
            yield from struct.unpack("<8I", sha(b"\3" + self.s + struct.pack("<I", counter)))
            counter += 1

    def challenge(self, tag: str) -> Element:
        found: list[int] = []
        for word in self.words(tag):
            if word & 0x7FFFFFFF < P:
                found.append(word & 0x7FFFFFFF)
            if len(found) == 5:
                break
        return (found[0], found[1], found[2], found[3], found[4])


def merkle_root(tag: str, log_n: int, rows: dict[int, bytes], reader: Reader) -> bytes:
    known = {a: sha(b"\x10" + tagged(tag) + row) for a, row in sorted(rows.items())}
    for _ in range(log_n):
        full = dict(known)
        for a in sorted(known):
            if a ^ 1 not in known:
                full[a ^ 1] = reader.take(32)
        known = {a >> 1: sha(b"\x11" + full[a & ~1] + full[a | 1]) for a in sorted(known)}
    return known[0]


class Reader:
    def __init__(self, transcript: Transcript, data: bytes) -> None:
        self.transcript, self.data, self.at = transcript, data, 0

    def take(self, size: int) -> bytes:
        demand(8, self.at + size <= len(self.data))
        self.at += size
        return self.data[self.at - size : self.at]

    def absorb(self, tag: str, size: int) -> bytes:
        data = self.take(size)
        self.transcript.absorb(tag, data)
        return data

    def elements(self, tag: str, count: int) -> list[Element]:
        return elements(self.absorb(tag, 20 * count))

    def sumcheck(
        self, tag: str, rounds: int, degree: int, claim: Element
    ) -> tuple[list[Element], Element]:
        point = []
        for _ in range(rounds):
            c0, *rest = self.elements(tag, degree)
            r = self.transcript.challenge(tag)
            c1 = add(claim, neg(c0), neg(c0), *(neg(c) for c in rest))
            power, claim = ONE, ZERO
            for c in (c0, c1, *rest):
                claim = add(claim, mul(c, power))
                power = mul(power, r)
            point.append(r)
        return point, claim


def numbers(data: bytes) -> list[int]:
    found = list(struct.unpack(f"<{len(data) // 4}I", data))
    demand(8, all(n < P for n in found))
    return found


def elements(data: bytes) -> list[Element]:
    n = numbers(data)
    return [(n[i], n[i + 1], n[i + 2], n[i + 3], n[i + 4]) for i in range(0, len(n), 5)]
