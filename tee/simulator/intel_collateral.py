"""Collateral of the simulated Intel root: TCB information, QE identity, the JSON around them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from proofml.tee.platform import Platform
from proofml.tee.simulator.intel_certificates import PCE_ID

Key = ec.EllipticCurvePrivateKey
Sign = Callable[[Key, bytes], bytes]

_DATE = "%Y-%m-%dT%H:%M:%SZ"
_TCB_DATE, _OLD_DATE = "2024-03-13T00:00:00Z", "2023-08-09T00:00:00Z"
#: Number of the evaluation that the simulated collateral is of.
EVALUATION = 17
#: Of what is one level behind.
OLD_ADVISORIES: Final = ("SIMULATED-SA-0001",)
#: How far behind the levels are: of the platform and its module, and of the quoting enclave.
BEHIND: Final = {"sgx": 1, "pce": 2, "tdx": 2, "qe": 2}
#: Modules of TDX that nobody but Intel signs: the signer is zeros, and so are the attributes.
_MODULE: Final = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}


@dataclass(frozen=True, slots=True)
class Signer:
    """The key that signs texts, its certificate, and the root."""

    key: Key
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Collateral:
    """All that goes into the collateral of one platform; times in seconds since 1970.

    Attributes:
        svns: `sgx`, `tdx`, `pce` and `qe` of the current level.
        status, advisories: of whoever reaches that level; `qe_status` of the quoting enclave.
    """

    platform: Platform
    signer: Signer
    issuer: tuple[x509.Certificate, ...]
    root_crl: x509.CertificateRevocationList
    pck_crl: x509.CertificateRevocationList
    issued: int
    next_update: int
    fmspc: bytes
    svns: Mapping[str, int]
    status: str
    advisories: tuple[str, ...]
    qe_status: str
    qe_mrsigner: bytes
    qe_product: int
    qe_attributes: bytes

    def _dated(self, kind: str, version: int) -> dict[str, Any]:
        return {
            "id": kind,
            "version": version,
            "issueDate": _date(self.issued),
            "nextUpdate": _date(self.next_update),
        }

    def tcb_info(self) -> dict[str, Any]:
        """TCB information of version 3: two levels, the current one and one that is out of date."""
        tdx = self.platform is Platform.TDX
        found = self._dated("TDX" if tdx else "SGX", 3) | {
            "fmspc": self.fmspc.hex().upper(),
            "pceId": PCE_ID.hex().upper(),
            "tcbType": 0,
            "tcbEvaluationDataNumber": EVALUATION,
        }
        if tdx:
            found |= {"tdxModule": _MODULE, "tdxModuleIdentities": self._modules()}
        old = {name: svn - BEHIND[name] for name, svn in self.svns.items()}
        levels = [
            _level(self._parts(self.svns), self.status, self.advisories),
            _level(self._parts(old), "OutOfDate", OLD_ADVISORIES, _OLD_DATE),
        ]
        return found | {"tcbLevels": levels}

    def _parts(self, svns: Mapping[str, int]) -> dict[str, Any]:
        found: dict[str, Any] = {
            "sgxtcbcomponents": [{"svn": svns["sgx"]} for _ in range(16)],
            "pcesvn": svns["pce"],
        }
        if self.platform is Platform.TDX:
            parts = [svns["tdx"], 0, 3] + [0] * 13
            found["tdxtcbcomponents"] = [{"svn": svn} for svn in parts]
        return found

    def _modules(self) -> list[dict[str, Any]]:
        """Versions 3 and 1 of the module."""
        svn = self.svns["tdx"]
        current = _level({"isvsvn": svn}, "UpToDate")
        old = _level({"isvsvn": svn - BEHIND["tdx"]}, "OutOfDate", OLD_ADVISORIES, _OLD_DATE)
        return [
            {"id": "TDX_03", **_MODULE, "tcbLevels": [current]},
            {"id": "TDX_01", **_MODULE, "tcbLevels": [current, old]},
        ]

    def identity(self) -> dict[str, Any]:
        """Identity of the quoting enclave, version 2: two levels as well."""
        svn = self.svns["qe"]
        return self._dated("TD_QE" if self.platform is Platform.TDX else "QE", 2) | {
            "tcbEvaluationDataNumber": EVALUATION,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": self.qe_attributes.hex().upper(),
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": self.qe_mrsigner.hex().upper(),
            "isvprodid": self.qe_product,
            "tcbLevels": [
                _level({"isvsvn": svn}, self.qe_status),
                _level({"isvsvn": svn - BEHIND["qe"]}, "OutOfDate", OLD_ADVISORIES, _OLD_DATE),
            ],
        }

    def to_bytes(self, *, sign: Sign, without_identity: bool = False) -> bytes:
        """The JSON as it travels."""
        tcb_info = _compact(self.tcb_info())
        identity = "" if without_identity else _compact(self.identity())
        key = self.signer.key
        signed = b"" if without_identity else sign(key, identity.encode())
        return json.dumps(
            {
                "pck_crl_issuer_chain": _pem(self.issuer),
                "root_ca_crl": self.root_crl.public_bytes(Encoding.DER).hex(),
                "pck_crl": self.pck_crl.public_bytes(Encoding.DER).hex(),
                "tcb_info_issuer_chain": _pem(self.signer.chain),
                "tcb_info": tcb_info,
                "tcb_info_signature": sign(key, tcb_info.encode()).hex(),
                "qe_identity_issuer_chain": _pem(self.signer.chain),
                "qe_identity": identity,
                "qe_identity_signature": signed.hex(),
            }
        ).encode()


def _level(
    tcb: Mapping[str, Any], status: str, advisories: tuple[str, ...] = (), date: str = _TCB_DATE
) -> dict[str, Any]:
    found = {"tcb": dict(tcb), "tcbDate": date, "tcbStatus": status}
    return found | {"advisoryIDs": list(advisories)} if advisories else found


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(_DATE)


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _pem(chain: tuple[x509.Certificate, ...]) -> str:
    return "".join(one.public_bytes(Encoding.PEM).decode() for one in chain)
