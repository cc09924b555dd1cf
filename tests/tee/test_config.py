"""The configuration: strict, and measured where each platform measures it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.canonical import dumps, loads
from proofml.errors import UsageError
from proofml.fields import FieldError
from proofml.tee.binding import Mode, Session
from proofml.tee.config import (
    CONFIG_EVENT,
    NAMESPACES,
    Configuration,
    Runtime,
    check_measured,
    config_event,
    config_id,
    host_data,
)
from proofml.tee.eventlog import EventLog
from proofml.tee.platform import Platform
from tests.tee.record_cases import (
    MODEL,
    RUNTIME,
    assert_strict,
    configuration,
    refused,
    session,
)

OTHER = "c3" * 32
CONFIG = configuration().to_bytes()
REGISTER = {Platform.TDX: 3, Platform.NITRO: 16}


def measured(platform: Platform, config: bytes) -> tuple[dict[str, str], EventLog | None]:
    """What hardware that was started with `config` reports."""
    if platform is Platform.SEV_SNP:
        return {"host_data": hashlib.sha256(config).hexdigest()}, None
    if platform is Platform.SGX:
        return {"configid": hashlib.sha512(config).hexdigest()}, None
    log = EventLog(platform).extended(
        REGISTER[platform], "proofml-config", hashlib.sha256(config).digest()
    )
    return dict(log.registers), log


def check(
    platform: Platform,
    config: bytes = CONFIG,
    *,
    started_with: bytes | None = None,
    **changes: Any,
) -> Configuration:
    """The check, on hardware started with `config` unless something else is said."""
    measurements, log = measured(platform, config if started_with is None else started_with)
    if log is not None:
        log.check(measurements)
    arguments: dict[str, Any] = {"model": MODEL, "mode": Mode.SESSION, "runtime": RUNTIME}
    return check_measured(config, platform, measurements, log, **{**arguments, **changes})


@pytest.mark.parametrize("platform", Platform)
def test_the_configuration_that_was_measured(platform: Platform) -> None:
    assert check(platform) == configuration()
    assert check(platform, session=session()) == configuration()


def test_where_it_is_measured() -> None:
    assert config_event(CONFIG) == host_data(CONFIG) == hashlib.sha256(CONFIG).digest()
    assert config_id(CONFIG) == hashlib.sha512(CONFIG).digest()
    assert configuration().digest == hashlib.sha256(CONFIG).hexdigest()


@pytest.mark.parametrize("platform", Platform)
def test_a_configuration_that_was_not_measured(platform: Platform) -> None:
    """The attacker rewrites the configuration, and the session record with its digest."""
    for change in (
        {"isolation": {**dict.fromkeys(NAMESPACES, True), "network": False}},
        {"runtime": replace(RUNTIME, version="1.20.1")},
        {"model": OTHER},
        {"mode": Mode.INFERENCE},
    ):
        changed = configuration(**change)
        with refused("tee.12"):
            check(
                platform,
                changed.to_bytes(),
                started_with=CONFIG,
                model=changed.model,
                mode=changed.mode,
                runtime=changed.runtime,
                session=session(config=changed.digest, model=changed.model),
            )


@pytest.mark.parametrize("platform", Platform)
def test_another_model(platform: Platform) -> None:
    """Honest hardware, started with another model than the Statement's."""
    with refused("tee.12"):
        check(platform, configuration(model=OTHER).to_bytes())
    with refused("tee.12"):
        check(platform, model=OTHER)


@pytest.mark.parametrize("platform", Platform)
@pytest.mark.parametrize(
    "runtime",
    [
        Runtime("onnxruntime", "1.20.1", RUNTIME.settings),
        Runtime("other", "1.20.0", RUNTIME.settings),
        Runtime("onnxruntime", "1.20.0", {**RUNTIME.settings, "threads": 2}),
        Runtime("onnxruntime", "1.20.0", {**RUNTIME.settings, "threads": True}),
        Runtime("onnxruntime", "1.20.0", {}),
    ],
    ids=["version", "name", "setting", "true-for-1", "no-settings"],
)
def test_another_runtime(platform: Platform, runtime: Runtime) -> None:
    with refused("tee.12"):
        check(platform, runtime=runtime)


@pytest.mark.parametrize("platform", Platform)
def test_another_mode(platform: Platform) -> None:
    with refused("tee.9"):
        check(platform, mode=Mode.INFERENCE)
    with refused("tee.9"):
        check(platform, configuration(mode=Mode.INFERENCE).to_bytes())


@pytest.mark.parametrize("platform", Platform)
@pytest.mark.parametrize("name", ["model", "config"])
def test_a_session_of_another_model_or_configuration(platform: Platform, name: str) -> None:
    changes: dict[str, Any] = {name: OTHER}
    record = Session.read(session(**changes).to_bytes())
    with refused("tee.12"):
        check(platform, session=record)


