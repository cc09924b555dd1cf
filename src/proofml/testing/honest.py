"""What an honest proof must show, and what a verifier must not overlook in it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.backend import Backend, Context
from proofml.checks import CORE_CHECKS, Result
from proofml.errors import BackendUnavailable, UnsupportedModel, UsageError
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.keys import SigningKey
from proofml.policy import ASSUMPTION, DEFAULT_ASSUMPTIONS, Policy
from proofml.proof import Proof
from proofml.router import route, unmet
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import to_npy
from proofml.testing.forgeries import other
from proofml.testing.harness import Harness
from proofml.testing.judging import assert_documented, assert_invalid
from proofml.verdict import Status, Verdict


class HonestTests:
    """Completeness, documentation, and an Expectation that is insisted on."""

    # -- the backend's description of itself ----------------------------------------------

    def test_description(self, harness: Harness) -> None:
        backend = harness.backend
        assert isinstance(backend, Backend)
        assert re.fullmatch(r"[a-z][a-z0-9-]*", backend.name)
        assert backend.version >= 1
        assert backend.summary
        assert "\n" not in backend.summary
        assert backend.hides <= {"input", "output", "parameters"}
        assert list(backend.checks) == [
            f"{backend.name}.{n}" for n in range(1, len(backend.checks) + 1)
        ]
        assert all(ASSUMPTION.fullmatch(name) for name in backend.assumptions)
        assert all(backend.assumptions.values())
        assert backend.probe().available

    def test_supports_its_model(self, harness: Harness) -> None:
        request = harness.case.request
        assert not unmet(harness.backend, request)
        assert harness.backend.supports(harness.model, request).supported

    def test_refuses_an_unknown_option(self, harness: Harness) -> None:
        options = {**harness.case.request.options, "no-such-option": "1"}
        request = replace(harness.case.request, options=options)
        with pytest.raises((UsageError, UnsupportedModel), match="no-such-option"):
            route(harness.model, request, name=harness.case.backend).prove(
                harness.model, harness.case.inputs, request, Context(harness.prover)
            )

    # -- the honest proof -----------------------------------------------------------------

    def test_accepted_from_file(self, harness: Harness) -> None:
        verdict = harness.judge(harness.data)
        assert verdict.status is Status.ACCEPTED, verdict.reasons
        assert verdict
        assert verdict.exit_code == 0
        assert verdict.signers == (harness.signer.public,)
        assert_documented(verdict, harness)

    def test_read_and_written_to_the_byte(self, harness: Harness, tmp_path: Path) -> None:
        copy = tmp_path / "copy.pml"
        harness.proof.write(copy)
        assert copy.read_bytes() == harness.data
        assert Proof.read(copy).statement == harness.proof.statement

    def test_needs_nothing_of_the_prover(self, harness: Harness, tmp_path: Path) -> None:
        store = Store(tmp_path / "never seen")
        verdict = harness.judge(harness.data, store=store)
        assert verdict.status is Status.ACCEPTED, verdict.reasons

    def test_guarantee_is_the_documented_one(self, harness: Harness) -> None:
        case = harness.case
        found = harness.judge(harness.data).guarantee
        assert found is not None
        assert found.integrity == case.integrity
        assert found.integrity <= harness.backend.integrity
        assert found.bits == case.bits
        assert found.assumptions == case.assumptions | {"signer:unpinned"}
        assert case.assumptions <= set(CORE_ASSUMPTIONS) | set(harness.backend.assumptions)

    def test_every_check_is_made(self, harness: Harness) -> None:
        """Each number, the core's and the backend's own, has its result in the verdict."""
        verdict = harness.judge(harness.data)
        made = {check.number for check in verdict.checks}
        assert made == set(CORE_CHECKS) | set(harness.backend.checks)
        assert all(check.result is not Result.FAILED for check in verdict.checks)

    def test_default_policy(self, harness: Harness) -> None:
        """It accepts unless a shortcut was taken, and then it names the shortcut."""
        case = harness.case
        strict = Policy(sections=case.policy.sections)
        verdict = harness.judge(harness.data, policy=strict)
        shortcuts = case.assumptions - DEFAULT_ASSUMPTIONS
        weak = case.bits is not None and case.bits < strict.min_bits
        assert verdict.status is (Status.REFUSED if shortcuts or weak else Status.ACCEPTED)
        for name in shortcuts:
            assert any(name in reason for reason in verdict.reasons)

    def test_prover_says_what_must_be_allowed(self, harness: Harness) -> None:
        """The command that `prove` prints allows them by name; else it would not verify."""
        assert harness.case.assumptions - DEFAULT_ASSUMPTIONS <= harness.hints
        assert harness.hints <= set(CORE_ASSUMPTIONS) | set(harness.backend.assumptions)

    def test_each_assumption_can_be_refused(self, harness: Harness) -> None:
        for name in sorted(harness.case.assumptions | {"signer:unpinned"}):
            policy = harness.policy(assumptions=harness.case.policy.assumptions - {name})
            verdict = harness.judge(harness.data, policy=policy)
            assert verdict.status is Status.REFUSED
            assert any(name in reason for reason in verdict.reasons)

    def test_hidden_values_are_not_in_the_file(self, harness: Harness) -> None:
        """Of a tensor that is not public, neither the elements nor a plain digest."""
        statement = harness.proof.statement
        for claim in statement.inputs:
            array = harness.case.inputs[claim.name]
            shown = array.tobytes() in harness.data
            assert shown == (claim.visibility is Visibility.PUBLIC)
            if not shown:
                assert claim.sha256 is None
        assert {c.visibility for c in statement.inputs} <= {harness.case.request.input_visibility}
        assert {c.visibility for c in statement.outputs} <= {harness.case.request.output_visibility}

    # -- signers --------------------------------------------------------------------------

    def test_pinned_signer(self, harness: Harness) -> None:
        policy = harness.policy(signers=frozenset({harness.signer.public}))
        verdict = harness.judge(harness.data, policy=policy)
        assert verdict.status is Status.ACCEPTED, verdict.reasons
        assert _result(verdict, "core.13") is Result.PASSED

    def test_signed_by_somebody_else(self, harness: Harness) -> None:
        """The attacker changes nothing but the signature; the policy pins the honest prover."""
        policy = harness.policy(signers=frozenset({harness.signer.public}))
        for data in (harness.attacker().forge(), harness.attacker().forge(sign=False)):
            verdict = harness.judge(data, policy=policy)
            assert verdict.status is Status.REFUSED
            assert _result(verdict, "core.13") is Result.ASSUMED

    def test_pinned_signer_among_others(self, harness: Harness) -> None:
        keys = {SigningKey.generate().public, harness.signer.public}
        verdict = harness.judge(harness.data, policy=harness.policy(signers=frozenset(keys)))
        assert verdict.status is Status.ACCEPTED

    # -- an Expectation is insisted on ----------------------------------------------------

    def test_unpinned_is_assumed(self, harness: Harness) -> None:
        """What the verifier leaves open comes back by name."""
        full = harness.facts.expectation()
        left_out: dict[str, dict[str, Any]] = {
            "input:unpinned": {"inputs": None},
            "output:unpinned": {"outputs": None},
            "nonce:unpinned": {"nonce": None},
        }
        for assumption, change in left_out.items():
            verdict = harness.judge(harness.data, replace(full, **change))
            assert verdict.guarantee is not None
            assert assumption in verdict.guarantee.assumptions

    def test_model_by_digest(self, harness: Harness) -> None:
        """A digest pins the model as well as the file; some backends need the file to run it."""
        claim = harness.proof.statement.model
        digest = claim.canonical_sha256 or claim.architecture_sha256
        expect = replace(harness.facts.expectation(), model=None, model_sha256=digest)
        wrong = replace(expect, model_sha256="0" * 64)
        assert_invalid(harness.judge(harness.data, wrong), {"core.7"}, harness)
        if harness.case.verify_needs_model:
            with pytest.raises(UsageError, match="model"):
                harness.judge(harness.data, expect)
        else:
            verdict = harness.judge(harness.data, expect)
            assert _result(verdict, "core.7") is Result.PASSED

    def test_unpinned_model_is_refused(self, harness: Harness) -> None:
        """The default policy takes no proof of a model that the verifier did not name."""
        expect = replace(harness.facts.expectation(), model=None)
        if harness.case.verify_needs_model:
            with pytest.raises(UsageError, match="model"):
                harness.judge(harness.data, expect)
        else:
            policy = harness.policy(
                assumptions=harness.case.policy.assumptions - {"model:unpinned"}
            )
            verdict = harness.judge(harness.data, expect, policy)
            assert verdict.status is Status.REFUSED
            assert any("model:unpinned" in reason for reason in verdict.reasons)

    def test_expected_another_model(self, harness: Harness) -> None:
        wrong = replace(harness.facts.expectation(), model=harness.other_model)
        verdict = harness.judge(harness.data, wrong)
        if harness.proof.statement.model.weights_hidden:
            # The same architecture: the core cannot tell, only the evidence can.
            assert verdict.status is not Status.ACCEPTED
        else:
            assert_invalid(verdict, {"core.7"}, harness)

    def test_expected_another_tensor(self, harness: Harness) -> None:
        """Each input and output: another value, another dtype, another shape, another name."""
        full = harness.facts.expectation()
        for role, check in (("inputs", "core.9"), ("outputs", "core.10")):
            known = getattr(harness.facts, role)
            public = {
                claim.name
                for claim in getattr(harness.proof.statement, role)
                if claim.visibility is Visibility.PUBLIC
            }
            for name, array in known.items():
                numbers = {check}
                if name not in public:
                    numbers |= harness.case.numbers(f"{role[:-1]}.value")
                for wrong in (other(array), array[np.newaxis], _widened(array)):
                    changed: dict[str, Any] = {role: {**known, name: wrong}}
                    expect = replace(full, **changed)
                    assert_invalid(harness.judge(harness.data, expect), numbers, harness)
                renamed: dict[str, Any] = {role: {**known, f"{name}-renamed": array}}
                expect = replace(full, **renamed)
                assert_invalid(harness.judge(harness.data, expect), {check}, harness)

    def test_expected_a_private_tensor(self, harness: Harness) -> None:
        """A proof that hides what the verifier insists on is refused, not let through."""
        attacker = harness.attacker()
        attacker.hide("input.0")
        expect = replace(harness.facts.expectation(), inputs=harness.case.inputs)
        assert_invalid(harness.judge(attacker.forge(), expect), {"core.9"}, harness)

    def test_expected_another_nonce(self, harness: Harness) -> None:
        wrong = replace(harness.facts.expectation(), nonce=b"another one")
        assert_invalid(harness.judge(harness.data, wrong), {"core.11"}, harness)

    def test_no_accepted_verdict_without_a_guarantee(self, harness: Harness) -> None:
        verdict = harness.judge(harness.data)
        assert verdict.guarantee is not None
        assert verdict.to_json()["statement_sha256"] == harness.proof.statement.digest
        assert verdict.require() is verdict

    # -- other backends -------------------------------------------------------------------

    def test_under_the_name_of_another_backend(self, harness: Harness) -> None:
        """Evidence of one backend is nothing to any other one."""
        from proofml.backend import backend_names

        others = {*backend_names(), "no-such-backend"} - {harness.case.backend}
        for name in sorted(others):
            attacker = harness.attacker()
            attacker.predicate["backend"]["name"] = name
            try:
                verdict = harness.judge(attacker.forge(), policy=Policy())
            except (BackendUnavailable, UsageError):
                continue  # not installed, or nothing to go by in this policy: no verdict at all
            assert verdict.status is Status.INVALID, name

    def test_another_version_of_the_evidence(self, harness: Harness) -> None:
        attacker = harness.attacker()
        attacker.predicate["backend"]["version"] += 1
        assert_invalid(harness.judge(attacker.forge()), {"core.12"}, harness)
        attacker.predicate["backend"] = {"name": "no-such-backend", "version": 1}
        assert_invalid(harness.judge(attacker.forge()), {"core.12"}, harness)

    def test_public_values_can_be_read(self, harness: Harness) -> None:
        for role, claim in harness.proof.statement.tensors():
            if claim.visibility is Visibility.PUBLIC:
                assert to_npy(harness.proof.tensor(role)) == harness.proof.sections[role]


def _result(verdict: Verdict, number: str) -> Result:
    (found,) = {check.result for check in verdict.checks if check.number == number}
    return found


def _widened(array: Any) -> Any:
    return array.astype(np.float64 if array.dtype != np.float64 else np.float32)
