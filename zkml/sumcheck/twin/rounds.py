"""What the three twins share: messages, the folding of a vector, and sums over its pairs.

Sumcheck: Lund, Fortnow, Karloff and Nisan (1992), in the form of Thaler, "Proofs, Arguments, and
Zero-Knowledge", section 4.1. Every sumcheck binds variable 0, the lowest bit, first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import Element
from proofml.zkml.sumcheck.transcript import Transcript

Folded: TypeAlias = tuple[Array, Array]


def encode_elements(elements: Sequence[Element]) -> bytes:
    return np.array(elements, "<u4").tobytes()


class Writer:
    """Writes the proof, and absorbs what is written."""

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self._parts: list[bytes] = []

    def send(self, tag: str, data: bytes) -> None:
        self.transcript.absorb(tag, data)
        self._parts.append(data)

    def elements(self, tag: str, elements: Sequence[Element]) -> None:
        self.send(tag, encode_elements(elements))

    def round(self, tag: str, coefficients: Sequence[Element]) -> Element:
        """A round message without c1, which follows from the claim; the challenge of the round."""
        self.elements(tag, coefficients)
        return self.transcript.challenge(tag)

    def silent(self, data: bytes) -> None:
        """After the last challenge nothing needs to be absorbed."""
        self._parts.append(data)

    def bytes(self) -> bytes:
        return b"".join(self._parts)


def halves(a: Array) -> Folded:
    """Values where variable 0 is 0, and the slopes along it."""
    return a[0::2], ext5.vsub(a[1::2], a[0::2])


def bind(a: Array, r: Element) -> Array:
    low, slope = halves(a)
    return ext5.vadd(low, ext5.vmul(slope, ext5.vector([r])))


def inner(a: Array, b: Array) -> Element:
    return ext5.vsum(ext5.vmul(a, b))


def product_round(a: Array, b: Array) -> tuple[Element, Element]:
    """c0 and c2 of X -> sum over pairs of a(X) b(X)."""
    (a0, a1), (b0, b1) = halves(a), halves(b)
    return inner(a0, b0), inner(a1, b1)
