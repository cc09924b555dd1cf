"""The stranger's whole test file: the suite, and attacks that only this backend knows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from quorum_backend.receipts import SECTION, message, pack, unpack

from proofml.backend import Request
from proofml.guarantee import Integrity
from proofml.keys import SigningKey
from proofml.policy import Policy
from proofml.statement import Statement
from proofml.testing import Case, ConformanceSuite, Harness, gemm
from proofml.testing.judging import assert_invalid

FOLDER = tempfile.TemporaryDirectory()
MEMBERS = [SigningKey.generate() for _ in range(3)]
PATHS = [Path(FOLDER.name) / f"member-{i}.pem" for i in range(3)]
for key, path in zip(MEMBERS, PATHS, strict=True):
    key.save(path)


class TestQuorum(ConformanceSuite):
    case: ClassVar[Case] = Case(
        backend="quorum",
        model=gemm(seed=0, relu=True),
        other_model=gemm(seed=1, relu=True),
        inputs={"x": np.array([[1.0, -2.0, 0.5, 3.25]], np.float32)},
        other_inputs={"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)},
        integrity=frozenset({Integrity.HONEST_MAJORITY}),
        request=Request(options={"members": ":".join(str(path) for path in PATHS)}),
        policy=Policy(sections={"quorum": {"members": [key.public for key in MEMBERS]}}),
        bound_by={
            "model.canonical_sha256": "quorum.4",
            "model.file_sha256": "quorum.4",
            "model.kind": "quorum.3",
            "input.name": "quorum.4",
            "input.dtype": "quorum.4",
            "input.shape": "quorum.4",
            "input.visibility": "quorum.3",
            "input.value": "quorum.4",
            "input.count": "quorum.4",
            "output.name": "quorum.4",
            "output.dtype": "quorum.4",
            "output.shape": "quorum.4",
            "output.visibility": "quorum.3",
            "output.value": "quorum.4",
            "output.count": "quorum.4",
            "nonce": "quorum.4",
            "computation.kind": "quorum.1",
            "computation.detail": "quorum.1",
            "evidence.extra": "quorum.2",
            "evidence:receipts": ("quorum.2", "quorum.4"),
        },
        stages=("evaluate",),
    )

    def test_members_of_his_own(self, harness: Harness) -> None:
        """The attacker signs with three keys that no policy names."""
        attacker = harness.attacker()
        digest = Statement.read(attacker.statement).digest
        own = [SigningKey.generate() for _ in range(3)]
        attacker.sections[SECTION] = pack({k.public: k.sign(message(digest)) for k in own})
        assert_invalid(harness.judge(attacker.forge()), {"quorum.4"}, harness)

    def test_a_minority(self, harness: Harness) -> None:
        """One true receipt of three members, and none at all."""
        attacker = harness.attacker()
        receipts = unpack(attacker.sections[SECTION])
        for count in (1, 0):
            attacker.sections[SECTION] = pack(dict(list(receipts.items())[:count]))
            assert_invalid(harness.judge(attacker.forge()), {"quorum.5"}, harness)

    def test_a_receipt_for_something_else(self, harness: Harness) -> None:
        """A member signed the digest's bytes elsewhere: without the prefix it is no receipt."""
        attacker = harness.attacker()
        digest = Statement.read(attacker.statement).digest
        bare = {key.public: key.sign(bytes.fromhex(digest)) for key in MEMBERS}
        attacker.sections[SECTION] = pack(bare)
        assert_invalid(harness.judge(attacker.forge()), {"quorum.4"}, harness)
