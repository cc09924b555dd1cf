"""Random quantised graphs: every value that the circuit computes is onnxruntime's.

`-m slow` runs more than a thousand graphs; the totals are printed.
"""

from __future__ import annotations

import pytest

from proofml.circuits.onnx import compile_model

from .agreement import compare
from .models import load
from .random_graphs import random_graph

SEEDS = range(60)
MANY = range(1000, 2200)


def run(seeds: range) -> tuple[int, int]:
    """Values compared, and graphs; all values of graphs of class E and T must be equal."""
    total = graphs = 0
    for seed in seeds:
        net, proto = random_graph(seed)
        found = compare(proto, [net.feeds(extreme=index % 2 == 1) for index in range(6)])
        if found.compiled.graph.classes["D"]:
            continue
        assert found.wrong == 0, f"seed {seed}: {found.wrong} of {found.total} values differ"
        total += found.total
        graphs += 1
    print(f"{total} values of {graphs} graphs equal onnxruntime's")
    return total, graphs


def test_random_graphs() -> None:
    total, graphs = run(SEEDS)
    assert graphs > 40
    assert total > 3 * 10**5


@pytest.mark.slow
def test_a_thousand_random_graphs() -> None:
    total, graphs = run(MANY)
    assert graphs > 1000
    assert total > 10**7


def test_the_same_seed_gives_the_same_graph() -> None:
    first, second = (random_graph(7)[1].SerializeToString() for _ in range(2))
    assert first == second
    one, two = (compile_model(load(random_graph(7)[1])) for _ in range(2))
    assert one.graph == two.graph
