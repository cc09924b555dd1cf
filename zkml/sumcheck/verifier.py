"""The verifier of the native prover: docs/sumcheck/protocol.md, whose sections are named here.

It holds a circuit (graph, parameters, root of the weights), the Statement's digest and its
public tensors, and reads a proof front to back. Every check has a number (`checks`); what is not
recomputed here is a challenge of the transcript or is bound to a root by the opening.

    13 to 16 are the ends of sumchecks, 17 to 22 belong to the opening (`opening`).

Soundness: `soundness`, term by term. Not audited. No prover code is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proofml.circuits.field import ext5
from proofml.circuits.field.ext5 import ONE, ZERO, Element
from proofml.circuits.graph import ArgMax, Input, Ints
from proofml.circuits.tables import Lookup
from proofml.zkml.sumcheck import checks
from proofml.zkml.sumcheck.argmax import argmax_parts
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.circuit import Circuit
from proofml.zkml.sumcheck.claims import Claim
from proofml.zkml.sumcheck.layout import MODEL, PORTS, WITNESS, Block, Layout
from proofml.zkml.sumcheck.logup.verifier import verify_logup
from proofml.zkml.sumcheck.pcs.verifier import verify_opening
from proofml.zkml.sumcheck.reader import Reader
from proofml.zkml.sumcheck.reduction import (
    Constant,
    OnColumn,
    OnContraction,
    OnPublic,
    Part,
    Sums,
    argument_parts,
    operand_weight,
    reduce_claim,
    sum_factors,
)
from proofml.zkml.sumcheck.tables_at import columns_at, ids_at
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.weights import Weight, at_point, inner, total


@dataclass
class _Run:
    """What accumulates over one verification."""

    circuit: Circuit
    reader: Reader
    public: Mapping[int, Ints]
    claims: list[Claim] = field(default_factory=list)
    contractions: list[tuple[OnContraction, Element]] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return self.circuit.layout

    def column(self, tag: str, tree: str, block: str, weight: Weight) -> Element:
        """The prover's value of a claim on a committed column, noted for the opening."""
        value = self.reader.element(tag)
        self.claims.append(Claim(tree, block, weight, value))
        return value

    def part(self, tag: str, part: Part) -> Element:
        """The value of one part of a claim: read, recomputed, or read and noted."""
        match part:
            case Constant():
                return part.coefficient
            case OnPublic():
                found = inner(part.weight, self.public[part.value])
            case OnColumn():
                tree, block = self.layout.column[part.value]
                found = self.column(tag, tree, block, part.weight)
            case OnContraction():
                found = self.reader.element(tag)
                self.contractions.append((part, found))
        return ext5.mul(part.coefficient, found)

    def value(self, tag: str, value: int, weight: Weight) -> Element:
        """A claim on any value, as the sum of its parts."""
        return ext5.total(self.part(tag, part) for part in reduce_claim(self.layout, value, weight))


def verify_proof(
    circuit: Circuit,
    statement: bytes,
    public: Mapping[int, Ints],
    proof: bytes,
    *,
    ports_root: bytes | None = None,
) -> None:
    """Check a proof.

    Args:
        circuit: what was computed; pinned, or compiled by this verifier.
        statement: the Statement's digest, 32 bytes: the first thing in the transcript.
        public: centred codes of every public value, int64, within the ports' ranges (sumcheck.7
            is the caller's).
        proof: untrusted.
        ports_root: root of the tree of committed inputs and outputs, from the Statement.

    Raises:
        VerificationError: sumcheck.8 to sumcheck.23.
    """
    transcript = Transcript(statement)
    reader = Reader(transcript, proof)
    run = _Run(circuit, reader, public)
    layout = circuit.layout
    roots = {WITNESS: reader.absorb("X root", 32)}
    if circuit.model_root is not None:
        roots[MODEL] = circuit.model_root
    if (PORTS in layout.trees) != (ports_root is not None):
        refuse(checks.PORTS_ROOT, "root of committed tensors: one exactly where there are some")
    if ports_root is not None:
        roots[PORTS] = ports_root
    alpha, beta = transcript.challenge("alpha"), transcript.challenge("beta")
    _lookups(run, alpha, beta)
    _outputs(run)
    _contractions(run)
    verify_opening(reader, layout, circuit.params, roots, run.claims)
    reader.done()


