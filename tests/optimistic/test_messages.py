"""Terms, moves and actions as bytes: one form each, strict, bounded; and the chess clock."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.optimistic import actions, clock, moves
from proofml.optimistic.claim import MAX_TERMS_BYTES, Terms
from proofml.optimistic.clock import Clock, Side
from proofml.optimistic.moves import MAX_MOVE_BYTES, Move, Opening
from proofml.optimistic.refusals import IllegalMove, Refusal
from proofml.optimistic.wire import Reader, WireError

from .claims import honest

DIGEST = st.binary(min_size=32, max_size=32)
DIGESTS = st.lists(DIGEST, max_size=4).map(tuple)
U16, U32, U64, U128 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64, 128))
TERMS = st.builds(
    Terms,
    statement=DIGEST,
    program=DIGEST,
    inputs=DIGESTS,
    outputs=DIGESTS,
    trace=DIGEST,
    k_log=st.integers(0, 255),
    bond=U128,
    challenge_bond=U128,
    burn=U16,
    window=U32,
    clock=U32,
    extension=U32,
    answer=U32,
    data_fee=U128,
    uri=st.text(max_size=60),
)
PATH = st.lists(DIGEST, max_size=32).map(tuple)
DATA = st.binary(max_size=200)
OPENING = st.builds(Opening, U32, DATA, PATH)
CHILDREN = st.integers(1, 3).flatmap(
    lambda m: st.lists(DIGEST, min_size=1 << m, max_size=1 << m).map(tuple)
)
STATES = st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=64).map(tuple)
MOVE: st.SearchStrategy[Move] = st.one_of(
    st.builds(moves.RevealTrace, CHILDREN),
    st.builds(moves.Select, U32),
    st.builds(moves.RevealOperator, DATA, DATA, PATH),
    st.builds(moves.ProveWiring, U16, DATA, PATH),
    st.builds(moves.DisputeCells),
    st.builds(moves.RevealCells, CHILDREN),
    st.builds(moves.RevealChunk, DATA),
    st.builds(moves.SelectCell, U32),
    st.builds(moves.ProveRange, U32),
    st.builds(moves.RevealSums, STATES, st.none() | OPENING),
    st.builds(moves.ProveSummand, st.lists(OPENING, max_size=4).map(tuple)),
    st.builds(moves.PointAt, DATA),
)
ACTION: st.SearchStrategy[actions.Action] = st.one_of(
    st.builds(actions.Deposit, U128),
    st.builds(actions.Withdraw),
    st.builds(actions.Post, TERMS, DATA),
    st.builds(actions.Challenge, U64),
    st.builds(actions.Play, U64, MOVE),
    st.builds(actions.TimeOut, U64),
    st.builds(actions.Release, U64),
    st.builds(actions.Ask, U64, U16, U32),
    st.builds(actions.Answer, U64, DATA, PATH),
    st.builds(actions.Default, U64),
    st.builds(actions.ReleaseRequest, U64),
    st.builds(actions.InputRange, U64, U16, U32, OPENING),
    st.builds(actions.Finalise, U64),
)


@given(TERMS)
def test_terms_have_one_form(terms: Terms) -> None:
    assert Terms.read(terms.to_bytes()) == terms


@given(MOVE)
def test_moves_have_one_form(move: Move) -> None:
    assert moves.read_move(moves.to_bytes(move)) == move


@given(ACTION)
def test_actions_have_one_form(action: actions.Action) -> None:
    assert actions.read_action(actions.to_bytes(action)) == action


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read, write in (
        (Terms.read, Terms.to_bytes),
        (moves.read_move, moves.to_bytes),
        (actions.read_action, actions.to_bytes),
    ):
        try:
            found = read(data)  # type: ignore[operator]
        except WireError:
            continue
        assert write(found) == data  # type: ignore[operator]


@given(ACTION, st.data())
def test_changed_bytes_are_another_action_or_none(
    action: actions.Action, data: st.DataObject
) -> None:
    written = bytearray(actions.to_bytes(action))
    at = data.draw(st.integers(0, len(written) - 1))
    change = data.draw(st.sampled_from(["flip", "cut", "add"]))
    if change == "flip":
        written[at] ^= 1 << data.draw(st.integers(0, 7))
    elif change == "cut":
        del written[at]
    else:
        written.insert(at, data.draw(st.integers(0, 255)))
    try:
        found = actions.read_action(bytes(written))
    except WireError:
        return
    assert actions.to_bytes(found) == bytes(written)


def test_every_move_and_action_is_drawn() -> None:
    assert {kind.kind for kind in moves.Move.__args__} == {*range(1, 12), 20}
    assert {kind.kind for kind in actions.Action.__args__} == set(range(1, 14))


def test_bounds_of_sizes() -> None:
    with pytest.raises(WireError, match="at most"):
        moves.read_move(bytes(MAX_MOVE_BYTES + 1))
    with pytest.raises(WireError, match="at most"):
        Terms.read(bytes(MAX_TERMS_BYTES + 1))
    with pytest.raises(WireError, match="at most"):
        actions.read_action(bytes(actions.MAX_ACTION_BYTES + 1))
    opening = Opening(0, b"", ())
    with pytest.raises(WireError, match="at most"):
        moves.to_bytes(moves.ProveSummand((opening,) * 65))
    with pytest.raises(WireError, match="at most"):
        moves.read_move(b"\x0b\x41" + opening.to_bytes() * 65)
    with pytest.raises(WireError, match="at most"):
        moves.to_bytes(moves.ProveWiring(0, b"", (bytes(32),) * 33))
    with pytest.raises(WireError, match="at most"):
        moves.read_move(b"\x04\0\0\0\0\x21" + bytes(33 * 32))
    for count in (0, 1, 3, 128):
        with pytest.raises(WireError, match="children"):
            moves.to_bytes(moves.RevealTrace((bytes(32),) * count))
    for levels in (0, 7):
        with pytest.raises(WireError, match="levels"):
            moves.read_move(bytes((1, levels)) + bytes(32 << levels))
    with pytest.raises(WireError, match="int64"):
        moves.to_bytes(moves.RevealSums((1 << 63,)))
    with pytest.raises(WireError, match="0 or 1"):
        moves.read_move(b"\x0a\x00\x02")
    post = actions.Post(honest("one").terms(), bytes(actions.MAX_HEADER_BYTES + 1))
    with pytest.raises(WireError, match="header"):
        actions.to_bytes(post)


def test_readers_end_where_they_say() -> None:
    reader = Reader(b"\x00\x01", "two bytes", 2)
    assert reader.unsigned(1, "first") == 0
    with pytest.raises(WireError, match="expected 4 bytes, got 1"):
        reader.unsigned(4, "second")
    assert reader.rest() == b"\x01"
    reader.done()


# ---------------------------------------------------------------- terms
def test_the_bytes_of_terms_are_fixed() -> None:
    """The contract reads these bytes: a change here is a change of the protocol."""
    terms = Terms(
        statement=b"s" * 32,
        program=b"p" * 32,
        inputs=(b"i" * 32,),
        outputs=(b"o" * 32, b"q" * 32),
        trace=b"t" * 32,
        k_log=3,
        bond=1 << 100,
        challenge_bond=5,
        burn=250,
        window=86400,
        clock=3600,
        extension=60,
        answer=600,
        data_fee=9,
        uri="ipfs://x",
    )
    assert terms.to_bytes().hex() == (
        "01" + "73" * 32 + "70" * 32 + "0001" + "69" * 32 + "0002" + "6f" * 32 + "71" * 32
        + "74" * 32 + "03" + "00000010000000000000000000000000"
        + "00000000000000000000000000000005" + "00fa" + "00015180" + "00000e10" + "0000003c"
        + "00000258" + "00000000000000000000000000000009" + "0008" + b"ipfs://x".hex()
    )  # fmt: skip
    assert terms.digest == hashlib.sha256(b"\x03" + terms.to_bytes()).digest()


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("k_log", (1, 6), (0, 7)),
        ("burn", (0, 10_000), (10_001,)),
        ("extension", (1, 60), (0, 61)),
        ("clock", (10,), (0,)),
        ("answer", (1,), (0,)),
        ("bond", (1,), (0,)),
        ("challenge_bond", (1,), (0,)),
        ("window", (0, 1), ()),
        ("data_fee", (0,), ()),
        ("uri", ("", "!~"), ("a b", "\x7f", "é", "\n")),
    ],
)
def test_terms_that_can_be_posted(field: str, good: tuple[object], bad: tuple[object]) -> None:
    terms = honest("one").terms()
    for value in good:
        replace(terms, **{field: value}).check()
    for value in bad:
        with pytest.raises(IllegalMove, match=field) as caught:
            replace(terms, **{field: value}).check()
        assert caught.value.refusal is Refusal.TERMS


@pytest.mark.parametrize(
    "change",
    [
        {"statement": b"short"},
        {"bond": 1 << 128},
        {"bond": -1},
        {"window": 1 << 32},
        {"inputs": (bytes(32),) * 257},
        {"uri": "x" * 1025},
        {"uri": "\ud800"},
        {"k_log": True},
    ],
    ids=str,
)
def test_terms_without_bytes(change: dict[str, object]) -> None:
    with pytest.raises(WireError):
        replace(honest("one").terms(), **change)


# ---------------------------------------------------------------- the clock
def test_the_clock_runs_for_the_side_that_owes_the_move() -> None:
    ticking = Clock.start(100, 30, Side.CLAIMANT, 1000)
    assert ticking.deadline == 1100
    assert not ticking.late(1100)
    assert ticking.late(1101)
    ticking = ticking.moved(Side.CHALLENGER, 1080)
    assert ticking.left == (20, 100)
    assert ticking.deadline == 1180
    ticking = ticking.moved(Side.CLAIMANT, 1090)
    assert ticking.left == (30, 90), "raised to the extension"
    ticking = ticking.moved(Side.CHALLENGER, 1120)
    assert ticking.left == (0, 90), "the last second may be used"
    ticking = ticking.moved(Side.CHALLENGER, 1200)
    assert ticking.left == (0, 30), "a second turn of the same side is a turn"


def test_the_clock_knows_no_other_time() -> None:
    ticking = Clock.start(100, 30, Side.CLAIMANT, 1000)
    for now in (999, 1101):
        with pytest.raises(ValueError, match="expected 1000 to 1100"):
            ticking.moved(Side.CHALLENGER, now)


@given(st.integers(1, 50), st.integers(1, 50), st.lists(st.tuples(st.booleans(), st.floats(0, 1))))
def test_no_dispute_is_longer_than_the_bound(
    most: int, extension: int, turns: list[tuple[bool, float]]
) -> None:
    ticking = Clock.start(most, extension, Side.CLAIMANT, 0)
    for same, share in turns:
        now = ticking.since + int(share * ticking.left[ticking.turn])
        ticking = ticking.moved(ticking.turn if same else ticking.turn.other, now)
        assert ticking.left[ticking.turn] >= extension
    assert ticking.deadline + 1 <= clock.longest(most, extension, len(turns) + 1)
