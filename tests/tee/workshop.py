"""Enclaves in this process, proofs of what they made, and a verifier who judges them.

The service is the one that the isolated process runs, with onnxruntime; only the process around it
is left out, so that an attack takes milliseconds. Whoever attacks may start as many as he likes: on
the platform of the verifier's roots, with measured code of his own, or under roots of his own.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa

from proofml.backend import Context
from proofml.canonical import JSON
from proofml.checks import Result
from proofml.errors import VerificationError
from proofml.expectation import Expectation
from proofml.judge import Bench, judge
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.store import Store
from proofml.tee.about import BOUNDARY_PROCESS, ROOT_SIMULATED
from proofml.tee.backend import TeeBackend
from proofml.tee.binding import Mode, ReceiptAlgorithm
from proofml.tee.enclave import messages, stages
from proofml.tee.enclave.evidence import parts_of
from proofml.tee.enclave.frames import Frame
from proofml.tee.enclave.isolation import ISOLATION
from proofml.tee.enclave.messages import Inference
from proofml.tee.enclave.service import Service
from proofml.tee.evidence import Parts
from proofml.tee.measure import code_measurement
from proofml.tee.one_form import normalised
from proofml.tee.platform import Platform
from proofml.tee.quoter import Quoter
from proofml.tee.receipts import read_receipts, receipts_bytes
from proofml.tee.roots import fingerprint
from proofml.tee.session_file import SessionFile
from proofml.tee.simulator.amd import AmdAuthority
from proofml.tee.simulator.hardware import SimulatedQuoter, open_authority
from proofml.tensors import Array
from proofml.testing import gemm
from proofml.verdict import Verdict

NONCE = bytes(range(16))
X: dict[str, Array] = {"x": np.array([[1.0, -2.0, 0.5, 3.25]], np.float32)}
OTHER_X: dict[str, Array] = {"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)}
MODES = tuple(Mode)
#: What the simulated SEV-SNP firmware has; the other platforms have a status instead.
LEVELS = {"bootloader_svn": 0, "tee_svn": 0, "snp_svn": 0, "microcode_svn": 0, "tcb_evaluation": 0}
#: Everything that the process may have for itself.
ISOLATED = dict.fromkeys(ISOLATION, True)


@cache
def folder() -> Path:
    """Of this run; the temporary folder's owner removes it."""
    made = tempfile.TemporaryDirectory(prefix="proofml-tee-tests-")
    _KEPT.append(made)
    return Path(made.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@cache
def model(seed: int = 0) -> Model:
    return Model.load(gemm(seed), store=Store(folder() / "models"))


@cache
def authority(platform: Platform, owner: str = "vendor") -> Any:
    """The software root of this platform: the one that the verifier pins, or another owner's."""
    if platform is Platform.SEV_SNP and owner != "vendor":
        # RSA keys take a second each: another root, and the same keys below it.
        root = rsa.generate_private_key(65537, 4096)
        keys = {**authority(platform).keys, "ark": root}
        return AmdAuthority.create(int(time.time()), keys=keys)
    return open_authority(Store(folder() / owner), platform)


@cache
def root_of(platform: Platform, owner: str = "vendor") -> str:
    return fingerprint(authority(platform, owner).root_der)


@cache
def code(platform: Platform) -> Mapping[str, str]:
    """Measured once: the files do not change."""
    return code_measurement(platform)


def quoter(
    platform: Platform, *, owner: str = "vendor", other_code: bool = False, **more: Any
) -> SimulatedQuoter:
    """A started guest; `other_code`: with measured code that the verifier does not know."""
    measured = dict(code(platform))
    if other_code:
        measured = {name: value[::-1] for name, value in measured.items()}
    return SimulatedQuoter(platform, authority(platform, owner), code=measured, **more)


@dataclass
class Enclave:
    """One start of the service; `receipts` are those that it issued."""

    service: Service
    quoter: Quoter
    mode: Mode
    config: bytes
    session: SessionFile | None
    receipts: list[Any] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        platform: Platform,
        mode: Mode,
        *,
        of: Model | None = None,
        algorithm: ReceiptAlgorithm = ReceiptAlgorithm.ED25519,
        challenge: bytes | None = None,
        isolation: Mapping[str, bool] = ISOLATED,
        on: Quoter | None = None,
        clock: Any = time.time,
    ) -> Enclave:
        used = on or quoter(platform)
        service = Service(isolation, used, stages.Runner, stages.runtime(), clock=clock)
        loaded = of or model()
        body: dict[str, JSON] = {
            "op": "start",
            "name": loaded.name,
            "model": loaded.digest,
            "file": loaded.file_digest,
            "mode": mode,
            "algorithm": algorithm,
            "challenge": messages.put_nonce(challenge),
            "milliseconds": None,
        }
        reply = service.answer(Frame(body, {"model": loaded.canonical}))
        fields, blobs = messages.result(reply, "enclave"), dict(reply.blobs)
        config = blobs.pop(messages.CONFIG)
        session = None
        if mode is Mode.SESSION:
            record = blobs.pop(messages.SESSION)
            session = SessionFile(messages.take_attestation(fields, blobs), config, record)
        return cls(service, used, mode, config, session)

    def infer(
        self, inputs: Mapping[str, Array] | bytes = X, nonce: bytes | None = NONCE
    ) -> Inference:
        """One inference; in session mode with the whole chain of receipts up to it."""
        body: dict[str, JSON] = {"nonce": messages.put_nonce(nonce)}
        if isinstance(inputs, bytes):
            request = Frame({"op": "infer-sealed", **body}, {messages.SEALED: inputs})
            sent: Mapping[str, Array] = {}
        else:
            tensors = messages.put_tensors("inputs", "input", inputs)
            request, sent = messages.merged(Frame({"op": "infer", **body}), tensors), inputs
        found = messages.take_inference(self.service.answer(request), "enclave", sent)
        if found.receipts is None:
            return found
        self.receipts += read_receipts(found.receipts)
        return replace(found, receipts=receipts_bytes(tuple(self.receipts)))

    def checkpoint(self, nonce: bytes = NONCE) -> bytes:
        reply = self.service.answer(Frame({"op": "checkpoint", "nonce": nonce.hex()}))
        messages.result(reply, "enclave")
        return reply.blobs["checkpoint"]

    def parts(self, inference: Inference) -> Parts:
        found = parts_of(inference, self.config, self.session)
        return replace(found, attestation=normalised(found.attestation))

    def proof(self, inference: Inference | None = None) -> bytes:
        """An unsigned proof file of one inference."""
        found = inference or self.infer()
        return assembled(found, self.parts(found))


