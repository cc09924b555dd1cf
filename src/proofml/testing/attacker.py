"""A prover who lies: he changes what he likes, recomputes every digest, and signs with his key."""

from __future__ import annotations

import base64
import copy
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from proofml import container
from proofml.canonical import dumps, sha256
from proofml.keys import SigningKey, envelope
from proofml.proof import MEDIA_NPY, subjects
from proofml.statement import Statement
from proofml.tensors import Array, dtype_name, to_npy


@dataclass
class Attacker:
    """A proof taken apart. Change `payload`, `statement` and `sections`, then `forge`.

    Attributes:
        payload: the in-toto Statement as plain dicts and lists.
        sections: name -> bytes of everything inline besides the attestation.
        key: what he signs with; nobody pins it.
    """

    payload: dict[str, Any]
    sections: dict[str, bytes]
    key: SigningKey

    @classmethod
    def of(cls, proof: bytes) -> Attacker:
        """Start from the bytes of a proof, signed or not."""
        attestation, sections = container.unpack(proof)
        value = json.loads(attestation)
        if "payloadType" in value:
            value = json.loads(base64.b64decode(value["payload"]))
        return cls(value, dict(sections), SigningKey.generate())

    def copy(self) -> Attacker:
        return Attacker(copy.deepcopy(self.payload), dict(self.sections), self.key)

    # -- changing -------------------------------------------------------------------------

    @property
    def predicate(self) -> dict[str, Any]:
        found: dict[str, Any] = self.payload["predicate"]
        return found

    @property
    def statement(self) -> dict[str, Any]:
        found: dict[str, Any] = self.predicate["statement"]
        return found

    def claim(self, role: str) -> dict[str, Any]:
        """The Statement's entry of `input.0`, `output.0`, ..."""
        kind, _, index = role.partition(".")
        found: dict[str, Any] = self.statement[f"{kind}s"][int(index)]
        return found

    def set_value(self, role: str, array: Array) -> None:
        """Another public value, with its dtype, shape and digest."""
        body = to_npy(array)
        claim = self.claim(role)
        claim.update(dtype=dtype_name(array), shape=list(array.shape), sha256=sha256(body))
        self.sections[role] = body

    def hide(self, role: str) -> None:
        """Make a tensor private: no value, no digest, no commitment."""
        claim = self.claim(role)
        claim["visibility"] = "private"
        claim.pop("sha256", None)
        claim.pop("commitment", None)
        self.sections.pop(role, None)

    def remove(self, role: str) -> None:
        """Leave a tensor out; those after it move up."""
        kind, _, index = role.partition(".")
        claims = self.statement[f"{kind}s"]
        bodies = [self.sections.pop(f"{kind}.{i}", None) for i in range(len(claims))]
        del claims[int(index)], bodies[int(index)]
        for i, body in enumerate(bodies):
            if body is not None:
                self.sections[f"{kind}.{i}"] = body

    # -- putting it together again --------------------------------------------------------

    def forge(self, *, recompute: bool = True, sign: bool = True) -> bytes:
        """The file. `recompute` brings evidence list and subjects in line with the lie."""
        if recompute:
            self._list_evidence()
            self.payload["subject"] = subjects(Statement.read(self.statement))
        payload = dumps(self.payload)
        attestation = envelope(payload, [self.key]) if sign else payload
        return container.pack(attestation, self.sections)

    def _list_evidence(self) -> None:
        kinds = {entry["name"]: entry["mediaType"] for entry in self.predicate["evidence"]}
        beside = [e for e in self.predicate["evidence"] if e["location"] == "beside"]
        inline = [
            {
                "name": name,
                "mediaType": kinds.get(name, MEDIA_NPY),
                "size": len(body),
                "sha256": sha256(body),
                "location": "inline",
            }
            for name, body in self.sections.items()
        ]
        self.predicate["evidence"] = sorted(beside + inline, key=lambda entry: str(entry["name"]))


# -- the file itself ------------------------------------------------------------------------------

Section = tuple[str, bytes]


def split(proof: bytes) -> list[Section]:
    """All sections in the order of the file, the attestation first."""
    attestation, sections = container.unpack(proof)
    return [(container.ATTESTATION, attestation), *sections.items()]


def join(sections: list[Section]) -> bytes:
    """A container of any sections in any order, which `container.pack` would refuse to write."""
    head = container.MAGIC + struct.pack("<HH", container.VERSION, len(sections))
    return head + b"".join(
        struct.pack("<B", len(name)) + name.encode() + struct.pack("<Q", len(body)) + body
        for name, body in sections
    )


#: What can happen to one section's bytes, by name.
DAMAGE: Mapping[str, Callable[[bytes], bytes]] = {
    "cut by a byte": lambda body: body[:-1],
    "longer by a byte": lambda body: body + b"\0",
    "emptied": lambda body: b"",
    "first byte changed": lambda body: bytes([body[0] ^ 1]) + body[1:],
    "middle byte changed": lambda body: (
        body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]
    ),
    "last byte changed": lambda body: body[:-1] + bytes([body[-1] ^ 1]),
    "twice": lambda body: body + body,
}
