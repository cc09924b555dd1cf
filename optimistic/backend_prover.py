"""Proving with the optimistic backend: run the model, commit its outputs, post a claim.

Unless it is asked for, the trace is left to disputes: the proof has the inputs and the quantisation
record, of which, with the model, `respond` makes it when the first move is due.

Python, NumPy and this package's own C kernels run in this process, onnxruntime in a worker. What is
posted is durable; if this process ends before it has written the proof, the claim is on the ledger
all the same, and proving the same again posts another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from proofml.backend import Context, Evidence, Request
from proofml.circuits.inference import calibrated, check_error, output_tensors
from proofml.circuits.source import Source, fixed_shapes, is_quantised
from proofml.errors import UsageError, printable
from proofml.model import Model
from proofml.optimistic import game, plain
from proofml.optimistic.about import (
    DEFINED_HERE,
    NAME,
    QUANTISATION_CHOSEN,
)
from proofml.optimistic.claim import DEFERRED, Terms
from proofml.optimistic.commit import header_of, program_root
from proofml.optimistic.compile import keep_interface, machine_of
from proofml.optimistic.interface import Interface
from proofml.optimistic.ledgers import Opened
from proofml.optimistic.options import Options
from proofml.optimistic.policy import usual_hints
from proofml.optimistic.record import CLAIM, QUANTISATION, ClaimRecord, computation
from proofml.optimistic.trace import Outcome, Trace
from proofml.proof import Blob
from proofml.statement import Statement, TensorClaim, Visibility
from proofml.tensors import Array, dtype_name, tensor_digest


def setup(model: Model, request: Request, context: Context) -> dict[str, Path]:
    """Lower the model; returns what verifiers can use: the interface, a policy that pins it.

    Raises:
        UsageError, UnsupportedModel, BackendUnavailable, BackendFailed.
    """
    config = Options.read(request, quantised=is_quantised(model)).quantisation
    samples = [model.check_inputs(sample) for sample in request.calibration]
    record = None
    if config is not None:
        if not samples:
            raise UsageError(
                f"{model.name}: setting up a float model needs inputs to calibrate on "
                "(--calibration FILE)"
            )
        record = calibrated(model, samples, config, context)
    source = Source(model, fixed_shapes(model, samples), record)
    machine = machine_of(source, context)
    interface = keep_interface(source, Interface.of(machine.graph, machine.program), context)
    policy = (
        "# Accepts claims about this program without the model; add `ledger` or a table `chain`:\n"
        "# proofml verify --policy THIS_FILE \\\n"
        f"#     --model-sha256 {model.digest}\n"
        "version = 1\n\n"
        f"[[backends.{NAME}.pinned]]\n"
        f'model = "{model.digest}"\n'
        f'interface = "{interface.digest}"\n'
        'file = "interface"\n'
    )
    with context.store.scratch() as folder:
        files = {"interface": folder / "interface", "policy.toml": folder / "policy"}
        files["interface"].write_bytes(interface.data)
        files["policy.toml"].write_text(policy, "utf-8")
        if record is not None:
            files["quantisation-record"] = folder / "record"
            files["quantisation-record"].write_bytes(record.to_bytes())
        recipe = {"kind": f"{NAME} published", **source.origin}
        label = f"{NAME} interface of {printable(model.name)}, published"
        return context.store.put(recipe, files, label=label)


def prove(
    model: Model, inputs: Mapping[str, Array], request: Request, context: Context
) -> Evidence:
    """Claim one inference on a ledger.

    Args:
        model: quantised, or float: then `request.calibration`, else the input itself, decides
            how it becomes integers.
        inputs: checked against the model.

    Raises:
        UsageError: an input without codes (NaN), an option, a bond that the account does not have.
        UnsupportedModel, BackendUnavailable;
        BackendFailed: the outputs are further from onnxruntime's than `request.max_error`.
    """
    options = Options.read(request, quantised=is_quantised(model))
    opened = options.open()  # before the work, which is for nothing without it
    with opened:
        return _prove(model, inputs, request, options, opened, context)


def _prove(
    model: Model,
    inputs: Mapping[str, Array],
    request: Request,
    options: Options,
    opened: Opened,
    context: Context,
) -> Evidence:
    record = None
    if options.quantisation is not None:
        samples: list[Mapping[str, Array]] = [*map(model.check_inputs, request.calibration)]
        record = calibrated(model, samples or [inputs], options.quantisation, context)
    source = Source(model, {name: array.shape for name, array in inputs.items()}, record)
    machine = machine_of(source, context)
    interface = keep_interface(source, Interface.of(machine.graph, machine.program), context)
    context.progress("run", None, None)
    if options.stakes.deferred:
        run: Outcome | Trace = plain.execute(source, machine, inputs, context)
    else:
        run = machine.run(machine.encode(inputs))
    outputs = _outputs(run)
    if request.max_error is not None:
        check_error(model, inputs, outputs, request.max_error, context)
    digest = None if record is None else record.digest
    statement = Statement(
        model=model.claim,
        inputs=_claims(inputs),
        outputs=_claims(outputs),
        computation=computation(program_root(machine.program), interface.classes, digest),
        nonce=request.nonce,
    )
    terms = _terms(statement, run, options)
    context.progress("post the claim", None, None)
    number = opened.ledger.post(terms, header_of(machine.program).to_bytes(), opened.sender)
    if not terms.window:  # nobody can do anything about it any more
        opened.ledger.finalise(number, opened.sender)
    blobs = {
        CLAIM: Blob(ClaimRecord(opened.identity, number, terms).to_bytes(), "application/json")
    }
    if record is not None:
        blobs[QUANTISATION] = Blob(record.to_bytes(), "application/json")
    tensors = {f"input.{i}": array for i, array in enumerate(inputs.values())}
    tensors |= {f"output.{i}": array for i, array in enumerate(outputs.values())}
    hints = usual_hints(terms, interface.requests, local=opened.local)
    if record is not None:
        hints |= {QUANTISATION_CHOSEN}
    if interface.classes["D"]:
        hints |= {DEFINED_HERE}
    longest = game.longest(terms, machine.program)
    notes = {
        "claim": f"{number}, by {opened.sender}",
        "program": terms.program.hex(),
        "trace": "made when somebody disputes" if terms.deferred else terms.trace.hex(),
        "final": f"after {terms.window} s, or at most {terms.window + longest} s if it is disputed",
    }
    if record is not None:
        notes["quantisation"] = record.digest
    return Evidence(statement, blobs, tensors, notes, hints)


def _outputs(run: Outcome | Trace) -> dict[str, Array]:
    graph = run.machine.graph
    values = {port.value: x for port, x in zip(graph.outputs, run.outputs, strict=True)}
    return output_tensors(graph, values)


def _claims(tensors: Mapping[str, Array]) -> tuple[TensorClaim, ...]:
    claims = []
    for name, array in tensors.items():
        dtype = dtype_name(array)
        assert dtype is not None  # a port has one of the Statement's dtypes
        claims.append(
            TensorClaim(name, dtype, array.shape, Visibility.PUBLIC, tensor_digest(array))
        )
    return tuple(claims)


def _terms(statement: Statement, run: Outcome | Trace, options: Options) -> Terms:
    stakes = options.stakes
    return Terms(
        statement=bytes.fromhex(statement.digest),
        program=program_root(run.program),
        inputs=run.input_roots,
        outputs=run.output_roots,
        trace=run.root if isinstance(run, Trace) else DEFERRED,
        k_log=stakes.k_log,
        bond=stakes.bond,
        challenge_bond=stakes.challenge_bond,
        burn=stakes.burn,
        window=stakes.window,
        clock=stakes.clock,
        extension=stakes.extension,
        answer=stakes.answer,
        data_fee=stakes.data_fee,
        uri=stakes.uri,
    )
