"""Certificates and lists: loading, the walk to a root, revocation. One rule is broken at a time.

`KEYS` are all the attacker's as well: whatever is changed in a certificate, it is signed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from cryptography import x509 as library
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import VerificationError
from proofml.tee import x509
from proofml.tee.platform import Platform, Root, RootKind
from proofml.tee.roots import Roots, fingerprint
from tests.tee.der_cases import element, elements
from tests.tee.platform_cases import flipped, number

NOW = 1_800_000_000
DAY = 86400
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(10)]
STRANGER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
UNKNOWN = library.UnrecognizedExtension(library.ObjectIdentifier("1.2.3"), b"\x05\x00")
SHA384 = hashes.SHA384()


@dataclass(frozen=True)
class Spec:
    """One certificate; the builder refuses nothing of it."""

    name: str
    key: object
    authority: bool | None = True
    path_length: int | None = None
    usage: tuple[bool, bool, bool] | None = None  # data, certificates, lists
    extra: tuple[tuple[library.ExtensionType, bool], ...] = ()
    before: int = NOW - DAY
    after: int = NOW + DAY
    issuer: str | None = None
    signer: object = None
    digest: hashes.HashAlgorithm | None = field(default_factory=hashes.SHA384)
    pss: bool = False
    serial: int = 7


def title(name: str) -> library.Name:
    return library.Name([library.NameAttribute(library.NameOID.COMMON_NAME, name)])


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def make(spec: Spec, issuer: Spec) -> library.Certificate:
    builder = (
        library.CertificateBuilder()
        .subject_name(title(spec.name))
        .issuer_name(title(spec.issuer or issuer.name))
        .public_key(spec.key.public_key())  # type: ignore[attr-defined]
        .serial_number(spec.serial)
        .not_valid_before(moment(spec.before))
        .not_valid_after(moment(spec.after))
    )
    if spec.authority is not None:
        constraints = library.BasicConstraints(spec.authority, spec.path_length)
        builder = builder.add_extension(constraints, critical=True)
    if spec.usage is not None:
        data, certificates, lists = spec.usage
        usage = library.KeyUsage(
            data, False, False, False, False, certificates, lists, False, False
        )
        builder = builder.add_extension(usage, critical=True)
    for extension, critical in spec.extra:
        builder = builder.add_extension(extension, critical=critical)
    pss = padding.PSS(padding.MGF1(SHA384), 48) if spec.pss else None
    return builder.sign(spec.signer or issuer.key, spec.digest, rsa_padding=pss)  # type: ignore[arg-type]


ROOT = Spec("root", KEYS[0], path_length=2, usage=(False, True, True))
MIDDLE = Spec("middle", KEYS[1], path_length=1, usage=(False, True, True))
LOWER = Spec("lower", KEYS[2], path_length=0, usage=(False, True, False))
LEAF = Spec("leaf", KEYS[3], authority=False, usage=(True, False, False))
GOOD = (LEAF, LOWER, MIDDLE, ROOT)


def chain_of(specs: Sequence[Spec]) -> list[library.Certificate]:
    """Leaf first; the last is self-signed."""
    issuers = [*specs[1:], specs[-1]]
    return [make(spec, issuer) for spec, issuer in zip(specs, issuers, strict=True)]


CHAIN = chain_of(GOOD)


def holding(certificate: library.Certificate, platform: Platform = Platform.SEV_SNP) -> Roots:
    root = Root(fingerprint(x509.der(certificate)), platform, RootKind.CUSTOM, "root of the test")
    return Roots((root,))


def walk(chain: Sequence[library.Certificate], now: int = NOW) -> x509.Path:
    return x509.walk(chain, Platform.SEV_SNP, holding(chain[-1]), now)


def changed(index: int, **changes: object) -> list[library.Certificate]:
    specs = list(GOOD)
    specs[index] = replace(specs[index], **changes)  # type: ignore[arg-type]
    return chain_of(specs)


def refusal(call: Callable[[], object]) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        call()
    return caught.value


# --- the walk --------------------------------------------------------------------------------


def test_a_good_chain_is_walked_to_its_root() -> None:
    path = walk(CHAIN)
    assert path.certificates == tuple(CHAIN)
    assert path.leaf == CHAIN[0]
    assert path.root.name == "root of the test"
    assert (path.not_before, path.not_after) == (NOW - DAY, NOW + DAY)


def test_it_holds_while_all_its_certificates_do() -> None:
    chain = chain_of([LEAF, replace(LOWER, after=NOW + 5), replace(MIDDLE, before=NOW - 3), ROOT])
    path = walk(chain)
    assert (path.not_before, path.not_after) == (NOW - 3, NOW + 5)
    expected = {NOW - 4: "tee.5", NOW - 3: "accepted", NOW + 5: "accepted", NOW + 6: "tee.5"}
    assert {now: number(lambda now=now: walk(chain, now)) for now in expected} == expected


@pytest.mark.parametrize("now", [0, -1, -(10**18), 2**40, 10**18])
def test_a_time_far_away_is_outside(now: int) -> None:
    assert number(lambda: walk(CHAIN, now)) == "tee.5"


def test_a_root_that_is_not_held_is_refused_before_anything_else() -> None:
    """Also where everything below it is broken: its number is 4, not 5."""
    for chain in (CHAIN, [CHAIN[0], CHAIN[2], CHAIN[3]], changed(3, after=NOW - 1)):
        for roots in (Roots(()), Roots.vendor(), holding(CHAIN[2])):
            error = refusal(lambda c=chain, r=roots: x509.walk(c, Platform.SEV_SNP, r, NOW))
            assert error.check == "tee.4"
            assert error.got == fingerprint(x509.der(chain[-1]))


def test_a_root_of_another_platform_is_refused() -> None:
    roots = holding(CHAIN[-1], Platform.NITRO)
    assert number(lambda: x509.walk(CHAIN, Platform.SEV_SNP, roots, NOW)) == "tee.4"
    assert number(lambda: x509.walk(CHAIN, Platform.NITRO, roots, NOW)) == "accepted"


def test_a_root_of_the_same_name_and_another_key_is_refused() -> None:
    mine = chain_of([LEAF, LOWER, MIDDLE, replace(ROOT, key=STRANGER)])
    found = number(lambda: x509.walk(mine, Platform.SEV_SNP, holding(CHAIN[-1]), NOW))
    assert found == "tee.4"
    mine[-1] = CHAIN[-1]
    found = number(lambda: x509.walk(mine, Platform.SEV_SNP, holding(CHAIN[-1]), NOW))
    assert found == "tee.5"


def long(count: int) -> list[library.Certificate]:
    authorities = [Spec(f"authority {index}", KEYS[index]) for index in range(1, count - 1)]
    return chain_of([replace(LEAF, key=KEYS[9]), *authorities, Spec("root", KEYS[0])])


@pytest.mark.parametrize(
    ("count", "expected"), [(2, "accepted"), (3, "accepted"), (8, "accepted"), (9, "tee.5")]
)
def test_a_chain_has_two_to_eight_certificates(count: int, expected: str) -> None:
    chain = long(count)
    assert len(chain) == count
    assert number(lambda: walk(chain)) == expected


def test_one_certificate_or_none_is_no_chain() -> None:
    assert number(lambda: walk(CHAIN[-1:])) == "tee.5"
    found = number(lambda: x509.walk([], Platform.SEV_SNP, holding(CHAIN[-1]), NOW))
    assert found == "tee.5"


#: Index from the leaf, what is other about it, what the refusal says.
WRONG: dict[str, tuple[int, dict[str, object], str]] = {
    "leaf by a stranger": (0, {"signer": STRANGER}, "not signed by 'lower'"),
    "lower by a stranger": (1, {"signer": STRANGER}, "not signed by 'middle'"),
    "middle by a stranger": (2, {"signer": STRANGER}, "not signed by 'root'"),
    "root by a stranger": (3, {"signer": STRANGER}, "not signed by 'root'"),
    "leaf by itself": (0, {"signer": KEYS[3]}, "not signed by 'lower'"),
    "leaf by an authority further up": (0, {"signer": KEYS[1]}, "not signed by 'lower'"),
    "leaf by a key of another kind": (0, {"signer": RSA}, "signature"),
    "leaf by an Edwards key": (0, {"signer": EDWARDS, "digest": None}, "expected sha256"),
    "leaf names another issuer": (0, {"issuer": "middle"}, "issuer; expected CN=lower"),
    "lower names another issuer": (1, {"issuer": "root"}, "issuer; expected CN=middle"),
    "root names another issuer": (3, {"issuer": "world"}, "issuer; expected CN=root"),
    "leaf hashed with SHA-224": (0, {"digest": hashes.SHA224()}, "hash; expected sha256"),
    "middle hashed with SHA-224": (2, {"digest": hashes.SHA224()}, "got sha224"),
    "leaf hashed with SHA3": (0, {"digest": hashes.SHA3_256()}, "got sha3-256"),
    "leaf is an authority": (0, {"authority": True, "usage": None}, "expected no authority"),
    "lower is none": (1, {"authority": False, "path_length": None}, "expected an authority"),
    "middle is none": (2, {"authority": False, "path_length": None}, "expected an authority"),
    "root is none": (3, {"authority": False, "path_length": None}, "expected an authority"),
    "lower says nothing of it": (1, {"authority": None}, "expected an authority"),
    "middle may have none below": (2, {"path_length": 0}, "at most 0; got 1"),
    "root may have one below": (3, {"path_length": 1}, "at most 1; got 2"),
    "leaf may not sign data": (0, {"usage": (False, True, True)}, "signing data"),
    "lower may not sign certificates": (1, {"usage": (True, False, True)}, "signing certificates"),
    "root may not sign certificates": (3, {"usage": (True, False, True)}, "signing certificates"),
    "leaf has a critical extension": (0, {"extra": ((UNKNOWN, True),)}, "extension 1.2.3"),
    "middle has a critical extension": (2, {"extra": ((UNKNOWN, True),)}, "extension 1.2.3"),
    "root has a critical extension": (3, {"extra": ((UNKNOWN, True),)}, "extension 1.2.3"),
    "names are constrained": (
        2,
        {"extra": ((library.NameConstraints([library.DNSName("a")], None), True),)},
        "extension 2.5.29.30",
    ),
    **{f"{i} has expired": (i, {"after": NOW - 1}, "a time from") for i in range(4)},
    **{f"{i} is not valid yet": (i, {"before": NOW + 1}, "a time from") for i in range(4)},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_certificate_that_breaks_one_rule_is_refused(name: str) -> None:
    index, changes, why = WRONG[name]
    error = refusal(lambda: walk(changed(index, **changes)))
    assert error.check == "tee.5"
    assert why in str(error)


RIGHT: dict[str, tuple[int, dict[str, object]]] = {
    "leaf without constraints": (0, {"authority": None}),
    "leaf without usage": (0, {"usage": None}),
    "authority without usage": (1, {"usage": None}),
    "authority without a path length": (1, {"path_length": None}),
    "an unknown extension that is not critical": (0, {"extra": ((UNKNOWN, False),)}),
    "SHA-256": (1, {"digest": hashes.SHA256()}),
    "SHA-512": (0, {"digest": hashes.SHA512()}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_breaks_no_rule_is_accepted(name: str) -> None:
    index, changes = RIGHT[name]
    assert number(lambda: walk(changed(index, **changes))) == "accepted"


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (1, 0, 2, 3), (0, 1, 1, 2, 3), (0, 1, 3), (0, 3)])
def test_certificates_in_another_order_are_refused(order: tuple[int, ...]) -> None:
    assert number(lambda: walk([CHAIN[index] for index in order])) == "tee.5"


@pytest.mark.parametrize("pss", [True, False])
def test_a_chain_of_rsa_is_walked(pss: bool) -> None:
    root = Spec("root", RSA, pss=pss)
    chain = chain_of([replace(LEAF, pss=pss), root])
    assert walk(chain).leaf == chain[0]
    other = rsa.generate_private_key(65537, 2048)
    chain[0] = make(replace(LEAF, pss=pss, signer=other), root)
    assert number(lambda: walk(chain)) == "tee.5"


# --- loading ---------------------------------------------------------------------------------

DER = x509.der(CHAIN[0])
PEMS = b"".join(one.public_bytes(Encoding.PEM) for one in CHAIN)


def test_what_was_written_is_read() -> None:
    assert x509.load_der(DER, "it") == CHAIN[0]
    assert x509.load_pems(PEMS, "them") == tuple(CHAIN)


WRONG_DER: dict[str, bytes] = {
    "nothing": b"",
    "an empty sequence": b"\x30\x00",
    "a byte behind": DER + b"\0",
    "a byte missing": DER[:-1],
    "PEM": PEMS,
    "twice": DER + DER,
    "too long": DER + bytes(x509.MAX_CERTIFICATE_BYTES),
    "a version that does not exist": DER.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05"),
}


@pytest.mark.parametrize("name", WRONG_DER)
def test_bytes_that_are_no_certificate_are_refused(name: str) -> None:
    assert WRONG_DER[name] != DER
    error = refusal(lambda: x509.load_der(WRONG_DER[name], "it"))
    assert error.check == "tee.5"
    assert error.reason.startswith("it")


def test_a_certificate_with_an_extension_twice_is_refused() -> None:
    outer, algorithm, signature = elements(DER[4:])
    body = elements(element(outer).content)
    extensions = elements(element(element(body[-1]).content).content)
    again = b"".join([*extensions, extensions[0]])
    inner = element(body[-1]).around(element(element(body[-1]).content).around(again))
    data = element(DER).around(
        element(outer).around(b"".join([*body[:-1], inner])) + algorithm + signature
    )
    assert number(lambda: x509.load_der(data, "it")) == "tee.5"


def with_unused_bit(data: bytes, signature: bytes) -> bytes:
    """The last bit of the signature is said to be unused; nobody covers that with a signature."""
    assert data.endswith(b"\0" + signature)
    at = len(data) - len(signature) - 1
    return data[:at] + b"\1" + data[at + 1 :]


def test_bits_of_a_signature_are_not_unused() -> None:
    """Where the last bit is zero the library reads such a certificate as it reads the other."""

    def even(make_one: Callable[[], bytes]) -> bytes:
        return next(data for data in iter(make_one, b"") if not data[-1] & 1)

    der = even(lambda: x509.der(make(LEAF, LOWER)))
    changed = with_unused_bit(der, x509.load_der(der, "it").signature)
    assert library.load_der_x509_certificate(changed).tbs_certificate_bytes
    error = refusal(lambda: x509.load_der(changed, "it"))
    assert (error.check, error.got) == ("tee.5", "bits unused")
    der = even(lambda: List().make().public_bytes(Encoding.DER))
    changed = with_unused_bit(der, x509.load_crl(der, "it").signature)
    assert library.load_der_x509_crl(changed).tbs_certlist_bytes
    error = refusal(lambda: x509.load_crl(changed, "it"))
    assert (error.check, error.got) == ("tee.6", "bits unused")


def test_a_text_has_at_most_eight_certificates() -> None:
    pem = CHAIN[0].public_bytes(Encoding.PEM)
    assert len(x509.load_pems(pem * 8, "them")) == 8
    error = refusal(lambda: x509.load_pems(pem * 9, "them"))
    assert (error.check, error.expected) == ("tee.5", "1 to 8 certificates")


@pytest.mark.parametrize(
    ("read", "most", "check"),
    [
        (x509.load_der, 16384, "tee.5"),
        (x509.load_pems, 262144, "tee.5"),
        (x509.load_crl, 1048576, "tee.6"),
        (x509.load_pem_crl, 2097152, "tee.6"),
    ],
)
def test_what_is_too_long_is_not_even_parsed(
    read: Callable[[bytes, str], object], most: int, check: str
) -> None:
    longest = refusal(lambda: read(b" " * most, "it"))
    longer = refusal(lambda: read(b" " * (most + 1), "it"))
    assert longest.check == longer.check == check
    assert f"at most {most} bytes" in str(longer)
    assert "at most" not in str(longest)


def test_the_size_of_a_certificate_is_bounded() -> None:
    room = x509.MAX_CERTIFICATE_BYTES - len(DER)
    for size, expected in ((room - 40, "accepted"), (room + 40, "tee.5")):
        padded = library.UnrecognizedExtension(library.ObjectIdentifier("1.2.3"), bytes(size))
        data = x509.der(make(replace(LEAF, extra=((padded, False),)), LOWER))
        assert number(lambda data=data: x509.load_der(data, "it")) == expected


WRONG_PEM: dict[str, bytes] = {
    "nothing": b"",
    "no certificate": b"hello\n",
    "DER": DER,
    "text in front": b"hello\n" + PEMS,
    "text between": PEMS.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\nx\n"),
    "text behind": PEMS + b"hello\n",
    "a line feed behind": PEMS + b"\n",
    "no line feed at the end": PEMS[:-1],
    "carriage returns": PEMS.replace(b"\n", b"\r\n"),
    "one line": PEMS.replace(b"\n", b"").replace(b"CERTIFICATE-----M", b"CERTIFICATE-----\nM"),
    "another label": PEMS.replace(b"CERTIFICATE", b"X509 CERTIFICATE"),
    "nine certificates": b"".join([CHAIN[0].public_bytes(Encoding.PEM)] * 9),
    "very long": PEMS + b" " * (2 * 8 * x509.MAX_CERTIFICATE_BYTES),
    "base64 that is cut": PEMS.replace(b"CERTIFICATE-----\nM", b"CERTIFICATE-----\n"),
}


@pytest.mark.parametrize("name", WRONG_PEM)
def test_text_that_is_no_chain_of_certificates_is_refused(name: str) -> None:
    assert WRONG_PEM[name] != PEMS
    assert number(lambda: x509.load_pems(WRONG_PEM[name], "them")) == "tee.5"


@given(st.integers(0, 8 * len(PEMS) - 1))
def test_a_bit_of_a_chain_is_turned_over(bit: int) -> None:
    """Read or not, it is never the chain that it was."""
    data = flipped(PEMS, bit)

    def read() -> None:
        found = x509.load_pems(data, "them")
        assert found != tuple(CHAIN)
        x509.walk(found, Platform.SEV_SNP, holding(CHAIN[-1]), NOW)

    assert number(read) in {"tee.4", "tee.5"}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert number(lambda: x509.load_der(data, "it")) == "tee.5"
    assert number(lambda: x509.load_pems(data, "them")) == "tee.5"
    assert number(lambda: x509.load_crl(data, "it")) == "tee.6"
    assert number(lambda: x509.load_pem_crl(data, "it")) == "tee.6"


def test_a_name_is_for_people() -> None:
    assert x509.name_of(CHAIN[0]) == "leaf"
    unit = [library.NameAttribute(library.NameOID.ORGANIZATIONAL_UNIT_NAME, "unit")]
    certificate = (
        library.CertificateBuilder()
        .subject_name(library.Name(unit))
        .issuer_name(library.Name(unit))
        .public_key(KEYS[0].public_key())
        .serial_number(1)
        .not_valid_before(moment(NOW))
        .not_valid_after(moment(NOW))
        .sign(KEYS[0], SHA384)
    )
    assert x509.name_of(certificate) == "OU=unit"
    assert x509.as_text(NOW) == "2027-01-15T08:00:00Z"
    assert x509.as_text(10**18) == "1000000000000000000 s"


# --- revocation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class List:
    """A revocation list of `MIDDLE`'s."""

    serials: tuple[int, ...] = (1, 2, 3)
    issuer: str = "middle"
    signer: object = field(default_factory=lambda: KEYS[1])
    low: int = NOW - DAY
    high: int = NOW + DAY
    critical: tuple[library.ExtensionType, ...] = ()
    digest: hashes.HashAlgorithm | None = field(default_factory=hashes.SHA384)
    pss: bool = False

    def make(self) -> library.CertificateRevocationList:
        builder = (
            library.CertificateRevocationListBuilder()
            .issuer_name(title(self.issuer))
            .last_update(moment(self.low))
            .next_update(moment(self.high))
        )
        for serial in self.serials:
            entry = library.RevokedCertificateBuilder().serial_number(serial)
            builder = builder.add_revoked_certificate(
                entry.revocation_date(moment(self.low)).build()
            )
        for extension in self.critical:
            builder = builder.add_extension(extension, critical=True)
        used = padding.PSS(padding.MGF1(SHA384), 48) if self.pss else None
        return builder.sign(self.signer, self.digest, rsa_padding=used)  # type: ignore[arg-type]


