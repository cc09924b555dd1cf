"""Parts for the core's tests: a model, a Statement with every kind of tensor, a made-up backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml import backend as registry
from proofml.backend import Context, Evidence, Probe, Request, Support, Trial
from proofml.guarantee import Guarantee, Integrity
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.proof import Blob, Proof
from proofml.statement import (
    Commitment,
    Computation,
    ModelClaim,
    Statement,
    TensorClaim,
    Visibility,
)
from proofml.store import Store
from proofml.tensors import Array, tensor_digest
from proofml.testing import gemm

FOUND = Guarantee(frozenset({Integrity.CRYPTOGRAPHIC}), bits=128)


@pytest.fixture(scope="session")
def model() -> Model:
    return Model.load(gemm())


@pytest.fixture(scope="session")
def x() -> dict[str, Array]:
    return {"x": np.array([[1.0, -2.0, 0.5, 3.25]], np.float32)}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@dataclass
class Fake:
    """A backend of any behaviour; `verdict` is called with the trial."""

    name: str = "fake"
    version: int = 1
    summary: str = "made up"
    integrity: frozenset[Integrity] = frozenset({Integrity.CRYPTOGRAPHIC})
    checks: Mapping[str, str] = field(default_factory=lambda: {"fake.1": "anything"})
    assumptions: Mapping[str, str] = field(default_factory=lambda: {"fake:easy": "made up"})
    hides: frozenset[str] = frozenset()
    cost: int = 1
    available: bool = True
    reasons: tuple[str, ...] = ()
    conclude: Callable[[Trial], Any] = lambda trial: FOUND
    answer: Callable[[], Evidence] | None = None

    def probe(self) -> Probe:
        return Probe(self.available, "made up" if self.available else "pip install nothing")

    def supports(self, model: Model, request: Request) -> Support:
        return Support(not self.reasons, self.reasons)

    def setup(self, model: Model, request: Request, context: Context) -> Mapping[str, Path]:
        return {}

    def prove(
        self, model: Model, inputs: Mapping[str, Array], request: Request, context: Context
    ) -> Evidence:
        assert self.answer is not None
        return self.answer()

    def verify(self, trial: Trial) -> Any:
        return self.conclude(trial)


class Point:
    """An entry point that loads what it is given."""

    def __init__(self, name: str, load: Callable[[], Any]) -> None:
        self.name, self.value, self._load = name, f"somewhere:{name}", load

    def load(self) -> Any:
        return self._load()


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """`register(Fake(...), ...)` makes these the only backends; a callable is loaded as it is."""
    registry.get_backend.cache_clear()

    def put(*fakes: Fake, **broken: Callable[[], Any]) -> None:
        points = {fake.name: Point(fake.name, lambda fake=fake: lambda: fake) for fake in fakes}
        points |= {name: Point(name, load) for name, load in broken.items()}
        monkeypatch.setattr(registry, "_entry_points", lambda: points)
        registry.get_backend.cache_clear()

    put.Fake = Fake  # type: ignore[attr-defined]
    yield put
    registry.get_backend.cache_clear()


class Parts:
    """A Statement with a public, a hashed and a private input and a public output."""

    arrays: Mapping[str, Array]
    statement: Statement
    key: SigningKey

    def __init__(self) -> None:
        self.arrays = {
            "input.0": np.arange(4, dtype=np.float32).reshape(1, 4),
            "output.0": np.array([[7, -7]], np.int64),
        }
        first, last = self.arrays["input.0"], self.arrays["output.0"]
        hidden = Commitment("made-up", "ab" * 32)
        public, hashed, private = Visibility.PUBLIC, Visibility.HASHED, Visibility.PRIVATE
        self.statement = Statement(
            model=ModelClaim("1" * 64, "2" * 64),
            inputs=(
                TensorClaim("a", "float32", (1, 4), public, tensor_digest(first)),
                TensorClaim("b", "int8", (2,), hashed, commitment=hidden),
                TensorClaim("c", "bool", (), private),
            ),
            outputs=(TensorClaim("y", "int64", (1, 2), public, tensor_digest(last)),),
            computation=Computation("made-up", {"steps": 3, "how": "slowly"}),
            nonce=b"nonce",
        )
        self.key = SigningKey.generate()

    def proof(self, *, backend: str = "fake", signed: bool = True, **changes: Any) -> Proof:
        """A proof of the Statement with one piece of evidence."""
        settings: dict[str, Any] = {
            "evidence": {"trace": Blob(b"what happened")},
            "notes": {"by": "nobody"},
            "signers": [self.key] if signed else [],
            **changes,
        }
        evidence = settings.pop("evidence")
        statement = settings.pop("statement", self.statement)
        return Proof.build(statement, backend, 1, evidence, self.arrays, **settings)


@pytest.fixture(scope="session")
def parts() -> Parts:
    return Parts()