def assembled(inference: Inference, parts: Parts) -> bytes:
    """A proof of any evidence, whether it belongs together or not, in the form of a prover's."""
    with suppress(VerificationError):  # what cannot be read has no form
        parts = replace(parts, attestation=normalised(parts.attestation))
    return Proof.build(
        inference.statement, "tee", TeeBackend.version, parts.blobs(), inference.tensors
    ).to_bytes()


@dataclass(frozen=True)
class Verifier:
    """Who judges: it pins the model, this release's code and the simulated roots.

    Attributes:
        table: changes to its `[backends.tee]`; None takes a key out.
        allow: assumptions by name.
    """

    table: Mapping[str, Any] = field(default_factory=dict)
    allow: Sequence[str] = (ROOT_SIMULATED,)
    expect: Expectation | None = None
    store: Store = field(default_factory=lambda: Store(folder() / "verifier"))

    @cached_property
    def policy(self) -> Policy:
        registers = {name: [value] for p in Platform for name, value in code(p).items()}
        table: dict[str, Any] = {
            "measurements": registers,
            "simulated_roots": sorted({root_of(platform) for platform in Platform}),
            "min_svn": LEVELS,
            **self.table,
        }
        table = {name: value for name, value in table.items() if value is not None}
        value = {"version": 1, "backends": {"tee": table}}
        return Policy.from_mapping(value, source=str(folder() / "policy.toml")).allow(self.allow)

    def judge(self, data: bytes) -> Verdict:
        expect = Expectation(model=model()) if self.expect is None else self.expect
        return judge(data, expect, self.policy, Context(self.store), BENCH)


BENCH = Bench(("tee",), lambda _: TeeBackend())


def later(seconds: float) -> int:
    """That many seconds from now, for policies that pin a time."""
    return int(time.time() + seconds)


# -- through the API ------------------------------------------------------------------------------

PLACE = Store(folder() / "backend")
CONTEXT = Context(PLACE)


def options(platform: Platform, mode: Mode, **more: str) -> dict[str, str]:
    """Of a prover under the roots that the verifiers here pin."""
    simulator = str(folder() / "vendor")
    return {"platform": platform, "mode": mode, "simulator": simulator, **more}


def policy(*allow: str, **table: Any) -> Policy:
    """Pins this installation's code and the simulated roots."""
    section = {
        "measurements": "own-installation",
        "simulated_roots": [root_of(platform) for platform in Platform],
        "min_svn": LEVELS,
        **table,
    }
    section = {name: value for name, value in section.items() if value is not None}
    value = {"version": 1, "backends": {"tee": section}}
    found = Policy.from_mapping(value, source=str(folder() / "policy.toml"))
    return found.allow((ROOT_SIMULATED, BOUNDARY_PROCESS, *allow))


def result(verdict: Verdict, number: str) -> Result:
    (found,) = [check.result for check in verdict.checks if check.number == number]
    return found
