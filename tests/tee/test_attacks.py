"""A malicious prover who knows all but the keys of roots and machines; each lie has its number."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proofml.checks import Result
from proofml.tee import platforms
from proofml.tee.appraisal import APPRAISED
from proofml.tee.binding import Mode
from proofml.tee.checks import CHECKS
from proofml.tee.platform import Platform
from proofml.testing.attacker import Attacker
from proofml.verdict import Status

from . import attacks_on_binding, attacks_on_evidence
from .attacks import ALL, ATTACKS, BOTH, INTEL, LOGGED, Attack
from .workshop import Enclave, Verifier

CASES = [
    pytest.param(attack, platform, mode, id=f"{attack.name}-{platform}-{mode}")
    for attack in ATTACKS
    for platform in attack.platforms
    for mode in attack.modes
]


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("mode", BOTH)
def test_the_honest_proof_is_accepted(platform: Platform, mode: Mode) -> None:
    """So that what is stopped below is stopped for the lie alone."""
    verdict = Verifier().judge(Enclave.start(platform, mode).proof())
    assert verdict, verdict.reasons
    assert {check.number for check in verdict.checks} >= set(CHECKS)
    assert not {check.result for check in verdict.checks} & {Result.FAILED, Result.REFUSED}


@pytest.mark.parametrize("platform", ALL)
@pytest.mark.parametrize("mode", BOTH)
def test_the_default_policy_takes_no_simulated_root(platform: Platform, mode: Mode) -> None:
    verdict = Verifier(allow=()).judge(Enclave.start(platform, mode).proof())
    assert verdict.status is Status.REFUSED
    assert verdict.exit_code == 3
    (reason,) = verdict.reasons
    assert "tee-root:simulated" in reason


@pytest.mark.parametrize(("attack", "platform", "mode"), CASES)
def test_attack(attack: Attack, platform: Platform, mode: Mode) -> None:
    number = attack.stopped_by(mode)
    forged = attack.make(platform, mode)
    verdict = forged.victim.judge(forged.data)
    if number in APPRAISED:
        assert verdict.status is Status.REFUSED, verdict.reasons
        stopped = [one.number for one in verdict.checks if one.result is Result.REFUSED]
        assert [reason.split(":")[0] for reason in verdict.reasons] == stopped
        stopped = [one for one in stopped if one != attack.also]
    else:
        assert verdict.status is Status.INVALID, verdict.reasons
        assert verdict.error is not None
        stopped = [one.number for one in verdict.checks if one.result is Result.FAILED]
        assert verdict.error.check == number, str(verdict.error)
    assert stopped == [number]


@pytest.mark.parametrize("platform", ALL)
def test_a_flipped_bit_anywhere(platform: Platform) -> None:
    """Every field of the quote once, and bits of all evidence; all digests recomputed."""
    honest = Attacker.of(Enclave.start(platform, Mode.SESSION).proof())
    verifier, evidence = Verifier(), sorted(set(honest.sections) - {"input.0", "output.0"})
    fields = platforms.parse(platform, honest.sections["quote"]).fields
    inside = [8 * field.offset for field in fields if field.data]

    @settings(max_examples=40)
    @given(st.sampled_from(evidence), st.integers(0, 2**32))
    def flip(section: str, place: int) -> None:
        lie = honest.copy()
        changed = bytearray(lie.sections[section])
        bit = place % (8 * len(changed))
        changed[bit >> 3] ^= 1 << (bit & 7)
        lie.sections[section] = bytes(changed)
        verdict = verifier.judge(lie.forge(sign=False))
        assert verdict.error is not None, f"bit {bit} of {section}: {verdict.status}"
        assert verdict.error.check in CHECKS, str(verdict.error)

    for place in inside:
        flip.hypothesis.inner_test("quote", place + 3)
    flip()


def test_every_number_has_an_attack() -> None:
    found = {attack.stopped_by(mode) for attack in ATTACKS for mode in attack.modes}
    assert found == set(CHECKS)


#: Numbers that have nothing to look at on a platform.
NOTHING = {
    Platform.TDX: set(),
    Platform.SGX: {"tee.11"},  # no register that grows
    Platform.SEV_SNP: {"tee.11", "tee.18"},  # and no status
    Platform.NITRO: {"tee.6", "tee.8", "tee.18", "tee.19"},  # no list, no collateral, no levels
}


@pytest.mark.parametrize("platform", ALL)
def test_every_number_has_an_attack_on_each_platform(platform: Platform) -> None:
    found = defaultdict(set)
    for attack in ATTACKS:
        for mode in attack.modes:
            if platform in attack.platforms:
                found[attack.stopped_by(mode)].add(attack.name)
    assert set(found) == set(CHECKS) - NOTHING[platform]


def test_names_are_unique() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names)
    assert {attacks_on_binding.__name__, attacks_on_evidence.__name__} == {
        attack.make.__module__ for attack in ATTACKS
    }
    assert set(INTEL) | set(LOGGED) <= set(ALL)
