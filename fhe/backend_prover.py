"""The server's side: compile circuits, run one on sealed inputs, state what came out.

A server holds circuit, evaluation keys and ciphertexts. It learns shapes and sizes, and when it is
asked; neither inputs nor outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proofml.backend import Context, Evidence, Request
from proofml.canonical import JSON, sha256
from proofml.errors import BackendFailed, BackendUnavailable, UsageError
from proofml.fhe import evidence, files, record
from proofml.fhe.about import CIRCUIT_UNPINNED, CKKS, NONCE_UNAUTHENTICATED, UNSHARED
from proofml.fhe.engine import Engine, engine
from proofml.fhe.options import Options
from proofml.fhe.record import Record
from proofml.fhe.scheme import Circuit, Malformed
from proofml.proof import Blob
from proofml.statement import Computation, Statement
from proofml.tensors import tensor_digest

if TYPE_CHECKING:
    from proofml.model import Model

CIRCUIT_FILE, POLICY_FILE = "circuit", "policy.toml"


def setup(model: Model, request: Request, context: Context, backend: str) -> Mapping[str, Path]:
    """The circuit on the request's calibration samples, and a policy that pins it.

    Raises:
        UsageError: an option, or no calibration.
        UnsupportedModel: by operator and reason.
    """
    options = Options.read(request, backend)
    if not request.calibration:
        raise UsageError(
            f"{backend}: a circuit is compiled on calibration samples; give some (--calibration)"
        )
    recipe: dict[str, JSON] = {
        "kind": "fhe-circuit",
        "backend": backend,
        "model": model.digest,
        "libraries": dict(engine(backend).libraries()),
        "options": dict(options.compiler),
        "samples": [
            {name: tensor_digest(array) for name, array in sorted(sample.items())}
            for sample in request.calibration
        ],
    }
    found = context.store.find(recipe)
    if found is not None:
        return found
    circuit = _compile(backend, model, request, options, context)
    with context.store.scratch() as folder:
        made = {CIRCUIT_FILE: folder / "circuit", POLICY_FILE: folder / "policy"}
        made[CIRCUIT_FILE].write_bytes(circuit.data)
        made[POLICY_FILE].write_text(policy_text(backend, circuit.digest), "utf-8")
        return context.store.put(recipe, made, label=f"{backend} circuit {model.name}")


def policy_text(backend: str, circuit: str, keys: str | None = None) -> str:
    """TOML that accepts this circuit, and with `keys` inputs under these alone."""
    lines = [
        "# Accepts runs of this circuit" + (", on inputs under these keys." if keys else "."),
        "version = 1",
        "",
        f"[backends.{backend}]",
        f'circuits = ["{circuit}"]',
        *([f'keys = ["{keys}"]'] if keys else []),
    ]
    return "\n".join([*lines, ""])


def _compile(
    backend: str, model: Model, request: Request, options: Options, context: Context
) -> Circuit:
    if backend == CKKS:
        from proofml.fhe.ckks.compiler import compile_model as compile_ckks

        return compile_ckks(model, request.calibration, options.compiler, context)
    from proofml.fhe.concrete.compiler import compile_model as compile_concrete

    return compile_concrete(model, request.calibration, options.compiler, context)


def prove_sealed(
    model: Model, message: bytes, request: Request, context: Context, backend: str
) -> Evidence:
    """Run the circuit of sealed inputs on their ciphertexts.

    Raises:
        UsageError: an option, or a message that is none of `seal`, or no evaluation keys.
        BackendUnavailable: the scheme's library is missing.
        BackendFailed: the worker ended, or took too long.
    """
    options = Options.read(request, backend)
    public = engine(backend)
    try:
        sealed = files.Message.read(message)
        if sealed.scheme != backend:
            raise Malformed("sealed inputs: scheme", backend, sealed.scheme)
        circuit = public.read_circuit(sealed.circuit)
        keys = _evaluation(sealed, options)
        ciphertexts = files.split(sealed.inputs, "input ciphertexts")
        key = public.check_keys(circuit, keys)
        public.check_inputs(circuit, key, ciphertexts, sealed.shapes)
        note = _check_model(public, circuit, model, context)
        shapes = public.output_shapes(circuit, sealed.shapes, context)
        trace, made = None, None
        outputs: tuple[bytes, ...]
        if options.trace:
            from proofml.fhe import trace as traces

            made = traces.record(circuit, keys, ciphertexts, context)
            trace, outputs = made.commitment, made.outputs
        else:
            outputs = public.run(circuit, keys, ciphertexts, context)
    except Malformed as error:
        raise UsageError(f"{backend}: sealed inputs: {error}") from error
    section = files.join(outputs)
    stated = Record(
        circuit.digest,
        sealed.evaluation,
        public.parameters(circuit),
        circuit.security_bits,
        public.libraries(),
        trace,
    )
    statement = Statement(
        model=model.claim,
        inputs=record.claims(
            model.inputs, sealed.shapes, files.commitment("inputs", sealed.inputs)
        ),
        outputs=record.claims(model.outputs, shapes, files.commitment("outputs", section)),
        computation=Computation(backend, stated.to_json()),
        nonce=request.nonce,
    )
    blobs = {
        evidence.CIRCUIT: Blob(circuit.data),
        evidence.EVALUATION: Blob(keys)
        if sealed.keys is not None or options.evaluation is None
        else Blob(path=options.evaluation),
        evidence.INPUTS: Blob(sealed.inputs),
        evidence.OUTPUTS: Blob(section),
    }
    if made is not None:
        blobs[evidence.TRACE] = made.blob
    assumptions = {CIRCUIT_UNPINNED, UNSHARED}
    if request.nonce:
        assumptions.add(NONCE_UNAUTHENTICATED)
    quality = public.quality(circuit)
    return Evidence(statement, blobs, {}, {**quality.notes, **note}, frozenset(assumptions))


def _evaluation(sealed: files.Message, options: Options) -> bytes:
    if sealed.keys is not None:
        return sealed.keys
    if options.evaluation is None:
        raise UsageError(
            "these sealed inputs come without evaluation keys; give the file that their owner made "
            "with them (--set evaluation=FILE)"
        )
    path = options.evaluation
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"--set evaluation={path}: no such file")
    try:
        with path.open("rb") as file:
            data = file.read(files.MAX_EVALUATION_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--set evaluation={path}: {error.strerror}") from error
    if len(data) > files.MAX_EVALUATION_BYTES:
        raise UsageError(
            f"--set evaluation={path}: expected at most {files.MAX_EVALUATION_BYTES} bytes"
        )
    if sha256(data) != sealed.evaluation:
        raise UsageError(
            f"--set evaluation={path}: expected keys {sealed.evaluation}, got {sha256(data)}"
        )
    return data


def _check_model(
    public: Engine, circuit: Circuit, model: Model, context: Context
) -> dict[str, str]:
    """Nobody is handed a dud: as the verifier will, where this machine can."""
    try:
        public.check_circuit(circuit, model, context)
    except BackendUnavailable as error:
        if circuit.model != model.digest:
            raise UsageError(
                f"{model.name} ({model.digest}): the circuit of the sealed inputs is of another "
                f"model, {circuit.model}"
            ) from error
        return {"circuit": "not derived again from the model here: " + str(error)[:400]}
    except BackendFailed as error:
        if getattr(error, "is_machines_fault", True):
            raise
        raise UsageError(
            f"the circuit of the sealed inputs is none of this model: {error}"
        ) from error
    return {}
