"""The trusted-hardware backend passes the suite that every backend passes, on each platform.

The policies pin the code of this installation and the simulated root. What the kernel grants to the
isolated process differs from machine to machine, and the verdict says what it did not.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from proofml.backend import Context, Request
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.store import Store
from proofml.tee.about import BOUNDARY_PROCESS, ROOT_SIMULATED
from proofml.tee.binding import Mode
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.server import Server
from proofml.tee.platform import Platform
from proofml.testing import Case, ConformanceSuite, SealedRun, gemm

from .workshop import LEVELS, OTHER_X, X, authority, folder, model, quoter, root_of

#: Where a model is at hand the core compares; where none is, whatever binds the Statement.
INTERFACE = ("core.14", "tee.10", "tee.13")
BOUND: dict[str, str | tuple[str, ...] | None] = {
    "model.canonical_sha256": "tee.10",
    "model.file_sha256": "tee.10",
    "model.kind": "tee.1",
    "input.name": INTERFACE,
    "input.dtype": INTERFACE,
    "input.shape": INTERFACE,
    "input.visibility": "tee.2",
    "input.value": "tee.10",
    "input.count": INTERFACE,
    "output.name": INTERFACE,
    "output.dtype": INTERFACE,
    "output.shape": INTERFACE,
    "output.visibility": "tee.2",
    "output.value": "tee.10",
    "output.count": INTERFACE,
    "nonce": "tee.10",
    "computation.kind": "tee.1",
    "computation.detail": "tee.1",
    # Another mode, or another platform, has other sections.
    "computation.detail.runtime": "tee.1",
    "evidence.extra": "tee.2",
    "evidence:quote": ("tee.2", "tee.3", "tee.4", "tee.5", "tee.7"),
    "evidence:config": ("tee.2", "tee.12"),
    "evidence:collateral": ("tee.2", "tee.4", "tee.5", "tee.6", "tee.8"),
    "evidence:event-log": ("tee.2", "tee.11"),
}
#: What a session changes: the quote binds its record, receipts bind Statements.
IN_SESSIONS: dict[str, str | tuple[str, ...] | None] = {
    "model.canonical_sha256": "tee.12",
    "model.file_sha256": "tee.13",
    "input.value": "tee.13",
    "output.value": "tee.13",
    "nonce": "tee.13",
    "evidence:session": ("tee.2", "tee.10"),
    "evidence:receipts": ("tee.2", "tee.13", "tee.14"),
}
WITHOUT = {
    Platform.TDX: (),
    Platform.SGX: ("evidence:event-log",),
    Platform.SEV_SNP: ("evidence:event-log",),
    Platform.NITRO: ("evidence:collateral",),
}


@cache
def shortcuts() -> frozenset[str]:
    """What remains assumed of a simulated enclave on this machine."""
    guest = quoter(Platform.TDX)
    with Host.start(
        model(),
        platform=Platform.TDX,
        quoter=guest,
        mode=Mode.SESSION,
        context=Context(Store(folder() / "models")),
    ) as host:
        missing = host.missing_isolation
    return frozenset({ROOT_SIMULATED, *([BOUNDARY_PROCESS] if missing else [])})


@cache
def case(platform: Platform, mode: Mode, examples: int) -> Case:
    authority(platform)  # made before the first proof asks for it
    bound = {**BOUND, **(IN_SESSIONS if mode is Mode.SESSION else {})}
    section: dict[str, Any] = {
        "measurements": "own-installation",
        "simulated_roots": [root_of(platform)],
        "min_svn": LEVELS,
    }
    return Case(
        backend="tee",
        model=gemm(0),
        other_model=gemm(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=frozenset({Integrity.HARDWARE}),
        bits=None,
        assumptions=shortcuts(),
        request=Request(
            options={
                "platform": platform,
                "mode": mode,
                "quotes": "simulator",
                "simulator": str(folder() / "vendor"),
            }
        ),
        policy=Policy(sections={"tee": section}).allow(shortcuts()),
        bound_by={k: v for k, v in bound.items() if k not in WITHOUT[platform]},
        examples=examples,
        sealing=sealing if (platform, mode) == (Platform.SEV_SNP, Mode.SESSION) else None,
    )


@contextmanager
def sealing(of: Model, store: Store) -> Iterator[SealedRun]:
    """A running enclave, whose prover has never heard of its root."""
    path, platform = folder() / "kit.sock", Platform.SEV_SNP
    with Host.start(
        of,
        platform=platform,
        quoter=quoter(platform),
        mode=Mode.SESSION,
        context=Context(store),
    ) as host:
        server = Server(host, path, log=lambda line: None)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield SealedRun(
                recipient=host.session.to_bytes(),
                request=Request(options={"server": str(path)}),
                policy=case(platform, Mode.SESSION, 8).policy,
            )
        finally:
            server.stop()
            thread.join()


class LazyCase:
    """Roots are made, and a process is started, when the first test of a class wants its case."""

    def __init__(self, platform: Platform, mode: Mode, examples: int) -> None:
        self._made = (platform, mode, examples)

    def __get__(self, instance: object, owner: type) -> Case:
        return case(*self._made)


class TestTdxSession(ConformanceSuite):
    case = LazyCase(Platform.TDX, Mode.SESSION, 24)


class TestSgxInference(ConformanceSuite):
    case = LazyCase(Platform.SGX, Mode.INFERENCE, 8)


class TestSevSnpSession(ConformanceSuite):
    seals = True
    case = LazyCase(Platform.SEV_SNP, Mode.SESSION, 8)


class TestNitroInference(ConformanceSuite):
    case = LazyCase(Platform.NITRO, Mode.INFERENCE, 8)