@pytest.mark.parametrize("platform", [Platform.SEV_SNP, Platform.SGX])
def test_no_measurement(platform: Platform) -> None:
    with refused("tee.12"):
        check_measured(CONFIG, platform, {}, None, model=MODEL, mode=Mode.SESSION, runtime=RUNTIME)


@pytest.mark.parametrize("platform", REGISTER)
@pytest.mark.parametrize("how", ["no-log", "no-event", "twice", "other-name", "digest-of-it"])
def test_the_event(platform: Platform, how: str) -> None:
    register, payload = REGISTER[platform], config_event(CONFIG)
    log = EventLog(platform)
    arguments: dict[str, Any] = {"model": MODEL, "mode": Mode.SESSION, "runtime": RUNTIME}
    found: EventLog | None = {
        "no-log": None,
        "no-event": log.extended(register, "other", payload),
        "twice": log.extended(register, CONFIG_EVENT, payload).extended(
            register, CONFIG_EVENT, payload
        ),
        "other-name": log.extended(register, CONFIG_EVENT + "2", payload),
        "digest-of-it": log.extended(register, CONFIG_EVENT, payload.hex().encode()),
    }[how]
    with refused("tee.12"):
        check_measured(CONFIG, platform, {}, found, **arguments)


def test_the_event_in_another_register() -> None:
    for platform, register in ((Platform.TDX, 2), (Platform.NITRO, 17)):
        log = EventLog(platform).extended(register, CONFIG_EVENT, config_event(CONFIG))
        log.check(log.registers)
        with refused("tee.12"):
            check_measured(
                CONFIG,
                platform,
                log.registers,
                log,
                model=MODEL,
                mode=Mode.SESSION,
                runtime=RUNTIME,
            )


# -- the record -----------------------------------------------------------------------------------

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
CONFIGURATIONS = st.builds(
    configuration,
    model=st.binary(min_size=32, max_size=32).map(bytes.hex),
    mode=st.sampled_from(Mode),
    runtime=st.builds(
        Runtime,
        st.sampled_from(["onnxruntime", ""]),
        st.text("0123456789.", max_size=9),
        st.dictionaries(st.text("abc", max_size=5), JSON_VALUES, max_size=3),
    ),
    isolation=st.builds(
        lambda base, more: {**more, **dict(zip(NAMESPACES, base, strict=True))},
        st.tuples(*[st.booleans()] * len(NAMESPACES)),
        st.dictionaries(NAMES, st.booleans(), max_size=5),
    ),
)


@given(CONFIGURATIONS)
def test_round_trip(found: Configuration) -> None:
    again = Configuration.read(found.to_bytes())
    assert again.to_bytes() == found.to_bytes()
    assert again.digest == found.digest


@given(CONFIGURATIONS)
def test_what_is_missing(found: Configuration) -> None:
    assert set(found.missing_isolation) == {k for k, v in found.isolation.items() if not v}


def test_read_is_strict() -> None:
    assert_strict(CONFIG, Configuration.read, "tee.2")


@pytest.mark.parametrize("name", ["", "A", "a b", "a" * 33, "\x1b", "ä"])
def test_names_of_isolation(name: str) -> None:
    value = loads(CONFIG)
    value["isolation"][name] = True
    with refused("tee.2"):
        Configuration.read(dumps(value))


def test_too_many_names() -> None:
    isolation = dict.fromkeys(NAMESPACES, True)
    isolation |= {f"n{i}": True for i in range(32 - len(NAMESPACES))}
    assert len(Configuration.read(configuration(isolation=isolation).to_bytes()).isolation) == 32
    with pytest.raises(UsageError, match="at most 32 keys"):
        configuration(isolation={**isolation, "more": True})


@pytest.mark.parametrize("name", NAMESPACES)
def test_each_namespace_has_to_be_said(name: str) -> None:
    isolation = {other: True for other in NAMESPACES if other != name}
    with pytest.raises(UsageError):
        configuration(isolation=isolation)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "short"},
        {"runtime": replace(RUNTIME, name="a\nb")},
        {"runtime": replace(RUNTIME, version="1" * 65)},
        {"runtime": replace(RUNTIME, settings={"a": "\ud800"})},
        {"runtime": replace(RUNTIME, settings={"a": 2**54})},
        {"runtime": replace(RUNTIME, settings={"a": "b" * 70_000})},
    ],
    ids=["model", "name", "version", "surrogate", "integer", "size"],
)
def test_what_cannot_be_written_is_misuse(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        configuration(**change)


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with refused("tee.2"):
        Configuration.read(data)


def test_runtime_of_a_statement() -> None:
    assert Runtime.read(RUNTIME.to_json(), "detail.runtime") == RUNTIME
    with pytest.raises(FieldError, match=r"detail\.runtime\.settings"):
        Runtime.read({"name": "a", "version": "1", "settings": []}, "detail.runtime")
