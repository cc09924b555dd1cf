"""`proofml export`: your own code makes the model, this writes it as ONNX."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import operator
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from proofml.cli.common import force_option, json_option, print_json, shell
from proofml.errors import BackendUnavailable, ProofmlError, UsageError, printable

#: Packages of the extra `torch`; a missing one is no mistake in the user's code.
_OPTIONAL = ("torch", "sklearn", "skl2onnx", "hummingbird", "onnxscript")
_EXPECTED = (
    "(torch.nn.Module, example inputs) or (fitted scikit-learn estimator, number of features)"
)


@click.command("export")
@click.argument("source", metavar="MODULE:FUNCTION")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="ONNX file to write."
)
@click.option(
    "--trees",
    type=click.Choice(["auto", "onnx-ml", "tensor"]),
    help="scikit-learn: trees as gathers and comparisons, or as TreeEnsemble operators [auto].",
)
@click.option(
    "--decision",
    is_flag=True,
    help="scikit-learn: a classifier's decision, before its softmax or sigmoid.",
)
@click.option("--opset", type=int, default=17, show_default=True, help="Operator set, 13 to 18.")
@force_option
@json_option
def command(
    source: str,
    output: Path,
    trees: str | None,
    decision: bool,
    opset: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write a PyTorch module or a scikit-learn estimator as an ONNX file.

    MODULE:FUNCTION names a function of yours without arguments, `train:model` for the function
    `model` of train.py in the current folder (or `path/train.py:model`). It RUNS THAT CODE, as
    python would: nothing else can load a model that was saved as Python objects. The function
    returns a pair, either

    \b
      torch.nn.Module, example inputs       arrays [1, ...] by name or in a list
      scikit-learn estimator, n_features    fitted; the number of its columns

    The file's shapes are fixed, for one inference at a time.
    """
    from proofml.export import export_sklearn, export_torch
    from proofml.model import Model

    if output.exists() and not force:
        raise UsageError(f"{output}: exists; give another name (-o) or --force")
    if not output.parent.is_dir():
        raise UsageError(f"{output}: no such folder {output.parent}")
    # What this code prints is no result of ours.
    with contextlib.redirect_stdout(sys.stderr):
        model, second = _pair(source)
        features = _whole(second)
        if features is None:
            if trees is not None or decision:
                raise UsageError("--trees and --decision are for scikit-learn estimators")
            export_torch(model, second, output, opset=opset)
        else:
            export_sklearn(
                model,
                features,
                output,
                trees=trees or "auto",  # type: ignore[arg-type] # click.Choice has checked it
                output="decision" if decision else "probabilities",
                opset=opset,
            )
    loaded = Model.load(output)
    if as_json:
        print_json(
            {
                "model": str(output),
                "size": output.stat().st_size,
                "file_sha256": loaded.file_digest,
                "canonical_sha256": loaded.digest,
                "inputs": [asdict(spec) for spec in loaded.inputs],
                "outputs": [asdict(spec) for spec in loaded.outputs],
            }
        )
        return
    click.echo(f"{output}: {output.stat().st_size} bytes, canonical sha256 {loaded.digest}")
    for role, specs in (("input", loaded.inputs), ("output", loaded.outputs)):
        for spec in specs:
            click.echo(f"  {role:<8}{spec.name}  {spec}")
    click.echo(f"see who can prove it with:\n  {shell('proofml', 'inspect', output)}")


def _pair(source: str) -> tuple[Any, Any]:
    """Run the user's function; it must return two things."""
    name, colon, attribute = source.rpartition(":")
    if not colon or not name or not attribute.isidentifier():
        raise UsageError(
            f"{source}: expected MODULE:FUNCTION, such as train:model or path/train.py:model"
        )
    with _errors_of(source):
        module = _load(name, source)
        function = getattr(module, attribute, None)
        if not callable(function):
            known = [key for key, value in vars(module).items() if callable(value)]
            raise UsageError(
                f"{source}: expected a function {attribute!r} in {name}; it has "
                f"{', '.join(sorted(known)[:10]) or 'none'}"
            )
        result = function()
    if not isinstance(result, tuple) or len(result) != 2:
        raise UsageError(f"{source}: expected it to return {_EXPECTED}, got {_kind(result)}")
    return result


def _load(name: str, source: str) -> ModuleType:
    if not name.endswith(".py"):
        with _first_on_path(Path.cwd()):
            return importlib.import_module(name)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"{source}: no such file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As an import does: classes that are pickled or traced look their module up by name.
    sys.modules[path.stem] = module
    with _first_on_path(path.parent):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder.resolve()))


@contextlib.contextmanager
def _errors_of(source: str) -> Iterator[None]:
    """Whatever the user's code raises becomes one line that says where in it."""
    try:
        yield
    except ProofmlError:
        raise
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing in _OPTIONAL:
            raise BackendUnavailable(
                f"{source}: {error}; install it with: pip install 'proofml[torch]'"
            ) from error
        here = "; run it from the folder of that module" if source.startswith(missing) else ""
        raise UsageError(f"{source}: {error}{here}") from error
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1]
        raise UsageError(
            f"{source}: {type(error).__name__}: {printable(error)} "
            f"({Path(last.filename).name}, line {last.lineno})"
        ) from error


def _whole(value: Any) -> int | None:
    """The number, where it is one: also one of numpy's."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _kind(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return type(value).__name__
