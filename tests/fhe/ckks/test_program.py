"""Programs as bytes: one form, followed instruction by instruction."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.fhe.ckks.builder import Builder
from proofml.fhe.ckks.params import Parameters, choose_primes
from proofml.fhe.ckks.program import MAX_HELD, Instruction, Program, Register
from proofml.fhe.ckks.simulate import samples_at_once
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

PARAMETERS = Parameters(8192, choose_primes(8192, 30, 2, 35, 36))


def made() -> Program:
    b = Builder(PARAMETERS, 64)
    x = b.input(2, 2.0**30)
    y = b.dot([(x, np.array([1.0, -2.0])), (b.rotate(x, 3), np.array([0.5]))], 2.0**60)
    y = b.shift(b.rescale(y), np.array([0.25]))
    z = b.rescale(b.multiply(y, b.negate(y)))
    z = b.add(z, z)
    return b.finish([b.label(z, 2.0**20), b.drop_to(y, 0)])


def value_of(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = loads(dumps(program.to_json()))
    return found


def read(value: object, block: bytes) -> Program:
    return Program.read(Fields(value, ""), block)


def test_one_form() -> None:
    program = made()
    again = read(value_of(program), program.block())
    assert dumps(again.to_json()) == dumps(program.to_json())
    assert again.block() == program.block()
    assert again.registers == program.registers
    assert again.rotations == (3 * 64,)


BAD: dict[str, tuple[tuple[Any, ...], Any]] = {
    "op": (("instructions", 0, 0), "encrypt"),
    "register ahead": (("instructions", 0, 1), 7),
    "negative register": (("instructions", 0, 1), -1),
    "whole turn": (("instructions", 0, 2), 64),
    "no turn": (("instructions", 0, 2), 0),
    "operands": (("instructions", 0), ["rotate", 0]),
    "constant": (("instructions", 1, 3), [0, 99]),
    "more registers than constants": (("instructions", 1, 2), [0, 0, 1]),
    "empty sum": (("instructions", 1), ["dot", "2.0", [], []]),
    "scale as a number": (("instructions", 1, 1), 4),
    "scale spelt otherwise": (("instructions", 1, 1), "1e18"),
    "scale too large": (("instructions", 1, 1), "1e+40"),
    "scale infinite": (("instructions", 1, 1), "inf"),
    "scale below 1": (("instructions", 1, 1), "0.5"),
    "level of an input": (("inputs", 0, "level"), 3),
    "scale of an input": (("inputs", 0, "scale"), "1e+60"),
    "lanes": (("lanes",), 63),
    "lanes beyond": (("lanes",), 8192),
    "outputs": (("outputs",), []),
    "output ahead": (("outputs",), [50]),
    "period": (("constants", 0), 3),
    "period beyond": (("constants", 0), 128),
    "period of nothing": (("constants", 0), 0),
    "ring": (("parameters", "degree"), 4096),
    "key": (("extra",), 1),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    program = made()
    value = value_of(program)
    place, replacement = BAD[name]
    at: Any = value
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = replacement
    with pytest.raises((FieldError, Malformed)):
        read(value, program.block())


def test_levels_and_scales_have_to_agree() -> None:
    value = value_of(made())
    instructions = value["instructions"]
    added = copy.deepcopy(value)
    added["instructions"] = [*instructions, ["add", 0, len(instructions)]]  # levels 2 and 0
    with pytest.raises(Malformed, match="one level"):
        read(added, made().block())
    scales = copy.deepcopy(value)
    scales["instructions"] = [*instructions, ["label", 0, "2.0"], ["add", 0, len(instructions) + 1]]
    with pytest.raises(Malformed, match="scale"):
        read(scales, made().block())
    deep = copy.deepcopy(value)
    deep["instructions"] = [*instructions, ["rescale", len(instructions)]]
    with pytest.raises(Malformed, match="primes to drop"):
        read(deep, made().block())


@pytest.mark.parametrize("number", [np.nan, np.inf, -0.0])
def test_refused_constants(number: float) -> None:
    program = made()
    block = np.frombuffer(program.block(), "<f8").copy()
    block[0] = number
    with pytest.raises(Malformed, match="finite"):
        read(value_of(program), block.tobytes())
    with pytest.raises(Malformed, match="bytes"):
        read(value_of(program), program.block()[:-8])


def test_constants_have_to_fit_their_plaintexts() -> None:
    program = made()
    block = np.frombuffer(program.block(), "<f8").copy()
    block[0] = 1e9
    with pytest.raises(Malformed, match="times its scale"):
        read(value_of(program), block.tobytes())


@settings(max_examples=200)
@given(st.data())
def test_any_change_is_read_as_written_or_refused(data: st.DataObject) -> None:
    """Invariant: a program, or FieldError, or Malformed; what is read is written back."""
    program = made()
    value = value_of(program)
    paths: list[tuple[Any, ...]] = []

    def walk(at: Any, path: tuple[Any, ...]) -> None:
        items = (
            at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        )
        for key, item in items:
            paths.append((*path, key))
            walk(item, (*path, key))

    walk(value, ())
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths))
        at: Any = value
        try:
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = data.draw(
                st.one_of(
                    st.integers(-2, 300),
                    st.none(),
                    st.sampled_from(["dot", "2.0", "1e+30", "rotate", ""]),
                    st.lists(st.integers(0, 9), max_size=3),
                )
            )
        except (TypeError, KeyError, IndexError):
            continue
    try:
        found = read(value, program.block())
    except (FieldError, Malformed):
        return
    assert dumps(found.to_json()) == dumps(value)


def wide(count: int) -> Program:
    """So many rotations of one input, all of them kept for the last sum."""
    parameters = Parameters(8192, choose_primes(8192, 31, 2, 33, 34))
    rotations = tuple(Instruction("rotate", (0,), amount=1 + i) for i in range(count))
    last = Instruction("dot", tuple(range(1, count + 1)), (0,) * count, scale=2.0**60)
    inputs = (Register(2, 2.0**31),)
    return Program(parameters, 1, inputs, (*rotations, last), (np.ones(1),), (count + 1,))


def test_registers_held_at_once() -> None:
    """Each is a ciphertext in a run, and a matrix in a simulation at the owner's."""
    assert wide(9).held == 10
    most, more = wide(MAX_HELD - 1), wide(MAX_HELD)
    assert read(value_of(most), most.block()).held == MAX_HELD
    with pytest.raises(Malformed, match="held at once"):
        read(value_of(more), more.block())


def test_simulations_take_what_they_can_hold() -> None:
    few = wide(9)
    assert samples_at_once(few) * few.held * few.features <= 1 << 25
    assert samples_at_once(wide(MAX_HELD - 1)) >= 1
