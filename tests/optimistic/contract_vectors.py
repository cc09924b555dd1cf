"""Write optimistic/contracts/test/vectors/*.json, what the contract's tests read.

    python -m tests.optimistic.contract_vectors            the files that are kept
    python -m tests.optimistic.contract_vectors --large    10^6 requantisations and many games, too
                                                           large to keep

Running it again writes the same bytes, which a test checks.
"""

from __future__ import annotations

import json
import random
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from proofml.optimistic import arbiter, merkle, moves, softfloat
from proofml.optimistic.claim import DEFERRED
from proofml.optimistic.commit import read_leaf
from proofml.optimistic.encoding import BadDescriptor, read_operator
from proofml.optimistic.game import Status
from proofml.optimistic.program import Fold, Operator, Rule
from proofml.optimistic.wire import WireError

from . import requant_cases
from .claims import LIES, Run, false_run, honest
from .contract_games import ERRORS, Game, Player, hexed, record
from .contract_model import cnn
from .players import Challenger, Claimant, Griefer, Liar, rule_opening, summand_openings
from .tiny import ZOO, Tensor, tiny

FOLDER = Path(__file__).parents[2] / "optimistic" / "contracts" / "test" / "vectors"
BLOCK = 10_000

Json = dict[str, Any]
#: How often each error of the contract was kept.
Seen = Counter[int] | None


def headed(comment: str, content: Json) -> bytes:
    made = {"_comment": comment, "generator": "tests/optimistic/contract_vectors.py", **content}
    return (json.dumps(made, indent=1, ensure_ascii=True) + "\n").encode()


# ---------------------------------------------------------------- float32
def requantisations(count: int, seed: int) -> list[str]:
    """Blocks of i64 state, u32 scale, i32 low, i32 high, i32 value."""
    with np.errstate(over="ignore"):
        cases = requant_cases.cases(count, seed)
        expected = cases.expected()
    dtype = np.dtype([("s", ">i8"), ("f", ">u4"), ("l", ">i4"), ("h", ">i4"), ("v", ">i4")])
    rows = np.empty(count, dtype)
    rows["s"], rows["f"] = cases.state, cases.scale
    rows["l"], rows["h"], rows["v"] = cases.low, cases.high, expected
    return [hexed(rows[i : i + BLOCK].tobytes()) for i in range(0, count, BLOCK)]


def float32() -> Json:
    rng = random.Random("float32")
    integers = [0, 1, -1, 2**63 - 1, -(2**63), *(2**24 + i for i in range(-3, 4))]
    integers += [rng.randint(-(2**63), 2**63 - 1) >> rng.randrange(63) for _ in range(500)]
    from_int = [struct.pack(">qI", n, _from_int(n)) for n in integers]
    pairs = [(_bits(rng), _bits(rng)) for _ in range(1500)]
    products = [struct.pack(">III", a, b, _product(a, b)) for a, b in pairs]
    floats = [bits for bits in (_bits(rng) for _ in range(400)) if bits & 0x7F800000 < 0x7F800000]
    values = [int(np.rint(np.uint32(bits).view(np.float32))) for bits in floats]
    assert all(softfloat.to_int(b) == v for b, v in zip(floats, values, strict=True))
    return {
        "requantise": requantisations(4000, 2),
        "from_int": hexed(b"".join(from_int)),
        "multiply": hexed(b"".join(products)),
        "to_int": hexed(b"".join(struct.pack(">I", bits) for bits in floats)),
        "to_int_values": [hexed(v.to_bytes(32, "big", signed=True)) for v in values],
    }


def _bits(rng: random.Random) -> int:
    """A finite float; every third one is small or subnormal, or next to a power of two."""
    kind = rng.randrange(3)
    if kind == 0:
        return rng.getrandbits(25) % 0x01000000 | rng.getrandbits(1) << 31
    if kind == 1:
        exponent = rng.randrange(1, 255)
        return exponent << 23 | rng.choice([0, 1, 0x400000, 0x7FFFFF]) | rng.getrandbits(1) << 31
    return min(rng.getrandbits(31), 0x7F7FFFFF) | rng.getrandbits(1) << 31


def _from_int(value: int) -> int:
    return int(np.array([value], np.int64).astype(np.float32).view(np.uint32)[0])


def _product(a: int, b: int) -> int:
    with np.errstate(all="ignore"):
        found = np.uint32(a).view(np.float32) * np.uint32(b).view(np.float32)
    return int(found.view(np.uint32))


