"""Every lie that the suite tells: one field of the Statement, all digests in line with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx

from proofml.statement import Visibility
from proofml.tensors import DTYPES, Array, from_npy
from proofml.testing.attacker import Attacker
from proofml.testing.case import Case
from proofml.testing.harness import Facts, Harness

Lie = Callable[[Attacker, Harness], None]


@dataclass(frozen=True)
class Forgery:
    """One lie.

    Attributes:
        name: of the test.
        field: key of `Case.bound_by`.
        lie: changes the honest proof.
        strict: the core's check that refuses it where the verifier pins everything; None where
            nothing in an Expectation contradicts it, so that only `bound_by` can.
        believe: what a verifier expects whom the liar has convinced; None where that is no
            different from pinning nothing.
    """

    name: str
    field: str
    lie: Lie
    strict: str | None = None
    believe: Callable[[Facts, Attacker, Harness], Facts] | None = None

    def __str__(self) -> str:
        return self.name


def other(array: Array) -> Array:
    """Another value of the same dtype and shape, far away."""
    if array.dtype == np.bool_:
        return ~array
    more: Array = array + array.dtype.type(1)
    return more


def next_value(array: Array) -> Array:
    """The same but for one unit in the last place of the first element."""
    changed = array.copy()
    if array.dtype.kind == "f":
        changed.flat[0] = np.nextafter(changed.flat[0], array.dtype.type(np.inf))
    elif array.dtype == np.bool_:
        changed.flat[0] = not changed.flat[0]
    else:
        changed.flat[0] ^= 1
    return changed


def forgeries(case: Case) -> list[Forgery]:
    """All lies that a proof of this case offers room for."""
    found = [*_model(case), *_nonce()]
    graph = onnx.load_model_from_string(case.model).graph
    for kind, visibility, count in (
        ("input", case.request.input_visibility, len(case.inputs)),
        ("output", case.request.output_visibility, len(graph.output)),
    ):
        pinned = ("core.9" if kind == "input" else "core.10") if _pinned(kind, visibility) else None
        for index in range(count):
            found += _tensor(f"{kind}.{index}", kind, visibility, pinned)
        found += _count(kind, visibility, count, pinned)
    return [*found, *_computation()]


def _pinned(kind: str, visibility: Visibility) -> bool:
    """Whether the harness's verifier pins tensors of this visibility."""
    if kind == "output":
        return visibility is Visibility.PUBLIC
    return visibility is not Visibility.PRIVATE


# -- model ----------------------------------------------------------------------------------------


