"""Chooses a backend: the named one, or the cheapest that meets the requirement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proofml.backend import Backend, Request, backend_names, get_backend
from proofml.errors import BackendUnavailable, UnsupportedModel
from proofml.guarantee import Integrity
from proofml.statement import Visibility

if TYPE_CHECKING:
    from proofml.model import Model


def needs_hidden(request: Request) -> frozenset[str]:
    """Subjects that the request wants kept out of the file."""
    hidden = set()
    if request.input_visibility is not Visibility.PUBLIC:
        hidden.add("input")
    if request.output_visibility is not Visibility.PUBLIC:
        hidden.add("output")
    if request.parameters != "fixed":
        hidden.add("parameters")
    return frozenset(hidden)


def unmet(backend: Backend, request: Request) -> frozenset[str]:
    """Subjects that the backend keeps out of the file in no way.

    One that `commits` to a tensor without hiding it may take a hashed one; whether it does is for
    its `supports` to say, so that nobody takes a commitment for hiding.
    """
    hashed = {
        subject
        for subject, visibility in (
            ("input", request.input_visibility),
            ("output", request.output_visibility),
        )
        if visibility is Visibility.HASHED
    }
    commits: frozenset[str] = getattr(backend, "commits", frozenset())
    return needs_hidden(request) - backend.hides - (commits & hashed)


def route(
    model: Model,
    request: Request,
    *,
    name: str | None = None,
    integrity: frozenset[Integrity] | None = None,
) -> Backend:
    """The backend that shall prove. The cheapest is asked first, and the first that can is taken.

    Raises:
        BackendUnavailable: the named one cannot run here.
        UnsupportedModel: the named one cannot take the model, or none can.
    """
    names = backend_names() if name is None else (name,)
    obstacles: list[str] = []
    candidates: list[Backend] = []
    for candidate in names:
        try:
            candidates.append(get_backend(candidate))
        except BackendUnavailable as error:
            if name is not None:
                raise
            obstacles.append(str(error))
    unavailable = len(obstacles)
    for backend in sorted(candidates, key=lambda backend: (backend.cost, backend.name)):
        probe = backend.probe()
        if not probe.available:
            obstacles.append(f"{backend.name}: {probe.detail}")
            unavailable += 1
            continue
        if name is None and getattr(backend, "sealed_only", False):
            obstacles.append(f"{backend.name}: proves over sealed inputs only")
            continue
        missing = unmet(backend, request)
        if missing:
            obstacles.append(f"{backend.name}: cannot hide {', '.join(sorted(missing))}")
            continue
        if integrity is not None and not backend.integrity & integrity:
            obstacles.append(f"{backend.name}: integrity is {', '.join(sorted(backend.integrity))}")
            continue
        support = backend.supports(model, request)
        if support.supported:
            return backend
        obstacles.append(f"{backend.name}: {'; '.join(support.reasons)}")
    if unavailable == len(names):
        raise BackendUnavailable("; ".join(obstacles))
    raise UnsupportedModel(
        f"{model.name}: no backend asked for can prove it: {'; '.join(obstacles)}; `proofml "
        "inspect` shows which of them take a model"
    )
