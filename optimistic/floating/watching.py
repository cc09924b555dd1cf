"""A float claim as a watcher and its claimant handle it: what to accuse, and what to answer."""

from __future__ import annotations

from pathlib import Path

from proofml.errors import UsageError, VerificationError
from proofml.optimistic.claim import Terms
from proofml.optimistic.floating.accusation import Accusation
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.data import answer
from proofml.optimistic.floating.gather import Answers, Place, gather
from proofml.optimistic.floating.pointing import find_fault
from proofml.optimistic.floating.publish import folder_of
from proofml.optimistic.floating.trace import read_trace
from proofml.optimistic.library import Library


class Unknown(Exception):
    """None of the models at hand is the claim's."""


class Missing(Exception):
    """Parts of the claimed trace are nowhere to be had."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        super().__init__(f"{len(places)} pieces")
        self.places = places


def judge(
    library: Library, header: FloatHeader, terms: Terms, traces: Path, answers: Answers
) -> Accusation | None:
    """What is wrong with a claim first; None where it is true.

    Args:
        traces: folder of published traces.
        answers: what the ledger accepted for the claim.

    Raises:
        Unknown, Missing.
        BackendUnavailable, WorkerFailed: it cannot be looked at here.
    """
    plan = library.plan(header)
    if plan is None:
        raise Unknown
    store, limits = library.context.store, library.context.limits
    with store.scratch() as folder:
        published = folder_of(traces, terms.trace)
        found = gather(plan, header, terms, published, answers, folder)
        if found.missing:
            raise Missing(found.missing)
        return find_fault(found, header, terms, store, limits)


def answer_for(
    library: Library, header: FloatHeader, terms: Terms, traces: Path, place: Place
) -> tuple[bytes, tuple[bytes, ...]]:
    """The claimant's answer to a request, from his published trace.

    Raises:
        UsageError: no model of the claim is at hand, or the trace is not there any more.
    """
    plan = library.plan(header)
    if plan is None:
        raise UsageError(
            f"a float claim of program {terms.program.hex()}: expected its model (--model)"
        )
    folder = folder_of(traces, terms.trace)
    try:
        return answer(header, read_trace(plan, folder), *place)
    except VerificationError as error:
        raise UsageError(f"{folder}: the published trace is damaged: {error}") from error
