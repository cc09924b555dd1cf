"""The enclave's side: one chain, in order, whatever its clock and its callers do."""

from __future__ import annotations

import threading

import pytest

from proofml.errors import BackendFailed, UsageError
from proofml.tee.binding import LATEST_TIME, ReceiptAlgorithm
from proofml.tee.receipt_chain import check_segment
from proofml.tee.receipt_signer import ReceiptSigner
from proofml.tee.receipts import NO_RECEIPT, Checkpoint, SignedReceipt
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
    for digest, now in (("short", STARTED), (STATEMENT, -1), (STATEMENT, LATEST_TIME + 1)):
        with pytest.raises(UsageError):
            signer.receipt(digest, now)
    for nonce in (b"", bytes(65)):
        with pytest.raises(UsageError):
            signer.checkpoint(nonce)
    assert signer.checkpoint(b"n").record.counter == 0


def test_counters_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proofml.tee.receipt_signer.MAX_COUNTER", 1)
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    signer.receipt(STATEMENT, STARTED)
    signer.receipt(STATEMENT, STARTED)
    with pytest.raises(BackendFailed):
        signer.receipt(STATEMENT, STARTED)


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
