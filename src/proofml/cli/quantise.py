"""`proofml quantise`: a float ONNX model becomes one of 8-bit integers, as it is then deployed."""

from __future__ import annotations

from pathlib import Path

import click

from proofml.cli.common import (
    force_option,
    json_option,
    limits,
    memory_option,
    parse_shapes,
    print_json,
    progress_bar,
    progress_option,
    read_samples,
    shell,
    time_option,
)


@click.command("quantise")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    type=click.Path(),
    multiple=True,
    required=True,
    help="Inputs as the model will see them, one or many along the first axis; repeatable.",
)
@click.option(
    "--heldout",
    type=click.Path(),
    multiple=True,
    help="Other inputs, on which to compare the two models; repeatable.",
)
@click.option(
    "--method",
    type=click.Choice(["minmax", "percentile", "mse"]),
    default="minmax",
    show_default=True,
    help="Range of each value: all that was seen, without outliers, or of least squared error.",
)
@click.option(
    "--percentile",
    type=click.FloatRange(50, 100, min_open=True),
    default=99.99,
    show_default=True,
    help="With --method percentile: share of the values within the range.",
)
@click.option("--per-channel", is_flag=True, help="One scale for each output channel of a weight.")
@click.option(
    "--activations",
    type=click.Choice(["uint8", "int8"]),
    default="uint8",
    show_default=True,
    help="Codes of the values between operators.",
)
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="NAME=1,3,48,192",
    help="Fix the shape of an input whose dimensions are open, as models need that compute "
    "with shapes.",
)
@click.option(
    "--cut-softmax",
    is_flag=True,
    help="Leave out a Softmax at the end: the output is what it reads, under that name.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="ONNX file to write."
)
@click.option(
    "--record",
    type=click.Path(path_type=Path),
    help="JSON file to write: what a verifier needs to quantise MODEL to the same bytes.",
)
@memory_option
@time_option
@force_option
@json_option
@progress_option
def command(
    model: Path,
    calibration: tuple[str, ...],
    heldout: tuple[str, ...],
    method: str,
    percentile: float,
    per_channel: bool,
    activations: str,
    shapes: tuple[str, ...],
    cut_softmax: bool,
    output: Path,
    record: Path | None,
    memory_limit: int | None,
    time_limit: float | None,
    force: bool,
    as_json: bool,
    no_progress: bool,
) -> None:
    """Quantise MODEL (a float32 ONNX file) to 8-bit integers.

    The result is an ordinary ONNX file: onnxruntime runs it with its integer kernels, and what is
    deployed is what is proven. Files of inputs are .npz, .npy or .json (name -> nested list).
    """
    from proofml.circuits.quantise import (
        QuantisationConfig,
        apply,
        calibrate,
        measure_fidelity,
    )
    from proofml.errors import UsageError, printable
    from proofml.model import Model
    from proofml.runtime import RUN_LIMITS
    from proofml.store import Store
    from proofml.worker import Limits

    targets = [output, *([record] if record else [])]
    for path in targets:
        if path.exists() and not force:
            raise UsageError(f"{path}: exists; give another name or --force")
        if not path.parent.is_dir():
            raise UsageError(f"{path}: no such folder {path.parent}")
    if len({path.resolve() for path in (model, *targets)}) <= len(targets):
        raise UsageError("expected different files for MODEL, --output and --record")
    asked = limits(memory_limit, time_limit)
    bounds = Limits(asked.memory or RUN_LIMITS.memory, asked.seconds or RUN_LIMITS.seconds)
    config = QuantisationConfig(
        method=method,
        percentile=round(percentile * 10_000),
        per_channel=per_channel,
        activations=activations,
        shapes=parse_shapes(shapes, "--shape"),
        cut_softmax=cut_softmax,
    )
    store = Store.default()
    loaded = Model.load(model)
    samples = [one for path in calibration for one in read_samples(path, loaded)]
    others = [one for path in heldout for one in read_samples(path, loaded)]
    with progress_bar(no_progress) as progress:
        found = calibrate(loaded, samples, config, store, limits=bounds, progress=progress)
        data = apply(loaded, found)
        made = Model.load(data)
        report = None
        if others:
            report = measure_fidelity(loaded, made, others, store, limits=bounds, progress=progress)
    _write(output, data)
    if record:
        _write(record, found.to_bytes())
    if as_json:
        print_json(
            {
                "model": str(output),
                "size": len(data),
                "canonical_sha256": made.digest,
                "float_canonical_sha256": loaded.digest,
                "record": None if record is None else str(record),
                "record_sha256": found.digest,
                "calibration_samples": found.samples,
                "config": found.config.to_json(),
                "outputs": [spec.name for spec in made.outputs],
                "fidelity": None if report is None else report.to_json(),
            }
        )
        return
    click.echo(f"{output}: {len(data)} bytes, canonical sha256 {made.digest}")
    click.echo(f"  from    {model}, canonical sha256 {loaded.digest}")
    click.echo(f"  record  {record or 'not written (--record)'}, sha256 {found.digest}")
    if cut_softmax:
        names = ", ".join(printable(spec.name) for spec in made.outputs)
        click.echo(f"  output  {names}: what the Softmax reads that was left out")
    if report is None:
        click.echo("  compare it with the float model on other inputs: --heldout")
    else:
        click.echo(f"  fidelity {report}")
    click.echo(f"see who can prove it with:\n  {shell('proofml', 'inspect', output)}")


def _write(target: Path, data: bytes) -> None:
    """Through a sibling, so that a reader never finds half a file."""
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    partial.replace(target)
