"""Evaluation keys that say to be others than they are: native code would believe them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from proofml.backend import Context
from proofml.fhe.concrete import keyset, messages, owner
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.scheme import Malformed

from .evaluation import evaluation

#: The table of segments, and descriptions of few keys.
_HEAD = 600


@pytest.mark.parametrize("name", ["linear", "network", "forest"])
def test_what_concrete_writes(concrete: Context, name: str, request: pytest.FixtureRequest) -> None:
    """In segments of its own choice, with far pointers between them."""
    circuit: ConcreteCircuit = request.getfixturevalue(name)
    _, data = owner.keygen(circuit, concrete)
    body = messages.read_evaluation(data, circuit.program).body
    keyset.check(body, circuit.program.data)
    assert name == "linear" or int.from_bytes(body[:4], "little") > 0, "segments"


def test_what_is_written_here(network: ConcreteCircuit, linear: ConcreteCircuit) -> None:
    for circuit in (network, linear):
        keyset.check(evaluation(circuit.program), circuit.program.data)


_NUMBERS = ("id", "inputId", "outputId", "levelCount", "baseLog", "integerPrecision")
_OF_KIND = {
    "lweBootstrapKeys": ("glweDimension", "polynomialSize", "inputLweDimension"),
    "lweKeyswitchKeys": ("inputLweDimension", "outputLweDimension"),
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, more in _OF_KIND.items() for name in (*_NUMBERS, *more)],
)
def test_another_description(network: ConcreteCircuit, kind: str, name: str) -> None:
    program = network.program

    def lie(keys: dict[str, Any], by: int) -> None:
        of = keys[kind][0]
        (of if name in of else of["params"])[name] += by

    for by in (1, 1 << 20):
        with pytest.raises(Malformed, match="description of a key"):
            keyset.check(evaluation(program, lambda keys, by=by: lie(keys, by)), program.data)


def test_other_sizes_and_numbers(network: ConcreteCircuit) -> None:
    program = network.program
    for kind in ("lweBootstrapKeys", "lweKeyswitchKeys"):
        with pytest.raises(Malformed, match="number of keys"):
            keyset.check(evaluation(program, lambda keys, k=kind: keys[k].pop()), program.data)

    def swapped(keys: dict[str, Any]) -> None:
        keys["lweBootstrapKeys"], keys["lweKeyswitchKeys"] = [], []

    with pytest.raises(Malformed, match="number of keys"):
        keyset.check(evaluation(program, swapped), program.data)
    whole = evaluation(program)
    for data in (b"", whole[:4], whole[:-8], whole + bytes(8), b"\xff" * 64):
        with pytest.raises(Malformed, match="as Concrete writes them"):
            keyset.check(data, program.data)


def test_key_that_is_shorter_than_it_says(network: ConcreteCircuit) -> None:
    program = network.program
    whole = evaluation(program)
    rng, lists = random.Random(0), 0
    for at in range(8, _HEAD, 8):
        word = int.from_bytes(whole[at : at + 8], "little")
        if word & 3 == 1 and (word >> 32) & 7 == 2:
            lists += 1
            less = word - (rng.randrange(1, word >> 35) << 35)
            data = whole[:at] + less.to_bytes(8, "little") + whole[at + 8 :]
            with pytest.raises(Malformed, match="size of a key"):
                keyset.check(data, program.data)
    assert lists >= 1


def test_lists_of_nothing(network: ConcreteCircuit) -> None:
    """A small file cannot ask for a long time or much memory."""
    whole = bytearray(evaluation(network.program))
    # The first list: 2^30 - 1 elements of no words.
    at = next(
        at
        for at in range(16, _HEAD, 8)
        if int.from_bytes(whole[at : at + 4], "little") & 3 == 1 and whole[at + 4] & 7 == 7
    )
    offset = int.from_bytes(whole[at : at + 4], "little") >> 2
    tag = at + 8 + 8 * offset
    whole[at + 4 : at + 8] = (7).to_bytes(4, "little")
    whole[tag : tag + 8] = ((1 << 30) - 1 << 2).to_bytes(8, "little")
    with pytest.raises(Malformed, match="elements of a list"):
        keyset.check(bytes(whole), network.program.data)


def test_key_in_too_many_pieces(network: ConcreteCircuit) -> None:
    whole = bytearray(evaluation(network.program))
    at = next(
        at
        for at in range(16, _HEAD, 8)
        if int.from_bytes(whole[at : at + 4], "little") & 3 == 1 and whole[at + 4] & 7 == 6
    )
    whole[at + 4 : at + 8] = (6 | 5000 << 3).to_bytes(4, "little")
    with pytest.raises(Malformed, match="pieces of a key"):
        keyset.check(bytes(whole), network.program.data)


def test_any_change_of_the_head(network: ConcreteCircuit) -> None:
    """No change ends in another error, in a loop, or in a read beside the file."""
    program = network.program
    whole = evaluation(program)
    rng = random.Random(1)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            data[rng.randrange(_HEAD)] = rng.choice(
                [0, 1, 2, 3, 6, 7, 127, 255, rng.randrange(256)]
            )
        try:
            keyset.check(bytes(data), program.data)
        except Malformed as error:
            assert "as Concrete writes them" in str(error)  # noqa: PT017