def check(listing: List, issuer: library.Certificate = CHAIN[2], now: int = NOW) -> tuple[int, int]:
    return x509.check_crl(listing.make(), issuer, CHAIN[:2], now)


def test_a_list_without_the_certificates_is_accepted() -> None:
    assert check(List()) == (NOW - DAY, NOW + DAY)
    assert check(List(serials=())) == (NOW - DAY, NOW + DAY)
    expected = {
        NOW - DAY - 1: "tee.6",
        NOW - DAY: "accepted",
        NOW + DAY: "accepted",
        NOW + DAY + 1: "tee.6",
        10**18: "tee.6",
    }
    assert {now: number(lambda now=now: check(List(), now=now)) for now in expected} == expected


IDP = library.IssuingDistributionPoint(None, None, True, False, None, False, False)
WRONG_LISTS: dict[str, tuple[List, str]] = {
    "on it": (List(serials=(1, 7)), "certificate 'leaf'; expected not revoked"),
    "of another issuer": (List(issuer="root"), "issuer; expected CN=middle"),
    "by a stranger": (List(signer=STRANGER), "not signed by 'middle'"),
    "by a key below": (List(signer=KEYS[2]), "not signed by 'middle'"),
    "by a key of another kind": (List(signer=RSA), "not signed by 'middle'"),
    "by an Edwards key": (List(signer=EDWARDS, digest=None), "not signed by 'middle'"),
    "hashed with SHA-224": (List(digest=hashes.SHA224()), "not signed by 'middle'"),
    "of some certificates only": (List(critical=(IDP,)), "critical extension 2.5.29.28"),
    "only of what was added": (
        List(critical=(library.DeltaCRLIndicator(1),)),
        "critical extension 2.5.29.27",
    ),
    "stale": (List(high=NOW - 1), "a time from"),
    "of the future": (List(low=NOW + 1), "a time from"),
}


