"""Lies in the opening: words far from the code, layers that are no folds, rows, paths, work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.babybear import P
from proofml.circuits.kernels.claims import Tree
from proofml.zkml.sumcheck import merkle, proving
from proofml.zkml.sumcheck.keys import commit_model
from proofml.zkml.sumcheck.layout import MODEL, PORTS, WITNESS
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.transcript import Transcript, grind_ok
from proofml.zkml.sumcheck.twin import opening

from .malicious import Lie, Trial

Get = Callable[[str], Trial]

#: Two folded layers and a final vector of 2; enough queries that no lie slips through.
DEEP = Params(6, (3, 2), 2, 30, 2)
FLAT = Params(6, (), 2, 30, 2)
ROOTS = {WITNESS: "sumcheck.17", MODEL: "sumcheck.18", PORTS: "sumcheck.19"}


def rebuilt(tree: Tree, code: np.ndarray) -> Tree:
    code = code.astype(np.uint32)
    return replace(tree, code=code, nodes=merkle.build(tree.tag, [row.tobytes() for row in code]))


def far(tree: Tree) -> Tree:
    """Every second position of the first column off: as far from the code as can be."""
    code = tree.code.copy()
    code[::2, 0] = (code[::2, 0].astype(np.int64) + 1) % P
    return rebuilt(tree, code)


@pytest.mark.parametrize("name", ["committed", "mlp", "views"])
@pytest.mark.parametrize(("params", "check"), [(DEEP, "sumcheck.21"), (FLAT, "sumcheck.22")])
def test_a_witness_far_from_the_code(name: str, params: Params, check: str) -> None:
    run = Trial.of(name, params=params)
    assert run.refused(run.prove(Lie(tree=lambda t: far(t) if t.tag == WITNESS else t))) == check


def test_ports_and_weights_far_from_the_code() -> None:
    """Their roots are the circuit's and the Statement's: then it is a prover's loss."""
    run = Trial.of("committed", params=DEEP)
    assert run.ports is not None
    assert run.key.tree is not None
    other = replace(run, ports=far(run.ports))
    assert other.refused(other.prove()) == "sumcheck.21"
    tree = far(run.key.tree)
    circuit = replace(run.key.circuit, model_root=tree.nodes[1].tobytes())
    key = replace(run.key, tree=tree, circuit=circuit)
    assert run.refused(run.prove(key=key), circuit=circuit) == "sumcheck.21"


def _orthogonal(pair: list[np.ndarray]) -> list[np.ndarray]:
    """Another vector with the same inner product with the weights, as `reference.py`, "layer1"."""
    g, w = pair
    at = next(i for i in range(len(g) - 1) if w[i].any() and w[i + 1].any())
    g = g.copy()
    g[at] = ext5.vadd(g[at], w[at + 1])
    g[at + 1] = ext5.vsub(g[at + 1], w[at])
    assert ext5.vsum(ext5.vmul(g, w)) == ext5.vsum(ext5.vmul(*pair))
    return [g, w]


@pytest.mark.parametrize("name", ["committed", "mlp"])
@pytest.mark.parametrize(
    ("params", "after", "check"),
    [
        (DEEP, 0, "sumcheck.21"),  # the vector of layer 0
        (DEEP, 3, "sumcheck.21"),  # of layer 1
        (DEEP, 5, "sumcheck.22"),  # the final vector
        (FLAT, 0, "sumcheck.22"),
    ],
)
def test_another_vector_that_satisfies_the_claims(
    name: str, params: Params, after: int, check: str
) -> None:
    """The sumcheck ends well; only the positions tell that it is another word."""
    run = Trial.of(name, params=params)
    lie = Lie(fold=lambda step, pair: _orthogonal(pair) if step == after else pair)
    assert run.refused(run.prove(lie)) == check


@pytest.mark.parametrize(("layer", "check"), [(0, "sumcheck.21"), (1, "sumcheck.21")])
def test_a_layer_that_is_no_code_word(layer: int, check: str) -> None:
    """Its root is of a word that the vector does not encode to."""
    run = Trial.of("mlp", params=DEEP)
    honest, calls = babybear.encode, []

    def encode(values: np.ndarray, k: int, rate: int) -> np.ndarray:
        code = honest(values, k, rate)
        if values.ndim == 2:
            calls.append(k)
            if len(calls) == layer + 1:
                code[:, 0, 0] = (code[:, 0, 0] + np.uint64(1)) % np.uint64(P)
        return code

    with mock.patch.object(opening.babybear, "encode", encode):
        proof = run.prove(Lie())
    assert len(calls) == 2
    assert run.refused(proof) == check


def test_grinding_skipped() -> None:
    run = Trial.of("mlp", params=replace(DEEP, grind=12))
    found = [run.refused(run.prove(Lie(nonce=n))) for n in (1 << 40, (1 << 40) + 1)]
    assert found == ["sumcheck.16"] * 2


def test_a_bit_of_work_less() -> None:
    """Valid for g - 1 bits and not for g."""
    run = Trial.of("tiny", params=Params(1, (), 2, 4, 6))
    seeds: list[bytes] = []
    honest = Transcript.seed

    def seed(self: Transcript, tag: str) -> bytes:
        seeds.append(honest(self, tag))
        return seeds[-1]

    with mock.patch.object(Transcript, "seed", seed):
        run.prove(Lie())
    nonce = next(
        n for n in range(1 << 20) if grind_ok(seeds[0], n, 5) and not grind_ok(seeds[0], n, 6)
    )
    assert run.refused(run.prove(Lie(nonce=nonce))) == "sumcheck.16"


