"""Noise for decrypted results that are to be shown to others.

What CKKS decrypts is result plus noise, and the noise tells of the secret key: whoever knows the
input and sees exact decryptions can solve for the key (Li and Micciancio, EUROCRYPT 2021, ePrint
2020/1533: IND-CPA-D). Results that stay with the owner of the key tell nobody. Before others see
them, Gaussian noise of standard deviation sqrt(12) 2^(s/2) times a bound on the noise hides it with
s bits of statistical security for one shown result (Li et al., CRYPTO 2022, ePrint 2022/816);
n results of one key cost log2(n) of those bits.

The bound is the estimate of `noise`, an average case.
"""

from __future__ import annotations

import math
import secrets

import numpy as np

from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.noise import SIGMAS

MAX_BITS = 64


def factor(bits: int) -> float:
    """Standard deviation of the added noise, in standard deviations of the encryption's."""
    return SIGMAS * math.sqrt(12.0) * 2.0 ** (bits / 2) if bits else 0.0


def flood(values: Reals, deviation: float, bits: int) -> Reals:
    """With noise from the system's generator; nothing is added for 0 bits."""
    if not bits:
        return values
    gauss = secrets.SystemRandom().gauss
    added = np.array([gauss(0.0, 1.0) for _ in range(values.size)]).reshape(values.shape)
    return values + added * (deviation * factor(bits))
