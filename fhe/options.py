"""What a user may ask of proving and of setting up (`--set KEY=VALUE`).

    evaluation   file of the owner's evaluation keys, where the sealed inputs do not hold them
    trace        yes: commit to the ciphertext of every operator (ckks)

All others are the compiler's (`fhe/ckks/options.py`, `fhe/concrete/options.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from proofml.backend import Request
from proofml.errors import UsageError
from proofml.fhe.about import CKKS
from proofml.statement import Visibility


@dataclass(frozen=True)
class Options:
    """Checked.

    Attributes:
        evaluation: file of evaluation keys.
        trace: whether to commit to a trace.
        compiler: options of the compiler, checked by it.
    """

    evaluation: Path | None = None
    trace: bool = False
    compiler: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, request: Request, backend: str) -> Options:
        """Raises `UsageError` naming what cannot be."""
        compiler = dict(request.options)
        evaluation = compiler.pop("evaluation", None)
        trace = compiler.pop("trace", "no")
        _check_compiler(compiler, backend)
        if trace not in ("yes", "no"):
            raise UsageError(f"--set trace={trace}: expected yes or no")
        if trace == "yes" and backend != CKKS:
            raise UsageError(f"--set trace=yes: {backend} has no trace; {CKKS} has one")
        if request.max_error is not None:
            raise UsageError(
                f"{backend}: the prover cannot see outputs, so not how far off they are; leave "
                "out --max-error, the circuit's report says what to expect"
            )
        for role in ("input", "output"):
            if getattr(request, f"{role}_visibility") is Visibility.HASHED:
                raise UsageError(
                    f"{backend}: sealed {role}s are private, under a commitment to their "
                    f"ciphertexts; leave out --{role}-visibility hashed"
                )
        return cls(None if evaluation is None else Path(evaluation), trace == "yes", compiler)


def _check_compiler(options: Mapping[str, str], backend: str) -> None:
    if backend == CKKS:
        from proofml.fhe.ckks.options import Options as CkksOptions

        CkksOptions.read(options)
    else:
        from proofml.fhe.concrete.options import Options as ConcreteOptions

        ConcreteOptions.read(options)
