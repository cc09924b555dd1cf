"""Noise for decrypted results that are to be shown to others.

What CKKS decrypts is result plus noise, and the noise tells of the secret key: whoever knows the
input and sees exact decryptions can solve for the key (Li and Micciancio, EUROCRYPT 2021, ePrint
2020/1533: IND-CPA-D). Results that stay with the owner of the key tell nobody. Before others see
them, Gaussian noise of standard deviation sqrt(12) 2^(s/2) times a bound on the noise's Euclidean
norm hides it with s bits of statistical security for one shown result (Li, Micciancio, Schultz and
Sorrell, CRYPTO 2022, ePrint 2022/816): the divergence of what is shown from what has nothing of
the key in it is then 2^-s / 24. A result is all elements of one inference, so with n of them the
bound is sqrt(n) times that of one. m results of one key cost log2(m) of those bits.

The bound of one element is `SIGMAS` deviations of the estimate in `noise`, and twice that since an
owner lets inputs through with up to `NOISIER` times the noise of calibration. The estimate is one
of the average case, and the theorem asks for the worst: where somebody chose model or inputs so
that errors add up that count as independent, fewer bits hide (Guo et al., USENIX Security 2024).

Sums of floats have last digits that tell of their terms (Mironov, CCS 2012), so what is shown is
rounded to a grid that is far coarser than floats, and far finer than the noise.
"""

from __future__ import annotations

import math
import secrets

import numpy as np

from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.noise import SIGMAS

MAX_BITS = 64
#: With fewer, results are not said to be hidden.
LEAST_BITS = 30
#: How much larger noise may be than on the samples of calibration.
NOISIER = 2.0
#: Parts of the added noise's deviation between two numbers that are shown, as a power of two.
_GRID_BITS = 20


def factor(bits: int, elements: int) -> float:
    """Standard deviation of the added noise, in standard deviations of the encryption's.

    Args:
        elements: of all results of one inference.
    """
    return NOISIER * SIGMAS * math.sqrt(12.0 * elements) * 2.0 ** (bits / 2) if bits else 0.0


def flood(values: Reals, deviation: float, bits: int, elements: int) -> Reals:
    """With noise from the system's generator; nothing is added for 0 bits."""
    if not bits:
        return values
    gauss = secrets.SystemRandom().gauss
    added = np.array([gauss(0.0, 1.0) for _ in range(values.size)]).reshape(values.shape)
    wide = deviation * factor(bits, elements)
    step = 2.0 ** (math.floor(math.log2(wide)) - _GRID_BITS)
    return np.asarray(np.rint((values + added * wide) / step) * step)
