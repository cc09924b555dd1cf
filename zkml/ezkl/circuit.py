"""From a model to settings and keys: the prover makes them, the verifier derives them again.

A `Shape` is all that a circuit depends on besides its run arguments: the model, the shapes of its
inputs, and who sees what. Everything made here is cached by a recipe that covers it all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from proofml.backend import Context
from proofml.canonical import JSON, sha256
from proofml.errors import BackendFailed
from proofml.model import Model
from proofml.tensors import Array
from proofml.worker import Limits, Progress, run
from proofml.zkml.ezkl import field
from proofml.zkml.ezkl.params import BOUNDS
from proofml.zkml.ezkl.settings import Settings, canonical_settings
from proofml.zkml.ezkl.srs import Srs
from proofml.zkml.ezkl.wrap import WORDS, WRAP_VERSION, wrap

STAGES = "proofml.zkml.ezkl.stages"
DEFAULT_LIMITS = Limits(memory=20 << 30, seconds=3600)


def ezkl_version() -> str | None:
    """The installed ezkl, without importing it; None where there is none."""
    try:
        return version("ezkl")
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Shape:
    """What a circuit is of: the wrapped graph and the visibilities."""

    model: Model
    input_shapes: Mapping[str, tuple[int, ...]]
    input_visibility: str
    output_visibility: str
    parameters: str

    def wrapped(self) -> bytes:
        return wrap(self.model, self.input_shapes, self.input_visibility)

    def recipe(self, kind: str) -> dict[str, JSON]:
        return {
            "kind": kind,
            "ezkl": ezkl_version(),
            "wrap": WRAP_VERSION,
            "model": self.model.digest,
            "shapes": {name: list(shape) for name, shape in self.input_shapes.items()},
            "visibility": [self.input_visibility, self.output_visibility, self.parameters],
        }

    def python_visibility(self) -> dict[str, str]:
        """As EZKL's Python API spells them; a hash is public or it would bind nothing."""
        spell = {"hashed": "hashed/public"}
        return {
            "input_visibility": spell.get(self.input_visibility, self.input_visibility),
            "output_visibility": spell.get(self.output_visibility, self.output_visibility),
            "param_visibility": spell.get(self.parameters, self.parameters),
        }


#: What a stage reports first, where that is not its own name.
_FIRST = {"poseidon": "hash", "prove": "witness", "setup": "compile"}


def stage(
    name: str,
    args: Mapping[str, Any],
    folder: Path,
    *,
    limits: Limits | None = None,
    progress: Progress,
) -> Any:
    """Run one EZKL stage in a worker; its large files stay in `folder`."""
    given = limits or Limits()
    bounded = Limits(given.memory or DEFAULT_LIMITS.memory, given.seconds or DEFAULT_LIMITS.seconds)
    return run(
        f"{STAGES}:{name}",
        args,
        folder,
        stage=_FIRST.get(name, name),
        backend="ezkl",
        limits=bounded,
        progress=progress,
    )


def python_run_args(shape: Shape, run_args: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `PyRunArgs` for canonical run arguments."""
    return {
        **{key: run_args[key] for key in BOUNDS},
        "lookup_range": list(run_args["lookup_range"]),
        "check_mode": "safe",
        **shape.python_visibility(),
    }


def derive_settings(shape: Shape, run_args: Mapping[str, Any], context: Context) -> bytes:
    """The canonical settings of a graph and its run arguments: what they must be, not may be."""
    with context.store.scratch() as folder:
        (folder / "model.onnx").write_bytes(shape.wrapped())
        arguments = {"run_args": python_run_args(shape, run_args)}
        stage("settings", arguments, folder, limits=context.limits, progress=context.progress)
        return canonical_settings(json.loads((folder / "settings.json").read_bytes()))


@dataclass(frozen=True, slots=True)
class Keys:
    """Paths in the cache; `pk` and `circuit` only where a prover asked for them."""

    vk: Path
    circuit: Path | None = None
    pk: Path | None = None


def make_keys(
    shape: Shape, settings: Settings, srs: Srs, context: Context, *, proving: bool
) -> Keys:
    """Compile and set up (or find in the cache). The verifying key is deterministic.

    Raises:
        WorkerFailed: EZKL refused, panicked, or ran out of a resource.
    """
    recipe = shape.recipe("ezkl-keys" if proving else "ezkl-vk") | {
        "settings": settings.digest,
        "srs": srs.sha256,
    }
    with context.store.lock(f"keys-{sha256(settings.data)[:16]}"):
        found = context.store.find(recipe)
        if found is None:
            with context.store.scratch() as folder:
                (folder / "model.onnx").write_bytes(shape.wrapped())
                (folder / "settings.json").write_bytes(settings.data)
                stage(
                    "setup",
                    {"srs": str(srs.path), "keep_pk": proving},
                    folder,
                    limits=context.limits,
                    progress=context.progress,
                )
                names = ("vk", "circuit", "pk") if proving else ("vk",)
                label = f"ezkl keys {shape.model.name} k={settings.logrows}"
                found = context.store.put(
                    recipe, {name: folder / name for name in names}, label=label
                )
    return Keys(found["vk"], found.get("circuit"), found.get("pk"))


def input_json(
    shape: Shape, inputs: Mapping[str, Array], words: Sequence[int] = (0,) * WORDS
) -> bytes:
    """EZKL's input file: flat lists in graph order, the Statement's words last."""
    lists: list[list[float] | list[int]] = []
    for array in inputs.values():
        flat = array.reshape(-1)
        if flat.dtype.kind in "biu":
            lists.append([int(value) for value in flat])
        else:
            lists.append([float(value) for value in flat])
    return json.dumps({"input_data": [*lists, list(words)]}).encode("ascii")


def poseidon(values: Sequence[Sequence[int]], context: Context) -> list[bytes]:
    """EZKL's Poseidon commitment of each list of signed integers; 32-byte elements."""
    with context.store.scratch() as folder:
        elements = [[field.encode(value).hex() for value in one] for one in values]
        (folder / "elements.json").write_text(json.dumps(elements))
        hashes = stage("poseidon", {}, folder, limits=context.limits, progress=context.progress)
    return [bytes.fromhex(value) for value in hashes]


def commitment_of_parameters(
    shape: Shape, inputs: Mapping[str, Array], circuit: Path, context: Context
) -> bytes:
    """EZKL's Poseidon over the model's quantised parameters, in its own order of them."""
    with context.store.scratch() as folder:
        (folder / "data.json").write_bytes(input_json(shape, inputs))
        found = stage(
            "witness",
            {"circuit": str(circuit)},
            folder,
            limits=context.limits,
            progress=context.progress,
        )
    hashes = found["hashes"]["params"]
    if not hashes or len(hashes) != 1:
        raise BackendFailed("EZKL made no commitment to the parameters", stage="witness")
    return bytes.fromhex(hashes[0])
