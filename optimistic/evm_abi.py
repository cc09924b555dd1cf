"""The contract `Ledger` as bytes: calls, answers, logs and errors, by its compiled artefact.

The artefacts lie in `contracts/artifacts`, built from the sources beside them by
`tools/contracts.sh`: `{"contract", "abi", "bytecode", "runtime", "code_sha256"}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Any, cast

from proofml.errors import UsageError
from proofml.optimistic.evm_library import (
    ABI,
    ABIFunction,
    Web3,
    abi_to_signature,
    event_abi_to_log_topic,
    function_abi_to_4byte_selector,
    get_abi_input_types,
    get_abi_output_types,
)
from proofml.optimistic.refusals import Refusal

SELECTOR = 4
#: Errors of the contract that no rule of the game has: a caller cannot meet them by a legal action.
MALFORMED, CONTEXT, TRANSFER = "Malformed", "Context", "Transfer"
_CODEC = Web3().codec


@dataclass(frozen=True)
class Event:
    """An event of the contract.

    Attributes:
        topic: its first.
        indexed, plain: names and types of its values: of further topics, and of its data.
    """

    name: str
    topic: bytes
    indexed: tuple[tuple[str, str], ...]
    plain: tuple[tuple[str, str], ...]

    def read(self, topics: Sequence[bytes], data: bytes) -> dict[str, Any]:
        """Its values by name.

        Raises:
            ValueError: it is not of this form.
        """
        if len(topics) != 1 + len(self.indexed):
            raise ValueError(f"{self.name}: {len(topics)} topics")
        found = {}
        for (name, kind), topic in zip(self.indexed, topics[1:], strict=True):
            found[name] = decoded([kind], topic)[0]
        values = decoded([kind for _, kind in self.plain], data)
        found |= dict(zip((name for name, _ in self.plain), values, strict=True))
        return found


@dataclass(frozen=True)
class Artefact:
    """A compiled contract.

    Attributes:
        bytecode: what deploys it.
        runtime: what then lies at its address, but for values that its constructor puts there.
    """

    name: str
    abi: ABI = field(repr=False)
    bytecode: bytes = field(repr=False)
    runtime: bytes = field(repr=False)

    @property
    def code_sha256(self) -> str:
        """Of the runtime code: what a policy pins."""
        return hashlib.sha256(self.runtime).hexdigest()

    def call(self, function: str, *arguments: object) -> bytes:
        """A call's data.

        Raises:
            ValueError: an argument that is none of its type.
        """
        found = self._functions[function]
        types = get_abi_input_types(found)
        if len(types) != len(arguments):
            raise ValueError(f"{function}: expected {len(types)} arguments")
        try:
            return function_abi_to_4byte_selector(found) + _CODEC.encode(types, arguments)
        except Exception as error:  # an encoder has errors of its own; all mean this
            raise ValueError(f"{function}: {error}") from error

    def deployment(self, *arguments: object) -> bytes:
        """Data of the transaction that makes a contract."""
        types = [
            kind
            for entry in self.abi
            if entry["type"] == "constructor"
            for kind in get_abi_input_types(entry)
        ]
        return self.bytecode + _CODEC.encode(types, arguments)

    def result(self, function: str, data: bytes) -> Any:
        """What a call gave: a value, or the fields of a struct by their names.

        Raises:
            ValueError: other bytes.
        """
        found = self._functions[function]
        (value,) = decoded(get_abi_output_types(found), data)
        (output,) = cast(Mapping[str, Any], found)["outputs"]
        if output["type"] != "tuple":
            return value
        names = [item["name"] for item in output["components"]]
        return dict(zip(names, value, strict=True))

    def error(self, data: bytes) -> str | None:
        """Name of the contract's error by which a call ended; None for any other data."""
        return self._errors.get(data) if len(data) == SELECTOR else None

    @cached_property
    def _functions(self) -> dict[str, ABIFunction]:
        return {entry["name"]: entry for entry in self.abi if entry["type"] == "function"}

    @cached_property
    def _errors(self) -> dict[bytes, str]:
        """Errors have no arguments, so that a selector says all."""
        return {
            Web3.keccak(text=abi_to_signature(entry))[:SELECTOR]: str(entry["name"])
            for entry in self.abi
            if entry["type"] == "error"
        }

    @cached_property
    def events(self) -> dict[str, Event]:
        """Its events, by name."""
        found = {}
        for entry in self.abi:
            if entry["type"] != "event":
                continue
            inputs = cast(Mapping[str, Any], entry)["inputs"]
            values = [(item["name"], item["type"], item["indexed"]) for item in inputs]
            found[entry["name"]] = Event(
                entry["name"],
                event_abi_to_log_topic(entry),
                tuple((name, kind) for name, kind, indexed in values if indexed),
                tuple((name, kind) for name, kind, indexed in values if not indexed),
            )
        return found


def decoded(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    """Values of these types, strictly.

    Raises:
        ValueError: other bytes.
    """
    try:
        return tuple(_CODEC.decode(types, data))
    except Exception as error:  # a decoder has errors of its own; all mean this
        raise ValueError(f"expected {', '.join(types)}: {error}") from error


def refusal_of(name: str) -> Refusal | None:
    """The rule of the game that an error of the contract names: `NotYourTurn` is NOT_YOUR_TURN."""
    return _REFUSALS.get(name)


_REFUSALS = {
    "".join(word.capitalize() for word in refusal.name.split("_")): refusal for refusal in Refusal
}


@cache
def artefact(name: str = "Ledger") -> Artefact:
    """One of this package's contracts.

    Raises:
        UsageError: it has none of this name.
    """
    file = resources.files("proofml.optimistic") / "contracts" / "artifacts" / f"{name}.json"
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"contract {name}: no artefact of it is installed: {error}; tools/contracts.sh makes it"
        ) from error
    return Artefact(
        found["contract"],
        found["abi"],
        bytes.fromhex(found["bytecode"][2:]),
        bytes.fromhex(found["runtime"][2:]),
    )
