"""Section 1: the field, points, weights; section 6: weights through views and shapes."""

from __future__ import annotations

from itertools import product as cartesian
from typing import Any

P = 15 * 2**27 + 1
Element = tuple[int, int, int, int, int]
ZERO: Element = (0, 0, 0, 0, 0)
ONE: Element = (1, 0, 0, 0, 0)


def integer(v: int) -> Element:
    return (v % P, 0, 0, 0, 0)


def add(*elements: Element) -> Element:
    c = [sum(column) % P for column in zip(*elements, strict=True)]
    return (c[0], c[1], c[2], c[3], c[4])


def neg(a: Element) -> Element:
    return (-a[0] % P, -a[1] % P, -a[2] % P, -a[3] % P, -a[4] % P)


def mul(*elements: Element) -> Element:
    out = ONE
    for b in elements:
        out = b if out is ONE else _mul(out, b)
    return out


def _mul(a: Element, b: Element) -> Element:
    """By x^5 = 2."""
    wide = [0] * 9
    for i, x in enumerate(a):
        if x:
            for j, y in enumerate(b):
                wide[i + j] += x * y
    c = [(low + 2 * high) % P for low, high in zip(wide[:5], [*wide[5:], 0], strict=True)]
    return (c[0], c[1], c[2], c[3], c[4])


def times(a: Element, factor: int) -> Element:
    return (a[0] * factor % P, a[1] * factor % P, a[2] * factor % P, a[3] * factor % P,
            a[4] * factor % P)  # fmt: skip


def summed(elements: Any) -> Element:
    return add(ZERO, *elements)


def eq(z: list[Element], i: int) -> Element:
    return mul(*(c if i >> t & 1 else add(ONE, neg(c)) for t, c in enumerate(z)))


def eq_table(z: list[Element]) -> list[Element]:
    """eq(z, i) for all i."""
    table = [ONE]
    for c in z:
        high = [mul(x, c) for x in table]
        table = [add(x, neg(y)) for x, y in zip(table, high, strict=True)] + high
    return table


def eq_points(a: list[Element], b: list[Element]) -> Element:
    pairs = zip(a, b, strict=True)
    return mul(*(add(mul(x, y), mul(add(ONE, neg(x)), add(ONE, neg(y)))) for x, y in pairs))


def log(n: int) -> int:
    return max(0, (n - 1).bit_length())


def cells(shape: list[int]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


def split(point: list[Element], lengths: list[int]) -> list[list[Element]]:
    found, at = [], 0
    for n in reversed(lengths):
        found.append(point[at : at + log(n)])
        at += log(n)
    return found[::-1]


#: Factors in order: the axes that each runs over, and one element for each of their cells.
Weight = list[tuple[list[int], list[Element]]]


def at_point(point: list[Element], shape: list[int]) -> Weight:
    found = zip(split(point, shape), shape, strict=True)
    return [([n], eq_table(z)[:n]) for z, n in found]


def flat(weight: Weight) -> list[Element]:
    return [mul(*choice) for choice in cartesian(*(values for _, values in weight))]


def total(weight: Weight) -> Element:
    return mul(*(summed(values) for _, values in weight))


def inner(weight: Weight, values: list[int]) -> Element:
    return summed(times(w, v) for w, v in zip(flat(weight), values, strict=True))


def pull_all(shape: list[int], maps: list[Any], each: list[Element]) -> list[Element]:
    """Through all maps at once: broadcast axes are summed into the weight."""
    sources = [n_in for _, _, n_in, _ in maps]
    found = [ZERO] * cells(sources)
    for cell, index in enumerate(cartesian(*map(range, shape))):
        choices = []
        for target, _, _, entries in maps:
            out = index[target] if target >= 0 else 0
            choices.append([(i, c) for o, i, c in entries if o == out])
        for choice in cartesian(*choices):
            at, factor = 0, 1
            for (i, c), n in zip(choice, sources, strict=True):
                at, factor = at * n + i, factor * c
            found[at] = add(found[at], times(each[cell], factor))
    return found


def reshaped(source: list[int], w: Weight) -> tuple[Element, Weight]:
    if not source:
        return total(w), []
    groups: list[tuple[list[int], list[int]]] | None = None
    if all(len(run) == 1 for run, _ in w):
        groups = groups_of(source, [run[0] for run, _ in w])
    if groups is None:
        return ONE, [(source, flat(w))]
    return ONE, [([source[i] for i in here], flat([w[j] for j in there])) for here, there in groups]


def groups_of(source: list[int], target: list[int]) -> list[tuple[list[int], list[int]]] | None:
    """Shortest groups of equal products from the left; what is left over joins the last one."""
    found: list[tuple[list[int], list[int]]] = []
    here: list[int] = []
    there: list[int] = []
    i = j = 0
    while i < len(source) or j < len(target):
        a, b = cells([source[x] for x in here]), cells([target[x] for x in there])
        if i < len(source) and (not here or (there and a < b)):
            here.append(i)
            i += 1
        elif j < len(target) and (not there or b < a):
            there.append(j)
            j += 1
        else:
            break
        a, b = cells([source[x] for x in here]), cells([target[x] for x in there])
        if here and there and a == b:
            found.append((here, there))
            here, there = [], []
    if not found:
        return None
    found[-1][0].extend([*here, *range(i, len(source))])
    found[-1][1].extend([*there, *range(j, len(target))])
    return found
