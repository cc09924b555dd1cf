"""Attributes of machines and guests: their names, and what is demanded of them by default.

A demand is a value that an attribute has to have. `debug` is not among them: it has a check and a
key of its own (tee.17). Attributes without a demand are the machine owner's choice, and a policy
can make demands of them (`attributes`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from proofml.tee.checks import ATTRIBUTES as NUMBER
from proofml.tee.platform import Finding, Platform, Source, Truth, Verified

#: Attribute -> why it matters, for the findings.
ATTRIBUTES: Final[Mapping[Platform, Mapping[str, str]]] = MappingProxyType(
    {
        Platform.TDX: {
            "hgs_plus_prof": "the host may profile the guest (scheduling)",
            "perf_prof": "the host may profile the guest (performance counters)",
            "pmt_prof": "the host may profile the guest (telemetry)",
            "icssd": "single steps by the host are hindered, by counting instructions",
            "lass": "linear addresses are separated",
            "sept_ve_disable": "pages that the host takes away raise no exception in the guest",
            "migratable": "the guest can be moved to another machine by a service TD",
            "pks": "supervisor protection keys",
            "kl": "Key Locker",
            "tpa": "the guest provisions devices (TDX Connect)",
            "perfmon": "performance counters are the guest's own",
        },
        Platform.SGX: {
            "init": "the enclave is initialised",
            "mode64bit": "the enclave runs 64-bit code",
            "provision_key": "the enclave may derive the key that identifies the machine",
            "einittoken_key": "the enclave may derive the key of launch tokens",
            "cet": "control flow is enforced",
            "kss": "keys are separated, and CONFIGID has a meaning",
            "aex_notify": "the enclave learns that it was interrupted",
        },
        Platform.SEV_SNP: {
            "vmpl0": "the report was asked for at the guest's highest privilege, not by the host",
            "migrate_ma": "a migration agent may move the guest to another machine",
            "smt": "the guest may run where hyperthreads are on",
            "single_socket": "the guest runs on one socket alone",
            "cxl": "the guest may use CXL devices",
            "mem_aes_256_xts": "memory is encrypted with 256-bit keys",
            "rapl_dis": "power readings of the processor are off",
            "ciphertext_hiding_dram": "the host cannot read the guest's ciphertext",
            "page_swap_disable": "the host cannot swap the guest's pages out or move them",
            "smt_on": "hyperthreads are on",
            "tsme_on": "all memory is encrypted, not only the guest's",
            "ecc_on": "memory has error correction",
            "rapl_off": "power readings are off on this machine",
            "ciphertext_hiding_on": "ciphertext is hidden on this machine",
            "alias_check_complete": "memory was checked for aliases at the start (BadRAM)",
            "tio_on": "trusted devices are on",
        },
        Platform.NITRO: {},
    }
)

#: What has to hold where a policy does not say otherwise.
DEMANDS: Final[Mapping[Platform, Mapping[str, bool]]] = MappingProxyType(
    {
        # Whoever may profile a guest may see what it does: as little trusted as one in debug mode.
        Platform.TDX: {
            "hgs_plus_prof": False,
            "perf_prof": False,
            "pmt_prof": False,
            "sept_ve_disable": True,
            "migratable": False,
        },
        Platform.SGX: {
            "init": True,
            "mode64bit": True,
            "provision_key": False,
            "einittoken_key": False,
        },
        # A report that the host asked for (any VMPL but 0) has report data of the host's choice.
        Platform.SEV_SNP: {"vmpl0": True, "migrate_ma": False},
        Platform.NITRO: {},
    }
)


def attribute_findings(verified: Verified, demanded: Mapping[str, bool]) -> tuple[Finding, ...]:
    """One finding for each demand, the policy's `demanded` before the default ones.

    An attribute that the quote does not have is refuted: nobody says that it is as demanded.
    """
    known = ATTRIBUTES[verified.platform]
    demands = dict(DEMANDS[verified.platform])
    demands |= {name: value for name, value in demanded.items() if name in known}
    found = []
    for name, wanted in demands.items():
        got = verified.attributes.get(name)
        truth = Truth.ASSERTED if got is wanted else Truth.REFUTED
        detail = f"{known[name]}: {_words(got)}"
        if truth is Truth.REFUTED:
            detail += f", expected {_words(wanted)}"
        found.append(Finding(NUMBER, f"attribute {name}", truth, Source.HARDWARE, detail))
    return tuple(found)


def _words(value: bool | None) -> str:
    return "not said" if value is None else "yes" if value else "no"
