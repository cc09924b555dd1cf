"""The Policy: what this verifier accepts, as TOML or as an object. Schema: docs/policy.md.

The default accepts any registered backend and integrity kind, at least 100 bits, and refuses
every development shortcut and every assumption outside `DEFAULT_ASSUMPTIONS`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proofml.canonical import JSON
from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, text_item
from proofml.guarantee import Finality, Guarantee, Integrity
from proofml.keys import KEY_ID

#: Allowed without being named: what a caller who pins nothing but the model lives with.
DEFAULT_ASSUMPTIONS = frozenset(
    {
        "input:unpinned",
        "model:file-unpinned",
        "output:unpinned",
        "nonce:unpinned",
        "signer:unsigned",
        "signer:unpinned",
        "runtime:other-version",
        "semantics:defined-here",
        "srs:ceremony",
        "srs:pinned",
    }
)
#: Not an objection where the verdict is pending for it; allowed by name it is not pending either.
_OPEN = "window:open"
_NOT_PINNED = frozenset({"signer:unsigned", "signer:unpinned", "signer:unchecked"})
DEFAULT_MIN_BITS = 100
MAX_POLICY_BYTES = 1 << 20
ASSUMPTION = re.compile(r"[a-z][a-z0-9-]*:[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Policy:
    """Immutable; `Policy()` is the strict default.

    Attributes:
        backends: accepted backends by name; None for all that are registered.
        integrity: accepted integrity kinds; a guarantee must have one of them.
        min_bits: least soundness where the guarantee has bits.
        assumptions: allowed by name, besides nothing else.
        signers: keys of which one must have signed; empty for no demand.
        require_nonce: whether a proof without a pinned nonce is refused.
        sections: one table a backend, read by that backend.
        source: where it was read from, for messages.
    """

    backends: frozenset[str] | None = None
    integrity: frozenset[Integrity] = frozenset(Integrity)
    min_bits: int = DEFAULT_MIN_BITS
    assumptions: frozenset[str] = DEFAULT_ASSUMPTIONS
    signers: frozenset[str] = frozenset()
    require_nonce: bool = False
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = "default policy"

    @classmethod
    def load(cls, path: Path | str) -> Policy:
        """Read a TOML policy; every error names the file and the key.

        Raises:
            UsageError: unreadable, not TOML, an unknown key, a wrong type or value.
        """
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot read the policy: {error.strerror}") from error
        if len(data) > MAX_POLICY_BYTES:
            raise UsageError(f"{path}: {len(data)} bytes, a policy has at most {MAX_POLICY_BYTES}")
        try:
            return cls.from_mapping(tomllib.loads(data.decode("utf-8")), source=str(path))
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise UsageError(f"{path}: not TOML: {error}") from error

    @classmethod
    def from_mapping(cls, value: Mapping[str, Any], *, source: str = "policy") -> Policy:
        """From the parsed form of the TOML file; raises `UsageError` naming the key."""
        try:
            return cls._read(Fields(value, ""), source)
        except FieldError as error:
            raise UsageError(f"{source}: {error}; see docs/policy.md") from error

    @classmethod
    def _read(cls, fields: Fields, source: str) -> Policy:
        fields.integer("version", 1, 1)
        accept = fields.table("accept", default={})
        backends = accept.items("backends", text_item) if "backends" in accept else None
        integrity = accept.items("integrity", _integrity, default=[i.value for i in Integrity])
        min_bits = accept.integer("min_bits", 1, 1024, default=DEFAULT_MIN_BITS)
        assumptions = accept.items("assumptions", _assumption, default=sorted(DEFAULT_ASSUMPTIONS))
        require_nonce = accept.boolean("require_nonce", default=False)
        accept.done()
        signers = fields.table("signers", default={})
        keys = signers.items("keys", _key, default=[])
        signers.done()
        sections = fields.table("backends", default={})
        names = list(fields.raw("backends", {}))
        tables = {name: dict(sections.table(name).mapping) for name in names}
        fields.done()
        if not integrity:
            raise FieldError("accept.integrity", "at least one kind", [])
        return cls(
            backends=None if backends is None else frozenset(backends),
            integrity=frozenset(integrity),
            min_bits=min_bits,
            assumptions=frozenset(assumptions),
            signers=frozenset(keys),
            require_nonce=require_nonce,
            sections=tables,
            source=source,
        )

    def allow(self, names: Iterable[str]) -> Policy:
        """A policy that also allows these assumptions (the command line's `--allow`)."""
        extra = frozenset(names)
        for name in extra:
            if not ASSUMPTION.fullmatch(name):
                raise UsageError(
                    f"--allow {name}: expected an assumption's name such as srs:local-dev; "
                    "the verdict prints those that a proof needs"
                )
        return replace(self, assumptions=self.assumptions | extra)

    def section(self, backend: str) -> Fields:
        """The backend's own table, to be read strictly by the backend."""
        return Fields(self.sections.get(backend, {}), f"backends.{backend}")

    def objections(self, backend: str, guarantee: Guarantee) -> tuple[str, ...]:
        """Why this policy refuses the guarantee; empty where it accepts."""
        reasons: list[str] = []
        if self.backends is not None and backend not in self.backends:
            reasons.append(f"backend {backend} is not among accept.backends")
        if not guarantee.integrity & self.integrity:
            have = ", ".join(sorted(guarantee.integrity))
            want = ", ".join(sorted(self.integrity))
            reasons.append(f"integrity {have} is not among accept.integrity ({want})")
        if guarantee.bits is not None and guarantee.bits < self.min_bits:
            reasons.append(
                f"{guarantee.bits} bits of soundness, accept.min_bits is {self.min_bits}"
            )
        reasons += [
            f"assumption {name} is not allowed (--allow {name} accepts it)"
            for name in sorted(guarantee.assumptions - self.assumptions)
            if name != _OPEN or guarantee.finality is not Finality.PENDING
        ]
        missing = guarantee.assumptions & _NOT_PINNED
        if self.signers and missing:
            reasons.append(f"{', '.join(missing)}: none of signers.keys signed the proof")
        if self.require_nonce and "nonce:unpinned" in guarantee.assumptions:
            reasons.append("accept.require_nonce is set and no nonce was pinned (--nonce)")
        return (*reasons, *guarantee.objections)

    def is_pending(self, guarantee: Guarantee) -> bool:
        """Whether a later event can overturn the result, and this policy waits for it.

        It does not wait where `window:open` is both assumed and allowed by name.
        """
        taken = _OPEN in guarantee.assumptions & self.assumptions
        return guarantee.finality is Finality.PENDING and not taken

    def to_json(self) -> dict[str, JSON]:
        return {
            "source": self.source,
            "backends": None if self.backends is None else sorted(self.backends),
            "integrity": sorted(self.integrity),
            "min_bits": self.min_bits,
            "assumptions": sorted(self.assumptions),
            "signers": sorted(self.signers),
            "require_nonce": self.require_nonce,
        }


def _integrity(value: object, path: str) -> Integrity:
    text = text_item(value, path)
    if text not in set(Integrity):
        raise FieldError(path, "one of " + ", ".join(Integrity), text)
    return Integrity(text)


def _assumption(value: object, path: str) -> str:
    text = text_item(value, path)
    if not ASSUMPTION.fullmatch(text):
        raise FieldError(path, "an assumption's name such as srs:local-dev", text)
    return text


def _key(value: object, path: str) -> str:
    text = text_item(value, path)
    if not KEY_ID.fullmatch(text):
        raise FieldError(path, "ed25519: and 64 hexadecimal digits", text)
    return text
