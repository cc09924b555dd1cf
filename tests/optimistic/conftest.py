"""What these tests share: a run of a graph in which every tensor is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from proofml.circuits import kernels
from proofml.circuits.execute import execute
from proofml.circuits.graph import Graph, Ints
from proofml.optimistic.folding import apply_rule, evaluate
from proofml.optimistic.lower import lower
from proofml.optimistic.program import Operand, Operator, Program, Source, Table
from proofml.optimistic.rows import Tables

from .courtroom import Court


@dataclass
class Run:
    """A lowered graph and all of its values for one set of inputs."""

    graph: Graph
    program: Program
    tables: Tables
    values: list[Ints]

    @classmethod
    def of(cls, graph: Graph, weights: Mapping[int, Ints], inputs: Mapping[int, Ints]) -> Run:
        program, tables = lower(graph, weights)
        return cls(graph, program, tables, execute(graph, weights, inputs))

    def operator(self, number: int) -> Ints:
        """What operator `number` makes, by the executor."""
        return self.values[self.tables.values[number]]

    def fetch(self, number: int) -> Reader:
        return Reader(self, self.program.operators[number])

    def cell(self, number: int, cell: int) -> int:
        """One cell by the descriptor alone."""
        operator = self.program.operators[number]
        states = evaluate(operator, cell, self.fetch(number))
        assert len(states) == operator.summands + 1
        table = operator.output.table
        records = None if table is None else self.tables.records(table)
        return apply_rule(operator, cell, int(states[-1]), records)


@dataclass
class Reader:
    """`folding.Fetch` over a run."""

    run: Run
    operator: Operator

    def tensor(self, number: int, operand: Operand) -> Ints:
        assert self.operator.operands[number] == operand
        if operand.source is Source.WEIGHT:
            return self.run.tables.tensor(operand)
        if operand.source is Source.INPUT:
            value = self.run.graph.inputs[operand.index].value
        else:
            value = self.run.tables.values[operand.index]
        return self.run.values[value].reshape(operand.cells.shape)

    def cells(self, number: int, operand: Operand, index: Ints) -> Ints:
        return self.tensor(number, operand).reshape(-1)[index]

    def records(self, table: Table) -> NDArray[np.int32]:
        return self.run.tables.records(table)


@pytest.fixture(params=["native", "hashlib"])
def hashing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Trees by the C kernels, and without them."""
    if request.param == "hashlib":
        monkeypatch.setattr(kernels, "available", lambda: False)
    elif not kernels.available():
        pytest.skip("the C kernels are not available")
    return str(request.param)


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    # Time is that of the machine here: `prove` and `verify` open the ledger themselves.
    made = Court(tmp_path, time=int(time.time()))
    yield made
    made.close()
