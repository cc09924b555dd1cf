"""Sections 3 and 4: a circuit's values, tables and layout from its JSON."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import Any

from .notation import P, cells, log


def f32(x: float) -> float:
    return float(struct.unpack("<f", struct.pack("<f", x))[0])


def evaluate(recipe: Any, a: int) -> int:
    match recipe["kind"]:
        case "requant":
            scale = struct.unpack("<f", struct.pack("<I", recipe["scale"]))[0]
            # A product of two float32 is exact in float64: one rounding, as in float32.
            scaled = f32(f32(float(a)) * scale)
            return round(min(max(scaled, float(recipe["low"])), float(recipe["high"])))
        case "table":
            return int(recipe["values"][a - recipe["low"]])
        case "steps":
            return int(recipe["values"][sum(t <= a for t in recipe["thresholds"])])
        case "relu":
            return max(a, 0)
    raise AssertionError(recipe)


def starts(recipe: Any, low: int, high: int) -> list[int]:
    found, value = [low], evaluate(recipe, low)
    for a in range(low + 1, high + 1):
        if (new := evaluate(recipe, a)) != value:
            found.append(a)
            value = new
    return found


@dataclass
class Lookup:
    node: int
    table: int
    ids: list[int]
    channel: list[int]
    range_table: int = -1


@dataclass
class Circuit:
    json: Any
    nodes: list[Any] = field(init=False)
    shapes: list[list[int]] = field(default_factory=list)
    bounds: list[tuple[int, int]] = field(default_factory=list)
    tables: list[tuple[int, list[tuple[int, int, int]]]] = field(default_factory=list)
    lookups: list[Lookup] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.graph = self.json["graph"]
        self.nodes = self.graph["nodes"]
        for node in self.nodes:
            self.shapes.append(self._shape(node))
            self.bounds.append(self._range(node))
        self._tables()
        self._layout()

    def _shape(self, node: Any) -> list[int]:
        match node[0]:
            case "input" | "weight" | "reshape":
                return list(node[2])
            case "affine":
                return list(node[1])
            case "step" | "maximum":
                return self.shapes[node[1]]
            case "argmax":
                shape = list(self.shapes[node[1]])
                del shape[node[2]]
                return shape
        raise AssertionError(node)

    def _range(self, node: Any) -> tuple[int, int]:
        match node[0]:
            case "input" | "weight":
                return node[3], node[4]
            case "affine":  # as stated: recomputing it is check 6
                return node[4], node[5]
            case "reshape":
                return self.bounds[node[1]]
            case "step":
                low, high = self.bounds[node[1]]
                recipes = [self.graph["functions"][f] for f in node[2]]
                values = [evaluate(r, a) for r in recipes for a in starts(r, low, high)]
                return min(values), max(values)
            case "maximum":
                (a, b), (c, d) = self.bounds[node[1]], self.bounds[node[2]]
                return max(a, c), max(b, d)
        return 0, self.shapes[node[1]][node[2]] - 1

    def axis_map(self, number: int) -> tuple[int, int, list[tuple[int, int, int]]]:
        value = self.graph["maps"][number]
        if len(value) == 1:
            return value[0], value[0], [(i, i, 1) for i in range(value[0])]
        return value[0], value[1], list(zip(*value[2:], strict=True))

    # 3.5
    def _tables(self) -> None:
        functions = self.graph["functions"]
        needs: dict[int, tuple[int, int, list[list[int]]]] = {}
        for i, node in enumerate(self.nodes):
            if node[0] != "step":
                continue
            low, high = self.bounds[node[1]]
            recipes = [functions[f] for f in node[2]]
            if any(r["kind"] not in ("requant", "steps") for r in recipes):
                continue
            found = [starts(r, low, high) for r in recipes]
            length = (high - low + 1) * len(set(node[2]))
            if length > min(1 << 13, 2 * sum(map(len, found)) + 2 * cells(self.shapes[i])):
                needs[i] = low, high, found

        def lengths(low: int, high: int, found: list[list[int]]) -> tuple[list[int], list[int]]:
            del low
            middle, outer = [], []
            for s in found:
                sizes = [b - a for a, b in zip(s, [*s[1:], high + 1], strict=True)]
                middle += sizes[1:-1]
                outer += [sizes[0], sizes[-1]] if len(sizes) > 1 else sizes
            return middle, outer

        sizes = {i: lengths(*need) for i, need in needs.items()}
        widest = {i: min([*middle, 1 << 16]).bit_length() - 1 for i, (middle, _) in sizes.items()}
        best: tuple[int, int, int] | None = None
        for cap in range(2, 17):
            for tail in range(2, 17):
                bodies = {min(w, cap) for w in widest.values()}
                cost = sum((1 << b) + (1 << tail) for b in bodies)
                for i, (middle, outer) in sizes.items():
                    w = min(widest[i], cap)
                    cost += sum(-(-n >> w) for n in middle) + sum(-(-n >> tail) for n in outer)
                if best is None or cost < best[0]:
                    best = cost, cap, tail
        assert best is not None
        _, cap, tail = best
        next_id = 1
        ranges: dict[int, tuple[int, int]] = {}
        for w in sorted({min(x, cap) for x in widest.values()}):
            members = [needs[i] for i in needs if min(widest[i], cap) == w]
            largest = max(max(abs(low), abs(high)) for low, high, _ in members)
            assert 4 * largest + (1 << w) + (1 << tail) + 1 < P
            delta = 2 * largest + (1 << w) + 1
            rows = [(next_id, d, 0) for d in range(1 << w)]
            rows += [(next_id, delta + d, 0) for d in range(1 << tail)]
            ranges[w] = len(self.tables), delta
            self.tables.append((next_id, rows))
            next_id += 1
        shared: dict[str, int] = {}
        for i, node in enumerate(self.nodes):
            numbers_: list[int] = []
            channel: list[int] = []
            kind = node[0]
            if kind == "step":
                numbers_, channel = node[2], node[3]
                low, high = self.bounds[node[1]]
            elif kind == "maximum":
                (a, b), (c, d) = self.bounds[node[1]], self.bounds[node[2]]
                low, high = a - d, b - c
            elif kind == "argmax":
                low, high = 0, self.bounds[node[1]][1] - self.bounds[node[1]][0]
            elif kind == "input" and not self.json["visibility"]["inputs"]:
                low, high = node[3], node[4]
            else:
                continue
            recipes = [functions[f] for f in numbers_]
            if kind == "maximum":
                recipes = [{"kind": "relu"}]
            different: list[Any] = []
            for recipe in recipes:
                if recipe not in different:
                    different.append(recipe)
            windowed = i in needs
            w = min(widest[i], cap) if windowed else -1
            key = json.dumps([recipes if windowed else different, low, high, w])
            if key not in shared:
                rows = []
                if not windowed:
                    for k, r in enumerate(different or [None]):
                        for a in range(low, high + 1):
                            rows.append((next_id + k, evaluate(r, a) if r else 0, a))
                else:
                    for k, r in enumerate(different):
                        rows += self._windows(r, next_id + k, low, high, w, tail, ranges[w][1])
                shared[key] = len(self.tables)
                self.tables.append((next_id, rows))
                next_id += max(1, len(different))
            table = shared[key]
            first = self.tables[table][0]
            ids = [first + different.index(r) for r in recipes] or [first]
            self.lookups.append(Lookup(i, table, ids, channel, ranges[w][0] if windowed else -1))

    @staticmethod
    def _windows(
        recipe: Any, number: int, low: int, high: int, w: int, tail: int, delta: int
    ) -> list[tuple[int, int, int]]:
        s = starts(recipe, low, high)
        rows = []
        for index, (start, end) in enumerate(zip(s, [*(x - 1 for x in s[1:]), high], strict=True)):
            last, outer_first = index == len(s) - 1, index == 0
            width = tail if last or outer_first else w
            for n in range(-(-(end - start + 1) >> width)):
                if last:
                    origin = start + (n << tail) - delta
                elif outer_first:
                    origin = end - ((n + 1) << tail) + 1 - delta
                else:
                    origin = min(start + (n << w), end - (1 << w) + 1)
                rows.append((number, evaluate(recipe, start), origin))
        return rows

    # 4
    def _layout(self) -> None:
        seen = self.json["visibility"]
        outputs = [port[2] for port in self.graph["outputs"]]
        read = set()
        for node in self.nodes:
            match node[0]:
                case "affine":
                    read |= {term[1] for term in node[2]}
                    read |= {value for c in node[3] for value in c[:2]}
                case "reshape" | "step" | "argmax":
                    read.add(node[1])
                case "maximum":
                    read |= {node[1], node[2]}
        self.public: set[int] = set()
        self.column: dict[int, str] = {}
        trees: dict[str, list[tuple[str, list[int]]]] = {"X": [], "W": [], "P": []}
        for i, node in enumerate(self.nodes):
            kind = node[0]
            if (
                (kind == "input" and seen["inputs"])
                or kind == "argmax"
                or (kind == "step" and i in outputs and i not in read and seen["outputs"])
            ):
                self.public.add(i)
                continue
            if kind in ("affine", "reshape"):
                continue
            tree = {"input": "P", "weight": "W"}.get(kind, "X")
            if kind == "step" and i in outputs and not seen["outputs"]:
                tree = "P"
            self.column[i] = tree
            trees[tree].append((f"y{i}", self.shapes[i]))
        for lookup in self.lookups:
            if lookup.range_table >= 0:
                trees["X"].append((f"d{lookup.node}", self.shapes[lookup.node]))
        for k, (_, rows) in enumerate(self.tables):
            trees["X"].append((f"m{k}", [len(rows)]))
        if trees["P"]:
            trees["P"].append(("salt", [8]))
        self.trees = {t: stack(blocks) for t, blocks in trees.items() if blocks or t == "X"}
        leaves = [(f"s{i}", self.argument_shape(x)) for i, x in enumerate(self.lookups)]
        leaves += [
            (f"r{i}", self.argument_shape(x))
            for i, x in enumerate(self.lookups)
            if x.range_table >= 0
        ]
        leaves += [(f"t{k}", [len(rows)]) for k, (_, rows) in enumerate(self.tables)]
        self.leaves = stack(leaves, 1)
        assert self.leaves[1] <= 27
        self.bound = [
            i
            for i, value in enumerate(outputs)
            if seen["outputs"] and (value not in self.public or self.nodes[value][0] == "input")
        ]

    def argument_shape(self, lookup: Lookup) -> list[int]:
        node = self.nodes[lookup.node]
        return self.shapes[node[1]] if node[0] == "argmax" else self.shapes[lookup.node]


Stack = tuple[dict[str, tuple[int, int, list[int]]], int]  # name -> offset, size, shape; log


def stack(blocks: list[tuple[str, list[int]]], least: int = 0) -> Stack:
    placed, end = {}, 0
    for name, shape in sorted(blocks, key=lambda block: -sum(map(log, block[1]))):
        size = sum(map(log, shape))
        placed[name] = (end, size, shape)
        end += 1 << size
    return placed, max(least, log(end) if end else 1)
