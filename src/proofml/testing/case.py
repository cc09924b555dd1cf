"""The Case: one backend, one small model, and what the backend promises about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proofml.backend import Request
from proofml.guarantee import Integrity
from proofml.policy import Policy
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.store import Store

#: Where a lie can stand. `bound_by` has an entry for each of them: the number of the check that
#: refuses it where the verifier's Expectation does not contradict it, several numbers where
#: either may come first, or None where nothing binds the field.
FIELDS: Mapping[str, str] = {
    "model.canonical_sha256": "another model's digest",
    "model.file_sha256": "the digest of another file of the same canonical graph",
    "model.kind": "an architecture in the place of a model, or the reverse",
    "input.name": "another name",
    "input.dtype": "the same bytes under another element type",
    "input.shape": "the same elements in another shape",
    "input.visibility": "a public input hidden, a hidden one under another visibility",
    "input.value": "another value, or another commitment",
    "input.count": "an input left out, or one more",
    "output.name": "another name",
    "output.dtype": "the same bytes under another element type",
    "output.shape": "the same elements in another shape",
    "output.visibility": "a public output hidden, a hidden one under another visibility",
    "output.value": "another value (also by one unit in the last place), or another commitment",
    "output.count": "an output left out, or one more",
    "nonce": "another nonce, or none",
    "computation.kind": "another kind",
    "computation.detail": "any key changed, left out or added",
    "evidence.extra": "a piece of evidence that nobody reads",
}
#: Prefix of the entries for the backend's own evidence, `evidence:NAME`: the numbers of the checks
#: that refuse it where it was cut, extended, changed, renamed or left out.
EVIDENCE = "evidence:"
#: Prefix of an entry for one key of `computation.detail` that is not bound like the others.
DETAIL = "computation.detail."

Numbers = str | tuple[str, ...] | None


@dataclass(frozen=True)
class SealedRun:
    """How a backend that seals proves over sealed inputs.

    Attributes:
        recipient: whom they are sealed to; None where there is nobody.
        request: how the prover proves; its nonce is the suite's.
        policy: accepts the recipient and the proof, and pins no signer.
        outputs: what the model gives on the case's inputs; None for those of the honest proof,
            where they are public.
        tolerance: largest distance of an opened element from that.
    """

    recipient: bytes | None = field(default=None, repr=False)
    request: Request = field(default_factory=Request)
    policy: Policy = field(default_factory=Policy)
    outputs: Mapping[str, Array] | None = field(default=None, repr=False)
    tolerance: float = 0.0


#: Given a model and the prover's cache: a prover that is there as long as the context lasts.
Sealing = Callable[["Model", "Store"], AbstractContextManager[SealedRun]]


@dataclass(frozen=True)
class Case:
    """Everything that the suite needs to know of a backend.

    Attributes:
        backend: its registered name.
        model: an ONNX file; small, since a suite proves it several times.
        other_model: another file of the same interface, with other weights.
        inputs: name -> array, in the order of the graph.
        other_inputs: other values of the same dtypes and shapes, which give another output.
        integrity: of the documented guarantee.
        bound_by: see `FIELDS`, `EVIDENCE` and `DETAIL`.
        bits: of the documented guarantee.
        assumptions: exactly what remains assumed where the verifier pins all that can be pinned
            but the signer (`signer:unpinned` is not listed).
        unbound: field -> the assumption that stands for it, for each field that `bound_by` has as
            None and that a deceived verifier may expect (`nonce`, say).
        request: how the honest prover proves; its nonce is the suite's.
        policy: accepts the honest proof and pins no signer.
        salt: opens the honest proof's commitments, where the backend salts them.
        verify_needs_model: whether verifying without the model's file is a `UsageError`.
        stages: names that workers report while proving; each is killed there once.
        examples: how many hostile inputs each fuzz test judges.
        sealing: of a backend that seals: how it proves over sealed inputs. Without it the tests of
            sealing are left out.
        only_sealed: whether the backend proves over sealed inputs alone. The honest proof is then
            made that way too: what is sealed to must not end with the context of `sealing`.
    """

    backend: str
    model: bytes = field(repr=False)
    other_model: bytes = field(repr=False)
    inputs: Mapping[str, Array] = field(repr=False)
    other_inputs: Mapping[str, Array] = field(repr=False)
    integrity: frozenset[Integrity]
    bound_by: Mapping[str, Numbers] = field(repr=False)
    bits: int | None = None
    assumptions: frozenset[str] = frozenset()
    unbound: Mapping[str, str] = field(default_factory=dict)
    request: Request = field(default_factory=Request)
    policy: Policy = field(default_factory=Policy)
    salt: bytes | None = field(default=None, repr=False)
    verify_needs_model: bool = False
    stages: tuple[str, ...] = ()
    examples: int = 60
    sealing: Sealing | None = field(default=None, repr=False)
    only_sealed: bool = False

    def __post_init__(self) -> None:
        named = {name for name in self.bound_by if not name.startswith((EVIDENCE, DETAIL))}
        if named != set(FIELDS):
            wrong = ", ".join(sorted(named ^ set(FIELDS)))
            raise ValueError(f"bound_by: expected exactly the fields of FIELDS; differs in {wrong}")
        if self.policy.signers:
            raise ValueError("policy: expected one without signers; the suite pins them itself")
        if self.only_sealed and self.sealing is None:
            raise ValueError("sealing: expected one where nothing but sealed inputs can be proven")
        if self.model == self.other_model:
            raise ValueError("other_model: expected other weights than those of model")

    def numbers(self, name: str) -> frozenset[str]:
        """The checks of which one refuses a lie at `name`; empty where nothing binds it."""
        found = self.bound_by[name]
        if found is None:
            return frozenset()
        return frozenset({found} if isinstance(found, str) else found)