def _lookups(run: _Run, alpha: Element, beta: Element) -> None:
    """Section 5: the LogUp-GKR, then every leaf from claims and public tables."""
    layout = run.layout
    z, numerator, denominator = verify_logup(run.reader, layout.leaves.log)
    beta2 = ext5.mul(beta, beta)
    sum_p, sum_q, covered = ZERO, ZERO, ZERO

    def leaf(name: str, cover: Element, ids: Element, c1: Element, c2: Element) -> Element:
        """Adds one block's denominators; returns the block's factor E of the point."""
        nonlocal sum_q, covered
        block = layout.leaves.blocks[name]
        place = ext5.eq_bits(z[block.size :], layout.leaves.offsets[name] >> block.size)
        fingerprint = ext5.total([ids, ext5.mul(beta, c1), ext5.mul(beta2, c2)])
        inside = ext5.sub(ext5.mul(alpha, cover), fingerprint)
        sum_q = ext5.add(sum_q, ext5.mul(place, inside))
        covered = ext5.add(covered, ext5.mul(place, cover))
        return place

    for index, lookup in enumerate(layout.lookups):
        block = layout.leaves.blocks[f"s{index}"]
        weight = at_point(block.split(z[: block.size]), block.shape)
        cover = total(weight)
        c1, argument = _lookup(run, lookup, weight)
        c2 = argument
        if lookup.windows >= 0:
            d = run.column("leaf d", WITNESS, f"d{lookup.node}", weight)
            c2 = ext5.sub(argument, d)
            windows = layout.plan.windows[lookup.windows]
            range_id = layout.plan.tables[windows.table].first_id
            place = leaf(f"r{index}", cover, ext5.scale(cover, range_id), d, ZERO)
            sum_p = ext5.add(sum_p, ext5.mul(place, cover))
        place = leaf(f"s{index}", cover, _ids(lookup, block, weight), c1, c2)
        sum_p = ext5.add(sum_p, ext5.mul(place, cover))
    for index, table in enumerate(layout.plan.tables):
        block = layout.leaves.blocks[f"t{index}"]
        point = z[: block.size]
        weight = at_point([point], block.shape)
        m = run.column("leaf m", WITNESS, f"m{index}", weight)
        place = leaf(f"t{index}", total(weight), *columns_at(table, point))
        sum_p = ext5.sub(sum_p, ext5.mul(place, m))
    # Leaves outside of every tensor and table are the fraction 0/1: the public selector.
    sum_q = ext5.add(sum_q, ext5.sub(ONE, covered))
    if sum_p != numerator:
        refuse(checks.LOOKUP_NUMERATORS, "numerators at the leaves", expected=numerator, got=sum_p)
    if sum_q != denominator:
        refuse(
            checks.LOOKUP_DENOMINATORS,
            "denominators at the leaves",
            expected=denominator,
            got=sum_q,
        )


def _lookup(run: _Run, lookup: Lookup, weight: Weight) -> tuple[Element, Element]:
    """Columns c1 and c2 (before d is taken off) of a lookup at the leaves' point."""
    layout = run.layout
    node = layout.graph.nodes[lookup.node]
    match node:
        case Input():
            return ZERO, run.value("leaf y", lookup.node, weight)
        case ArgMax():
            stated = run.public[lookup.node]
            length = layout.graph.shape(node.value)[node.axis]
            if stated.min() < 0 or stated.max() >= length:
                refuse(checks.PUBLIC, "index of a maximum", expected=f"0 to {length - 1}")
            parts = argmax_parts(layout, lookup.node, stated, weight)
            return ZERO, ext5.total(run.part("leaf a", part) for part in parts)
        case _:
            if lookup.node in layout.public:
                result = inner(weight, run.public[lookup.node])
            else:
                tree, block = layout.column[lookup.node]
                result = run.column("leaf y", tree, block, weight)
            parts = argument_parts(layout, lookup.node, weight)
            return result, ext5.total(run.part("leaf a", part) for part in parts)


def _ids(lookup: Lookup, block: Block, weight: Weight) -> Element:
    """The column of ids at the leaves' point, cut to the tensor."""
    channels = [weight[axis] for axis in lookup.channel]
    rest = [factor for axis, factor in enumerate(weight) if axis not in lookup.channel]
    shape = [block.shape[axis] for axis in lookup.channel]
    found = ids_at(lookup.ids, shape, [factor.values for factor in channels])
    return ext5.mul(found, ext5.product(factor.total() for factor in rest))


def _outputs(run: _Run) -> None:
    """Section 6: an output that is no column of its own is compared at a random point."""
    layout, transcript = run.layout, run.reader.transcript
    for index in layout.bound_outputs:
        port = layout.graph.outputs[index]
        shape = layout.graph.shape(port.value)
        block = Block("output", shape)
        point = [transcript.challenge("output point") for _ in range(block.size)]
        weight = at_point(block.split(point), shape)
        stated = inner(weight, run.public[port.value])
        shown = run.value("output", port.value, weight)
        if stated != shown:
            refuse(checks.OUTPUTS, f"output {port.name!r}", expected=stated, got=shown)


def _contractions(run: _Run) -> None:
    """Section 7: one sumcheck for all contractions."""
    if not run.contractions:
        return
    layout, reader = run.layout, run.reader
    instances = list(run.contractions)
    run.contractions.clear()
    powers = ext5.powers(reader.transcript.challenge("contraction eta"), len(instances))
    claim = ext5.total(ext5.mul(e, value) for e, (_, value) in zip(powers, instances, strict=True))
    rounds = max(Sums(part.contraction.sums).rounds for part, _ in instances)
    point, claim = reader.sumcheck("contraction round", rounds, 2, claim)
    found = ZERO
    for power, (part, _) in zip(powers, instances, strict=True):
        contraction = part.contraction
        sums = Sums(contraction.sums)
        own, padding = point[: sums.rounds], point[sums.rounds :]
        factors = sum_factors(sums, own)
        product = power
        for value, axes in (
            (contraction.left, contraction.left_axes),
            (contraction.right, contraction.right_axes),
        ):
            weight = operand_weight(axes, layout.graph.shape(value), part.weight, factors)
            product = ext5.mul(product, run.value("contraction operand", value, weight))
            # The operand's vector is padded with zeros at high indices.
            for r in padding:
                product = ext5.mul(product, ext5.sub(ONE, r))
        found = ext5.add(found, product)
    if run.contractions:
        raise AssertionError("a contraction's operand rests on another one")  # `validate`
    if found != claim:
        refuse(checks.CONTRACTIONS, "product of the operands", expected=claim, got=found)
