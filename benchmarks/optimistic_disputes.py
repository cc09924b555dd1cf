"""What disputes cost: rounds, bytes, seconds, gas; on a file and on a chain.

    tools/contracts.sh anvil --silent
    python -m proofml.benchmarks.optimistic_disputes --rpc http://127.0.0.1:8545

LeNet-5, a classifier of lines of text and a detector of text, as int8 graphs, are claimed falsely
in four ways each, and once truly against a dishonest challenger; each dispute is played to its end.
`--docs docs/optimistic` writes the tables of benchmarks.md anew. Accounts are new ones, to which a
development node gives money.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np

from proofml.benchmarks.meter import machine
from proofml.benchmarks.models import write
from proofml.benchmarks.optimistic_float_models import CASES
from proofml.benchmarks.optimistic_lies import LIES, Insistent, Quarrelsome, Subject, rounds
from proofml.benchmarks.process import others
from proofml.benchmarks.tables import replace_table
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.circuits.source import Source as ModelSource
from proofml.model import Model
from proofml.optimistic import moves
from proofml.optimistic.accounts import Account
from proofml.optimistic.book import ClaimState
from proofml.optimistic.challenger import Challenger
from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.claimant import Claimant
from proofml.optimistic.clock import Side
from proofml.optimistic.commit import header_of, program_root, read_leaf
from proofml.optimistic.game import Status
from proofml.optimistic.ledger import Ledger
from proofml.optimistic.moves import Move
from proofml.optimistic.players import Player, View
from proofml.optimistic.policy import ChainPin
from proofml.optimistic.program import Source
from proofml.optimistic.sqlite_ledger import SqliteLedger
from proofml.optimistic.trace import Machine, Trace
from proofml.store import Store
from proofml.tensors import Array

PAGE = "benchmarks.md"
K_LOG = 4
MONEY = 10**24
#: What the project promises of a dispute on chain, and of its last step.
MOST_GAS, MOST_STEP = 2_000_000, 400_000
#: Inputs of a calibration, and the number of one that is not among them.
_SAMPLES, _HELD_OUT = 8, 1_000

Feeds = dict[str, Array]
Quantising = Callable[[Path], tuple[Path, list[Feeds], Feeds, QuantisationConfig]]


def _lenet(folder: Path) -> tuple[Path, list[Feeds], Feeds, QuantisationConfig]:
    case = write("lenet", folder)
    with np.load(case.calibration) as file:
        samples = [{"input": each[None]} for each in file["input"]]
    with np.load(case.input) as file:
        feeds = dict(file)
    return case.model, samples, feeds, QuantisationConfig(activations="int8", per_channel=True)


def _of_text(name: str) -> Quantising:
    def found(_: Path) -> tuple[Path, list[Feeds], Feeds, QuantisationConfig]:
        case = CASES[name]
        samples = [{"x": case.input(seed)} for seed in range(_SAMPLES)]
        config = QuantisationConfig(shapes={"x": case.shape}, cut_softmax=name == "classifier")
        return case.file, samples, {"x": case.input(_HELD_OUT)}, config

    return found


#: Name -> the model, for people, and how it is quantised; its table is `disputes NAME`.
SUBJECTS: Mapping[str, tuple[str, Quantising]] = {
    "lenet": ("LeNet-5", _lenet),
    "classifier": ("text classifier, 48 x 192", _of_text("classifier")),
    "detector": ("text detector, 96 x 96", _of_text("detector")),
}


def subject(folder: Path, which: str = "lenet") -> Subject:
    """The model, quantised on its calibration inputs."""
    name, prepare = SUBJECTS[which]
    path, samples, feeds, config = prepare(folder)
    store = Store(folder / "store")
    model = Model.load(path, store=store)
    quantised = Model.load(apply(model, calibrate(model, samples, config, store)), store=store)
    source = ModelSource(quantised, {name: array.shape for name, array in feeds.items()})
    compiled = source.compile()
    made = Machine.of(compiled.graph, compiled.weights, compiled.names)
    return Subject(name, compiled.graph, compiled.weights, made, made.encode(feeds))


def products(machine_: Machine) -> int:
    """Multiply-accumulates of one run."""
    return sum(
        operator.cells.count * part.count
        for operator in machine_.program.operators
        for part in operator.parts
        if part.right is not None and part.left.source is not Source.ONES
    )


@dataclass
class Side_:
    """One account that has the ledger open."""

    ledger: Ledger
    account: str


@dataclass
class Cost:
    """Of one dispute, both sides together.

    Attributes:
        rounds: reveals of the claimant.
        formula: how many they should be.
        bytes: of the moves.
        seconds: until it was over, beside the runs that each side makes first.
        calls: what each transaction cost in gas, by what it was; empty on a file.
        data: bytes of the transactions' calldata.
    """

    status: Status
    rounds: int
    formula: int
    bytes: int
    seconds: float
    last: str
    calls: list[tuple[str, int]] = field(default_factory=list)
    data: int = 0

    @property
    def gas(self) -> int:
        """Of the challenge and all moves; a claim is posted anyway."""
        return sum(gas for what, gas in self.calls if what != "post")


# ---------------------------------------------------------------- ledgers
@contextmanager
def on_a_file(folder: Path) -> Iterator[tuple[Side_, Side_, list[tuple[str, int, int]]]]:
    keys = [Account.generate(), Account.generate()]
    path = folder / "ledger.db"
    opened = [SqliteLedger(path, [key], create=True) for key in keys]
    for ledger, key in zip(opened, keys, strict=True):
        ledger.deposit(MONEY, key.name)
    try:
        one, two = (Side_(led, key.name) for led, key in zip(opened, keys, strict=True))
        yield one, two, []
    finally:
        for ledger in opened:
            ledger.close()


@contextmanager
def on_a_chain(folder: Path, rpc: str) -> Iterator[tuple[Side_, Side_, list[tuple[str, int, int]]]]:
    from proofml.optimistic import evm_keys, evm_ledger
    from proofml.optimistic.evm_rpc import Node
    from proofml.optimistic.evm_send import Sender, Sent, Spending

    node = Node(rpc)
    chain_id = int(node.ask("eth_chainId"), 16)
    paths = [folder / "claimant.key", folder / "challenger.key"]
    names = [evm_keys.name_of(evm_keys.generate(path)) for path in paths]
    for name in names:
        node.ask("anvil_setBalance", name, hex(MONEY))
    quick = Spending(poll=0.05)
    pin: ChainPin = evm_ledger.deploy(rpc, chain_id, paths[0], spending=quick)
    opened = [evm_ledger.open_chain(pin, keys=[path], spending=quick) for path in paths]
    costs: list[tuple[str, int, int]] = []
    act = Sender.act

    def counted(
        self: Sender, sender: str, function: str, *arguments: object, value: int = 0
    ) -> Sent:
        sent = act(self, sender, function, *arguments, value=value)
        data = len(self._chain.artefact.call(function, *arguments))
        costs.append((_named(function, arguments), sent.gas, data))
        return sent

    Sender.act = counted  # type: ignore[method-assign]
    try:
        one, two = (Side_(led, name) for led, name in zip(opened, names, strict=True))
        yield one, two, costs
    finally:
        Sender.act = act  # type: ignore[method-assign]
        for ledger in opened:
            ledger.close()


def _named(function: str, arguments: tuple[object, ...]) -> str:
    if function != "move":
        return function
    data = arguments[1]
    assert isinstance(data, bytes)
    return type(moves.read_move(data)).__name__


# ---------------------------------------------------------------- disputes
def dispute(
    trace: Trace,
    players: tuple[Player, Player],
    sides: tuple[Side_, Side_],
    costs: list[tuple[str, int, int]],
) -> Cost:
    """One claim, and one dispute about it to its end."""
    claimant, challenger = sides
    costs.clear()
    terms = Terms(
        statement=bytes(32),
        program=program_root(trace.program),
        inputs=trace.input_roots,
        outputs=trace.output_roots,
        trace=DEFERRED,
        k_log=K_LOG,
        bond=10**18,
        challenge_bond=10**17,
        burn=1000,
        window=86_400,
        clock=86_400,
        extension=3_600,
        answer=3_600,
    )
    header = header_of(trace.program).to_bytes()
    number = claimant.ledger.post(terms, header, claimant.account)
    begin = time.monotonic()
    opened = challenger.ledger.challenge(number, challenger.account)
    claim: ClaimState = claimant.ledger.claim(number)
    made: list[Move] = []
    while (state := claimant.ledger.dispute(opened)).status is Status.RUNNING:
        mine = state.clock.turn is Side.CLAIMANT
        view = View(claim, state, tuple(made))
        move = players[0 if mine else 1].next_move(view)
        assert move is not None
        side = claimant if mine else challenger
        side.ledger.move(opened, move, side.account)
        made.append(move)
    seconds = time.monotonic() - begin
    shown = next(move for move in made if isinstance(move, moves.RevealOperator))
    operator = read_leaf(shown.leaf).index
    wiring = isinstance(made[-1], moves.ProveWiring)
    return Cost(
        state.status,
        sum(type(move).__name__.startswith("Reveal") for move in made),
        rounds(trace.program, operator, 1 << K_LOG, wiring=wiring),
        sum(len(moves.to_bytes(move)) for move in made),
        seconds,
        type(made[-1]).__name__,
        [(what, gas) for what, gas, _ in costs],
        sum(data for what, _, data in costs if what != "post"),
    )


def measure(made: Subject, ledger: Callable[[Path], Any], folder: Path) -> dict[str, Cost]:
    """All disputes on one kind of ledger; each side runs the model itself beforehand."""
    found = {}
    honest = made.machine.run(made.inputs)
    with ledger(folder) as (claimant, challenger, costs):
        sides = claimant, challenger
        for name, lie in LIES.items():
            trace = lie(made)
            players = Insistent(trace), Challenger(made.machine.run(made.inputs))
            found[name] = dispute(trace, players, sides, costs)
            assert found[name].status is Status.WON_BY_CHALLENGER, name
        wrong = Quarrelsome(made.machine.run(made.inputs), made.middle)
        name = "nothing; the challenger is wrong"
        found[name] = dispute(honest, (Claimant(honest), wrong), sides, costs)
        assert found[name].status is Status.WON_BY_CLAIMANT
    return found


# ---------------------------------------------------------------- tables
def _rows(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def disputes_table(made: Subject, file: dict[str, Cost], chain: dict[str, Cost] | None) -> str:
    head = ["what is false", "won by", "rounds", "formula", "bytes of moves", "seconds, file"]
    if chain is not None:
        head += ["seconds, chain", "calldata", "gas, all", "gas, last move"]
    rows = []
    for name, cost in file.items():
        winner = cost.status.name.removeprefix("WON_BY_").lower()
        row = [name, winner, str(cost.rounds), str(cost.formula)]
        row += [f"{cost.bytes:,}", f"{cost.seconds:.2f}"]
        if chain is not None:
            other = chain[name]
            last = f"{other.calls[-1][1]:,} ({other.last})"
            row += [f"{other.seconds:.2f}", f"{other.data:,}", f"{other.gas:,}", last]
        rows.append(row)
    program = made.machine.program
    about = (
        f"\n{made.name}, int8, {len(program.operators)} operators, {products(made.machine):,} "
        f"multiply-accumulates; k = {1 << K_LOG}.\n"
    )
    return _rows(head, rows) + about


def calls_table(costs: Iterable[Cost]) -> str:
    """The least and the most that each call cost."""
    found: dict[str, list[int]] = {}
    for cost in costs:
        for what, gas in cost.calls:
            found.setdefault(what, []).append(gas)
    rows = [[what, str(len(gas)), f"{min(gas):,}", f"{max(gas):,}"] for what, gas in found.items()]
    return _rows(["call", "times", "least gas", "most gas"], rows)


def check(costs: Mapping[str, Cost]) -> None:
    """That the project's promises hold."""
    for name, cost in costs.items():
        if cost.rounds != cost.formula:
            raise click.ClickException(f"{name}: {cost.rounds} rounds, expected {cost.formula}")
        steps = [gas for what, gas in cost.calls if what == "ProveSummand"]
        if cost.gas >= MOST_GAS or max(steps, default=0) >= MOST_STEP:
            raise click.ClickException(f"{name}: {cost.gas} gas, {steps} for the step")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rpc", help="A development node (anvil); without one only the file is measured.")
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the tables.",
)
@click.option(
    "--model",
    "names",
    type=click.Choice(list(SUBJECTS)),
    multiple=True,
    default=list(SUBJECTS),
    help="Only these, and not the table of calls.",
)
def main(rpc: str | None, docs: Path | None, names: tuple[str, ...]) -> None:
    """Rounds, bytes, seconds and gas of disputes."""
    load = others()
    tables, costs = {}, []
    for name in names:
        with tempfile.TemporaryDirectory() as at:
            folder = Path(at)
            made = subject(folder, name)
            file = measure(made, on_a_file, folder)
            chain = None if rpc is None else measure(made, lambda to: on_a_chain(to, rpc), folder)
        tables[f"disputes {name}"] = disputes_table(made, file, chain)
        check(file if chain is None else chain)
        costs += [] if chain is None else list(chain.values())
    if costs and set(names) == set(SUBJECTS):
        tables["calls"] = calls_table(costs)
    about = (
        f"\nMeasured on {machine()}, {date.today().isoformat()}, {load:.1f} other threads wanting "
        "to run before it.\n"
    )
    for table, text in tables.items():
        click.echo(text + about)
        if docs is not None:
            page = docs / PAGE
            page.write_text(replace_table(page.read_text(), table, text + about))


if __name__ == "__main__":
    main()
