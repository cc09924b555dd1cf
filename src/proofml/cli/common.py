"""What commands share: exit codes, output, progress, reading tensors."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
import numpy as np

from proofml.canonical import JSON
from proofml.errors import EXIT_FAILED, EXIT_USAGE, ProofmlError, UsageError
from proofml.model import Model
from proofml.statement import Visibility
from proofml.tensors import MAX_RANK, MAX_TENSOR_BYTES, Array, dtype_name
from proofml.worker.limits import Limits, Progress, silent

EXIT_INTERRUPTED = 130
MAX_INPUT_BYTES = 1 << 30

P = ParamSpec("P")
T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
force_option = click.option("--force", is_flag=True, help="Overwrite existing files.")
progress_option = click.option(
    "--no-progress", is_flag=True, help="Print no progress on standard error."
)

memory_option = click.option(
    "--memory-limit", type=click.IntRange(64), metavar="MIB", help="Memory of a worker."
)
time_option = click.option(
    "--time-limit", type=click.FloatRange(0.1), metavar="SECONDS", help="Time of a worker."
)


def visibility_options(command: Callable[P, T]) -> Callable[P, T]:
    """The options that say who learns what from a proof."""
    for option in (
        click.option(
            "--parameters",
            type=click.Choice(["fixed", "hashed", "private"]),
            default="fixed",
            help="Who learns the weights; fixed: the model is public.",
        ),
        click.option(
            "--output-visibility",
            type=click.Choice([one.value for one in Visibility]),
            default=Visibility.PUBLIC.value,
            help="Who learns the outputs from the file.",
        ),
        click.option(
            "--input-visibility",
            type=click.Choice([one.value for one in Visibility]),
            default=Visibility.PUBLIC.value,
            help="Who learns the inputs from the file.",
        ),
    ):
        command = option(command)
    return command


def limits(memory: int | None, seconds: float | None) -> Limits:
    """What the two options above allow a worker."""
    return Limits(None if memory is None else memory << 20, seconds)


def run_guarded(command: click.Command, args: Sequence[str] | None) -> int:
    """Run a click command; every error becomes one message and an exit code, no stack trace."""
    try:
        result = command.main(args=args, prog_name="proofml", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except ProofmlError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except MemoryError:
        click.echo("error: out of memory", err=True)
        return EXIT_FAILED
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_FAILED
    return result if isinstance(result, int) else 0


def print_json(value: Mapping[str, JSON]) -> None:
    click.echo(json.dumps(value, indent=2, sort_keys=True))


def shell(*words: str | Path) -> str:
    """A command that can be pasted."""
    return shlex.join(str(word) for word in words)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """Stage, elapsed time and memory on standard error; a line a stage where it is no terminal."""
    if quiet:
        yield silent
        return
    if not sys.stderr.isatty():
        yield _plain_progress()
        return
    from rich.console import Console
    from rich.status import Status

    status = Status("", console=Console(stderr=True))
    started = time.monotonic()

    def show(stage: str, fraction: float | None, rss: int | None) -> None:
        text = f"{stage}  {time.monotonic() - started:.0f} s"
        if fraction is not None:
            text += f"  {fraction:.0%}"
        if rss is not None:
            text += f"  {rss >> 20} MiB"
        status.update(text)

    with status:
        yield show


def _plain_progress() -> Progress:
    last = [""]

    def show(stage: str, fraction: float | None, rss: int | None) -> None:
        if stage != last[0]:
            last[0] = stage
            click.echo(f"... {stage}", err=True)

    return show


def parse_pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` words to a mapping."""
    result: dict[str, str] = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key or key in result:
            raise UsageError(f"{option} {value}: expected KEY=VALUE, each key once")
        result[key] = rest
    return result


def parse_shapes(values: Sequence[str], option: str) -> dict[str, tuple[int, ...]]:
    """`NAME=1,3,48,192` words to shapes."""
    result = {}
    for name, text in parse_pairs(values, option).items():
        words = text.split(",") if text else []
        if len(words) > MAX_RANK or not all(
            word.isascii() and word.isdigit() and len(word) < 16 for word in words
        ):
            raise UsageError(
                f"{option} {name}={text}: expected numbers with commas, such as 1,3,48,192"
            )
        result[name] = tuple(int(word) for word in words)
    return result


