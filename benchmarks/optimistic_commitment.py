"""What committing an exact run costs beside running it: time, hashing, lost fusion, memory.

    python -m proofml.benchmarks.optimistic_commitment --docs docs/optimistic

Both ways run the same quantised graph by onnxruntime on one thread, in turn, in one process. A
*claim* commits inputs and outputs, and leaves the trace to a dispute; a *trace* commits what every
operator makes, on a second core while the next operators run. An *own trace* is that of the
program's executor, which needs no onnxruntime: what provers and daemons make today.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
import onnx

from proofml.benchmarks.meter import machine
from proofml.benchmarks.models import Builder
from proofml.benchmarks.optimistic_float_models import CASES, page_of_text
from proofml.benchmarks.process import call, others
from proofml.benchmarks.tables import replace_table
from proofml.circuits.quantise import QuantisationConfig, apply, calibrate
from proofml.circuits.source import Source
from proofml.model import Model
from proofml.optimistic.interface import Interface
from proofml.optimistic.runtime_trace import RuntimeMachine
from proofml.optimistic.trace import Machine
from proofml.store import Store
from proofml.tensors import Array

CHILD = "proofml.benchmarks.optimistic_commitment_child"
PAGE = "benchmarks.md"
Feeds = dict[str, Array]


@dataclass(frozen=True)
class Subject:
    """A float model, how it is quantised, and inputs by number."""

    name: str
    model: Callable[[], onnx.ModelProto | Path]
    config: QuantisationConfig
    sample: Callable[[int], Feeds]
    calibration: int


_SIDE = 320


def vgg16() -> onnx.ModelProto:
    """VGG-16 on 3 x 320 x 320 with random weights; two of its dense layers are narrower."""
    builder = Builder("vgg16", (3, _SIDE, _SIDE))
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            builder.conv(channels, 3, 1)
        builder.pool()
    return builder.dense(1024).dense(1024).dense(1000, relu=False).model()


def _pixels(seed: int) -> Feeds:
    random = np.random.default_rng(seed)
    return {"input": random.random((1, 3, _SIDE, _SIDE)).astype(np.float32)}


def _page(side: int) -> Subject:
    shape = (1, 3, side, side)
    return Subject(
        f"text detector, {side} x {side}",
        lambda: CASES["detector"].file,
        QuantisationConfig(shapes={"x": shape}),
        lambda seed: {"x": page_of_text(seed, shape)},
        2,
    )


def _line() -> Subject:
    case = CASES["classifier"]
    return Subject(
        "text classifier, 48 x 192",
        lambda: case.file,
        QuantisationConfig(shapes={"x": case.shape}, cut_softmax=True),
        lambda seed: {"x": case.input(seed)},
        8,
    )


SUBJECTS = (
    Subject(f"VGG-16, {_SIDE} x {_SIDE}", vgg16, QuantisationConfig(), _pixels, 1),
    _page(960),
    _line(),
)


def prepare(subject: Subject, folder: Path) -> dict[str, Any]:
    """Quantises, lowers, cuts into pieces, and writes what the child runs."""
    found = subject.model()
    path = found if isinstance(found, Path) else folder / "float.onnx"
    if not isinstance(found, Path):
        onnx.save(found, path)
    store = Store(folder / "store")
    model = Model.load(path, store=store)
    samples = [subject.sample(seed) for seed in range(subject.calibration)]
    quantised = Model.load(
        apply(model, calibrate(model, samples, subject.config, store)), store=store
    )
    feeds = subject.sample(1_000)
    compiled = Source(quantised, {k: a.shape for k, a in feeds.items()}).compile()
    made = Machine.of(compiled.graph, compiled.weights, compiled.names)
    runtime = RuntimeMachine.of(made, quantised, compiled)
    (folder / "model.onnx").write_bytes(quantised.canonical)
    for index, piece in enumerate(runtime.pieces):
        (folder / f"piece.{index}.onnx").write_bytes(piece.model.SerializeToString())
    (folder / "interface").write_bytes(Interface.of(made.graph, made.program).data)
    about = {"pieces": [runtime.piece_arguments(i) for i in range(len(runtime.pieces))]}
    (folder / "about.json").write_text(json.dumps(about))
    np.savez(folder / "input.npz", allow_pickle=False, **feeds)
    hashed = sum(tensor[3] for piece in about["pieces"] for tensor in piece["tensors"])
    inputs, own = made.encode(feeds), []
    for _ in range(2):
        start = time.perf_counter()
        made.run(inputs)
        own.append(time.perf_counter() - start)
    return {"operators": len(made.program.operators), "bytes": hashed, "own": min(own)}


def measure(subject: Subject, times: int) -> dict[str, Any]:
    """All figures of one model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = prepare(subject, folder)
        found["seconds"] = call(CHILD, folder, "times", times)["seconds"]
        found["peaks"] = {
            way: call(CHILD, folder, way, 2)["peak"] for way in ("plain", "claim", "trace")
        }
    return found


def _share(found: dict[str, Any], way: str, part: str) -> float:
    """Median over turns of a part's seconds over those of plain execution in the same turn."""
    pairs = zip(found["seconds"][way], found["seconds"]["plain"], strict=True)
    return float(median(mine[part] / plain["whole"] for mine, plain in pairs))


def row(name: str, found: dict[str, Any]) -> list[str]:
    plain = median(run["whole"] for run in found["seconds"]["plain"])
    peaks = found["peaks"]
    return [
        name,
        str(found["operators"]),
        f"{found['bytes'] / 2**20:.1f}",
        f"{1000 * plain:.0f}",
        f"{100 * (_share(found, 'claim', 'whole') - 1):+.1f}%",
        f"{100 * (_share(found, 'trace', 'whole') - 1):+.1f}%",
        f"{100 * (_share(found, 'trace', 'run') - 1):+.1f}%",
        f"{100 * _share(found, 'trace', 'hash'):.1f}%",
        f"{1000 * found['own']:,.0f}",
        f"{peaks['claim'] / peaks['plain']:.2f}",
        f"{peaks['trace'] / peaks['plain']:.2f}",
    ]


HEAD = [
    "model", "operators", "MiB hashed", "plain, ms", "claim", "trace", "lost fusion",
    "hashing, of one core", "own trace, ms", "memory, claim", "memory, trace",
]  # fmt: skip


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--times", default=15, show_default=True, help="Runs of each way.")
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the table.",
)
def main(times: int, docs: Path | None) -> None:
    """Commitment beside plain execution."""
    load = others()
    rows = [row(subject.name, measure(subject, times)) for subject in SUBJECTS]
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *rows]
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    text += f"\nMeasured on {machine()}, {load:.1f} other threads wanting to run before it.\n"
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text("utf-8"), "commitment", text), "utf-8")
    click.echo(text)


if __name__ == "__main__":
    main()
