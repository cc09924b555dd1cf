"""Where proofs are made and judged, and what the tests say about verdicts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from proofml.api import prove, verify
from proofml.backend import Context, Request
from proofml.canonical import sha256
from proofml.checks import Checks, Result
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import Attacker
from proofml.verdict import Status, Verdict
from proofml.worker.limits import Progress, silent
from proofml.zkml.ezkl.circuit import stage
from proofml.zkml.ezkl.evidence import ProofBlob

from .malicious import Forger
from .models import ALLOWED, OPTIONS, X, mlp, permuted

#: Enough rows to hash the Statement's words, or the weights, beside a small model.
HASHED_ROWS = {"logrows": 10}


class Workshop:
    """A prover's cache, a verifier's, and a folder where files lie beside their strings.

    Attributes:
        prover, verifier: contexts with caches of their own, shared by all test processes.
        folder: where proofs are written and judged.
    """

    def __init__(self, shared: Path, folder: Path) -> None:
        self.shared = shared
        self.folder = folder
        self.prover = Context(Store(shared / "prover"))
        self.verifier = Context(Store(shared / "verifier"))
        self._names = (f"{number}.pml" for number in itertools.count())

    # -- making ---------------------------------------------------------------------------

    def load(self, data: bytes) -> Model:
        return Model.load(data, store=self.prover.store)

    @cached_property
    def model(self) -> Model:
        return self.load(mlp(0))

    @cached_property
    def other(self) -> Model:
        """The same architecture and settings with other weights."""
        return self.load(permuted())

    def forger(self, model: Model | None = None, **hooks: Any) -> Forger:
        return Forger(self.prover, model or self.model, hooks.pop("inputs", X), **hooks)

    def honest(
        self,
        model: Model | None = None,
        inputs: Mapping[str, Array] = X,
        request: Request | None = None,
    ) -> Proof:
        """The honest prover's file; the same request is proven once a session."""
        model = model or self.model
        request = request or Request(options=OPTIONS)
        words = [
            model.file_digest,
            repr(request),
            *(array.tobytes().hex() for array in inputs.values()),
        ]
        name = sha256("|".join(words).encode())[:24]
        path = self.shared / name / "honest.pml"
        with FileLock(self.shared / f"{name}.lock"):
            if not path.exists():
                made = prove(model, inputs, backend="ezkl", request=request, context=self.prover)
                path.parent.mkdir(exist_ok=True)
                made.write(path)
        return Proof.read(path)

    def take(self, proof: Proof) -> Attacker:
        """A proof taken apart; its string lies where forged files are judged."""
        self._write(proof)
        return Attacker.of(proof.to_bytes())

    def _write(self, proof: Proof) -> Path:
        path = self.folder / next(self._names)
        proof.write(path)
        return path

    # -- judging --------------------------------------------------------------------------

    def judge(
        self,
        what: Proof | Attacker,
        expect: Expectation | None = None,
        policy: Policy = ALLOWED,
        *,
        store: Store | None = None,
        progress: Progress = silent,
    ) -> Verdict:
        """The verdict on a file; by default of a verifier who holds the honest model."""
        if isinstance(what, Proof):
            path = self._write(what)
        else:
            path = self.folder / next(self._names)
            path.write_bytes(what.forge())
        context = Context(store or self.verifier.store, progress)
        expect = Expectation(model=self.model) if expect is None else expect
        return verify(path, expect, policy, context=context)

    def bare(self, what: Proof | Attacker) -> bool:
        """Whether EZKL's own verifier accepts the evidence: it sees neither model nor Statement."""
        if isinstance(what, Proof):
            what = self.take(what)
        blob = ProofBlob.unpack(what.sections["proof"])
        (entry,) = [e for e in what.predicate["evidence"] if e["name"] == "srs"]
        srs = self.folder / f"{entry['sha256']}.evidence"
        with self.prover.store.scratch() as folder:
            (folder / "settings.json").write_bytes(what.sections["settings"])
            (folder / "vk").write_bytes(what.sections["verifying-key"])
            (folder / "proof.json").write_text(blob.to_ezkl())
            (folder / "shorter.json").write_text("{}")
            found = stage("verify", {"srs": str(srs)}, folder, progress=silent)
        return bool(found["accepted"])


def refused(verdict: Verdict, number: str) -> None:
    """Invalid by this check and no other; all that come before it were passed."""
    assert verdict.status is Status.INVALID, verdict.status
    assert verdict.error is not None
    assert verdict.error.check == number, str(verdict.error)
    failed = [check.number for check in verdict.checks if check.result is Result.FAILED]
    assert failed == [number]


def deaf_to(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch one check off. What is accepted then was refused by that check alone."""
    real = Checks.failed

    def failed(self: Checks, check: str, message: str, **details: Any) -> None:
        if check != number:
            real(self, check, message, **details)

    monkeypatch.setattr(Checks, "failed", failed)


def edit(section: bytes, **changes: Any) -> bytes:
    """A settings file with some of its keys changed (`run_args__KEY` for the inner ones)."""
    value = json.loads(section)
    for key, new in changes.items():
        table, _, inner = key.partition("__")
        if inner:
            value[table][inner] = new
        else:
            value[key] = new
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
