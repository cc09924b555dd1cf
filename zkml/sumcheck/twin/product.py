"""The batched product sumcheck: section 7 of the protocol.

sum_l coef_l sum_i u_l[i] w_l[i], of degree 2 in each variable (Thaler's "Proofs, Arguments, and
Zero-Knowledge", section 4.4, for the product of matrices that this serves). Not audited.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import Array
from proofml.circuits.field.ext5 import ZERO, Element
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin.rounds import Writer, bind, product_round


def _split(logs: Sequence[int], flat: NDArray[np.uint32]) -> list[Array]:
    ends = np.cumsum([1 << log for log in logs]).tolist()
    if flat.shape != (ends[-1] if ends else 0, ext5.DEGREE):
        raise ValueError(f"vectors of shape {flat.shape} do not fit their sizes")
    return np.split(flat.astype(np.uint64), ends[:-1]) if ends else []


def product_prove(
    tag: str,
    rounds: int,
    logs: Sequence[int],
    coef: Sequence[Element],
    u: NDArray[np.uint32],
    w: NDArray[np.uint32],
    state: bytearray,
) -> tuple[bytes, list[Element]]:
    """The round messages, c0 and c2 each, and the point.

    `u` and `w` hold the vectors one after the other, of 2^logs[l] elements each. A vector shorter
    than 2^rounds counts as padded with zeros at high indices: a single value v that is left over
    becomes v (1 - r) in each further round.
    """
    if len(logs) != len(coef) or any(not 0 <= log <= rounds for log in logs):
        raise ValueError("expected one size and one coefficient each, and enough rounds")
    writer = Writer(Transcript.over(state))
    us, ws = _split(logs, u), _split(logs, w)
    point: list[Element] = []
    for _ in range(rounds):
        c0, c2 = ZERO, ZERO
        for index, factor in enumerate(coef):
            if len(us[index]) == 1:
                us[index], ws[index] = (
                    np.concatenate([a, np.zeros_like(a)]) for a in (us[index], ws[index])
                )
            low, high = product_round(us[index], ws[index])
            c0 = ext5.add(c0, ext5.mul(factor, low))
            c2 = ext5.add(c2, ext5.mul(factor, high))
        r = writer.round(tag, [c0, c2])
        us, ws = [bind(a, r) for a in us], [bind(a, r) for a in ws]
        point.append(r)
    return writer.bytes(), point
