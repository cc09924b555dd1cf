"""A platform in software: registers and quotes as hardware has them, under a root that is not.

One `SimulatedQuoter` is one started guest. Its code register is measured when it is made, from the
files of the package; the configuration goes where the platform measures it. Its keys are made once
for a cache and kept there; whoever can read them can have anything quoted, and the verdict says so.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from proofml.errors import BackendFailed, UsageError
from proofml.store import Store
from proofml.tee.config import CONFIG_EVENT, CONFIG_REGISTERS, config_event, config_id, host_data
from proofml.tee.eventlog import EventLog
from proofml.tee.known_simulators import folder
from proofml.tee.measure import CODE_REGISTERS, code_measurement
from proofml.tee.platform import Attestation, Platform
from proofml.tee.quoter import REPORT_DATA_BYTES

# Each authority is imported with its own platform: they bring different packages.
if TYPE_CHECKING:
    from proofml.tee.simulator.amd import AmdAuthority
    from proofml.tee.simulator.aws import AwsAuthority
    from proofml.tee.simulator.intel import IntelAuthority

#: Seconds for which signed certificates and collateral are handed out again.
COLLATERAL_SECONDS: Final = 3600
#: Kernel and application of a Nitro image (PCR1, PCR2): zeros would mean debug mode, and nothing of
#: the kind is booted here.
_BOOTED: Final = {
    index: hashlib.sha384(f"proofml simulator: no {part}".encode("ascii")).digest()
    for index, part in ((1, "kernel"), (2, "application"))
}


def open_authority(store: Store, platform: Platform, now: int | None = None) -> Any:
    """This cache's simulated root for the platform, made where there is none.

    Args:
        now: seconds since 1970; the clock's by default.

    Raises:
        UsageError: what is there is broken.
        BackendFailed: it cannot be written.
    """
    authority = _authority(platform)
    place = folder(store, platform)
    with store.lock(f"tee-simulator-{place.name}"):
        if place.is_dir():
            return authority.load(place)
        made = authority.create(int(time.time()) if now is None else now)
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Whole or not at all: a folder that is there is complete.
            part = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
            try:
                made.save(part)
                part.replace(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            raise BackendFailed(f"simulated root in {place}: {error.strerror}") from error
        return made


def _authority(platform: Platform) -> Any:
    """The class of it."""
    if platform is Platform.SEV_SNP:
        from proofml.tee.simulator.amd import AmdAuthority

        return AmdAuthority
    if platform is Platform.NITRO:
        from proofml.tee.simulator.aws import AwsAuthority

        return AwsAuthority
    from proofml.tee.simulator.intel import IntelAuthority

    return IntelAuthority


class SimulatedQuoter:
    """One start of a simulated guest; safe for several threads.

    Args:
        authority: the platform's software root (`open_authority`).
        code: the code register, by name; measured here and now by default.
        debug: start it in debug mode, which its quotes then say.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        platform: Platform,
        authority: Any,
        *,
        code: dict[str, str] | None = None,
        debug: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.platform = platform
        self.authority = authority
        measured = code_measurement(platform) if code is None else code
        self._code = bytes.fromhex(measured[CODE_REGISTERS[platform][0]])
        self._debug = debug
        self._clock = clock
        self._lock = threading.Lock()
        self._config: bytes | None = None
        self._log = EventLog(platform)
        self._collateral: tuple[int, bytes] | None = None

    @classmethod
    def open(cls, platform: Platform, store: Store, *, debug: bool = False) -> Self:
        """A guest under this cache's simulated root; as `open_authority`."""
        return cls(platform, open_authority(store, platform), debug=debug)

    def configure(self, config: bytes) -> None:
        with self._lock:
            if self._config is not None:
                raise UsageError("the configuration is measured already; start another guest")
            self._config = config
            if self.platform in CONFIG_REGISTERS:
                self._extend(CONFIG_EVENT, config_event(config))

    def extend(self, name: str, payload: bytes) -> None:
        with self._lock:
            if self.platform not in CONFIG_REGISTERS:
                raise UsageError(f"{self.platform} has no register that grows")
            self._extend(name, payload)

    def _extend(self, name: str, payload: bytes) -> None:
        self._log = self._log.extended(CONFIG_REGISTERS[self.platform], name, payload)

    def quote(self, report_data: bytes) -> Attestation:
        if len(report_data) != REPORT_DATA_BYTES:
            raise UsageError(
                f"report data: expected {REPORT_DATA_BYTES} bytes, got {len(report_data)}"
            )
        now = int(self._clock())
        with self._lock:
            issued, collateral = self._current(now)
            quote = self._quote(report_data, now, issued)
            log = self._log.to_bytes() if self.platform in CONFIG_REGISTERS else b""
            return Attestation(self.platform, quote, collateral, log)

    def _current(self, now: int) -> tuple[int, bytes]:
        """Collateral; signed anew once in a while only, since an RSA signature takes its time."""
        if self._collateral is None or not 0 <= now - self._collateral[0] < COLLATERAL_SECONDS:
            intel = self.platform in (Platform.TDX, Platform.SGX)
            which = {"platform": self.platform} if intel else {}
            self._collateral = (now, self.authority.collateral(now, **which))
        return self._collateral

    def _quote(self, report_data: bytes, now: int, issued: int) -> bytes:
        registers: dict[str, bytes] = {}
        if self.platform in CONFIG_REGISTERS:
            registers = {name: bytes.fromhex(text) for name, text in self._log.registers.items()}
        guest = Guest(report_data, self._code, self._config, registers, self._debug, now, issued)
        return _QUOTES[self.platform](self.authority, guest)


@dataclass(frozen=True)
class Guest:
    """What a quote says of a guest.

    Attributes:
        code: the code register.
        config: None where none was measured.
        registers: those that grow, by name.
        now: seconds since 1970.
        issued: when the collateral of this quote was signed.
    """

    report_data: bytes
    code: bytes
    config: bytes | None
    registers: Mapping[str, bytes]
    debug: bool
    now: int
    issued: int


def _tdx(authority: IntelAuthority, guest: Guest) -> bytes:
    from proofml.tee.simulator.intel import td_body

    registers = {**guest.registers, "mrtd": guest.code}
    body = td_body(report_data=guest.report_data, registers=registers, debug=guest.debug)
    return authority.sign(body, guest.now, chain=authority.chain(guest.issued))


def _sgx(authority: IntelAuthority, guest: Guest) -> bytes:
    from proofml.tee.simulator.intel import sgx_body

    body = sgx_body(
        report_data=guest.report_data,
        mrenclave=guest.code,
        config_id=bytes(64) if guest.config is None else config_id(guest.config),
        debug=guest.debug,
    )
    return authority.sign(body, guest.now, chain=authority.chain(guest.issued))


def _sev_snp(authority: AmdAuthority, guest: Guest) -> bytes:
    return authority.quote(
        report_data=guest.report_data,
        measurement=guest.code,
        host_data=bytes(32) if guest.config is None else host_data(guest.config),
        debug=guest.debug,
    )


def _nitro(authority: AwsAuthority, guest: Guest) -> bytes:
    pcrs = {int(name.removeprefix("pcr")): value for name, value in guest.registers.items()}
    return authority.quote(
        report_data=guest.report_data,
        now=guest.now,
        pcrs={0: guest.code, **_BOOTED, **pcrs},
        debug=guest.debug,
    )


_QUOTES: Final[Mapping[Platform, Callable[[Any, Guest], bytes]]] = {
    Platform.TDX: _tdx,
    Platform.SGX: _sgx,
    Platform.SEV_SNP: _sev_snp,
    Platform.NITRO: _nitro,
}
