"""What a caller may ask of the prover: `--set KEY=VALUE`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Request
from proofml.circuits.settings import (
    QUANTISING,
    check_known,
    choice,
    path_option,
    quantisation_config,
    read_option,
    switch,
    whole,
)
from proofml.errors import UsageError
from proofml.statement import Visibility as Shown
from proofml.zkml.sumcheck.bounds import DEFAULT_BITS, MAX_BITS, MIN_BITS
from proofml.zkml.sumcheck.layout import Visibility
from proofml.zkml.sumcheck.ports import circuit_visibility, committed

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig

KNOWN = (
    "bits", "self-check", *QUANTISING, "hiding", "salt-file", "output-file",
)  # fmt: skip
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
        check_known(options, KNOWN, "sumcheck", quantised=quantised)
        visibility = _visibility(request)
        return cls(
            bits=read_option(options, "bits", whole(MIN_BITS, MAX_BITS), DEFAULT_BITS),
            self_check=read_option(options, "self-check", switch, False),
            quantisation=None if quantised else quantisation_config(options),
            visibility=visibility,
            salt_file=path_option(options, "salt-file"),
            output_file=path_option(options, "output-file"),
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
    if roles and read_option(options, "hiding", choice(("none",)), "") == "":
        raise UsageError(
            f"a commitment to the {roles} hides nothing: from the proof they can be learnt; "
            "--set hiding=none says that you know"
        )
    for key in sorted(COMMITTING & set(options)):
        if not roles or (key == "output-file" and found.outputs):
            role = "output" if key == "output-file" else "tensor"
            raise UsageError(f"--set {key}: no {role} is committed (hashed); leave it out")
    return found
