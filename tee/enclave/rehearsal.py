"""One sealed inference with a model that does nothing, before the files are taken away.

What Python loads only when it is first used is loaded here. It shows too that what was sealed by
this code opens in this process.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from proofml.canonical import JSON, sha256
from proofml.errors import BackendFailed, BackendUnavailable
from proofml.tee.binding import Mode, ReceiptAlgorithm, Session
from proofml.tee.enclave import messages
from proofml.tee.enclave.frames import Frame, encode
from proofml.tee.enclave.isolation import ISOLATION
from proofml.tee.enclave.service import Service
from proofml.tee.platform import Attestation, Platform
from proofml.tee.receipt_signer import ReceiptSecret
from proofml.tee.sealing import open_outputs, seal_inputs
from proofml.tensors import DTYPES, Array, same_bits

_RUNTIME: Final[Mapping[str, JSON]] = {"name": "none", "version": "0", "settings": {}}


class _NoQuoter:
    """A platform that vouches for nothing."""

    platform = Platform.TDX

    def configure(self, config: bytes) -> None:
        pass

    def extend(self, name: str, payload: bytes) -> None:
        pass

    def quote(self, report_data: bytes) -> Attestation:
        return Attestation(self.platform, b"none", b"none", b"none")


class _Same:
    """A model that gives back its inputs."""

    inputs = tuple(DTYPES)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return dict(inputs)


def rehearse() -> None:
    """For each kind of receipt whose packages are installed.

    Raises:
        BackendFailed: this process cannot do what it is for.
    """
    inputs: dict[str, Array] = {
        name: np.zeros((1, 2), dtype=dtype) for name, dtype in DTYPES.items()
    }
    for algorithm in ReceiptAlgorithm:
        try:
            ReceiptSecret.generate(algorithm)
        except BackendUnavailable:
            continue  # a session that asks for it will be told so
        outputs = _round_trip(algorithm, inputs)
        if not all(same_bits(outputs[name], array) for name, array in inputs.items()):
            raise BackendFailed("rehearsal: what was sealed does not open")


def _round_trip(algorithm: ReceiptAlgorithm, inputs: Mapping[str, Array]) -> dict[str, Array]:
    isolation = dict.fromkeys(ISOLATION, False)
    service = Service(isolation, _NoQuoter(), lambda model, name, seconds: _Same(), _RUNTIME)
    start: dict[str, JSON] = {
        "op": "start",
        "name": "rehearsal",
        "model": sha256(b""),
        "file": sha256(b""),
        "mode": Mode.SESSION,
        "algorithm": algorithm,
        "challenge": "00",
        "milliseconds": None,
    }
    reply = _ask(service, Frame(start, {"model": b""}))
    sealed, secret = seal_inputs(inputs, Session.read(reply.blobs[messages.SESSION]))
    request = Frame({"op": "infer-sealed", "nonce": "00"}, {messages.SEALED: sealed})
    found = messages.take_inference(_ask(service, request), "rehearsal", {})
    _ask(service, Frame({"op": "checkpoint", "nonce": "00"}))
    service.answer(Frame({"op": "none"}))
    return open_outputs(found.sealed_outputs or b"", secret, found.statement)


def _ask(service: Service, request: Frame) -> Frame:
    reply = service.answer(request)
    encode(reply)
    messages.result(reply, "rehearsal")
    return reply