@pytest.mark.parametrize("name", WRONG_LISTS)
def test_a_list_that_breaks_one_rule_is_refused(name: str) -> None:
    listing, why = WRONG_LISTS[name]
    error = refusal(lambda: check(listing))
    assert error.check == "tee.6"
    assert why in str(error)


def test_a_list_says_when_the_next_one_comes() -> None:
    der = List().make().public_bytes(Encoding.DER)
    outer, algorithm, _ = elements(element(der).content)
    body = elements(element(outer).content)
    times = [at for at, part in enumerate(body) if part[0] == 0x17]
    without = element(outer).around(b"".join(p for at, p in enumerate(body) if at != times[1]))
    signature = KEYS[1].sign(without, ec.ECDSA(SHA384))
    data = element(der).around(without + algorithm + b"\x03" + _length(signature) + signature)
    crl = x509.load_crl(data, "it")
    assert crl.next_update_utc is None
    error = refusal(lambda: x509.check_crl(crl, CHAIN[2], CHAIN[:2], NOW))
    assert error.check == "tee.6"
    assert "a next update" in str(error)


def _length(signature: bytes) -> bytes:
    """Of a bit string with no bits unused."""
    return bytes((len(signature) + 1, 0))


def test_an_authority_that_may_not_sign_lists_signs_none() -> None:
    issuer = make(replace(MIDDLE, usage=(False, True, False)), ROOT)
    error = refusal(lambda: check(List(), issuer))
    assert error.check == "tee.6"
    assert "signing revocation lists" in str(error)
    silent = make(replace(MIDDLE, usage=None), ROOT)
    assert number(lambda: check(List(), silent)) == "accepted"


