"""Runs an agent until it is told to stop: step after step, with a pause where nothing is due."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from proofml.errors import BackendFailed, ProofmlError, VerificationError, printable
from proofml.optimistic.agent import Agent
from proofml.optimistic.ledger import Reorganised

#: Seconds between tries where a step fails: 1, 2, 4, 8, since clocks of disputes run.
_LONGEST_PAUSE = 8.0


def run(agent: Agent, *, poll: float, once: bool, stop: threading.Event) -> None:
    """Steps until `stop` is set; with `once` until nothing is due.

    Args:
        poll: seconds between two looks at a ledger where nothing happens.

    A history that was reorganised is read anew from its beginning.

    Raises:
        VerificationError: the ledger's own record is broken.
        ProofmlError: with `once`: the ledger cannot be reached, or takes no action of this account.
    """
    failures = 0
    while not stop.is_set():
        try:
            done = agent.step()
        except Reorganised as error:
            agent.log.warning("reorganised", error=printable(error))
            agent.metrics.count("reorganisations")
            agent.begin_again()
            stop.wait(poll)
            continue
        except VerificationError:
            raise
        except ProofmlError as error:
            if once:
                raise
            failures += 1
            pause = _LONGEST_PAUSE if failures > 3 else 2.0 ** (failures - 1)
            unreachable = isinstance(error, BackendFailed)
            what = "ledger unreachable" if unreachable else "step failed"
            agent.log.error(what, error, pause=int(pause))
            agent.metrics.count("errors")
            stop.wait(pause)
            continue
        failures = 0
        if not done:
            if once and not agent.waiting:
                return
            stop.wait(poll)


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set: the step that runs is finished, and no more begins."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
