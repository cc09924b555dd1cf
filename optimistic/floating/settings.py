"""How a float model is run: what may differ between honest machines, and so their traces."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from proofml.canonical import JSON
from proofml.errors import UsageError

LEVELS = ("none", "basic", "extended", "all")


@dataclass(frozen=True, slots=True)
class Settings:
    """onnxruntime on the CPU.

    Attributes:
        threads: of one operator; with `parallel`, of operators side by side as well.
        optimization: of the graph: none, basic, extended or all.
        parallel: whether operators that do not wait for each other run at once.
        prepacking: whether weights are laid out for the matrix product beforehand.
    """

    threads: int = 1
    optimization: str = "all"
    parallel: bool = False
    prepacking: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 1024:
            raise UsageError(f"threads: expected 1 to 1024, got {self.threads}")
        if self.optimization not in LEVELS:
            raise UsageError(
                f"optimization: expected one of {', '.join(LEVELS)}, got {self.optimization!r}"
            )

    def to_json(self) -> dict[str, JSON]:
        return asdict(self)
