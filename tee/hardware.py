"""Quotes from real platforms: what Linux offers inside a TDX or SEV-SNP guest, or a Nitro enclave.

TDX and SEV-SNP: `configfs-tsm` (Documentation/ABI/testing/configfs-tsm-report, Linux 6.7): one
folder below /sys/kernel/config/tsm/report for each asker, 64 bytes into `inblob`, the quote out of
`outblob`. RTMR3 of TDX grows by writes to sysfs (Documentation/ABI/testing/
sysfs-devices-virtual-misc-tdx_guest, Linux 6.16). Nitro: /dev/nsm (`nsm`).

SGX has no quoter here: an enclave is made by a library OS, and its quote comes from there.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from proofml.errors import BackendFailed, BackendUnavailable, UsageError
from proofml.tee.cert_table import table_collateral
from proofml.tee.config import CONFIG_EVENT, CONFIG_REGISTERS, config_event, host_data
from proofml.tee.eventlog import REGISTER_BYTES, EventLog, extended, runtime_digest
from proofml.tee.nsm import DEVICE, NsmQuoter
from proofml.tee.platform import Attestation, Platform
from proofml.tee.quoter import REPORT_DATA_BYTES, Quoter

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
MEASUREMENTS: Final = Path("/sys/devices/virtual/misc/tdx_guest/measurements")
#: What `provider` says on each platform.
PROVIDERS: Final = {Platform.TDX: "tdx_guest", Platform.SEV_SNP: "sev_guest"}
#: HOST_DATA in a SEV-SNP report (AMD 56860, table "ATTESTATION_REPORT structure").
_HOST_DATA: Final = slice(0xC0, 0xE0)
_MAX_BLOB_BYTES: Final = 1 << 20

#: Quote -> the collateral that travels with it (`Attestation.collateral`).
Collateral = Callable[[bytes], bytes]


class ReportFolders:
    """Makes and removes folders of `configfs-tsm`, whose files come and go with them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> Path:
        """A folder of this asker's own, so that nobody else writes to it."""
        path = self.root / f"proofml-{os.getpid()}-{secrets.token_hex(8)}"
        path.mkdir()
        return path

    def remove(self, path: Path) -> None:
        path.rmdir()


