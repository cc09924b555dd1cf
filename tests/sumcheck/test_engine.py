"""The arithmetic of the verifier, piece by piece against sums that are written out here.

Both of them, C and NumPy, give the same numbers, and each is used where it shall be.
"""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import numpy as np
import pytest

from proofml.circuits import kernels
from proofml.circuits.field import babybear, ext5
from proofml.circuits.field.ext5 import Element
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import engine, merkle
from proofml.zkml.sumcheck.reader import Reader
from proofml.zkml.sumcheck.transcript import Transcript

from .malicious import Trial

P = 2013265921
CALLS = (
    "contract_i8",
    "contract_i32",
    "contract_ext",
    "eq_table",
    "rounds_verify",
    "rows_eval_ext",
    "merkle_verify",
    "logup_verify",
)


def elements(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, P, (*shape, 5)).astype(np.uint64)


def listed(array: np.ndarray) -> list[Element]:
    return [ext5.element(row) for row in array.reshape(-1, 5)]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 2), (1, 63, 1), (2, 8, 4), (1, 65, 1)])
def test_contracting(shape: tuple[int, int, int], dtype: type, arithmetic: str) -> None:
    rng = np.random.default_rng(1)
    most = 127 if dtype is np.int8 else (1 << 31) - 1
    values, weights = rng.integers(-most, most + 1, shape).astype(dtype), elements(rng, shape[1])
    found = engine.contract(values, weights)
    assert found.shape == (shape[0], shape[2], 5)
    wide = elements(rng, *shape)
    found_ext = engine.contract_ext(wide, weights)
    assert found_ext.shape == (shape[0], shape[2], 5)
    for a in range(shape[0]):
        for c in range(shape[2]):
            w = listed(weights)
            want = ext5.total(ext5.scale(w[n], int(values[a, n, c])) for n in range(shape[1]))
            assert ext5.element(found[a, c]) == want
            x = listed(wide[a, :, c])
            assert ext5.element(found_ext[a, c]) == ext5.total(map(ext5.mul, x, w))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6])
def test_eq_tables(size: int, arithmetic: str) -> None:
    z = listed(elements(np.random.default_rng(2), size))
    found = engine.eq_table(z)
    assert found.dtype == np.uint64
    assert listed(found) == [ext5.eq_bits(z, i) for i in range(1 << size)]


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("degree", [2, 3])
def test_rounds(count: int, degree: int, arithmetic: str) -> None:
    """The claim that is left is the round polynomial's value, its sum over 0 and 1 the claim."""
    rng = np.random.default_rng(count + degree)
    data = elements(rng, count * degree).astype("<u4").tobytes()
    claim = listed(elements(rng, 1))[0]
    transcript, again = Transcript(bytes(32)), Transcript(bytes(32))
    point, left = engine.rounds("round", count, degree, claim, data, transcript)
    assert len(point) == count
    size = 20 * degree
    for i in range(count):
        message = data[i * size : (i + 1) * size]
        again.absorb("round", message)
        r = again.challenge("round")
        assert point[i] == r
        c0, *rest = listed(np.frombuffer(message, "<u4"))
        c1 = ext5.sub(claim, ext5.total([c0, c0, *rest]))
        power, claim = ext5.ONE, ext5.ZERO
        for c in (c0, c1, *rest):
            claim = ext5.add(claim, ext5.mul(c, power))
            power = ext5.mul(power, r)
    assert left == claim
    assert transcript.state == again.state


def test_inner_products_and_rows(arithmetic: str) -> None:
    rng = np.random.default_rng(3)
    for count in (1, 5, 8):
        a, b = elements(rng, count), elements(rng, count)
        assert engine.inner_ext(a, b) == ext5.total(map(ext5.mul, listed(a), listed(b)))
    assert engine.zeros(3).tolist() == [[0] * 5] * 3
    assert engine.zeros(3).dtype == np.uint64
    for k in (0, 1, 4):
        eq = elements(rng, 1 << k)
        for count in (1, 3, 9):
            rows = rng.integers(0, P, (count, 1 << k)).astype("<u4")
            found = engine.fold_rows(rows.tobytes(), k, eq, "rows")
            assert found.shape == (count, 5)
            wide = elements(rng, count, 1 << k)
            found_ext = engine.fold_rows_ext(wide, eq)
            assert found_ext.shape == (count, 5)
            for i in range(count):
                own = ext5.total(map(ext5.scale, listed(eq), rows[i].tolist()))
                assert ext5.element(found[i]) == own
                own = ext5.total(map(ext5.mul, listed(eq), listed(wide[i])))
                assert ext5.element(found_ext[i]) == own


def horner(coefficients: np.ndarray, x: int) -> Element:
    value = ext5.ZERO
    for c in reversed(listed(coefficients)):
        value = ext5.add(ext5.scale(value, x), c)
    return value


