"""Intel's extension in a PCK certificate: which platform, at which TCB.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, section
1.3.5, object identifier 1.2.840.113741.1.13.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from proofml.tee.checks import COLLATERAL, refuse

ARC: Final = "1.2.840.113741.1.13.1"
#: The content of that object identifier, as it stands in DER before its last arc.
_ARC_DER: Final = bytes.fromhex("2a864886f84d010d01")
_PPID, _TCB, _PCE_ID, _FMSPC, _SGX_TYPE = 1, 2, 3, 4, 5
_PCE_SVN, _CPU_SVN = 17, 18
_INTEGER, _OCTETS, _OID, _ENUMERATED, _SEQUENCE = 0x02, 0x04, 0x06, 0x0A, 0x30


@dataclass(frozen=True, slots=True)
class PckExtension:
    """`ppid` 16 bytes, `cpu_svn` 16, `fmspc` 6, `pce_id` 2; `components`: 16 numbers of the TCB."""

    ppid: bytes
    cpu_svn: bytes
    pce_svn: int
    pce_id: bytes
    fmspc: bytes
    components: tuple[int, ...]


def read_pck(certificate: x509.Certificate) -> PckExtension:
    """The extension of a PCK certificate.

    Raises:
        VerificationError: tee.8, it is not there or not of this form.
    """
    data = next(
        (
            extension.value.value
            for extension in certificate.extensions
            if extension.oid.dotted_string == ARC
            and isinstance(extension.value, x509.UnrecognizedExtension)
        ),
        None,
    )
    if data is None:
        refuse(COLLATERAL, "PCK certificate", expected=f"the extension {ARC}", got="none")
    try:
        found = _by_arc(_only(data), _ARC_DER)
        if found[_TCB][0] != _SEQUENCE:
            raise ValueError("the TCB is no sequence")
        tcb = _by_arc(found[_TCB][1], _ARC_DER + bytes([_TCB]))
        result = PckExtension(
            ppid=_octets(found[_PPID], 16),
            cpu_svn=_octets(tcb[_CPU_SVN], 16),
            pce_svn=_integer(tcb[_PCE_SVN]),
            pce_id=_octets(found[_PCE_ID], 2),
            fmspc=_octets(found[_FMSPC], 6),
            components=tuple(_integer(tcb[number]) for number in range(1, 17)),
        )
    except (ValueError, KeyError, IndexError) as error:
        refuse(COLLATERAL, f"PCK certificate: extension {ARC}: {error}", expected="Intel's form")
    return result


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each item of a DER sequence; lengths below 64 KiB."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            if count not in (1, 2):
                raise ValueError("length of another form")
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if at + size > len(data):
            raise ValueError("cut off")
        yield tag, data[at : at + size]
        at += size


def _only(data: bytes) -> bytes:
    items = list(_items(data))
    if len(items) != 1 or items[0][0] != _SEQUENCE:
        raise ValueError("not one sequence")
    return items[0][1]


def _by_arc(data: bytes, above: bytes) -> dict[int, tuple[int, bytes]]:
    """Last arc -> tag and content, of a sequence of pairs of identifier and value.

    The identifiers are `above` and one arc below it.
    """
    found: dict[int, tuple[int, bytes]] = {}
    for tag, content in _items(data):
        pair = list(_items(content)) if tag == _SEQUENCE else []
        if len(pair) != 2 or pair[0][0] != _OID or pair[0][1][:-1] != above:
            raise ValueError("not a pair of identifier and value")
        arc = pair[0][1][-1]
        if arc in found:
            raise ValueError("an identifier stands twice")
        found[arc] = pair[1]
    return found


def _octets(item: tuple[int, bytes], size: int) -> bytes:
    if item[0] != _OCTETS or len(item[1]) != size:
        raise ValueError(f"expected {size} bytes")
    return item[1]


def _integer(item: tuple[int, bytes]) -> int:
    value = int.from_bytes(item[1], "big", signed=True)
    if item[0] != _INTEGER or not 1 <= len(item[1]) <= 3 or not 0 <= value <= 0xFFFF:
        raise ValueError("expected an integer of 16 bits")
    return value
