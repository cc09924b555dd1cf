"""The platform as the isolated process sees it: a `Quoter` at the other end of a socket."""

from __future__ import annotations

import socket
from typing import Final

from proofml.canonical import JSON
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields
from proofml.tee.enclave import frames, messages
from proofml.tee.enclave.frames import Frame
from proofml.tee.platform import Attestation, Platform
from proofml.tee.quoter import REPORT_DATA_BYTES, Quoter

#: More than a quote, its collateral and its event log.
MAX_BYTES: Final = 16 << 20
_WHO: Final = "platform"


class RemoteQuoter:
    """Sends each call over `connection` and waits for its reply.

    A reply that cannot be read raises `BackendFailed`; so does a platform that is gone.
    """

    def __init__(self, platform: Platform, connection: socket.socket) -> None:
        self.platform = platform
        self._connection = connection

    def configure(self, config: bytes) -> None:
        self._ask({"op": "configure"}, {"payload": config})

    def extend(self, name: str, payload: bytes) -> None:
        self._ask({"op": "extend", "name": name}, {"payload": payload})

    def quote(self, report_data: bytes) -> Attestation:
        fields, blobs = self._ask({"op": "quote"}, {"payload": report_data}, more=True)
        try:
            found = messages.take_attestation(fields, blobs)
            fields.done()
            messages.no_more(blobs, _WHO)
        except FieldError as error:
            messages.unexpected(_WHO, error)
        if found.platform is not self.platform:
            messages.unexpected(_WHO, ValueError(f"a quote of {found.platform}"))
        return found

    def _ask(
        self, body: dict[str, JSON], blobs: dict[str, bytes], *, more: bool = False
    ) -> tuple[Fields, dict[str, bytes]]:
        frames.write(self._connection, Frame(body, blobs))
        reply = frames.read(self._connection, MAX_BYTES)
        fields, found = messages.result(reply, _WHO), dict(reply.blobs)
        if not more:
            try:
                fields.done()
                messages.no_more(found, _WHO)
            except FieldError as error:
                messages.unexpected(_WHO, error)
        return fields, found


def serve(request: Frame, quoter: Quoter) -> Frame:
    """The platform's reply to one request of the process; raises nothing of `Exception`."""
    try:
        fields, blobs = Fields(request.body, "request"), dict(request.blobs)
        operation = fields.string("op", choices=("configure", "extend", "quote"))
        name = fields.string("name", longest=256) if operation == "extend" else ""
        fields.done()
        payload = messages.take_blob(blobs, "payload", "request")
        messages.no_more(blobs, "request")
        if operation == "configure":
            quoter.configure(payload)
            return messages.success()
        if operation == "extend":
            quoter.extend(name, payload)
            return messages.success()
        if len(payload) != REPORT_DATA_BYTES:
            raise UsageError(f"report data: expected {REPORT_DATA_BYTES} bytes, got {len(payload)}")
        return messages.merged(messages.success(), messages.put_attestation(quoter.quote(payload)))
    except FieldError as error:
        return messages.failure(UsageError(f"platform: {error}"))
    except Exception as error:  # noqa: BLE001 - told to the process, which tells the host
        return messages.failure(error)
