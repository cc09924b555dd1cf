"""Check tee.15: is this an answer to a question that was just asked, or an old one?

What vouches for freshness, the strongest first:

    nonce store      the nonce was issued here and is used up now: once and never again
    nonce            the verifier pinned it (core.11), and is on its own to give each one out once
    challenge        of the session, bound by its quote: the quote is younger than the challenge
    age              by the clock of the enclave (receipts, sessions) or of the hypervisor (Nitro)

An age rests on a clock that whoever runs the machine can set. A quote of Intel or AMD has no time:
without session or nonce nothing tells how old it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from proofml.tee.binding import Session
from proofml.tee.checks import FRESHNESS, refuse
from proofml.tee.platform import Platform, Verified
from proofml.tee.policy import TeePolicy
from proofml.tee.receipt_chain import Segment

#: Seconds by which another machine's clock may be ahead.
SKEW: Final = 300


@dataclass(frozen=True)
class Age:
    """How old something is: `seconds`, or None where nothing tells; `vouched` needs no clock."""

    what: str
    seconds: int | None
    vouched: str = ""

    def __str__(self) -> str:
        if self.seconds is None:
            words = f"{self.what}: age not known"
        elif self.seconds < 0:
            words = f"{self.what}: {-self.seconds} s in the future, by its own clock"
        else:
            words = f"{self.what}: {self.seconds} s, by its own clock"
        return f"{words} ({self.vouched})" if self.vouched else words

    def objection(self, most: int | None) -> str:
        """Why a policy that bounds the age refuses; empty where it does not."""
        if most is None or self.vouched:
            return ""
        if self.seconds is not None and -SKEW <= self.seconds <= most:
            return ""
        return f"{FRESHNESS}: {self}; max_age is {most} s"


@dataclass(frozen=True)
class Ages:
    """Of the quote, and of the inference where it has a time of its own."""

    ages: tuple[Age, ...] = field(default=())

    def objections(self, policy: TeePolicy) -> tuple[str, ...]:
        found = (age.objection(policy.max_age) for age in self.ages)
        return tuple(one for one in found if one)

    def __str__(self) -> str:
        return "; ".join(map(str, self.ages))


def check_challenge(policy: TeePolicy, session: Session | None) -> None:
    """The session's challenge is the policy's, where it has one.

    Raises:
        VerificationError: tee.15.
    """
    if policy.challenge is None:
        return
    got = None if session is None else session.challenge
    if got != policy.challenge:
        refuse(
            FRESHNESS,
            "challenge of the session",
            expected=policy.challenge.hex(),
            got="no session" if session is None else "none" if got is None else got.hex(),
        )


def ages_of(
    verified: Verified,
    session: Session | None,
    segment: Segment | None,
    policy: TeePolicy,
    now: int,
    *,
    nonce: bool,
) -> Ages:
    """How old everything is at `now` (seconds since 1970).

    Args:
        nonce: the verifier pinned the Statement's nonce, or keeps which were used.
    """
    by_nonce = "fresh by its nonce" if nonce else ""
    if session is None:
        return Ages((Age("quote", _since(_hypervisor_time(verified), now), by_nonce),))
    by_challenge = "fresh by its challenge" if policy.challenge is not None else ""
    found = [Age("session", now - session.started, by_challenge)]
    if segment is not None:
        found.append(Age("receipt", now - segment.last.time, by_nonce))
    return Ages(tuple(found))


def _hypervisor_time(verified: Verified) -> int | None:
    """Seconds since 1970 at which a Nitro document was made."""
    if verified.platform is not Platform.NITRO:
        return None
    return int(verified.details["timestamp"]) // 1000


def _since(time: int | None, now: int) -> int | None:
    return None if time is None else now - time