# ---------------------------------------------------------------- trees
def trees() -> Json:
    """Roots over byte strings of many lengths, with a path to one leaf of each."""
    rng = random.Random("trees")
    cases = []
    for size in (1, 2, 1023, 1024, 1025, 2048, 2049, 3000, 4096, 5000, 7168, 9000):
        data = rng.randbytes(size)
        tree = merkle.tree_of_chunks(data, 1024)
        leaf = rng.randrange(tree.count)
        cases.append(
            {
                "data": hexed(data),
                "root": hexed(tree.root),
                "count": tree.count,
                "leaf": leaf,
                "path": hexed(b"".join(tree.path(leaf))),
            }
        )
    return {"cases": cases}


# ---------------------------------------------------------------- descriptors
def descriptors(count: int) -> Json:
    """Descriptors, and changed ones, each with whether Python reads it as operator 9's."""
    rng = random.Random("descriptors")
    known = sorted({data for name in ZOO for data in tiny(name).bytes_of} | set(cnn().bytes_of))
    known = sorted(known, key=len)[:14]
    cases, accepted = [], []
    for data in known:
        cases.append(data)
    while len(cases) < count:
        data = rng.choice(known)
        for _ in range(rng.choice([1, 1, 2])):
            data = _changed(rng, data)
        cases.append(data)
    for data in cases:
        try:
            read_operator(data, 9)
        except (BadDescriptor, WireError):
            accepted.append(0)
        else:
            accepted.append(1)
    assert 14 < sum(accepted) < count - 14
    return {"descriptors": [hexed(data) for data in cases], "accepted": accepted}


def _changed(rng: random.Random, data: bytes) -> bytes:
    kind = rng.randrange(6)
    at = rng.randrange(len(data))
    if kind == 0:
        return data[:-1]
    if kind == 1:
        return data + b"\0"
    # Roots make up most of the bytes; small numbers are what rules are about.
    small = [i for i, byte in enumerate(data) if byte < 8]
    at = rng.choice(small) if kind < 5 else at
    return (
        data[:at] + bytes([rng.choice([data[at] ^ 1, data[at] + 1 & 0xFF, 255])]) + data[at + 1 :]
    )


# ---------------------------------------------------------------- the arbiter
def steps(count: int) -> Json:
    """Steps of folds and applications of rules, right ones and some with changed openings."""
    rng = random.Random("steps")
    runs = [honest(name) for name in ZOO]
    return {
        "steps": [_step(rng, rng.choice(runs)) for _ in range(count)],
        "rules": [_rule(rng, rng.choice(runs)) for _ in range(count)],
    }


def _step(rng: random.Random, run: Run) -> Json:
    number = rng.randrange(len(run.tensors))
    operator = run.tiny.program.operators[number]
    cell, summand = rng.randrange(operator.cells.count), rng.randrange(operator.summands)
    state = run.tiny.states(operator, run.given, run.values, cell)[summand]
    if operator.fold is Fold.SUM and rng.randrange(3) == 0:
        state = rng.choice([-(2**63), 2**63 - 1, rng.getrandbits(40)])
    openings = summand_openings(run, operator, cell, summand, state)
    roots = read_leaf(run.leaves[number]).inputs
    result: int | None = arbiter.fold_step(operator, roots, cell, summand, state, openings)
    move = moves.to_bytes(moves.ProveSummand(openings))
    if openings and rng.randrange(3) == 0:
        at = rng.randrange(1, len(move))
        move = move[:at] + bytes([move[at] ^ 1 << rng.randrange(8)]) + move[at + 1 :]
        try:
            read = moves.read_move(move)
            assert isinstance(read, moves.ProveSummand)
            result = arbiter.fold_step(operator, roots, cell, summand, state, read.openings)
        except (WireError, arbiter.BadOpening):
            result = None
    return {
        "descriptor": hexed(run.tiny.bytes_of[number]),
        "leaf": hexed(run.leaves[number]),
        "cell": cell,
        "summand": summand,
        "state": _word(state),
        "move": hexed(move),
        "legal": int(result is not None),
        "result": _word(result or 0),
    }


