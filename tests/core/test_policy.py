"""The Policy: strict defaults, errors that name file and key, and a reason for each objection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.errors import UsageError
from proofml.guarantee import CORE_ASSUMPTIONS, Finality, Guarantee, Integrity
from proofml.policy import DEFAULT_ASSUMPTIONS, MAX_POLICY_BYTES, Policy

GOOD = Guarantee(frozenset({Integrity.CRYPTOGRAPHIC}), bits=128)
KEY = "ed25519:" + "0" * 64


def load(tmp_path: Path, text: str) -> Policy:
    path = tmp_path / "policy.toml"
    path.write_text(text, "utf-8")
    return Policy.load(path)


def test_least_policy_is_the_default(tmp_path: Path) -> None:
    loaded = load(tmp_path, "version = 1\n")
    assert replace(loaded, source="default policy") == Policy()


def test_default_refuses_every_shortcut() -> None:
    assert not Policy().objections("fake", GOOD)
    for name in set(CORE_ASSUMPTIONS) - DEFAULT_ASSUMPTIONS:
        (reason,) = Policy().objections("fake", replace(GOOD, assumptions=frozenset({name})))
        assert f"--allow {name}" in reason
    for name in ("srs:local-dev", "tee-root:simulated", "window:open", "model:unpinned"):
        assert Policy().objections("fake", replace(GOOD, assumptions=frozenset({name})))
        assert name not in DEFAULT_ASSUMPTIONS


def test_full_policy(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        f"""
        version = 1
        [accept]
        backends = ["fake"]
        integrity = ["cryptographic", "hardware"]
        min_bits = 120
        assumptions = ["srs:local-dev"]
        require_nonce = true
        [signers]
        keys = ["{KEY}"]
        [backends.fake]
        anything = 1
        """,
    )
    assert loaded.backends == {"fake"}
    assert loaded.integrity == {Integrity.CRYPTOGRAPHIC, Integrity.HARDWARE}
    assert loaded.min_bits == 120
    assert loaded.assumptions == {"srs:local-dev"}
    assert loaded.require_nonce
    assert loaded.signers == {KEY}
    assert loaded.section("fake").integer("anything", 0, 9) == 1
    assert loaded.source.endswith("policy.toml")
    assert loaded.to_json()["min_bits"] == 120
    assert loaded.to_json()["backends"] == ["fake"]
    assert Policy().to_json()["backends"] is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "version"),
        ("version = 2", "version"),
        ('version = "1"', "version"),
        ("version = 1\naccept = 3", "accept"),
        ("version = 1\nunknown = 1", "unknown"),
        ("version = 1\n[accept]\nunknown = 1", "accept.unknown"),
        ("version = 1\n[accept]\nbackends = 'ezkl'", "accept.backends"),
        ("version = 1\n[accept]\nbackends = [1]", r"accept.backends\[0\]"),
        ("version = 1\n[accept]\nintegrity = ['magic']", r"accept.integrity\[0\]"),
        ("version = 1\n[accept]\nintegrity = []", "accept.integrity"),
        ("version = 1\n[accept]\nmin_bits = 0", "accept.min_bits"),
        ("version = 1\n[accept]\nmin_bits = 1.5", "accept.min_bits"),
        ("version = 1\n[accept]\nmin_bits = true", "accept.min_bits"),
        ("version = 1\n[accept]\nassumptions = ['everything']", r"accept.assumptions\[0\]"),
        ("version = 1\n[accept]\nassumptions = ['srs:*']", r"accept.assumptions\[0\]"),
        ("version = 1\n[accept]\nrequire_nonce = 1", "accept.require_nonce"),
        ("version = 1\n[signers]\nkeys = ['me']", r"signers.keys\[0\]"),
        ("version = 1\n[signers]\nkey = []", "signers.key"),
        ("version = 1\n[backends]\nfake = 1", "backends.fake"),
        ("version = 1\nbackends = []", "backends"),
        ("version = ", "not TOML"),
        ("version = 1\nversion = 1", "not TOML"),
        ("a = " + "[" * 5000, "not TOML"),
    ],
)
def test_errors_name_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UsageError, match=rf"policy\.toml: {named}"):
        load(tmp_path, text)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the policy"):
        Policy.load(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot read the policy"):
        Policy.load(tmp_path)
    path = tmp_path / "binary.toml"
    path.write_bytes(b"version = 1 # \xff")
    with pytest.raises(UsageError, match="not TOML"):
        Policy.load(path)
    path.write_bytes(b"#" * (MAX_POLICY_BYTES + 1))
    with pytest.raises(UsageError, match="at most"):
        Policy.load(path)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = st.sampled_from(["version", "accept", "signers", "backends", "x"])
INNER = st.dictionaries(
    st.sampled_from(["backends", "integrity", "min_bits", "assumptions", "require_nonce", "keys"]),
    VALUES,
)


@given(st.dictionaries(KEYS, VALUES | INNER))
def test_any_mapping(value: dict[str, Any]) -> None:
    """A policy or a UsageError; and never one that has lost a key on the way."""
    value = {"version": 1, **value}
    try:
        policy = Policy.from_mapping(value)
    except UsageError:
        return
    assert set(value) <= {"version", "accept", "signers", "backends"}
    assert policy.integrity


# -- what a policy objects to ---------------------------------------------------------------------


def one(policy: Policy, guarantee: Guarantee) -> str:
    (reason,) = policy.objections("fake", guarantee)
    return reason


def test_each_objection() -> None:
    policy = Policy()
    assert "accept.backends" in one(replace(policy, backends=frozenset({"other"})), GOOD)
    assert "accept.backends" in one(replace(policy, backends=frozenset()), GOOD)
    hardware = replace(policy, integrity=frozenset({Integrity.HARDWARE}))
    assert "accept.integrity" in one(hardware, GOOD)
    assert "accept.integrity" in one(policy, replace(GOOD, integrity=frozenset()))
    assert "99 bits" in one(policy, replace(GOOD, bits=99))
    assert not policy.objections("fake", replace(GOOD, bits=100))
    assert "own reason" in one(policy, replace(GOOD, objections=("own reason",)))
    stale = replace(GOOD, assumptions=frozenset({"nonce:unpinned"}))
    assert "require_nonce" in one(replace(policy, require_nonce=True), stale)
    assert not policy.objections("fake", stale)


def test_pinned_signers_are_a_demand() -> None:
    policy = replace(Policy(), signers=frozenset({KEY}))
    for name in ("signer:unsigned", "signer:unpinned"):
        reason = one(policy, replace(GOOD, assumptions=frozenset({name})))
        assert "signers.keys" in reason
    assert not policy.objections("fake", GOOD)


def test_one_of_several_kinds_is_enough() -> None:
    both = replace(GOOD, integrity=frozenset({Integrity.ECONOMIC, Integrity.HARDWARE}))
    policy = replace(Policy(), integrity=frozenset({Integrity.HARDWARE}))
    assert not policy.objections("fake", both)


def test_pending() -> None:
    assert Policy().is_pending(replace(GOOD, finality=Finality.PENDING))
    still_open = replace(GOOD, finality=Finality.PENDING, assumptions=frozenset({"window:open"}))
    assert not Policy().objections("fake", still_open)  # it is waited for, not refused
    assert Policy().is_pending(still_open)
    early = Policy().allow(["window:open"])
    assert not early.objections("fake", still_open)
    assert not early.is_pending(still_open)
    assert early.is_pending(replace(GOOD, finality=Finality.PENDING))
    assert not Policy().is_pending(GOOD)


def test_allow() -> None:
    shortcut = replace(GOOD, assumptions=frozenset({"srs:local-dev"}))
    assert not Policy().allow(["srs:local-dev"]).objections("fake", shortcut)
    assert Policy().assumptions == DEFAULT_ASSUMPTIONS
    for wrong in ("everything", "srs:", ":dev", "SRS:dev", "srs:dev ", ""):
        with pytest.raises(UsageError, match="--allow"):
            Policy().allow([wrong])
