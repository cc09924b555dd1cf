"""seal -> prove -> verify -> open, and who may do what with which of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from proofml import api
from proofml.backend import get_backend
from proofml.checks import Result
from proofml.errors import PolicyRefused, UnsupportedModel, UsageError, VerificationError
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.router import route
from proofml.statement import Visibility
from proofml.verdict import Status

from .world import ALLOWED, NONCE, World, request


def test_owner_reads_what_the_model_gives(world: World) -> None:
    client = world.one
    verdict = world.judge(client.proof, world.policy)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    got = api.open(client.proof, client.secret, verdict)
    assert list(got) == ["y"]
    if world.backend == "concrete":  # exact integers: what the simulation gives, to the bit
        from proofml.fhe.concrete.server import read_circuit, simulate

        want = simulate(read_circuit(world.circuit), client.inputs, world.verifier)["y"]
        np.testing.assert_array_equal(got["y"], want)
        return
    from proofml.fhe.ckks.circuit import read

    (want,) = onnxruntime.InferenceSession(world.model.canonical).run(None, client.inputs)
    error = float(str(read(world.circuit).report["error"]))
    assert got["y"].shape == want.shape
    assert np.abs(got["y"] - want).max() <= 3 * error + 1e-5
    assert np.abs(want).max() > 100 * error  # or the comparison would show nothing


def test_verdict_says_what_remains(world: World) -> None:
    """Everything pinned: one assumption, about what the owner does with results."""
    found = world.judge(world.one.proof, world.policy).guarantee
    assert found is not None
    assert found.integrity == {Integrity.RE_EXECUTION}
    assert found.assumptions - {"input:unpinned", "output:unpinned"} == ALLOWED
    assert set(found.hidden) == {"input", "output"}
    assert "1 whole run" in found.notes["re-execution"]
    assert "128 bits" in found.notes["security"]
    assert "IND-CPA-D" in found.notes["sharing"]
    if world.backend == "concrete":
        assert "wrong with probability" in found.notes["failure"]
    else:
        assert "error" in found.notes["precision"]


def test_nothing_pinned_is_assumed(world: World) -> None:
    found = world.judge(world.one.proof).guarantee
    assert found is not None
    assert {"circuit:unpinned", "nonce:unauthenticated", "signer:unpinned"} <= found.assumptions


def test_statement_hides_tensors(world: World) -> None:
    statement = world.one.proof.statement
    for _, claim in statement.tensors():
        assert claim.visibility is Visibility.PRIVATE
        assert claim.sha256 is None
    assert statement.inputs[0].commitment != statement.outputs[0].commitment


def test_verifying_needs_the_model(world: World) -> None:
    expect = Expectation(model_sha256=world.model.digest, nonce=NONCE)
    with pytest.raises(UsageError, match="--model"):
        api.verify(world.one.proof, expect, world.stranger(), context=world.verifier)


def test_policy_that_pins_another_circuit(world: World) -> None:
    policy = replace(world.stranger(), sections={world.backend: {"circuits": ["0" * 64]}})
    verdict = world.judge(world.one.proof, policy)
    assert verdict.status is Status.REFUSED
    assert any("circuit" in reason for reason in verdict.reasons)
    with pytest.raises(PolicyRefused):
        api.open(world.one.proof, world.one.secret, verdict)


def test_policy_that_pins_another_client(world: World) -> None:
    verdict = world.judge(world.two.proof, world.policy)
    assert verdict.status is Status.REFUSED
    assert any("keys" in reason for reason in verdict.reasons)


def test_policy_without_derivation_says_so(world: World) -> None:
    verdict = world.judge(world.one.proof, world.stranger(derive=False))
    assert verdict.guarantee is not None
    assert "circuit:underived" in verdict.guarantee.assumptions
    (made,) = [c for c in verdict.checks if c.number == f"{world.backend}.5"]
    assert made.result is Result.ASSUMED


def test_other_library_is_assumed(ckks: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from proofml.fhe.ckks.engine import CkksEngine

    monkeypatch.setattr(CkksEngine, "libraries", lambda self: {"tenseal": "0.0.1"})
    found = ckks.judge(ckks.one.proof)
    assert found.guarantee is not None
    assert "runtime:other-version" in found.guarantee.assumptions


def test_open_is_for_one_message(world: World) -> None:
    """The second owner's secret, and the first one's of another message, under the same key."""
    verdict = world.judge(world.one.proof)
    with pytest.raises(VerificationError) as caught:
        api.open(world.one.proof, world.two.secret, verdict)
    assert caught.value.check == f"{world.backend}.6"
    from proofml.backend import Context
    from proofml.fhe.backend_owner import seal_with
    from proofml.policy import Policy
    from proofml.sealed import Secret
    from proofml.store import Store

    context = Context(Store(world.folder / "client-0"))
    one = world.one
    _, ticket = seal_with(world.model, one.inputs, one.key, Policy(), context)
    other = Secret(world.backend, world.model.digest, "0" * 64, ticket)
    with pytest.raises(VerificationError) as caught:
        api.open(one.proof, other, verdict)
    assert caught.value.check == f"{world.backend}.7"


def test_open_without_an_accepted_verdict(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One message, whatever was wrong, and no code that decrypts is reached."""
    from proofml.fhe import backend_owner

    def never(*_: object) -> None:
        raise AssertionError("the secret was used")

    monkeypatch.setattr(backend_owner, "owner", never)
    refused = world.judge(
        world.one.proof, replace(world.policy, signers=frozenset({"ed25519:" + "0" * 64}))
    )
    other = world.judge(world.two.proof)
    assert other.status is Status.ACCEPTED
    for verdict in (refused, other, world.judge(world.one.proof.to_bytes()[:-1])):
        with pytest.raises(PolicyRefused) as caught:
            api.open(world.one.proof, world.one.secret, verdict)
        assert caught.value.reasons == (api.NOT_ACCEPTED,)


