"""The table of certificates that a SEV-SNP host hands to its guest (`auxblob` of configfs-tsm).

Entries of 24 bytes, {GUID 16 bytes in the order in which it is written, offset u32, length u32},
little-endian, ended by one of zeros; offsets count from the start of the table. AMD 56421 (GHCB
standard), section 4.1.8.1. The table comes from the host; a verifier trusts none of it.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final
from uuid import UUID

from proofml.errors import BackendFailed

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_ENTRY: Final = struct.Struct("<16sII")
_MAX_ENTRIES: Final = 64
_NAMES: Final = {
    UUID("63da758d-e664-4564-adc5-f4b93be8accd").bytes: "VCEK",
    UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1").bytes: "VLEK",
    UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782").bytes: "ASK",
    UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae").bytes: "ARK",
    UUID("92f81bc3-5811-4d3d-97ff-d19f88dc67ea").bytes: "CRL",
}


def read_table(data: bytes) -> dict[str, bytes]:
    """Name (`VCEK`, `VLEK`, `ASK`, `ARK`, `CRL`) -> its bytes; others are left out.

    Raises:
        BackendFailed: no table, or one that points outside of itself.
    """
    found: dict[str, bytes] = {}
    for index in range(_MAX_ENTRIES):
        entry = data[index * _ENTRY.size : (index + 1) * _ENTRY.size]
        if len(entry) < _ENTRY.size:
            raise BackendFailed("table of certificates: it has no end")
        guid, offset, length = _ENTRY.unpack(entry)
        if not any(entry):
            return found
        if offset + length > len(data):
            raise BackendFailed(
                f"table of certificates: entry {index} ends at {offset + length}, the table has "
                f"{len(data)} bytes"
            )
        if guid in _NAMES:
            found[_NAMES[guid]] = data[offset : offset + length]
    raise BackendFailed(f"table of certificates: more than {_MAX_ENTRIES} entries")


def table_collateral(data: bytes) -> bytes:
    """The table as it travels with a report (`amd_collateral`).

    Raises:
        BackendFailed: the host gives no certificates, or broken ones.
    """
    from cryptography import x509

    from proofml.tee.amd_collateral import write_collateral

    table = read_table(data) if any(data) else {}
    leaf = table.get("VCEK") or table.get("VLEK")
    if leaf is None or "ASK" not in table or "ARK" not in table:
        raise BackendFailed(
            f"table of certificates: expected VCEK or VLEK, ASK and ARK, got "
            f"{', '.join(table) or 'none'}; the host provides none, so fetch them from AMD's key "
            "server and give them as collateral"
        )
    try:
        certificates = [_certificate(part) for part in (leaf, table["ASK"], table["ARK"])]
        crl = None
        if "CRL" in table:
            raw = table["CRL"]
            load = x509.load_pem_x509_crl if raw[:5] == b"-----" else x509.load_der_x509_crl
            crl = load(raw)
    except (ValueError, x509.InvalidVersion) as error:
        raise BackendFailed(f"table of certificates: {error}") from error
    return write_collateral(certificates[0], certificates[1:], crl)


def _certificate(data: bytes) -> Certificate:
    """DER, or PEM; raises `ValueError`, `InvalidVersion`."""
    from cryptography import x509

    if data[:5] == b"-----":
        return x509.load_pem_x509_certificate(data)
    return x509.load_der_x509_certificate(data)
