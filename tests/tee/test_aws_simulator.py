"""The simulated AWS root: real shapes, checked here without the verifier of this package."""

from __future__ import annotations

import itertools
import stat
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from proofml.errors import UsageError
from proofml.tee.simulator import aws

NOW = 1_800_000_000
AUTHORITY = aws.AwsAuthority.create(NOW)


def test_the_chain_has_the_shape_of_one_from_hardware() -> None:
    chain = [x509.load_der_x509_certificate(der) for der in AUTHORITY.chain(AUTHORITY.links(NOW))]
    assert len(chain) == 5
    for issuer, subject in itertools.pairwise(chain):
        subject.verify_directly_issued_by(issuer)
    chain[0].verify_directly_issued_by(chain[0])
    lives = [c.not_valid_after_utc - c.not_valid_before_utc for c in chain]
    assert [life.days for life in lives[:4]] == [10958, 20, 6, 1]
    assert lives[4].total_seconds() == 3 * 3600 + 3
    limits = [c.extensions.get_extension_for_class(x509.BasicConstraints) for c in chain]
    assert all(limit.critical for limit in limits)
    assert [limit.value.ca for limit in limits] == [True, True, True, True, False]
    assert [limit.value.path_length for limit in limits] == [None, 2, 1, 0, None]
    usages = [c.extensions.get_extension_for_class(x509.KeyUsage) for c in chain]
    assert [usage.value.key_cert_sign for usage in usages] == [True] * 4 + [False]
    assert [usage.critical for usage in usages] == [True] * 4 + [False]
    assert usages[4].value.digital_signature
    for certificate in chain:
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA384)
        assert "no hardware" in certificate.subject.rfc4514_string()
        assert len(certificate.public_bytes(serialization.Encoding.DER)) <= 1024


@pytest.mark.parametrize("tagged", [False, True])
def test_a_document_is_signed_by_the_leaf_over_the_structure_of_cose(tagged: bool) -> None:
    data = AUTHORITY.quote(
        report_data=b"r" * 64, now=NOW, pcrs={0: b"0" * 48, 17: b"x" * 48}, tagged=tagged
    )
    message = cbor2.loads(data)
    protected, unprotected, payload, signature = message.value if tagged else message
    assert protected == bytes.fromhex("a1013822")
    assert unprotected == {}
    document = cbor2.loads(payload)
    leaf = x509.load_der_x509_certificate(document["certificate"]).public_key()
    assert isinstance(leaf, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(signature[at : at + 48], "big") for at in (0, 48))
    covered = cbor2.dumps(["Signature1", protected, b"", payload])
    leaf.verify(encode_dss_signature(r, s), covered, ec.ECDSA(hashes.SHA384()))
    assert list(document) == [
        "module_id",
        "digest",
        "timestamp",
        "pcrs",
        "certificate",
        "cabundle",
        "public_key",
        "user_data",
        "nonce",
    ]
    assert document["cabundle"][0] == AUTHORITY.root_der
    assert list(document["pcrs"]) == [*range(16), 17]
    assert document["pcrs"][0] == b"0" * 48
    assert document["timestamp"] == NOW * 1000
    assert payload[:1] == b"\xbf"
    assert AUTHORITY.collateral(NOW) == b""


def test_debug_clears_the_registers_of_the_image_alone() -> None:
    pcrs = {index: bytes([index + 1]) * 48 for index in range(5)}
    document = AUTHORITY.document(report_data=b"", now=NOW, pcrs=pcrs, debug=True)
    found = document["pcrs"]
    assert isinstance(found, dict)
    assert [any(found[index]) for index in range(5)] == [False, False, False, True, True]


def test_it_is_stored_for_its_owner_alone_and_loaded_again(tmp_path: Path) -> None:
    folder = tmp_path / "aws"
    AUTHORITY.save(folder)
    AUTHORITY.save(folder)  # replaces what is there
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = aws.AwsAuthority.load(folder)
    assert again.root_der == AUTHORITY.root_der
    first = x509.load_der_x509_certificate(AUTHORITY.chain(AUTHORITY.links(NOW))[-1])
    second = x509.load_der_x509_certificate(again.chain(again.links(NOW))[-1])
    assert first.public_key() == second.public_key()
    assert first.serial_number != second.serial_number


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "zone.pem").unlink(),
        lambda folder: (folder / "zone.pem").write_bytes(b"no key"),
        lambda folder: (folder / "root.der").write_bytes(b"\x30\x03\x02\x01\x00"),
        lambda folder: (folder / "root.der").write_bytes(aws.AwsAuthority.create(NOW).root_der),
    ],
)
def test_a_broken_store_says_what_to_do(tmp_path: Path, damage: object) -> None:
    AUTHORITY.save(tmp_path)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(UsageError, match="delete the folder"):
        aws.AwsAuthority.load(tmp_path)


def test_links_are_knobs_for_chains_that_should_not_be() -> None:
    links = AUTHORITY.links(NOW)
    stranger = ec.generate_private_key(ec.SECP384R1())
    chain = AUTHORITY.chain([*links[:3], replace(links[3], signer=stranger, not_after=NOW)])
    leaf = x509.load_der_x509_certificate(chain[-1])
    assert int(leaf.not_valid_after_utc.timestamp()) == NOW
    with pytest.raises(InvalidSignature):
        leaf.verify_directly_issued_by(x509.load_der_x509_certificate(chain[-2]))
