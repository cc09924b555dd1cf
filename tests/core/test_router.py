"""Who proves: the named backend, or the cheapest that meets the demand; and who is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from proofml import backend as registry
from proofml.api import prove, verify
from proofml.backend import (
    Backend,
    Context,
    Evidence,
    Request,
    Trial,
    backend_names,
    get_backend,
)
from proofml.errors import (
    BackendFailed,
    BackendUnavailable,
    ProofmlError,
    UnsupportedModel,
    UsageError,
)
from proofml.expectation import Expectation
from proofml.guarantee import Integrity
from proofml.model import Model
from proofml.policy import Policy
from proofml.router import needs_hidden, route
from proofml.statement import Visibility
from proofml.store import Store
from proofml.tensors import Array

HASHED = Visibility.HASHED


# -- the choice -----------------------------------------------------------------------------------


def test_cheapest(register: Any, model: Model) -> None:
    fake = register.Fake
    register(fake("dear", cost=9), fake("cheap", cost=1), fake("also-cheap", cost=1))
    assert route(model, Request()).name == "also-cheap"
    assert route(model, Request(), name="dear").name == "dear"


def test_the_dearer_ones_are_not_asked(register: Any, model: Model) -> None:
    asked: list[str] = []

    class Asked(register.Fake):  # type: ignore[misc]
        def supports(self, model: Model, request: Request) -> Any:
            asked.append(self.name)
            return super().supports(model, request)

    register(
        Asked("dear", cost=9),
        Asked("cheap", cost=1),
        Asked("cheapest", cost=0, reasons=("no operator Gemm",)),
    )
    assert route(model, Request()).name == "cheap"
    assert asked == ["cheapest", "cheap"]
    asked.clear()
    assert route(model, Request(), name="dear").name == "dear"
    assert asked == ["dear"]


def test_what_is_demanded(register: Any, model: Model) -> None:
    fake = register.Fake
    register(
        fake("plain", cost=0, integrity=frozenset({Integrity.RE_EXECUTION})),
        fake("hiding", cost=5, hides=frozenset({"input", "output"})),
        fake("costly", cost=9),
    )
    proven = frozenset({Integrity.CRYPTOGRAPHIC})
    assert route(model, Request()).name == "plain"
    assert route(model, Request(), integrity=proven).name == "hiding"
    assert route(model, Request(input_visibility=HASHED)).name == "hiding"
    with pytest.raises(UnsupportedModel, match="hiding: cannot hide parameters"):
        route(model, Request(parameters="private"))
    with pytest.raises(UnsupportedModel, match="plain: integrity is re-execution"):
        route(model, Request(), integrity=frozenset({Integrity.HARDWARE}))


def test_obstacles_are_all_told(register: Any, model: Model) -> None:
    fake = register.Fake
    register(
        fake("absent", available=False),
        fake("picky", reasons=("no operator Gemm",)),
        broken=_import_error,
    )
    with pytest.raises(UnsupportedModel) as caught:
        route(model, Request())
    for words in ("absent: pip install nothing", "picky: no operator Gemm", "broken: no module"):
        assert words in str(caught.value)


def test_none_available(register: Any, model: Model) -> None:
    register(register.Fake("absent", available=False), broken=_import_error)
    with pytest.raises(BackendUnavailable, match="pip install"):
        route(model, Request())
    with pytest.raises(BackendUnavailable, match="pip install nothing"):
        route(model, Request(), name="absent")
    with pytest.raises(BackendUnavailable, match="no module"):
        route(model, Request(), name="broken")
    with pytest.raises(UsageError, match="no backend 'none' is registered; known: absent, broken"):
        route(model, Request(), name="none")


def test_needs_hidden() -> None:
    assert needs_hidden(Request()) == set()
    request = Request(input_visibility=HASHED, output_visibility=HASHED, parameters="hashed")
    assert needs_hidden(request) == {"input", "output", "parameters"}


def test_a_commitment_is_taken_for_hiding_by_nobody(register: Any, model: Model) -> None:
    """A backend that only commits may take a hashed tensor where its `supports` does."""

    @dataclass
    class Committing(register.Fake):  # type: ignore[misc,name-defined]
        commits: frozenset[str] = frozenset({"input"})

    register(Committing("commits"))
    assert route(model, Request(input_visibility=HASHED)).name == "commits"
    for role, request in (
        ("input", Request(input_visibility=Visibility.PRIVATE)),
        ("output", Request(input_visibility=HASHED, output_visibility=HASHED)),
        ("parameters", Request(parameters="hashed")),
    ):
        with pytest.raises(UnsupportedModel, match=f"commits: cannot hide {role}"):
            route(model, request)
    register(Committing("commits", reasons=("hides nothing",)))
    with pytest.raises(UnsupportedModel, match="commits: hides nothing"):
        route(model, Request(input_visibility=HASHED))


# -- the registry ---------------------------------------------------------------------------------


def _import_error() -> Any:
    raise ImportError("no module named heavy")


def _attribute_error() -> Any:
    raise AttributeError("module has no attribute 'Backend'")


class Breaks:
    def __init__(self) -> None:
        raise ZeroDivisionError("in the constructor")


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (_import_error, r"pip install 'proofml\[strange\]'"),
        (_attribute_error, "does not load: AttributeError"),
        (lambda: Breaks, "does not load: ZeroDivisionError"),
        (lambda: object, "is not a Backend of that name"),
        (lambda: 5, "does not load: TypeError"),
    ],
)
def test_a_stranger_that_does_not_load(register: Any, load: Callable[[], Any], words: str) -> None:
    register(register.Fake("good"), strange=load)
    assert backend_names() == ("good", "strange")
    with pytest.raises(BackendUnavailable, match=words):
        get_backend("strange")
    assert get_backend("good").name == "good"


def test_under_a_false_name(register: Any) -> None:
    register(strange=lambda: lambda: register.Fake("other"))
    with pytest.raises(BackendUnavailable, match="is not a Backend of that name"):
        get_backend("strange")


def test_two_packages_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(*values: str) -> None:
        found = [EntryPoint("twice", value, registry.GROUP) for value in values]
        monkeypatch.setattr(registry, "entry_points", lambda group: found)
        registry._entry_points.cache_clear()

    try:
        points("one:Backend", "one:Backend")
        assert backend_names() == ("twice",)
        points("one:Backend", "two:Backend")
        with pytest.raises(UsageError, match=r"two packages register the backend 'twice'.*two:"):
            backend_names()
    finally:
        registry._entry_points.cache_clear()


def test_built_in_ones_register_like_strangers() -> None:
    registry.get_backend.cache_clear()
    assert {"reexec", "ezkl"} <= set(backend_names())
    assert isinstance(get_backend("reexec"), Backend)


# -- proving --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": b""}, {"nonce": b"x" * 65}, {"parameters": "secret"}, {"parameters": ""}],
)
def test_wrong_requests(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected"):
        Request(**wrong)


def test_wrong_inputs(register: Any, model: Model, x: dict[str, Array], store: Store) -> None:
    register(register.Fake())
    for wrong in (
        {},
        {"y": x["x"]},
        {**x, "y": x["x"]},
        {"x": x["x"].astype("f8")},
        {"x": x["x"].T},
    ):
        with pytest.raises(UsageError, match="expected"):
            prove(model, wrong, context=Context(store))


def test_nonce_of_the_call_wins(
    register: Any, model: Model, x: dict[str, Array], store: Store, parts: Any
) -> None:
    seen: list[Request] = []

    class Noting(register.Fake):  # type: ignore[misc]
        def prove(self, model: Any, inputs: Any, request: Request, context: Any) -> Evidence:
            seen.append(request)
            statement = replace(parts.statement, nonce=request.nonce)
            return Evidence(statement, {}, parts.arrays)

    register(Noting())
    request = Request(nonce=b"one", parameters="fixed")
    proof = prove(model, x, request=request, nonce=b"two", context=Context(store))
    assert proof.statement.nonce == b"two"
    assert seen[0].nonce == b"two"
    assert prove(model, x, request=request, context=Context(store)).statement.nonce == b"one"


def test_a_proof_that_nobody_could_read(
    register: Any, model: Model, x: dict[str, Array], store: Store, parts: Any
) -> None:
    """The prover reads what it made: a broken backend fails here, not at the verifier's."""
    register(
        register.Fake(
            answer=lambda: Evidence(parts.statement, {}, parts.arrays, {"note": "a\x1b[2Jb"})
        )
    )
    with pytest.raises(BackendFailed, match=r"nobody could read: check core\.2"):
        prove(model, x, context=Context(store))


