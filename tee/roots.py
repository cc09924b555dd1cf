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

from proofml.tee.platform import Platform, Root, RootKind

_FILE = "roots.toml"


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
    """A set of anchors; the first that fits a certificate is its root."""

    anchors: tuple[Root, ...]

    @classmethod
    def vendor(cls) -> Roots:
        """The vendors' roots alone, from `roots.toml` in this package."""
        return cls(_vendor())

    def with_custom(self, fingerprints: Iterable[str]) -> Roots:
        """Also roots of real hardware under other anchors, for every platform."""
        return self._with(fingerprints, RootKind.CUSTOM, "root of the policy")

    def with_simulated(self, fingerprints: Iterable[str]) -> Roots:
        """Also software roots: what they vouch for has no hardware behind it."""
        return self._with(fingerprints, RootKind.SIMULATED, "simulated root")

    def _with(self, fingerprints: Iterable[str], kind: RootKind, name: str) -> Roots:
        # Behind the others: a vendor's root in such a list stays the vendor's.
        more = tuple(
            Root(found, platform, kind, name)
            for found in sorted(set(fingerprints))
            for platform in Platform
        )
        return Roots(self.anchors + more)

    def find(self, platform: Platform, der: bytes) -> Root | None:
        """The anchor that this certificate is, for this platform."""
        found = fingerprint(der)
        for anchor in self.anchors:
            if anchor.platform is platform and anchor.sha256 == found:
                return anchor
        return None

    def names(self, platform: Platform) -> tuple[str, ...]:
        """For messages: what would have been accepted."""
        return tuple(
            f"{anchor.name} ({anchor.sha256[:16]}...)"
            for anchor in self.anchors
            if anchor.platform is platform
        )
