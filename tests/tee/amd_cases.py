"""SEV-SNP evidence for tests: real, simulated, and as an attacker signs it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from proofml.errors import VerificationError
from proofml.tee import sev_snp
from proofml.tee.amd_collateral import write_collateral
from proofml.tee.platform import Attestation, Platform, Root, RootKind, Verified
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.simulator.amd_certificates import Key
from proofml.tee.simulator.amd_report import TCB
from tests.tee.conftest import NOW
from tests.tee.platform_cases import number

REPORT_DATA = bytes(range(64))
PRODUCTS = ("Milan", "Genoa", "Turin")
#: 2023-11-14, when all certificates of the real report hold.
REAL_TIME = 1_700_000_000


def holding(authority: AmdAuthority, product: str = "") -> Roots:
    """The vendors' roots and this simulated one; `product` as a vendor's root would have it."""
    digest = fingerprint(authority.root_der)
    root = Root(digest, Platform.SEV_SNP, RootKind.SIMULATED, "simulated root", product)
    return Roots((*Roots.vendor().anchors, root))


def attest(quote: bytes, collateral: bytes) -> Attestation:
    return Attestation(Platform.SEV_SNP, quote, collateral)


def verify(
    authority: AmdAuthority,
    quote: bytes,
    collateral: bytes,
    *,
    roots: Roots | None = None,
    now: int = NOW,
) -> Verified:
    return sev_snp.verify(attest(quote, collateral), roots or holding(authority), now)


def judge(
    authority: AmdAuthority,
    quote: bytes,
    collateral: bytes,
    *,
    roots: Roots | None = None,
    now: int = NOW,
) -> str:
    """The check that refuses, or `accepted`."""
    return number(lambda: verify(authority, quote, collateral, roots=roots, now=now))


def refusal(authority: AmdAuthority, data: bytes, collateral: bytes) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        verify(authority, data, collateral)
    return caught.value


def tcb(**changes: int) -> Mapping[str, int]:
    return {**TCB, **changes}


@cache
def of_product(authority: AmdAuthority, product: str) -> AmdAuthority:
    """Another product line with the same keys, which take long to make."""
    return AmdAuthority.create(NOW, product, keys=authority.keys)


@cache
def other_root(authority: AmdAuthority) -> AmdAuthority:
    """An authority of the attacker's: its root has another key, and the same name."""
    keys: dict[str, Key] = dict(authority.keys)
    keys["ark"], keys["ask"], keys["asvk"] = keys["asvk"], keys["ark"], keys["ask"]
    return AmdAuthority.create(NOW, authority.product, keys=keys)


def quote(authority: AmdAuthority, **claims: Any) -> bytes:
    return authority.quote(report_data=REPORT_DATA, **claims)


def real_report(vectors: Path) -> bytes:
    return (vectors / "tee" / "go_sev_guest_snp_report.bin").read_bytes()


def real_collateral(vectors: Path) -> bytes:
    """The report's VCEK with the chain of its line; no list came with it."""
    folder = vectors / "tee"
    leaf = x509.load_der_x509_certificate((folder / "go_sev_guest_vcek.der").read_bytes())
    pems = (folder / "go_sev_guest_milan_chain.pem").read_bytes()
    return write_collateral(leaf, x509.load_pem_x509_certificates(pems), None)
