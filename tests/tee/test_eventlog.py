"""Event logs: replay, order, what a log must explain, and payloads that cannot be lied about."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.errors import UsageError
from proofml.tee.eventlog import (
    MAX_EVENTS,
    MAX_PAYLOAD_BYTES,
    RUNTIME_EVENT_TYPE,
    Event,
    EventLog,
    extended,
    runtime_digest,
)
from proofml.tee.platform import Platform
from tests.tee.record_cases import corrupted, refusal, refused

ZEROS = "0" * 96
VECTOR = Path(__file__).parents[1] / "vectors" / "tee" / "dstack_event_log.json"
#: Register index -> name, of what a log can speak of.
NAMES = {
    Platform.TDX: {i: f"rtmr{i}" for i in range(4)},
    Platform.NITRO: {i: f"pcr{i}" for i in range(16, 32)},
}
LOGGED = tuple(NAMES)


def boot(imr: int, what: bytes, label: str = "") -> Event:
    """An event of the firmware: a digest, and nothing to recompute it from."""
    return Event(imr, 0x80000002, hashlib.sha384(what).digest(), label, b"")


def honest(platform: Platform) -> EventLog:
    """Boot events where the platform has them, then what an enclave measures."""
    log = EventLog(platform)
    last = 3
    if platform is Platform.TDX:
        log = EventLog(
            platform, (boot(0, b"a"), boot(1, b"b", "kernel"), boot(0, b"c"), boot(2, b"d"))
        )
    else:
        last = 16
    log = log.extended(last, "compose-hash", b"\x11" * 32)
    log = log.extended(last, "proofml-config", b"\x22" * 32)
    return log.extended(last, "ready", b"")


def quoted(log: EventLog) -> dict[str, str]:
    """The registers that hardware reports after these events, replayed by other code."""
    found = {name: bytes(48) for name in NAMES[log.platform].values()}
    for event in loads(log.to_bytes()):
        name = NAMES[log.platform][event["imr"]]
        found[name] = hashlib.sha384(found[name] + bytes.fromhex(event["digest"])).digest()
    return {name: value.hex() for name, value in found.items()}


# -- against hardware -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hardware() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTOR.read_text())
    return found


def test_log_from_hardware_gives_the_registers_of_its_quote(hardware: dict[str, Any]) -> None:
    log = EventLog.from_dstack(hardware["event_log"].encode())
    log.check(hardware["registers"])
    assert log.registers == hardware["registers"]
    assert log.compose_hash == hardware["compose_hash"]
    assert EventLog.read(log.to_bytes(), Platform.TDX) == log


def test_each_event_of_hardware_counts(hardware: dict[str, Any]) -> None:
    """Without any one of its events, or with two neighbours in one register swapped."""
    log = EventLog.from_dstack(hardware["event_log"].encode())
    for index in range(len(log.events)):
        less = EventLog(Platform.TDX, log.events[:index] + log.events[index + 1 :])
        with refused("tee.11"):
            less.check(hardware["registers"])
        after = [i for i in range(index + 1, len(log.events)) if same(log, i, index)]
        if after:
            events = list(log.events)
            events[index], events[after[0]] = events[after[0]], events[index]
            if events[index].digest == events[after[0]].digest:
                continue
            with refused("tee.11"):
                EventLog(Platform.TDX, tuple(events)).check(hardware["registers"])


def same(log: EventLog, first: int, second: int) -> bool:
    return log.events[first].imr == log.events[second].imr


def test_empty_digests_of_runtime_events(hardware: dict[str, Any]) -> None:
    """As newer guests give them: recomputed."""
    events = json.loads(hardware["event_log"])
    for event in events:
        if event["event_type"] == RUNTIME_EVENT_TYPE:
            event["digest"] = ""
    EventLog.from_dstack(json.dumps(events).encode()).check(hardware["registers"])
    with refused("tee.11"):  # this project's own form carries them
        EventLog.read(dumps(events), Platform.TDX)


@pytest.mark.parametrize("key", ["version", "preimage"])
def test_version_2_of_the_digests_is_not_taken_for_version_1(
    hardware: dict[str, Any], key: str
) -> None:
    events = json.loads(hardware["event_log"])
    events[-1][key] = "v2"
    with refused("tee.11"):
        EventLog.from_dstack(json.dumps(events).encode())


# -- replay ---------------------------------------------------------------------------------------


def test_runtime_digest_is_the_documented_hash() -> None:
    digest = hashlib.sha384(b"\x01\x00\x00\x08:compose-hash:\xab\xcd").digest()
    assert runtime_digest("compose-hash", b"\xab\xcd") == digest
    assert extended(bytes(48), digest) == hashlib.sha384(bytes(48) + digest).digest()


@pytest.mark.parametrize("platform", LOGGED)
def test_honest_log(platform: Platform) -> None:
    log = honest(platform)
    log.check(quoted(log))
    again = EventLog.read(log.to_bytes(), platform)
    assert again == log
    assert again.compose_hash == "11" * 32


@pytest.mark.parametrize("platform", LOGGED)
def test_each_register_is_compared(platform: Platform) -> None:
    """One bit of one register, of each that the log speaks of or must explain."""
    log = honest(platform)
    registers = quoted(log)
    for name, value in registers.items():
        changed = f"{int(value, 16) ^ 1:096x}"
        with refused("tee.11"):
            log.check({**registers, name: changed})


@pytest.mark.parametrize("platform", LOGGED)
def test_a_log_that_leaves_out_what_it_must_explain(platform: Platform) -> None:
    """All events of the last register are dropped, or the log is empty; the quote still has it."""
    log = honest(platform)
    explained = 3 if platform is Platform.TDX else 16
    kept = tuple(event for event in log.events if event.imr != explained)
    for less in (EventLog(platform, kept), EventLog(platform)):
        with refused("tee.11"):
            less.check(quoted(log))


@pytest.mark.parametrize("index", range(16, 32))
def test_every_late_register_of_nitro_has_to_be_explained(index: int) -> None:
    log = honest(Platform.NITRO)
    with refused("tee.11"):
        log.check({**quoted(log), f"pcr{index}": "ab" * 48})


def test_boot_registers_may_be_left_out_as_a_whole_only() -> None:
    log = honest(Platform.TDX)
    registers = quoted(log)
    late = tuple(event for event in log.events if event.imr == 3)
    EventLog(Platform.TDX, late).check(registers)
    with refused("tee.11"):
        EventLog(Platform.TDX, (log.events[0], *late)).check(registers)


@pytest.mark.parametrize("platform", LOGGED)
def test_registers_that_the_quote_does_not_have(platform: Platform) -> None:
    """Nitro leaves out what was not locked: then a log may not speak of it."""
    log = honest(platform)
    with refused("tee.11"):
        log.check({})
    EventLog(platform).check({})
    EventLog(platform).check(dict.fromkeys(quoted(log), ZEROS))


@settings(max_examples=60)
@given(
    st.sampled_from(LOGGED),
    st.lists(st.tuples(st.integers(0, 15), st.text(max_size=6), st.binary(max_size=9)), max_size=9),
)
def test_replay(platform: Platform, events: list[tuple[int, str, bytes]]) -> None:
    log = EventLog(platform)
    names = sorted(NAMES[platform])
    for index, name, payload in events:
        try:
            log = log.extended(names[index % len(names)], name, payload)
        except UsageError:
            assert not name or ":" in name or not name.isprintable()
    registers = quoted(log)
    log.check(registers)
    assert EventLog.read(log.to_bytes(), platform) == log
    for index in range(len(log.events)):
        less = EventLog(platform, log.events[:index] + log.events[index + 1 :])
        if less.registers == log.registers:
            continue
        found = refusal(partial(less.check, registers))
        assert found in ("tee.11", "accepted")
        if found == "accepted":  # the only event of a register that may be left out
            assert log.events[index].imr in range(3)
            assert platform is Platform.TDX
            assert not any(event.imr == log.events[index].imr for event in less.events)


# -- payloads and names ---------------------------------------------------------------------------


@pytest.mark.parametrize("platform", LOGGED)
@pytest.mark.parametrize("field", ["event", "event_payload", "digest"])
def test_a_payload_that_is_not_what_was_measured(platform: Platform, field: str) -> None:
    log = honest(platform)
    events = loads(log.to_bytes())
    target = next(event for event in events if event["event"] == "proofml-config")
    target[field] = {"event": "proofml-confih", "event_payload": "33" * 32, "digest": "ab" * 48}[
        field
    ]
    with refused("tee.11"):
        EventLog.read(dumps(events), platform)


@pytest.mark.parametrize("platform", LOGGED)
def test_a_payload_with_a_digest_to_match(platform: Platform) -> None:
    """The attacker recomputes the digest as well; then the register does not come out."""
    log = honest(platform)
    events = loads(log.to_bytes())
    target = next(event for event in events if event["event"] == "proofml-config")
    target["event_payload"] = "33" * 32
    target["digest"] = runtime_digest("proofml-config", b"\x33" * 32).hex()
    forged = EventLog.read(dumps(events), platform)
    with refused("tee.11"):
        forged.check(quoted(log))


def test_a_colon_cannot_move_between_name_and_payload() -> None:
    """`a:b` with payload `c` and `a` with payload `b:c` have one digest; the first is refused."""
    assert runtime_digest("a", b"b:c") == runtime_digest("a:b", b"c")
    log = EventLog(Platform.TDX).extended(3, "a", b"b:c")
    events = loads(log.to_bytes())
    events[0].update(event="a:b", event_payload=b"c".hex())
    with refused("tee.11"):
        EventLog.read(dumps(events), Platform.TDX)


@pytest.mark.parametrize("platform", LOGGED)
def test_a_runtime_event_cannot_hide_as_a_boot_event(platform: Platform) -> None:
    """Same digest, same register, no payload: then a second, false one would be the only one."""
    register = 3 if platform is Platform.TDX else 16
    log = honest(platform).extended(register, "compose-hash", b"\x66" * 32)
    events = loads(log.to_bytes())
    first = next(event for event in events if event["event"] == "compose-hash")
    first.update(event="", event_payload="", event_type=4)
    with refused("tee.11"):
        EventLog.read(dumps(events), platform)


def test_boot_events_carry_no_payload() -> None:
    events = loads(honest(Platform.TDX).to_bytes())
    events[0]["event_payload"] = "00"
    with refused("tee.11"):
        EventLog.read(dumps(events), Platform.TDX)
    assert EventLog.from_dstack(dumps(events)).events[0].payload == b""


@pytest.mark.parametrize("digest", ["", "ab" * 47, "ab" * 49])
def test_digests_of_boot_events_have_48_bytes(digest: str) -> None:
    events = loads(honest(Platform.TDX).to_bytes())
    events[0]["digest"] = digest
    with refused("tee.11"):
        EventLog.read(dumps(events), Platform.TDX)


@pytest.mark.parametrize("platform", LOGGED)
def test_an_event_twice(platform: Platform) -> None:
    register = 3 if platform is Platform.TDX else 16
    log = honest(platform).extended(register, "compose-hash", b"\x66" * 32)
    log.check(quoted(log))
    assert log.named("compose-hash", register) == (b"\x11" * 32, b"\x66" * 32)
    with refused("tee.11"):
        _ = log.compose_hash
    with refused("tee.12"):
        log.payload("compose-hash", register, "tee.12")
    with refused("tee.11"):
        log.payload("missing", register)


@pytest.mark.parametrize("payload", [b"", b"\x11" * 31, b"\x11" * 33])
def test_compose_hash_has_32_bytes(payload: bytes) -> None:
    with refused("tee.11"):
        _ = EventLog(Platform.TDX).extended(3, "compose-hash", payload).compose_hash


def test_compose_hash_elsewhere_is_none() -> None:
    assert EventLog(Platform.TDX).compose_hash is None
    assert EventLog(Platform.TDX).extended(2, "compose-hash", bytes(32)).compose_hash is None
    labelled = EventLog(Platform.TDX, (boot(0, b"x", "compose-hash"),))
    assert EventLog.read(labelled.to_bytes(), Platform.TDX).compose_hash is None


# -- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", LOGGED)
def test_each_damage(platform: Platform) -> None:
    """Refused when it is read or, where it is still a log, by the registers."""
    log = honest(platform)
    registers, data = quoted(log), log.to_bytes()
    labels = damages = 0
    for name, value in corrupted(loads(data)):
        changed = dumps(value)
        if changed == data:
            continue
        damages += 1

        def judge(data: bytes = changed) -> None:
            found = EventLog.read(data, platform)
            assert found.to_bytes() == data
            found.check(registers)

        number = refusal(judge)
        assert number in ("tee.11", "accepted"), name
        if number == "accepted":  # nobody vouches for the name of a boot event, and for its type
            assert name.split(".")[-1].split("=")[0] in ("event", "event_type"), name
            labels += 1
    assert damages > 100
    assert (labels > 0) == (platform is Platform.TDX)


@pytest.mark.parametrize("platform", [Platform.SGX, Platform.SEV_SNP])
def test_platforms_without_a_log(platform: Platform) -> None:
    with refused("tee.11"):
        EventLog.read(b"[]", platform)


@pytest.mark.parametrize("platform", LOGGED)
def test_registers_of_the_other_platform(platform: Platform) -> None:
    other = Platform.NITRO if platform is Platform.TDX else Platform.TDX
    with refused("tee.11"):
        EventLog.read(honest(other).to_bytes(), platform)


def test_bounds() -> None:
    event = boot(0, b"x").to_json()
    assert len(EventLog.read(dumps([event] * MAX_EVENTS), Platform.TDX).events) == MAX_EVENTS
    with refused("tee.11"):
        EventLog.read(dumps([event] * (MAX_EVENTS + 1)), Platform.TDX)
    with refused("tee.11"):
        EventLog.read(b"[" + b" " * (1 << 20) + b"]", Platform.TDX)
    with refused("tee.11"):
        EventLog.from_dstack(b"[" + b" " * (1 << 20) + b"]")
    log = EventLog(Platform.TDX).extended(3, "a", bytes(MAX_PAYLOAD_BYTES))
    with pytest.raises(UsageError):
        log.extended(3, "a", bytes(MAX_PAYLOAD_BYTES + 1))


@pytest.mark.parametrize(
    ("imr", "name"), [(4, "a"), (-1, "a"), (3, ""), (3, "a:b"), (3, "\n"), (3, "\ud800")]
)
def test_events_that_cannot_be_logged_are_misuse(imr: int, name: str) -> None:
    with pytest.raises(UsageError):
        EventLog(Platform.TDX).extended(imr, name, b"")


@settings(max_examples=300)
@given(st.binary(max_size=120), st.sampled_from(LOGGED))
@example(b"[" * 50_000, Platform.TDX)
@example(b"[null]", Platform.TDX)
@example(b"[[]]", Platform.TDX)
@example(b'"[]"', Platform.TDX)
def test_any_bytes(data: bytes, platform: Platform) -> None:
    for read in (EventLog.read, EventLog.from_dstack):
        found = refusal(partial(read, data, platform))
        assert found in ("tee.11", "accepted")
        assert found == "tee.11" or read(data, platform).events == ()
