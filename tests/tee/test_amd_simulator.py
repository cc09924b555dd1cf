"""The simulated product line: what it makes has AMD's shapes, and its keys are kept."""

from __future__ import annotations

import stat
from dataclasses import fields
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from proofml.errors import UsageError
from proofml.tee.amd_collateral import (
    LAYOUTS,
    read_collateral,
    read_endorsement,
    write_collateral,
)
from proofml.tee.known_simulators import ROOT_FILE
from proofml.tee.roots import Roots, fingerprint
from proofml.tee.sev_snp import TCB_PARTS
from proofml.tee.simulator.amd import DAY, AmdAuthority
from proofml.tee.simulator.amd_certificates import integer, issue, text
from proofml.tee.simulator.amd_report import CPUID, TCB, Claims, tcb_bytes
from proofml.tee.snp_report import REPORT_BYTES, SigningKey, parse
from tests.tee.amd_cases import (
    PRODUCTS,
    REPORT_DATA,
    holding,
    judge,
    of_product,
    other_root,
    quote,
    real_collateral,
    verify,
)
from tests.tee.conftest import NOW

KEYS = {"ark", "ask", "asvk", "vcek", "vlek"}


@pytest.fixture
def saved(amd: AmdAuthority, tmp_path: Path) -> Path:
    folder = tmp_path / "simulated"
    amd.save(folder)
    return folder


def test_what_was_saved_is_loaded(amd: AmdAuthority, saved: Path) -> None:
    again = AmdAuthority.load(saved)
    assert (again.root_der, again.product, again.chip_id) == (
        amd.root_der,
        amd.product,
        amd.chip_id,
    )
    for name in KEYS:
        assert again.keys[name].private_numbers() == amd.keys[name].private_numbers()
    assert judge(amd, quote(again), again.collateral(NOW)) == "accepted"


def test_keys_are_their_owners_alone(saved: Path) -> None:
    names = {path.name for path in saved.iterdir()}
    assert names == {f"{name}.pem" for name in KEYS} | {ROOT_FILE, "product"}
    for path in saved.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.stat().st_mode) == 0o700


def test_a_folder_is_written_over_as_a_whole(amd: AmdAuthority, saved: Path) -> None:
    other = of_product(amd, "Genoa")
    (saved / "ark.pem.part").write_bytes(b"left by a start that was cut off")
    other.save(saved)
    assert AmdAuthority.load(saved).product == "Genoa"
    assert not list(saved.glob("*.part"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("ark.pem", None),
        ("vlek.pem", None),
        (ROOT_FILE, None),
        ("product", None),
        ("ask.pem", b"no key"),
        (ROOT_FILE, b"no certificate"),
        ("product", b"Rome"),
        ("product", b"\xff"),
    ],
)
def test_a_broken_folder_is_a_usage_error(saved: Path, name: str, data: bytes | None) -> None:
    path = saved / name
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError, match="delete the folder"):
        AmdAuthority.load(saved)


def test_a_key_of_another_kind_is_a_usage_error(saved: Path) -> None:
    for name, other in (("ark", "vcek"), ("vcek", "ark")):
        before = (saved / f"{name}.pem").read_bytes()
        (saved / f"{name}.pem").write_bytes((saved / f"{other}.pem").read_bytes())
        with pytest.raises(UsageError, match=f"{name}.pem holds a key of another kind"):
            AmdAuthority.load(saved)
        (saved / f"{name}.pem").write_bytes(before)


def test_a_root_of_another_key_is_a_usage_error(amd: AmdAuthority, saved: Path) -> None:
    (saved / ROOT_FILE).write_bytes(other_root(amd).root_der)
    with pytest.raises(UsageError, match="not the certificate of ark"):
        AmdAuthority.load(saved)


def test_a_product_that_does_not_exist_is_a_usage_error(amd: AmdAuthority) -> None:
    with pytest.raises(UsageError, match="Milan, Genoa, Turin"):
        AmdAuthority.create(NOW, "Rome", keys=amd.keys)


# --- shapes ----------------------------------------------------------------------------------


