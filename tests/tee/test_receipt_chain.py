"""Chains: gaps, forks and cut ends show exactly as far as the documentation says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.errors import VerificationError
from proofml.tee.binding import ReceiptAlgorithm, Session
from proofml.tee.receipt_chain import (
    Fork,
    Head,
    check_receipt,
    check_segment,
    check_tail,
    find_fork,
)
from proofml.tee.receipt_signer import ReceiptSigner
from proofml.tee.receipts import (
    NO_RECEIPT,
    Checkpoint,
    Receipt,
    ReceiptKey,
    Signed,
    SignedCheckpoint,
    SignedReceipt,
    check_checkpoint,
    read_receipts,
    receipts_bytes,
)
from tests.tee.record_cases import (
    ALGORITHMS,
    STARTED,
    assert_strict,
    chain,
    refused,
    secret,
    session,
    statement,
)

both = pytest.mark.parametrize("algorithm", ALGORITHMS)
ED = ReceiptAlgorithm.ED25519
LENGTH = 6
OTHER = "c3" * 32


def checkpoint(
    receipts: tuple[SignedReceipt, ...], algorithm: ReceiptAlgorithm = ED, nonce: bytes = b"n"
) -> SignedCheckpoint:
    """What an enclave says that issued exactly these."""
    head = receipts[-1].record.digest if receipts else NO_RECEIPT
    record = Checkpoint(session(algorithm).digest, len(receipts), head, nonce)
    return secret(algorithm).sign_checkpoint(record)


def resigned(receipt: SignedReceipt, **changes: Any) -> SignedReceipt:
    """By the session's own key: an enclave that is broken, not one that is imitated."""
    record: Receipt = replace(receipt.record, **changes)
    return secret(ED).sign_receipt(record)


# -- segments -------------------------------------------------------------------------------------


@both
def test_a_whole_chain(algorithm: ReceiptAlgorithm) -> None:
    receipts = chain(LENGTH, algorithm)
    found = read_receipts(receipts_bytes(receipts))
    segment = check_segment(found, session(algorithm))
    assert segment.receipts == receipts
    assert segment.head.counter == LENGTH
    assert segment.head.digest == receipts[-1].record.digest
    assert not segment.meets_held
    assert segment.last == receipts[-1].record
    check_receipt(segment, statement(LENGTH - 1))
    for other in (statement(0), OTHER):
        with refused("tee.13"):
            check_receipt(segment, other)


@both
@pytest.mark.parametrize("missing", range(LENGTH - 1))
def test_a_missing_receipt_is_a_gap(algorithm: ReceiptAlgorithm, missing: int) -> None:
    """At the front or in the middle: the attacker may drop receipts, he cannot renumber them."""
    receipts = chain(LENGTH, algorithm)
    with refused("tee.14"):
        check_segment(receipts[:missing] + receipts[missing + 1 :], session(algorithm))


def test_gaps_are_named() -> None:
    receipts = chain(LENGTH)
    with pytest.raises(VerificationError, match=r"1 missing; expected counter 1; got 2"):
        check_segment((receipts[0], *receipts[2:]), session())
    with pytest.raises(VerificationError, match=r"1 to 3 missing"):
        check_segment((receipts[0], *receipts[4:]), session())
    with pytest.raises(VerificationError, match=r"repeated or out of order"):
        check_segment((*receipts[:3], receipts[1]), session())


@settings(max_examples=80)
@given(st.lists(st.integers(0, LENGTH - 1), min_size=1, max_size=LENGTH + 2))
def test_only_a_prefix_is_accepted(order: list[int]) -> None:
    """Any selection, any order, any repetition of honest receipts."""
    receipts = chain(LENGTH)
    chosen = [receipts[i] for i in order]
    if order == list(range(len(order))):
        assert check_segment(chosen, session()).head.counter == len(order)
    else:
        with refused("tee.14"):
            check_segment(chosen, session())


@both
def test_a_cut_end_does_not_show(algorithm: ReceiptAlgorithm) -> None:
    """By itself; this is what checkpoints are for."""
    receipts = chain(LENGTH, algorithm)
    for count in range(1, LENGTH + 1):
        assert check_segment(receipts[:count], session(algorithm)).head.counter == count


def test_no_receipt() -> None:
    with refused("tee.14"):
        check_segment((), session())


