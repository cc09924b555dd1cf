"""What a verdict says of sharing and of quality: never more than this verifier has found."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from proofml import api
from proofml.backend import Context
from proofml.canonical import sha256
from proofml.fhe.backend_owner import keygen, seal_with
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.sealed import Sealed
from proofml.store import Store
from proofml.testing.attacker import Attacker
from proofml.verdict import Status, Verdict

from . import attacks
from .world import World, compile_ckks, request
from .world import world as made

UNSHARED = "decryptions:unshared"


@cache
def _flooded(bits: str) -> tuple[bytes, Proof]:
    """A circuit that hides the key with so many bits, and a traced proof of a run of it."""
    world = made("ckks")
    circuit = compile_ckks(world.model, world.server, flood=bits, ring="8192", noise="0.1")
    context = Context(Store(world.folder / "client-flood"))
    key, evaluation = keygen("ckks", circuit, context)
    inputs = {"x": np.array([[1.0, -2.0, 0.5, 1.25]], np.float32)}
    message, _ = seal_with(world.model, inputs, key, Policy(), context, evaluation)
    sealed = Sealed("ckks", world.model.digest, message)
    return circuit, api.prove(
        world.model,
        sealed,
        request=request(trace="yes"),
        signers=[world.signer],
        context=world.server,
    )


def judged(world: World, proof: Proof, **section: Any) -> frozenset[str]:
    verdict = world.judge(proof, world.stranger(**section))
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert verdict.guarantee is not None
    return verdict.guarantee.assumptions


def test_sharing_is_fine_with_enough_noise_alone(ckks: World) -> None:
    """Of a circuit that the policy names, and of a run that was made again as a whole."""
    circuit, proof = _flooded("32")
    pinned = [sha256(circuit)]
    assert UNSHARED not in judged(ckks, proof, circuits=pinned)
    assert UNSHARED in judged(ckks, proof), "whoever compiled it said how large the noise is"
    sampled = judged(ckks, proof, circuits=pinned, operators=1)
    assert {UNSHARED, "trace:sampled"} <= sampled, "a wrong ciphertext has any noise"


def test_few_bits_are_not_enough(ckks: World) -> None:
    circuit, proof = _flooded("8")
    assert UNSHARED in judged(ckks, proof, circuits=[sha256(circuit)])


def test_circuit_that_says_it_is_flooded(ckks: World) -> None:
    """A server's own circuit, with 64 bits of noise next to nothing."""

    def silent(head: dict[str, Any]) -> None:
        head["record"].update(flood=64, noise=["1e-30"])

    attacker = Attacker.of(ckks.one.proof.to_bytes())
    attacks.put_circuit(ckks, attacker, attacks.header(ckks.circuit, silent))
    verdict = ckks.judge(attacker.forge())
    assert verdict.status is Status.ACCEPTED, verdict.reasons
    assert verdict.guarantee is not None
    assert UNSHARED in verdict.guarantee.assumptions


def notes(verdict: Verdict) -> dict[str, str]:
    assert verdict.guarantee is not None
    return dict(verdict.guarantee.notes)


def test_notes_of_a_circuit_that_nobody_derived(world: World) -> None:
    names = {"ckks": ["approximations"], "concrete": ["failure", "precision", "quantisation"]}
    derived = notes(world.judge(world.one.proof))
    said = notes(world.judge(world.one.proof, world.stranger(derive=False)))
    for name in names[world.backend]:
        assert "not derived again" in said[name]
        assert "not derived again" not in derived[name]
    for found in (derived, said):
        assert "not derived again" not in found["security"]


def test_precision_is_a_number(world: World) -> None:
    """Whoever compiled a circuit puts no words into a verdict."""
    for key in ("error", "p_error"):
        for value in ("0 (certified)", "nan", "-1.0", "00.5", ["0.5"], {"x": "0.5"}):

            def lie(head: dict[str, Any], key: str = key, value: object = value) -> None:
                head["report"][key] = value

            attacker = Attacker.of(world.one.proof.to_bytes())
            data = attacks.header(world.circuit, lie)
            attacker.sections["circuit"] = data
            attacks.detail(attacker)["circuit"] = sha256(data)
            verdict = world.judge(attacker.forge(), world.stranger(derive=False))
            assert verdict.error is not None, value
            assert verdict.error.check == f"{world.backend}.4"


def test_versions_are_of_what_ran_here(ckks: World) -> None:
    attacker = Attacker.of(ckks.one.proof.to_bytes())
    attacks.detail(attacker)["libraries"] = {"tenseal": "9.9.9"}
    found = ckks.judge(attacker.forge())
    assert "9.9.9" not in notes(found)["libraries"]
    (check,) = [check for check in found.checks if check.number == "ckks.1"]
    assert "9.9.9" in str(check.detail)


@pytest.mark.parametrize("function", ["Tanh", "Sigmoid"])
def test_constant_is_no_sigmoid_on_a_wide_interval(ckks: World, function: str) -> None:
    """Errors are told to the last digits of the function, not of the interval."""
    from dataclasses import replace

    from proofml.fhe.ckks import circuit as circuits
    from proofml.fhe.ckks.derive import check_approximations
    from proofml.fhe.ckks.frontend import read_network
    from proofml.fhe.ckks.minimax import Polynomial
    from proofml.fhe.scheme import Malformed

    from ..ckks.models import mlp

    model = mlp(ckks.server.store, function)
    network = read_network(model, final="server")
    wide = Polynomial(-1e9, 1e9, (0.0 if function == "Tanh" else 0.5, 0.0))
    honest = circuits.Approximation(2, function, wide, 1.0)
    (value,) = [
        len(network.inputs) + i
        for i, step in enumerate(network.steps)
        if getattr(step, "function", None) == function
    ]
    honest = replace(honest, value=value)
    record = circuits.read(ckks.circuit).record
    check_approximations(network, replace(record, approximations=(honest,)))
    with pytest.raises(Malformed, match="polynomial of value"):
        check_approximations(
            network, replace(record, approximations=(replace(honest, error=1e-3),))
        )