def parse_nonce(text: str | None) -> bytes | None:
    """A nonce as hexadecimal digits."""
    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(f"--nonce {text}: expected hexadecimal digits") from error
    if not 1 <= len(nonce) <= 64:
        raise UsageError(f"--nonce: expected 1 to 64 bytes, got {len(nonce)}")
    return nonce


def read_tensors(source: str, model: Model | None, *, role: str = "input") -> dict[str, Array]:
    """Tensors from .npz, .npy, .json (name -> nested list) or `-` (any of them on stdin).

    JSON numbers take the dtype that the model declares (float32 and int64 without a model).

    Raises:
        UsageError: unreadable, too large, pickled, ragged, or of no exact dtype.
    """
    data = _read_bytes(source)
    specs = {} if model is None else {s.name: s for s in getattr(model, f"{role}s")}
    try:
        if data[:4] == b"PK\x03\x04":
            tensors = _read_npz(data)
        elif data[:6] == b"\x93NUMPY":
            array = np.load(io.BytesIO(data), allow_pickle=False)
            if len(specs) != 1:
                known = "no model is given" if model is None else f"it has {len(specs)} {role}s"
                raise UsageError(
                    f"{source}: a .npy holds one tensor without a name; expected a model with one "
                    f"{role}, {known}; use .npz or .json"
                )
            tensors = {next(iter(specs)): array}
        else:
            tensors = _read_json(data, {name: spec.dtype for name, spec in specs.items()})
    except UsageError:
        raise
    except Exception as error:  # NumPy, zipfile and tokenize raise whatever comes on a bad file
        raise UsageError(
            f"{source}: expected .npz, .npy or JSON (name -> nested list): {error}"
        ) from error
    for name, tensor in tensors.items():
        if dtype_name(tensor) is None:
            raise UsageError(f"{source}: {name!r} has dtype {tensor.dtype}, expected numbers")
    return tensors


def read_samples(source: str, model: Model) -> list[dict[str, Array]]:
    """Calibration inputs: one set of inputs, or as many as fit along the first axis.

    Raises:
        UsageError: as `read_tensors`, or the tensors are of no common multiple of the declared
            first dimension.
    """
    tensors = read_tensors(source, model)
    counts = set()
    for spec in model.inputs:
        array = tensors.get(spec.name)
        if array is None or not spec.shape or not array.ndim or spec.shape[0] in (None, 0):
            return [tensors]
        counts.add(array.shape[0] / int(spec.shape[0] or 1))
    if len(counts) != 1 or not (count := counts.pop()).is_integer() or count < 1:
        raise UsageError(f"{source}: expected the same whole number of samples of every input")
    parts = {name: np.split(array, int(count)) for name, array in tensors.items()}
    return [{name: parts[name][i] for name in parts} for i in range(int(count))]


def _read_bytes(source: str) -> bytes:
    try:
        if source == "-":
            data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
        else:
            with Path(source).open("rb") as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{source}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise UsageError(f"{source}: larger than {MAX_INPUT_BYTES} bytes")
    return data


def _read_npz(data: bytes) -> dict[str, Array]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_TENSOR_BYTES:
            raise ValueError(f"unpacks to more than {MAX_TENSOR_BYTES} bytes")
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _read_json(data: bytes, dtypes: Mapping[str, str]) -> dict[str, Array]:
    value: Any = json.loads(data.decode("utf-8"))
    if not isinstance(value, dict):
        raise UsageError(f"expected a JSON object of names, got {type(value).__name__}")
    result: dict[str, Array] = {}
    for name, nested in value.items():
        array = np.asarray(nested)
        if array.dtype.hasobject or array.dtype.kind not in "biuf":
            raise ValueError(f"{name!r} is not a rectangular list of numbers")
        dtype = np.dtype(dtypes.get(name, "float32" if array.dtype.kind == "f" else array.dtype))
        if dtype.kind in "iu" and array.dtype.kind == "f":
            raise ValueError(f"{name!r} holds fractions, the model declares {dtype}")
        if dtype.kind in "iu" and array.size:
            info = np.iinfo(dtype)
            if int(array.min()) < info.min or int(array.max()) > info.max:
                raise ValueError(f"{name!r} holds numbers outside {dtype}")
        with np.errstate(over="ignore"):
            result[name] = array.astype(dtype)
        if dtype.kind == "f" and not (np.isfinite(result[name]) == np.isfinite(array)).all():
            raise ValueError(f"{name!r} holds numbers outside {dtype}")
    return result
