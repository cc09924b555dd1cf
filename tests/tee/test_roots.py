"""Which certificates are roots, whose they are, and where the pins come from."""

from __future__ import annotations

import hashlib
import json
import tomllib
from importlib.resources import files
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.errors import UsageError
from proofml.tee.platform import Platform, RootKind
from proofml.tee.roots import Roots, fingerprint
from tests.tee.nitro_cases import real_document

DER = b"some certificate"
DIGEST = hashlib.sha256(DER).hexdigest()
PINNED = {
    Platform.TDX: {"44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3": ""},
    Platform.SGX: {"44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3": ""},
    Platform.SEV_SNP: {
        "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd": "Milan",
        "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1": "Genoa",
        "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a": "Turin",
    },
    Platform.NITRO: {"641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b": ""},
}


def entries() -> list[dict[str, str]]:
    text = files("proofml.tee").joinpath("roots.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    assert set(found) == {"root"}
    return list(found["root"])


def pems(data: bytes) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(data)]


def test_each_pin_says_what_it_is_and_where_it_comes_from() -> None:
    for entry in entries():
        assert set(entry) == {"platform", "name", "product", "sha256", "source", "note"}
        assert entry["name"]
        assert entry["note"]
        assert entry["source"].startswith("https://")


def test_the_vendors_roots_are_these_and_no_others() -> None:
    found: dict[Platform, dict[str, str]] = {}
    for root in Roots.vendor().anchors:
        assert root.kind is RootKind.VENDOR
        found.setdefault(root.platform, {})[root.sha256] = root.product
    assert found == PINNED
    assert len(Roots.vendor().anchors) == 6


@pytest.mark.parametrize(
    "name", ["dcap_qvl_tdx_quote_v4.collateral.json", "dcap_qvl_sgx_quote_v3.collateral.json"]
)
def test_intels_root_ends_the_chains_of_real_collateral(vectors: Path, name: str) -> None:
    collateral = json.loads((vectors / "tee" / name).read_text(encoding="utf-8"))
    chains = [value for key, value in collateral.items() if key.endswith("chain")]
    assert len(chains) == 3
    for chain in chains:
        last = pems(chain.encode())[-1]
        for platform in (Platform.TDX, Platform.SGX):
            root = Roots.vendor().find(platform, last)
            assert root is not None
            assert root.name == "Intel SGX Root CA"
        assert Roots.vendor().find(Platform.SEV_SNP, last) is None


def test_amds_root_ends_the_real_milan_chain(vectors: Path) -> None:
    chain = pems((vectors / "tee" / "go_sev_guest_milan_chain.pem").read_bytes())
    root = Roots.vendor().find(Platform.SEV_SNP, chain[-1])
    assert root is not None
    assert (root.name, root.product) == ("ARK-Milan", "Milan")
    assert Roots.vendor().find(Platform.SEV_SNP, chain[0]) is None


def test_awss_root_begins_the_bundle_of_a_real_document(vectors: Path) -> None:
    message = cbor2.loads(real_document(vectors))
    bundle = cbor2.loads(message[2])["cabundle"]
    root = Roots.vendor().find(Platform.NITRO, bundle[0])
    assert root is not None
    assert root.name == "aws.nitro-enclaves"
    assert Roots.vendor().find(Platform.NITRO, bundle[1]) is None


def test_a_certificate_that_nobody_named_is_no_root() -> None:
    for platform in Platform:
        assert Roots.vendor().find(platform, DER) is None
        assert Roots(()).find(platform, DER) is None
    assert fingerprint(DER) == DIGEST


@pytest.mark.parametrize("platform", Platform)
def test_a_root_of_the_policy_is_one_for_every_platform_and_says_so(platform: Platform) -> None:
    custom = Roots.vendor().with_custom([DIGEST]).find(platform, DER)
    assert custom is not None
    assert (custom.kind, custom.product) == (RootKind.CUSTOM, "")
    simulated = Roots.vendor().with_simulated([DIGEST]).find(platform, DER)
    assert simulated is not None
    assert simulated.kind is RootKind.SIMULATED
    assert Roots.vendor().find(platform, DER) is None


def test_what_is_listed_twice_is_what_says_most_about_it() -> None:
    both = Roots.vendor().with_custom([DIGEST]).with_simulated([DIGEST])
    other = Roots.vendor().with_simulated([DIGEST]).with_custom([DIGEST])
    for roots in (both, other):
        found = roots.find(Platform.TDX, DER)
        assert found is not None
        assert found.kind is RootKind.SIMULATED


def test_a_vendors_root_stays_the_vendors(vectors: Path) -> None:
    der = pems((vectors / "tee" / "go_sev_guest_milan_chain.pem").read_bytes())[-1]
    roots = Roots(()).with_simulated([fingerprint(der)]).with_custom([fingerprint(der)])
    roots = Roots(roots.anchors + Roots.vendor().anchors)
    found = roots.find(Platform.SEV_SNP, der)
    assert found is not None
    assert (found.kind, found.product) == (RootKind.VENDOR, "Milan")


@pytest.mark.parametrize(
    "wrong", ["", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), f"{DIGEST[:-1]}g", f"{DIGEST}\n"]
)
def test_a_fingerprint_is_64_lower_case_digits(wrong: str) -> None:
    for add in (Roots.vendor().with_custom, Roots.vendor().with_simulated):
        with pytest.raises(UsageError, match="64 lower-case hexadecimal digits"):
            add([wrong])


def test_names_are_those_of_the_platform() -> None:
    names = Roots.vendor().with_simulated([DIGEST]).names(Platform.SEV_SNP)
    assert names[:3] == (
        "ARK-Milan (69d063b45344d26a...)",
        "ARK-Genoa (4c6598d19c18719c...)",
        "ARK-Turin (1f084161a44bb6d9...)",
    )
    assert names[3:] == (f"simulated root ({DIGEST[:16]}...)",)