def test_plain_inputs_are_refused(world: World) -> None:
    with pytest.raises(UsageError, match="seal them first"):
        api.prove(world.model, world.one.inputs, backend=world.backend)


def test_router_never_chooses_it(world: World) -> None:
    """Not even where nothing else hides both ends and is run again to verify."""
    hidden = replace(
        request(), input_visibility=Visibility.PRIVATE, output_visibility=Visibility.PRIVATE
    )
    with pytest.raises(UnsupportedModel, match=f"{world.backend}: proves over sealed inputs only"):
        route(world.model, hidden, integrity=frozenset({Integrity.RE_EXECUTION}))
    assert getattr(get_backend(world.backend), "sealed_only") is True  # noqa: B009


def test_keys_may_lie_beside_the_proof(world: World) -> None:
    """A light message, keys by a file: one file for all proofs of a client, named by digest."""
    from proofml.backend import Context
    from proofml.fhe.backend_owner import seal_with
    from proofml.policy import Policy
    from proofml.proof import Proof
    from proofml.sealed import Sealed, Secret
    from proofml.store import Store

    one = world.one
    context = Context(Store(world.folder / "client-0"))
    message, ticket = seal_with(world.model, one.inputs, one.key, Policy(), context)
    sealed = Sealed(world.backend, world.model.digest, message)
    secret = Secret(world.backend, world.model.digest, sealed.digest, ticket)
    with pytest.raises(UsageError, match="evaluation=FILE"):
        api.prove(world.model, sealed, request=request(), context=world.server)
    keys = world.folder / "keys"
    keys.write_bytes(one.evaluation)
    proof = api.prove(
        world.model, sealed, request=request(evaluation=str(keys)), context=world.server
    )
    place = world.folder / "light" / "proof.pml"
    place.parent.mkdir()
    proof.write(place)
    beside = place.with_name(f"{one.key.evaluation}.evidence")
    assert beside.read_bytes() == one.evaluation
    read = Proof.read(place)
    verdict = world.judge(read)
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert "y" in api.open(read, secret, verdict)
    beside.write_bytes(world.two.evaluation)
    assert world.judge(read).error is not None
    beside.unlink()
    error = world.judge(read).error
    assert error is not None
    assert error.check == f"{world.backend}.2"
