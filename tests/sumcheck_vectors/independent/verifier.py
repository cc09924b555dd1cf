"""Sections 5 to 8: the verifier; and the changes that a vector file lists."""

from __future__ import annotations

from itertools import product as cartesian
from typing import Any

from .circuit import Circuit, Lookup
from .hashing import Reader, Refused, Transcript, demand, elements, merkle_root, numbers, sha
from .notation import (
    ONE,
    ZERO,
    Element,
    P,
    Weight,
    add,
    at_point,
    eq,
    eq_points,
    eq_table,
    flat,
    inner,
    log,
    mul,
    neg,
    pull_all,
    reshaped,
    split,
    summed,
    times,
    total,
)

__all__ = ["Circuit", "Refused", "Verifier", "changed"]


class Verifier:
    def __init__(self, file: Any, circuit: Circuit | None = None) -> None:
        self.circuit = circuit or Circuit(file["circuit"])
        self.public = {item["value"]: item["codes"] for item in file["public"]}
        self.transcript = Transcript(bytes.fromhex(file["statement_digest"]))
        self.reader = Reader(self.transcript, bytes.fromhex(file["proof"]))
        self.roots = {"W": file["circuit"]["model_root"], "P": file["ports_root"]}
        self.claims: list[tuple[str, str, Weight, Element]] = []
        self.contractions: list[tuple[Any, Weight, Element]] = []

    def run(self) -> None:
        demand(19, ("P" in self.circuit.trees) == (self.roots["P"] is not None))
        self.roots["X"] = self.reader.absorb("X root", 32).hex()
        self.lookups(self.transcript.challenge("alpha"), self.transcript.challenge("beta"))
        self.outputs()
        self.products()
        self.opening()
        demand(23, self.reader.at == len(self.reader.data))

    # 5
    def tree_of_fractions(self) -> tuple[list[Element], Element, Element]:
        def line(r: Element, values: list[Element]) -> tuple[Element, Element]:
            p0, p1, q0, q1 = values
            return add(p0, mul(r, add(p1, neg(p0)))), add(q0, mul(r, add(q1, neg(q0))))

        values = self.reader.elements("logup root", 4)
        p0, p1, q0, q1 = values
        demand(9, add(mul(p0, q1), mul(p1, q0)) == ZERO and mul(q0, q1) != ZERO)
        z = [self.transcript.challenge("logup line")]
        p, q = line(z[0], values)
        for k in range(1, self.circuit.leaves[1]):
            lam = self.transcript.challenge("logup lambda")
            point, claim = self.reader.sumcheck("logup round", k, 3, add(p, mul(lam, q)))
            values = self.reader.elements("logup evals", 4)
            p0, p1, q0, q1 = values
            bracket = add(mul(p0, q1), mul(p1, q0), mul(lam, q0, q1))
            demand(10, mul(eq_points(point, z), bracket) == claim)
            r = self.transcript.challenge("logup line")
            z, (p, q) = [*point, r], line(r, values)
        return z, p, q

    def lookups(self, alpha: Element, beta: Element) -> None:
        circuit = self.circuit
        z, p, q = self.tree_of_fractions()
        sum_p, sum_q = ZERO, ONE

        def leaf(name: str, ids: Element, c1: Element, c2: Element, num: Element | None) -> None:
            nonlocal sum_p, sum_q
            offset, size, shape = circuit.leaves[0][name]
            place = eq(z[size:], offset >> size)
            cover = total(at_point(z[:size], shape))
            sum_p = add(sum_p, mul(place, cover if num is None else num))
            inside = add(mul(alpha, cover), neg(ids), neg(mul(beta, c1)), neg(mul(beta, beta, c2)))
            sum_q = add(sum_q, mul(place, add(inside, neg(cover))))

        for i, lookup in enumerate(circuit.lookups):
            node = circuit.nodes[lookup.node]
            _, size, shape = circuit.leaves[0][f"s{i}"]
            w = at_point(z[:size], shape)
            c1 = ZERO
            if node[0] == "input":
                argument = self.value("leaf y", lookup.node, w)
            elif node[0] == "argmax":
                argument = self.first_maximum(lookup.node, w)
            else:
                if lookup.node in circuit.public:
                    c1 = inner(w, self.public[lookup.node])
                else:
                    c1 = self.column("leaf y", lookup.node, w)
                argument = self.value("leaf a", node[1], w)
                if node[0] == "maximum":
                    argument = add(argument, neg(self.value("leaf a", node[2], w)))
            if lookup.range_table >= 0:
                d = self.sent("leaf d", "X", f"d{lookup.node}", w)
                argument = add(argument, neg(d))
                number = times(total(w), circuit.tables[lookup.range_table][0])
                leaf(f"r{i}", number, d, ZERO, None)
            leaf(f"s{i}", inner(w, self.ids(lookup, shape)), c1, argument, None)
        for k, (_, rows) in enumerate(circuit.tables):
            w = at_point(z[: log(len(rows))], [len(rows)])
            m = self.sent("leaf m", "X", f"m{k}", w)
            columns = [inner(w, [row[c] for row in rows]) for c in range(3)]
            leaf(f"t{k}", columns[0], columns[1], columns[2], neg(m))
        demand(11, sum_p == p)
        demand(12, sum_q == q)

    @staticmethod
    def ids(lookup: Lookup, shape: list[int]) -> list[int]:
        found = []
        for index in cartesian(*map(range, shape)):
            at = 0
            for axis in lookup.channel:
                at = at * shape[axis] + index[axis]
            found.append(lookup.ids[at])
        return found

    def first_maximum(self, number: int, w: Weight) -> Element:
        _, value, axis = self.circuit.nodes[number]
        shape = self.circuit.shapes[value]
        rows: dict[tuple[int, ...], list[int]] = {}
        for cell, index in enumerate(cartesian(*map(range, shape))):
            rows.setdefault(index[:axis] + index[axis + 1 :], []).append(cell)
        each = flat(w)
        chosen, before = [ZERO] * len(each), ZERO
        for stated, cells_ in zip(self.public[number], rows.values(), strict=True):
            demand(7, 0 <= stated < len(cells_))
            chosen[cells_[stated]] = summed(each[c] for c in cells_)
            before = add(before, summed(each[c] for c in cells_[:stated]))
        best = self.value("leaf a", value, [(shape, chosen)])
        return add(best, neg(self.value("leaf a", value, w)), neg(before))

    # 6
    def sent(self, tag: str, tree: str, block: str, w: Weight) -> Element:
        (value,) = self.reader.elements(tag, 1)
        self.claims.append((tree, block, w, value))
        return value

    def column(self, tag: str, value: int, w: Weight) -> Element:
        return self.sent(tag, self.circuit.column[value], f"y{value}", w)

    def value(self, tag: str, value: int, w: Weight) -> Element:
        if value in self.circuit.public:
            return inner(w, self.public[value])
        node = self.circuit.nodes[value]
        match node[0]:
            case "affine":
                found = ZERO
                for coefficient, source, view in node[2]:
                    scale, pulled = self.pull(view, w)
                    one = total(pulled) if source == -1 else self.value(tag, source, pulled)
                    found = add(found, times(mul(scale, one), coefficient))
                for contraction in node[3]:
                    (one,) = self.reader.elements(tag, 1)
                    self.contractions.append((contraction, w, one))
                    found = add(found, one)
                return found
            case "reshape":
                scale, pulled = reshaped(self.circuit.shapes[node[1]], w)
                return mul(scale, self.value(tag, node[1], pulled))
            case "maximum":
                right = self.value(tag, node[2], w)
                return add(right, self.column(tag, value, w))
        return self.column(tag, value, w)

    def pull(self, number: int, w: Weight) -> tuple[Element, Weight]:
        """A factor, and the weight on the source."""
        shape, axes = self.circuit.graph["views"][number]
        maps = [(target, *self.circuit.axis_map(m)) for target, m in axes]
        if not maps:
            return total(w), []
        if any(len(run) > 1 for run, _ in w):
            return ONE, [([n_in for _, _, n_in, _ in maps], pull_all(shape, maps, flat(w)))]
        used = {target for target, *_ in maps}
        scale = mul(*(summed(w[i][1]) for i in range(len(shape)) if i not in used))
        factors: Weight = []
        for target, _, n_in, entries in maps:
            values = [ONE] if target < 0 else w[target][1]
            axis = [ZERO] * n_in
            for o, i, c in entries:
                axis[i] = add(axis[i], times(values[o], c))
            factors.append(([n_in], axis))
        return scale, factors

    def outputs(self) -> None:
        for i in self.circuit.bound:
            value = self.circuit.graph["outputs"][i][2]
            shape = self.circuit.shapes[value]
            size = sum(map(log, shape))
            w = at_point([self.transcript.challenge("output point") for _ in range(size)], shape)
            stated = inner(w, self.public[value])
            demand(13, stated == self.value("output", value, w))

    # 7
    def products(self) -> None:
        if not self.contractions:
            return
        instances, self.contractions = self.contractions, []
        eta, power, claim, rounds = self.transcript.challenge("contraction eta"), ONE, ZERO, 0
        for contraction, _, value in instances:
            claim = add(claim, mul(power, value))
            power = mul(power, eta)
            rounds = max(rounds, sum(map(log, contraction[2])))
        point, claim = self.reader.sumcheck("contraction round", rounds, 2, claim)
        power, found = ONE, ZERO
        for contraction, w, _ in instances:
            left, right, sums, left_axes, right_axes = contraction
            own = sum(map(log, sums))
            padding = [add(ONE, neg(r)) for r in point[own:]]
            at_sums = [
                [eq(z, i) for i in range(n)]
                for z, n in zip(split(point[:own], sums), sums, strict=True)
            ]
            out = [values for _, values in w]
            one = power
            for value, binds in ((left, left_axes), (right, right_axes)):
                operand = self.operand(value, binds, out, at_sums)
                one = mul(one, self.value("contraction operand", value, operand), *padding)
            found = add(found, one)
            power = mul(power, eta)
        assert not self.contractions
        demand(14, found == claim)

    def operand(
        self, value: int, binds: list[Any], out: list[list[Element]], sums: list[list[Element]]
    ) -> Weight:
        parts: list[list[Element]] = []
        for bind, length in zip(binds, self.circuit.shapes[value], strict=True):
            o, s, *window = bind
            if s < 0:
                parts.append(out[o])
            elif o < 0:
                parts.append(sums[s])
            elif not window:
                parts.append([mul(a, b) for a, b in zip(out[o], sums[s], strict=True)])
            else:
                stride, dilation, offset = window
                axis = [ZERO] * length
                for i, a in enumerate(out[o]):
                    for j, b in enumerate(sums[s]):
                        at = i * stride + j * dilation + offset
                        if 0 <= at < length:
                            axis[at] = add(axis[at], mul(a, b))
                parts.append(axis)
        return [([len(part)], part) for part in parts]

    # 8
    def opening(self) -> None:
        circuit, reader = self.circuit, self.reader
        params = circuit.json["parameters"]
        mu, rate, folds = params["mu"], params["rate"], params["folds"]
        columns = {t: max(m, mu) - mu for t, (_, m) in circuit.trees.items()}
        k, s = max(columns.values()), log(len(columns))
        eta, power, claim = self.transcript.challenge("open eta"), ONE, ZERO
        for *_, value in self.claims:
            claim = add(claim, mul(power, value))
            power = mul(power, eta)
        joint, claim = reader.sumcheck("open round", k, 2, claim)
        select, claim = reader.sumcheck("open select", s, 2, claim)
        layer_roots, points = [], []
        for i, f in enumerate(folds):
            layer_roots.append(reader.absorb(f"fold {i} root", 32))
            point, claim = reader.sumcheck("open round", f, 2, claim)
            points.append(point)
        mf = mu - sum(folds)
        final = reader.elements("final", 1 << mf)
        last, claim = reader.sumcheck("open round", mf, 2, claim)
        later = [c for point in points for c in point] + last
        chosen = {t: eq(select, i) for i, t in enumerate(columns)}
        omega, power = ZERO, ONE
        for tree, block, w, _ in self.claims:
            offset, size, shape = circuit.trees[tree][0][block]
            rho = joint[k - columns[tree] :] + later
            at = summed(
                mul(a, b) for a, b in zip(flat(w), flat(at_point(rho[:size], shape)), strict=True)
            )
            sat_out = [add(ONE, neg(r)) for r in joint[: k - columns[tree]]]
            place = eq(rho[size:], offset >> size)
            omega = add(omega, mul(power, chosen[tree], *sat_out, place, at))
            power = mul(power, eta)
        value = summed(mul(e, c) for e, c in zip(eq_table(last), final, strict=True))
        demand(15, mul(value, omega) == claim)

        next(self.transcript.words("grind"))
        seed = sha(b"\5" + self.transcript.s)
        nonce = reader.absorb("nonce", 8)
        work = int.from_bytes(sha(b"\4" + seed + nonce), "big")
        demand(16, work >> (256 - params["grind"]) == 0)
        n = mu + rate
        words = self.transcript.words("queries")
        positions = sorted({next(words) & ((1 << n) - 1) for _ in range(params["queries"])})
        h = dict.fromkeys(positions, ZERO)
        for tree, check in (("X", 17), ("W", 18), ("P", 19)):
            if tree not in columns:
                continue
            wide = columns[tree]
            rows = {a: reader.take(4 << wide) for a in positions}
            weights = eq_table(joint[k - wide :])
            for a, row in rows.items():
                value = summed(times(w, v) for w, v in zip(weights, numbers(row), strict=True))
                h[a] = add(h[a], mul(chosen[tree], value))
            root = merkle_root(tree, n, rows, reader)
            demand(check, root.hex() == self.roots[tree])
        for i, f in enumerate(folds):
            below = sorted({a % (1 << (n - f)) for a in positions})
            rows = {a: reader.take(20 << f) for a in below}
            decoded = {a: elements(row) for a, row in rows.items()}
            demand(20, merkle_root(f"F{i}", n - f, rows, reader) == layer_roots[i])
            for a in positions:
                x = pow(31, ((P - 1) >> n) * a, P)
                row = decoded[a % (1 << (n - f))]
                demand(21, summed(times(c, pow(x, j, P)) for j, c in enumerate(row)) == h[a])
            weights = eq_table(points[i])
            h = {
                a: summed(mul(c, w) for c, w in zip(decoded[a], weights, strict=True))
                for a in below
            }
            positions, n = below, n - f
        for a in positions:
            x = pow(31, ((P - 1) >> n) * a, P)
            demand(22, summed(times(c, pow(x, b, P)) for b, c in enumerate(final)) == h[a])


def changed(file: Any, change: Any) -> Any:
    """A file with one of its `rejected` changes made."""
    result = {**file, **{k: change[k] for k in ("circuit", "proof") if k in change}}
    if "statement_digest" in change:
        result["statement_digest"] = change["statement_digest"]
    proof = bytearray.fromhex(result["proof"])
    if "offset" in change:
        data = bytes.fromhex(change["bytes"])
        proof[change["offset"] : change["offset"] + len(data)] = data
    if "length" in change:
        proof = proof[: change["length"]].ljust(change["length"], b"\0")
    result["proof"] = proof.hex()
    if "value" in change:
        result["public"] = [
            {**item, "codes": change["codes"]} if item["value"] == change["value"] else item
            for item in file["public"]
        ]
    return result
