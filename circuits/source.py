"""From a model to its integer graph, for provers and verifiers of every backend that works on one.

The graph is a pure function of the canonical model, the shapes of the inputs and, for a float
model, the quantisation record; a verifier recomputes it from its own copy of the model.

Compiling runs in this process: the model was checked and bounded in a worker when it was loaded,
and the importer is Python over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from proofml import __version__
from proofml.canonical import JSON, sha256
from proofml.circuits import ranges
from proofml.circuits.compiled import Compiled
from proofml.circuits.ranges import RangeError
from proofml.errors import BackendFailed, ProofmlError, UnsupportedModel, UsageError, printable
from proofml.model import Model
from proofml.runtime import runtime_version

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

#: Raised with the compiler's output for the same model: older entries of caches are not found.
COMPILER = 1
#: In the names of operators that read or write codes.
_CODES = ("Quantize", "QLinear", "Integer", "QGemm")


class CannotCompile(Exception):
    """What the compiler ended with, where it was not made to say so."""


@dataclass(frozen=True)
class Source:
    """What an integer graph is made of.

    Attributes:
        model: what the Statement names.
        shapes: of its inputs.
        quantisation: of a float model: how it becomes integers.
    """

    model: Model
    shapes: Mapping[str, tuple[int, ...]]
    quantisation: QuantisationRecord | None = field(default=None, repr=False)

    @property
    def origin(self) -> dict[str, JSON]:
        """Everything on which the graph depends: the common part of recipes of artifacts."""
        return {
            "proofml": __version__,
            "compiler": COMPILER,
            "model": self.model.digest,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "quantisation": None if self.quantisation is None else self.quantisation.digest,
        }

    @cached_property
    def integer_model(self) -> Model:
        """The quantised model; the same bytes wherever they are made."""
        if self.quantisation is None:
            return self.model
        from proofml.circuits.quantise import apply

        data = apply(self.model, self.quantisation)
        return replace(self.model, canonical=data, file_digest=sha256(data), shapes={})

    def compile(self) -> Compiled:
        """The graph and its weights, all ranges checked.

        Raises:
            UnsupportedModel, UsageError: naming what cannot be compiled.
            RangeError: a value can leave the range in which field and integers agree.
            CannotCompile: anything else that the compiler ended with.
        """
        from proofml.circuits.onnx import compile_model

        with compiling(self.model):
            compiled = compile_model(self.integer_model, self.shapes)
            ranges.check(compiled.graph, compiled.weights)
        return compiled


@contextmanager
def compiling(model: Model) -> Iterator[None]:
    """Whatever hostile models and shapes can raise becomes `CannotCompile`."""
    try:
        yield
    except (ProofmlError, RangeError, MemoryError, OSError):
        raise
    except Exception as error:
        what = f"{type(error).__name__}: {printable(error)}"
        raise CannotCompile(f"{printable(model.name)}: {what}") from error


def is_quantised(model: Model) -> bool:
    """Whether the model works on codes already."""
    return any(word in name for name in model.operators for word in _CODES)


def obstacles(model: Model, config: QuantisationConfig | None, backend: str) -> tuple[str, ...]:
    """Why the model cannot become an integer graph; empty where nothing is known against it.

    That nothing was found is kept in the model's cache, so that the importer need not be asked
    again. Whatever is kept there, compiling refuses what it cannot take.

    Args:
        config: how a float model is to be quantised; None where it is quantised itself.
        backend: name, for the entry of the cache.
    """
    recipe: dict[str, JSON] = {
        "kind": f"{backend} takes",
        "proofml": __version__,
        "compiler": COMPILER,
        "model": model.digest,
        "quantisation": None if config is None else config.to_json(),
        "onnxruntime": None if config is None else runtime_version(),
    }
    if model.store is not None and model.store.find(recipe) is not None:
        return ()
    try:
        found = _reading(model) if config is None else _quantising(model, config)
    except (UsageError, UnsupportedModel) as error:
        return (str(error),)
    if not found and model.store is not None:
        with suppress(BackendFailed, UsageError):  # asking takes no room on the disk
            model.store.put(recipe, {}, label=f"{backend} takes {printable(model.name)}")
    return found


def _reading(model: Model) -> tuple[str, ...]:
    """What the importer has no reading of."""
    from proofml.circuits import onnx

    return onnx.obstacles(model)


def _quantising(model: Model, config: QuantisationConfig) -> tuple[str, ...]:
    """What stops a float model from being quantised here."""
    from proofml.circuits.onnx.compiler import OPERATORS
    from proofml.circuits.quantise.plan import check_dtypes, make_plan
    from proofml.circuits.quantise.prepare import prepare

    if runtime_version() is None:
        return (
            "the model is not quantised, and quantising it here needs onnxruntime; quantise it "
            "first (proofml quantise), or pip install 'proofml[reexec]'",
        )
    graph = prepare(model, config)
    check_dtypes(graph, make_plan(graph), config.activations)
    unknown = sorted({node.op for node in graph.nodes} - set(OPERATORS))
    return tuple(f"operator {name} is not supported" for name in unknown)


def fixed_shapes(
    model: Model, samples: Sequence[Mapping[str, object]]
) -> dict[str, tuple[int, ...]]:
    """Shapes of all inputs: those of the first sample, else the declared ones.

    Raises:
        UsageError: an input has open dimensions, and there is no sample.
    """
    shapes: dict[str, tuple[int | None, ...] | None] = {s.name: s.shape for s in model.inputs}
    if samples:
        shapes = {name: getattr(array, "shape", None) for name, array in samples[0].items()}
    fixed: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        known = () if shape is None else tuple(n for n in shape if n is not None)
        if shape is None or len(known) != len(shape):
            raise UsageError(
                f"{model.name}: input {name!r} has open dimensions, and a circuit has none; give "
                "an input of the shape to prove (--calibration FILE)"
            )
        fixed[name] = known
    return fixed
