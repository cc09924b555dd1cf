"""Parts of the verifier by themselves, where no proof that a prover can make leads to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofml.circuits.field import ext5
from proofml.circuits.graph import Affine, Bind, Contraction, Graph, Input
from proofml.zkml.sumcheck import verifier
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.reader import Reader
from proofml.zkml.sumcheck.reduction import OnContraction
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.weights import at_point

from .malicious import Trial

DOT = ((Bind(sum=0),), (Bind(sum=0),))
EACH = ((Bind(out=0),), ())


def test_a_contraction_of_contractions() -> None:
    """`validate` refuses such a graph; without it, a claim would be left that nobody proves."""
    x = Input("x", (2,), 0, 1)
    first = Affine((), (), (Contraction(0, 0, (2,), *DOT),), 0, 2)
    second = Affine((2,), (), (Contraction(0, 1, (), *EACH),), 0, 2)
    graph = Graph((x, first, second), (), (), {})
    circuit = Circuit(graph, Params(1, ()), None)
    for node, good in ((first, True), (second, False)):
        reader = Reader(Transcript(bytes(32)), bytes(1000))
        run = verifier._Run(circuit, reader, {})
        weight = at_point([[ext5.ZERO]] * len(node.shape), node.shape)
        part = OnContraction(ext5.ONE, node.contractions[0], weight)
        run.contractions.append((part, ext5.ZERO))
        if good:
            verifier._contractions(run)
            assert not run.contractions
        else:
            with pytest.raises(AssertionError, match="rests on another"):
                verifier._contractions(run)


@pytest.mark.parametrize("name", ["mlp", "linear"])
def test_a_proof_that_ends_early_is_refused_before_it_is_read(
    name: str, trial: Callable[[str], Trial], arithmetic: str
) -> None:
    """Whatever is wrong with what is there, and by both arithmetics alike."""
    run = trial(name)
    layers = run.layout.leaves.log
    size = 32 + 20 * (4 * layers + 3 * layers * (layers - 1) // 2)
    for wrong in (bytes(size - 1), bytes(32) + b"\xff" * (size - 33), bytes(size - 20)):
        assert run.refused(wrong) == "sumcheck.8"
    assert run.refused(bytes(size)) == "sumcheck.9"