def test_prove_and_verify_in_memory(
    register: Any, model: Model, x: dict[str, Array], store: Store, parts: Any
) -> None:
    contexts: list[Context] = []

    class Noting(register.Fake):  # type: ignore[misc]
        def prove(self, model: Any, inputs: Any, request: Any, context: Context) -> Evidence:
            contexts.append(context)
            return Evidence(parts.statement, {}, parts.arrays)

        def verify(self, trial: Trial) -> Any:
            contexts.append(trial.context)
            return super().verify(trial)

    register(Noting())
    context = Context(store)
    proof = prove(model, x, signers=[parts.key], context=context)
    assert proof.backend == "fake"
    expect, policy = Expectation(nonce=b"nonce"), Policy().allow(["model:unpinned"])
    verdict = verify(proof, expect, policy, context=context)
    assert verdict
    assert verdict.signers == (parts.key.public,)
    assert contexts == [context, context]
    assert verify(proof, expect, policy)
    prove(model, x)
    assert [c.store.root for c in contexts[2:]] == [Store.default().root] * 2


def test_unavailable_at_the_verifiers(register: Any, parts: Any) -> None:
    register(fake=_import_error)
    with pytest.raises(BackendUnavailable):
        verify(parts.proof().to_bytes())
    assert issubclass(BackendUnavailable, ProofmlError)
