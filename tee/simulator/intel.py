"""A software root in the place of Intel's: PCK chains, collateral, and SGX and TDX quotes.

The shapes are those of Intel's own: a root and a platform CA (or a processor CA), a PCK certificate
with the extension that names platform and TCB, a TCB signing certificate, two revocation lists, TCB
information of version 3 and a QE identity of version 2 with a current and an older level each, all
of P-256 and SHA-256. `dcap-qvl` accepts them under this root. Names say what it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from proofml.tee.platform import Platform
from proofml.tee.simulator import key_folder
from proofml.tee.simulator.intel_bodies import (
    SGX_DEBUG,
    SGX_FLAGS,
    SVN,
    TD_ATTRIBUTES,
    TD_DEBUG,
    Body,
    enclave_report,
    sgx_body,
    td_body,
)
from proofml.tee.simulator.intel_certificates import (
    DAY,
    FMSPC,
    YEAR,
    Link,
    issue,
    pck_extension,
    revocations,
)
from proofml.tee.simulator.intel_collateral import Collateral, Signer

__all__ = [
    "QE_ATTRIBUTES",
    "QE_MRSIGNER",
    "QE_PRODUCT",
    "SGX_DEBUG",
    "SGX_FLAGS",
    "SVN",
    "TD_ATTRIBUTES",
    "TD_DEBUG",
    "Body",
    "IntelAuthority",
    "enclave_report",
    "raw_point",
    "raw_signature",
    "sgx_body",
    "td_body",
]

Key = ec.EllipticCurvePrivateKey

QE_MRSIGNER: Final = hashlib.sha256(b"proofml simulated quoting enclave").digest()
QE_PRODUCT: Final[Mapping[Platform, int]] = {Platform.SGX: 1, Platform.TDX: 2}
QE_ATTRIBUTES: Final = bytes.fromhex("11000000000000000000000000000000")
_VENDOR: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_KEYS: Final = ("root", "platform", "pck", "tcb", "attestation")


def raw_signature(key: Key, message: bytes) -> bytes:
    """r and s, 32 bytes each, over SHA-256."""
    both = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return b"".join(part.to_bytes(32, "big") for part in both)


def raw_point(key: Key) -> bytes:
    """x and y, 64 bytes."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