@pytest.mark.parametrize("place", range(LENGTH))
@pytest.mark.parametrize(
    "change",
    [
        {"counter": LENGTH + 1},
        {"previous": OTHER},
        {"time": 0},
        {"time": STARTED - 1},
        {"counter": 2**53 - 1},
    ],
    ids=str,
)
def test_receipts_signed_by_the_session_that_do_not_follow(
    place: int, change: dict[str, object]
) -> None:
    """Even the right key cannot make these one chain."""
    receipts = list(chain(LENGTH))
    receipts[place] = resigned(receipts[place], **change)
    with refused("tee.14"):
        check_segment(receipts, session())


@pytest.mark.parametrize("place", range(LENGTH - 1))
def test_a_replaced_receipt_breaks_the_link(place: int) -> None:
    """Another Statement under the same number, signed by the session's key."""
    receipts = list(chain(LENGTH))
    receipts[place] = resigned(receipts[place], statement=OTHER)
    with refused("tee.14"):
        check_segment(receipts, session())


@pytest.mark.parametrize("place", range(LENGTH))
def test_one_bad_signature(place: int) -> None:
    receipts = list(chain(LENGTH))
    receipts[place] = SignedReceipt(receipts[place].record, receipts[place - 1].signature)
    with refused("tee.13"):
        check_segment(receipts, session())


@both
def test_receipts_of_another_session(algorithm: ReceiptAlgorithm) -> None:
    """Whole, honest, under the same key; and under the key of whoever made his own session."""
    same_key = session(algorithm, started=STARTED - 1)
    signer = ReceiptSigner(secret(algorithm), same_key)
    with refused("tee.13"):
        check_segment((signer.receipt(statement(0), STARTED),), session(algorithm))
    own = session(algorithm, 1)
    signer = ReceiptSigner(secret(algorithm, 1), own)
    theirs = (signer.receipt(statement(0), STARTED),)
    check_segment(theirs, own)
    with refused("tee.13"):
        check_segment(theirs, session(algorithm))
    renamed = (
        secret(algorithm, 1).sign_receipt(
            replace(theirs[0].record, session=session(algorithm).digest)
        ),
    )
    with refused("tee.13"):
        check_segment(renamed, session(algorithm))


def test_times_may_stand_still() -> None:
    signer = ReceiptSigner(secret(ED), session())
    receipts = [signer.receipt(statement(i), STARTED) for i in range(3)]
    assert check_segment(receipts, session()).head.time == STARTED


# -- what the verifier holds ----------------------------------------------------------------------


def heads(receipts: tuple[SignedReceipt, ...]) -> list[Head]:
    """Every head that a verifier could hold: its own, and those of checkpoints."""
    found = [Head.start(session())]
    for count in range(1, len(receipts) + 1):
        found.append(check_segment(receipts[:count], session()).head)
    return found + [
        Head.of(checkpoint(receipts[:count]).record) for count in range(len(receipts) + 1)
    ]


def test_from_a_head_that_is_held() -> None:
    receipts = chain(LENGTH)
    whole = check_segment(receipts, session()).head
    for held in heads(receipts):
        if held.counter < LENGTH:
            segment = check_segment(receipts[held.counter :], session(), held=held)
            assert segment.head == whole
            assert segment.meets_held
        segment = check_segment(receipts, session(), held=held)
        assert segment.head == whole
        assert segment.meets_held


def test_a_segment_that_ends_before_the_head() -> None:
    """Not refused, and not said to be linked either."""
    receipts = chain(LENGTH)
    held = check_segment(receipts, session()).head
    segment = check_segment(receipts[:3], session(), held=held)
    assert not segment.meets_held


def test_a_segment_that_begins_elsewhere() -> None:
    receipts = chain(LENGTH)
    held = check_segment(receipts[:3], session()).head
    for start in (1, 2, 4, 5):
        with refused("tee.14"):
            check_segment(receipts[start:], session(), held=held)


@pytest.mark.parametrize("after", range(LENGTH))
def test_a_fork_against_a_head_that_is_held(after: int) -> None:
    """A broken enclave signs two chains that part at `after`; the verifier holds the other one."""
    first, second = chain(LENGTH), chain(LENGTH, salt=100, after=after)
    assert first[:after] == second[:after]
    for count in range(after + 1, LENGTH + 1):
        held = check_segment(first[:count], session()).head
        with refused("tee.14"):
            check_segment(second, session(), held=held)
        with refused("tee.14"):
            check_segment(second, session(), held=replace(held, time=0))
        if count < LENGTH:
            with refused("tee.14"):
                check_segment(second[count:], session(), held=held)


