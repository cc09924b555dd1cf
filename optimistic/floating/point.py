"""Point at an operator of a published trace, or look at all of them; the work runs in a worker."""

from __future__ import annotations

from collections.abc import Sequence

from proofml.errors import UsageError
from proofml.optimistic.floating.bounds import Bounds
from proofml.optimistic.floating.finding import Finding
from proofml.optimistic.floating.trace import FloatTrace
from proofml.optimistic.floating.work import in_worker
from proofml.store import Store
from proofml.worker import Limits, Progress, silent


def point(
    trace: FloatTrace,
    index: int,
    bounds: Bounds,
    store: Store,
    *,
    element: tuple[int, ...] | None = None,
    port: int = 0,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Finding:
    """What an arbiter finds of one operator, at all elements of its outputs or at one.

    Args:
        trace: published in a folder.
        bounds: the claim's.
        element: index of one element of output `port`.

    Raises:
        UsageError: no such operator or element, bounds of another plan, or a trace in memory.
        VerificationError: float.0, the folder holds no trace of the plan any more.
        BackendUnavailable, WorkerFailed: as of `proofml.worker.run`.
    """
    (finding,) = survey(
        trace, bounds, store, operators=(index,), element=element, port=port, limits=limits,
        progress=progress,
    )  # fmt: skip
    return finding


def survey(
    trace: FloatTrace,
    bounds: Bounds,
    store: Store,
    *,
    operators: Sequence[int] | None = None,
    element: tuple[int, ...] | None = None,
    port: int = 0,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> tuple[Finding, ...]:
    """The findings of several operators, in order; of all of them where none are named.

    What a challenger does with a claim: the first finding that is not inside is where to point.
    """
    if trace.folder is None:
        raise UsageError("a trace in memory cannot be judged in a worker; publish it in a folder")
    with store.scratch() as folder:
        trace.plan.write(folder)
        args = {
            "trace": str(trace.folder.resolve()),
            "bounds": bounds.to_json(),
            "operators": None if operators is None else list(operators),
            "element": None if element is None else list(element),
            "port": port,
        }
        found = in_worker("check", args, folder, limits=limits, progress=progress)
    return tuple(Finding.read(value) for value in found["findings"])


def first_outside(
    trace: FloatTrace,
    bounds: Bounds,
    store: Store,
    *,
    edge: float,
    limits: Limits | None = None,
    progress: Progress = silent,
) -> Finding | None:
    """The first operator that is beyond its bound by more than the share `edge`, if there is one.

    No operator after it is looked at, since its operands may be anything.

    Args:
        trace: published in a folder; `survey` tells of errors.
    """
    if trace.folder is None:
        raise UsageError("a trace in memory cannot be judged in a worker; publish it in a folder")
    with store.scratch() as folder:
        trace.plan.write(folder)
        args = {
            "trace": str(trace.folder.resolve()),
            "bounds": bounds.to_json(),
            "edge": edge,
        }
        found = in_worker("first_fault", args, folder, limits=limits, progress=progress)
    return None if found["finding"] is None else Finding.read(found["finding"])


def first_fault(findings: Sequence[Finding]) -> Finding | None:
    """The first operator that is not inside."""
    return next((finding for finding in findings if not finding.inside), None)
