"""Where the simulator keeps its software roots, and which of them this cache holds.

A verifier knows a simulated root only by fingerprint in its policy, or because its own cache holds
that simulator. What is read here are certificates; the keys beside them are the simulator's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from proofml.store import Store
from proofml.tee.platform import Platform
from proofml.tee.roots import fingerprint

#: Folder of each platform's root, below `folder(store)`; Intel's has two platforms.
VENDORS: Final = {
    Platform.TDX: "intel",
    Platform.SGX: "intel",
    Platform.SEV_SNP: "amd",
    Platform.NITRO: "aws",
}
ROOT_FILE: Final = "root.der"
_MAX_ROOT_BYTES: Final = 1 << 14


def folder(store: Store, platform: Platform) -> Path:
    """Where the keys and the root of this platform's simulator are."""
    return store.root / "tee-simulator" / VENDORS[platform]


def roots_of(store: Store) -> dict[Platform, str]:
    """Platform -> fingerprint of its simulated root, for those that this cache holds."""
    found = {}
    for platform in Platform:
        try:
            with (folder(store, platform) / ROOT_FILE).open("rb") as file:
                found[platform] = fingerprint(file.read(_MAX_ROOT_BYTES))
        except OSError:
            continue
    return found


def known_roots(store: Store) -> frozenset[str]:
    """Fingerprints of the simulated roots that this cache holds."""
    return frozenset(roots_of(store).values())
