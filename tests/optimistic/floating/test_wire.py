"""Bytes of float claims: one form each, and any others are refused by name."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.optimistic.claim import Terms
from proofml.optimistic.clock import Side
from proofml.optimistic.floating import ruling
from proofml.optimistic.floating.accusation import (
    Accusation,
    Result,
    Values,
    Wiring,
    read_accusation,
)
from proofml.optimistic.floating.bounds import Basis, Bounds
from proofml.optimistic.floating.claim import FloatHeader, read_header
from proofml.optimistic.floating.data import (
    PIECE,
    answer,
    check_place,
    pieces_of,
    place_of,
    read_answer,
    tensor_of,
)
from proofml.optimistic.floating.descriptor import read_descriptor
from proofml.optimistic.floating.finding import Finding, Verdict
from proofml.optimistic.floating.plan import Plan, Ref, Type
from proofml.optimistic.floating.pointing import accuse, values
from proofml.optimistic.floating.trace import FloatTrace, read_trace
from proofml.optimistic.merkle import tree_of_leaves
from proofml.optimistic.program import Source
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import WireError

from . import parts
from .court import STAKES, Court, _json

THEORETICAL = Bounds(Basis.THEORETICAL)


@pytest.fixture(scope="module")
def case() -> tuple[Plan, FloatTrace]:
    model, inputs = parts.small_network()
    plan = parts.plan_for(model, inputs)
    return plan, parts.trace_for(plan, parts.run(plan, inputs))


def terms_for(plan: Plan, trace: FloatTrace) -> Terms:
    return Terms(
        statement=bytes(32),
        program=FloatHeader.of(plan, THEORETICAL).root,
        inputs=tuple(tensor.digest for tensor in trace.inputs),
        outputs=tuple(trace.tensor(ref).digest for ref in plan.ports),
        trace=trace.root,
        **STAKES,
    )


def test_descriptors_read_back(case: tuple[Plan, FloatTrace]) -> None:
    plan, _ = case
    for operator in plan.operators:
        data = operator.descriptor(plan.weight_digests)
        found = read_descriptor(data)
        assert found.types == operator.types
        assert tuple(bound.ref for bound in found.inputs) == operator.inputs
        again = found.operator(operator.index)
        assert (again.op, again.kind) == (operator.op, operator.kind)
        assert again.descriptor(plan.weight_digests) == data


def test_headers_read_back(case: tuple[Plan, FloatTrace]) -> None:
    plan, _ = case
    count = len(plan.operators)
    shares = tuple(((index + 1) / count,) for index in range(count))
    calibrated = Bounds(Basis.CALIBRATED, shares, (1.0,), 1.5, 3, ("here",), plan.root.hex())
    for bounds in (THEORETICAL, calibrated):
        header = FloatHeader.of(plan, bounds)
        assert read_header(header.to_bytes()) == header
        assert header.plan_root == plan.root
        assert [header.bounds.limit(i) for i in range(count)] == [
            bounds.limit(i) for i in range(count)
        ]
    assert FloatHeader.of(plan, THEORETICAL).root != FloatHeader.of(plan, calibrated).root
    for wrong in (
        header.to_bytes() + b"\0",
        header.to_bytes()[:-1],
        replace(header, limits=(2.0,) * count).to_bytes(),
        replace(header, limits=(0.0,) * count).to_bytes(),
        replace(header, limits=(1e-6,) * count).to_bytes(),
        replace(header, limits=(float("nan"),) * count).to_bytes(),
        replace(header, limits=header.limits[1:]).to_bytes(),
    ):
        with pytest.raises(WireError):
            read_header(wrong)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_refused_or_mean_themselves(
    case: tuple[Plan, FloatTrace], data: st.DataObject
) -> None:
    """Any bytes: read and written back the same, or `WireError`."""
    plan, trace = case
    accusation = accuse(trace, 4, values(trace, 4)).move().data
    header = FloatHeader.of(plan, THEORETICAL).to_bytes()
    which = data.draw(st.sampled_from(["header", "accusation"]))
    changed = bytearray(header if which == "header" else accusation)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, min(len(changed), 600) - 1))
        changed[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(0, len(changed))) :]
    try:
        if which == "header":
            assert read_header(bytes(changed)).to_bytes() == changed
        else:
            assert read_accusation(bytes(changed)).move().data == changed
    except WireError:
        pass


@pytest.mark.parametrize("size", [0, 4, 1024, 1028, PIECE, PIECE + 4, 3 * PIECE - 1024, 4 * PIECE])
def test_pieces_of_any_size(size: int) -> None:
    """Every piece of an input opens under its digest; changed, moved or cut ones do not."""
    x = {"x": np.arange(size // 4, dtype=np.float32)}
    plan = parts.plan_for(parts.model_of([parts.node("Neg", ["x"], ["y"])], x, ["y"]), x)
    trace = parts.trace_for(plan, {Ref(Source.INPUT, 0): x["x"], parts.made_by(0): -x["x"]})
    header, terms = FloatHeader.of(plan, THEORETICAL), terms_for(plan, trace)
    for ref in (Ref(Source.INPUT, 0), parts.made_by(0)):
        got = []
        for piece in range(pieces_of(size)):
            place = place_of(header, ref, piece)
            check_place(header, *place)
            data, path = answer(header, trace, *place)
            got.append(read_answer(header, terms, *place, data, path).piece)
            if size:
                with pytest.raises(IllegalMove) as error:
                    read_answer(header, terms, *place, data[:-1] + b"!", path)
                assert error.value.refusal is Refusal.NO_DATA
            if len(got) > 1:
                with pytest.raises(IllegalMove):
                    read_answer(header, terms, *place_of(header, ref, 0), data, path)
        array = tensor_of(Type("float32", (size // 4,)), got)
        np.testing.assert_array_equal(array, trace.array(ref))


def test_what_does_not_exist_is_answered_by_what_shows_it(
    case: tuple[Plan, FloatTrace],
) -> None:
    plan, trace = case
    header, terms = FloatHeader.of(plan, THEORETICAL), terms_for(plan, trace)
    for ref, piece in ((parts.made_by(2), 40_000), (parts.made_by(2, 7), 0)):
        place = place_of(header, ref, piece)
        data, path = answer(header, trace, *place)
        assert read_answer(header, terms, *place, data, path).piece == b""
    # A claimant who says that a tensor is smaller than it is, to show none of it.
    place = place_of(header, parts.made_by(2), 1)
    data, path = answer(header, trace, *place_of(header, parts.made_by(2), 40_000))
    kind = plan.operators[2].types[0]
    small = data.replace(kind.to_bytes(), Type(kind.dtype, (1,)).to_bytes())
    assert small != data
    with pytest.raises(IllegalMove, match="expected the root that shows it"):
        read_answer(header, terms, *place, small, path)
    with pytest.raises(IllegalMove):
        check_place(header, len(header.inputs) + header.count, 0)


@pytest.mark.parametrize(
    ("margin", "inside", "outside"),
    [(0.5, True, False), (1.0, True, False), (1 + ruling.EDGE * 0.4, True, False),
     (1 + ruling.EDGE, True, True), (1 + ruling.EDGE * 1.6, False, True)],
)  # fmt: skip
def test_machines_that_differ_a_little_agree(
    case: tuple[Plan, FloatTrace],
    monkeypatch: pytest.MonkeyPatch,
    margin: float,
    inside: bool,
    outside: bool,
) -> None:
    """What the maker of a move found is accepted by whoever finds nearly the same."""
    plan, trace = case
    header, terms = FloatHeader.of(plan, THEORETICAL), terms_for(plan, trace)
    verdict = Verdict.OUTSIDE if margin > 1 else Verdict.INSIDE
    finding = Finding(4, "Div", verdict, "theoretical", margin=margin)
    monkeypatch.setattr(ruling, "judge", lambda *_: finding)
    accusation = accuse(trace, 4, values(trace, 4))
    for stands, legal in ((True, outside), (False, inside)):
        if legal:
            winner = Side.CHALLENGER if stands else Side.CLAIMANT
            assert ruling.rule(terms, header, accusation.ruled(stands)).side is winner
        else:
            with pytest.raises(IllegalMove):
                ruling.rule(terms, header, accusation.ruled(stands))


@pytest.fixture
def court(tmp_path: Path) -> Iterator[Court]:
    made = Court(tmp_path, int(time.time()))
    yield made
    made.close()


def test_a_published_folder_is_a_stranger_s(court: Court, tmp_path: Path) -> None:
    """Other bytes, other sizes, and what is no file: found by digest and size."""
    from proofml.errors import VerificationError

    honest = court.honest()
    court.publish(honest, tmp_path / "traces")
    (place,) = (tmp_path / "traces").iterdir()
    trace = read_trace(court.plan, place)
    assert trace.root == honest.root
    assert (place / "trace.json").read_bytes() == _json(honest)
    for change, number in (
        (b"!", "float.1"), (None, "float.2"), ("folder", "float.1"), ("pipe", "float.1"),
    ):  # fmt: skip
        path = place / "o4.0.bin"
        data = path.read_bytes()
        if change is None:
            path.write_bytes(data[:-1] + b"!")
        elif change == "folder":
            path.unlink()
            path.mkdir()
        elif change == "pipe":
            path.unlink()
            os.mkfifo(path)
        else:
            path.write_bytes(data + b"!")
        with pytest.raises(VerificationError) as error:
            trace.array(parts.made_by(4))
        assert error.value.check == number
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(data)


def test_a_record_that_is_a_pipe_stops_nobody(court: Court, tmp_path: Path) -> None:
    from proofml.errors import VerificationError

    os.mkfifo(tmp_path / "trace.json")
    with pytest.raises(VerificationError, match="No such file"):
        read_trace(court.plan, tmp_path)


@pytest.mark.parametrize("form", ["another number of outputs", "no leaf", "another's number"])
def test_leaves_that_nobody_honest_commits_to(case: tuple[Plan, FloatTrace], form: str) -> None:
    """Whoever can open such a leaf wins by it, whatever he says is wrong with it."""
    plan, trace = case
    leaf = trace.leaves[4]
    data = {
        "another number of outputs": replace(leaf, outputs=leaf.outputs * 2).to_bytes(),
        "no leaf": b"?",
        "another's number": replace(leaf, index=3).to_bytes(),
    }[form]
    leaves = [each.to_bytes() for each in trace.leaves]
    leaves[4] = data
    tree = tree_of_leaves(leaves)
    header = FloatHeader.of(plan, THEORETICAL)
    terms = replace(terms_for(plan, trace), trace=tree.root)
    descriptor = plan.operators[4].descriptor(plan.weight_digests)
    accusation = Accusation.of(4, plan.descriptors, descriptor, tree, data, Values(()))
    assert ruling.stands(terms, header, accusation) is None
    assert ruling.rule(terms, header, accusation).side is Side.CHALLENGER
    honest = Accusation.of(
        4, plan.descriptors, descriptor, trace.tree, leaf.to_bytes(), Wiring(0, b"", ())
    )
    with pytest.raises(IllegalMove):
        ruling.rule(terms, header, honest)


def test_right_wiring_is_no_fault(case: tuple[Plan, FloatTrace]) -> None:
    plan, trace = case
    header, terms = FloatHeader.of(plan, THEORETICAL), terms_for(plan, trace)
    for operator in plan.operators:
        for place, ref in enumerate(operator.inputs):
            charge = Wiring(place)
            if ref.source is Source.OPERATOR:
                producer = trace.leaves[ref.index].to_bytes()
                charge = Wiring(place, producer, trace.tree.path(ref.index))
            won = ruling.rule(terms, header, accuse(trace, operator.index, charge))
            assert won.side is Side.CLAIMANT
    assert ruling.rule(terms, header, accuse(trace, 10, Result(0))).side is Side.CLAIMANT
    for operator, wrong in ((3, Result(0)), (10, Result(1)), (4, Wiring(9))):
        with pytest.raises(IllegalMove) as error:
            ruling.rule(terms, header, accuse(trace, operator, wrong))
        assert error.value.refusal is Refusal.NO_WIRE
