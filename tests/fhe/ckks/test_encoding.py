"""Constants as integers: right, the same everywhere, and found again by any transform."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from decimal import Decimal, getcontext
from pathlib import Path

import numpy as np
import pytest

from proofml.fhe.ckks import encoding
from proofml.fhe.ckks.encoding import MAX_COEFFICIENT, TooLarge

#: SHA-256 of coefficients and values of `vectors(period)` at scale 2^30 + 1, period 1, 2, .. 4096.
GOLDEN = "98b710e09122396f74979b9fff9e01d668c361763e5cda10d534bd5c034650d0"


def vectors(period: int) -> encoding.Reals:
    """Numbers that need no generator: the same in every NumPy."""
    index = np.arange(3 * period, dtype=np.int64).reshape(3, period)
    return (index * 7919 % 10007 - 5003) / 5003.0


def test_roots_are_rounded_correctly() -> None:
    """Against cosines of 60 digits, by their series."""
    getcontext().prec = 60
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    cosine, sine = encoding._roots()
    for k in (0, 1, 5, 777, 8191, 8192, 16383, 16384, 16385, 30000, 32768, 40001, 65535):
        x = pi * k / 32768
        for array, start in ((cosine, 0), (sine, 1)):
            term, total, n = (Decimal(1), Decimal(0), 0) if start == 0 else (x, Decimal(0), 1)
            while abs(term) > Decimal(10) ** -50:
                total += term
                term *= -x * x / ((n + 1) * (n + 2))
                n += 2
            wanted = float(total) if abs(total) > Decimal(10) ** -40 else 0.0
            assert array[k] == wanted, (k, start)


@pytest.mark.parametrize("period", [1, 2, 8, 64, 1024])
def test_coefficients_by_definition(period: int) -> None:
    """Rounded sums of cosines, in higher precision."""
    given, scale = vectors(period), 2.0**20
    found = encoding.encode(given, scale)
    places = [pow(3, i, 4 * period) for i in range(period)]
    k = np.arange(min(period, 16))
    angles = np.pi * np.outer(k, places).astype(np.longdouble) / (2 * period)
    sums = (given[:, None, :] * np.cos(angles)).sum(axis=2) / period * scale
    assert np.max(np.abs(found[:, : len(k)] - sums)) <= 0.5 + 1e-6


@pytest.mark.parametrize("period", [1, 2, 16, 512, 4096])
def test_values_are_those_that_were_encoded(period: int) -> None:
    scale = 2.0**40
    found = encoding.values(encoding.encode(vectors(period), scale)) / scale
    assert np.max(np.abs(found - vectors(period))) < 1e-9


@pytest.mark.parametrize("period", [2, 64, 4096])
def test_another_transform_finds_the_same_integers(period: int) -> None:
    """NumPy's, whose last bits differ, on values that were disturbed as well."""
    scale = MAX_COEFFICIENT * 0.99
    wanted = encoding.encode(vectors(period), scale)
    values = encoding.values(wanted)
    noise = 1 + 4e-16 * np.sign(np.sin(np.arange(values.size))).reshape(values.shape)
    degree = 2 * period
    places = np.array([pow(3, i, 2 * degree) for i in range(period)])
    spectrum = np.zeros((len(values), degree), complex)
    spectrum[:, (places - 1) // 2] = values * noise
    spectrum[:, (2 * degree - places - 1) // 2] = values * noise
    twist = np.exp(-1j * np.pi * np.arange(degree) / degree)
    real = (np.fft.fft(spectrum, axis=1) / degree * twist).real
    assert np.max(np.abs(real[:, :period] - wanted)) < 0.1
    assert np.array_equal(np.rint(real[:, :period]), wanted)


def digest() -> str:
    found = hashlib.sha256()
    for log in range(13):
        coefficients = encoding.encode(vectors(1 << log), 2.0**30 + 1)
        found.update(coefficients.astype("<i8").tobytes())
        found.update(encoding.values(coefficients).tobytes())
    return found.hexdigest()


def test_golden_coefficients() -> None:
    """What every machine has to find."""
    assert digest() == GOLDEN


def test_golden_coefficients_on_a_lesser_processor() -> None:
    """NumPy and the C library told to leave out whatever older processors do not have."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_encoding;"
    core = importlib.import_module("numpy._core._multiarray_umath")
    environment = dict(
        os.environ,
        NPY_DISABLE_CPU_FEATURES=" ".join(core.__cpu_dispatch__),
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-AVX2,-AVX512F",
        PYTHONWARNINGS="ignore",
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{code} print(test_encoding.digest())"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == GOLDEN, result.stderr


def test_too_large_is_refused() -> None:
    with pytest.raises(TooLarge):
        encoding.encode(np.array([[2.0**14, 0.0]]), 2.0**31)
    encoding.encode(np.array([[2.0**13, 0.0]]), 2.0**31)
    encoding.encode(np.array([[2.0**21]]), 2.0**31)
    with pytest.raises(TooLarge):
        encoding.encode(np.array([[2.0**22]]), 2.0**31)
