"""Any bytes: a record or `VerificationError`, and nothing that an honest enclave did not sign.

A coverage-guided run over the records of the trusted-hardware verifier (not a test; needs
`pip install atheris`):

    python -m tests.fuzz.tee_records_atheris CORPUS [-max_total_time=600] [-seed=1]

An input is a choice of a record and a script that damages an honest one: single bytes, stretches,
and JSON values exchanged for others, written down canonically again so that most of it stays
well-formed. What is read must be written back to the same bytes; the quick reader of receipts must
agree with the general one; whatever is accepted must be what was signed.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import atheris

with atheris.instrument_imports(include=["proofml.tee", "proofml.canonical", "proofml.fields"]):
    from proofml.canonical import CanonicalError, dumps, loads
    from proofml.fields import FieldError
    from proofml.tee import ethereum
    from proofml.tee.binding import ReceiptAlgorithm, Session
    from proofml.tee.config import CONFIG_EVENT, Configuration, config_event
    from proofml.tee.eventlog import Event, EventLog
    from proofml.tee.platform import Platform
    from proofml.tee.receipt_chain import Fork, check_segment, find_fork
    from proofml.tee.receipts import (
        ReceiptKey,
        SignedCheckpoint,
        SignedReceipt,
        check_checkpoint,
        read_receipts,
        receipts_bytes,
    )

from proofml.errors import VerificationError
from proofml.tee.receipt_signer import ReceiptSigner
from tests.tee.record_cases import STARTED, chain, configuration, secret, session

#: Values of JSON that readers are not always ready for.
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**53, 2**32),
    *("", "0", "0" * 64, "f" * 96, "a:b", "compose-hash", "\x1b", "ü", "tdx", "secp256k1"),
    *([], {}, [[]], [{}], {"": 0}),
)


def slots(value: Any) -> list[tuple[Any, Any]]:
    """Every place inside of nested dicts and lists, as its holder and key."""
    if not isinstance(value, (dict, list)):
        return []
    found = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        found += slots(value[key])
    return found


def damaged(data: bytes, script: atheris.FuzzedDataProvider) -> bytes:
    """Up to four changes of JSON values, or of bytes."""
    changes = script.ConsumeIntInRange(1, 4)
    if script.ConsumeBool():
        value = loads(data)
        for _ in range(changes):
            places = slots(value)
            if not places:
                break
            holder, key = places[script.ConsumeIntInRange(0, len(places) - 1)]
            other, source = places[script.ConsumeIntInRange(0, len(places) - 1)]
            match script.ConsumeIntInRange(0, 5):
                case 0:
                    del holder[key]
                case 1:
                    # A copy: no value may come to lie inside of itself.
                    holder[key] = copy.deepcopy(script.PickValueInList(list(HOSTILE)))
                case 2 if isinstance(holder, dict):
                    holder[script.ConsumeUnicodeNoSurrogates(8)] = 1
                case 2:
                    holder.append(copy.deepcopy(holder[key]))
                case 3:
                    holder[key] = copy.deepcopy(other[source])
                case 4:
                    holder[key] = script.ConsumeUnicodeNoSurrogates(70)
                case _:
                    holder[key] = script.ConsumeIntInRange(-(2**53), 2**53)
        try:
            return dumps(value)
        except CanonicalError:
            return data
    found = bytearray(data)
    for _ in range(changes):
        at = script.ConsumeIntInRange(0, len(found))
        match script.ConsumeIntInRange(0, 3):
            case 0:
                found[at : at + 1] = script.ConsumeBytes(1)
            case 1:
                del found[at : at + script.ConsumeIntInRange(1, 64)]
            case 2:
                found[at:at] = found[: script.ConsumeIntInRange(0, 64)]
            case _:
                found[at:at] = script.ConsumeBytes(8)
    return bytes(found)


# -- seeds ----------------------------------------------------------------------------------------

ALGORITHMS = tuple(ReceiptAlgorithm)
KEYS = {algorithm: ReceiptKey.of(session(algorithm)) for algorithm in ALGORITHMS}
CHAINS = {algorithm: chain(3, algorithm) for algorithm in ALGORITHMS}
FORKED = {algorithm: chain(3, algorithm, salt=9, after=1) for algorithm in ALGORITHMS}


def _log(platform: Platform) -> EventLog:
    log = EventLog(platform)
    last = 16
    if platform is Platform.TDX:
        last = 3
        log = EventLog(
            platform, (Event(0, 4, b"\x01" * 48, "", b""), Event(2, 6, b"b" * 48, "", b""))
        )
    payload = config_event(configuration().to_bytes())
    return log.extended(last, CONFIG_EVENT, payload).extended(last, "compose-hash", bytes(32))


LOGS = {platform: _log(platform) for platform in (Platform.TDX, Platform.NITRO)}


def _checkpoint(algorithm: ReceiptAlgorithm) -> bytes:
    signer = ReceiptSigner(secret(algorithm), session(algorithm))
    signer.receipt("ab" * 32, STARTED)
    return signer.checkpoint(b"nonce").to_bytes()


CHECKPOINTS = {algorithm: _checkpoint(algorithm) for algorithm in ALGORITHMS}


def _fork(algorithm: ReceiptAlgorithm) -> bytes:
    fork = find_fork((*CHAINS[algorithm], *FORKED[algorithm]), session(algorithm))
    assert fork is not None
    return fork.to_bytes()


FORKS = {algorithm: _fork(algorithm) for algorithm in ALGORITHMS}
SIGNED = {signed for algorithm in ALGORITHMS for signed in (*CHAINS[algorithm], *FORKED[algorithm])}


# -- judges ---------------------------------------------------------------------------------------


def _same(found: bytes, data: bytes) -> None:
    if found != data:
        raise AssertionError("a record with two forms")


def _session(data: bytes, _: ReceiptAlgorithm) -> None:
    found = Session.read(data)
    _same(found.to_bytes(), data)
    ReceiptKey.of(found)


def _configuration(data: bytes, _: ReceiptAlgorithm) -> None:
    _same(Configuration.read(data).to_bytes(), data)


def _event_log(data: bytes, platform: Platform) -> None:
    honest = LOGS[platform]
    found = EventLog.read(data, platform)
    _same(found.to_bytes(), data)
    found.check(honest.registers)
    late = 3 if platform is Platform.TDX else 16
    if [event for event in found.events if event.imr >= late] != [
        event for event in honest.events if event.imr >= late
    ]:
        raise AssertionError("other runtime events gave the same register")
    _ = found.compose_hash


def _dstack(data: bytes, _: ReceiptAlgorithm) -> None:
    found = EventLog.from_dstack(data)
    if EventLog.read(found.to_bytes(), Platform.TDX) != found:
        raise AssertionError("a log that cannot be read back")


def _general(data: bytes) -> tuple[SignedReceipt, ...] | None:
    try:
        value = loads(data)
        if not isinstance(value, list) or not value:
            return None
        return tuple(SignedReceipt.read(item, "") for item in value)
    except (CanonicalError, FieldError):
        return None


def _receipts(data: bytes, algorithm: ReceiptAlgorithm) -> None:
    general = _general(data)
    try:
        found = read_receipts(data)
    except VerificationError:
        if general is not None:
            raise AssertionError("the quick reader refuses what the general one reads") from None
        raise
    if found != general:
        raise AssertionError("the two readers differ")
    segment = check_segment(found, session(algorithm))
    if not set(segment.receipts) <= SIGNED:
        raise AssertionError("a receipt that nobody signed")


def _checked(data: bytes, algorithm: ReceiptAlgorithm) -> None:
    found: SignedCheckpoint = check_checkpoint(data, KEYS[algorithm], b"nonce")
    _same(found.to_bytes(), CHECKPOINTS[algorithm])


def _accused(data: bytes, _: ReceiptAlgorithm) -> None:
    found = Fork.read(data)
    _same(found.to_bytes(), data)
    if not {found.first, found.second} <= SIGNED:
        raise AssertionError("evidence that nobody signed")


def _recovered(data: bytes, algorithm: ReceiptAlgorithm) -> None:
    honest = CHAINS[ReceiptAlgorithm.SECP256K1][0]
    key = ethereum.recover(honest.record.text, data)
    own = session(ReceiptAlgorithm.SECP256K1).receipt_key
    if key == own and data != honest.signature:
        raise AssertionError("two signatures over one text")


Judge = Callable[[bytes, Any], None]
TARGETS: list[tuple[Judge, bytes, Any]] = [
    (_configuration, configuration().to_bytes(), None),
    (_dstack, LOGS[Platform.TDX].to_bytes(), None),
]
for _platform, _honest in LOGS.items():
    TARGETS.append((_event_log, _honest.to_bytes(), _platform))
for _algorithm in ALGORITHMS:
    TARGETS += [
        (_session, session(_algorithm).to_bytes(), _algorithm),
        (_receipts, receipts_bytes(CHAINS[_algorithm]), _algorithm),
        (_receipts, receipts_bytes(FORKED[_algorithm]), _algorithm),
        (_checked, CHECKPOINTS[_algorithm], _algorithm),
        (_accused, FORKS[_algorithm], _algorithm),
    ]


def one(data: bytes) -> None:
    script = atheris.FuzzedDataProvider(data)
    choice = script.ConsumeIntInRange(0, len(TARGETS))
    if choice == len(TARGETS):
        honest = bytearray(CHAINS[ReceiptAlgorithm.SECP256K1][0].signature)
        honest[script.ConsumeIntInRange(0, 64)] = script.ConsumeIntInRange(0, 255)
        _recovered(bytes(honest), ReceiptAlgorithm.SECP256K1)
        return
    judge, seed, about = TARGETS[choice]
    mode = script.ConsumeIntInRange(0, 7)
    record = script.ConsumeBytes(4096) if mode == 0 else damaged(seed, script)
    try:
        judge(record, about)
    except VerificationError as error:
        if error.check not in ("tee.2", "tee.11", "tee.13", "tee.14", "tee.15"):
            raise AssertionError(f"an unexpected check: {error}") from error


def main() -> None:
    for judge, seed, about in TARGETS:
        judge(seed, about)  # an honest record is accepted: the run means something
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
