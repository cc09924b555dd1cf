"""Which scheme made a circuit, by what its file says of itself; the scheme's reader decides."""

from __future__ import annotations

from proofml.errors import UsageError
from proofml.fhe.about import CKKS, CONCRETE
from proofml.fhe.files import kind

#: Type of a circuit's file -> backend.
TYPES = {"proofml/ckks-circuit": CKKS, "proofml/concrete-circuit": CONCRETE}


def scheme_of(circuit: bytes, what: str = "circuit") -> str:
    """Raises `UsageError` for what is no circuit."""
    found = TYPES.get(kind(circuit))
    if found is None:
        raise UsageError(
            f"{what}: expected a circuit ({', '.join(TYPES)}), as `proofml fhe compile` writes, "
            f"got {kind(circuit) or 'something else'}"
        )
    return found
