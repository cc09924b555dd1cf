"""A verifier that needs NumPy and nothing else: of native proofs, against a pinned circuit.

    verdict = verify(Path("digit.pml").read_bytes(), Path("verifying-key").read_bytes())
    python -m proofml.zkml.sumcheck.standalone PROOF.pml --key FILE

It makes the checks of `proofml.verify`, by the same code and under the same numbers. What it does
without is the model: a circuit is not compiled here but pinned by its verifying key, so that no
ONNX is read; and signatures are checked only where the package `cryptography` is installed.
docs/sumcheck/verifying.md says what a key is trusted for and what is not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn, cast

from proofml.backend import Context, Trial
from proofml.errors import UsageError
from proofml.expectation import Expectation
from proofml.fields import HEX_SHA256, FieldError
from proofml.guarantee import Guarantee
from proofml.judge import Bench, judge
from proofml.policy import DEFAULT_ASSUMPTIONS, Policy
from proofml.tensors import Array
from proofml.verdict import Verdict
from proofml.zkml.sumcheck import about
from proofml.zkml.sumcheck import checks as numbers
from proofml.zkml.sumcheck.backend_verifier import verify as examine
from proofml.zkml.sumcheck.bounds import DEFAULT_BITS, MIN_BITS
from proofml.zkml.sumcheck.circuit import MAX_BYTES, Circuit, read_circuit

#: The most that may be demanded; no proof has that many.
MAX_DEMAND = 1024
#: On what an accepted verdict may rest: what is allowed everywhere, and that the model's digest is
#: the prover's word where the circuit is pinned, and that nobody could check signatures.
ASSUMPTIONS = DEFAULT_ASSUMPTIONS | {"model:unpinned", "signer:unchecked"}
_DISTRIBUTIONS = ("proofml", "proofml-sumcheck-verifier")


class _NoCache:
    """In the place of a cache: nothing is compiled, so nothing is kept."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"{name}: a pinned circuit is not compiled")


class _Examiner:
    """The backend's verifier, of one circuit."""

    name: str = about.NAME
    version: int = about.VERSION
    integrity = about.INTEGRITY
    checks: Mapping[str, str] = numbers.CHECKS

    def __init__(self, circuit: Circuit, pinned: str | None) -> None:
        self.circuit, self.pinned = circuit, pinned

    def verify(self, trial: Trial) -> Guarantee:
        if self.pinned is not None:
            trial.checks.equal(
                numbers.CIRCUIT, "verifying key", expected=self.pinned, got=self.circuit.digest
            )
        return examine(trial, self.circuit)


def read_key(data: bytes) -> Circuit:
    """A verifying key, for a service that verifies many proofs with one.

    Raises:
        UsageError: the bytes are no verifying key.
    """
    if len(data) > MAX_BYTES:
        raise UsageError(f"verifying key: {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        return read_circuit(data)
    except FieldError as error:
        raise UsageError(
            f"verifying key: {error}; expected the file `verifying-key` that `proofml setup MODEL "
            "-b sumcheck -o FOLDER` writes"
        ) from error


def verify(
    proof: bytes | Path,
    key: bytes | Circuit,
    *,
    circuit_sha256: str | None = None,
    model_sha256: str | None = None,
    inputs: Mapping[str, Array] | None = None,
    outputs: Mapping[str, Array] | None = None,
    nonce: bytes | None = None,
    salt: bytes | None = None,
    min_bits: int = DEFAULT_BITS,
    assumptions: Iterable[str] = ASSUMPTIONS,
) -> Verdict:
    """Judge a proof. Untrusted content ends in a verdict that is accepted, refused or invalid.

    Args:
        proof: a `.pml` file, or its bytes.
        key: the pinned circuit, as `Circuit.bytes` or from `read_key`.
        circuit_sha256: digest that the key must have, where it comes from somebody else.
        model_sha256: canonical digest of the model from which the key was compiled.
        inputs, outputs: name -> array; each that is given is insisted on.
        nonce: that the verifier gave.
        salt: of a commitment, to compare hashed tensors with `inputs` and `outputs`.
        min_bits: of soundness; fewer are refused.
        assumptions: on which an accepted verdict may rest, and on no others.

    Raises:
        UsageError: no verifying key, a digest or nonce that is none, two versions of these files.
        BackendFailed: this machine could not do the work; says nothing of the proof.
    """
    check_installation()
    if circuit_sha256 is not None and not HEX_SHA256.fullmatch(circuit_sha256):
        raise UsageError(
            f"circuit digest: expected 64 lower-case hexadecimal digits, got {circuit_sha256!r}"
        )
    circuit = key if isinstance(key, Circuit) else read_key(key)
    examiner = _Examiner(circuit, circuit_sha256)
    return judge(
        proof,
        Expectation(
            model_sha256=model_sha256, inputs=inputs, outputs=outputs, nonce=nonce, salt=salt
        ),
        demands(min_bits, assumptions),
        Context(cast("Any", _NoCache())),
        Bench((about.NAME,), lambda name: examiner, signatures=can_check_signatures()),
    )


def demands(min_bits: int, assumptions: Iterable[str]) -> Policy:
    """The policy of this verifier; raises `UsageError`."""
    if not MIN_BITS <= min_bits <= MAX_DEMAND:
        raise UsageError(f"least bits: expected {MIN_BITS} to {MAX_DEMAND}, got {min_bits}")
    return Policy(min_bits=min_bits, assumptions=frozenset(), source="demands").allow(assumptions)


@cache
def can_check_signatures() -> bool:
    """Whether the package `cryptography` is here."""
    try:
        import cryptography.hazmat.primitives.asymmetric.ed25519  # noqa: F401
    except ImportError:
        return False
    return True


@cache
def check_installation() -> None:
    """Refuse files of two versions: the distributions named above own the same ones.

    Raises:
        UsageError: both are installed and differ.
    """
    found: dict[str, str] = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if len(set(found.values())) > 1:
        both = " and ".join(f"{name} {number}" for name, number in found.items())
        raise UsageError(
            f"{both} are installed and own the same files, so these are of two versions; "
            f"pip uninstall {' '.join(_DISTRIBUTIONS)}, then install one of them"
        )


if __name__ == "__main__":
    import sys

    from proofml.zkml.sumcheck.standalone_cli import main

    sys.exit(main())
