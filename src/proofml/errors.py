"""The one error tree. Every message says where, what was expected, what came, what to do next.

Two kinds are kept apart: you misused the tool (`UsageError`), or the evidence lies
(`VerificationError`). The exit codes of the command line are a contract; see `EXIT_*`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

EXIT_ACCEPTED = 0
EXIT_INVALID = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_UNAVAILABLE = 4
EXIT_FAILED = 5


#: Characters that a terminal acts upon, or that reorder the line in which they stand.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LONGEST = 600


def printable(value: object) -> str:
    """One line of bounded length that is safe to print, whoever wrote it."""
    text = CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


class ProofmlError(Exception):
    """Root of the tree; `exit_code` is what the command line ends with."""

    exit_code = EXIT_FAILED


class UsageError(ProofmlError):
    """The caller misused the API or the command line."""

    exit_code = EXIT_USAGE


class UnsupportedModel(ProofmlError):
    """The model is broken, out of bounds, or outside what the backend can take."""

    exit_code = EXIT_USAGE


class BackendUnavailable(ProofmlError):
    """The backend's packages are not installed; the message names the extra."""

    exit_code = EXIT_UNAVAILABLE


class BackendFailed(ProofmlError):
    """The backend crashed, ran out of a resource, timed out, or refused to do its work.

    `stage` names what was running, `last_words` is the end of what the worker printed.
    """

    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, stage: str | None = None, last_words: str = "") -> None:
        text = message if not last_words else f"{message}\n  last words: {last_words}"
        super().__init__(text)
        self.stage = stage
        self.last_words = last_words


class VerificationError(ProofmlError):
    """The proof is bad. `check` is the number of the check that refused it.

    This is the only exception that untrusted bytes can cause on the verify side. What it quotes
    of them is made printable and cut.
    """

    exit_code = EXIT_INVALID

    def __init__(
        self, check: str, message: str, *, expected: object = None, got: object = None
    ) -> None:
        self.check = check
        self.reason = printable(message)
        self.expected = None if expected is None else printable(expected)
        self.got = None if got is None else printable(got)
        text = f"check {check}: {self.reason}"
        if self.expected is not None:
            text += f"; expected {self.expected}"
        if self.got is not None:
            text += f"; got {self.got}"
        super().__init__(text)


class PolicyRefused(ProofmlError):
    """The proof is good and this verifier's policy says no; `reasons` lists why."""

    exit_code = EXIT_REFUSED

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("refused by policy: " + "; ".join(self.reasons))
