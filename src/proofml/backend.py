"""The Backend protocol and its registry.

Built-in backends register through the entry-point group `proofml.backends` exactly as a
stranger's package does. A backend describes itself without importing anything heavy: `prove`
and `verify` import their own module when they are called, and never each other's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from proofml.checks import Checks
from proofml.errors import BackendUnavailable, UsageError
from proofml.expectation import Expectation
from proofml.guarantee import Guarantee, Integrity
from proofml.policy import Policy
from proofml.proof import Blob, Proof
from proofml.statement import MAX_NONCE_BYTES, Statement, Visibility
from proofml.tensors import Array
from proofml.worker.limits import Limits, Progress, silent

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.store import Store

GROUP = "proofml.backends"
PARAMETERS = ("fixed", "hashed", "private")


@dataclass(frozen=True)
class Context:
    """What every stage is given: the cache, where to report progress, limits for workers."""

    store: Store
    progress: Progress = silent
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Request:
    """What the caller wants of a proof.

    Attributes:
        input_visibility, output_visibility: who learns the tensors from the file.
        parameters: `fixed` (the model is public), `hashed` or `private`.
        nonce: the verifier's challenge.
        max_error: refuse to make a proof whose outputs differ more from onnxruntime's.
        calibration: inputs (name -> array) that a backend may tune itself on.
        options: KEY=VALUE for this backend; it refuses keys that it does not know.
    """

    input_visibility: Visibility = Visibility.PUBLIC
    output_visibility: Visibility = Visibility.PUBLIC
    parameters: str = "fixed"
    nonce: bytes | None = None
    max_error: float | None = None
    calibration: Sequence[Mapping[str, Array]] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.nonce is not None and not 1 <= len(self.nonce) <= MAX_NONCE_BYTES:
            raise UsageError(f"nonce: expected 1 to {MAX_NONCE_BYTES} bytes, got {len(self.nonce)}")
        if self.parameters not in PARAMETERS:
            raise UsageError(
                f"parameters: expected one of {', '.join(PARAMETERS)}, got {self.parameters!r}"
            )


@dataclass(frozen=True, slots=True)
class Probe:
    """Whether the backend can run here: `detail` names versions, or the extra to install."""

    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a model can be taken: `reasons` are the first obstacles, by operator's name."""

    supported: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a prover hands to the core, which writes the file."""

    statement: Statement
    blobs: Mapping[str, Blob]
    tensors: Mapping[str, Array]
    notes: Mapping[str, str] = field(default_factory=dict)
    #: What a verifier that pins nothing in its policy will have to allow, for the prover's user.
    assumptions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Trial:
    """What a backend's verifier is given. It needs no secret and no prover code."""

    proof: Proof
    expect: Expectation
    policy: Policy
    checks: Checks
    context: Context


@runtime_checkable
class Backend(Protocol):
    """One way to show that a model gave an output; one that hides inputs is a `SealingBackend`.

    Attributes:
        name: lower case, unique; `version`: of its evidence format, bound in the proof.
        summary: one line for people.
        integrity: the kinds that its guarantee carries.
        checks: number -> title of its own numbered checks, `NAME.1`, `NAME.2`, ...
        assumptions: name -> meaning of each assumption that it can raise.
        hides: subjects that it can hide, of `input`, `output`, `parameters`.
        commits: may be left out; of `input`, `output`, those that it can keep out of the file as
            `hashed` without hiding them. `supports` then says what a caller has to consent to.
        sealed_only: may be left out; True where it proves over sealed inputs and no others, so
            that the router never chooses it.
        cost: rough order of price for the router; 0 is tried first.
    """

    name: str
    version: int
    summary: str
    integrity: frozenset[Integrity]
    checks: Mapping[str, str]
    assumptions: Mapping[str, str]
    hides: frozenset[str]
    cost: int

    def probe(self) -> Probe: ...

    def supports(self, model: Model, request: Request) -> Support: ...

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        """Make (or find in the cache) what proving needs; returns artifacts by name."""
        ...

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence: ...

    def verify(self, trial: Trial) -> Guarantee:
        """Raise `VerificationError` with the number of the check that refuses, or conclude."""
        ...


@runtime_checkable
class SealingBackend(Backend, Protocol):
    """A backend that can prove over inputs which the prover cannot read."""

    def seal(
        self,
        model: Model,
        inputs: Mapping[str, Array],
        recipient: bytes | None,
        policy: Policy,
        context: Context,
    ) -> tuple[bytes, bytes]:
        """Seal inputs, in the order of the model; runs with their owner.

        Args:
            recipient: whom to seal to, where the backend has somebody (the file of an enclave's
                session); it is verified under `policy` before anything is sealed to it.

        Returns:
            The message for the prover, and the secret for nobody.

        Raises:
            UsageError: a recipient is missing, or given where there is none.
            VerificationError: the recipient's evidence is bad.
            PolicyRefused: it is good, and the policy says no.
        """
        ...

    def prove_sealed(
        self, model: Model, message: bytes, request: Request, context: Context
    ) -> Evidence:
        """As `prove`, over a message of `seal`; the Statement shows no value of its inputs.

        Raises:
            UsageError: the message is none of `seal`, or is for somebody else.
        """
        ...

    def open(self, proof: Proof, secret: bytes) -> Mapping[str, Array]:
        """The outputs, for the owner of the secret; `api.open` saw to the verdict.

        Has to find that the proof is over what was sealed with this secret, and that these are the
        outputs to which its Statement commits.

        Raises:
            VerificationError: they are not, or do not open (number of the check).
            UsageError: what is no secret of this backend.
        """
        ...


@cache
def _entry_points() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise UsageError(
                f"two packages register the backend {point.name!r} ({other.value}, {point.value}); "
                "uninstall one of them"
            )
        found[point.name] = point
    return found


def backend_names() -> tuple[str, ...]:
    """Names of all registered backends, sorted; nothing is imported."""
    return tuple(sorted(_entry_points()))


@cache
def get_backend(name: str) -> Backend:
    """The backend by name.

    Raises:
        UsageError: no such backend is registered.
        BackendUnavailable: its package does not import.
    """
    point = _entry_points().get(name)
    if point is None:
        raise UsageError(f"no backend {name!r} is registered; known: {', '.join(backend_names())}")
    try:
        backend = point.load()()
    except ImportError as error:
        raise BackendUnavailable(
            f"backend {name}: {error}; pip install 'proofml[{name}]'"
        ) from error
    except Exception as error:
        raise BackendUnavailable(
            f"backend {name}: {point.value} does not load: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(backend, Backend) or backend.name != name:
        raise BackendUnavailable(
            f"backend {name}: {point.value} is not a Backend of that name; see proofml.backend"
        )
    return backend
