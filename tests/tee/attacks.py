"""What a malicious prover tries, and the number that stops him.

He knows everything but the keys of roots, machines and honest enclaves. So he may run honest
enclaves as he likes, run code of his own on the same hardware, have roots and machines of his own,
write any bytes, recompute every digest and sign the file. `Attack.make` returns the file and, where
it matters, what its victim expects; a victim that is not named pins the model alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from proofml.tee.binding import Mode
from proofml.tee.evidence import Parts
from proofml.tee.platform import Platform
from proofml.testing.attacker import Attacker

from .workshop import Enclave, Verifier, assembled

ALL = tuple(Platform)
INTEL = (Platform.TDX, Platform.SGX)
LOGGED = (Platform.TDX, Platform.NITRO)
BOTH = tuple(Mode)
SESSION = (Mode.SESSION,)
INFERENCE = (Mode.INFERENCE,)


@dataclass(frozen=True)
class Forged:
    """A file, and who is to be deceived by it."""

    data: bytes
    victim: Verifier = field(default_factory=Verifier)


Make = Callable[[Platform, Mode], Forged]


@dataclass(frozen=True)
class Attack:
    """`number` is the check that stops it, by the mode of the proof where they differ.

    Attributes:
        also: another objection that the same lie may raise.
    """

    name: str
    number: str | dict[Mode, str]
    make: Make
    platforms: Sequence[Platform]
    modes: Sequence[Mode]
    also: str = ""

    def stopped_by(self, mode: Mode) -> str:
        return self.number if isinstance(self.number, str) else self.number[mode]


ATTACKS: list[Attack] = []


def attack(
    number: str | dict[Mode, str],
    platforms: Sequence[Platform] = ALL,
    modes: Sequence[Mode] = BOTH,
    *,
    also: str = "",
) -> Callable[[Make], Make]:
    """Put a function into the list, under its name."""

    def put(make: Make) -> Make:
        name = make.__name__.replace("_", "-")
        ATTACKS.append(Attack(name, number, make, platforms, modes, also))
        return make

    return put


def taken_apart(platform: Platform, mode: Mode) -> Attacker:
    """An honest proof, in pieces."""
    return Attacker.of(Enclave.start(platform, mode).proof())


def with_parts(enclave: Enclave, change: Callable[[Parts], Parts]) -> bytes:
    """An honest inference with other evidence."""
    found = enclave.infer()
    return assembled(found, change(enclave.parts(found)))


def requoted(parts: Parts, **changes: bytes) -> Parts:
    """With another quote, collateral or event log."""
    return replace(parts, attestation=replace(parts.attestation, **changes))
