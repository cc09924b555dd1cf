"""Proving with the native backend: compile and commit once a model, then prove each input.

Everything runs in this process: it is Python, NumPy and this package's own C kernels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proofml import __version__
from proofml.backend import Context, Evidence, Request
from proofml.canonical import JSON
from proofml.circuits.codec import decode_output, encode_input
from proofml.circuits.graph import Ints
from proofml.circuits.ranges import RangeError
from proofml.errors import (
    BackendFailed,
    ProofmlError,
    UnsupportedModel,
    UsageError,
    VerificationError,
    printable,
)
from proofml.fields import FieldError
from proofml.model import Model
from proofml.proof import Blob
from proofml.runtime import RUN_LIMITS, run_model
from proofml.salts import read_salt, write_private, write_salt
from proofml.statement import Statement
from proofml.tensors import Array, tensor_digest, to_npy
from proofml.zkml.sumcheck.compile import CannotCompile, Source, is_quantised, keep_circuit
from proofml.zkml.sumcheck.interface import PROOF, QUANTISATION, claims_of
from proofml.zkml.sumcheck.keyfiles import read_key, write_key
from proofml.zkml.sumcheck.keys import ProvingKey, commit_model, commit_ports, new_salt
from proofml.zkml.sumcheck.options import Options
from proofml.zkml.sumcheck.ports import NOT_HIDDEN, committed, salt_bytes, salt_numbers
from proofml.zkml.sumcheck.prover import prove_circuit
from proofml.zkml.sumcheck.recent import Recent
from proofml.zkml.sumcheck.record import classes_of, computation
from proofml.zkml.sumcheck.verifier import verify_proof

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig, QuantisationRecord

_KEYS: Recent[ProvingKey] = Recent(2)
_RECORDS: Recent[QuantisationRecord] = Recent(8)


def setup(model: Model, request: Request, context: Context) -> dict[str, Path]:
    """Compile and commit; returns what verifiers can use: the verifying key, a policy that pins it.

    Args:
        model: quantised, or float with inputs to calibrate on in `request.calibration`.
        request: shapes come from its calibration inputs where the model leaves them open.
        context: the key goes to its store.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, BackendFailed.
    """
    options = _options(model, request)
    samples = [model.check_inputs(sample) for sample in request.calibration]
    shapes = {spec.name: spec.shape for spec in model.inputs}
    if samples:
        shapes = {name: array.shape for name, array in samples[0].items()}
    record = None
    if options.quantisation is not None:
        if not samples:
            raise UsageError(
                f"{model.name}: setting up a float model needs inputs to calibrate on "
                "(--calibration FILE)"
            )
        record = _calibrated(model, samples, options.quantisation, context)
    fixed: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        known = () if shape is None else tuple(n for n in shape if n is not None)
        if shape is None or len(known) != len(shape):
            raise UsageError(
                f"{model.name}: input {name!r} has open dimensions, and a circuit has none; give "
                "an input of the shape to prove (--calibration FILE)"
            )
        fixed[name] = known
    source = Source(model, fixed, record, options.visibility)
    key = _key(source, options, context)
    return _published(source, key, context)


def _published(source: Source, key: ProvingKey, context: Context) -> dict[str, Path]:
    circuit, record = key.circuit, source.quantisation
    policy = (
        "# Accepts proofs of this circuit without the model: proofml verify --policy THIS_FILE \\\n"
        f"#     --model-sha256 {source.model.digest}\n"
        "version = 1\n\n"
        "[[backends.sumcheck.pinned]]\n"
        f'model = "{source.model.digest}"\n'
        f'circuit = "{circuit.digest}"\n'
        'key = "verifying-key"\n'
    )
    with context.store.scratch() as folder:
        files = {"verifying-key": folder / "key", "policy.toml": folder / "policy"}
        files["verifying-key"].write_bytes(circuit.bytes)
        files["policy.toml"].write_text(policy, "utf-8")
        if record is not None:
            files["quantisation-record"] = folder / "record"
            files["quantisation-record"].write_bytes(record.to_bytes())
        recipe = source.recipe("published", circuit=circuit.digest)
        label = f"sumcheck verifying key of {printable(source.model.name)}"
        return context.store.put(recipe, files, label=label)


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    """Prove one inference; a model with a free first dimension takes a batch of any size.

    Args:
        model: quantised, or float: then `request.calibration`, else the input itself, decides
            how it becomes integers.
        inputs: checked against the model.

    Raises:
        UsageError: an input without codes (NaN), an option, a salt that cannot be kept.
        UnsupportedModel, BackendUnavailable;
        BackendFailed: the outputs are further from onnxruntime's than `request.max_error`.
    """
    options = _options(model, request)
    roles = committed(options.visibility)
    if roles and options.salt_file is None:
        raise UsageError(
            f"committing to the {roles} takes --set salt-file=PATH: a salt is written there (or "
            "read, where the file exists), and without it nobody can show what was committed"
        )
    record = None
    if options.quantisation is not None:
        samples: list[Mapping[str, Array]] = [*map(model.check_inputs, request.calibration)]
        record = _calibrated(model, samples or [inputs], options.quantisation, context)
    shapes = {name: array.shape for name, array in inputs.items()}
    source = Source(model, shapes, record, options.visibility)
    key = _key(source, options, context)
    context.progress("run", None, None)
    values, outputs = _run(key, inputs)
    if request.max_error is not None:
        _check_error(model, inputs, outputs, request.max_error, context)
    circuit, shown = key.circuit, options.visibility
    ports = root = None
    if options.salt_file is not None:
        salt = _salt(options.salt_file, context)
        ports = commit_ports(circuit, dict(enumerate(values)), salt=salt_numbers(salt))
        root = ports.nodes[1].tobytes()
    if options.output_file is not None:
        _write_outputs(options.output_file, outputs)
    statement = Statement(
        model=model.claim,
        inputs=claims_of(inputs, None if shown.inputs else root),
        outputs=claims_of(outputs, None if shown.outputs else root),
        computation=computation(circuit, None if record is None else record.digest),
        nonce=request.nonce,
    )
    digest = bytes.fromhex(statement.digest)
    proof = prove_circuit(
        key, values, digest, ports=ports, stage=lambda name: context.progress(name, None, None)
    )
    if options.self_check:
        _check_own(key, digest, values, proof, root, context)
    blobs = {PROOF: Blob(proof)}
    hints = set()
    if record is not None:
        blobs[QUANTISATION] = Blob(record.to_bytes(), "application/json")
        hints.add("quantisation:prover-chosen")
    classes = classes_of(circuit.graph)
    if classes["D"]:
        hints.add("semantics:defined-here")
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    notes = {
        "circuit": circuit.digest,
        "nodes": ", ".join(f"{count} {name}" for name, count in classes.items()),
        "proof": f"{len(proof)} bytes, about {circuit.report.bits} bits",
    }
    if record is not None:
        notes["quantisation"] = record.digest
    if roles:
        notes["committed"] = f"{roles}; the proof does not hide them"
        hints.add(NOT_HIDDEN)
    return Evidence(statement, blobs, tensors, notes, frozenset(hints))


def _options(model: Model, request: Request) -> Options:
    return Options.read(request, quantised=is_quantised(model))


def _salt(path: Path, context: Context) -> bytes:
    """The salt in a file; a new one, where there is no file."""
    if path.exists():
        context.progress(f"read the salt from {path}", None, None)
        return read_salt(path)
    context.progress(f"write the salt to {path}: keep it", None, None)
    salt = salt_bytes(new_salt())
    write_salt(path, salt)
    return salt


def _write_outputs(path: Path, outputs: Mapping[str, Array]) -> None:
    """What the proof does not show: as secret as the salt."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:  # `np.savez` has names of its own
        for name, array in outputs.items():
            archive.writestr(f"{name}.npy", to_npy(array))
    write_private(path, out.getvalue())


