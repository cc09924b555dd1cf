"""The Statement's record of an EZKL computation: `computation.detail`, read strictly."""

from __future__ import annotations

from dataclasses import dataclass

from proofml.fields import FieldError, Fields
from proofml.statement import Computation
from proofml.zkml.ezkl.params import KIND
from proofml.zkml.ezkl.srs import MAX_LOGROWS

PARAMETERS = ("fixed", "hashed", "private")


@dataclass(frozen=True, slots=True)
class Record:
    """Which function was computed: EZKL's fixed-point version of the model under these settings.

    Attributes:
        ezkl: version of the package that made the proof; a wish, not a check.
        settings, verifying_key, srs: SHA-256 of the settings file, key and reference string.
        srs_k: the string has 2^k points.
        parameters: `fixed`, `hashed` or `private`.
        commitment: EZKL's Poseidon of the parameters where they are hashed.
    """

    ezkl: str
    settings: str
    verifying_key: str
    srs: str
    srs_k: int
    parameters: str
    commitment: bytes | None

    @classmethod
    def read(cls, computation: Computation) -> Record:
        """Raises `FieldError` for anything but a complete record."""
        if computation.kind != KIND:
            raise FieldError("computation.kind", KIND, computation.kind)
        fields = Fields(computation.detail, "computation.detail")
        result = cls(
            fields.string("ezkl", longest=32),
            fields.sha256("settings_sha256"),
            fields.sha256("verifying_key_sha256"),
            fields.sha256("srs_sha256"),
            fields.integer("srs_k", 1, MAX_LOGROWS),
            fields.string("parameters", choices=PARAMETERS),
            None
            if fields.raw("parameters_commitment") is None
            else fields.hexadecimal("parameters_commitment", longest=32),
        )
        fields.done()
        if (result.commitment is not None) != (result.parameters == "hashed"):
            raise FieldError(
                fields.at("parameters_commitment"), "one exactly for hashed parameters", "otherwise"
            )
        return result
