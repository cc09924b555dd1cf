"""The policy's table `[backends.sumcheck]`, read strictly.

quantisation    digests of accepted quantisation records: the integer version of a float model is
                then not the prover's choice
pinned          tables {model, circuit, key}: canonical digest of a model, digest of its circuit,
                path of the verifying key, from the policy's folder: nothing is compiled, the
                model file is not needed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, sha256_item
from proofml.policy import Policy
from proofml.zkml.sumcheck.circuit import MAX_BYTES


@dataclass(frozen=True, slots=True)
class Pin:
    """A circuit known beforehand; the key is believed because it has the circuit's digest."""

    model: str
    circuit: str
    key: Path

    def read(self, source: str) -> bytes:
        """The key's bytes, of bounded size; raises `UsageError`."""
        where = f"{source}: backends.sumcheck.pinned: key {self.key}"
        if not self.key.is_file():  # opening a pipe would wait for ever
            raise UsageError(f"{where}: no such file; `proofml setup -b sumcheck -o` writes one")
        try:
            with self.key.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise UsageError(f"{where}: more than {MAX_BYTES} bytes; expected a verifying key")
        return data


@dataclass(frozen=True, slots=True)
class SumcheckPolicy:
    quantisation: frozenset[str]
    pinned: tuple[Pin, ...]

    @classmethod
    def read(cls, policy: Policy) -> SumcheckPolicy:
        """Raises `UsageError` naming the key."""
        fields = policy.section("sumcheck")
        folder = Path(policy.source).parent

        def pin(value: object, path: str) -> Pin:
            table = Fields(value, path)
            key = folder / table.string("key")
            found = Pin(table.sha256("model"), table.sha256("circuit"), key)
            table.done()
            return found

        try:
            result = cls(
                quantisation=frozenset(fields.items("quantisation", sha256_item, default=())),
                pinned=fields.items("pinned", pin, default=()),
            )
            fields.done()
        except FieldError as error:
            raise UsageError(f"{policy.source}: {error}; see docs/policy.md") from error
        return result

    def pin(self, model: str | None, circuit: str) -> Pin | None:
        """The pin of this circuit for this model."""
        for found in self.pinned:
            if (found.model, found.circuit) == (model, circuit):
                return found
        return None
