"""The verifier's side of the opening: protocol, section 8.

Interleaved Reed-Solomon codes, folded as in BaseFold (Zeilberger, Chen and Fisch, ePrint
2023/1705), several trees under one domain. The values of a column on the hypercube are used as
coefficients, so folding columns with eq(r, .) gives the code of the partial evaluation at r.
Unique decoding; one set of positions for all layers. Not audited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import ONE, ZERO, Element
from proofml.zkml.sumcheck import checks, engine
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.claims import Claim
from proofml.zkml.sumcheck.layout import MODEL, PORTS, WITNESS, Layout
from proofml.zkml.sumcheck.params import Params, columns_logs
from proofml.zkml.sumcheck.reader import ELEMENT_BYTES, Reader
from proofml.zkml.sumcheck.transcript import grind_ok
from proofml.zkml.sumcheck.weights import extension

_ROOT_CHECK = {
    WITNESS: checks.WITNESS_ROOT,
    MODEL: checks.MODEL_ROOT,
    PORTS: checks.PORTS_ROOT,
}


def verify_opening(
    reader: Reader,
    layout: Layout,
    params: Params,
    roots: Mapping[str, bytes],
    claims: Sequence[Claim],
) -> None:
    """Check all claims against the roots.

    Raises:
        VerificationError: sumcheck.8, sumcheck.15 to sumcheck.22.
    """
    transcript = reader.transcript
    trees = list(layout.trees)
    columns = columns_logs({name: layout.trees[name].log for name in trees}, params.mu)
    rounds = max(columns.values())
    powers = ext5.powers(transcript.challenge("open eta"), len(claims))
    claim = ext5.total(ext5.mul(e, c.value) for e, c in zip(powers, claims, strict=True))
    joint, claim = reader.sumcheck("open round", rounds, 2, claim)
    select, claim = reader.sumcheck("open select", (len(trees) - 1).bit_length(), 2, claim)
    layer_roots: list[bytes] = []
    folds: list[list[Element]] = []
    for index, fold in enumerate(params.folds):
        layer_roots.append(reader.absorb(f"fold {index} root", 32))
        point, claim = reader.sumcheck("open round", fold, 2, claim)
        folds.append(point)
    final = engine.decode_vector(reader.absorb("final", ELEMENT_BYTES << params.log_final), "final")
    last, claim = reader.sumcheck("open round", params.log_final, 2, claim)
    later = [c for point in folds for c in point] + last

    # (15) One evaluation of every weight, because the sumcheck ran to the end.
    chosen = {name: ext5.eq_bits(select, index) for index, name in enumerate(trees)}
    factor = {
        name: ext5.product([chosen[name], *(ext5.sub(ONE, r) for r in joint[: rounds - k])])
        for name, k in columns.items()
    }
    points = {name: [*joint[rounds - k :], *later] for name, k in columns.items()}
    omega = ZERO
    for power, item in zip(powers, claims, strict=True):
        stack = layout.trees[item.tree]
        block, offset = stack.blocks[item.block], stack.offsets[item.block]
        rho = points[item.tree]
        at = ext5.mul(
            ext5.eq_bits(rho[block.size :], offset >> block.size),
            extension(item.weight, block.split(rho[: block.size])),
        )
        omega = ext5.add(omega, ext5.mul(ext5.mul(power, factor[item.tree]), at))
    value = engine.inner_ext(final, engine.eq_table(last))
    end = ext5.mul(value, omega)
    if end != claim:
        refuse(checks.OPENING, "final vector times weights", expected=claim, got=end)

    # (16)
    _grind(reader, params)
    positions = sorted(set(transcript.indices("queries", params.queries, params.log_domain)))
    folded = engine.zeros(len(positions))
    # (17) to (19) The rows of the trees, and what they fold to.
    for name in trees:
        k = columns[name]
        rows = reader.take(f"rows {name}", len(positions) * (4 << k))
        values = engine.fold_rows(rows, k, engine.eq_table(points[name][:k]), f"rows {name}")
        folded = ext5.vadd(folded, ext5.vmul(values, ext5.vector([chosen[name]])))
        _root(reader, name, rows, positions, params.log_domain, roots[name], _ROOT_CHECK[name])
    _layers(reader, params, layer_roots, folds, final, positions, folded)


def _grind(reader: Reader, params: Params) -> None:
    """Check sumcheck.16: the work was done on a seed that binds all messages so far."""
    seed = reader.transcript.seed("grind")
    data = reader.absorb("nonce", 8)
    if not grind_ok(seed, int.from_bytes(data, "little"), params.grind):
        refuse(
            checks.GRINDING, "nonce", expected=f"{params.grind} leading zero bits", got=data.hex()
        )


def _root(
    reader: Reader,
    tag: str,
    rows: bytes,
    positions: Sequence[int],
    log_n: int,
    root: bytes,
    check: str,
) -> None:
    used, found = engine.merkle_root(tag, log_n, positions, rows, reader.rest())
    if found is None:
        refuse(checks.ENCODING, f"the proof ends inside path {tag!r}")
    reader.skip(used)
    if found != root:
        refuse(check, f"root of {tag}", expected=root.hex(), got=found.hex())


def _layers(
    reader: Reader,
    params: Params,
    roots: Sequence[bytes],
    folds: Sequence[Sequence[Element]],
    final: Array,
    positions: Sequence[int],
    folded: Array,
) -> None:
    """Checks sumcheck.20 to sumcheck.22: each layer under its root and the fold of the last."""
    log_n = params.log_domain
    for index, (root, fold) in enumerate(zip(roots, folds, strict=True)):
        k = len(fold)
        below = log_n - k
        mask = (1 << below) - 1
        rows_at = sorted({a & mask for a in positions})
        tag = f"F{index}"
        rows = reader.take(f"rows {tag}", len(rows_at) * (ELEMENT_BYTES << k))
        matrix = engine.decode_vector(rows, f"rows {tag}").reshape(len(rows_at), 1 << k, -1)
        _root(reader, tag, rows, rows_at, below, root, checks.LAYER_ROOT)
        place = {a: i for i, a in enumerate(rows_at)}
        which = [place[a & mask] for a in positions]
        evaluated = engine.evaluate_rows(matrix[which], positions, log_n)
        _same(evaluated, folded, positions, checks.LAYER_FOLD, f"layer {index}")
        folded = engine.fold_rows_ext(matrix, engine.eq_table(fold))
        positions, log_n = rows_at, below
    evaluated = engine.evaluate_polynomial(final, positions, log_n)
    _same(evaluated, folded, positions, checks.FINAL_VECTOR, "final vector")


def _same(a: Array, b: Array, positions: Sequence[int], check: str, what: str) -> None:
    different = (a != b).any(axis=1)
    if different.any():
        at = int(different.argmax())
        refuse(
            check,
            f"{what} at position {positions[at]}",
            expected=b[at].tolist(),
            got=a[at].tolist(),
        )