def test_a_head_of_another_session() -> None:
    receipts = chain(LENGTH)
    held = replace(check_segment(receipts[:3], session()).head, session=OTHER)
    with refused("tee.14"):
        check_segment(receipts[3:], session(), held=held)


def test_time_does_not_run_backwards_behind_a_head() -> None:
    receipts = chain(LENGTH)
    held = replace(check_segment(receipts[:3], session()).head, time=STARTED + 100)
    with refused("tee.14"):
        check_segment(receipts[3:], session(), held=held)
    early = resigned(receipts[0], time=STARTED - 1)
    with refused("tee.14"):
        check_segment((early,), session(), held=Head.of(checkpoint(()).record))


# -- checkpoints ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("count", range(LENGTH + 1))
def test_a_checkpoint_closes_the_end(algorithm: ReceiptAlgorithm, count: int) -> None:
    """With a fresh checkpoint, only the whole chain passes."""
    receipts = chain(LENGTH, algorithm)
    key = ReceiptKey.of(session(algorithm))
    data = checkpoint(receipts, algorithm, b"fresh").to_bytes()
    record = check_checkpoint(data, key, b"fresh").record
    head = (
        check_segment(receipts[:count], session(algorithm)).head
        if count
        else Head.start(session(algorithm))
    )
    if count == LENGTH:
        check_tail(head, record)
    else:
        with refused("tee.14", f"{LENGTH - count} missing at the end"):
            check_tail(head, record)


def test_an_empty_session_is_closed_too() -> None:
    check_tail(Head.start(session()), checkpoint(()).record)


def test_a_checkpoint_older_than_the_chain() -> None:
    receipts = chain(LENGTH)
    with refused("tee.14", "older than the chain"):
        check_tail(check_segment(receipts, session()).head, checkpoint(receipts[:-1]).record)


def test_a_checkpoint_of_a_fork() -> None:
    other = chain(LENGTH, salt=100, after=LENGTH - 1)
    with refused("tee.14", "the chain forked"):
        check_tail(check_segment(chain(LENGTH), session()).head, checkpoint(other).record)


def test_a_checkpoint_of_another_session() -> None:
    record = replace(checkpoint(chain(LENGTH)).record, session=OTHER)
    with refused("tee.14"):
        check_tail(check_segment(chain(LENGTH), session()).head, record)


def test_an_old_checkpoint_cannot_hide_a_cut_end() -> None:
    """The host keeps the checkpoint from before; only the nonce tells it from a new one."""
    receipts = chain(LENGTH)
    old = checkpoint(receipts[:3], nonce=b"old")
    key = ReceiptKey.of(session())
    check_tail(
        check_segment(receipts[:3], session()).head,
        check_checkpoint(old.to_bytes(), key, None).record,
    )
    with refused("tee.15"):
        check_checkpoint(old.to_bytes(), key, b"new")
    renamed = SignedCheckpoint(replace(old.record, nonce=b"new"), old.signature)
    with refused("tee.13"):
        check_checkpoint(renamed.to_bytes(), key, b"new")


# -- forks ----------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("after", range(LENGTH))
def test_two_chains_of_one_session(algorithm: ReceiptAlgorithm, after: int) -> None:
    first = chain(LENGTH, algorithm)
    second = chain(LENGTH, algorithm, salt=100, after=after)
    record = session(algorithm)
    for receipts in (first, second):  # each by itself is perfect
        check_segment(receipts, record)
        assert find_fork(receipts, record) is None
    fork = find_fork((*first, *second), record)
    assert fork is not None
    assert fork.place == after + 1
    again = Fork.read(fork.to_bytes())
    assert again == fork
    assert again.session == record


def test_every_kind_of_contradiction() -> None:
    first, second = chain(4), chain(4, salt=100, after=2)
    pairs: dict[str, tuple[Signed, Signed, int]] = {
        "two receipts of one number": (first[2], second[2], 3),
        "a receipt and a successor of another": (first[2], second[3], 3),
        "two checkpoints of one count": (checkpoint(first), checkpoint(second), 4),
        "a checkpoint and the last receipt": (checkpoint(first), second[3], 4),
        "a checkpoint and the next receipt": (checkpoint(first[:3]), second[3], 3),
    }
    for name, (one, two, place) in pairs.items():
        for pair in ((one, two), (two, one)):
            fork = find_fork(pair, session())
            assert fork is not None, name
            assert fork.place == place, name
            assert Fork.read(fork.to_bytes()) == fork


