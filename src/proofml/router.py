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


def route(
    model: Model,
    request: Request,
    *,
    name: str | None = None,
    integrity: frozenset[Integrity] | None = None,
) -> Backend:
    """The backend that shall prove.

    Raises:
        BackendUnavailable: the named one cannot run here.
        UnsupportedModel: the named one cannot take the model, or none can.
    """
    names = backend_names() if name is None else (name,)
    obstacles: list[str] = []
    unavailable = 0
    candidates: list[Backend] = []
    for candidate in names:
        try:
            backend = get_backend(candidate)
        except BackendUnavailable as error:
            if name is not None:
                raise
            obstacles.append(str(error))
            unavailable += 1
            continue
        probe = backend.probe()
        if not probe.available:
            obstacles.append(f"{candidate}: {probe.detail}")
            unavailable += 1
            continue
        missing = needs_hidden(request) - backend.hides
        if missing:
            obstacles.append(f"{candidate}: cannot hide {', '.join(sorted(missing))}")
            continue
        if integrity is not None and not backend.integrity & integrity:
            obstacles.append(f"{candidate}: integrity is {', '.join(sorted(backend.integrity))}")
            continue
        support = backend.supports(model, request)
        if support.supported:
            candidates.append(backend)
        else:
            obstacles.append(f"{candidate}: {'; '.join(support.reasons)}")
    if candidates:
        return min(candidates, key=lambda backend: (backend.cost, backend.name))
    if unavailable == len(names):
        raise BackendUnavailable("; ".join(obstacles))
    raise UnsupportedModel(
        f"{model.name}: no backend asked for can prove it: {'; '.join(obstacles)}; `proofml "
        "inspect` shows which of them take a model"
    )