# -- rows and paths ------------------------------------------------------------------------------


def _bend(data: bytes) -> bytes:
    """Another first number, canonical; another first byte of a digest."""
    return bytes([data[0] ^ 1]) + data[1:]


@pytest.mark.parametrize("name", ["committed", "mlp"])
def test_every_row_and_path(name: str, arithmetic: str) -> None:
    """Each row and each sibling bent; nothing after the last challenge depends on another one."""
    run = Trial.of(name, params=replace(DEEP, queries=6))
    proof = run.prove(Lie())
    trees = [*run.layout.trees, "F0", "F1"]
    seen: list[str] = []
    for segment in (s for s in run.log if not s.absorbed):
        # Of a path every sibling; of a row as many of its numbers.
        for at in range(segment.start, segment.start + segment.size, 32):
            seen.append(run.refused(proof[:at] + _bend(proof[at : at + 32]) + proof[at + 32 :]))
    wanted = [ROOTS.get(tree, "sumcheck.20") for tree in trees]
    assert list(dict.fromkeys(seen)) == list(dict.fromkeys(wanted))
    # Tree after tree, never back.
    assert seen == sorted(seen, key=wanted.index)


def test_a_layer_under_another_root() -> None:
    run = Trial.of("mlp", params=DEEP)
    for layer in (0, 1):
        tag = f"fold {layer} root"
        lie = Lie(message=lambda own, _, data, tag=tag: bytes(32) if own == tag else data)
        assert run.refused(run.prove(lie)) == "sumcheck.20"


def test_roots_swapped() -> None:
    """The witness under the weights' root and the other way round."""
    run = Trial.of("mlp", params=DEEP)
    assert run.key.tree is not None
    w = run.key.tree.nodes[1].tobytes()
    lie = Lie(message=lambda tag, _, data: w if tag == "X root" else data)
    assert run.refused(run.prove(lie)) == "sumcheck.17"
    circuit = replace(run.key.circuit, model_root=bytes(32))
    assert run.refused(run.prove(), circuit=circuit) == "sumcheck.18"


def test_other_weights_used_consistently() -> None:
    """A model that is not the circuit's, proven honestly."""
    run = Trial.of("mlp", params=DEEP)
    weights = {n: np.sign(w) * (abs(w) // 2) for n, w in run.case.weights.items()}
    other = commit_model(run.case.graph, weights, params=DEEP)
    values = other.executor.run(run.case.inputs())
    run.public = run.public_of(values)
    proof = run.prove(key=other, values=values)
    run.verify(proof, circuit=other.circuit)
    assert run.refused(proof) == "sumcheck.18"


def test_a_bias_that_is_not_the_models() -> None:
    run = Trial.of("mlp", params=DEEP)
    number = max(n for n, w in run.case.weights.items() if w.ndim == 1)
    low = run.case.graph.nodes[number].low  # type: ignore[union-attr]
    weights = {n: w.copy() for n, w in run.case.weights.items()}
    weights[number][0] += 1 if weights[number][0] == low else -1
    other = commit_model(run.case.graph, weights, params=DEEP)
    values = other.executor.run(run.case.inputs())
    run.public = run.public_of(values)
    proof = run.prove(key=other, values=values)
    run.verify(proof, circuit=other.circuit)
    assert run.refused(proof) == "sumcheck.18"


def test_trap_13_a_leaf_is_no_node_and_of_no_other_tree(trial: Get) -> None:
    row = bytes(64)
    assert merkle.leaf_hash("X", row) != merkle.node_hash(row[:32], row[32:])
    assert merkle.leaf_hash("X", row) != merkle.leaf_hash("W", row)
    run = trial("mlp")
    assert run.key.tree is not None
    params = run.key.circuit.params
    # The same words under the tag of the witness have another root.
    same = proving.commit(WITNESS, run.key.tree.values, params.mu, params.rate)
    circuit = replace(run.key.circuit, model_root=same.nodes[1].tobytes())
    assert run.refused(run.prove(), circuit=circuit) == "sumcheck.18"


def test_trap_17_trees_of_different_heights_share_the_domain(trial: Get) -> None:
    """The smaller tree sits out the first rounds; its claims are bound to its own root."""
    run = trial("committed")
    logs = {n: s.log for n, s in run.layout.trees.items()}
    assert len(set(logs.values())) > 1
    mu = run.key.circuit.params.mu
    assert max(logs.values()) > mu
    assert min(logs.values()) < mu


@pytest.mark.parametrize("name", ["tiny", "committed"])
def test_trap_16_positions_depend_on_the_nonce(name: str, trial: Get) -> None:
    run = Trial.on(trial(name).case, trial(name).key)
    found = []
    honest = Transcript.indices

    def indices(self: Transcript, *args: object) -> list[int]:
        found.append(honest(self, *args))  # type: ignore[arg-type]
        return found[-1]

    with mock.patch.object(Transcript, "indices", indices):
        for nonce in (5, 6):
            run.prove(Lie(nonce=nonce))
    assert found[0] != found[1]
