"""Inputs, outputs, nonce: what is stated against what the instances of a valid proof say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from proofml.backend import Request
from proofml.expectation import Expectation
from proofml.statement import Visibility
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.zkml.ezkl.evidence import ProofBlob
from proofml.zkml.ezkl.field import R, decode, encode
from proofml.zkml.ezkl.instances import SCHEME
from proofml.zkml.ezkl.params import HIDEABLE
from proofml.zkml.ezkl.wrap import WORDS

from .malicious import Table
from .models import FLOAT, OTHER_X, X, constant, graph
from .workshop import HASHED_ROWS, Workshop, deaf_to, refused

HASHED_INPUT = Request(input_visibility=Visibility.HASHED)
HASHED_OUTPUT = Request(output_visibility=Visibility.HASHED)
PRIVATE_INPUT = Request(input_visibility=Visibility.PRIVATE)


def with_instances(attacker: Attacker, change: Callable[[list[bytes]], None]) -> Attacker:
    """The same transcript under other instances."""
    blob = ProofBlob.unpack(attacker.sections["proof"])
    instances = list(blob.instances)
    change(instances)
    attacker.sections["proof"] = ProofBlob(tuple(instances), blob.transcript).pack()
    return attacker


# -- one run under the Statement of another -------------------------------------------------------


def test_rewrapped_under_another_nonce(workshop: Workshop) -> None:
    """EZKL has no place for a context: to its verifier it is the same proof."""
    attacker = workshop.take(workshop.honest())
    attacker.statement["nonce"] = "0102"
    assert workshop.bare(attacker)
    expect = Expectation(model=workshop.model, nonce=b"\x01\x02")
    refused(workshop.judge(attacker, expect), "ezkl.8")


def test_rewrapped_for_another_input(workshop: Workshop) -> None:
    attacker = workshop.take(workshop.honest())
    attacker.set_value("input.0", OTHER_X["x"])
    assert workshop.bare(attacker)
    refused(workshop.judge(attacker, Expectation(model=workshop.model, inputs=OTHER_X)), "ezkl.9")


def test_rewrapped_for_another_output(workshop: Workshop) -> None:
    wish = {"y": np.array([[100.0, 0.0]], np.float32)}
    attacker = workshop.take(workshop.honest())
    attacker.set_value("output.0", wish["y"])
    assert workshop.bare(attacker)
    refused(workshop.judge(attacker, Expectation(model=workshop.model, outputs=wish)), "ezkl.8")


def test_input_lie_in_the_instances(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest of the lying Statement is proven, so the input alone tells."""
    proof = workshop.forger(values={"input.0": OTHER_X["x"]}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.9")
    deaf_to("ezkl.9", monkeypatch)
    assert workshop.judge(proof)


def test_output_lie_in_the_instances(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = np.array([[100.0, 0.0]], np.float32)
    proof = workshop.forger(values={"output.0": wish}).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.10")
    deaf_to("ezkl.10", monkeypatch)
    assert workshop.judge(proof)


def test_input_in_the_last_place(workshop: Workshop) -> None:
    """Half a step of the fixed point away; a nearer value quantises alike and is as good."""
    step = X["x"] + np.array([[2**-8, 0, 0, 0]], np.float32)
    refused(workshop.judge(workshop.forger(values={"input.0": step}).prove()), "ezkl.9")
    near = X["x"] + np.array([[2**-9, 0, 0, 0]], np.float32)
    assert workshop.judge(workshop.forger(values={"input.0": near}).prove())


def test_output_in_the_last_place(workshop: Workshop) -> None:
    """To the bit, and the sign of zero: an output has one form."""
    true = workshop.honest().tensor("output.0")
    wrong = np.nextafter(true, np.float32(np.inf))
    refused(workshop.judge(workshop.forger(values={"output.0": wrong}).prove()), "ezkl.10")
    zero = graph(
        [helper.make_node("Relu", ["x"], ["y"])], {"x": (FLOAT, [1, 4])}, {"y": (FLOAT, [1, 4])}
    )
    relu = workshop.load(zero)
    negative = np.array([[0.5, -0.0, 2.0, 0.25]], np.float32)
    proof = workshop.forger(relu, values={"output.0": negative}).prove()
    refused(workshop.judge(proof, Expectation(model=relu)), "ezkl.10")


def test_no_words(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that is bound to no Statement is one of every Statement."""
    proof = workshop.forger(words=lambda words: [0] * WORDS).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.8")
    deaf_to("ezkl.8", monkeypatch)
    assert workshop.judge(proof)


def test_words_of_another_statement_where_they_leave_by_an_output(workshop: Workshop) -> None:
    """With a private input the words are carried to an output, hashed with the others or public."""
    for output in (Visibility.PUBLIC, Visibility.HASHED):
        request = replace(PRIVATE_INPUT, output_visibility=output)
        forger = workshop.forger(
            request=request, run_args=HASHED_ROWS, words=lambda words: [*words[:-1], words[-1] ^ 1]
        )
        refused(workshop.judge(forger.prove()), "ezkl.8")


@pytest.mark.parametrize("word", range(WORDS))
def test_each_word(workshop: Workshop, word: int) -> None:
    """One bit of one word, in the instances."""

    def change(instances: list[bytes]) -> None:
        at = 4 + word
        instances[at] = encode(decode(instances[at]) ^ 1)

    refused(workshop.judge(with_instances(workshop.take(workshop.honest()), change)), "ezkl.8")


def test_instances_in_the_statements_favour(workshop: Workshop) -> None:
    """A lying Statement with instances to match: nothing is left but the proof itself."""
    forged = workshop.take(
        workshop.forger(values={"output.0": np.zeros((1, 2), np.float32)}).prove()
    )

    def change(instances: list[bytes]) -> None:
        instances[-2:] = [encode(0), encode(0)]

    with_instances(forged, change)
    assert not workshop.bare(forged)
    refused(workshop.judge(forged), "ezkl.15")


# -- the column -----------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[list[bytes]], None]] = {
    "one less": lambda column: column.pop(),
    "the first left out": lambda column: column.pop(0),
    "none": lambda column: column.clear(),
    "one more": lambda column: column.append(encode(0)),
    "a thousand more": lambda column: column.extend([encode(0)] * 1000),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_number_of_instances(workshop: Workshop, name: str) -> None:
    attacker = with_instances(workshop.take(workshop.honest()), COLUMNS[name])
    refused(workshop.judge(attacker), "ezkl.8")


@pytest.mark.parametrize("beyond", [0, 1, 2**256 - 1 - R])
def test_instance_that_is_no_field_element(workshop: Workshop, beyond: int) -> None:
    """r + v stands for v: a second spelling of the same proof."""

    def change(instances: list[bytes]) -> None:
        instances[0] = (R + beyond).to_bytes(32, "little")

    refused(workshop.judge(with_instances(workshop.take(workshop.honest()), change)), "ezkl.7")


def test_output_outside_the_circuits_range(workshop: Workshop) -> None:
    """A field element that no range check lets through, with the float that it would stand for."""
    limit = 128**4
    wish = np.array([[limit / 2**7, 0.0]], np.float32)

    def after(blob: ProofBlob) -> ProofBlob:
        return replace(blob, instances=(*blob.instances[:-2], encode(limit), encode(0)))

    proof = workshop.forger(values={"output.0": wish}, after=after).prove()
    refused(workshop.judge(proof), "ezkl.10")


UNQUANTISED: dict[str, tuple[int, Array]] = {
    "NaN": (FLOAT, np.array([[np.nan, 0, 0, 0]], np.float32)),
    "infinity": (FLOAT, np.array([[np.inf, 0, 0, 0]], np.float32)),
    "the greatest double": (TensorProto.DOUBLE, np.array([[np.finfo(np.float64).max, 0, 0, 0]])),
    "2^120": (TensorProto.DOUBLE, np.array([[2.0**120, 0, 0, 0]])),
}


@pytest.mark.parametrize("name", UNQUANTISED)
def test_input_without_a_fixed_point_form(workshop: Workshop, name: str) -> None:
    kind, value = UNQUANTISED[name]
    node = helper.make_node("Relu", ["x"], ["y"])
    model = workshop.load(graph([node], {"x": (kind, [1, 4])}, {"y": (kind, [1, 4])}))
    given = {"x": np.zeros((1, 4), value.dtype)}
    proof = workshop.forger(model, inputs=given, values={"input.0": value}).prove()
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.9")


# -- commitments ----------------------------------------------------------------------------------


def relabel(role: str, **commitment: str) -> Callable[[Table], None]:
    """A lie about a commitment."""
    kind, _, index = role.partition(".")

    def lie(statement: Table) -> None:
        statement[f"{kind}s"][int(index)]["commitment"].update(commitment)

    return lie


@pytest.mark.parametrize(
    ("request_", "role", "number"),
    [(HASHED_INPUT, "input.0", "ezkl.9"), (HASHED_OUTPUT, "output.0", "ezkl.10")],
    ids=["input", "output"],
)
def test_commitment_to_something_else(
    workshop: Workshop, request_: Request, role: str, number: str
) -> None:
    """Another value, another scheme: each proven with its own Statement."""
    for lie in (relabel(role, value="00" * 32), relabel(role, scheme="sha256")):
        forger = workshop.forger(request=request_, run_args=HASHED_ROWS, lie=lie)
        refused(workshop.judge(forger.prove()), number)


@pytest.mark.parametrize("value", ["", "00" * 31, "00" * 33])
def test_commitment_of_another_length(workshop: Workshop, value: str) -> None:
    attacker = workshop.take(workshop.forger(request=HASHED_INPUT, run_args=HASHED_ROWS).prove())
    attacker.claim("input.0")["commitment"]["value"] = value
    refused(workshop.judge(attacker), "ezkl.9")


def test_hashed_input_of_somebody_else(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of an input has his own compared with the commitment."""
    proof = workshop.forger(request=HASHED_INPUT, run_args=HASHED_ROWS).prove()
    assert workshop.judge(proof, Expectation(model=workshop.model, inputs=X))
    owner = Expectation(model=workshop.model, inputs=OTHER_X)
    refused(workshop.judge(proof, owner), "ezkl.9")
    deaf_to("ezkl.9", monkeypatch)
    assert workshop.judge(proof, owner)


def test_hashed_output_of_somebody_else(workshop: Workshop) -> None:
    proof = workshop.forger(request=HASHED_OUTPUT, run_args=HASHED_ROWS).prove()
    right = {"y": workshop.honest().tensor("output.0")}
    assert workshop.judge(proof, Expectation(model=workshop.model, outputs=right))
    wrong = Expectation(model=workshop.model, outputs={"y": right["y"] + 1})
    refused(workshop.judge(proof, wrong), "ezkl.10")
    nowhere = Expectation(model=workshop.model, outputs={"y": right["y"] * np.float32(np.nan)})
    refused(workshop.judge(proof, nowhere), "ezkl.10")


def test_commitment_to_a_private_input(workshop: Workshop) -> None:
    """Nothing shows it, so it may name anybody's data: no Statement of this backend has one."""

    def lie(statement: Table) -> None:
        statement["inputs"][0]["commitment"] = {"scheme": SCHEME, "value": "11" * 32}

    proof = workshop.forger(request=PRIVATE_INPUT, lie=lie).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.2")


# -- hidden inputs and the range of their type ----------------------------------------------------


def counting(kind: int) -> bytes:
    """Four whole numbers, added up."""
    return graph(
        [
            helper.make_node("Cast", ["x"], ["f"], to=FLOAT),
            helper.make_node("MatMul", ["f", "ones"], ["y"]),
        ],
        {"x": (kind, [1, 4])},
        {"y": (FLOAT, [1, 1])},
        [constant("ones", np.ones((4, 1)))],
    )


def test_hidden_byte_of_minus_100000(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """EZKL constrains a hidden uint8 to 28 bits: no four bytes add up to -99,994."""
    model = workshop.load(counting(TensorProto.UINT8))

    def data(lists: list[list[Any]]) -> None:
        lists[0] = [-100_000, 3, 2, 1]

    given = {"x": np.array([[0, 3, 2, 1]], np.uint8)}
    proof = workshop.forger(model, inputs=given, request=PRIVATE_INPUT, data=data).prove()
    assert proof.tensor("output.0").item() == -99_994
    assert workshop.bare(proof)
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.2")
    deaf_to("ezkl.2", monkeypatch)
    assert workshop.judge(proof, Expectation(model=model))


def test_hidden_bool_is_constrained(workshop: Workshop) -> None:
    """A bool other than 0 and 1 has no witness, so it may be hidden."""
    assert "bool" in HIDEABLE
    model = workshop.load(counting(TensorProto.BOOL))
    given = {"x": np.array([[True, False, True, True]])}

    def data(lists: list[list[Any]]) -> None:
        lists[0] = [encode(value).hex() for value in (1, 0, 2, 1)]

    expect = Expectation(model=model)
    assert workshop.judge(
        workshop.forger(model, inputs=given, request=PRIVATE_INPUT).prove(), expect
    )
    with pytest.raises(Exception, match="synthesis"):
        workshop.forger(model, inputs=given, request=PRIVATE_INPUT, data=data).prove()


# -- visibilities ---------------------------------------------------------------------------------


def two_inputs() -> bytes:
    return graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        {"a": (FLOAT, [1, 2]), "b": (FLOAT, [1, 2])},
        {"y": (FLOAT, [1, 2])},
    )


AB = {"a": np.array([[1, 2]], np.float32), "b": np.array([[8, 4]], np.float32)}


def test_mixed_visibilities(workshop: Workshop) -> None:
    """One input shown and one hidden is a layout that EZKL has, and that nobody checked."""
    model = workshop.load(two_inputs())
    proof = workshop.forger(model, inputs=AB).prove()
    expect = Expectation(model=model)
    assert workshop.judge(proof, expect)
    for role in ("input.0", "input.1"):
        attacker = workshop.take(proof)
        attacker.hide(role)
        refused(workshop.judge(attacker, expect), "ezkl.2")


def test_inputs_exchanged(workshop: Workshop) -> None:
    """a and b have one type: only their place in the column tells them apart."""
    model = workshop.load(two_inputs())
    proof = workshop.forger(
        model, inputs=AB, values={"input.0": AB["b"], "input.1": AB["a"]}
    ).prove()
    assert workshop.bare(proof)
    refused(workshop.judge(proof, Expectation(model=model)), "ezkl.9")


def test_nothing_shown(workshop: Workshop) -> None:
    """Input and output private: EZKL proves that there is a proof."""
    request = replace(PRIVATE_INPUT, output_visibility=Visibility.PRIVATE)
    proof = workshop.forger(request=request).prove()
    assert struct.unpack_from("<I", proof.sections["proof"], 8) == (0,)
    assert workshop.bare(proof)
    refused(workshop.judge(proof), "ezkl.2")
