"""Completeness: what an honest prover sends is accepted, by both arithmetics, byte for byte."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.graph import ONES, Affine, Input, Maximum, Node, Reshape, Step, Weight
from proofml.circuits.graph import ArgMax as Arg
from proofml.zkml.sumcheck import engine
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.keys import commit_model, commit_ports
from proofml.zkml.sumcheck.layout import NotProvable, Visibility, arrange
from proofml.zkml.sumcheck.params import Params

from .graphs import CASES, Builder, random_case, toy
from .malicious import Lie, Trial

Get = Callable[[str], Trial]


@pytest.mark.parametrize("name", CASES)
def test_an_honest_proof_is_accepted(name: str, trial: Get, proof: Callable[[str], bytes],
                                     arithmetic: str) -> None:  # fmt: skip
    trial(name).verify(proof(name))


@pytest.mark.parametrize("name", CASES)
def test_kernels_and_twins_write_the_same_proof(name: str, trial: Get) -> None:
    if not kernels.available():
        pytest.skip("the C kernels are not available")
    run = trial(name)
    assert run.prove() == Trial.on(run.case, run.key).prove(Lie())


@pytest.mark.parametrize("name", CASES)
def test_other_inputs(name: str, trial: Get) -> None:
    for seed in (1, 2):
        other = Trial.on(trial(name).case, trial(name).key, seed)
        other.verify(other.prove())


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs(seed: int) -> None:
    trial = Trial.of(random_case(seed), seed=seed)
    trial.verify(trial.prove())


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_many_random_graphs(block: int) -> None:
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        trial = Trial.of(random_case(seed), seed=seed)
        proof = trial.prove()
        for native in (False, True):
            if not native or kernels.available():
                with engine.using(native=native):
                    trial.verify(proof)


@pytest.mark.parametrize("name", ["mlp", "committed", "tiny"])
@pytest.mark.parametrize(
    "params",
    [
        Params(0, (), 1, 3, 0),
        Params(1, (1,), 1, 3, 1),
        Params(4, (1, 1, 1, 1), 2, 9, 3),
        Params(5, (4,), 3, 40, 0),
        Params(7, (3, 4), 4, 2, 5),
        Params(13, (8,), 1, 1, 0),
    ],
    ids=str,
)
def test_any_parameters(name: str, params: Params) -> None:
    """Trees larger than 2^mu, and smaller; nothing left to fold; more queries than positions."""
    trial = Trial.of(name, params=params)
    trial.verify(trial.prove())
    trial.verify(trial.prove(Lie()))


def test_all_kinds_of_nodes_are_here() -> None:
    kinds: set[type[Node]] = set()
    ones = contracted = broadcast = False
    for make in CASES.values():
        for node in make().graph.nodes:
            kinds.add(type(node))
            if isinstance(node, Affine):
                ones |= any(term.value == ONES for term in node.terms)
                contracted |= bool(node.contractions)
                broadcast |= any(term.view.broadcast for term in node.terms)
    assert kinds == {Affine, Arg, Input, Maximum, Reshape, Step, Weight}
    assert (ones, contracted, broadcast) == (True, True, True)


@pytest.mark.parametrize("name", CASES)
def test_claims_are_as_many_as_counted(name: str, trial: Get) -> None:
    """What enters soundness is what happens: the messages of a proof against `count`."""
    run = Trial.on(trial(name).case, trial(name).key)
    run.prove(Lie())
    tags = [segment.tag for segment in run.log]
    claims = sum(tags.count(t) for t in ("leaf y", "leaf d", "leaf m", "leaf a", "output"))
    shape = run.key.circuit.shape
    assert claims + tags.count("contraction operand") - shape.contractions == shape.claims
    assert tags.count("contraction round") == shape.rounds
    assert tags.count("logup round") == shape.leaves * (shape.leaves - 1) // 2


@pytest.mark.parametrize("name", CASES)
def test_a_verifying_key_is_its_bytes(name: str, trial: Get) -> None:
    circuit = trial(name).key.circuit
    again = Circuit.read(circuit.bytes)
    assert again.bytes == circuit.bytes
    assert again.digest == circuit.digest


def test_hidden_outputs_need_a_column() -> None:
    case = CASES["linear"]()
    with pytest.raises(NotProvable, match="cannot be committed"):
        arrange(case.graph, Visibility(outputs=False))


def test_ports_are_salted_and_asked_for() -> None:
    case = CASES["committed"]()
    key = commit_model(
        case.graph, case.weights, visibility=case.visibility, params=toy(case.layout)
    )
    values = dict(enumerate(key.executor.run(case.inputs())))
    salt = np.arange(8, dtype=np.int64)
    roots = {commit_ports(key.circuit, values).nodes[1].tobytes() for _ in range(3)}
    roots |= {
        commit_ports(key.circuit, values, salt=salt + i).nodes[1].tobytes() for i in (0, 0, 1)
    }
    assert len(roots) == 5
    with pytest.raises(ValueError, match="committed"):
        commit_ports(Trial.of("tiny").key.circuit, values)


def test_a_scalar_keeps_its_weight() -> None:
    """Seen with sums down to one cell that are reshaped and spread again: the factor was lost."""
    b = Builder(3)
    x = b.input(4)
    from proofml.circuits.axes import AxisMap
    from proofml.circuits.graph import Term, View

    s = b.affine((), Term(1, x, View((), ((-1, AxisMap.total(4)),))))
    one = b.add(Reshape(s, (1, 1)))
    spread = View((2, 2), tuple((i, AxisMap.of(2, 1, [(1, 0, 2 + i)])) for i in (0, 1)))
    b.output(b.affine((2, 2), Term(1, one, spread)))
    wide = b.affine((2, 3), Term(1, s, View((2, 3), ())))
    b.output(wide)
    b.output(b.add(Reshape(wide, (6,))))
    trial = Trial.of(b.case())
    trial.verify(trial.prove())
