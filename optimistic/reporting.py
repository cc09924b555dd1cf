"""What a daemon tells: one JSON object a line on standard error, and metrics for Prometheus.

Metrics need the package `prometheus-client` (extra `optimistic`); without it, and without an
address to serve them at, they are counted nowhere.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any, Final, Protocol, TextIO

from proofml.canonical import JSON
from proofml.errors import BackendUnavailable, UsageError, printable

#: Name -> (help, labels).
COUNTERS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "claims_judged": ("Claims that were executed again or given up", ("result",)),
    "actions": ("Actions that the ledger took from this account", ("kind",)),
    "refusals": ("Actions that the ledger refused", ("rule",)),
    "errors": ("Failures while attending to a claim", ()),
    "disputes_ended": ("Own disputes that ended", ("status",)),
    "proofs_unreadable": ("Files of proofs that could not be read", ()),
    "events_unreadable": ("Events that the ledger took and nobody here can read", ()),
    "reorganisations": ("Times that the ledger's history was read anew, as it had changed", ()),
}
GAUGES: Final[Mapping[str, str]] = {
    "claims_open": "Open claims that are followed",
    "claims_unjudged": "Open claims that were not executed yet, or cannot be (watch)",
    "disputes_running": "Own disputes that run",
    "ledger_events": "Number of the last event that was read",
    "ledger_time_seconds": "Time of the ledger",
    "balance": "Balance of the account, in the ledger's unit",
    "execution_seconds": "Duration of the last execution of a model",
}


class Metrics(Protocol):
    """Where numbers go."""

    def count(self, name: str, **labels: str) -> None: ...

    def set(self, name: str, value: float) -> None: ...


class NoMetrics:
    """Nowhere."""

    def count(self, name: str, **labels: str) -> None:
        assert set(labels) == set(COUNTERS[name][1])

    def set(self, name: str, value: float) -> None:
        assert name in GAUGES


class Prometheus:
    """A registry of its own, served over HTTP.

    Raises:
        BackendUnavailable: `prometheus-client` is not installed.
    """

    def __init__(self, role: str) -> None:
        try:
            import prometheus_client
        except ImportError as error:
            raise BackendUnavailable(
                f"metrics: {error}; pip install 'proofml[optimistic]', or leave out --metrics"
            ) from error
        self._client: Any = prometheus_client
        self.registry = prometheus_client.CollectorRegistry()
        prefix = f"proofml_{role}"
        self._counters = {
            name: prometheus_client.Counter(
                f"{prefix}_{name}", text, labels, registry=self.registry
            )
            for name, (text, labels) in COUNTERS.items()
        }
        self._gauges = {
            name: prometheus_client.Gauge(f"{prefix}_{name}", text, registry=self.registry)
            for name, text in GAUGES.items()
        }

    def count(self, name: str, **labels: str) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc()

    def set(self, name: str, value: float) -> None:
        self._gauges[name].set(value)

    def serve(self, address: str, port: int) -> int:
        """Answer requests in a thread; the port, also where 0 was asked for.

        Raises:
            UsageError: the address cannot be had.
        """
        try:
            server, _ = self._client.start_http_server(port, address, self.registry)
        except OSError as error:
            raise UsageError(f"--metrics {address}:{port}: {error.strerror}") from error
        return int(server.server_port)


class Log:
    """Structured lines: time, level, event, and whatever belongs to it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def info(self, event: str, **values: JSON) -> None:
        self._write("info", event, values)

    def warning(self, event: str, **values: JSON) -> None:
        self._write("warning", event, values)

    def error(self, event: str, error: BaseException, **values: JSON) -> None:
        what = f"{type(error).__name__}: {printable(error)}"
        self._write("error", event, {**values, "error": what})

    def _write(self, level: str, event: str, values: Mapping[str, JSON]) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        line = {"time": f"{stamp}.{int(now * 1000) % 1000:03d}Z", "level": level, "event": event}
        stream = self._stream or sys.stderr
        stream.write(json.dumps({**line, **values}, separators=(",", ":")) + "\n")
        stream.flush()
