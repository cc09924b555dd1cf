"""The Expectation: what this verifier knows and insists on, whatever the proof says.

What it does not pin comes back as an assumption in the guarantee (`model:unpinned`,
`input:unpinned`, ...), and the default policy refuses an unpinned model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proofml.checks import Checks
from proofml.errors import UsageError
from proofml.fields import HEX_SHA256
from proofml.salts import MAX_SALT_BYTES
from proofml.statement import MAX_NONCE_BYTES, ModelClaim, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.proof import Proof


@dataclass(frozen=True)
class Expectation:
    """All fields are optional; each that is given is insisted on.

    Attributes:
        model: the verifier's own model; pins the canonical digest, and the file digest too.
        model_sha256: pinned digest, canonical or architecture, where the model is not at hand.
        inputs: name -> array (any shape and dtype of the model's inputs).
        outputs: name -> array.
        nonce: up to 64 bytes that the verifier gave to the prover.
        salt: opens commitments to hashed tensors where a backend salts them; it is of use
            together with these tensors, and demands nothing by itself.
    """

    model: Model | None = None
    model_sha256: str | None = None
    inputs: Mapping[str, Array] | None = None
    outputs: Mapping[str, Array] | None = None
    nonce: bytes | None = None
    salt: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.model_sha256 is not None and not HEX_SHA256.fullmatch(self.model_sha256):
            raise UsageError(
                "model digest: expected 64 lower-case hexadecimal digits, got "
                f"{self.model_sha256!r}"
            )
        if self.nonce is not None and not 1 <= len(self.nonce) <= MAX_NONCE_BYTES:
            raise UsageError(f"nonce: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(self.nonce)}")
        if self.salt is not None and not 1 <= len(self.salt) <= MAX_SALT_BYTES:
            raise UsageError(f"salt: expected 1 to {MAX_SALT_BYTES} bytes, got {len(self.salt)}")
        for role, tensors in (("input", self.inputs), ("output", self.outputs)):
            for name, array in (tensors or {}).items():
                if not hasattr(array, "dtype") or dtype_name(array) is None:
                    kind = getattr(array, "dtype", type(array).__name__)
                    raise UsageError(
                        f"expected {role} {name!r}: expected an array of numbers, got {kind}"
                    )


def check_expectation(expect: Expectation, proof: Proof, checks: Checks) -> None:
    """Checks core.7 to core.11: the Statement against what the verifier knows."""
    statement = proof.statement
    _check_model(expect, statement.model, checks)
    for number, role, claims, wanted in (
        ("core.9", "input", statement.inputs, expect.inputs),
        ("core.10", "output", statement.outputs, expect.outputs),
    ):
        _check_tensors(number, role, claims, wanted, checks)
    _check_nonce(expect, statement.nonce, checks)


def _check_model(expect: Expectation, claim: ModelClaim, checks: Checks) -> None:
    model, pinned = expect.model, expect.model_sha256
    if model is None and pinned is None:
        checks.assumed("core.7", "model:unpinned", "no --model and no --model-sha256 was given")
        checks.skipped("core.8", "no model file was given")
        if claim.weights_hidden:
            checks.assumptions.add("model:weights-hidden")
        return
    stated = claim.architecture_sha256 or claim.canonical_sha256
    if pinned is not None:
        checks.equal("core.7", "model digest", expected=pinned, got=stated)
    if model is not None:
        own = model.architecture_digest if claim.weights_hidden else model.digest
        checks.equal("core.7", "model digest", expected=own, got=stated)
    if claim.weights_hidden:
        # A backend whose evidence commits to the weights may compare them with the model's.
        checks.open_commitments.add("model" if model is not None else "model:unknown")
        checks.passed("core.7", f"architecture {stated}; the weights are not named")
        checks.skipped("core.8", "no model is named")
        return
    checks.passed("core.7", f"canonical digest {stated}")
    if model is None:
        checks.assumed(
            "core.8", "model:file-unpinned", "only the digest of the canonical graph is pinned"
        )
    elif model.file_digest != claim.file_sha256:
        checks.assumed(
            "core.8",
            "model:file-differs",
            f"expected {model.file_digest}, got {claim.file_sha256}; same canonical graph",
        )
    else:
        checks.passed("core.8", f"file digest {claim.file_sha256}")


def _check_tensors(
    number: str,
    role: str,
    claims: tuple[TensorClaim, ...],
    wanted: Mapping[str, Array] | None,
    checks: Checks,
) -> None:
    known = {claim.name: claim for claim in claims}
    if wanted is not None:
        for name, array in wanted.items():
            claim = known.get(name)
            if claim is None:
                checks.failed(
                    number, f"{role} {name!r}", expected="stated", got=", ".join(known) or "none"
                )
            checks.equal(
                number,
                f"{role} {name!r}: dtype and shape",
                expected=(dtype_name(array), array.shape),
                got=(claim.dtype, claim.shape),
            )
            if claim.visibility is Visibility.PUBLIC:
                checks.equal(
                    number, f"{role} {name!r}", expected=tensor_digest(array), got=claim.sha256
                )
            elif claim.visibility is Visibility.HASHED:
                checks.open_commitments.add(f"{role}.{claims.index(claim)}")
            else:
                checks.failed(
                    number,
                    f"{role} {name!r}",
                    expected="something to compare with the expected one",
                    got="a private tensor",
                )
    free = [name for name in known if wanted is None or name not in wanted]
    if free:
        checks.assumed(number, f"{role}:unpinned", "not pinned: " + ", ".join(free))
    elif not any(name.startswith(f"{role}.") for name in checks.open_commitments):
        checks.passed(number, ", ".join(known))


def close_commitments(checks: Checks) -> None:
    """End core.9 and core.10 once the backend has recomputed what it can.

    A hashed tensor that the verifier insists on and that nobody compared is refused: else a
    prover could escape an expectation by hashing in a way that this verifier cannot follow.
    """
    if {"model", "model:unknown"} & checks.open_commitments:
        checks.assumptions.add("model:weights-hidden")
    for number, role in (("core.9", "input"), ("core.10", "output")):
        for name in sorted(checks.open_commitments):
            if name.startswith(f"{role}."):
                checks.failed(
                    number,
                    f"commitment of {name}",
                    expected="one that this verifier can recompute from the expected tensor; a "
                    "salted one takes the salt (--salt-file) and every tensor under it",
                    got="one that it cannot",
                )
        if not any(result.number == number for result in checks.results):
            checks.passed(number, "the commitments are those of the expected tensors")


def _check_nonce(expect: Expectation, stated: bytes | None, checks: Checks) -> None:
    if expect.nonce is None:
        checks.assumed("core.11", "nonce:unpinned", "no --nonce was given")
        return
    if stated != expect.nonce:
        checks.failed(
            "core.11",
            "nonce",
            expected=expect.nonce.hex(),
            got="none" if stated is None else stated.hex(),
        )
    checks.passed("core.11", expect.nonce.hex())


def check_interface(expect: Expectation, proof: Proof, checks: Checks) -> None:
    """Check core.14: the stated tensors are the model's inputs and outputs, all of them."""
    if expect.model is None:
        checks.skipped("core.14", "no model is at hand")
        return
    statement = proof.statement
    for role, claims, specs in (
        ("inputs", statement.inputs, expect.model.inputs),
        ("outputs", statement.outputs, expect.model.outputs),
    ):
        checks.equal(
            "core.14",
            f"names of the {role}",
            expected=[spec.name for spec in specs],
            got=[claim.name for claim in claims],
        )
        for claim, spec in zip(claims, specs, strict=True):
            if claim.dtype != spec.dtype or not spec.admits(claim.shape):
                checks.failed(
                    "core.14",
                    f"{role}: {claim.name}",
                    expected=str(spec),
                    got=f"{claim.dtype}{list(claim.shape)}",
                )
    checks.passed("core.14")
