"""The homomorphic backends pass the suite that every backend passes.

Their honest proof is one over sealed inputs, since there is no other one. A run does not depend on
the nonce, and a circuit that the policy does not name is whoever compiled it's choice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
import pytest

from proofml.backend import Context, Request
from proofml.canonical import sha256
from proofml.fhe.about import CKKS, CONCRETE, INTEGRITY
from proofml.fhe.concrete.environment import VARIABLE
from proofml.fhe.engine import engine
from proofml.model import Model
from proofml.policy import Policy
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import Case, ConformanceSuite, SealedRun, gemm

from ..concrete import models as concrete_models
from .world import GOLDEN, compile_ckks, one_weight_more

X = {"x": np.array([[1.0, -2.0, 0.5, 1.25]], np.float32)}
OTHER_X = {"x": np.array([[0.25, 1.0, -1.5, 2.0]], np.float32)}
#: Whatever a verifier pins.
ALWAYS = frozenset(
    {"decryptions:unshared", "nonce:unauthenticated", "input:unpinned", "output:unpinned"}
)
HIDDEN = Request(input_visibility=Visibility.PRIVATE, output_visibility=Visibility.PRIVATE)


def bound(name: str) -> dict[str, str | tuple[str, ...] | None]:
    return {
        "model.canonical_sha256": f"{name}.5",
        "model.file_sha256": None,
        "model.kind": f"{name}.1",
        "input.name": "core.14",
        "input.dtype": "core.14",
        "input.shape": "core.14",
        "input.visibility": f"{name}.3",
        "input.value": f"{name}.7",
        "input.count": "core.14",
        "output.name": "core.14",
        "output.dtype": "core.14",
        "output.shape": "core.14",
        "output.visibility": f"{name}.3",
        "output.value": f"{name}.8",
        "output.count": "core.14",
        "nonce": None,
        "computation.kind": f"{name}.1",
        "computation.detail": f"{name}.1",
        "computation.detail.circuit": f"{name}.4",
        "computation.detail.parameters": f"{name}.4",
        "computation.detail.security_bits": f"{name}.4",
        "computation.detail.evaluation": f"{name}.6",
        "evidence.extra": f"{name}.2",
        "evidence:circuit": (f"{name}.2", f"{name}.4"),
        "evidence:evaluation": (f"{name}.2", f"{name}.6"),
        "evidence:inputs": (f"{name}.2", f"{name}.7"),
        "evidence:outputs": (f"{name}.2", f"{name}.8"),
    }


@cache
def circuit(name: str) -> bytes:
    if name == CONCRETE:
        return (GOLDEN / "logistic.circuit").read_bytes()
    made = TemporaryDirectory(prefix="proofml-kit-")
    _KEPT.append(made)
    store = Store(Path(made.name))
    return compile_ckks(Model.load(gemm(0), store=store), Context(store))


@cache
def case(name: str, examples: int) -> Case:
    data = gemm(0) if name == CKKS else concrete_models.logistic()
    other = gemm(1) if name == CKKS else one_weight_more(data)
    section: Mapping[str, Any] = {"circuits": [sha256(circuit(name))]}
    policy = Policy(sections={name: section}).allow(ALWAYS)
    (want,) = onnxruntime.InferenceSession(data).run(None, X)
    error = float(str(engine(name).read_circuit(circuit(name)).report["error"]))

    @contextmanager
    def sealing(of: Model, store: Store) -> Iterator[SealedRun]:
        outputs: dict[str, Array] = {"y": want}
        yield SealedRun(
            recipient=circuit(name),
            request=HIDDEN,
            policy=policy,
            outputs=outputs,
            tolerance=3 * error + 1e-5,
        )

    return Case(
        backend=name,
        model=data,
        other_model=other,
        inputs=X,
        other_inputs=OTHER_X,
        integrity=INTEGRITY,
        assumptions=ALWAYS,
        unbound={"nonce": "nonce:unauthenticated"},
        request=HIDDEN,
        policy=policy,
        bound_by=bound(name),
        verify_needs_model=True,
        stages=("load keys",),
        examples=examples,
        sealing=sealing,
        only_sealed=True,
    )


class LazyCase:
    """The circuit is compiled when the first test of a class wants its case."""

    def __init__(self, name: str, examples: int) -> None:
        self._made = (name, examples)

    def __get__(self, instance: object, owner: type) -> Case:
        return case(*self._made)


@pytest.mark.skipif(find_spec("tenseal") is None, reason="tenseal is not installed")
class TestCkks(ConformanceSuite):
    seals = True
    case = LazyCase(CKKS, 24)


@pytest.mark.slow
@pytest.mark.concrete
@pytest.mark.skipif(
    not os.environ.get(VARIABLE), reason=f"{VARIABLE} names no interpreter with Concrete"
)
class TestConcrete(ConformanceSuite):
    """Without table lookups; every judgement starts Concrete's interpreter."""

    seals = True
    case = LazyCase(CONCRETE, 6)


_KEPT: list[TemporaryDirectory[str]] = []
