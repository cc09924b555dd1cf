"""The enclave's side: one chain, in order, whatever its clock and its callers do."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from proofml.errors import BackendFailed, UsageError
from proofml.tee.binding import LATEST_TIME, ReceiptAlgorithm
from proofml.tee.receipt_chain import check_segment
from proofml.tee.receipt_signer import ReceiptSigner
from proofml.tee.receipts import (
    NO_RECEIPT,
    Checkpoint,
    ReceiptKey,
    Record,
    SignedReceipt,
    check_checkpoint,
)
from tests.tee.record_cases import ALGORITHMS, STARTED, STATEMENT, secret, session

both = pytest.mark.parametrize("algorithm", ALGORITHMS)


@both
def test_the_signer_needs_its_own_session(algorithm: ReceiptAlgorithm) -> None:
    with pytest.raises(UsageError):
        ReceiptSigner(secret(algorithm, 1), session(algorithm))
    with pytest.raises(UsageError):
        ReceiptSigner(secret(ALGORITHMS[0]), session(ALGORITHMS[1]))


@both
def test_the_signer_chains(algorithm: ReceiptAlgorithm) -> None:
    signer = ReceiptSigner(secret(algorithm), session(algorithm))
    assert signer.checkpoint(b"n").record == Checkpoint(
        session(algorithm).digest, 0, NO_RECEIPT, b"n"
    )
    head = NO_RECEIPT
    for counter in range(3):
        record = signer.receipt(STATEMENT, STARTED + counter).record
        assert (record.counter, record.previous) == (counter, head)
        head = record.digest
    assert signer.checkpoint(b"n").record.head == head


def test_a_clock_that_is_set_back() -> None:
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    times = [signer.receipt(STATEMENT, now).record.time for now in (0, STARTED + 9, STARTED)]
    assert times == [STARTED, STARTED + 9, STARTED + 9]


def test_misuse_of_the_signer() -> None:
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    for digest in ("", "short", STATEMENT + "0", STATEMENT.upper(), STATEMENT[:-1] + "\n"):
        with pytest.raises(UsageError, match="digest"):
            signer.receipt(digest, STARTED)
    for now in (-1, LATEST_TIME + 1):
        with pytest.raises(UsageError, match="seconds"):
            signer.receipt(STATEMENT, now)
    for nonce in (b"", bytes(65)):
        with pytest.raises(UsageError, match="nonce"):
            signer.checkpoint(nonce)
    assert signer.checkpoint(b"n").record.counter == 0


def test_the_last_time_and_the_longest_nonce() -> None:
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    assert signer.receipt(STATEMENT, LATEST_TIME).record.time == LATEST_TIME
    assert signer.checkpoint(bytes(64)).record.nonce == bytes(64)


@both
def test_what_was_not_signed_has_no_number(algorithm: ReceiptAlgorithm) -> None:
    """A signature that fails leaves the chain as it was, and the next one goes on from there."""
    good = secret(algorithm)
    broken = [True]

    def sign(record: Record) -> bytes:
        if broken[0]:
            raise RuntimeError
        return good._sign(record)

    signer = ReceiptSigner(replace(good, _sign=sign), session(algorithm))
    with pytest.raises(RuntimeError):
        signer.receipt(STATEMENT, STARTED + 100)
    with pytest.raises(RuntimeError):
        signer.checkpoint(b"n")
    broken[0] = False
    first = signer.receipt(STATEMENT, STARTED)
    assert (first.record.counter, first.record.previous) == (0, NO_RECEIPT)
    assert first.record.time == STARTED
    check_segment([first], session(algorithm))


@both
def test_checkpoints_are_signed_by_the_session(algorithm: ReceiptAlgorithm) -> None:
    signer = ReceiptSigner(secret(algorithm), session(algorithm))
    signer.receipt(STATEMENT, STARTED)
    key = ReceiptKey.of(session(algorithm))
    found = check_checkpoint(signer.checkpoint(b"asked").to_bytes(), key, b"asked")
    assert found.record.counter == 1


def test_counters_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofml.tee.receipt_signer.MAX_COUNTER", 1)
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    signer.receipt(STATEMENT, STARTED)
    signer.receipt(STATEMENT, STARTED)
    with pytest.raises(BackendFailed):
        signer.receipt(STATEMENT, STARTED)
    # What was issued can still be closed: so many receipts as there are counters.
    assert signer.checkpoint(b"n").record.counter == 2


def test_threads_get_one_chain() -> None:
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    found: list[SignedReceipt] = []

    def work() -> None:
        for _ in range(50):
            found.append(signer.receipt(STATEMENT, STARTED))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(found, key=lambda one: one.record.counter)
    head = check_segment(ordered, session()).head
    assert head.counter == 200
    assert signer.checkpoint(b"n").record.head == head.digest