def _rule(rng: random.Random, run: Run) -> Json:
    number = rng.randrange(len(run.tensors))
    operator = run.tiny.program.operators[number]
    cell = rng.randrange(operator.cells.count)
    state = run.tiny.states(operator, run.given, run.values, cell)[-1]
    state += rng.choice([0, 0, 1, -1, 1000, -(2**40), 2**33, -5])
    if operator.output.rule is Rule.INTERVALS:
        state = min(max(state, -(2**31)), 2**31 - 1)
    opening = rule_opening(run, operator, cell, state)
    try:
        result: int | None = arbiter.apply_rule(operator, cell, state, opening)
    except arbiter.BadOpening:
        result = None
    return {
        "descriptor": hexed(run.tiny.bytes_of[number]),
        "cell": cell,
        "state": _word(state),
        "move": hexed(moves.to_bytes(moves.RevealSums((state,), opening))),
        "legal": int(result is not None),
        "result": _word(result or 0),
    }


def _word(value: int) -> str:
    return hexed((value % (1 << 256)).to_bytes(32, "big"))


# ---------------------------------------------------------------- games
def false_game(
    name: str, lie: str, seed: int, changes: int = 4, seen: Seen = None, **terms: Any
) -> Game:
    """An honest challenger against a lie."""
    run = false_run(name, lie, seed)
    style = ("early", "middle", "late", "random")[seed % 4]
    liar = Liar(run, random.Random(f"liar {seed}"), style)
    players = liar, Challenger(honest(name))
    title = f"{name} {lie} {seed}"
    return _recorded(title, run, players, changes, seen, terms)


def grief_game(name: str, seed: int, changes: int = 4, seen: Seen = None, **terms: Any) -> Game:
    """An honest claimant against moves at random."""
    run = honest(name)
    players = Claimant(run), Griefer(run, random.Random(f"griefer {seed}"))
    return _recorded(f"{name} honest {seed}", run, players, changes, seen, terms)


def _recorded(
    title: str,
    run: Run,
    players: tuple[Player, Player],
    changes: int,
    seen: Seen,
    terms: dict[str, Any],
) -> Game:
    made = run.terms(**terms)
    title += " deferred" if made.deferred else ""
    return record(title, made, run.header, players, changes, seen)


#: What is kept: every kind of lie, fold and rule, and both ways to win.
KEPT = (
    ("one", "cell", 0),
    ("network", "cell", 0),
    ("network", "cell_alone", 1),
    ("network", "cell_alone", 3),
    ("network", "cell_alone", 17),
    ("network", "beyond", 0),
    ("network", "wiring", 0),
    ("network", "constant", 0),
    ("network", "constant", 1),
    ("network", "constant", 2),
    ("network", "wiring", 3),
    ("network", "short", 1),
    ("network", "no_tensor", 0),
    ("network", "leaf_garbage", 0),
    ("network", "leaf_index", 0),
    ("network", "leaf_length", 0),
    ("wide", "constant", 0),
    ("wide", "cell", 2),
    ("wide", "several", 1),
    ("deep", "output", 0),
    ("deep", "cell", 5),
    ("deep", "trace_garbage", 0),
)


#: And without a trace in the claim.
DEFERRING = (
    ("one", "cell", 1),
    ("one", "output", 0),
    ("network", "cell", 0),
    ("network", "wiring", 0),
    ("network", "leaf_garbage", 0),
    ("wide", "several", 2),
    ("deep", "output", 1),
)


def games() -> Iterator[Game]:
    seen: Counter[int] = Counter()
    for name, lie, seed in KEPT:
        yield false_game(name, lie, seed, 6, seen, k_log=1 + seed % 4)
    for name in ZOO:
        yield grief_game(name, 1, 6, seen, k_log=3)
    for name, lie, seed in DEFERRING:
        yield false_game(name, lie, seed, 6, seen, k_log=1 + seed % 4, trace=DEFERRED)
    for name in ("one", "network"):
        yield grief_game(name, 2, 6, seen, k_log=3, trace=DEFERRED)


#: Errors of moves; a game or two must show each of them.
SHOWN = (
    *("NotYourTurn", "WrongPhase", "Children", "NoChild", "Leaf", "Descriptor", "Operands"),
    *("InputRoot", "WeightRoot", "OutputRoot", "NoWire", "Wiring", "Chunk", "NoCell", "States"),
    *("Rule", "Opening", "Context", "*"),
)


