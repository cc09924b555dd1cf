"""From a model to its circuit, for provers and verifiers alike, and the cache of what came out.

A circuit is a pure function of the canonical model, the shapes of the inputs, the quantisation
record (float models) and the parameters; a verifier recomputes it from its own copy of the model.
The recipe under which a result is cached names all of these and this package's version.

Compiling runs in this process: the model was checked and bounded in a worker when it was loaded,
and the importer is Python over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proofml.backend import Context, Request
from proofml.canonical import JSON
from proofml.circuits.recent import Recent
from proofml.circuits.source import CannotCompile as CannotCompile
from proofml.circuits.source import Source as IntegerSource
from proofml.circuits.source import compiling
from proofml.circuits.source import is_quantised as is_quantised
from proofml.circuits.source import obstacles as known_against
from proofml.errors import UnsupportedModel, UsageError, printable
from proofml.fields import FieldError
from proofml.model import Model
from proofml.zkml.sumcheck.about import NAME
from proofml.zkml.sumcheck.bounds import check_memory, check_parameters
from proofml.zkml.sumcheck.circuit import PUBLIC, VERSION, Circuit, read_circuit
from proofml.zkml.sumcheck.keys import commit_model
from proofml.zkml.sumcheck.layout import Visibility
from proofml.zkml.sumcheck.options import Options
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.ports import committed

_CIRCUITS: Recent[Circuit] = Recent(8)


@dataclass(frozen=True)
class Source(IntegerSource):
    """What a circuit is made of, besides parameters.

    Attributes:
        visibility: which ports are public; the others are committed.
    """

    visibility: Visibility = PUBLIC

    def recipe(self, kind: str, **more: JSON) -> dict[str, JSON]:
        """Everything on which an artifact of this kind depends."""
        return {
            "kind": f"sumcheck {kind}",
            "protocol": VERSION,
            "committed": committed(self.visibility),
            **self.origin,
            **more,
        }


def obstacles(model: Model, request: Request) -> tuple[str, ...]:
    """Why the model cannot be proven as requested; empty where nothing is known against it."""
    try:
        config = Options.read(request, quantised=is_quantised(model)).quantisation
    except (UsageError, UnsupportedModel) as error:
        return (str(error),)
    return known_against(model, config, NAME)


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
    with compiling(source.model):
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
