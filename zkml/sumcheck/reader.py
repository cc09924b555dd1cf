"""Untrusted proof bytes, read from front to back and absorbed: checks sumcheck.8 and 23."""

from __future__ import annotations

from proofml.circuits.field import ext5
from proofml.circuits.field.ext5 import Element
from proofml.zkml.sumcheck import checks, engine
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.transcript import Transcript

ELEMENT_BYTES = 4 * ext5.DEGREE
DIGEST_BYTES = 32


class Reader:
    """There are no length fields: the circuit says what comes next."""

    def __init__(self, transcript: Transcript, data: bytes) -> None:
        self.transcript = transcript
        self._data = data
        self._at = 0

    def take(self, tag: str, size: int) -> bytes:
        """The next bytes, not absorbed."""
        end = self._at + size
        if end > len(self._data):
            refuse(
                checks.ENCODING,
                f"the proof ends inside {tag!r}",
                expected=f"at least {end} bytes",
                got=len(self._data),
            )
        found = self._data[self._at : end]
        self._at = end
        return found

    def absorb(self, tag: str, size: int) -> bytes:
        """The next bytes, absorbed under their tag."""
        found = self.take(tag, size)
        self.transcript.absorb(tag, found)
        return found

    def elements(self, tag: str, count: int) -> list[Element]:
        """The next `count` elements of F as one message."""
        data = self.absorb(tag, ELEMENT_BYTES * count)
        return engine.decode_elements(data, tag)

    def element(self, tag: str) -> Element:
        return self.elements(tag, 1)[0]

    def rest(self) -> bytes:
        """What has not been read, to be read by somebody else; see `skip`."""
        return self._data[self._at :]

    def skip(self, count: int) -> None:
        self._at += count

    def done(self) -> None:
        if self._at != len(self._data):
            refuse(checks.LENGTH, "bytes after the proof", expected=self._at, got=len(self._data))

    def sumcheck(
        self, tag: str, rounds: int, degree: int, claim: Element
    ) -> tuple[list[Element], Element]:
        """The rounds of a sumcheck: the point and the claim that is left.

        A round message holds c0, c2, .., cd; c1 = claim - 2 c0 - c2 - .. - cd, so that the round
        polynomial's values at 0 and 1 add up to the claim by construction.
        """
        point: list[Element] = []
        for _ in range(rounds):
            c0, *rest = self.elements(tag, degree)
            r = self.transcript.challenge(tag)
            c1 = ext5.sub(claim, ext5.total([c0, c0, *rest]))
            claim = (0, 0, 0, 0, 0)
            for c in reversed([c0, c1, *rest]):
                claim = ext5.add(ext5.mul(claim, r), c)
            point.append(r)
        return point, claim
