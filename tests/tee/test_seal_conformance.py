"""The kit's tests of sealing, with a real isolated process behind a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest

from proofml.backend import Context, Request
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.store import Store
from proofml.tee.about import BOUNDARY_PROCESS, ROOT_SIMULATED
from proofml.tee.binding import Mode
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.server import Server
from proofml.tee.known_simulators import ROOT_FILE
from proofml.tee.known_simulators import folder as simulator_of
from proofml.tee.platform import Platform
from proofml.tee.simulator.intel_collateral import EVALUATION
from proofml.testing import FIELDS, Case, Harness, SealedRun, gemm
from proofml.testing.sealing import SealingTests

from .workshop import OTHER_X, X, authority, folder, quoter, root_of

PLATFORM = Platform.TDX


def policy() -> Policy:
    table = {
        "measurements": "own-installation",
        "simulated_roots": [root_of(PLATFORM)],
        "min_svn": {"tcb_evaluation": EVALUATION},
    }
    return Policy(sections={"tee": table}).allow((ROOT_SIMULATED, BOUNDARY_PROCESS))


@contextmanager
def served(model: Model, store: Store) -> Iterator[SealedRun]:
    """A prover looks at what it made before it hands it out, so it has to know the root."""
    place = simulator_of(store, PLATFORM)
    place.mkdir(parents=True)
    (place / ROOT_FILE).write_bytes(authority(PLATFORM).root_der)
    path = folder() / "kit.sock"
    with Host.start(
        model,
        platform=PLATFORM,
        quoter=quoter(PLATFORM),
        mode=Mode.SESSION,
        context=Context(store),
    ) as host:
        server = Server(host, path, log=lambda line: None)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            request = Request(options={"server": str(path)})
            yield SealedRun(host.session.to_bytes(), request, policy())
        finally:
            server.stop()
            thread.join()


@cache
def case() -> Case:
    return Case(
        backend="tee",
        model=gemm(0),
        other_model=gemm(1),
        inputs=X,
        other_inputs=OTHER_X,
        integrity=frozenset({Integrity.HARDWARE}),
        bound_by=dict.fromkeys(FIELDS, "tee.10"),
        request=Request(
            options={
                "platform": PLATFORM,
                "quotes": "simulator",
                "simulator": str(folder() / "vendor"),
            }
        ),
        policy=policy(),
        sealing=served,
    )


class TestSealing(SealingTests):
    @pytest.fixture(scope="class")
    @classmethod
    def harness(cls, tmp_path_factory: pytest.TempPathFactory) -> Harness:
        return Harness(case(), tmp_path_factory.mktemp("tee"))
