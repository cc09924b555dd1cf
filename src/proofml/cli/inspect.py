"""`proofml inspect`: what a model is, what it costs, and who can prove it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proofml.cli.common import json_option, parse_shapes, print_json, visibility_options
from proofml.cli.page import bold, dim, line
from proofml.errors import printable

if TYPE_CHECKING:
    from proofml.graph.cost import Tally
    from proofml.inspect import BackendReport, Inspection

_WIDTH = 78
_INDENT = 15


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,48,192",
    help="Shape of an input whose dimensions are open, so that more can be counted.",
)
@visibility_options
@json_option
def command(
    model: Path,
    shapes: tuple[str, ...],
    input_visibility: str,
    output_visibility: str,
    parameters: str,
    as_json: bool,
) -> None:
    """Show what MODEL (an ONNX file) is, what it costs, and which backends can prove it.

    Nothing is run. The visibilities say what a proof shall hide: backends are asked for that.
    """
    from proofml.backend import Request
    from proofml.inspect import inspect
    from proofml.model import Model
    from proofml.statement import Visibility

    fixed = parse_shapes(shapes, "--shape")
    request = Request(
        input_visibility=Visibility(input_visibility),
        output_visibility=Visibility(output_visibility),
        parameters=parameters,
    )
    found = inspect(Model.load(model), request, shapes=fixed)
    if as_json:
        print_json(found.to_json())
        return
    _print(found)


def _print(found: Inspection) -> None:
    def row(key: str, value: object) -> None:
        line(f"  {key:<{_INDENT - 2}}{printable(value)}")

    line(bold(printable(found.name)))
    for role, specs in (("input", found.inputs), ("output", found.outputs)):
        for spec in specs:
            row(role, f"{spec.name}  {spec}")
    for name, dims in found.shapes.items():
        row("counted for", f"{name}  {list(dims)}")
    row("opset", _opsets(found.opsets))
    row("IR version", found.ir_version)

    line("\n" + bold("size"))
    row("parameters", _number(found.parameters))
    row("file", f"{_bytes(found.size)} in canonical form")
    row("MACs", _tally(found.macs, _number, _kinds(found.macs.unknown)))
    missing = f"{_plural(len(found.activations.unknown), 'value')} of unknown shape"
    row("activations", _tally(found.activations, _bytes, missing))
    if found.note:
        row("shapes", f"inference gave up: {found.note}")
    free = [spec.name for spec in found.inputs if _open(spec.shape)]
    if found.activations.unknown and set(free) - set(found.shapes):
        row("", "--shape NAME=... fixes an input's open dimensions")

    nodes = sum(found.operators.values())
    kinds = len(found.operators)
    line(f"\n{bold('operators')}    {_plural(nodes, 'node')} of {_plural(kinds, 'kind')}")
    for words in _columns(
        [f"{printable(name)} {count}" for name, count in found.operators.items()]
    ):
        line(f"  {words}")

    line(f"\n{bold('digests')}      SHA-256")
    row("canonical", found.digest)
    row("file", found.file_digest)
    row("architecture", found.architecture_digest)

    line("\n" + bold("backends"))
    for report in found.backends:
        _print_backend(report)


def _print_backend(report: BackendReport) -> None:
    word, colour = {
        True: ("takes it", "green"),
        False: ("does not take it", "red"),
        None: ("cannot tell", "yellow"),
    }[report.supported]
    state = "ready" if report.available else "not installed"
    if not report.available and colour == "green":
        colour = "yellow"
    line(f"  {report.name:<{_INDENT - 2}}{click.style(word, fg=colour)}, {state}")
    for reason in (*report.reasons, *(() if report.available else (report.detail,))):
        line(f"  {'':<{_INDENT - 2}}{dim(printable(reason))}")


def _open(shape: Sequence[int | None] | None) -> bool:
    return shape is None or None in shape


def _number(value: int) -> str:
    return f"{value:,}"


def _bytes(value: int) -> str:
    size = float(value)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{value} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def _tally(tally: Tally, show: Callable[[int], str], missing: str) -> str:
    if tally.total is not None:
        return show(tally.total)
    return f"{show(tally.known)} and more; {missing}" if tally.known else missing


def _kinds(labels: Sequence[str]) -> str:
    """Operators that could not be counted, the most frequent first."""
    kinds = Counter(label.partition(" -> ")[0] for label in labels)
    named = [f"{name} x{count}" if count > 1 else name for name, count in kinds.most_common(5)]
    if len(kinds) > 5:
        named.append(f"{len(kinds) - 5} kinds more")
    return f"cannot tell of {', '.join(named)}"


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _opsets(opsets: Mapping[str, int]) -> str:
    return ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in opsets.items())


def _columns(words: Sequence[str]) -> list[str]:
    """Words in as many columns of one width as fit; by rows, in their order."""
    width = max(map(len, words), default=0) + 3
    each = max(1, _WIDTH // width)
    return [
        "".join(word.ljust(width) for word in words[start : start + each]).rstrip()
        for start in range(0, len(words), each)
    ]