@pytest.mark.parametrize("log_n", [0, 1, 4, 6])
def test_polynomials_at_positions(log_n: int, arithmetic: str) -> None:
    rng = np.random.default_rng(4)
    omega = babybear.root_of_unity(log_n)
    positions = sorted({0, (1 << log_n) - 1, (1 << log_n) // 3})
    for k in (0, 1, 2, 3):
        rows = elements(rng, len(positions), 1 << k)
        found = engine.evaluate_rows(rows, positions, log_n)
        want = [horner(row, pow(omega, a, P)) for row, a in zip(rows, positions, strict=True)]
        assert listed(found) == want
    for count in (1, 2, 3, 4, 8, 16, 31, 32, 33):
        coefficients = elements(rng, count)
        found = engine.evaluate_polynomial(coefficients, positions, log_n)
        assert listed(found) == [horner(coefficients, pow(omega, a, P)) for a in positions]


@pytest.mark.parametrize("log_n", [0, 1, 3, 5])
def test_roots_from_paths(log_n: int, arithmetic: str) -> None:
    rng = np.random.default_rng(5)
    rows = [rng.bytes(12) for _ in range(1 << log_n)]
    nodes = merkle.build("X", rows)
    for count in {1, (1 << log_n) // 2 or 1, 1 << log_n}:
        for _ in range(4):
            positions = sorted(rng.choice(1 << log_n, count, replace=False).tolist())
            path = merkle.open_multi(nodes, positions)
            own = b"".join(rows[a] for a in positions)
            found = engine.merkle_root("X", log_n, positions, own, path + b"more")
            assert found == (len(path), merkle.root(nodes))
            assert engine.merkle_root("Y", log_n, positions, own, path)[1] != merkle.root(nodes)
            for short in (1, 31, 32):
                if len(path) >= short:
                    cut = engine.merkle_root("X", log_n, positions, own, path[:-short])
                    assert cut[1] is None


def test_siblings_are_taken_in_the_order_of_a_path(arithmetic: str) -> None:
    nodes = merkle.build("X", [bytes([i]) for i in range(16)])
    path = merkle.open_multi(nodes, [3, 4, 9])
    own = bytes([3, 4, 9])
    assert engine.merkle_root("X", 4, [3, 4, 9], own, path) == (len(path), merkle.root(nodes))
    for at in range(0, len(path) - 32, 32):
        bent = path[:at] + path[at + 32 : at + 64] + path[at : at + 32] + path[at + 64 :]
        assert engine.merkle_root("X", 4, [3, 4, 9], own, bent)[1] != merkle.root(nodes)


def test_which_arithmetic_is_used(trial: Callable[[str], Trial],
                                  proof: Callable[[str], bytes]) -> None:  # fmt: skip
    """Without the kernels nothing calls them; with them, each of them does its part."""
    if not kernels.available():
        pytest.skip("the C kernels are not available")
    calls: set[str] = set()

    def spied(name: str) -> Callable[..., object]:
        honest = getattr(kernels, name)

        def call(*args: object) -> object:
            calls.add(name)
            return honest(*args)

        return call

    with mock.patch.multiple(kernels, **{name: spied(name) for name in CALLS}):
        for native in (False, True):
            with engine.using(native=native):
                trial("committed").verify(proof("committed"))
                engine.contract(
                    np.ones((1, 64, 1), np.int8), elements(np.random.default_rng(0), 64)
                )
            assert calls == (set(CALLS) if native else set())
        calls.clear()
        with engine.using(native=True):
            small = elements(np.random.default_rng(0), 63)
            engine.contract(np.ones((1, 63, 1), np.int8), small)
            engine.eq_table(listed(small[:1]))
            engine.rounds("tag", 0, 2, ext5.ONE, b"", Transcript(bytes(32)))
        assert not calls


def test_each_kernel_is_used_for_what_it_does(arithmetic: str) -> None:
    w = elements(np.random.default_rng(6), 64)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("contract_i8", lambda: engine.contract(np.ones((1, 64, 1), np.int8), w)),
        ("contract_i32", lambda: engine.contract(np.ones((1, 64, 1), np.int32), w)),
        ("contract_ext", lambda: engine.contract_ext(w[None, :, None], w)),
        ("contract_ext", lambda: engine.inner_ext(w, w)),
        ("eq_table", lambda: engine.eq_table(listed(w[:2]))),
        ("rows_eval_ext", lambda: engine.evaluate_rows(w.reshape(4, 16, 5), [0, 1, 2, 3], 5)),
    ]
    for name, call in calls:
        with mock.patch.object(kernels, name, side_effect=ZeroDivisionError):
            if arithmetic == "native":
                with pytest.raises(ZeroDivisionError):
                    call()
            else:
                call()


def test_the_choice_of_arithmetic_is_kept_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = engine.native()
    for available in (False, True):
        monkeypatch.setattr(kernels, "available", lambda: available)  # noqa: B023
        assert engine.native() == available
        with engine.using(native=False):
            assert not engine.native()
            if available:
                with engine.using(native=True):
                    assert engine.native()
                assert not engine.native()
            else:
                with pytest.raises(ValueError, match="not available"):
                    engine.using(native=True).__enter__()
                assert not engine.native()
        assert engine.native() == available
        with pytest.raises(KeyError), engine.using(native=False):
            raise KeyError
        assert engine.native() == available
    monkeypatch.undo()
    assert engine.native() == before


def test_bytes_are_read_once_and_in_order() -> None:
    reader = Reader(Transcript(bytes(32)), bytes(range(60)))
    assert reader.take("a", 10) == bytes(range(10))
    assert reader.rest() == bytes(range(10, 60))
    reader.skip(7)
    assert reader.take("a", 3) == bytes(range(17, 20))
    reader.require("b", 40)
    for size in (41, 1000):
        with pytest.raises(VerificationError) as error:
            reader.require("b", size)
        assert error.value.check == "sumcheck.8"
        with pytest.raises(VerificationError) as error:
            reader.take("b", size)
        assert error.value.check == "sumcheck.8"
    with pytest.raises(VerificationError) as error:
        reader.done()
    assert error.value.check == "sumcheck.23"
    assert reader.take("c", 40) == bytes(range(20, 60))
    reader.done()
    reader.skip(1)
    with pytest.raises(VerificationError) as error:
        reader.done()
    assert error.value.check == "sumcheck.23"