def _other_model(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["model"] = harness.other_model.claim.to_json()


def _other_file(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["model"] = harness.model_in_other_file.claim.to_json()


def _architecture(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["model"] = harness.model.architecture_claim.to_json()


def _other_architecture(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["model"]["architecture_sha256"] = harness.other_model.digest


def _named(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["model"] = harness.model.claim.to_json()


def _model(case: Case) -> list[Forgery]:
    if case.request.parameters != "fixed":
        return [
            Forgery(
                "another architecture", "model.canonical_sha256", _other_architecture, "core.7"
            ),
            Forgery("weights said to be known", "model.kind", _named),
        ]
    return [
        Forgery(
            "another model",
            "model.canonical_sha256",
            _other_model,
            "core.7",
            lambda facts, _, harness: replace(facts, model=harness.other_model),
        ),
        Forgery("another file of the model", "model.file_sha256", _other_file),
        Forgery("any weights of the architecture", "model.kind", _architecture),
    ]


# -- nonce and computation ------------------------------------------------------------------------

OTHER_NONCE = bytes(range(1, 17))


def _other_nonce(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["nonce"] = OTHER_NONCE.hex()


def _no_nonce(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["nonce"] = None


def _nonce() -> list[Forgery]:
    return [
        Forgery(
            "another nonce",
            "nonce",
            _other_nonce,
            "core.11",
            lambda facts, attacker, harness: replace(facts, nonce=OTHER_NONCE),
        ),
        Forgery("no nonce", "nonce", _no_nonce, "core.11"),
    ]


def _other_kind(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["computation"]["kind"] = "another-kind"


def _more_detail(attacker: Attacker, harness: Harness) -> None:
    attacker.statement["computation"]["detail"]["zz-extra"] = 1


def _computation() -> list[Forgery]:
    return [
        Forgery("another kind of computation", "computation.kind", _other_kind),
        Forgery("one more detail of the computation", "computation.detail", _more_detail),
    ]


# -- tensors --------------------------------------------------------------------------------------


def _tensor(role: str, kind: str, visibility: Visibility, pinned: str | None) -> list[Forgery]:
    def rename(attacker: Attacker, harness: Harness) -> None:
        attacker.claim(role)["name"] += "-renamed"

    def reshape(attacker: Attacker, harness: Harness) -> None:
        claim = attacker.claim(role)
        if visibility is Visibility.PUBLIC:
            attacker.set_value(role, _value(attacker, role)[np.newaxis])
        else:
            claim["shape"] = [1, *claim["shape"]]

    def retype(attacker: Attacker, harness: Harness) -> None:
        claim = attacker.claim(role)
        size = np.dtype(DTYPES[claim["dtype"]]).itemsize
        name = next(n for n, code in DTYPES.items() if _same_size(n, code, size, claim["dtype"]))
        if visibility is Visibility.PUBLIC:
            attacker.set_value(role, _value(attacker, role).view(np.dtype(DTYPES[name])))
        else:
            claim["dtype"] = name

    def turn(attacker: Attacker, harness: Harness) -> None:
        if visibility is not Visibility.PRIVATE:
            attacker.hide(role)
            return
        claim = attacker.claim(role)
        claim["visibility"] = "hashed"
        claim.setdefault("commitment", {"scheme": "made-up", "value": "00" * 32})

    interface = pinned or "core.14"
    found = [
        Forgery(f"{role} renamed", f"{kind}.name", rename, interface),
        Forgery(f"{role} of another shape", f"{kind}.shape", reshape, interface),
        Forgery(f"{role} of another dtype", f"{kind}.dtype", retype, interface),
        Forgery(f"{role} of another visibility", f"{kind}.visibility", turn, pinned),
    ]
    if visibility is Visibility.PUBLIC:
        found += _public(role, kind, pinned)
    elif visibility is Visibility.HASHED:

        def recommit(attacker: Attacker, harness: Harness) -> None:
            commitment = attacker.claim(role)["commitment"]
            changed = bytearray.fromhex(commitment["value"])
            changed[0] ^= 1
            commitment["value"] = changed.hex()

        found.append(Forgery(f"{role} under another commitment", f"{kind}.value", recommit))
    return found


def _public(role: str, kind: str, pinned: str | None) -> list[Forgery]:
    def revalue(attacker: Attacker, harness: Harness) -> None:
        if kind == "input":
            name = attacker.claim(role)["name"]
            attacker.set_value(role, harness.case.other_inputs[name])
        else:
            attacker.set_value(role, other(_value(attacker, role)))

    def step(attacker: Attacker, harness: Harness) -> None:
        attacker.set_value(role, next_value(_value(attacker, role)))

    def believe(facts: Facts, attacker: Attacker, harness: Harness) -> Facts:
        value = {attacker.claim(role)["name"]: _value(attacker, role)}
        if kind == "input":
            return replace(facts, inputs={**facts.inputs, **value})
        return replace(facts, outputs={**facts.outputs, **value})

    found = [Forgery(f"{role} of another value", f"{kind}.value", revalue, pinned, believe)]
    if kind == "output":
        found.append(Forgery(f"{role} one unit further", f"{kind}.value", step, pinned, believe))
    return found


def _count(kind: str, visibility: Visibility, count: int, pinned: str | None) -> list[Forgery]:
    def remove(attacker: Attacker, harness: Harness) -> None:
        attacker.remove(f"{kind}.{count - 1}")

    def add(attacker: Attacker, harness: Harness) -> None:
        claims = attacker.statement[f"{kind}s"]
        claims.append({**claims[0], "name": "extra"})
        if visibility is Visibility.PUBLIC:
            attacker.set_value(f"{kind}.{count}", np.zeros((1, 2), np.float32))

    field = f"{kind}.count"
    return [
        Forgery(f"one {kind} less", field, remove, pinned or "core.14"),
        Forgery(f"one {kind} more", field, add, "core.14"),
    ]


def _value(attacker: Attacker, role: str) -> Array:
    claim = attacker.claim(role)
    return from_npy(attacker.sections[role], claim["dtype"], claim["shape"])


def _same_size(name: str, code: str, size: int, than: str) -> bool:
    return np.dtype(code).itemsize == size and name not in (than, "bool")
