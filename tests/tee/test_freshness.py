"""How old a proof is, and where its receipts stand: what the verdict says, and what refuses."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from proofml.checks import Result
from proofml.errors import UsageError
from proofml.expectation import Expectation
from proofml.tee import about
from proofml.tee.binding import Mode
from proofml.tee.freshness import Age
from proofml.tee.nonces import Nonces
from proofml.tee.platform import Platform
from proofml.verdict import Status

from .workshop import (
    NONCE,
    OTHER_X,
    Enclave,
    Verifier,
    assembled,
    model,
    result,
)

# -- freshness ------------------------------------------------------------------------------------


def test_a_nonce_is_kept_for_a_proof_that_is_refused(tmp_path: Path) -> None:
    """So that it can be accepted by another policy, once."""
    table = {"nonces": str(tmp_path / "nonces.sqlite")}
    data = Enclave.start(Platform.TDX, Mode.INFERENCE).proof()
    expect = Expectation(model=model(), nonce=NONCE)
    refused = Verifier(table, allow=(), expect=expect)
    willing = Verifier(table, expect=expect)
    for _ in range(2):
        assert refused.judge(data).status is Status.REFUSED
    verdict = willing.judge(data)
    assert verdict, verdict.reasons
    assert result(verdict, "tee.15") is Result.PASSED
    again = willing.judge(data)
    assert again.error is not None
    assert again.error.check == "tee.15"


def test_an_issued_nonce_needs_no_pin(tmp_path: Path) -> None:
    path = tmp_path / "nonces.sqlite"
    nonce = Nonces(path).issue(int(time.time()))
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    verifier = Verifier({"nonces": str(path)})
    assert verifier.judge(enclave.proof(enclave.infer(nonce=nonce)))


@pytest.mark.parametrize("mode", Mode)
def test_age(mode: Mode) -> None:
    """By the enclave's own clock, or the hypervisor's; a quote of Intel or AMD has no time."""
    early = time.time() - 4000
    enclave = Enclave.start(Platform.SGX, mode, clock=lambda: early)
    data = enclave.proof()
    old = Verifier({"max_age": 3600}).judge(data)
    assert old.status is Status.REFUSED
    assert all(reason.startswith("tee.15: ") for reason in old.reasons)
    assert result(old, "tee.15") is Result.REFUSED
    if mode is Mode.INFERENCE:
        assert "age not known" in old.reasons[0]
        # Where the verifier asked with a nonce, no clock is needed.
        expect = Expectation(model=model(), nonce=NONCE)
        assert Verifier({"max_age": 3600}, expect=expect).judge(data)
    else:
        assert len(old.reasons) == 2
        assert Verifier({"max_age": 5000}).judge(data)


def test_age_of_a_nitro_document() -> None:
    data = Enclave.start(Platform.NITRO, Mode.INFERENCE).proof()
    assert Verifier({"max_age": 60}).judge(data)
    late = {"max_age": 60, "at": int(time.time()) + 100}
    verdict = Verifier(late, allow=(about.ROOT_SIMULATED, about.TIME_PINNED)).judge(data)
    assert verdict.status is Status.REFUSED
    assert verdict.reasons[0].startswith("tee.15: quote: 10")


def test_a_clock_that_is_ahead() -> None:
    ahead = time.time() + 10_000
    enclave = Enclave.start(Platform.TDX, Mode.SESSION, clock=lambda: ahead)
    verdict = Verifier({"max_age": 3600}).judge(enclave.proof())
    assert verdict.status is Status.REFUSED
    assert "in the future" in verdict.reasons[0]


def test_a_challenge_vouches_for_the_session() -> None:
    long_ago = time.time() - 10_000
    enclave = Enclave.start(Platform.TDX, Mode.SESSION, challenge=b"asked", clock=lambda: long_ago)
    data = enclave.proof()
    table = {"challenge": b"asked".hex(), "max_age": 3600}
    expect = Expectation(model=model(), nonce=NONCE)
    assert Verifier(table, expect=expect).judge(data)
    verdict = Verifier({"max_age": 3600}, expect=expect).judge(data)
    assert [reason.split(":")[1].strip() for reason in verdict.reasons] == ["session"]


@pytest.mark.parametrize(
    ("seconds", "good"),
    [(0, True), (60, True), (61, False), (-300, True), (-301, False), (None, False)],
)
def test_the_ends_of_an_age(seconds: int | None, good: bool) -> None:
    """`max_age` itself is young enough, and a clock may be five minutes ahead."""
    age = Age("quote", seconds)
    assert (age.objection(60) == "") is good
    assert age.objection(None) == ""
    assert Age("quote", seconds, "fresh by its nonce").objection(60) == ""
    if not good:
        assert age.objection(60).startswith("tee.15: quote: ")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, Result.SKIPPED),
        ({"max_age": 3600}, Result.PASSED),
        ({"challenge": b"asked".hex()}, Result.PASSED),
    ],
)
def test_what_is_said_without_a_nonce(table: dict[str, object], expected: Result) -> None:
    enclave = Enclave.start(Platform.SGX, Mode.SESSION, challenge=b"asked")
    verdict = Verifier(table).judge(enclave.proof())
    assert verdict, verdict.reasons
    assert result(verdict, "tee.15") is expected


def test_a_nonce_is_kept_for_a_proof_that_is_too_old(tmp_path: Path) -> None:
    """A nonce vouches for the receipt and not for the session: that one's age still counts."""
    long_ago = time.time() - 10_000
    enclave = Enclave.start(Platform.SGX, Mode.SESSION, clock=lambda: long_ago)
    data = enclave.proof()
    table = {"nonces": str(tmp_path / "nonces.sqlite")}
    expect = Expectation(model=model(), nonce=NONCE)
    for _ in range(2):
        verdict = Verifier({**table, "max_age": 3600}, expect=expect).judge(data)
        assert verdict.status is Status.REFUSED
        assert result(verdict, "tee.15") is Result.REFUSED
    assert Verifier(table, expect=expect).judge(data)


