"""The verifier's side of the LogUp-GKR: protocol, section 5.

LogUp: Haboeck, ePrint 2022/1530. GKR for fractional sums: Papini and Haboeck, ePrint 2023/1284.
Node i of layer k has the children i and i + 2^k of layer k + 1, so a point grows at its end.
Not audited.
"""

from __future__ import annotations

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.circuits.field.ext5 import ZERO, Element
from proofml.zkml.sumcheck import checks, engine
from proofml.zkml.sumcheck.checks import refuse
from proofml.zkml.sumcheck.reader import ELEMENT_BYTES, Reader

#: What the kernel calls the check of the root.
_ROOT_FAILED = 4


def verify_logup(reader: Reader, layers: int) -> tuple[list[Element], Element, Element]:
    """The point at the 2^layers leaves, and the claims on numerators and denominators there.

    Raises:
        VerificationError: sumcheck.8 to sumcheck.10.
    """
    size = ELEMENT_BYTES * (4 * layers + 3 * layers * (layers - 1) // 2)
    reader.require("logup", size)
    if engine.native():
        return _verify_native(reader, layers, size)
    transcript = reader.transcript
    p0, p1, q0, q1 = reader.elements("logup root", 4)
    top = ext5.add(ext5.mul(p0, q1), ext5.mul(p1, q0))
    if top != ZERO:
        refuse(checks.LOOKUP_ROOT, "numerator of the sum", expected=ZERO, got=top)
    if ext5.mul(q0, q1) == ZERO:
        refuse(checks.LOOKUP_ROOT, "denominator of the sum", expected="not zero", got=ZERO)
    r = transcript.challenge("logup line")
    z = [r]
    p, q = _line(p0, p1, r), _line(q0, q1, r)
    for layer in range(1, layers):
        lam = transcript.challenge("logup lambda")
        claim = ext5.add(p, ext5.mul(lam, q))
        point, claim = reader.sumcheck("logup round", layer, 3, claim)
        p0, p1, q0, q1 = reader.elements("logup evals", 4)
        bracket = ext5.total([ext5.mul(p0, q1), ext5.mul(p1, q0), ext5.mul(lam, ext5.mul(q0, q1))])
        end = ext5.mul(ext5.eq_point(point, z), bracket)
        if end != claim:
            refuse(checks.LOOKUP_LAYER, f"layer {layer}", expected=claim, got=end)
        r = transcript.challenge("logup line")
        z = [*point, r]
        p, q = _line(p0, p1, r), _line(q0, q1, r)
    return z, p, q


def _line(at_zero: Element, at_one: Element, r: Element) -> Element:
    return ext5.add(at_zero, ext5.mul(r, ext5.sub(at_one, at_zero)))


def _verify_native(
    reader: Reader, layers: int, size: int
) -> tuple[list[Element], Element, Element]:
    """The same in C."""
    data = reader.take("logup round", size)
    try:
        found = kernels.logup_verify(layers, data, reader.transcript.state)
    except kernels.BadBytes as error:
        refuse(checks.ENCODING, "logup: not canonical", got=f"byte {error.offset}")
    if found.failed_check == _ROOT_FAILED:
        refuse(checks.LOOKUP_ROOT, "sum of the fractions", expected="0 without a pole")
    if found.failed_check:
        refuse(checks.LOOKUP_LAYER, f"layer {found.failed_layer}")
    return found.point, found.p, found.q