def _calibrated(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    config: QuantisationConfig,
    context: Context,
) -> QuantisationRecord:
    """The record of these samples; onnxruntime runs only where the cache has none."""
    from proofml.circuits.quantise import QuantisationRecord

    recipe: dict[str, JSON] = {
        "kind": "quantisation record",
        "proofml": __version__,
        "model": model.digest,
        "config": config.to_json(),
        "samples": [[tensor_digest(array) for array in sample.values()] for sample in samples],
    }

    def make() -> QuantisationRecord:
        found = context.store.read(recipe)
        if found is not None:
            try:
                return QuantisationRecord.from_bytes(found["record"])
            except (FieldError, KeyError):
                pass  # written by another version of this code under the same number
        from proofml.circuits.quantise import calibrate

        limits = context.limits.or_else(RUN_LIMITS)
        record = calibrate(
            model, samples, config, context.store, limits=limits, progress=context.progress
        )
        with context.store.scratch() as folder:
            (folder / "record").write_bytes(record.to_bytes())
            label = f"quantisation record of {printable(model.name)}"
            context.store.put(recipe, {"record": folder / "record"}, label=label)
        return record

    return _RECORDS.get(context.store, recipe, make)


def _key(source: Source, options: Options, context: Context) -> ProvingKey:
    """The proving key, from memory, from the cache, or made."""
    recipe = source.recipe("proving key", bits=options.bits)

    def find() -> ProvingKey | None:
        found = context.store.find(recipe)
        if found is None:
            return None
        try:
            return read_key(found)
        except (FieldError, KeyError, ValueError):
            return None  # written by another version of this code under the same number

    def make() -> ProvingKey:
        key = find()
        if key is not None:
            return key
        with context.store.lock(f"sumcheck-{context.store.recipe_digest(recipe)[:16]}"):
            key = find()
            if key is None:
                key = _make_key(source, options.bits, context)
                with context.store.scratch() as folder:
                    label = f"sumcheck proving key of {printable(source.model.name)}"
                    context.store.put(recipe, write_key(key, folder), label=label)
                # Who verifies on this machine need not compile it again.
                keep_circuit(source, key.circuit, context)
        return key

    return _KEYS.get(context.store, recipe, make)


