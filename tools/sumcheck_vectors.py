"""Write tests/vectors/sumcheck/*.json: what another implementation of the native prover can test.

Every file names this program as its generator. Running it again writes the same bytes, which a
test checks: a change of any byte is a change of the protocol. docs/sumcheck/vectors.md says what
each file holds.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.ext5 import Element
from proofml.circuits.functions import Function, Pair, Relu, Requant, Steps, Table, bits_of
from proofml.circuits.graph import Codec, Graph, Input, Port, Step
from proofml.circuits.tables import plan
from proofml.zkml.sumcheck import merkle
from proofml.zkml.sumcheck.transcript import Transcript, grind

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "vectors" / "sumcheck"

Json = dict[str, Any]


def _sibling(name: str) -> ModuleType:
    """Another file of this folder, which is not a package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _elements(rng: np.random.Generator, count: int) -> list[Element]:
    return [ext5.element(row) for row in rng.integers(0, babybear.P, (count, 5))]


def field() -> Json:
    """Products, roots of unity, and sums that touch every carry."""
    rng = np.random.default_rng(1)
    p = babybear.P
    base = [0, 1, 2, p - 1, p - 2, 1 << 27, *rng.integers(0, p, 4).tolist()]
    edge: list[Element] = [
        (0, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 1, 0, 0, 0),
        (0, 0, 0, 0, 1),
        (p - 1, p - 1, p - 1, p - 1, p - 1),
    ]
    some = edge + _elements(rng, 4)
    return {
        "_comment": "The field F_p and F = F_p[x]/(x^5 - 2); elements c0 to c4, canonical.",
        "source": "docs/sumcheck/protocol.md, section 1",
        "p": p,
        "generator": babybear.GENERATOR,
        "roots_of_unity": [
            {"log_order": n, "omega": babybear.root_of_unity(n)}
            for n in range(babybear.TWO_ADICITY + 1)
        ],
        "signed": [{"integer": v, "element": v % p} for v in (-1, -128, 127, -p // 2, p // 2)],
        "base_products": [{"a": a, "b": b, "product": a * b % p} for a in base for b in base],
        "products": [{"a": a, "b": b, "product": ext5.mul(a, b)} for a in some for b in some],
        "bytes": [{"element": a, "hex": np.array(a, "<u4").tobytes().hex()} for a in some[3:7]],
    }


def multilinear() -> Json:
    """eq tables and the sums over a range."""
    rng = np.random.default_rng(2)
    tables, prefixes = [], []
    for size in range(4):
        z = _elements(rng, size)
        tables.append({"z": z, "eq": ext5.eq_table(z).tolist()})
    for size in range(1, 4):
        factors = list(zip(_elements(rng, size), _elements(rng, size), strict=True))
        prefixes += [
            {"count": count, "factors": factors, "sum": ext5.prefix(count, factors)}
            for count in range(1, (1 << size) + 1)
        ]
    return {
        "_comment": "eq(z, i), variable t for bit t of i; sums over i < count of the products of"
        " factors[t][bit t of i].",
        "source": "docs/sumcheck/protocol.md, section 1",
        "eq": tables,
        "prefix": prefixes,
    }


def encoding() -> Json:
    """Transforms and code words."""
    rng = np.random.default_rng(3)
    ntts, codes = [], []
    for n in range(4):
        values = rng.integers(0, babybear.P, 1 << n).astype(np.uint64)
        ntts.append({"values": values.tolist(), "transform": babybear.ntt(values).tolist()})
    for cells, columns, rate in ((2, 0, 1), (3, 1, 2), (4, 2, 3), (3, 3, 3)):
        values = rng.integers(0, babybear.P, 1 << cells).astype(np.uint64)
        codes.append(_code(values, columns, rate))
    values = rng.integers(0, babybear.P, (4, 5)).astype(np.uint64)
    codes.append(_code(values, 1, 1))
    return {
        "_comment": "transform[x] = sum_i values[i] omega^(i x). Row a of a code word holds column"
        " j at omega^a, for each j; column j has the coefficients values[i 2^columns_log + j].",
        "source": "docs/sumcheck/protocol.md, section 4",
        "transforms": ntts,
        "codes": codes,
    }


def _code(values: Any, columns: int, rate: int) -> Json:
    rows = babybear.encode(values, columns, rate)
    return {
        "values": values.tolist(),
        "columns_log": columns,
        "rate_log": rate,
        "rows": rows.tolist(),
    }


def transcript() -> Json:
    """One run of every operation, with the state after each."""
    start = bytes(range(32))
    one = Transcript(start)
    steps: list[Json] = []

    def note(kind: str, tag: str, **what: Any) -> None:
        steps.append({"do": kind, "tag": tag, **what, "state": one.state.hex()})

    for tag, data in (("X root", b"\xaa" * 32), ("empty", b""), ("long", bytes(range(200)))):
        one.absorb(tag, data)
        note("absorb", tag, data=data.hex())
    for tag in ("alpha", "alpha", "beta"):
        note("challenge", tag, element=one.challenge(tag))
    seed = one.seed("grind")
    nonce = grind(seed, 10)
    note("seed", "grind", seed=seed.hex(), bits=10, smallest_nonce=nonce)
    one.absorb("nonce", nonce.to_bytes(8, "little"))
    note("absorb", "nonce", data=nonce.to_bytes(8, "little").hex())
    note("indices", "queries", count=12, log_n=5, indices=one.indices("queries", 12, 5))
    return {
        "_comment": "Operations of one transcript, in order; `state` is what it is afterwards.",
        "source": "docs/sumcheck/protocol.md, section 2",
        "statement_hash": start.hex(),
        "state": Transcript(start).state.hex(),
        "steps": steps,
    }


def trees() -> Json:
    """Roots and multiproofs."""
    rng = np.random.default_rng(4)
    found = []
    for tag, log_n, size in (("X", 0, 4), ("W", 1, 8), ("F0", 3, 20), ("P", 4, 16)):
        rows = [rng.bytes(size) for _ in range(1 << log_n)]
        nodes = merkle.build(tag, rows)
        picks = [[0], [len(rows) - 1], list(range(len(rows)))]
        picks += [sorted(set(rng.integers(0, len(rows), 3).tolist())) for _ in range(2)]
        found.append(
            {
                "tag": tag,
                "rows": [row.hex() for row in rows],
                "root": merkle.root(nodes).hex(),
                "openings": [
                    {"positions": pick, "path": merkle.open_multi(nodes, pick).hex()}
                    for pick in picks
                ],
            }
        )
    return {
        "_comment": "Merkle trees over rows; `path` is what a verifier of the positions lacks.",
        "source": "docs/sumcheck/protocol.md, section 2",
        "trees": found,
    }


_ONE, _TWO, _SUM = ((bits_of(scale), zero) for scale, zero in ((0.02, 3), (0.013, -7), (0.05, 1)))
_PAIR = Pair("add", "full", -128, _ONE, _TWO, _SUM, -129, 126)
_FLOAT = Pair("mul", "float", -128, _ONE, _TWO, _SUM, -129, 126)

RECIPES: tuple[tuple[str, Function, int, int], ...] = (
    ("requant of an accumulator", Requant(bits_of(1 / 81.0), -128, 127), -40000, 30000),
    ("requant with ReLU", Requant(bits_of(0.0123), 0, 127), -200000, 250000),
    ("requant, ties to even", Requant(bits_of(0.5), -8, 8), -20, 20),
    ("requant beyond 2^24", Requant(bits_of(2.0**-18), -64, 63), -33554433, 33554435),
    ("table", Table(-3, (5, 5, -1, 0, 7, 7, 7)), -3, 3),
    ("steps", Steps((-10, 0, 3), (4, -4, 9, 1)), -50, 60),
    ("relu", Relu(), -4, 5),
    ("pair, a sum", _PAIR, 25600, 25900),
    ("pair, a product in floats", _FLOAT, 60000, 60300),
)


def recipes() -> Json:
    """Where functions change, and their values there."""
    return {
        "_comment": "`starts`: smallest arguments of the maximal intervals of constant value in"
        " [low, high]; `values`: of these intervals.",
        "source": "docs/sumcheck/protocol.md, section 3.3",
        "recipes": [
            {
                "name": name,
                "recipe": function.to_json(),
                "low": low,
                "high": high,
                "starts": (starts := function.starts(low, high)).tolist(),
                "values": function.evaluate(starts).tolist(),
            }
            for name, function, low, high in RECIPES
        ],
    }


def _one_step(functions: tuple[Function, ...], channel: tuple[int, ...], ends: Any) -> Graph:
    low, high = ends
    shape = (len(functions), 2)
    codes = Codec("codes", "int32", 0, 0, low, high)
    out = Codec("codes", "int32", 0, 0, -(1 << 17), 1 << 17)
    nodes = (Input("x", shape, low, high), Step(0, shape, functions, channel))
    return Graph(nodes, (Port("x", shape, 0, codes),), (Port("y", shape, 1, out),), {})


def tables() -> Json:
    """Plans of one step each: ids, widths, rows."""
    requants = tuple(Requant(bits_of(s), -8, 7) for s in (0.001, 0.002, 0.001))
    cases: tuple[tuple[str, tuple[Function, ...], tuple[int, ...], tuple[int, int]], ...] = (
        ("direct", (Table(-2, (1, 0, 3, 0)),), (), (-2, 1)),
        ("direct, by channel", (Relu(), Table(-2, (1, 0, 3, 0)), Relu()), (0,), (-2, 1)),
        ("windowed", (requants[0],), (), (-60000, 50000)),
        ("windowed, by channel", requants, (0,), (-60000, 50000)),
        ("windowed, two intervals", (Steps((5,), (-1, 1)),), (), (-9000, 700)),
    )
    found = []
    for name, functions, channel, ends in cases:
        result = plan(_one_step(functions, channel, ends))
        (lookup,) = result.lookups
        found.append(
            {
                "name": name,
                "functions": [function.to_json() for function in functions],
                "channel": channel,
                "low": ends[0],
                "high": ends[1],
                "windows": [
                    {"body": w.body, "tail": w.tail, "delta": w.delta, "table": w.table}
                    for w in result.windows
                ],
                "lookup": {"table": lookup.table, "ids": lookup.ids.tolist()},
                "tables": [
                    {
                        "first_id": table.first_id,
                        "ids": table.ids,
                        "rows": table.rows,
                        "id": table.id_of.tolist(),
                        "c1": table.c1.tolist(),
                        "c2": table.c2.tolist(),
                    }
                    for table in result.tables
                ],
            }
        )
    return {
        "_comment": "Tables of graphs of one step over an input of shape [functions, 2].",
        "source": "docs/sumcheck/protocol.md, section 3.5",
        "plans": found,
    }


def _text(value: Json) -> str:
    """One key a line, and one item a line in lists of objects."""
    lines = []
    for key, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            inner = ",\n".join(f"  {json.dumps(part)}" for part in item)
            lines.append(f"{json.dumps(key)}: [\n{inner}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(item)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def _named(make: Callable[[], Json]) -> Json:
    value = make()
    head = {key: value.pop(key) for key in ("_comment", "source")}
    return {**head, "generator": "tools/sumcheck_vectors.py", **value}


def files() -> dict[str, str]:
    """Name -> text of every vector file."""
    proofs = _sibling("sumcheck_proofs")
    makers: dict[str, Callable[[], Json]] = {
        "field": field,
        "multilinear": multilinear,
        "encoding": encoding,
        "transcript": transcript,
        "merkle": trees,
        "recipes": recipes,
        "tables": tables,
    }
    for name, family in proofs.FAMILIES.items():
        makers[f"proof-{name}"] = partial(proofs.vector, name, family)
    return {f"{name}.json": _text(_named(make)) for name, make in makers.items()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in files().items():
        (FOLDER / name).write_text(text, "utf-8")
        print(f"{name}: {len(text)} bytes")


if __name__ == "__main__":
    main()