class IntelAuthority:
    """A simulated root with one platform.

    Attributes:
        root_der: the root's certificate.
    """

    def __init__(self, keys: Mapping[str, Key], root_der: bytes) -> None:
        self.keys = dict(keys)
        self.root_der = root_der
        self.root = x509.load_der_x509_certificate(root_der)

    @classmethod
    def create(cls, now: int) -> Self:
        """New keys; the root is valid for 30 years from `now`, in seconds since 1970."""
        keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in _KEYS}
        link = Link(
            "Simulated SGX Root CA", keys["root"], now - DAY, now + 30 * YEAR, path_length=1
        )
        return cls(keys, issue(link, None, keys["root"]).public_bytes(Encoding.DER))

    def save(self, folder: Path) -> None:
        """Write the keys (readable by the owner alone) and the root's certificate."""
        key_folder.save(folder, self.keys, self.root_der)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UsageError: it is not there, or broken.
        """
        try:
            found = key_folder.load_elliptic(folder, _KEYS)
            return cls(found, key_folder.load_root(folder, "root", found["root"]))
        except (OSError, ValueError, TypeError) as error:
            raise key_folder.broken("Intel", folder, error) from error

    # -- certificates ---------------------------------------------------------------------

    def issuer(self, now: int, *, processor: bool = False) -> Link:
        """The platform CA, or the processor CA (of the same key here)."""
        return Link(
            f"Simulated SGX PCK {'Processor' if processor else 'Platform'} CA",
            self.keys["platform"],
            now - DAY,
            now + 15 * YEAR,
            serial=0x2004 if processor else 0x2001,
            path_length=0,
        )

    def pck(
        self,
        now: int,
        *,
        fmspc: bytes = FMSPC,
        sgx_svn: int = SVN["sgx"],
        pce_svn: int = SVN["pce"],
        processor: bool = False,
    ) -> Link:
        """The PCK certificate of the platform."""
        return Link(
            "Simulated SGX PCK Certificate",
            self.keys["pck"],
            now - DAY,
            now + 7 * YEAR,
            serial=0x2002,
            authority=False,
            extension=pck_extension(fmspc, sgx_svn, pce_svn, processor=processor),
        )

    def tcb_signing(self, now: int) -> Link:
        """The certificate of the key that signs TCB information and identities."""
        return Link(
            "Simulated Intel SGX TCB Signing",
            self.keys["tcb"],
            now - DAY,
            now + 7 * YEAR,
            serial=0x2003,
            authority=False,
        )

    def chain(
        self, now: int, *, pck: Link | None = None, issuer: Link | None = None
    ) -> tuple[x509.Certificate, ...]:
        """PCK certificate, platform CA and root."""
        between = issue(issuer or self.issuer(now), self.root, self.keys["root"])
        leaf = issue(pck or self.pck(now), between, (issuer or self.issuer(now)).key)
        return leaf, between, self.root

    # -- quotes ---------------------------------------------------------------------------

    def qe_report(
        self,
        platform: Platform,
        auth: bytes,
        *,
        qe_svn: int = SVN["qe"],
        point: bytes | None = None,
    ) -> bytes:
        """The report of the quoting enclave, which names the attestation key (or `point`)."""
        named = hashlib.sha256((point or raw_point(self.keys["attestation"])) + auth).digest()
        return enclave_report(
            report_data=named + bytes(32),
            mrenclave=hashlib.sha256(b"simulated quoting enclave " + platform.encode()).digest(),
            mrsigner=QE_MRSIGNER,
            attributes=QE_ATTRIBUTES,
            product=QE_PRODUCT[platform],
            svn=qe_svn,
        )

    def sign(
        self,
        body: Body,
        now: int,
        *,
        chain: tuple[x509.Certificate, ...] | None = None,
        qe_report: bytes | None = None,
        qe_svn: int = SVN["qe"],
        key: Key | None = None,
        pck_key: Key | None = None,
        auth: bytes = bytes(range(32)),
        header: Mapping[int, int] | None = None,
        point: bytes | None = None,
    ) -> bytes:
        """A quote over a body; each part can be replaced by one that should not be.

        Args:
            qe_report: of the quoting enclave; `pck_key` signs it.
            key: signs header and body; `point` is named as its public half.
            header: offset -> byte, changed before it is signed.
        """
        platform = Platform.SGX if body.kind == 1 else Platform.TDX
        first = bytearray().join(
            (
                body.version.to_bytes(2, "little"),
                (2).to_bytes(2, "little"),
                (0 if body.kind == 1 else 0x81).to_bytes(4, "little"),
                (qe_svn.to_bytes(2, "little") + SVN["pce"].to_bytes(2, "little"))
                if body.kind == 1
                else bytes(4),
                _VENDOR,
                b"simulated platform".ljust(20, b"\0"),
            )
        )
        for at, value in (header or {}).items():
            first[at] = value
        if body.version == 5:
            first += body.kind.to_bytes(2, "little") + len(body.data).to_bytes(4, "little")
        signed = bytes(first) + body.data
        report = qe_report
        if report is None:
            report = self.qe_report(platform, auth, qe_svn=qe_svn, point=point)
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in chain or self.chain(now))
        inner = b"".join(
            (
                report,
                raw_signature(pck_key or self.keys["pck"], report),
                len(auth).to_bytes(2, "little"),
                auth,
                (5).to_bytes(2, "little"),
                len(pem).to_bytes(4, "little"),
                pem,
            )
        )
        if body.version >= 4:
            inner = (6).to_bytes(2, "little") + len(inner).to_bytes(4, "little") + inner
        data = b"".join(
            (
                raw_signature(key or self.keys["attestation"], signed),
                point or raw_point(self.keys["attestation"]),
                inner,
            )
        )
        return signed + len(data).to_bytes(4, "little") + data

    # -- collateral -----------------------------------------------------------------------

    def signer(self, now: int, *, tcb_signing: Link | None = None) -> Signer:
        """Who signs TCB information and identities, with the chain."""
        link = tcb_signing or self.tcb_signing(now)
        certificate = issue(link, self.root, self.keys["root"])
        return Signer(link.key, (certificate, self.root))

    def collateral(
        self,
        now: int,
        *,
        platform: Platform = Platform.TDX,
        status: str = "UpToDate",
        advisories: tuple[str, ...] = (),
        revoked: tuple[int, ...] = (),
        revoked_pck: tuple[int, ...] = (),
        list_days: int = 30,
        text_days: int = 30,
        fmspc: bytes = FMSPC,
        tcb_signing: Link | None = None,
        without_identity: bool = False,
        qe_svn: int = SVN["qe"],
        qe_status: str = "UpToDate",
        processor: bool = False,
    ) -> bytes:
        """Collateral as it travels.

        Args:
            status: of the platform's TCB at the current level; `advisories` go with it.
            revoked: serial numbers on the root's list; `revoked_pck` on the platform CA's.
            list_days, text_days: how long lists and signed texts hold, from a day before `now`.
            without_identity: leave the QE identity empty.
            qe_svn: lowest version of the quoting enclave that has `qe_status`; two below it, one
                is out of date.
            processor: with the list of the processor CA.
        """
        link = self.issuer(now, processor=processor)
        issuer = issue(link, self.root, self.keys["root"])
        made = Collateral(
            platform=platform,
            signer=self.signer(now, tcb_signing=tcb_signing),
            issuer=(issuer, self.root),
            root_crl=revocations(self.root, self.keys["root"], now, revoked, list_days),
            pck_crl=revocations(issuer, self.keys["platform"], now, revoked_pck, list_days),
            issued=now - DAY,
            next_update=now - DAY + text_days * DAY,
            fmspc=fmspc,
            svns={**SVN, "qe": qe_svn},
            status=status,
            advisories=advisories,
            qe_status=qe_status,
            qe_mrsigner=QE_MRSIGNER,
            qe_product=QE_PRODUCT[platform],
            qe_attributes=QE_ATTRIBUTES,
        )
        return made.to_bytes(sign=raw_signature, without_identity=without_identity)