@pytest.mark.parametrize("pss", [True, False])
def test_lists_of_rsa_are_checked(pss: bool) -> None:
    issuer = make(replace(MIDDLE, key=RSA), ROOT)
    assert number(lambda: check(List(signer=RSA, pss=pss), issuer)) == "accepted"
    other = rsa.generate_private_key(65537, 2048)
    assert number(lambda: check(List(signer=other, pss=pss), issuer)) == "tee.6"


LISTED = List().make().public_bytes(Encoding.DER)
LISTED_PEM = List().make().public_bytes(Encoding.PEM)


def test_a_list_is_read_as_it_was_written() -> None:
    assert x509.load_crl(LISTED, "it").public_bytes(Encoding.DER) == LISTED
    assert x509.load_pem_crl(LISTED_PEM, "it").public_bytes(Encoding.PEM) == LISTED_PEM


@pytest.mark.parametrize(
    "data",
    [b"", b"\x30\x00", LISTED[:-1], LISTED + b"\0", DER, bytes(x509.MAX_CRL_BYTES + 1)],
    ids=["nothing", "empty", "cut", "longer", "a certificate", "too long"],
)
def test_bytes_that_are_no_list_are_refused(data: bytes) -> None:
    assert number(lambda: x509.load_crl(data, "it")) == "tee.6"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        LISTED,
        LISTED_PEM * 2,
        b"x\n" + LISTED_PEM,
        LISTED_PEM + b"\n",
        PEMS,
        LISTED_PEM.replace(b"\n", b"\r\n"),
        b" " * (2 * x509.MAX_CRL_BYTES + 1),
    ],
    ids=["nothing", "DER", "twice", "in front", "behind", "certificates", "returns", "too long"],
)
def test_text_that_is_no_list_is_refused(text: bytes) -> None:
    assert number(lambda: x509.load_pem_crl(text, "it")) == "tee.6"


@given(st.integers(0, 8 * len(LISTED) - 1))
def test_a_bit_of_a_list_is_turned_over(bit: int) -> None:
    def read() -> None:
        crl = x509.load_crl(flipped(LISTED, bit), "it")
        x509.check_crl(crl, CHAIN[2], CHAIN[:2], NOW)

    assert number(read) == "tee.6"
