"""Any bytes: accepted or refused by a numbered check; never an exception, never `core.15`.

And nothing but the honest file is accepted: a mutated one is refused, or states the same thing on
the same evidence (notes and media types of a file that nobody trustworthy signed are free).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proofml.canonical import CanonicalError
from proofml.checks import CORE_CHECKS
from proofml.container import MAGIC
from proofml.fields import FieldError
from proofml.proof import Proof
from proofml.testing.harness import Harness
from proofml.testing.judging import assert_documented, assert_judged
from proofml.verdict import Status, Verdict

#: Values that readers of JSON are not always ready for.
HOSTILE: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.sampled_from(["", "0", "\x1b[2J", "a" * 2000, "../../etc/passwd", "\u202e", "0" * 64]),
    st.text(max_size=20),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-3, 3), max_size=3),
    st.dictionaries(st.text(max_size=5), st.none(), max_size=2),
)


class HostileTests:
    """The fuzz tests; `Case.examples` says how many each."""

    def test_arbitrary_bytes(self, harness: Harness) -> None:
        @_budget(harness)
        @given(st.binary(max_size=400), st.sampled_from([b"", MAGIC, MAGIC + b"\x01\0\x02\0"]))
        def judge(data: bytes, head: bytes) -> None:
            assert_judged(harness.judge(head + data), head + data, harness)

        judge()

    def test_mutated_file(self, harness: Harness) -> None:
        """Bytes changed, removed, inserted, moved: only the file as it was is accepted."""

        @_budget(harness)
        @given(st.integers(0, 2**64), st.integers(1, 4))
        def judge(seed: int, times: int) -> None:
            data = mutated(harness.data, random.Random(seed), times)
            assert_judged(harness.judge(data), data, harness)

        judge()

    def test_mutated_statement(self, harness: Harness) -> None:
        """Any value of the attestation replaced; the attacker recomputes what he can and signs."""

        @_budget(harness)
        @given(st.integers(0, 2**32), HOSTILE, st.booleans(), st.booleans(), st.booleans())
        def judge(place: int, value: Any, recompute: bool, sign: bool, loose: bool) -> None:
            attacker = harness.attacker()
            replaced(attacker.payload, place, value)
            try:
                data = attacker.forge(recompute=recompute, sign=sign)
            except (FieldError, CanonicalError, KeyError, TypeError, AttributeError):
                data = harness.attacker().forge(recompute=False, sign=sign)
            if loose:  # so that more of it reaches the backend, which may find it unbound
                verdict = harness.judge(data, harness.loose())
                assert verdict.error is None or verdict.error.check != "core.15"
                assert_documented(verdict, harness)
            else:
                _assert_same_claim(harness.judge(data), data, harness)

        judge()

    def test_mutated_evidence(self, harness: Harness) -> None:
        """Any section changed, all digests recomputed, signed."""

        @_budget(harness, share=2)
        @given(st.integers(0, 2**64), st.integers(1, 4))
        def judge(seed: int, times: int) -> None:
            rng = random.Random(seed)
            attacker = harness.attacker()
            name = rng.choice(sorted(attacker.sections))
            attacker.sections[name] = mutated(attacker.sections[name], rng, times)
            data = attacker.forge()
            _assert_same_claim(harness.judge(data), data, harness)

        judge()


def _budget(harness: Harness, share: int = 1) -> Callable[[Callable[..., None]], Any]:
    return settings(
        max_examples=max(1, harness.case.examples // share),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )


def _assert_same_claim(verdict: Verdict, data: bytes, harness: Harness) -> None:
    """Whatever is not invalid claims what the honest proof claims, on the same evidence."""
    if verdict.status is Status.INVALID:
        assert verdict.error is not None
        assert verdict.error.check in {*CORE_CHECKS, *harness.backend.checks} - {"core.15"}, str(
            verdict.error
        )
        assert_documented(verdict, harness)
        return
    same = Proof.read(data)
    assert same.statement == harness.proof.statement
    assert same.sections == harness.proof.sections
    assert same.backend == harness.proof.backend


def mutated(data: bytes, rng: random.Random, times: int) -> bytes:
    """`times` random edits: one bit, one byte, a removed or repeated or foreign stretch."""
    changed = bytearray(data)
    for _ in range(times):
        at = rng.randrange(len(changed) + 1)
        size = rng.choice((1, 1, 2, 8, 32))
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.randrange(256)
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size]
            case _:
                changed[at:at] = rng.randbytes(size)
    return bytes(changed)


def replaced(value: Any, place: int, by: Any) -> None:
    """Replace, remove or add one item somewhere inside nested dicts and lists."""
    slots = list(_slots(value))
    holder, key = slots[place % len(slots)]
    match place // len(slots) % 4:
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key}x"] = by
        case 1:
            holder.append(by)
        case _:
            holder[key] = by


def _slots(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _slots(item)