def _make_key(source: Source, bits: int, context: Context) -> ProvingKey:
    name = printable(source.model.name)
    context.progress("compile", None, None)
    try:
        compiled = source.compile()
        context.progress("commit to the weights", None, None)
        key = commit_model(
            compiled.graph, compiled.weights, visibility=source.visibility, bits=bits
        )
        reached = key.circuit.report.bits
    except (ProofmlError, MemoryError):
        raise
    except RangeError as error:
        raise UnsupportedModel(
            f"{name}: {error}; a value can leave the range in which the proof means something: "
            "use fewer or smaller weights in one sum"
        ) from error
    except CannotCompile as error:
        raise UnsupportedModel(f"{error}; this model is outside what can be compiled") from error
    except ValueError as error:
        raise UnsupportedModel(f"{name}: {printable(error)}") from error
    if reached < bits:
        raise UnsupportedModel(
            f"{name}: {reached} bits of soundness is all that a circuit of this size reaches, "
            f"{bits} were asked for; use --set bits={reached} or a smaller batch"
        )
    return key


def _run(key: ProvingKey, inputs: Mapping[str, Array]) -> tuple[list[Ints], dict[str, Array]]:
    """All values of the graph, and the outputs as the model's user knows them."""
    graph = key.circuit.graph
    try:
        codes = {port.value: encode_input(port, inputs[port.name]) for port in graph.inputs}
    except ValueError as error:
        raise UsageError(f"{error}; a proof is about codes") from error
    values = list(key.executor.run(codes))
    try:
        outputs = {port.name: decode_output(port, values[port.value]) for port in graph.outputs}
    except ValueError as error:
        raise BackendFailed(
            f"{error}: the circuit made what no output can be", stage="run"
        ) from error
    return values, outputs


def _check_error(
    model: Model,
    inputs: Mapping[str, Array],
    outputs: Mapping[str, Array],
    most: float,
    context: Context,
) -> None:
    """The distance from what onnxruntime makes of the model that the user gave."""
    limits = context.limits.or_else(RUN_LIMITS)
    reference = run_model(model, inputs, context.store, limits=limits, progress=context.progress)
    for name, array in outputs.items():
        with np.errstate(all="ignore"):
            gap = np.abs(array.astype(np.float64) - reference[name].astype(np.float64))
        worst = float(gap.max(initial=0.0))
        if not worst <= most:
            raise BackendFailed(
                f"output {name!r} differs from onnxruntime's by {worst:g}, --max-error is {most:g};"
                " calibrate on inputs like it (--calibration FILE), or prove a model that is "
                "quantised already",
                stage="run",
            )


def _check_own(
    key: ProvingKey,
    statement: bytes,
    values: list[Ints],
    proof: bytes,
    root: bytes | None,
    context: Context,
) -> None:
    context.progress("self-check", None, None)
    graph, shown = key.circuit.graph, key.circuit.visibility
    ports = [*(graph.inputs if shown.inputs else ()), *(graph.outputs if shown.outputs else ())]
    public = {port.value: values[port.value] for port in ports}
    try:
        verify_proof(key.circuit, statement, public, proof, ports_root=root)
    except VerificationError as error:
        raise BackendFailed(
            f"made a proof that does not verify: {error}; please report it", stage="self-check"
        ) from error
