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

    def require(self, tag: str, size: int) -> None:
        """Refuse a proof that ends within the next `size` bytes, before any of them is used."""
        if self._at + size > len(self._data):
            refuse(
                checks.ENCODING,
                f"the proof ends inside {tag!r}",
                expected=f"at least {self._at + size} bytes",
                got=len(self._data),
            )

    def take(self, tag: str, size: int) -> bytes:
        """The next bytes, not absorbed."""
        self.require(tag, size)
        found = self._data[self._at : self._at + size]
        self._at += size
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
        """The rounds of a sumcheck: the point and the claim that is left; see `engine.rounds`."""
        data = self.take(tag, ELEMENT_BYTES * degree * rounds)
        return engine.rounds(tag, rounds, degree, claim, data, self.transcript)
