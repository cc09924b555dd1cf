"""A prover who runs EZKL himself: his own settings, weights, string and Statement, a valid proof.

`Forger` goes the honest prover's way stage by stage and lies where a hook is set, before the
Statement is hashed into the circuit: so the proof it makes is one that EZKL's verifier accepts,
with instances that carry the digest of the lying Statement, every digest in line and a signature
of his own. What refuses it must be a check that knows better.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from proofml.backend import Context, Request
from proofml.canonical import sha256
from proofml.model import Model
from proofml.proof import Blob, Proof
from proofml.statement import Statement, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest
from proofml.testing import Attacker
from proofml.zkml.ezkl import field as bn254
from proofml.zkml.ezkl.circuit import Keys, Shape, input_json, make_keys, stage
from proofml.zkml.ezkl.evidence import ProofBlob
from proofml.zkml.ezkl.instances import SCHEME
from proofml.zkml.ezkl.params import KIND
from proofml.zkml.ezkl.settings import canonical_settings
from proofml.zkml.ezkl.srs import Srs, generate
from proofml.zkml.ezkl.wrap import statement_words

#: As `PyRunArgs` takes them; the smallest circuit that the test models fit in.
RUN_ARGS: Mapping[str, Any] = {
    "input_scale": 7,
    "param_scale": 7,
    "scale_rebase_multiplier": 1,
    "logrows": 8,
    "num_inner_cols": 2,
    "decomp_base": 128,
    "decomp_legs": 4,
    "lookup_range": [-1, 1],
    "check_mode": "safe",
}

Table = dict[str, Any]


@dataclass(frozen=True)
class Doctored:
    """A settings file that nobody read strictly, as far as `make_keys` looks at it."""

    data: bytes

    @property
    def digest(self) -> str:
        return sha256(self.data)

    @property
    def logrows(self) -> int:
        return int(json.loads(self.data)["run_args"]["logrows"])

    @property
    def output_scales(self) -> list[int]:
        return list(json.loads(self.data)["model_output_scales"])


def nothing(table: Table) -> None:
    """The hook of an honest prover."""


def same_words(words: list[int]) -> list[int]:
    return words


def same_blob(blob: ProofBlob) -> ProofBlob:
    return blob


@dataclass
class Forger:
    """One dishonest proof; every hook is optional.

    Attributes:
        model: what the circuit is really made of.
        inputs: what the circuit is really given.
        request: visibilities, parameters and nonce of the circuit.
        run_args: EZKL's run arguments, over `RUN_ARGS`, outside every bound where he likes.
        doctor: changes the settings before the circuit is compiled from them.
        srs: another string than the context's development one.
        claimed: the model that the Statement names.
        ship: changes the settings and key that go into the file and into the record.
        lie: changes the Statement before it is hashed into the circuit.
        values: what the Statement says of public tensors, by role.
        words: what the circuit is given instead of the Statement's digest.
        data: changes EZKL's input file.
        after: changes instances and transcript when the proof is made.
    """

    context: Context
    model: Model
    inputs: Mapping[str, Array]
    request: Request = field(default_factory=Request)
    run_args: Mapping[str, Any] = field(default_factory=dict)
    doctor: Callable[[Table], None] = nothing
    srs: Srs | None = None
    claimed: Model | None = None
    ship: Callable[[dict[str, bytes]], None] = nothing
    lie: Callable[[Table], None] = nothing
    values: Mapping[str, Array] = field(default_factory=dict)
    words: Callable[[list[int]], list[int]] = same_words
    data: Callable[[list[list[Any]]], None] = nothing  # type: ignore[assignment]
    after: Callable[[ProofBlob], ProofBlob] = same_blob

    def prove(self) -> Proof:
        """The proof; nothing of it was checked."""
        shape = self.shape()
        settings = self.settings()
        srs = self.srs or generate(self.context.store, int(self.run("logrows")))
        keys = make_keys(shape, cast(Any, settings), srs, self.context, proving=True)
        shipped = {"settings": settings.data, "verifying-key": keys.vk.read_bytes()}
        self.ship(shipped)
        found = self._witness(shape, keys)
        tensors = self._tensors(found, settings)
        statement = self._statement(shape, shipped, srs, found, tensors)
        blob = self._prove(shape, keys, srs, statement)
        blobs = {name: Blob(body) for name, body in shipped.items()}
        blobs["proof"] = Blob(self.after(blob).pack())
        if not srs.is_ceremony:
            blobs["srs"] = Blob(path=srs.path)
        return Proof.build(statement, "ezkl", 1, blobs, tensors)

    def attacker(self) -> Attacker:
        """The proof taken apart, for lies that need no proving."""
        return Attacker.of(self.prove().to_bytes())

    def run(self, key: str) -> Any:
        return self.run_args.get(key, RUN_ARGS[key])

    def settings(self) -> Doctored:
        """What EZKL generates from his run arguments, doctored; not read strictly."""
        with self.context.store.scratch() as folder:
            (folder / "model.onnx").write_bytes(self.shape().wrapped())
            arguments = {**RUN_ARGS, **self.shape().python_visibility(), **self.run_args}
            self._stage("settings", {"run_args": arguments}, folder)
            value = json.loads(
                canonical_settings(json.loads((folder / "settings.json").read_bytes()))
            )
        self.doctor(value)
        return Doctored(canonical_settings(value))

    def shape(self) -> Shape:
        return Shape(
            self.model,
            {name: array.shape for name, array in self.inputs.items()},
            self.request.input_visibility.value,
            self.request.output_visibility.value,
            self.request.parameters,
        )

    def _stage(self, name: str, args: Mapping[str, Any], folder: Path) -> Any:
        return stage(name, args, folder, progress=self.context.progress)

    def _data(self, shape: Shape, words: Sequence[int]) -> bytes:
        value = json.loads(input_json(shape, self.inputs, words))
        self.data(value["input_data"])
        return json.dumps(value).encode("ascii")

    def _witness(self, shape: Shape, keys: Keys) -> Table:
        with self.context.store.scratch() as folder:
            (folder / "data.json").write_bytes(self._data(shape, [0] * 16))
            found: Table = self._stage("witness", {"circuit": str(keys.circuit)}, folder)
        return found

    def _tensors(self, found: Table, settings: Doctored) -> dict[str, Array]:
        """What the Statement says of every tensor: the truth, but for `values`."""
        tensors = {f"input.{i}": array for i, array in enumerate(self.inputs.values())}
        for index, spec in enumerate(self.model.outputs):
            if f"output.{index}" in self.values:
                continue
            elements = [bn254.decode(bytes.fromhex(e)) for e in found["outputs"][index]]
            shape = tuple(1 if dim is None else dim for dim in spec.shape or (len(elements),))
            scale = settings.output_scales[index]
            tensors[f"output.{index}"] = bn254.dequantise(elements, scale, spec.dtype, shape)
        return tensors | dict(self.values)

    def _statement(
        self,
        shape: Shape,
        shipped: Mapping[str, bytes],
        srs: Srs,
        found: Table,
        tensors: Mapping[str, Array],
    ) -> Statement:
        hashes = found["hashes"]
        model = self.claimed or self.model
        claim = model.claim if shape.parameters == "fixed" else model.architecture_claim
        value: Table = {
            "version": 1,
            "model": claim.to_json(),
            "inputs": [],
            "outputs": [],
            "nonce": None if self.request.nonce is None else self.request.nonce.hex(),
            "computation": {
                "kind": KIND,
                "detail": {
                    "ezkl": "23.0.5",
                    "settings_sha256": sha256(shipped["settings"]),
                    "verifying_key_sha256": sha256(shipped["verifying-key"]),
                    "srs_sha256": srs.sha256,
                    "srs_k": srs.k,
                    "parameters": shape.parameters,
                    "parameters_commitment": hashes["params"][0]
                    if shape.parameters == "hashed"
                    else None,
                },
            },
        }
        for role, specs, visibility in (
            ("input", model.inputs, self.request.input_visibility),
            ("output", model.outputs, self.request.output_visibility),
        ):
            for index, spec in enumerate(specs):
                commitments = hashes[f"{role}s"] or []
                commitment = commitments[index] if index < len(commitments) else None
                array = tensors[f"{role}.{index}"]
                value[f"{role}s"].append(_claim(spec.name, array, visibility, commitment))
        self.lie(value)
        return Statement.read(value)

    def _prove(self, shape: Shape, keys: Keys, srs: Srs, statement: Statement) -> ProofBlob:
        words = self.words(statement_words(statement.digest))
        with self.context.store.scratch() as folder:
            (folder / "data.json").write_bytes(self._data(shape, words))
            paths = {"circuit": str(keys.circuit), "pk": str(keys.pk), "srs": str(srs.path)}
            self._stage("prove", paths, folder)
            return ProofBlob.from_ezkl(json.loads((folder / "proof.json").read_bytes()))


def _claim(name: str, array: Array, visibility: Visibility, commitment: str | None) -> Table:
    claim: Table = {
        "name": name,
        "dtype": dtype_name(array),
        "shape": list(array.shape),
        "visibility": visibility.value,
    }
    if visibility is Visibility.PUBLIC:
        claim["sha256"] = tensor_digest(array)
    elif visibility is Visibility.HASHED:
        claim["commitment"] = {"scheme": SCHEME, "value": commitment}
    return claim
