"""The page about receipts: its example runs, and its texts are what is signed."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from proofml.tee.binding import ReceiptAlgorithm
from proofml.tee.eventlog import MAX_EVENTS, MAX_LOG_BYTES, MAX_PAYLOAD_BYTES
from proofml.tee.nonces import LIFETIME
from proofml.tee.receipt_chain import Fork
from proofml.tee.receipt_signer import ReceiptSigner
from proofml.tee.receipts import MAX_RECEIPTS, Checkpoint, Receipt, receipts_bytes
from tests.tee.record_cases import STARTED, chain, secret, session, statement

PAGE = (Path(__file__).parents[2] / "docs" / "tee" / "receipts.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", PAGE, re.DOTALL | re.MULTILINE)


def test_texts() -> None:
    receipt = Receipt("ab" * 32, "cd" * 32, 7, "ef" * 32, 1750330800)
    checkpoint = Checkpoint("ab" * 32, 8, "ef" * 32, b"\x01\x02")
    assert blocks("text") == [receipt.text, checkpoint.text]


def test_example() -> None:
    signer = ReceiptSigner(secret(ReceiptAlgorithm.ED25519), session())
    honest = tuple(signer.receipt(statement(index), STARTED + index) for index in range(3))
    names: dict[str, Any] = {
        "session": session(),
        "receipts": receipts_bytes(honest),
        "statement": SimpleNamespace(digest=statement(2)),
        "nonce": b"fresh",
        "checkpoint": signer.checkpoint(b"fresh").to_bytes(),
        "receipts_of_somebody_else": receipts_bytes(chain(3, salt=5, after=1)),
    }
    (example,) = blocks("python")
    exec(compile(example, "receipts.md", "exec"), names)
    assert Fork.read(names["evidence"]).place == 2


def test_bounds() -> None:
    assert f"at most {MAX_RECEIPTS:,} receipts" in PAGE
    assert f"At most {MAX_EVENTS:,} events, {MAX_LOG_BYTES >> 20} MiB," in PAGE
    assert f"{MAX_PAYLOAD_BYTES:,} bytes of payload" in PAGE
    assert LIFETIME == 10 * 60
    assert "holds for ten minutes" in PAGE