def test_the_verifiers_own_clock_decides_on_nonces(tmp_path: Path) -> None:
    """Whatever time its policy judges certificates at."""
    path = tmp_path / "nonces.sqlite"
    now = int(time.time())
    nonce = Nonces(path).issue(now - 1000)
    enclave = Enclave.start(Platform.SGX, Mode.INFERENCE)
    data = enclave.proof(enclave.infer(nonce=nonce))
    allow = (about.ROOT_SIMULATED, about.TIME_PINNED)
    verdict = Verifier({"nonces": str(path), "at": now}, allow=allow).judge(data)
    assert verdict.error is not None
    assert verdict.error.check == "tee.15"
    fresh = Nonces(path).issue(now)
    data = enclave.proof(enclave.infer(nonce=fresh))
    table = {"nonces": str(path), "at": now + 1000}
    assert Verifier(table, allow=allow).judge(data)


# -- receipts -------------------------------------------------------------------------------------


def segment(enclave: Enclave, first: int) -> bytes:
    """A proof of the next inference with its receipts from number `first` on."""
    found = enclave.infer()
    parts = enclave.parts(found)
    return assembled(found, replace(parts, receipts=parts.receipts[first:]))


def test_a_chain_from_its_start() -> None:
    enclave = Enclave.start(Platform.TDX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    verdict = Verifier().judge(enclave.proof())
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert verdict.guarantee.notes["receipts"] == "receipts 0 to 3; no checkpoint is held"


def test_a_chain_from_somewhere() -> None:
    enclave = Enclave.start(Platform.TDX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    data = segment(enclave, 2)
    verdict = Verifier().judge(data)
    assert verdict.status is Status.REFUSED
    (reason,) = verdict.reasons
    assert about.RECEIPTS_PARTIAL in reason
    assert result(verdict, "tee.14") is Result.ASSUMED
    assert Verifier(allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)


@pytest.mark.parametrize("held", [0, 1, 2, 3, 4])
def test_a_checkpoint_that_the_verifier_holds(tmp_path: Path, held: int) -> None:
    """Number 3 is the proof's; its receipts begin at 2."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    marks = [enclave.checkpoint()]
    data = b""
    for nonce in range(4):
        if nonce == 3:
            data = segment(enclave, 2)
        else:
            enclave.infer(OTHER_X, bytes([nonce]))
        marks.append(enclave.checkpoint())
    path = tmp_path / "checkpoint.json"
    path.write_bytes(marks[held])
    other = Enclave.start(Platform.SGX, Mode.SESSION)
    (tmp_path / "other.json").write_bytes(other.checkpoint())
    table = {"checkpoints": [str(tmp_path / "other.json"), str(path)]}
    verdict = Verifier(table, allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    words = {
        0: "comes earlier",
        1: "comes earlier",
        2: "through the checkpoint at 2",
        3: "through the checkpoint at 3",
        4: "they end at the checkpoint at 4",
    }
    assert words[held] in verdict.guarantee.notes["receipts"]
    assert (about.RECEIPTS_PARTIAL in verdict.guarantee.assumptions) == (held != 2)


def forked(enclave: Enclave, numbers: range) -> bytes:
    """A proof whose receipts are of another chain, by the session's own key; these of them."""
    from proofml.tee.receipt_signer import ReceiptSigner

    found = enclave.infer()
    parts = enclave.parts(found)
    assert parts.session is not None
    signer = ReceiptSigner(enclave.service._started.session.signer._secret, parts.session)
    made = [signer.receipt("33" * 32, int(time.time()) + 1) for _ in range(numbers.stop - 1)]
    made.append(signer.receipt(found.statement.digest, int(time.time()) + 1))
    return assembled(found, replace(parts, receipts=tuple(made[numbers.start :])))


@pytest.mark.parametrize(
    ("first", "held"),
    [(0, (0, 1, 9)), (0, (0, 3)), (0, (3, 9)), (1, (1,)), (1, (1, 9)), (1, (2, 9)), (1, (3,))],
)
def test_every_checkpoint_that_is_held_is_compared(
    tmp_path: Path, first: int, held: tuple[int, ...]
) -> None:
    """Receipts 0 to 2 are of another chain; a later checkpoint does not cover an earlier one."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    marks = [enclave.checkpoint()]
    for nonce in range(9):
        enclave.infer(OTHER_X, bytes([nonce]))
        marks.append(enclave.checkpoint())
    names = []
    for number in held:
        (tmp_path / f"{number}.json").write_bytes(marks[number])
        names.append(str(tmp_path / f"{number}.json"))
    data = forked(enclave, range(first, 3))
    allow = (about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)
    for order in (names, names[::-1]):
        verdict = Verifier({"checkpoints": order}, allow=allow).judge(data)
        assert verdict.error is not None, verdict.status
        assert verdict.error.check == "tee.14"


def test_a_chain_that_begins_at_the_earlier_of_two_checkpoints(tmp_path: Path) -> None:
    """Whichever of them is given first: what came before is covered."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    names = []
    data = b""
    for nonce in range(4):
        if nonce == 2:
            data = segment(enclave, 1)
        else:
            enclave.infer(OTHER_X, bytes([nonce]))
        if nonce in (0, 3):
            names.append(str(tmp_path / f"{nonce}.json"))
            Path(names[-1]).write_bytes(enclave.checkpoint())
    for order in (names, names[::-1]):
        verdict = Verifier({"checkpoints": order}).judge(data)
        assert verdict, verdict.reasons
        assert verdict.guarantee is not None
        words = "receipts 1 to 2; through the checkpoint at 1"
        assert verdict.guarantee.notes["receipts"] == words


def test_checkpoints_that_contradict_each_other(tmp_path: Path) -> None:
    """Both signed by the session's key, so that it is not an honest enclave's."""
    from proofml.tee.receipts import Checkpoint

    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    data = enclave.proof()
    first = enclave.checkpoint()
    signer = enclave.service._started.session.signer
    other = Checkpoint(signer._session, 1, "44" * 32, b"n")
    names = [str(tmp_path / "first.json"), str(tmp_path / "second.json")]
    for order in ((0, 1), (1, 0)):
        written = (first, signer._secret.sign_checkpoint(other).to_bytes())
        for name, index in zip(names, order, strict=True):
            Path(name).write_bytes(written[index])
        verdict = Verifier({"checkpoints": names}).judge(data)
        assert verdict.error is not None
        assert verdict.error.check == "tee.14"


def test_a_partial_chain_that_misses_a_held_checkpoint(tmp_path: Path) -> None:
    """Partial or not, receipts that contradict what is held are a fork."""
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    for nonce in range(3):
        enclave.infer(OTHER_X, bytes([nonce]))
    path = tmp_path / "checkpoint.json"
    path.write_bytes(enclave.checkpoint())
    data = forked(enclave, range(1, 4))
    table = {"checkpoints": [str(path)]}
    verdict = Verifier(table, allow=(about.ROOT_SIMULATED, about.RECEIPTS_PARTIAL)).judge(data)
    assert verdict.error is not None
    assert verdict.error.check == "tee.14"


@pytest.mark.parametrize("content", [b"", b"{}", b"not a checkpoint", b"[" * 5000])
def test_checkpoints_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(content)
    data = Enclave.start(Platform.SGX, Mode.SESSION).proof()
    with pytest.raises(UsageError, match="checkpoint"):
        Verifier({"checkpoints": [str(path)]}).judge(data)


def test_a_checkpoint_that_the_session_did_not_sign(tmp_path: Path) -> None:
    enclave = Enclave.start(Platform.SGX, Mode.SESSION)
    path = tmp_path / "checkpoint.json"
    signed = enclave.checkpoint()
    path.write_bytes(signed.replace(b'"counter":0', b'"counter":1'))
    with pytest.raises(UsageError, match="does not verify"):
        Verifier({"checkpoints": [str(path)]}).judge(enclave.proof())
