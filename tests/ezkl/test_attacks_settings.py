"""A prover who chooses EZKL's settings: what is proven under them would be another function.

The proofs are valid halo2 proofs with the digest of their lying Statement in the instances; where
EZKL's own verifier is asked too, it accepts them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import helper

from proofml.backend import Request
from proofml.canonical import sha256
from proofml.expectation import Expectation
from proofml.policy import Policy
from proofml.statement import Visibility
from proofml.testing import Attacker
from proofml.zkml.ezkl.field import R, encode
from proofml.zkml.ezkl.params import BOUNDS, FIXED

from .malicious import Table
from .models import ALLOWED, FLOAT, X, constant, graph, one
from .workshop import Workshop, deaf_to, edit, refused

PRIVATE = Request(input_visibility=Visibility.PRIVATE)


def with_ezkl_policy(**keys: Any) -> Policy:
    return Policy(assumptions=ALLOWED.assumptions, sections={"ezkl": keys})


class Stages:
    """A progress callback that notes which stages a verifier's workers ran."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, stage: str, fraction: float | None, rss: int | None) -> None:
        self.seen.add(stage)


# -- scales ---------------------------------------------------------------------------------------


def test_zero_input_scale(workshop: Workshop) -> None:
    """Every input below a half becomes 0: the model is run on nothing."""
    proof = workshop.forger(inputs={"x": X["x"] / 8}, run_args={"input_scale": 0}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.3")
    # Nothing else stands against it: a policy that allows such scales accepts it.
    assert workshop.judge(proof, policy=with_ezkl_policy(min_input_scale=0))


def test_zero_param_scale(workshop: Workshop) -> None:
    proof = workshop.forger(run_args={"param_scale": 0}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.3")
    assert workshop.judge(proof, policy=with_ezkl_policy(min_param_scale=0))


def test_negative_param_scale(workshop: Workshop) -> None:
    """The weights vanish; no policy can allow it."""
    proof = workshop.forger(run_args={"param_scale": -3}).prove()
    assert workshop.bare(proof)
    loosest = with_ezkl_policy(min_param_scale=0, min_input_scale=0)
    refused(workshop.judge(proof, policy=loosest), "ezkl.3")


def test_least_scales_are_the_policys(workshop: Workshop) -> None:
    for key in ("min_input_scale", "min_param_scale"):
        assert workshop.judge(workshop.honest(), policy=with_ezkl_policy(**{key: 7}))
        verdict = workshop.judge(workshop.honest(), policy=with_ezkl_policy(**{key: 8}))
        refused(verdict, "ezkl.3")


def test_most_rows_are_the_policys(workshop: Workshop) -> None:
    proof = workshop.forger(run_args={"logrows": 9}).prove()
    assert workshop.judge(proof, policy=with_ezkl_policy(max_logrows=9))
    refused(workshop.judge(proof, policy=with_ezkl_policy(max_logrows=8)), "ezkl.3")


def test_forged_output_scale(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit less in a field that the key does not depend on: every output is doubled."""

    def doctor(settings: Table) -> None:
        settings["model_output_scales"][0] -= 1

    proof = workshop.forger(doctor=doctor).prove()
    honest = workshop.honest().tensor("output.0")
    assert (proof.tensor("output.0") == 2 * honest).all()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.12")
    deaf_to("ezkl.12", monkeypatch)
    assert workshop.judge(proof)


def test_forged_input_scale(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The circuit is given x, the Statement says 2x."""

    def doctor(settings: Table) -> None:
        settings["model_input_scales"][0] -= 1

    proof = workshop.forger(doctor=doctor, values={"input.0": 2 * X["x"]}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.12")
    deaf_to("ezkl.12", monkeypatch)
    assert workshop.judge(proof)


# -- run arguments --------------------------------------------------------------------------------


def test_ranges_left_unchecked(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """y = 3 x: without range checks a third (modulo r) is an input, and y is 1."""
    triple = graph(
        [helper.make_node("Mul", ["x", "three"], ["y"])],
        {"x": (FLOAT, [1, 1])},
        {"y": (FLOAT, [1, 1])},
        [constant("three", [[3]])],
    )
    model = workshop.load(triple)

    def data(lists: list[list[Any]]) -> None:
        lists[0] = [encode(128 * pow(3, -1, R) % R).hex()]

    forger = workshop.forger(
        model,
        inputs={"x": np.zeros((1, 1), np.float32)},
        request=PRIVATE,
        data=data,
        run_args={"ignore_range_check_inputs_outputs": True},
    )
    proof = forger.prove()
    assert proof.tensor("output.0").item() == 1
    assert workshop.bare(proof)
    expect = Expectation(model=model)
    refused(workshop.judge(proof, expect), "ezkl.3")
    monkeypatch.setitem(FIXED, "ignore_range_check_inputs_outputs", True)  # type: ignore[arg-type]
    refused(workshop.judge(proof, expect), "ezkl.12")


def test_check_mode_unsafe(workshop: Workshop) -> None:
    proof = workshop.forger(run_args={"check_mode": "unsafe"}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.3")


def raw(data: bytes) -> bytes:
    """White space that EZKL reads and the canonical form does not have."""
    return json.dumps(json.loads(data), indent=1).encode()


def twice(data: bytes) -> bytes:
    """A duplicated key: readers differ on which one counts."""
    return data.replace(b'"input_scale":7', b'"input_scale":0,"input_scale":7')


def as_array(data: bytes) -> bytes:
    """EZKL takes run_args as an array in the order of its own fields."""
    return edit(data, run_args=list(json.loads(data)["run_args"].values()))


DOCTORED: dict[str, Callable[[bytes], bytes]] = {
    "an unknown run argument": lambda data: edit(data, run_args__foo=1),
    "run_args as an array": as_array,
    "a duplicated key": twice,
    "white space": raw,
    "bytes after the end": lambda data: data + b" ",
    "not JSON": lambda data: data[:-1],
    "no object": lambda data: b"[]",
    "deep nesting": lambda data: b"[" * 100_000,
    "a megabyte and more": lambda data: data + b" " * (1 << 20),
    "digits without end": lambda data: data.replace(b'"num_rows":', b'"num_rows":9' + b"9" * 5000),
    "an infinite number": lambda data: data.replace(b'"num_rows":', b'"num_rows":1e999', 1),
    "a legacy key": lambda data: edit(data, dynamic_lookup_params={}),
    "a float for an integer": lambda data: edit(data, num_rows=271.5),
    "true for an integer": lambda data: edit(data, num_rows=True),
    "a key left out": lambda data: data.replace(b'"num_shuffles":0,', b""),
    "a time": lambda data: edit(data, timestamp=1),
    "a version": lambda data: edit(data, version="23.0.5"),
    "blinding factors": lambda data: edit(data, num_blinding_factors=0),
    "check_mode at the top": lambda data: edit(data, check_mode="UNSAFE"),
    "check_mode": lambda data: edit(data, run_args__check_mode="UNSAFE"),
    "a rebase scale": lambda data: edit(data, run_args__rebase_scale=1),
    "rebased zero constants": lambda data: edit(data, run_args__rebase_frac_zero_constants=True),
    "bounded lookups": lambda data: edit(data, run_args__bounded_log_lookup=True),
    "no ranges": lambda data: edit(data, run_args__ignore_range_check_inputs_outputs=True),
    "epsilon": lambda data: edit(data, run_args__epsilon=0.5),
    "no freivalds": lambda data: edit(data, run_args__disable_freivalds=True),
    "variables": lambda data: edit(data, run_args__variables=[["batch_size", 2]]),
    "a polycommit": lambda data: edit(data, run_args__param_visibility="KZGCommit"),
    "a hash that is kept": lambda data: edit(
        data, run_args__input_visibility={"Hashed": {"hash_is_public": False, "outlets": [7]}}
    ),
    "500 inner columns": lambda data: edit(data, run_args__num_inner_cols=500),
    "no inner columns": lambda data: edit(data, run_args__num_inner_cols=0),
    "60 log rows": lambda data: edit(data, run_args__logrows=60),
    "base 1": lambda data: edit(data, run_args__decomp_base=1),
    "no digits": lambda data: edit(data, run_args__decomp_legs=0),
    "digits that wrap": lambda data: edit(
        data, run_args__decomp_base=1 << 15, run_args__decomp_legs=5
    ),
    "digits that hold nothing": lambda data: edit(
        data, run_args__decomp_base=2, run_args__decomp_legs=8
    ),
    "a lookup range turned round": lambda data: edit(data, run_args__lookup_range=[5, -5]),
    "a lookup range of 2^27": lambda data: edit(data, run_args__lookup_range=[0, 1 << 27]),
    "ten million constants": lambda data: edit(data, total_const_size=10_000_000),
    "more assignments than columns": lambda data: edit(data, total_assignments=(256 << 8) + 1),
    "a range check of 2^60": lambda data: edit(data, required_range_checks=[[0, 1 << 60]]),
    "a range check of no pair": lambda data: edit(data, required_range_checks=[[0]]),
    "a table wider than 16 columns": lambda data: edit(
        data, required_lookups=["Abs"], run_args__lookup_range=[0, (16 << 8) + 1]
    ),
    "einsum columns": lambda data: edit(
        data, einsum_params={"equations": [], "total_einsum_col_size": 1 << 39}
    ),
    "a negative output scale": lambda data: edit(data, model_output_scales=[-1]),
    "an input type": lambda data: edit(data, input_types=["F32", "Quantum"]),
    "shapes of no dimensions": lambda data: edit(data, model_instance_shapes=["all"]),
    **{
        f"{key} below its bound": lambda data, key=key, low=low: edit(
            data, **{f"run_args__{key}": low - 1}
        )
        for key, (low, _) in BOUNDS.items()
    },
    **{
        f"{key} above its bound": lambda data, key=key, high=high: edit(
            data, **{f"run_args__{key}": high + 1}
        )
        for key, (_, high) in BOUNDS.items()
    },
}


@pytest.mark.parametrize("name", DOCTORED)
def test_doctored_settings(workshop: Workshop, name: str) -> None:
    """Some of these make EZKL panic or never end: they are refused before it is asked anything."""
    attacker = Attacker.of(workshop.honest().to_bytes())
    doctored = DOCTORED[name](attacker.sections["settings"])
    assert doctored != attacker.sections["settings"]
    attacker.sections["settings"] = doctored
    attacker.statement["computation"]["detail"]["settings_sha256"] = sha256(doctored)
    stages = Stages()
    refused(workshop.judge(attacker, progress=stages), "ezkl.3")
    assert not stages.seen


SHIPPED: dict[str, dict[str, Any]] = {
    "no range checks": {"required_range_checks": []},
    "one row more": {"num_rows": 240},
    "fewer assignments": {"total_assignments": 1},
    "no instances": {"model_instance_shapes": []},
    "an output of integers": {"output_types": ["Int"]},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_settings_that_no_model_has(workshop: Workshop, name: str) -> None:
    """Within all bounds, stated, bound to the proof; but not what the model and arguments give."""

    def ship(blobs: dict[str, bytes]) -> None:
        honest = blobs["settings"]
        blobs["settings"] = edit(honest, **SHIPPED[name])
        assert blobs["settings"] != honest

    stages = Stages()
    proof = workshop.forger(ship=ship).prove()
    refused(workshop.judge(proof, progress=stages), "ezkl.12")
    assert "setup" not in stages.seen


def test_tables_that_setup_would_not_end_on(workshop: Workshop) -> None:
    """Settings that EZKL itself derives, for a table 256 columns wide: setup ran for minutes."""
    model = workshop.load(one("Sigmoid"))
    forger = workshop.forger(model, run_args={"lookup_range": [-32768, 32768], "logrows": 8})
    derived = forger.settings().data
    attacker = Attacker.of(workshop.honest().to_bytes())
    attacker.statement["model"] = model.claim.to_json()
    attacker.sections["settings"] = derived
    attacker.statement["computation"]["detail"]["settings_sha256"] = sha256(derived)
    attacker.claim("output.0").update(shape=[1, 4])
    attacker.set_value("output.0", X["x"])
    stages = Stages()
    refused(workshop.judge(attacker, Expectation(model=model), progress=stages), "ezkl.3")
    assert not stages.seen


# -- what the Statement says of them --------------------------------------------------------------


def test_settings_other_than_stated(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Statement names settings that somebody pins, the circuit is made of others."""

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["settings_sha256"] = "5" * 64

    proof = workshop.forger(lie=lie).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.4")
    deaf_to("ezkl.4", monkeypatch)
    assert workshop.judge(proof)


def test_hidden_input_claimed_public(workshop: Workshop) -> None:
    """The circuit keeps its input; the Statement shows one that it never saw."""

    def lie(statement: Table) -> None:
        shown = workshop.honest().statement.to_json()
        statement["inputs"] = shown["inputs"]

    forger = workshop.forger(request=PRIVATE, inputs={"x": X["x"] * 2}, lie=lie)
    attacker = workshop.take(forger.prove())
    attacker.set_value("input.0", X["x"])
    assert workshop.bare(attacker)
    refused(workshop.judge(attacker), "ezkl.5")


def test_hidden_weights_claimed_known(workshop: Workshop) -> None:
    """Other weights under `private`, stated as the verifier's own model, fixed."""

    def lie(statement: Table) -> None:
        statement["model"] = workshop.model.claim.to_json()
        statement["computation"]["detail"]["parameters"] = "fixed"

    forger = workshop.forger(workshop.other, request=Request(parameters="private"), lie=lie)
    proof = forger.prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.5")
