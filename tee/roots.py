"""Trust anchors: the vendors' roots, pinned by fingerprint, and those of a verifier's own policy.

Evidence carries its own root certificate, since verifying needs its key. It is used where its
fingerprint is among these, and refused otherwise: nothing is trusted for being there.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from proofml.errors import UsageError, printable
from proofml.fields import HEX_SHA256
from proofml.tee.platform import Platform, Root, RootKind

_FILE: Final = "roots.toml"
#: A fingerprint that is listed twice is what says most about it: a vendor's root stays the
#: vendor's, and a software root is one whatever else a policy calls it.
_KINDS: Final = (RootKind.VENDOR, RootKind.SIMULATED, RootKind.CUSTOM)


def fingerprint(der: bytes) -> str:
    """SHA-256 of a DER certificate, 64 hexadecimal digits."""
    return hashlib.sha256(der).hexdigest()


@cache
def _vendor() -> tuple[Root, ...]:
    text = files("proofml.tee").joinpath(_FILE).read_text(encoding="utf-8")
    return tuple(
        Root(
            entry["sha256"],
            Platform(entry["platform"]),
            RootKind.VENDOR,
            entry["name"],
            entry["product"],
        )
        for entry in tomllib.loads(text)["root"]
    )


@dataclass(frozen=True)
class Roots:
    """A set of anchors.

    Attributes:
        anchors: in the order in which they were named, the vendors' first.
    """

    anchors: tuple[Root, ...]

    @classmethod
    def vendor(cls) -> Roots:
        """The vendors' roots alone, from `roots.toml` in this package."""
        return cls(_vendor())

    def with_custom(self, fingerprints: Iterable[str]) -> Roots:
        """Also roots of real hardware under other anchors, for every platform.

        Raises:
            UsageError: not 64 lower-case hexadecimal digits.
        """
        return self._with(fingerprints, RootKind.CUSTOM, "root of the policy")

    def with_simulated(self, fingerprints: Iterable[str]) -> Roots:
        """Also software roots: what they vouch for has no hardware behind it.

        Raises:
            UsageError: not 64 lower-case hexadecimal digits.
        """
        return self._with(fingerprints, RootKind.SIMULATED, "simulated root")

    def _with(self, fingerprints: Iterable[str], kind: RootKind, name: str) -> Roots:
        named = sorted(set(fingerprints))
        for one in named:
            if not HEX_SHA256.fullmatch(one):
                raise UsageError(
                    f"{name}: expected the SHA-256 of a DER certificate, 64 lower-case hexadecimal "
                    f"digits, got {printable(one)!r}"
                )
        more = tuple(Root(one, platform, kind, name) for one in named for platform in Platform)
        return Roots(self.anchors + more)

    def find(self, platform: Platform, der: bytes) -> Root | None:
        """The anchor that this certificate is, for this platform."""
        digest = fingerprint(der)
        fitting = [
            anchor
            for anchor in self.anchors
            if anchor.platform is platform and anchor.sha256 == digest
        ]
        return min(fitting, key=lambda anchor: _KINDS.index(anchor.kind), default=None)

    def names(self, platform: Platform) -> tuple[str, ...]:
        """For messages: what would have been accepted."""
        return tuple(
            f"{anchor.name} ({anchor.sha256[:16]}...)"
            for anchor in self.anchors
            if anchor.platform is platform
        )
