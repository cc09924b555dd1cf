"""What a stage function inside a worker is given: arguments, a folder, and a way to report."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """`args` is plain JSON; large data goes through files in `folder`."""

    args: Mapping[str, Any]
    folder: Path
    _channel: int
    _lock: threading.Lock

    def progress(self, stage: str, fraction: float | None = None) -> None:
        """Tell the host which stage runs, and how far it is where that is known (0..1)."""
        self.send({"event": "progress", "stage": stage, "fraction": fraction})

    def send(self, message: Mapping[str, Any]) -> None:
        line = json.dumps(message).encode("utf-8") + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[os.write(self._channel, view) :]
