"""Lies: each field of the Statement, each piece of evidence; told to three kinds of verifier.

One pins everything, one pins nothing (or no more than the backend needs), and one has been made
to expect the lie: evidence of one run under the Statement of another. In each case the attacker
recomputes every digest and signs, and the test says which check refuses.
"""

from __future__ import annotations

from typing import ClassVar

import pytest

from proofml import container
from proofml.policy import DEFAULT_ASSUMPTIONS, Policy
from proofml.statement import Visibility
from proofml.testing.attacker import DAMAGE, join, split
from proofml.testing.case import DETAIL, EVIDENCE, Case
from proofml.testing.forgeries import Forgery, forgeries
from proofml.testing.harness import Harness
from proofml.testing.judging import UNPINNED, assert_bound, assert_invalid
from proofml.verdict import Status


class ForgeryTests:
    """Soundness, as far as one proof and its file can show it."""

    case: ClassVar[Case]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "forgery" in metafunc.fixturenames:
            metafunc.parametrize("forgery", forgeries(self.case), ids=str)
        if "damage" in metafunc.fixturenames:
            metafunc.parametrize("damage", sorted(DAMAGE))

    # -- the Statement --------------------------------------------------------------------

    def test_lie_to_who_pins_everything(self, harness: Harness, forgery: Forgery) -> None:
        verdict = harness.judge(harness.forged(forgery.lie))
        if forgery.strict is not None:
            assert_invalid(verdict, {forgery.strict}, harness)
            return
        assert_bound(verdict, forgery.field, _lenient(forgery.field), harness)
        assert verdict.status is not Status.ACCEPTED

    def test_lie_to_who_pins_nothing(self, harness: Harness, forgery: Forgery) -> None:
        verdict = harness.judge(harness.forged(forgery.lie), harness.loose())
        about_model = forgery.field.startswith("model.")
        if about_model and harness.case.verify_needs_model and forgery.strict is not None:
            assert_invalid(verdict, {forgery.strict}, harness)
        elif about_model and harness.case.verify_needs_model:
            assert_bound(verdict, forgery.field, _lenient(forgery.field), harness)
        else:
            assert_bound(verdict, forgery.field, UNPINNED.get(_subject(forgery)), harness)

    def test_lie_to_who_believes_it(self, harness: Harness, forgery: Forgery) -> None:
        """The verifier expects what the liar states, and the evidence is of another run."""
        attacker = harness.attacker()
        forgery.lie(attacker, harness)
        if forgery.believe is None:
            # No Expectation can name such a lie: at the least, nobody accepts it by default.
            policy = Policy(sections=harness.case.policy.sections)
            verdict = harness.judge(attacker.forge(), policy=policy)
            assert verdict.status is not Status.ACCEPTED
            return
        facts = forgery.believe(harness.facts, attacker, harness)
        verdict = harness.judge(attacker.forge(), facts.expectation())
        assert_bound(verdict, forgery.field, None, harness)
        if not harness.case.numbers(forgery.field):
            assumption = harness.case.unbound[forgery.field]
            assert assumption not in DEFAULT_ASSUMPTIONS
            policy = harness.policy(assumptions=harness.case.policy.assumptions - {assumption})
            verdict = harness.judge(attacker.forge(), facts.expectation(), policy)
            assert verdict.status is Status.REFUSED

    def test_every_detail_of_the_computation(self, harness: Harness) -> None:
        """Each key of `computation.detail`, changed and left out."""
        detail = harness.proof.statement.computation.detail
        numbers = harness.case.numbers("computation.detail")
        assert detail
        for key in detail:
            attacker = harness.attacker()
            theirs = attacker.statement["computation"]["detail"]
            field = f"{DETAIL}{key}"
            if field not in harness.case.bound_by:
                field = "computation.detail"
            for wrong in _changed(theirs[key]):
                theirs[key] = wrong
                assert_bound(harness.judge(attacker.forge()), field, None, harness)
            del theirs[key]
            assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_inputs_in_another_order(self, harness: Harness) -> None:
        """Two inputs exchanged (or one stated twice, which no Statement may)."""
        attacker = harness.attacker()
        claims = attacker.statement["inputs"]
        if len(claims) == 1:
            attacker.statement["inputs"] = [*claims, *claims]
            data = attacker.forge(recompute=False)
            assert_invalid(harness.judge(data), {"core.2"}, harness)
            return
        claims[0], claims[1] = claims[1], claims[0]
        bodies = attacker.sections
        if "input.0" in bodies:
            bodies["input.0"], bodies["input.1"] = bodies["input.1"], bodies["input.0"]
        assert_invalid(harness.judge(attacker.forge()), {"core.14"}, harness)

    # -- evidence, its digests recomputed -------------------------------------------------

    def test_all_evidence_is_declared(self, harness: Harness) -> None:
        declared = {name for name in harness.case.bound_by if name.startswith(EVIDENCE)}
        assert declared == {EVIDENCE + name for name in harness.evidence}

    def test_damaged_evidence(self, harness: Harness, damage: str) -> None:
        """Each section, listed as if it had always been so: refused by its own check."""
        for name, body in harness.proof.sections.items():
            if DAMAGE[damage](body) == body:
                continue
            attacker = harness.attacker()
            attacker.sections[name] = DAMAGE[damage](body)
            own = name in harness.evidence
            numbers = harness.case.numbers(EVIDENCE + name) if own else {"core.6"}
            assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_missing_evidence(self, harness: Harness) -> None:
        for name in harness.proof.sections:
            attacker = harness.attacker()
            del attacker.sections[name]
            own = name in harness.evidence
            numbers = harness.case.numbers(EVIDENCE + name) if own else {"core.6"}
            assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_renamed_evidence(self, harness: Harness) -> None:
        extra = harness.case.numbers("evidence.extra")
        for name in harness.proof.sections:
            attacker = harness.attacker()
            attacker.sections["zz-renamed"] = attacker.sections.pop(name)
            own = name in harness.evidence
            numbers = harness.case.numbers(EVIDENCE + name) | extra if own else {"core.6"}
            assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_exchanged_evidence(self, harness: Harness) -> None:
        """Each section in the place of each other one."""
        names = list(harness.proof.sections)
        for first in names:
            for second in names[names.index(first) + 1 :]:
                attacker = harness.attacker()
                bodies = attacker.sections
                if bodies[first] == bodies[second]:
                    continue
                bodies[first], bodies[second] = bodies[second], bodies[first]
                numbers = {"core.6"}
                if {first, second} <= set(harness.evidence):
                    numbers = set(harness.case.numbers(EVIDENCE + first))
                    numbers |= harness.case.numbers(EVIDENCE + second)
                assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_more_evidence(self, harness: Harness) -> None:
        """A piece that nobody reads would be a place to hide something, or to vary a file."""
        for name in ("0", "zz-extra", "input.99", "output.99"):
            attacker = harness.attacker()
            attacker.sections[name] = b"what nobody reads"
            numbers = harness.case.numbers("evidence.extra")
            assert_invalid(harness.judge(attacker.forge()), numbers, harness)

    def test_hidden_value_in_the_file(self, harness: Harness) -> None:
        """A tensor is either shown or hidden: not private with its value beside it."""
        attacker = harness.attacker()
        body = attacker.sections.get("input.0", b"anything")
        if attacker.claim("input.0")["visibility"] == Visibility.PUBLIC:
            attacker.hide("input.0")
        attacker.sections["input.0"] = body
        assert_invalid(harness.judge(attacker.forge()), {"core.6"}, harness)

    # -- the container: damage that cannot be put right, or was not --------------------------

    def test_damaged_section_with_old_digest(self, harness: Harness, damage: str) -> None:
        for name, body in harness.proof.sections.items():
            attacker = harness.attacker()
            attacker.sections[name] = DAMAGE[damage](body)
            assert_invalid(harness.judge(attacker.forge(recompute=False)), {"core.5"}, harness)

    def test_unlisted_section(self, harness: Harness) -> None:
        attacker = harness.attacker()
        attacker.sections["zz-extra"] = b""
        assert_invalid(harness.judge(attacker.forge(recompute=False)), {"core.5"}, harness)
        for name in harness.proof.sections:
            attacker = harness.attacker()
            del attacker.sections[name]
            assert_invalid(harness.judge(attacker.forge(recompute=False)), {"core.5"}, harness)

    def test_order_of_sections(self, harness: Harness) -> None:
        sections = split(harness.data)
        for index in range(len(sections) - 1):
            swapped = list(sections)
            swapped[index], swapped[index + 1] = swapped[index + 1], swapped[index]
            assert_invalid(harness.judge(join(swapped)), {"core.1"}, harness)

    def test_section_twice(self, harness: Harness) -> None:
        sections = split(harness.data)
        for index, section in enumerate(sections):
            doubled = [*sections[: index + 1], section, *sections[index + 1 :]]
            assert_invalid(harness.judge(join(doubled)), {"core.1"}, harness)

    def test_name_of_a_section(self, harness: Harness) -> None:
        sections = split(harness.data)
        for name in ("", "UPPER", "../up", "a" * 65, "a\0b", container.ATTESTATION):
            renamed = [*sections[:-1], (name, sections[-1][1])]
            assert_invalid(harness.judge(join(renamed)), {"core.1"}, harness)

    def test_ends_of_the_file(self, harness: Harness) -> None:
        data = harness.data
        step = max(1, len(data) // 64)
        for end in (*range(0, len(data), step), len(data) - 1):
            assert_invalid(harness.judge(data[:end]), {"core.1"}, harness)
        for wrong in (data + b"\0", b"\0" + data, data + data, b""):
            assert_invalid(harness.judge(wrong), {"core.1"}, harness)


def _subject(forgery: Forgery) -> str:
    return forgery.field.split(".")[0]


def _lenient(field: str) -> str | None:
    """The assumption by which the core marks a lie that even a full Expectation does not refuse."""
    return {"model.file_sha256": "model:file-differs", "model.kind": "model:weights-hidden"}.get(
        field
    )


def _changed(value: object) -> list[object]:
    """Other values: near ones of the same type, and one that Python alone calls equal."""
    if isinstance(value, bool):
        return [not value, int(value)]
    if isinstance(value, int):
        return [value + 1, *([bool(value)] if value in (0, 1) else [])]
    if isinstance(value, str):
        return [value[:-1] + ("0" if value[-1:] != "0" else "1")]
    return [None if value else "something"]
