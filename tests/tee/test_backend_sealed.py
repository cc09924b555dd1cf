"""A running enclave, and inputs that are sealed to it: proven, verified, opened, or refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml import api
from proofml.backend import Context, Request
from proofml.errors import BackendUnavailable, PolicyRefused, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.runtime import run_model
from proofml.sealed import Sealed, Secret
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tee import about
from proofml.tee.binding import Mode
from proofml.tee.enclave.client import Client
from proofml.tee.enclave.host import Host
from proofml.tee.enclave.server import Server
from proofml.tee.platform import Platform
from proofml.tee.session_file import SessionFile
from proofml.tensors import same_bits
from proofml.verdict import Status

from .workshop import (
    CONTEXT,
    NONCE,
    OTHER_X,
    PLACE,
    Enclave,
    X,
    folder,
    model,
    policy,
    quoter,
)

# -- a running server, and sealed inputs ----------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """An enclave of the simulated SEV-SNP behind a socket, and its session file beside it."""
    path = folder() / "serve.sock"
    with Host.start(
        model(),
        platform=Platform.SEV_SNP,
        quoter=quoter(Platform.SEV_SNP),
        mode=Mode.SESSION,
        context=CONTEXT,
    ) as host:
        host.session.save(path.with_suffix(".session"))
        running = Server(host, path, log=lambda line: None)
        thread = threading.Thread(target=running.run)
        thread.start()
        try:
            yield path
        finally:
            running.stop()
            thread.join()


def by_server(path: Path, **more: str) -> Request:
    return Request(options={"server": str(path), **more})


def test_a_running_enclave_proves_for_many(server: Path, tmp_path: Path) -> None:
    first = api.prove(model(), X, backend="tee", request=by_server(server), context=_knowing())
    assert api.verify(first, Expectation(model=model()), policy(), context=CONTEXT)
    # A long chain is not sent again to whoever holds a checkpoint.
    with Client(server) as client:
        mark = client.checkpoint(NONCE)
        count = len(client.receipts(0))
    assert count
    (tmp_path / "mark.json").write_bytes(mark)
    from proofml.canonical import loads

    since = loads(mark)["checkpoint"]["counter"]
    request = by_server(server, since=str(since))
    second = api.prove(model(), OTHER_X, backend="tee", request=request, context=_knowing())
    expect = Expectation(model=model(), inputs=OTHER_X)
    held = policy(checkpoints=[str(tmp_path / "mark.json")])
    verdict = api.verify(second, expect, held, context=CONTEXT)
    assert verdict, verdict.reasons
    verdict = api.verify(second, expect, policy(), context=CONTEXT)
    assert about.RECEIPTS_PARTIAL in verdict.reasons[0]


def _knowing() -> Context:
    """A prover whose cache holds the simulator of the server's platform."""
    return Context(Store(folder() / "vendor"))


def test_a_server_of_another_model(server: Path) -> None:
    with pytest.raises(UsageError, match="expected a server that runs"):
        api.prove(model(1), X, backend="tee", request=by_server(server), context=_knowing())


def test_no_server(tmp_path: Path) -> None:
    request = by_server(tmp_path / "none.sock")
    with pytest.raises(BackendUnavailable, match="tee serve"):
        api.prove(model(), X, backend="tee", request=request, context=CONTEXT)


@pytest.fixture(scope="module")
def sealed(server: Path) -> tuple[Sealed, Secret]:
    recipient = server.with_suffix(".session").read_bytes()
    return api.seal(
        model(), X, backend="tee", recipient=recipient, policy=policy(), context=CONTEXT
    )


@pytest.fixture(scope="module")
def proof(server: Path, sealed: tuple[Sealed, Secret]) -> Proof:
    """By whoever runs the enclave; of the inputs he has the sealed message alone."""
    return api.prove(model(), sealed[0], request=by_server(server), nonce=NONCE, context=_knowing())