class TsmQuoter:
    """A TDX or SEV-SNP guest on Linux, seen from inside.

    Args:
        platform: TDX or SEV-SNP.
        folders: of `configfs-tsm`.
        measurements: folder of TDX's registers in sysfs.
        collateral: for each quote. By default none for TDX: it is then fetched by whoever has a
            provisioning service; for SEV-SNP the certificates that the host provides.
        log: events that were measured into RTMR3 before, such as dstack's.
        privilege: SEV-SNP: the privilege level (VMPL) of the report, None for the kernel's default.

    Raises:
        UsageError: another platform, or a log of another one.
        BackendUnavailable: this machine is no such guest, or its kernel is too old.
        BackendFailed: RTMR3 is not what `log` says.
    """

    def __init__(
        self,
        platform: Platform,
        *,
        folders: ReportFolders | None = None,
        measurements: Path = MEASUREMENTS,
        collateral: Collateral | None = None,
        log: EventLog | None = None,
        privilege: int | None = None,
    ) -> None:
        if platform not in PROVIDERS:
            raise UsageError(f"expected one of {', '.join(PROVIDERS)}, got {platform}")
        if privilege is not None and platform is not Platform.SEV_SNP:
            raise UsageError("privilege levels are SEV-SNP's")
        self.platform = platform
        self._folders = folders or ReportFolders(REPORTS)
        self._collateral = collateral
        self._privilege = privilege
        self._lock = threading.Lock()
        self._configured = False
        if not self._folders.root.is_dir():
            raise BackendUnavailable(
                f"{self._folders.root}: no such folder; expected it in a {platform} guest with "
                "Linux 6.7 or later and configfs mounted (CONFIG_TSM_REPORTS)"
            )
        self._log = log or EventLog(platform)
        self._register = measurements / f"rtmr{CONFIG_REGISTERS[Platform.TDX]}:sha384"
        if platform is Platform.TDX:
            self._check_log()

    def _check_log(self) -> None:
        if self._log.platform is not self.platform:
            raise UsageError(f"event log: expected one of TDX, got one of {self._log.platform}")
        if not self._register.exists():
            raise BackendUnavailable(
                f"{self._register}: no such file; expected it in a TDX guest with Linux 6.16 or "
                "later"
            )
        expected = self._log.registers.get("rtmr3", bytes(REGISTER_BYTES).hex())
        got = self._read(self._register).hex()
        if got != expected:
            raise BackendFailed(
                f"RTMR3: expected {expected}, as the event log says, got {got}; give the log of "
                "what was measured before"
            )

    # -- measuring --------------------------------------------------------------------------------

    def configure(self, config: bytes) -> None:
        with self._lock:
            if self._configured:
                raise UsageError("the configuration is measured already; start another guest")
            if self.platform is Platform.TDX:
                self._extend(CONFIG_EVENT, config_event(config))
            else:
                self._check_host_data(config)
            self._configured = True

    def _check_host_data(self, config: bytes) -> None:
        """SEV-SNP: the launched value is that of this configuration."""
        report, _ = self._report(bytes(REPORT_DATA_BYTES))
        expected, got = host_data(config).hex(), report[_HOST_DATA].hex()
        if got != expected:
            raise BackendFailed(
                f"HOST_DATA: expected {expected}, the digest of this configuration, got {got}; "
                "launch the guest with that value (QEMU: sev-snp-guest,host-data=BASE64)"
            )

    def extend(self, name: str, payload: bytes) -> None:
        with self._lock:
            if self.platform is not Platform.TDX:
                raise UsageError(f"{self.platform} has no register that grows")
            self._extend(name, payload)

    def _extend(self, name: str, payload: bytes) -> None:
        log = self._log.extended(CONFIG_REGISTERS[Platform.TDX], name, payload)
        before = self._read(self._register)
        digest = runtime_digest(name, payload)
        try:
            # The kernel takes one write of a whole digest.
            with self._register.open("r+b", buffering=0) as file:
                file.write(digest)
        except OSError as error:
            self._broken(self._register, error)
        got = self._read(self._register)
        if got != extended(before, digest):
            raise BackendFailed(
                f"RTMR3: expected {extended(before, digest).hex()} after event {name!r}, got "
                f"{got.hex()}; somebody else measures into it"
            )
        self._log = log

    # -- quotes -----------------------------------------------------------------------------------

    def quote(self, report_data: bytes) -> Attestation:
        if len(report_data) != REPORT_DATA_BYTES:
            raise UsageError(
                f"report data: expected {REPORT_DATA_BYTES} bytes, got {len(report_data)}"
            )
        with self._lock:
            quote, auxiliary = self._report(report_data)
            log = self._log.to_bytes() if self.platform is Platform.TDX else b""
        if self._collateral is not None:
            collateral = self._collateral(quote)
        elif self.platform is Platform.SEV_SNP:
            collateral = table_collateral(auxiliary)
        else:
            collateral = b""
        return Attestation(self.platform, quote, collateral, log)

    def _report(self, report_data: bytes) -> tuple[bytes, bytes]:
        """Quote, and what the host adds to it (SEV-SNP: a table of certificates)."""
        try:
            folder = self._folders.create()
        except OSError as error:
            self._broken(self._folders.root, error)
        try:
            provider = self._read(folder / "provider").decode("ascii", "replace").strip()
            if provider != PROVIDERS[self.platform]:
                raise BackendUnavailable(
                    f"{self._folders.root}: expected provider {PROVIDERS[self.platform]!r}, got "
                    f"{provider!r}; this is another kind of guest"
                )
            if self._privilege is not None:
                self._write(folder / "privlevel", str(self._privilege).encode("ascii"))
            self._write(folder / "inblob", report_data)
            before = self._read(folder / "generation")
            quote = self._read(folder / "outblob")
            auxiliary = folder / "auxblob"
            more = self._read(auxiliary) if auxiliary.exists() else b""
            if self._read(folder / "generation") != before:
                raise BackendFailed(f"{folder}: somebody else wrote to it")
            if not quote:
                raise BackendFailed(f"{folder}: the platform gave no quote")
            return quote, more
        finally:
            with contextlib.suppress(OSError):
                self._folders.remove(folder)

    def _read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                return file.read(_MAX_BLOB_BYTES)
        except OSError as error:
            self._broken(path, error)

    def _write(self, path: Path, data: bytes) -> None:
        try:
            with path.open("wb", buffering=0) as file:
                file.write(data)
        except OSError as error:
            self._broken(path, error)

    def _broken(self, path: Path, error: OSError) -> NoReturn:
        hint = "; this takes root" if isinstance(error, PermissionError) else ""
        raise BackendFailed(f"{path}: {error.strerror}{hint}") from error


def open_quoter(platform: Platform, *, collateral: Collateral | None = None) -> Quoter:
    """The platform on which this process runs.

    Args:
        collateral: for each quote of TDX or SEV-SNP; see `TsmQuoter`.

    Raises:
        BackendUnavailable: this machine is no such guest.
        BackendFailed: it is one in which somebody else has measured.
    """
    if platform is Platform.SGX:
        raise BackendUnavailable(
            "sgx: this process cannot ask for an SGX quote by itself; use tdx, sev-snp or nitro, "
            "or the simulator"
        )
    if platform is Platform.NITRO:
        return NsmQuoter(DEVICE)
    return TsmQuoter(platform, collateral=collateral)
