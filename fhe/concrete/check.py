"""Whether a circuit computes a model: compiled again from the model, its choice and its samples."""

from __future__ import annotations

import dataclasses

import numpy as np

from proofml.backend import Context
from proofml.canonical import real
from proofml.errors import UnsupportedModel
from proofml.fhe.concrete.candidates import Candidate, Cut
from proofml.fhe.concrete.circuit import LIBRARIES, ConcreteCircuit
from proofml.fhe.concrete.quantiser import Quantiser
from proofml.fhe.concrete.server import Derived, derive, foreign
from proofml.fhe.scheme import Malformed
from proofml.model import Model


def check_circuit(circuit: ConcreteCircuit, model: Model, context: Context) -> None:
    """See `Scheme.check_circuit`."""
    if circuit.model != model.digest:
        raise Malformed("circuit's model", model.digest, circuit.model)
    if circuit.inputs != model.inputs or circuit.outputs != model.outputs:
        raise Malformed("circuit's inputs and outputs", "the model's", "others")
    if dict(circuit.libraries) != LIBRARIES:
        raise Malformed("circuit's libraries", LIBRARIES, dict(circuit.libraries))
    choice = circuit.choice
    with context.store.scratch() as folder:
        try:
            cut = Cut(model, circuit.samples, folder, context)
        except UnsupportedModel as error:
            raise Malformed("circuit's samples", "some that the model takes", error) from error
        if cut.kind == "trees":
            (one,) = cut.ensembles([choice.bits], choice.p_error)
        else:
            (one,) = cut.networks([(choice.bits, choice.rounding)], choice.p_error)
        if one.fidelity is None or one.quantiser is None:
            raise Malformed("circuit", "one that Concrete compiles", one.refused)
        for what, have, want in (
            ("head", circuit.head, cut.head),
            ("tail", circuit.tail, cut.tail),
            ("program", circuit.text, one.text),
        ):
            if have != want:
                raise Malformed(f"circuit's {what}", "the model's", "another one")
        _same_quantiser(circuit.quantiser, one.quantiser)
        with foreign("circuit"):
            (derived,) = derive(circuit.text, [choice.p_error], context)
        if derived.parameters != circuit.program.data:
            raise Malformed("circuit's parameters", "those that Concrete chooses", "others")
        _same_report(circuit, one, derived)


def _same_quantiser(have: Quantiser, want: Quantiser) -> None:
    if type(have) is not type(want):
        raise Malformed("circuit's kind", want.kind, have.kind)
    for field in dataclasses.fields(have):
        left, right = getattr(have, field.name), getattr(want, field.name)
        if left.dtype != right.dtype or not np.array_equal(left, right):
            raise Malformed(f"circuit's quantiser {field.name}", "the model's", "another one")


def _same_report(circuit: ConcreteCircuit, one: Candidate, derived: Derived) -> None:
    """What a reader relies on is not better than it is."""
    assert one.fidelity is not None
    failure = real(derived.failure(one.outputs))
    if circuit.report["p_error"] != failure:
        raise Malformed("circuit's report, p_error", failure, circuit.report["p_error"])
    try:
        claimed = float(str(circuit.report["error"]))
    except ValueError:
        claimed = -1.0
    # Another machine's onnxruntime rounds otherwise, a little.
    if not claimed >= one.fidelity.error * 0.99 - 1e-5:
        raise Malformed(
            "circuit's report, error", f"at least {one.fidelity.error:g}", circuit.report["error"]
        )
