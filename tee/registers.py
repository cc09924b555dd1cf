"""Names that a policy may use: registers with their sizes, security versions, attributes.

They are those of `Verified.measurements`, `.svns` and `.attributes` on each platform. What says
which code runs stands in `identity`; everything else describes the machine, the owner or the boot.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proofml.tee.eventlog import COMPOSE_HASH_BYTES, COMPOSE_HASH_EVENT
from proofml.tee.platform import Platform

_SHA256, _SHA384, _SHA512 = 32, 48, 64

#: Register -> its size in bytes. `compose-hash` is dstack's event, taken from the replayed log.
REGISTERS: Final[Mapping[Platform, Mapping[str, int]]] = MappingProxyType(
    {
        Platform.TDX: {
            **dict.fromkeys(
                (
                    "mrtd",
                    "rtmr0",
                    "rtmr1",
                    "rtmr2",
                    "rtmr3",
                    "mrconfigid",
                    "mrowner",
                    "mrownerconfig",
                    "mrseam",
                    "mrsignerseam",
                    "mrservicetd",
                ),
                _SHA384,
            ),
            COMPOSE_HASH_EVENT: COMPOSE_HASH_BYTES,
        },
        Platform.SGX: {
            "mrenclave": _SHA256,
            "mrsigner": _SHA256,
            "configid": _SHA512,
            "isvprodid": 2,
            "isvextprodid": 16,
            "isvfamilyid": 16,
        },
        Platform.SEV_SNP: {
            "measurement": _SHA384,
            "host_data": _SHA256,
            "id_key_digest": _SHA384,
            "author_key_digest": _SHA384,
            "family_id": 16,
            "image_id": 16,
        },
        Platform.NITRO: {
            **{f"pcr{index}": _SHA384 for index in range(32)},
            COMPOSE_HASH_EVENT: COMPOSE_HASH_BYTES,
        },
    }
)

#: Security versions; those of `LEVELS` say how old the machine's firmware is. SEV-SNP: without a
#: word before them they are the lowest of the reported, committed and launch TCB.
SVNS: Final[Mapping[Platform, frozenset[str]]] = MappingProxyType(
    {
        Platform.TDX: frozenset({"pce_svn", "qe_isv_svn", "tcb_evaluation"})
        | {f"tee_tcb_svn{index}" for index in range(16)},
        Platform.SGX: frozenset(
            {"isv_svn", "config_svn", "pce_svn", "qe_isv_svn", "tcb_evaluation"}
        ),
        Platform.SEV_SNP: frozenset(
            f"{prefix}{part}_svn"
            for prefix in ("", "reported_", "committed_", "launch_")
            for part in ("bootloader", "tee", "snp", "microcode", "fmc")
        )
        | {"guest_svn"},
        Platform.NITRO: frozenset(),
    }
)
#: Platforms of whose machines the vendor signs a status.
WITH_STATUS: Final = frozenset({Platform.TDX, Platform.SGX})
#: What a policy has to bound from below, so that old firmware does not pass. AMD signs no status
#: of its firmware. Intel does, and signs those of its older evaluations anew for months, which
#: find good what a later one does not.
LEVELS: Final[Mapping[Platform, tuple[str, ...]]] = MappingProxyType(
    {
        Platform.TDX: ("tcb_evaluation",),
        Platform.SGX: ("tcb_evaluation",),
        Platform.SEV_SNP: (
            "bootloader_svn",
            "tee_svn",
            "snp_svn",
            "microcode_svn",
            "fmc_svn",
        ),
    }
)


def identity(platform: Platform, measured: Mapping[str, str], pinned: frozenset[str]) -> list[str]:
    """Registers that say which code runs, of those in `measured`, and that `pinned` leaves out.

    TDX: MRTD is the firmware; RTMR0 to 2 are what it measured of itself, of the kernel and of its
    command line, and are zero where it measured nothing; RTMR3 is replayed from the log, of which
    dstack's application is one event. SGX: the enclave itself, or whoever signed it together with
    the product. SEV-SNP: the launch digest. Nitro: PCR0 is the whole image.
    """
    if platform is Platform.TDX:
        wanted = ["mrtd"]
        wanted += [name for name in ("rtmr0", "rtmr1", "rtmr2") if _set(measured.get(name))]
    elif platform is Platform.SGX:
        by_signer = "mrsigner" in pinned and "mrenclave" not in pinned
        wanted = ["mrsigner", "isvprodid"] if by_signer else ["mrenclave"]
    elif platform is Platform.SEV_SNP:
        wanted = ["measurement"]
    else:
        wanted = ["pcr0"]
    if COMPOSE_HASH_EVENT in measured:
        wanted.append(COMPOSE_HASH_EVENT)
    return [name for name in wanted if name not in pinned]


def _set(digits: str | None) -> bool:
    """Whether anything was measured into the register."""
    return bool(digits) and set(digits or "") != {"0"}