def test_a_second_first_receipt() -> None:
    """A counter that starts again, with a predecessor that there cannot be."""
    receipts = chain(1)
    fork = find_fork((*receipts, resigned(receipts[0], previous=OTHER)), session())
    assert fork is not None
    assert fork.place == 0


@settings(max_examples=60)
@given(
    st.integers(0, LENGTH - 1),
    st.lists(st.tuples(st.booleans(), st.integers(0, LENGTH), st.booleans()), max_size=8),
)
def test_forks_are_found_exactly_where_records_overlap(
    after: int, chosen: list[tuple[bool, int, bool]]
) -> None:
    """Any records of two chains: evidence if and only if two of them speak of one place."""
    chains = (chain(LENGTH), chain(LENGTH, salt=100, after=after))
    records: list[Signed] = []
    spoken: dict[int, set[str]] = {}
    for second, index, closed in chosen:
        receipts = chains[second]
        digests = [NO_RECEIPT, *(one.record.digest for one in receipts)]
        if closed or index == LENGTH:
            records.append(checkpoint(receipts[:index]))
            spoken.setdefault(index, set()).add(digests[index])
        else:
            records.append(receipts[index])
            for place in (index, index + 1):
                spoken.setdefault(place, set()).add(digests[place])
    fork = find_fork(records, session())
    assert (fork is not None) == any(len(digests) > 1 for digests in spoken.values())
    if fork is not None:
        assert Fork.read(fork.to_bytes()) == fork


def test_honest_chains_are_never_evidence() -> None:
    receipts = chain(LENGTH)
    checkpoints = [checkpoint(receipts[:count], nonce=b"%d" % count) for count in range(LENGTH)]
    assert find_fork((*receipts, *checkpoints, *receipts, *checkpoints), session()) is None


def evidence(*records: Signed, record: Session | None = None) -> bytes:
    """As an attacker writes it who wants an honest enclave to look broken."""
    return dumps(
        {
            "version": 1,
            "session": (record or session()).to_json(),
            "records": [one.to_json() for one in records],
        }
    )


def test_an_honest_enclave_cannot_be_accused() -> None:
    receipts = chain(LENGTH)
    other = secret(ED, 1).sign_receipt(replace(receipts[2].record, statement=OTHER))
    unsigned = SignedReceipt(other.record, receipts[2].signature)
    for forged in (other, unsigned):
        with refused("tee.13"):
            Fork.read(evidence(receipts[2], forged))
        with refused("tee.13"):
            find_fork((receipts[2], forged), session())
    for one, two in ((receipts[1], receipts[2]), (receipts[1], receipts[1]), receipts[::5]):
        with refused("tee.14"):
            Fork.read(evidence(one, two))
    with refused("tee.14"):
        Fork.read(evidence(receipts[LENGTH - 1], checkpoint(receipts)))
    # Under a session of his own he can fork at will; that session's quote is what he lacks.
    own = session(ED, 1)
    signers = [ReceiptSigner(secret(ED, 1), own) for _ in range(2)]
    pair = [signer.receipt(statement(i), STARTED) for i, signer in enumerate(signers)]
    assert Fork.read(evidence(*pair, record=own)).session != session()
    with refused("tee.13"):
        Fork.read(evidence(*pair))


def test_evidence_is_read_strictly() -> None:
    first, second = chain(4), chain(4, salt=100, after=2)
    fork = find_fork((first[2], checkpoint(second[:3])), session())
    assert fork is not None

    def read(data: bytes) -> Fork:
        """Readable, but then the signatures or the contradiction do not hold: refused as well."""
        try:
            return Fork.read(data)
        except VerificationError as error:
            number = error.check if error.check not in ("tee.13", "tee.14") else "tee.2"
            raise VerificationError(number, str(error)) from error

    assert_strict(fork.to_bytes(), read, "tee.2")
    value = loads(fork.to_bytes())
    for count in (0, 1, 3, 4):
        with refused("tee.2"):
            Fork.read(dumps({**value, "records": (value["records"] * 2)[:count]}))
    with refused("tee.2"):
        Fork.read(b" " * 20_000)


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with refused("tee.2"):
        Fork.read(data)
