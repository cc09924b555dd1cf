"""Where quotes come from: hardware (`proofml.tee.hardware`), or the simulator that stands for it.

An enclave process sees this protocol alone. It never holds a key that signs quotes.
"""

from __future__ import annotations

from typing import Final, Protocol, runtime_checkable

from proofml.tee.platform import Attestation, Platform

#: Bytes of report data in every quote; `user_data` of a Nitro document.
REPORT_DATA_BYTES: Final = 64


@runtime_checkable
class Quoter(Protocol):
    """One started guest (or SGX enclave) and the platform that measured it."""

    platform: Platform

    def configure(self, config: bytes) -> None:
        """Have the configuration measured: once, and before the first quote.

        TDX and Nitro: an event in the log. SEV-SNP and SGX: HOST_DATA and CONFIGID are fixed at
        launch, so hardware compares the launched value with these bytes; the simulator, which
        launches here, sets it.

        Raises:
            UsageError: a second time.
            BackendFailed: the platform refuses, or was launched with another configuration.
        """
        ...

    def extend(self, name: str, payload: bytes) -> None:
        """Measure one more event into the register that grows (RTMR3, PCR16) and its log.

        Raises:
            UsageError: the platform has no such register, or the log cannot hold the event.
            BackendFailed: the platform refuses.
        """
        ...

    def quote(self, report_data: bytes) -> Attestation:
        """A quote over 64 bytes, with the collateral and the event log that belong to it.

        Raises:
            UsageError: not 64 bytes.
            BackendFailed: the platform refuses.
        """
        ...
