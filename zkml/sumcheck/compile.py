"""From a model to its circuit, for provers and verifiers alike, and the cache of what came out.

A circuit is a pure function of the canonical model, the shapes of the inputs, the quantisation
record (float models) and the parameters; a verifier recomputes it from its own copy of the model.
The recipe under which a result is cached names all of these and this package's version.

Compiling runs in this process: the model was checked and bounded in a worker when it was loaded,
and the importer is Python over it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from proofml import __version__
from proofml.backend import Context, Request
from proofml.canonical import JSON, sha256
from proofml.circuits import ranges
from proofml.circuits.compiled import Compiled
from proofml.circuits.ranges import RangeError
from proofml.errors import BackendFailed, ProofmlError, UnsupportedModel, UsageError, printable
from proofml.fields import FieldError
from proofml.model import Model
from proofml.runtime import runtime_version
from proofml.zkml.sumcheck.bounds import check_memory, check_parameters
from proofml.zkml.sumcheck.circuit import PUBLIC, VERSION, Circuit, read_circuit
from proofml.zkml.sumcheck.keys import commit_model
from proofml.zkml.sumcheck.layout import Visibility
from proofml.zkml.sumcheck.options import Options
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.ports import committed
from proofml.zkml.sumcheck.recent import Recent

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

#: Raised with the compiler's output for the same model: older entries are then not found.
COMPILER = 1
#: In the names of operators that read or write codes.
_CODES = ("Quantize", "QLinear", "Integer", "QGemm")
_CIRCUITS: Recent[Circuit] = Recent(8)


class CannotCompile(Exception):
    """What the compiler ended with, where it was not made to say so."""


@dataclass(frozen=True)
class Source:
    """What a circuit is made of, besides parameters.

    Attributes:
        model: what the Statement names.
        shapes: of its inputs.
        quantisation: of a float model: how it becomes integers.
        visibility: which ports are public; the others are committed.
    """

    model: Model
    shapes: Mapping[str, tuple[int, ...]]
    quantisation: QuantisationRecord | None = field(default=None, repr=False)
    visibility: Visibility = PUBLIC

    def recipe(self, kind: str, **more: JSON) -> dict[str, JSON]:
        """Everything on which an artifact of this kind depends."""
        return {
            "kind": f"sumcheck {kind}",
            "proofml": __version__,
            "compiler": COMPILER,
            "protocol": VERSION,
            "model": self.model.digest,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "quantisation": None if self.quantisation is None else self.quantisation.digest,
            "committed": committed(self.visibility),
            **more,
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

        with _compiling(self.model):
            compiled = compile_model(self.integer_model, self.shapes)
            ranges.check(compiled.graph, compiled.weights)
        return compiled


@contextmanager
def _compiling(model: Model) -> Iterator[None]:
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


def obstacles(model: Model, request: Request) -> tuple[str, ...]:
    """Why the model cannot be proven as requested; empty where nothing is known against it.

    That nothing was found is kept in the model's cache, so that the importer need not be asked
    again. Whatever is kept there, compiling refuses what it cannot take.
    """
    quantised = is_quantised(model)
    try:
        config = Options.read(request, quantised=quantised).quantisation
        recipe: dict[str, JSON] = {
            "kind": "sumcheck takes",
            "proofml": __version__,
            "compiler": COMPILER,
            "model": model.digest,
            "quantisation": None if config is None else config.to_json(),
            "onnxruntime": None if config is None else runtime_version(),
        }
        if model.store is not None and model.store.find(recipe) is not None:
            return ()
        found = _reading(model) if config is None else _quantising(model, config)
    except (UsageError, UnsupportedModel) as error:
        return (str(error),)
    if not found and model.store is not None:
        with suppress(BackendFailed, UsageError):  # asking takes no room on the disk
            model.store.put(recipe, {}, label=f"sumcheck takes {printable(model.name)}")
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
    graph = prepare(model)
    check_dtypes(graph, make_plan(graph), config.activations)
    unknown = sorted({node.op for node in graph.nodes} - set(OPERATORS))
    return tuple(f"operator {name} is not supported" for name in unknown)


def derive(source: Source, params: Params, context: Context) -> Circuit:
    """The circuit of the verifier's own model under the stated parameters; cached.

    Raises:
        VerificationError: sumcheck.3: parameters out of proportion to this circuit.
        UnsupportedModel, UsageError, RangeError, CannotCompile: see `Source.compile`.
    """
    recipe = _circuit_recipe(source, params)

    def make() -> Circuit:
        found = context.store.read(recipe)
        if found is not None:
            try:
                return read_circuit(found["circuit"])
            except (FieldError, KeyError):
                pass  # written by another version of this code under the same number
        circuit = _make_circuit(source, params, context)
        keep_circuit(source, circuit, context)
        return circuit

    return _CIRCUITS.get(context.store, recipe, make)


def keep_circuit(source: Source, circuit: Circuit, context: Context) -> None:
    """Put what was compiled from the source where `derive` finds it."""
    with context.store.scratch() as folder:
        path = write_circuit(circuit, folder)
        label = f"sumcheck circuit of {printable(source.model.name)}"
        recipe = _circuit_recipe(source, circuit.params)
        context.store.put(recipe, {"circuit": path}, label=label)


def _circuit_recipe(source: Source, params: Params) -> dict[str, JSON]:
    return source.recipe("circuit", parameters=params.to_json())


def _make_circuit(source: Source, params: Params, context: Context) -> Circuit:
    context.progress("compile", None, None)
    compiled = source.compile()
    with _compiling(source.model):
        # Before the weights' code word, whose size the parameters decide.
        layout = Circuit(compiled.graph, params, None, source.visibility).layout
        check_parameters(params, layout)
        check_memory(params, layout, context.limits)
        context.progress("commit to the weights", None, None)
        circuit = commit_model(
            compiled.graph, compiled.weights, visibility=source.visibility, params=params
        ).circuit
        assert circuit.shape.claims  # counted, so that too many of them are found here
    return circuit


def write_circuit(circuit: Circuit, folder: Path) -> Path:
    path = folder / "circuit"
    path.write_bytes(circuit.bytes)
    return path
