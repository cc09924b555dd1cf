"""Honest records of sessions, receipts and configurations, and what attackers do to JSON."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import pytest

from proofml.canonical import CanonicalError, dumps, loads
from proofml.errors import VerificationError
from proofml.tee.binding import Mode, ReceiptAlgorithm, Session
from proofml.tee.config import NAMESPACES, Configuration, Runtime
from proofml.tee.receipt_signer import ReceiptSecret, ReceiptSigner
from proofml.tee.receipts import SignedReceipt

STARTED = 1_750_000_000
MODEL = "a1" * 32
STATEMENT = "b2" * 32
RUNTIME = Runtime("onnxruntime", "1.20.0", {"provider": "CPUExecutionProvider", "threads": 1})
ALGORITHMS = tuple(ReceiptAlgorithm)


@contextlib.contextmanager
def refused(number: str, words: str = "") -> Iterator[None]:
    """Exactly this check refuses, with these words, and nothing else is raised."""
    with pytest.raises(VerificationError) as caught:
        yield
    assert caught.value.check == number, str(caught.value)
    assert words in str(caught.value)


def refusal(call: Callable[[], object]) -> str:
    """The number of the check that refuses, or `accepted`."""
    try:
        call()
    except VerificationError as error:
        return error.check
    return "accepted"


def configuration(**changes: Any) -> Configuration:
    isolation = dict.fromkeys(NAMESPACES, True)
    fields: dict[str, Any] = {
        "model": MODEL,
        "mode": Mode.SESSION,
        "runtime": RUNTIME,
        "isolation": isolation,
    }
    return Configuration(**{**fields, **changes})


@cache
def _secret(algorithm: ReceiptAlgorithm, _: int) -> ReceiptSecret:
    return ReceiptSecret.generate(algorithm)


def secret(algorithm: ReceiptAlgorithm, number: int = 0) -> ReceiptSecret:
    """The enclave's key; `number` 1 is another one, which an attacker may have."""
    return _secret(algorithm, number)


def session(
    algorithm: ReceiptAlgorithm = ReceiptAlgorithm.ED25519, number: int = 0, **changes: Any
) -> Session:
    fields: dict[str, Any] = {
        "receipt_algorithm": algorithm,
        "receipt_key": secret(algorithm, number).public,
        "sealing_key": bytes(range(32)),
        "model": MODEL,
        "config": configuration().digest,
        "challenge": b"challenge",
        "started": STARTED,
    }
    return Session(**{**fields, **changes})


def statement(index: int) -> str:
    return hashlib.sha256(b"statement %d" % index).hexdigest()


def chain(
    count: int,
    algorithm: ReceiptAlgorithm = ReceiptAlgorithm.ED25519,
    *,
    salt: int = 0,
    after: int = 0,
) -> tuple[SignedReceipt, ...]:
    """Receipts of `session(algorithm)`; chains with another `salt` differ from `after` on."""
    signer = ReceiptSigner(secret(algorithm), session(algorithm))
    return tuple(
        signer.receipt(statement(i + (salt if i >= after else 0)), STARTED + i)
        for i in range(count)
    )


HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, 2, -1, 2**53),
    *("", "\x1b[2J", "0" * 63, "F" * 64),
    *([], {}),
)


def corrupted(value: Any) -> Iterator[tuple[str, Any]]:
    """Each single damage to a JSON value: a key gone, added, doubled in type, a value replaced."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"-{key}", {k: v for k, v in value.items() if k != key}
            for hostile in HOSTILE:
                yield f"{key}={hostile!r}", {**value, key: hostile}
            for name, inner in corrupted(item):
                yield f"{key}.{name}", {**value, key: inner}
        yield "+unknown", {**value, "unknown": 1}
    elif isinstance(value, list):
        for index, item in enumerate(value):
            for name, inner in corrupted(item):
                yield f"[{index}].{name}", [*value[:index], inner, *value[index + 1 :]]


def assert_strict(data: bytes, read: Callable[[bytes], Any], number: str) -> None:
    """Nothing but the canonical form is read, and each damage is refused or means another thing."""
    honest = read(data)
    assert honest.to_bytes() == data
    for variant in (
        data + b" ",
        b" " + data,
        data + b"\n",
        data[:-1],
        data[1:],
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff" + data,
        data.replace(b",", b", ", 1),
        data.replace(b":", b": ", 1),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ):
        with refused(number):
            read(variant)
    damages = 0
    for name, value in corrupted(loads(data)):
        changed = dumps(value)
        if changed == data:
            continue
        damages += 1
        found = refusal(partial(read, changed))
        assert found in (number, "accepted"), name
        if found == "accepted":
            assert read(changed).to_bytes() == changed, name
    assert damages > 10
    # A key twice, of which one reader takes the first and another one the last.
    first = next(iter(loads(data)))
    body = data[1:-1].decode()
    with refused(number):
        read(f'{{{body},"{first}":1}}'.encode())


def readable(data: bytes) -> Mapping[str, Any] | None:
    """The canonical JSON object in these bytes, if there is one."""
    try:
        value = loads(data)
    except CanonicalError:
        return None
    return value if isinstance(value, dict) else None