def shape(certificate: x509.Certificate) -> dict[str, object]:
    """What of a certificate AMD's specification fixes, without names, keys and dates."""
    key = certificate.public_key()
    found: dict[str, object] = {
        "signed with": type(certificate.signature_algorithm_parameters).__name__,
        "hash": certificate.signature_hash_algorithm and certificate.signature_hash_algorithm.name,
        "key": f"RSA-{key.key_size}" if isinstance(key, rsa.RSAPublicKey) else _curve(key),
    }
    for kind in (x509.BasicConstraints, x509.KeyUsage):
        for extension in certificate.extensions:
            if isinstance(extension.value, kind):
                found[kind.__name__] = (extension.critical, extension.value)
    own = {
        extension.oid.dotted_string: extension.critical
        for extension in certificate.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    return found | {"own": own}


def _curve(key: object) -> str:
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.curve.name


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_certificates_have_the_shape_of_the_real_ones(amd: AmdAuthority, vectors: Path) -> None:
    real = read_collateral(real_collateral(vectors))
    leaf, between, root = amd.chain(amd.leaf(NOW), amd.intermediate(NOW))
    assert shape(leaf) == shape(real.leaf)
    assert shape(between) == shape(real.chain[0])
    assert shape(root) == shape(real.chain[1])
    names = [one.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for one in
             (real.leaf, *real.chain)]  # fmt: skip
    mine = [one.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value for one in
            (leaf, between, root)]  # fmt: skip
    assert [str(name).replace("Simulated-", "") for name in mine] == names


def test_names_say_that_there_is_no_hardware(amd: AmdAuthority) -> None:
    for vlek in (False, True):
        for one in amd.chain(amd.leaf(NOW, vlek=vlek), amd.intermediate(NOW, vlek=vlek)):
            subject = one.subject.rfc4514_string()
            assert "O=proofml simulator" in subject
            assert "OU=no hardware" in subject
            assert "Advanced Micro Devices" not in subject


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_leaf_says_what_its_line_says(amd: AmdAuthority, product: str) -> None:
    line = of_product(amd, product)
    leaf, *_ = line.chain(line.leaf(NOW), line.intermediate(NOW))
    found = read_endorsement(leaf)
    assert (found.kind, found.product, found.provider) == ("VCEK", product, "")
    assert found.tcb == {name: TCB[name] for name in LAYOUTS[product].components}
    assert found.chip_id is not None
    assert len(found.chip_id) == {"Milan": 64, "Genoa": 64, "Turin": 8}[product]
    assert line.chip_id == found.chip_id.ljust(64, b"\0")
    leaf, *_ = line.chain(line.leaf(NOW, vlek=True), line.intermediate(NOW, vlek=True))
    lent = read_endorsement(leaf)
    assert (lent.kind, lent.product, lent.tcb) == ("VLEK", product, found.tcb)
    assert (lent.chip_id, lent.provider) == (None, "simulated provider")


def test_layouts_agree_with_each_other() -> None:
    assert set(LAYOUTS) == set(TCB_PARTS) == set(CPUID) == set(PRODUCTS)
    for product, layout in LAYOUTS.items():
        assert set(layout.components) == set(TCB_PARTS[product])
        data = tcb_bytes(product, {name: at for at, name in enumerate(TCB, 1)})
        named = {data[at]: name for name, at in TCB_PARTS[product].items()}
        assert named == {at: name for at, name in enumerate(TCB, 1) if name in layout.components}


def test_a_list_is_the_roots_and_holds_for_a_month(amd: AmdAuthority) -> None:
    crl = amd.revocations(NOW, [4, 5])
    assert crl.issuer == amd.root.subject
    assert isinstance(crl.signature_algorithm_parameters, padding.PSS)
    assert {one.serial_number for one in crl} == {4, 5}
    assert crl.last_update_utc.timestamp() == NOW - DAY
    assert crl.next_update_utc is not None
    assert crl.next_update_utc.timestamp() == NOW + 29 * DAY
    assert len(amd.revocations(NOW)) == 0


def test_collateral_carries_the_list_that_it_was_given(amd: AmdAuthority) -> None:
    """An empty one too, although it counts as false."""
    for crl in (amd.revocations(NOW, days=3), amd.revocations(NOW, [7])):
        found = read_collateral(amd.collateral(NOW, crl=crl)).crl
        assert found is not None
        assert found.next_update_utc == crl.next_update_utc
    assert read_collateral(amd.collateral(NOW, without_crl=True)).crl is None
    assert read_collateral(amd.collateral(NOW)).crl is not None


def test_collateral_is_read_as_it_was_written(amd: AmdAuthority) -> None:
    data = amd.collateral(NOW, vlek=True)
    found = read_collateral(data)
    assert write_collateral(found.leaf, found.chain, found.crl) == data
    assert found.chain[-1] == amd.root
    assert data.startswith(b'{"chain":["-----BEGIN CERTIFICATE-----\\n')


def test_der_of_numbers_and_texts() -> None:
    assert [integer(value).hex() for value in (0, 127, 128, 255)] == [
        "020100",
        "02017f",
        "02020080",
        "020200ff",
    ]
    assert text("Milan") == b"\x16\x05Milan"


# --- reports ---------------------------------------------------------------------------------


def test_every_claim_can_be_made(amd: AmdAuthority) -> None:
    """Each field of `Claims` shows in the report."""
    base = amd.claims(report_data=REPORT_DATA, version=5)
    others: dict[str, object] = {
        "product": "Turin",
        "chip_id": b"x" * 64,
        "report_data": b"x" * 64,
        "measurement": b"x" * 48,
        "host_data": b"x" * 32,
        "version": 3,
        "guest_svn": 9,
        "policy": base.policy | 1 << 20,
        "family_id": b"x" * 16,
        "image_id": b"x" * 16,
        "vmpl": 3,
        "algorithm": 2,
        "platform_info": 0,
        "author_key": True,
        "mask_chip_key": True,
        "signing_key": SigningKey.NONE,
        "id_key_digest": b"x" * 48,
        "author_key_digest": b"x" * 48,
        "report_id": b"x" * 32,
        "tcb": {**TCB, "snp": 1},
        "current": {**TCB, "snp": 1},
        "committed": {**TCB, "snp": 1},
        "launch": {**TCB, "snp": 1},
        "cpuid": (1, 2, 3),
        "firmware": (2, 0, 0),
        "mitigations": (1, 0),
    }
    assert set(others) == {field.name for field in fields(Claims)}
    reports = {base.to_bytes()}
    for name, value in others.items():
        made = amd.claims(**{"report_data": REPORT_DATA, "version": 5, name: value})  # type: ignore[arg-type]
        reports.add(made.to_bytes())
        assert len(made.to_bytes()) == REPORT_BYTES
    assert len(reports) == len(others) + 1


def test_each_signature_is_another_one_over_the_same(amd: AmdAuthority) -> None:
    first, second = quote(amd), quote(amd)
    assert first != second
    assert parse(first).signed == parse(second).signed


def test_debug_is_said_in_the_report(amd: AmdAuthority) -> None:
    data = amd.quote(report_data=REPORT_DATA, debug=True)
    assert verify(amd, data, amd.collateral(NOW)).attributes["debug"]
    assert not verify(amd, quote(amd), amd.collateral(NOW)).attributes["debug"]


def test_two_authorities_do_not_know_each_other(amd: AmdAuthority) -> None:
    """Each has its own root, although the keys below it are the same."""
    genoa = of_product(amd, "Genoa")
    assert fingerprint(genoa.root_der) != fingerprint(amd.root_der)
    data, theirs = quote(genoa), genoa.collateral(NOW)
    assert judge(amd, data, theirs) == "tee.4"
    assert judge(amd, data, theirs, roots=holding(genoa)) == "accepted"
    assert judge(amd, data, theirs, roots=Roots.vendor()) == "tee.4"


def test_a_certificate_can_be_issued_that_should_not_be(amd: AmdAuthority) -> None:
    leaf = issue(amd.leaf(NOW), None, amd.keys["vcek"])
    assert leaf.issuer == leaf.subject
    leaf.verify_directly_issued_by(leaf)
