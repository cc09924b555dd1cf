"""EZKL on real models: rows, seconds, memory, sizes and fidelity, as a table.

    python -m proofml.benchmarks.ezkl MODEL.onnx=INPUT.npz ... [--output TABLE.md] [--set K=V]

Each model is set up in a cache of its own, proven and verified once; the verifier derives the key
again with an empty cache, as a stranger would. The development reference string is generated
before and not counted. Peak memory is that of the largest worker, seconds are wall time.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from proofml.api import prove, verify
from proofml.backend import Context, Request, get_backend
from proofml.benchmarks.meter import Meter, machine
from proofml.cli.common import parse_pairs, read_samples, read_tensors
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.store import Store
from proofml.worker.limits import Limits

ALLOWED = ("srs:local-dev", "quantisation:prover-chosen")
HEADER = (
    "| model | parameters | rows | setup s | prove s | verify s | of it EZKL s | peak GiB "
    "| proving key MB | proof kB | max error | argmax |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Row:
    """One line of the table; seconds of wall time, bytes."""

    name: str
    parameters: int
    logrows: int
    setup: float
    prove: float
    verify: float
    halo2: float
    peak: int
    key: int
    proof: int
    max_error: str
    argmax: str

    def markdown(self) -> str:
        return (
            f"| {self.name} | {self.parameters:,} | 2^{self.logrows} | {self.setup:.1f} "
            f"| {self.prove:.1f} | {self.verify:.1f} | {self.halo2:.2f} | {self.peak / 2**30:.2f} "
            f"| {self.key / 1e6:.0f} | {self.proof / 1e3:.0f} | {self.max_error} "
            f"| {self.argmax} |\n"
        )


def measure(
    model_path: Path, input_path: Path, options: dict[str, str], calibration: Path | None
) -> Row:
    """Set up, prove and verify one model; raises what the API raises."""
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root) / "prover")
        model = Model.load(model_path, store=store)
        inputs = read_tensors(str(input_path), model)
        samples = [inputs] if calibration is None else read_samples(str(calibration), model)
        request = Request(
            calibration=samples, options={"srs": "local-dev", **options}, nonce=b"benchmark"
        )
        meter = Meter()
        context = Context(store, meter, Limits(seconds=3600))
        started = time.monotonic()
        artifacts = get_backend("ezkl").setup(model, request, context)
        generated = meter.seconds.get("generate srs", 0.0)
        set_up = time.monotonic() - started - generated
        started = time.monotonic()
        proof = prove(model, inputs, backend="ezkl", request=request, context=context)
        proven = time.monotonic() - started
        path = Path(root) / "proof.pml"
        proof.write(path)
        verifier = Meter()
        started = time.monotonic()
        verdict = verify(
            Proof.read(path),
            Expectation(model=model, inputs=inputs, nonce=b"benchmark"),
            Policy().allow(ALLOWED),
            context=Context(Store(Path(root) / "verifier"), verifier, Limits(seconds=3600)),
        ).require()
        judged = time.monotonic() - started
        guarantee = verdict.guarantee
        assert guarantee is not None  # an accepted verdict has one
        return Row(
            name=model_path.stem,
            parameters=model.parameters,
            logrows=int(proof.notes["rows"].removeprefix("2^")),
            setup=set_up,
            prove=proven,
            verify=judged,
            halo2=verifier.seconds.get("verify", 0.0),
            peak=max(meter.peak, verifier.peak),
            key=artifacts["proving-key"].stat().st_size,
            proof=path.stat().st_size,
            max_error=guarantee.notes["max error"],
            argmax=guarantee.notes["argmax"],
        )


@click.command()
@click.argument("pairs", nargs=-1, required=True, metavar="MODEL=INPUT...")
@click.option("--output", type=click.Path(path_type=Path), help="Write the table here too.")
@click.option("--calibration", type=click.Path(path_type=Path), help="Inputs to calibrate on.")
@click.option("--set", "options", multiple=True, metavar="KEY=VALUE", help="EZKL option.")
def main(
    pairs: tuple[str, ...], output: Path | None, calibration: Path | None, options: tuple[str, ...]
) -> None:
    """Measure EZKL on each MODEL with its INPUT and print a Markdown table."""
    table = HEADER
    for pair in pairs:
        model, _, inputs = pair.partition("=")
        click.echo(f"measuring {model}", err=True)
        row = measure(Path(model), Path(inputs), parse_pairs(options, "--set"), calibration)
        click.echo(row.markdown(), err=True, nl=False)
        table += row.markdown()
    text = f"{table}\nMeasured on {machine()}.\n"
    click.echo(text)
    if output is not None:
        output.write_text(text)


if __name__ == "__main__":
    main()
