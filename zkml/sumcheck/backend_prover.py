"""Proving with the native backend: compile and commit once a model, then prove each input.

Everything runs in this process: it is Python, NumPy and this package's own C kernels.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from proofml.backend import Context, Evidence, Request
from proofml.circuits.graph import Ints
from proofml.circuits.inference import calibrated, check_error, input_codes, output_tensors
from proofml.circuits.ranges import RangeError
from proofml.circuits.recent import Recent
from proofml.circuits.source import fixed_shapes
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
from proofml.salts import read_salt, write_private, write_salt
from proofml.statement import Statement
from proofml.tensors import Array, to_npy
from proofml.zkml.sumcheck.compile import CannotCompile, Source, is_quantised, keep_circuit
from proofml.zkml.sumcheck.interface import PROOF, QUANTISATION, claims_of
from proofml.zkml.sumcheck.keyfiles import read_key, write_key
from proofml.zkml.sumcheck.keys import ProvingKey, commit_model, commit_ports, new_salt
from proofml.zkml.sumcheck.options import Options
from proofml.zkml.sumcheck.ports import NOT_HIDDEN, committed, salt_bytes, salt_numbers
from proofml.zkml.sumcheck.prover import prove_circuit
from proofml.zkml.sumcheck.record import classes_of, computation
from proofml.zkml.sumcheck.verifier import verify_proof

_KEYS: Recent[ProvingKey] = Recent(2)


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
    record = None
    if options.quantisation is not None:
        if not samples:
            raise UsageError(
                f"{model.name}: setting up a float model needs inputs to calibrate on "
                "(--calibration FILE)"
            )
        record = calibrated(model, samples, options.quantisation, context)
    fixed = fixed_shapes(model, samples)
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
        record = calibrated(model, samples or [inputs], options.quantisation, context)
    shapes = {name: array.shape for name, array in inputs.items()}
    source = Source(model, shapes, record, options.visibility)
    key = _key(source, options, context)
    context.progress("run", None, None)
    graph = key.circuit.graph
    values = list(key.executor.run(input_codes(graph, inputs)))
    outputs = output_tensors(graph, dict(enumerate(values)))
    if request.max_error is not None:
        check_error(model, inputs, outputs, request.max_error, context)
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
