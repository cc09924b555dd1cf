"""What this processor can do, as far as onnxruntime's integer kernels depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

#: Where Linux says what the processor can do.
CPUINFO = Path("/proc/cpuinfo")
_VNNI = frozenset(("avx512_vnni", "avx_vnni"))
#: Instructions by which onnxruntime chooses its integer kernels, on x86 and on ARM.
_KERNELS = frozenset(
    ("avx2", "avx512f", "avx512bw", "avx_vnni_int8", "amx_int8", "asimddp", "i8mm", "sve", *_VNNI)
)


def features() -> frozenset[str]:
    """Those of the instructions above that this processor has; none where nobody says."""
    try:
        return _KERNELS.intersection(CPUINFO.read_text("utf-8", errors="replace").split())
    except OSError:
        return frozenset()


def sums_exactly() -> bool:
    """Whether onnxruntime adds products of codes here without saturating in between.

    On x86 without VNNI it multiplies uint8 by int8 with VPMADDUBSW, which adds two products in 16
    bits; whether that saturates depends on the input, so that no comparison settles it.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    return not _VNNI.isdisjoint(features())
