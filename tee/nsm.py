"""AWS Nitro: documents from /dev/nsm, the security module of an enclave.

One ioctl carries a request and its response in CBOR (<linux/nsm.h>, `NSM_IOCTL_RAW`; the messages
are those of aws-nitro-enclaves-nsm-api, `Request` and `Response`). PCR16 and later are free for
use; a document shows a register only once it is locked, so the first quote locks PCR16.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from proofml.errors import BackendFailed, BackendUnavailable, UsageError, printable
from proofml.tee.config import CONFIG_EVENT, CONFIG_REGISTERS, config_event
from proofml.tee.eventlog import REGISTER_BYTES, EventLog, runtime_digest
from proofml.tee.platform import Attestation, Platform
from proofml.tee.quoter import REPORT_DATA_BYTES

DEVICE: Final = Path("/dev/nsm")
#: `_IOWR(0x0A, 0, struct nsm_raw)`, of 32 bytes.
IOCTL_RAW: Final = 0xC0200A00
MAX_REQUEST_BYTES: Final = 0x1000
MAX_RESPONSE_BYTES: Final = 0x3000
_REGISTER: Final = CONFIG_REGISTERS[Platform.NITRO]
#: Of COSE_Sign1 (18). AWS describes documents with it; those of today have none.
_TAG: Final = b"\xd2"


class Raw(ctypes.Structure):
    """`struct nsm_raw`: address and length of the request, and of the buffer for the response."""

    _fields_ = (
        ("request", ctypes.c_uint64),
        ("request_len", ctypes.c_uint64),
        ("response", ctypes.c_uint64),
        ("response_len", ctypes.c_uint64),
    )


Ioctl = Callable[[int, int, Raw], object]


def _ioctl(device: int, request: int, message: Raw) -> None:
    """Changes `message` in place."""
    fcntl.ioctl(device, request, message)


class NsmDevice:
    """The device; one request at a time.

    Args:
        path: of the device.
        ioctl: as the system call.
    """

    def __init__(self, path: Path, ioctl: Ioctl = _ioctl) -> None:
        self._path = path
        self._ioctl = ioctl

    def ask(self, request: Mapping[str, Any] | str) -> Any:
        """The response by name, such as `{"Attestation": {"document": ...}}`.

        Raises:
            BackendUnavailable: there is no such device.
            BackendFailed: it refuses, or answers something else.
        """
        import cbor2

        data = cbor2.dumps(request)
        if len(data) > MAX_REQUEST_BYTES:
            raise UsageError(f"{self._path}: a request of {len(data)} bytes is too long")
        out = ctypes.create_string_buffer(data, len(data))
        back = ctypes.create_string_buffer(MAX_RESPONSE_BYTES)
        message = Raw(ctypes.addressof(out), len(data), ctypes.addressof(back), MAX_RESPONSE_BYTES)
        try:
            device = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise BackendUnavailable(
                f"{self._path}: {error.strerror}; expected it inside a Nitro enclave"
            ) from error
        try:
            self._ioctl(device, IOCTL_RAW, message)
        except OSError as error:
            raise BackendFailed(f"{self._path}: {error.strerror}") from error
        finally:
            os.close(device)
        size = min(message.response_len, MAX_RESPONSE_BYTES)
        try:
            found = cbor2.loads(back.raw[:size])
        except Exception as error:
            raise BackendFailed(f"{self._path}: the response is no CBOR: {error}") from error
        if isinstance(found, Mapping) and "Error" in found:
            raise BackendFailed(f"{self._path}: {printable(found['Error'])}")
        return found


class NsmQuoter:
    """A Nitro enclave, seen from inside.

    Raises:
        BackendUnavailable: there is no device.
        BackendFailed: PCR16 is in use.
    """

    platform = Platform.NITRO

    def __init__(self, device: Path | NsmDevice = DEVICE) -> None:
        self._device = device if isinstance(device, NsmDevice) else NsmDevice(device)
        self._lock = threading.Lock()
        self._log = EventLog(Platform.NITRO)
        self._configured = self._locked = False
        state = self._part({"DescribePCR": {"index": _REGISTER}}, "DescribePCR")
        if state.get("lock") is not False or state.get("data") != bytes(REGISTER_BYTES):
            raise BackendFailed(
                f"PCR{_REGISTER}: expected it unlocked and zero, got {printable(state)}; it is in "
                "use, start another enclave"
            )

    def configure(self, config: bytes) -> None:
        with self._lock:
            if self._configured:
                raise UsageError("the configuration is measured already; start another enclave")
            self._extend(CONFIG_EVENT, config_event(config))
            self._configured = True

    def extend(self, name: str, payload: bytes) -> None:
        with self._lock:
            self._extend(name, payload)

    def _extend(self, name: str, payload: bytes) -> None:
        if self._locked:
            raise UsageError(f"PCR{_REGISTER} is locked since the first quote")
        log = self._log.extended(_REGISTER, name, payload)
        request = {"index": _REGISTER, "data": runtime_digest(name, payload)}
        got = self._part({"ExtendPCR": request}, "ExtendPCR").get("data")
        expected = log.registers[f"pcr{_REGISTER}"]
        if not isinstance(got, bytes) or got.hex() != expected:
            raise BackendFailed(
                f"PCR{_REGISTER}: expected {expected} after event {name!r}, got {printable(got)}; "
                "somebody else measures into it"
            )
        self._log = log

    def quote(self, report_data: bytes) -> Attestation:
        if len(report_data) != REPORT_DATA_BYTES:
            raise UsageError(
                f"report data: expected {REPORT_DATA_BYTES} bytes, got {len(report_data)}"
            )
        with self._lock:
            if not self._locked:
                found = self._device.ask({"LockPCR": {"index": _REGISTER}})
                if found != "LockPCR":
                    raise BackendFailed(f"LockPCR: unexpected response {printable(found)}")
                self._locked = True
            request = {"user_data": report_data, "nonce": None, "public_key": None}
            document = self._part({"Attestation": request}, "Attestation").get("document")
            if not isinstance(document, bytes):
                raise BackendFailed("Attestation: a response without a document")
            document = document.removeprefix(_TAG)  # verifiers take the form without it
            return Attestation(self.platform, document, b"", self._log.to_bytes())

    def _part(self, request: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        found = self._device.ask(request)
        part = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(part, Mapping):
            raise BackendFailed(f"{name}: unexpected response {printable(found)}")
        return part
