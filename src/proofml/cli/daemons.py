"""What `watch` and `respond` share: models, proofs, metrics, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from proofml.cli.ledger_options import open_ledger
from proofml.errors import UsageError

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationRecord
    from proofml.optimistic.agent import Agent
    from proofml.optimistic.reporting import Metrics

P = ParamSpec("P")
T = TypeVar("T")


def daemon_options(command: Callable[P, T]) -> Callable[P, T]:
    """The command takes them as keywords for `running`."""
    for option in reversed(
        (
            click.argument("proofs", type=click.Path(path_type=Path, exists=True), nargs=-1),
            click.option(
                "--model",
                "models",
                type=click.Path(path_type=Path),
                multiple=True,
                required=True,
                help="ONNX file that claims may be about; repeatable.",
            ),
            click.option(
                "--record",
                "records",
                type=click.Path(path_type=Path),
                multiple=True,
                help="Quantisation record of a float model; those in proofs are found.",
            ),
            click.option(
                "--poll",
                type=click.FloatRange(0.01),
                default=1.0,
                show_default=True,
                help="Seconds between two looks at a ledger where nothing happens.",
            ),
            click.option("--once", is_flag=True, help="Do what is due now, and end."),
            click.option("--withdraw", is_flag=True, help="Take out whatever the account gets."),
            click.option(
                "--most-cells",
                type=click.IntRange(1),
                default=1 << 30,
                show_default=True,
                help="Leave models alone whose run has more numbers, at the claim's shapes.",
            ),
            click.option(
                "--metrics", metavar="HOST:PORT", help="Serve metrics for Prometheus there."
            ),
        )
    ):
        command = option(command)
    return command


@contextmanager
def running(
    role: str, options: dict[str, Any]
) -> Iterator[tuple[dict[str, Any], Callable[[Agent], None]]]:
    """What an agent is made of, and what runs it."""
    from proofml.backend import Context
    from proofml.model import Model
    from proofml.optimistic.daemon import run, stopped_by_signals
    from proofml.optimistic.library import Library
    from proofml.optimistic.reporting import Log
    from proofml.store import Store

    log = Log()
    models = [Model.load(path) for path in options.pop("models")]
    library = Library(
        models,
        Context(Store.default()),
        [_record(path) for path in options.pop("records")],
        options.pop("proofs"),
        options.pop("most_cells"),
    )
    poll, once, withdraw = (options.pop(name) for name in ("poll", "once", "withdraw"))
    metrics = _metrics(role, options.pop("metrics"), log)
    with stopped_by_signals() as stop, open_ledger(**options) as opened:
        log.info("started", role=role, account=opened.sender, ledger=opened.identity)
        given = {
            "ledger": opened.ledger,
            "account": opened.sender,
            "library": library,
            "log": log,
            "metrics": metrics,
            "withdraw": withdraw,
        }
        yield given, lambda agent: run(agent, poll=poll, once=once, stop=stop)
        log.info("stopped")


def _record(path: Path) -> QuantisationRecord:
    from proofml.circuits.quantise.record import MAX_RECORD_BYTES, QuantisationRecord
    from proofml.fields import FieldError

    try:
        with path.open("rb") as file:
            return QuantisationRecord.from_bytes(file.read(MAX_RECORD_BYTES + 1))
    except OSError as error:
        raise UsageError(f"--record {path}: cannot be read: {error.strerror}") from error
    except FieldError as error:
        raise UsageError(f"--record {path}: {error}") from error


def _metrics(role: str, address: str | None, log: Any) -> Metrics:
    from proofml.optimistic.reporting import NoMetrics, Prometheus

    if address is None:
        return NoMetrics()
    host, _, port = address.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise UsageError(f"--metrics {address}: expected HOST:PORT")
    found = Prometheus(role)
    log.info("metrics", host=host, port=found.serve(host, int(port)))
    return found
