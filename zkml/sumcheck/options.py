"""What a caller may ask of the prover: `--set KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from proofml.backend import Request
from proofml.errors import UsageError
from proofml.statement import Visibility as Shown
from proofml.zkml.sumcheck.bounds import DEFAULT_BITS, MAX_BITS, MIN_BITS
from proofml.zkml.sumcheck.layout import Visibility
from proofml.zkml.sumcheck.ports import circuit_visibility, committed

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig

T = TypeVar("T")

KNOWN = (
    "bits", "self-check", "method", "per-channel", "activations", "hiding", "salt-file",
    "output-file",
)  # fmt: skip
#: Of a float model only.
QUANTISING = frozenset({"method", "per-channel", "activations"})
#: Only where a tensor is committed.
COMMITTING = frozenset({"hiding", "salt-file", "output-file"})


@dataclass(frozen=True, slots=True)
class Options:
    """Read strictly.

    Attributes:
        bits: of soundness that the parameters are chosen for.
        self_check: verify each proof before it is handed out.
        quantisation: how a float model is quantised; None where the model is quantised itself.
        visibility: which ports are public; the others are committed.
        salt_file: where the salt of the commitment is, or is to be written.
        output_file: where outputs are written that the proof does not show.
    """

    bits: int
    self_check: bool
    quantisation: QuantisationConfig | None
    visibility: Visibility
    salt_file: Path | None
    output_file: Path | None

    @classmethod
    def read(cls, request: Request, *, quantised: bool) -> Options:
        """Raises `UsageError` naming the option."""
        options = request.options
        for key in options:
            if key not in KNOWN:
                raise UsageError(f"sumcheck has no option {key}; known: {', '.join(KNOWN)}")
            if quantised and key in QUANTISING:
                raise UsageError(f"--set {key}: the model is quantised already; leave it out")
        visibility = _visibility(request)
        return cls(
            bits=_read(options, "bits", _bits, DEFAULT_BITS),
            self_check=_read(options, "self-check", _switch, False),
            quantisation=None if quantised else _quantisation(options),
            visibility=visibility,
            salt_file=_path(options, "salt-file"),
            output_file=_path(options, "output-file"),
        )


def _visibility(request: Request) -> Visibility:
    """What the circuit shows; a commitment, which is no hiding, has to be asked for as such."""
    inputs, outputs = request.input_visibility, request.output_visibility
    private = [
        role
        for role, hidden in (
            ("input", inputs is Shown.PRIVATE),
            ("output", outputs is Shown.PRIVATE),
            ("parameters", request.parameters != "fixed"),
        )
        if hidden
    ]
    if private:
        raise UsageError(f"sumcheck hides nothing yet; asked to hide {', '.join(private)}")
    found = circuit_visibility(inputs, outputs)
    options, roles = request.options, committed(found)
    if roles and _read(options, "hiding", _choice(("none",)), None) is None:
        raise UsageError(
            f"a commitment to the {roles} hides nothing: from the proof they can be learnt; "
            "--set hiding=none says that you know"
        )
    for key in sorted(COMMITTING & set(options)):
        if not roles or (key == "output-file" and found.outputs):
            role = "output" if key == "output-file" else "tensor"
            raise UsageError(f"--set {key}: no {role} is committed (hashed); leave it out")
    return found


def _path(options: Mapping[str, str], key: str) -> Path | None:
    if key not in options:
        return None
    if not options[key] or "\0" in options[key]:
        raise UsageError(f"--set {key}={options[key]!r}: expected the path of a file")
    return Path(options[key])


def _quantisation(options: Mapping[str, str]) -> QuantisationConfig:
    from proofml.circuits.quantise.record import ACTIVATIONS, METHODS, QuantisationConfig

    default = QuantisationConfig()
    return QuantisationConfig(
        method=_read(options, "method", _choice(METHODS), default.method),
        per_channel=_read(options, "per-channel", _switch, default.per_channel),
        activations=_read(options, "activations", _choice(ACTIVATIONS), default.activations),
    )


def _read(options: Mapping[str, str], key: str, read: Callable[[str], T], default: T) -> T:
    if key not in options:
        return default
    try:
        return read(options[key])
    except ValueError as error:
        raise UsageError(f"--set {key}={options[key]}: expected {error}") from error


def _bits(text: str) -> int:
    if not (text.isascii() and text.isdigit() and MIN_BITS <= int(text[:5]) <= MAX_BITS):
        raise ValueError(f"an integer from {MIN_BITS} to {MAX_BITS}")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _choice(known: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in known:
            raise ValueError(f"one of {', '.join(known)}")
        return text

    return read