def many_games(count: int) -> Iterator[Game]:
    """So many of them, most of them lies, without changed moves."""
    rng = random.Random("many games")
    for seed in range(count):
        name, k_log = rng.choice(list(ZOO)), rng.randint(1, 6)
        terms: dict[str, Any] = {"k_log": k_log, **({"trace": DEFERRED} if seed % 8 > 3 else {})}
        if seed % 4:
            yield false_game(name, rng.choice(list(LIES)), seed, 1, **terms)
        else:
            yield grief_game(name, seed, 1, **terms)


def game_file(found: Iterator[Game]) -> Json:
    return {"errors": list(ERRORS), "games": [json.dumps(made.to_json()) for made in found]}


# ---------------------------------------------------------------- data
def data() -> Json:
    """A chunk of an input as a claimant answers it, and an input with a cell beyond its range."""
    wide = honest("wide").inputs[0]
    run = honest("network")
    cells = run.inputs[0].cells
    raw = bytearray(run.inputs[0].data)
    cell = 40
    raw[cell] = cells.high - cells.low + 1
    inputs = {0: Tensor.raw(cells, bytes(raw))}
    beyond = Run.of(run.tiny, run.given, run.values, inputs=inputs)
    return {
        "chunk": hexed(wide.chunk(1)),
        "path": hexed(b"".join(wide.tree.path(1))),
        "beyond_terms": hexed(beyond.terms().to_bytes()),
        "beyond_chunk": hexed(bytes(raw)),
        "beyond_cell": cell,
    }


# ---------------------------------------------------------------- gas
class Inverting(Liar):
    """A liar who finds the state that a requantisation turns into his cell."""

    def _end(self, operator: Operator, cell: int, value: int, true: int) -> int:
        if operator.output.rule is not Rule.REQUANT:
            return super()._end(operator, cell, value, true)
        below, above = -(1 << 30), 1 << 30
        while above - below > 1:
            middle = (below + above) // 2
            if self.run.tiny.rule(operator, cell, middle) < value:
                below = middle
            else:
                above = middle
        return above


@cache
def cnn_run() -> Run:
    rng = np.random.default_rng(3)
    model = cnn()
    given = [
        [int(v) for v in rng.integers(port.cells.low, port.cells.high + 1, port.cells.count)]
        for port in model.program.inputs
    ]
    return Run.of(model, given, model.run(given))


def gas() -> Json:
    """One dispute for each operator of the CNN, k = 16, won by the challenger at the last step."""
    run = cnn_run()
    found = []
    for number, operator in enumerate(run.tiny.program.operators):
        values = [list(each) for each in run.values]
        cell = operator.cells.count * 2 // 3
        values[number][cell] += 1 if values[number][cell] < operator.cells.high else -1
        lie = Run.of(run.tiny, run.given, values)
        players = Inverting(lie, random.Random(number), "late"), Challenger(run)
        found.append(record(f"operator {number}", lie.terms(k_log=4), lie.header, players, 0))
        assert found[-1].status is Status.WON_BY_CHALLENGER
        assert found[-1].silent < 0
    return game_file(iter(found))


# ---------------------------------------------------------------- files
def files() -> Iterator[tuple[str, bytes]]:
    yield "float32", headed("float32 arithmetic, big-endian fields end to end", float32())
    yield "trees", headed("Merkle trees over chunks of 1024 bytes", trees())
    yield "descriptors", headed("descriptors and whether a reader accepts them", descriptors(400))
    yield "steps", headed("steps of folds, and rules, by openings", steps(60))
    kept = list(games())
    seen = {ERRORS[number] for made in kept for number in made.illegal[5::6]}
    assert seen == set(SHOWN), set(SHOWN) ^ seen
    yield "games", headed("disputes, and changed moves with their errors", game_file(iter(kept)))
    yield "data", headed("chunks of inputs", data())
    yield "gas", headed("disputes of an int8 CNN with over 10^5 products", gas())


def large() -> Iterator[tuple[str, Iterator[Json]]]:
    """Files of one JSON document a line, so that a reader holds one at a time."""
    blocks = requantisations(1_000_000, 1)
    yield "float32", ({"requantise": [block]} for block in blocks)
    yield "games", (made.to_json() for made in many_games(400))


def main(arguments: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, data in files():
        (FOLDER / f"{name}.json").write_bytes(data)
        print(f"{name}.json: {len(data)} bytes")
    for name, lines in large() if "--large" in arguments else ():
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (FOLDER / f"{name}.jsonl").write_text(text, "ascii")
        print(f"{name}.jsonl: {len(text)} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