def test_sealed_inputs_are_proven_verified_and_opened(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    message, secret = sealed
    for data in (message.to_bytes(), proof.to_bytes()):
        assert X["x"].tobytes() not in data
    verdict = api.verify(proof, Expectation(model=model(), nonce=NONCE), policy(), context=CONTEXT)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert set(verdict.guarantee.hidden) == {"input", "output"}
    assert {claim.visibility for _, claim in proof.statement.tensors()} == {Visibility.HASHED}
    outputs = api.open(proof, secret, verdict)
    again = run_model(model(), X, PLACE)
    assert same_bits(outputs["y"], again["y"])
    assert outputs["y"].tobytes() not in proof.to_bytes()


def test_a_sealed_proof_can_be_compared_with_the_salt(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    """Whoever holds inputs and salt insists on them; whoever has no salt cannot."""
    from proofml.tee.sealing import Secret as Kept

    salt = Kept.read(sealed[1].data).salt
    outputs = run_model(model(), X, PLACE)
    whole = Expectation(model=model(), inputs=X, outputs=outputs, salt=salt)
    verdict = api.verify(proof, whole, policy(), context=CONTEXT)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert not {"input:unpinned", "output:unpinned"} & verdict.guarantee.assumptions
    for wrong, number in (
        (replace(whole, inputs=OTHER_X), "core.9"),
        (replace(whole, outputs={"y": np.zeros((1, 3), np.float32)}), "core.10"),
        (replace(whole, salt=bytes(32)), "core.9"),
        (replace(whole, salt=None), "core.9"),
    ):
        refused = api.verify(proof, wrong, policy(), context=CONTEXT)
        assert refused.error is not None
        assert refused.error.check == number


def test_nothing_is_opened_without_an_accepted_verdict(
    sealed: tuple[Sealed, Secret], proof: Proof
) -> None:
    verdict = api.verify(proof, Expectation(model=model()), Policy(), context=_knowing())
    assert verdict.status is Status.REFUSED
    with pytest.raises(PolicyRefused):
        api.open(proof, sealed[1], verdict)


def test_a_proof_over_other_sealed_inputs_is_not_opened(server: Path, proof: Proof) -> None:
    recipient = server.with_suffix(".session").read_bytes()
    _, other = api.seal(
        model(), X, backend="tee", recipient=recipient, policy=policy(), context=CONTEXT
    )
    verdict = api.verify(proof, Expectation(model=model()), policy(), context=CONTEXT)
    assert verdict
    with pytest.raises(VerificationError) as caught:
        api.open(proof, other, verdict)
    assert caught.value.check == "tee.2"


def test_sealed_inputs_need_their_enclave(sealed: tuple[Sealed, Secret]) -> None:
    with pytest.raises(UsageError, match="server=SOCKET"):
        api.prove(model(), sealed[0], context=CONTEXT)


@pytest.mark.parametrize(
    ("change", "number"),
    [
        (lambda file: replace(file, config=file.config.replace(b"true", b"false", 1)), "tee.12"),
        (lambda file: replace(file, session=_with_key(file.session)), "tee.10"),
        (lambda file: replace(file, attestation=_other().attestation), "tee.10"),
    ],
    ids=["another configuration", "a key of his own", "the quote of another session"],
)
def test_nothing_is_sealed_to_a_session_that_does_not_verify(
    server: Path, change: Any, number: str
) -> None:
    file = change(SessionFile.load(server.with_suffix(".session")))
    with pytest.raises(VerificationError) as caught:
        _seal(file.to_bytes())
    assert caught.value.check == number


def _other() -> SessionFile:
    session = Enclave.start(Platform.SEV_SNP, Mode.SESSION).session
    assert session is not None
    return session


def _with_key(record: bytes) -> bytes:
    from proofml.tee.binding import Session

    return replace(Session.read(record), sealing_key=bytes(31) + b"\x09").to_bytes()


def _seal(recipient: bytes | None, rules: Policy | None = None, of: Model | None = None) -> Sealed:
    sealed, _ = api.seal(
        of or model(),
        X,
        backend="tee",
        recipient=recipient,
        policy=rules or policy(),
        context=CONTEXT,
    )
    return sealed


def test_nothing_is_sealed_to_another_model_or_under_a_policy_that_refuses(server: Path) -> None:
    recipient = server.with_suffix(".session").read_bytes()
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, of=model(1))
    assert caught.value.check == "tee.12"
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, Policy())
    assert caught.value.check == "tee.4"
    for table in (
        {"measurements": {"measurement": ["00" * 48]}},
        {"measurements": None},
        {"platforms": ["tdx"]},
        {"max_age": 1, "at": int(time.time()) + 5000},
    ):
        with pytest.raises(PolicyRefused):
            _seal(recipient, policy(**table))
    with pytest.raises(VerificationError) as caught:
        _seal(recipient, policy(challenge="00ff"))
    assert caught.value.check == "tee.15"
    with pytest.raises(PolicyRefused):
        _seal(recipient, replace(policy(), assumptions=frozenset()))
    with pytest.raises(UsageError, match="session file"):
        _seal(None)
    with pytest.raises(VerificationError) as caught:
        _seal(b"anything")
    assert caught.value.check == "tee.2"
