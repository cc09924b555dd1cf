"""Nouns that all platforms share: evidence as it travels, roots, and what was verified."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Platform(StrEnum):
    TDX = "tdx"
    SGX = "sgx"
    SEV_SNP = "sev-snp"
    NITRO = "nitro"


class RootKind(StrEnum):
    """Whose word a root stands for.

    VENDOR: pinned in this package. CUSTOM: the policy's own, for hardware under another anchor.
    SIMULATED: a software root; there is no hardware behind it.
    """

    VENDOR = "vendor"
    CUSTOM = "custom"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Root:
    """A trust anchor: it is known by the SHA-256 of its DER certificate, 64 hexadecimal digits.

    `product` is what it vouches for, such as `Milan`; empty where it does not matter.
    """

    sha256: str
    platform: Platform
    kind: RootKind
    name: str
    product: str = ""


@dataclass(frozen=True)
class Attestation:
    """Evidence of one quote, as it travels; nothing of it has been checked.

    Attributes:
        quote: TDX or SGX quote, SEV-SNP report, or Nitro COSE_Sign1 document.
        collateral: Intel: the collateral as JSON. AMD: certificates and revocation list as JSON
            of PEM texts. Nitro: empty, the document carries its certificates.
        event_log: canonical JSON, empty where the platform has no registers that grow.
    """

    platform: Platform
    quote: bytes
    collateral: bytes = b""
    event_log: bytes = b""


@dataclass(frozen=True)
class Verified:
    """What the hardware says, read from bytes whose signature was checked.

    Attributes:
        root: that signed in the end; its kind decides what the verdict assumes.
        report_data: 64 bytes that the guest chose (Nitro: its `user_data`, at most 512 bytes).
        measurements: register -> hexadecimal digits: `mrtd`, `rtmr0`..`rtmr3`, `mrconfigid`, ...;
            `mrenclave`, `mrsigner`; `measurement`, `host_data`, ...; `pcr0`..`pcr31`.
        svns: name -> security version number, for tee.19.
        attributes: name -> flag, for tee.17 (`debug`) and tee.20.
        tcb_status: Intel's status of the platform, None where the vendor has no such notion.
        advisories: identifiers such as `INTEL-SA-00837`.
        not_before, not_after: seconds since 1970: certificates, lists and collateral all hold
            from the one to the other.
        details: facts for the reader (FMSPC, chip id, product, ...).
    """

    platform: Platform
    root: Root
    report_data: bytes
    measurements: Mapping[str, str]
    svns: Mapping[str, int]
    attributes: Mapping[str, bool]
    not_before: int
    not_after: int
    tcb_status: str | None = None
    advisories: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


class Truth(StrEnum):
    ASSERTED = "asserted"
    REFUTED = "refuted"
    UNKNOWN = "unknown"


class Source(StrEnum):
    """Who says it: the signed hardware report, this verifier by recomputing, or the provider."""

    HARDWARE = "hardware"
    DERIVED = "derived"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Finding:
    """One point of an appraisal. `number` is its check, `detail` what was found and expected."""

    number: str
    claim: str
    truth: Truth
    source: Source
    detail: str = ""
