"""What all Intel quotes share: header, signature data, the quoting enclave's report, certificates.

Layouts: Intel TDX DCAP Quoting Library API, appendix A.3 (versions 4 and 5), and Intel SGX ECDSA
QuoteLibReference DCAP API, appendix A.4 (version 3).

The length of the signature data is stated, and nothing that is signed lies behind it. Guests often
hand out a buffer with zeros at its end, so zeros are taken; anything else is refused, unless a
caller that only looks asks for it (`lenient`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from proofml.tee.checks import QUOTE, refuse
from proofml.tee.reader import Field, Reader

HEADER_BYTES: Final = 48
REPORT_BYTES: Final = 384
#: Attestation key type 2: ECDSA over P-256 with SHA-256; the only one in use.
ECDSA_P256: Final = 2
#: Of the quoting enclaves that Intel builds.
INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
TEE_SGX, TEE_TDX = 0x00, 0x81
PCK_CHAIN, QE_REPORT = 5, 6
MAX_AUTH_BYTES: Final = 1024
#: Why `dcap-qvl` refuses a guest or enclave in debug mode.
DEBUG_WORDS: Final = "Debug mode is enabled"
MAX_CHAIN_BYTES: Final = 1 << 15


class Body(IntEnum):
    """Body types of version 5 quotes."""

    SGX = 1
    TD10 = 2
    TD15 = 3


#: Bits of an SGX enclave's attributes.
SGX_ATTRIBUTES: Final[Mapping[str, int]] = {
    "init": 0,
    "debug": 1,
    "mode64bit": 2,
    "provision_key": 4,
    "einittoken_key": 5,
    "cet": 6,
    "kss": 7,
    "aex_notify": 10,
}
_SGX_KNOWN: Final = sum(1 << bit for bit in SGX_ATTRIBUTES.values())


@dataclass(frozen=True, slots=True)
class Header:
    version: int
    tee_type: int
    qe_svn: int
    pce_svn: int
    qe_vendor: bytes


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """An SGX report body, 384 bytes: of the quoting enclave, or of the enclave that is quoted."""

    cpu_svn: bytes
    misc_select: int
    isv_ext_prod_id: bytes
    attributes: bytes
    mrenclave: bytes
    mrsigner: bytes
    config_id: bytes
    isv_prod_id: int
    isv_svn: int
    config_svn: int
    isv_family_id: bytes
    report_data: bytes
    raw: bytes

    @property
    def flags(self) -> int:
        """The first 8 bytes of the attributes; the others are XFRM."""
        return int.from_bytes(self.attributes[:8], "little")

    def named_flags(self) -> dict[str, bool]:
        return {name: bool(self.flags >> bit & 1) for name, bit in SGX_ATTRIBUTES.items()}


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature data of a quote.

    Attributes:
        signature: r and s over header and body, 64 bytes, by `key`.
        key: x and y on P-256, 64 bytes; the quoting enclave's report vouches for it.
        qe_signature: r and s over the report, by the PCK key.
        qe_auth: hashed into the report beside the key.
        chain: PEM, the PCK certificate first.
    """

    signature: bytes
    key: bytes
    qe_report: EnclaveReport
    qe_signature: bytes
    qe_auth: bytes
    chain: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A quote without its body's meaning.

    Attributes:
        body: bytes of the body, `kind` says of what.
        signed: what `signature` is over.
        fields: every byte, in order, the body's as well.
    """

    header: Header
    kind: Body
    body: bytes
    signature: Signature
    signed: bytes
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """What a trust domain's report says of what stands above the domain.

    Attributes:
        svns: `tee_tcb_svn` and, in TD 1.5, `tee_tcb_svn2`: of the TDX module, 16 bytes each.
        signer: MRSIGNERSEAM, who signed that module, 48 bytes.
        attributes: of the module (SEAMATTRIBUTES), 8 bytes.
        service: MRSERVICETD, the service domains that are bound to it; empty in TD 1.0.
    """

    svns: tuple[bytes, ...]
    signer: bytes
    attributes: bytes
    service: bytes


def read_header(reader: Reader, versions: tuple[int, ...], tee_type: int) -> Header:
    """The first 48 bytes; raises tee.3."""
    version = reader.integer("header.version", 2)
    _expect("version", version, versions)
    key_type = reader.integer("header.att_key_type", 2, "2: ECDSA P-256")
    _expect("attestation key type", key_type, (ECDSA_P256,))
    kind = reader.integer("header.tee_type", 4, "0: SGX, 0x81: TDX")
    _expect("TEE type", kind, (tee_type,))
    qe_svn = reader.integer("header.qe_svn", 2, "of the quoting enclave; zero in TDX quotes")
    pce_svn = reader.integer("header.pce_svn", 2, "zero in TDX quotes")
    if tee_type == TEE_TDX and (qe_svn or pce_svn):
        refuse(QUOTE, "quote: reserved bytes of the header", expected="zeros", got="data")
    vendor = reader.take("header.qe_vendor_id", 16)
    if vendor != INTEL_QE:
        refuse(QUOTE, "quote: vendor of the quoting enclave", expected="Intel's", got=vendor.hex())
    reader.take("header.user_data", 20, "platform's id, of the quoting enclave's choice")
    return Header(version, kind, qe_svn, pce_svn, vendor)


def _expect(what: str, got: int, allowed: tuple[int, ...]) -> None:
    if got not in allowed:
        expected = " or ".join(str(one) for one in allowed)
        refuse(QUOTE, f"quote: {what}", expected=expected, got=got)


def read_enclave_report(reader: Reader, name: str) -> EnclaveReport:
    """384 bytes; reserved ones are zero, and so are attributes without a meaning."""
    start = len(reader.fields)
    cpu_svn = reader.take(f"{name}.cpu_svn", 16)
    misc_select = reader.integer(f"{name}.misc_select", 4)
    reader.zeros(f"{name}.reserved_20", 12)
    ext_prod_id = reader.take(f"{name}.isv_ext_prod_id", 16)
    attributes = reader.take(f"{name}.attributes", 16, "flags and XFRM")
    flags = int.from_bytes(attributes[:8], "little")
    if flags & ~_SGX_KNOWN:
        refuse(QUOTE, f"quote: {name}.attributes", expected="known flags", got=hex(flags))
    mrenclave = reader.take(f"{name}.mrenclave", 32, "SHA-256 of the enclave's build")
    reader.zeros(f"{name}.reserved_96", 32)
    mrsigner = reader.take(f"{name}.mrsigner", 32, "SHA-256 of the signer's modulus")
    reader.zeros(f"{name}.reserved_160", 32)
    config_id = reader.take(f"{name}.config_id", 64)
    prod_id = reader.integer(f"{name}.isv_prod_id", 2)
    svn = reader.integer(f"{name}.isv_svn", 2)
    config_svn = reader.integer(f"{name}.config_svn", 2)
    reader.zeros(f"{name}.reserved_262", 42)
    family_id = reader.take(f"{name}.isv_family_id", 16)
    report_data = reader.take(f"{name}.report_data", 64)
    return EnclaveReport(
        cpu_svn=cpu_svn,
        misc_select=misc_select,
        isv_ext_prod_id=ext_prod_id,
        attributes=attributes,
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        config_id=config_id,
        isv_prod_id=prod_id,
        isv_svn=svn,
        config_svn=config_svn,
        isv_family_id=family_id,
        report_data=report_data,
        raw=b"".join(field.data for field in reader.fields[start:]),
    )


def read_signature(reader: Reader, version: int) -> Signature:
    """The signature data, behind its length; from version 4 on the report is nested in type 6."""
    size = reader.integer("signature_length", 4)
    data = reader.nested("signature", size)
    signature = data.take("signature.signature", 64, "r and s over header and body")
    key = data.take("signature.attestation_key", 64, "x and y on P-256")
    inner = data
    if version >= 4:
        inner = _certification(data, "signature.certification", QE_REPORT)
    report = read_enclave_report(inner, "qe_report")
    qe_signature = inner.take("qe_report_signature", 64, "r and s, by the PCK key")
    auth_size = inner.integer("qe_auth_length", 2)
    if auth_size > MAX_AUTH_BYTES:
        refuse(QUOTE, "quote: qe_auth", expected=f"at most {MAX_AUTH_BYTES}", got=auth_size)
    auth = inner.take("qe_auth", auth_size)
    last = _certification(inner, "pck_chain", PCK_CHAIN)
    if last.left > MAX_CHAIN_BYTES:
        refuse(QUOTE, "quote: pck_chain", expected=f"at most {MAX_CHAIN_BYTES}", got=last.left)
    chain = last.take("pck_chain.pem", last.left, "the PCK certificate, its issuer, the root")
    inner.end()
    data.end()
    return Signature(signature, key, report, qe_signature, auth, chain)


def _certification(reader: Reader, name: str, kind: int) -> Reader:
    """Certification data of one type, 2 + 4 bytes and what they announce."""
    got = reader.integer(f"{name}.type", 2, "5: PCK chain, 6: QE report")
    _expect(f"type of {name}", got, (kind,))
    return reader.nested(name, reader.integer(f"{name}.length", 4))


def finish(reader: Reader, lenient: bool) -> None:
    """What stands behind the signature data; see the head of this file."""
    if lenient:
        if reader.left:
            reader.take("padding", reader.left, "not signed, not part of the quote")
    elif reader.left:
        reader.zeros("padding", reader.left)
