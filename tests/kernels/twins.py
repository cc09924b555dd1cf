"""Small twins of the hashing kernels, straight from the protocol's table of hashes (section 2)."""

from __future__ import annotations

import hashlib
import itertools
import struct

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import P
from proofml.circuits.field.ext5 import ONE, ZERO


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def tagged(tag):
    return bytes([len(tag)]) + tag.encode()


class Transcript:
    def __init__(self, state=bytes(range(32))):
        self.state = bytearray(state)

    def absorb(self, tag, data):
        head = b"\x01" + tagged(tag)
        self.state[:] = H(head, self.state, struct.pack("<Q", len(data)), data)

    def _words(self, tag):
        self.state[:] = H(b"\x02" + tagged(tag), self.state)
        i = 0
        while True:
            yield from struct.unpack("<8I", H(b"\x03", self.state, struct.pack("<I", i)))
            i += 1

    def challenge(self, tag):
        values = (word & 0x7FFFFFFF for word in self._words(tag))
        return tuple(itertools.islice((value for value in values if value < P), 5))

    def indices(self, tag, count, log_n):
        words = self._words(tag)
        return [next(words) & ((1 << log_n) - 1) for _ in range(count)]

    def seed(self, tag):
        next(self._words(tag))
        return H(b"\x05", self.state)


def grind_ok(seed, nonce, bits):
    digest = H(b"\x04", seed, struct.pack("<Q", nonce))
    return int.from_bytes(digest, "big") >> (256 - bits) == 0


def merkle(tag, rows):
    """Nodes as the kernel lays them out: [0] unused, [1] the root, leaves last."""
    nodes = [H(b"\x10" + tagged(tag), row) for row in rows]
    level = nodes
    while len(level) > 1:
        level = [H(b"\x11", level[i], level[i + 1]) for i in range(0, len(level), 2)]
        nodes = level + nodes
    return [bytes(32), *nodes]


def merkle_open(nodes, idx):
    out, size, known = [], len(nodes) // 2, sorted(idx)
    while size > 1:
        here = set(known)
        out += [nodes[size + (i ^ 1)] for i in known if i ^ 1 not in here]
        known, size = sorted({i >> 1 for i in known}), size // 2
    return b"".join(out)


# ---------------------------------------------------------------- sumcheck
def encode(elements):
    return b"".join(struct.pack("<5I", *e) for e in elements)


def receive(tr, tag, coefficients, claim):
    """One round as the verifier sees it: the challenge, and the claim that is left."""
    tr.absorb(tag, encode(coefficients))
    r = tr.challenge(tag)
    c1 = ext5.sub(claim, ext5.total([coefficients[0], *coefficients]))
    value = ZERO
    for c in reversed([coefficients[0], c1, *coefficients[1:]]):
        value = ext5.add(ext5.mul(value, r), c)
    return r, value


def interpolate(values):
    """c0..c3 of the polynomial of degree 3 with these values at 0, 1, 2, 3."""
    inverse6, inverse2 = pow(6, P - 2, P), pow(2, P - 2, P)
    d1 = [ext5.sub(b, a) for a, b in itertools.pairwise(values)]
    d2 = [ext5.sub(b, a) for a, b in itertools.pairwise(d1)]
    d3 = ext5.sub(d2[1], d2[0])
    half, sixth = ext5.scale(d2[0], inverse2), ext5.scale(d3, inverse6)
    # Newton: y0 + d1 x + d2 x(x-1)/2 + d3 x(x-1)(x-2)/6
    c1 = ext5.add(ext5.sub(d1[0], half), ext5.scale(sixth, 2))
    return [values[0], c1, ext5.sub(half, ext5.scale(sixth, 3)), sixth]


def logup_prove(p, q, tr):
    """A slow honest prover for the leaves p / q (lists of elements); the proof and the point."""
    layers = [(p, q)]
    while len(layers[-1][0]) > 2:
        p, q = layers[-1]
        h = len(p) // 2
        layers.append(
            (
                [ext5.add(ext5.mul(p[i], q[h + i]), ext5.mul(p[h + i], q[i])) for i in range(h)],
                [ext5.mul(q[i], q[h + i]) for i in range(h)],
            )
        )
    proof = b""

    def send(tag, elements):
        nonlocal proof
        proof += encode(elements)
        tr.absorb(tag, encode(elements))

    p, q = layers.pop()
    send("logup root", [p[0], p[1], q[0], q[1]])
    z = [tr.challenge("logup line")]
    while layers:
        p, q = layers.pop()
        h, lam = len(p) // 2, tr.challenge("logup lambda")
        arrays = [[ext5.element(e) for e in ext5.eq_table(z)], p[:h], p[h:], q[:h], q[h:]]
        z = []
        while len(arrays[0]) > 1:
            at = [
                [
                    [
                        ext5.add(a[i], ext5.scale(ext5.sub(a[i + 1], a[i]), x))
                        for i in range(0, len(a), 2)
                    ]
                    for a in arrays
                ]
                for x in range(4)
            ]
            values = []
            for eq, p0, p1, q0, q1 in at:
                total = ZERO
                for e, a, b, c, d in zip(eq, p0, p1, q0, q1, strict=True):
                    top = ext5.add(ext5.mul(a, d), ext5.mul(b, c))
                    both = ext5.add(top, ext5.mul(lam, ext5.mul(c, d)))
                    total = ext5.add(total, ext5.mul(e, both))
                values.append(total)
            c = interpolate(values)
            send("logup round", [c[0], c[2], c[3]])
            r = tr.challenge("logup round")
            z.append(r)
            arrays = [
                [ext5.add(a[i], ext5.mul(r, ext5.sub(a[i + 1], a[i]))) for i in range(0, len(a), 2)]
                for a in arrays
            ]
        send("logup evals", [a[0] for a in arrays[1:]])
        z.append(tr.challenge("logup line"))
    return proof, z


def evaluate(values, z):
    """The multilinear extension of a list of elements."""
    table = ext5.eq_table(z)
    return ext5.vsum(ext5.vmul(table, ext5.vector(values)))


def fractions(rng, n):
    """2^n leaves whose fractions add up to zero: each a / b somewhere, and -a / b elsewhere."""
    draw = [ext5.element(row) for row in rng.integers(1, P, (1 << n, 5))]
    half = 1 << (n - 1)
    p = draw[:half] + [ext5.neg(a) for a in draw[:half]]
    q = [draw[half + i] if i % 3 or half < 3 else ONE for i in range(half)] * 2
    order = rng.permutation(1 << n)
    return [p[i] for i in order], [q[i] for i in order]
