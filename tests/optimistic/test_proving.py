"""Making claims: options, what is missing, and what is never claimed."""

from __future__ import annotations

import pytest

from proofml.api import prove
from proofml.backend import Request
from proofml.errors import BackendUnavailable, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.optimistic import compile as compiling
from proofml.optimistic.accounts import Account
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.policy import Policy
from proofml.statement import Visibility
from proofml.store import Store
from proofml.testing import gemm
from proofml.verdict import Status

from ..sumcheck_backend.models import X
from .arena import seed_of
from .courtroom import Court


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ledger": ""}, "ledger"),
        ({"no-such": "1"}, "no-such"),
        ({"bond": "0"}, "bond"),
        ({"k": "3"}, "one of 2, 4, 8, 16, 32, 64"),
        ({"window": "-1"}, "window"),
        ({"clock": "10", "extension": "20"}, "at most the clock"),
        ({"uri": "two words"}, "uri"),
        ({"method": "mse"}, "quantised already"),
        ({"rpc": "http://localhost"}, "chain-id"),
        ({"bond": str(10**9)}, "deposit"),
    ],
    ids=str,
)
def test_options(court: Court, options: dict[str, str], words: str) -> None:
    with pytest.raises((UsageError, UnsupportedModel), match=words):
        court.prove(**options)


def test_what_is_missing_is_named(court: Court) -> None:
    for given, words in (
        ({}, "key=FILE"),
        ({"key": str(court.key("claimant"))}, "ledger=FILE"),
        ({"key": str(court.key("claimant")), "ledger": str(court.path)}, "ledger"),
    ):
        with pytest.raises(UsageError, match=words):
            prove(
                court.model,
                court.feeds(),
                backend="optimistic",
                request=Request(options=given),
                context=court.context,
            )


def test_nothing_is_hidden(court: Court) -> None:
    for request in (
        Request(input_visibility=Visibility.PRIVATE),
        Request(output_visibility=Visibility.HASHED),
        Request(parameters="private"),
    ):
        with pytest.raises(UnsupportedModel, match="cannot hide"):
            prove(
                court.model,
                court.feeds(),
                backend="optimistic",
                request=request,
                context=court.context,
            )


def test_distance_from_onnxruntime(court: Court) -> None:
    pytest.importorskip("onnxruntime")
    from proofml.errors import BackendFailed

    court.ledger("claimant")
    floats = Model.load(gemm(0), store=court.context.store)
    given = {"ledger": str(court.path), "key": str(court.key("claimant"))}
    calibration = ({"x": X["x"] / 100},)
    request = Request(options=given, calibration=calibration, max_error=0.01)
    with pytest.raises(BackendFailed, match="differs from onnxruntime's"):
        prove(floats, X, backend="optimistic", request=request, context=court.context)
    assert not [e for e in court.ledger("claimant").events(0) if e.result]  # nothing was posted


def test_a_claim_that_cannot_be_paid_is_not_made(court: Court) -> None:
    poor = Account.of_seed(seed_of("poor"))
    with SqliteLedger(court.path, [poor], create=True):
        pass
    request = Request(options={"ledger": str(court.path), "key": str(court.key("poor"))})
    with pytest.raises(UsageError, match="deposit"):
        prove(
            court.model,
            court.feeds(),
            backend="optimistic",
            request=request,
            context=court.context,
        )


def test_a_kept_interface_that_is_damaged_is_made_again(court: Court) -> None:
    proof = court.prove(window="0")
    policy = court.policy().allow(["window:none"])
    assert court.judge(proof, policy).status is Status.ACCEPTED
    store = Store(court.folder / "verifier")
    entry = next(e for e in store.entries() if "interface" in e.label)
    path = store.object_path(entry.artifacts["interface"].sha256)
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    compiling.clear()
    assert court.judge(proof, policy).status is Status.ACCEPTED


def test_chains_need_their_library(court: Court) -> None:
    proof = court.prove(window="0")
    chain = {
        "rpc": "http://127.0.0.1:9",
        "chain_id": 31337,
        "contract": "0x" + "ab" * 20,
    }
    with pytest.raises((BackendUnavailable, UsageError)):
        court.judge(proof, Policy(sections={"optimistic": {"chain": chain}}))
