"""What Intel's simulated hardware reports: trust domains (584 or 648 bytes) and enclaves (384)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Attributes of a trust domain: no exception where the host takes a page away (bit 28), no others.
TD_ATTRIBUTES: Final = 1 << 28
TD_DEBUG: Final = 1
#: Attributes of an enclave: initialised, 64 bits, KSS; debug is bit 1.
SGX_FLAGS: Final = 1 | 1 << 2 | 1 << 7
SGX_DEBUG: Final = 1 << 1
#: Security versions of what is current.
SVN: Final[Mapping[str, int]] = {"sgx": 5, "tdx": 4, "pce": 13, "qe": 8}


@dataclass(frozen=True, slots=True)
class Body:
    """A report that is quoted: `version` and `kind` of the quote, and its bytes."""

    version: int
    kind: int
    data: bytes


def td_body(
    *,
    report_data: bytes,
    registers: Mapping[str, bytes] | None = None,
    version: int = 4,
    td15: bool = False,
    debug: bool = False,
    attributes: int = TD_ATTRIBUTES,
    tdx_svn: int = SVN["tdx"],
    updated_svn: int | None = None,
    module: int = 1,
) -> Body:
    """A trust domain's report; registers that are not named are zeros.

    Args:
        tdx_svn: of the module when the domain started, whose version is `module`.
        updated_svn: of the module by now (TD 1.5); `tdx_svn` by default.
    """
    known = registers or {}
    svn, by_now = (
        bytes((one, module, 3)) + bytes(13)
        for one in (tdx_svn, tdx_svn if updated_svn is None else updated_svn)
    )
    parts = [
        svn,
        bytes(48 + 48 + 8),
        (attributes | (TD_DEBUG if debug else 0)).to_bytes(8, "little"),
        (0x602E7).to_bytes(8, "little"),
    ]
    names = ("mrtd", "mrconfigid", "mrowner", "mrownerconfig", "rtmr0", "rtmr1", "rtmr2", "rtmr3")
    parts += [known.get(name, bytes(48)) for name in names]
    parts.append(report_data)
    if td15:
        parts += [by_now, known.get("mrservicetd", bytes(48))]
    return Body(5 if td15 else version, 3 if td15 else 2, b"".join(parts))


def enclave_report(
    *,
    report_data: bytes,
    mrenclave: bytes = bytes(32),
    mrsigner: bytes = bytes(32),
    config_id: bytes = bytes(64),
    attributes: bytes = (SGX_FLAGS).to_bytes(8, "little") + (3).to_bytes(8, "little"),
    product: int = 0,
    svn: int = 1,
) -> bytes:
    """An SGX report body, 384 bytes."""
    return b"".join(
        (
            bytes([SVN["sgx"]] * 16),
            bytes(4 + 12 + 16),
            attributes,
            mrenclave,
            bytes(32),
            mrsigner,
            bytes(32),
            config_id,
            product.to_bytes(2, "little"),
            svn.to_bytes(2, "little"),
            bytes(2 + 42 + 16),
            report_data,
        )
    )


def sgx_body(
    *,
    report_data: bytes,
    mrenclave: bytes = bytes(32),
    mrsigner: bytes = bytes(32),
    config_id: bytes = bytes(64),
    debug: bool = False,
    flags: int = SGX_FLAGS,
    product: int = 0,
    svn: int = 1,
) -> Body:
    """An enclave's report; `flags` are its attributes without debug mode."""
    flags |= SGX_DEBUG if debug else 0
    return Body(
        3,
        1,
        enclave_report(
            report_data=report_data,
            mrenclave=mrenclave,
            mrsigner=mrsigner,
            config_id=config_id,
            attributes=flags.to_bytes(8, "little") + (3).to_bytes(8, "little"),
            product=product,
            svn=svn,
        ),
    )
