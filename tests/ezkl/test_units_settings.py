"""The settings file: one canonical form, a strict reader; the policy's table; the options."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import UsageError
from proofml.fields import FieldError
from proofml.policy import Policy
from proofml.zkml.ezkl.params import BOUNDS, Options
from proofml.zkml.ezkl.policy import EzklPolicy
from proofml.zkml.ezkl.settings import MAX_SETTINGS_BYTES, Settings, canonical_settings

from .workshop import Workshop, edit


@pytest.fixture(scope="module")
def data(workshop: Workshop) -> bytes:
    """The settings of a small model."""
    return workshop.honest().sections["settings"]


def test_settings_are_read(data: bytes) -> None:
    settings = Settings.read(data)
    assert settings.data == data
    assert settings.logrows <= 12
    assert [settings.visibility(role) for role in ("input", "output", "param")] == [
        "public",
        "public",
        "fixed",
    ]
    assert settings.input_scales == (7, 0)
    assert settings.input_types == ("F32", "Int")
    assert settings.instance_shapes == ((1, 4), (1, 16), (1, 2))
    assert settings.range_limit == 1 << 28
    assert not settings.has_lookups


def test_canonical_form_has_no_order_and_no_time(data: bytes) -> None:
    """EZKL shuffles lists and keys and stamps the time: none of it is left."""
    value = json.loads(data)
    rng = random.Random(1)
    for _ in range(10):
        keys = list(value)
        rng.shuffle(keys)
        shuffled = {key: value[key] for key in keys}
        shuffled["required_range_checks"] = rng.sample(value["required_range_checks"], 2)
        shuffled["timestamp"] = rng.getrandbits(40)
        shuffled["version"] = "23.0.5"
        assert canonical_settings(shuffled) == data


def test_derived_twice_alike(workshop: Workshop) -> None:
    assert workshop.forger().settings().data == workshop.forger().settings().data


@given(st.binary(max_size=200))
def test_any_bytes(raw: bytes) -> None:
    with pytest.raises(FieldError):
        Settings.read(raw)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def test_any_value_at_any_key(data: bytes) -> None:
    """A file that reads at all keeps the whitelist."""
    value = json.loads(data)
    keys = [*value, *(f"run_args__{key}" for key in value["run_args"])]

    @given(st.sampled_from(keys), JSON_VALUES)
    def read(key: str, new: Any) -> None:
        try:
            settings = Settings.read(edit(data, **{key: new}))
        except FieldError:
            return
        assert settings.run_args["ignore_range_check_inputs_outputs"] is False
        assert settings.run_args["check_mode"] == "SAFE"
        for name, (low, high) in BOUNDS.items():
            assert low <= settings.run_args[name] <= high

    read()


def test_any_key_left_out_or_added(data: bytes) -> None:
    value = json.loads(data)
    for table, path in ((value, ""), (value["run_args"], "run_args__")):
        for key in list(table):
            kept = table.pop(key)
            with pytest.raises(FieldError):
                Settings.read(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
            table[key] = kept
        with pytest.raises(FieldError):
            Settings.read(edit(data, **{f"{path}zz": 1}))


def test_size(data: bytes) -> None:
    with pytest.raises(FieldError, match=str(MAX_SETTINGS_BYTES)):
        Settings.read(data + b" " * MAX_SETTINGS_BYTES)


# -- policy ---------------------------------------------------------------------------------------

PIN = {"model": "1" * 64, "settings": "2" * 64, "verifying_key": "3" * 64}


def table(**keys: Any) -> EzklPolicy:
    return EzklPolicy.read(Policy(sections={"ezkl": keys}, source="mine.toml"))


def test_policy_defaults() -> None:
    policy = table()
    assert (policy.min_input_scale, policy.min_param_scale, policy.max_logrows) == (6, 6, 20)
    assert (policy.settings, policy.pinned, policy.srs) == (frozenset(), (), frozenset())
    assert policy.max_error is None


def test_policy_is_read() -> None:
    policy = table(pinned=[PIN], srs=["4" * 64], settings=["5" * 64], max_error=1, max_logrows=17)
    assert policy.pinned[0].verifying_key == "3" * 64
    assert policy.max_error == 1.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pinned", [{**PIN, "model": "1"}]),
        ("pinned", [{k: v for k, v in PIN.items() if k != "settings"}]),
        ("pinned", [{**PIN, "srs": "1" * 64}]),
        ("pinned", PIN),
        ("settings", "1" * 64),
        ("settings", ["A" * 64]),
        ("srs", [1]),
        ("min_input_scale", -1),
        ("min_param_scale", 21),
        ("min_param_scale", True),
        ("max_logrows", 27),
        ("max_logrows", "17"),
        ("max_error", -0.5),
        ("max_error", float("nan")),
        ("max_error", float("inf")),
        ("max_eror", 0.1),
    ],
)
def test_policy_errors_name_the_key(key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"mine\.toml: backends\.ezkl\.{key}"):
        table(**{key: value})


# -- options --------------------------------------------------------------------------------------


def test_options_are_read() -> None:
    options = Options.read({"scales": "7,10", "max-logrows": "15", "srs": "local-dev"})
    assert options.scales == (7, 10)
    assert options.max_logrows == 15
    assert "srs" not in options.to_json()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scales", "7,"),
        ("scales", "21"),
        ("scales", "-3"),
        ("scales", ""),
        ("target", "speed"),
        ("srs", "mine"),
        ("logrows", "27"),
        ("logrows", "many"),
        ("decomp-base", "65536"),
        ("decomp-legs", "0"),
        ("lookup-margin", "0"),
        ("inner-columns", "17"),
        ("check-mode", "unsafe"),
    ],
)
def test_option_errors_name_the_key(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"--set {key}"):
        Options.read({key: value})
