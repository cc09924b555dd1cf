"""The policy's tables `[backends.ckks]` and `[backends.concrete]`, read strictly.

circuits    digests of accepted circuits; without it `circuit:unpinned`
keys        digests of accepted files of evaluation keys: whose inputs these are
derive      false: do not derive the circuit from the model again; then `circuit:underived`
operators   ckks, where the proof holds a trace: run so many operators again, drawn at random,
            instead of the whole circuit; then `trace:sampled`
"""

from __future__ import annotations

from dataclasses import dataclass

from proofml.errors import UsageError
from proofml.fhe.about import CKKS
from proofml.fields import FieldError, sha256_item
from proofml.policy import Policy

MAX_OPERATORS = 1 << 16


@dataclass(frozen=True)
class FhePolicy:
    """See the module; empty sets accept any."""

    circuits: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    derive: bool = True
    operators: int | None = None

    @classmethod
    def read(cls, policy: Policy, backend: str) -> FhePolicy:
        """Raises `UsageError`."""
        fields = policy.section(backend)
        try:
            found = cls(
                frozenset(fields.items("circuits", sha256_item, default=[])),
                frozenset(fields.items("keys", sha256_item, default=[])),
                fields.boolean("derive", default=True),
                fields.integer("operators", 1, MAX_OPERATORS)
                if backend == CKKS and "operators" in fields
                else None,
            )
            fields.done()
        except FieldError as error:
            raise UsageError(f"{policy.source}: {error}; see docs/policy.md") from error
        return found
