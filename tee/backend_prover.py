"""Proving with the trusted-hardware backend: start an enclave, run the model, take what it signs.

A proof over plain inputs starts an enclave of its own; with `--set server=SOCKET` a running one is
asked, and that alone can take sealed inputs, since they are sealed to its key.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from proofml import __version__
from proofml.backend import Context, Evidence, Request
from proofml.checks import Checks
from proofml.errors import BackendFailed, UsageError, VerificationError
from proofml.store import Store
from proofml.tee import appraisal
from proofml.tee import checks as numbers
from proofml.tee.binding import Mode
from proofml.tee.config import Configuration
from proofml.tee.enclave.evidence import parts_of
from proofml.tee.enclave.messages import Inference
from proofml.tee.evidence import Parts, Record
from proofml.tee.known_simulators import known_roots
from proofml.tee.measure import code_measurement
from proofml.tee.one_form import normalised
from proofml.tee.options import Options
from proofml.tee.platform import Source
from proofml.tee.policy import TeePolicy
from proofml.tee.quotes import choose, open_quoter
from proofml.tee.reference import Reference, ReferenceFile
from proofml.tee.registers import WITH_STATUS
from proofml.tee.verify_evidence import Claim, appraise_quote, verify_quote, verify_receipts
from proofml.tensors import Array

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.tee.session_file import SessionFile

REFERENCE_FILE = "reference-values.json"
POLICY_FILE = "policy.toml"


def setup(model: Model, request: Request, context: Context) -> dict[str, Path]:
    """Reference values of this installation's enclave, and a policy that demands them.

    Raises:
        UsageError: an option, or an installation without source.
        BackendUnavailable: hardware is asked for and not here.
    """
    options = Options.read(request)
    choice = choose(options)
    registers = {
        name: frozenset({value}) for name, value in code_measurement(choice.platform).items()
    }
    name = f"proofml {__version__}"
    reference = Reference(choice.platform, name, registers, Source.DERIVED)
    lines = [
        "# Accepts enclaves of this release of proofml, on this platform.",
        "version = 1",
        "",
        "[backends.tee]",
        f'platforms = ["{choice.platform}"]',
        f'measurements = ["{REFERENCE_FILE}"]',
    ]
    if choice.simulated:
        from proofml.tee.roots import fingerprint
        from proofml.tee.simulator.hardware import open_authority

        place = context.store if options.simulator is None else Store(options.simulator)
        root = fingerprint(open_authority(place, choice.platform).root_der)
        lines += [
            "# A software root: what it vouches for takes --allow tee-root:simulated as well.",
            f'simulated_roots = ["{root}"]',
        ]
        if choice.platform in WITH_STATUS:
            from proofml.tee.simulator.intel_collateral import EVALUATION

            lines.append(f"min_svn = {{ tcb_evaluation = {EVALUATION} }}")
    with context.store.scratch() as folder:
        files = {REFERENCE_FILE: folder / "reference", POLICY_FILE: folder / "policy"}
        files[REFERENCE_FILE].write_bytes(ReferenceFile((reference,)).to_bytes())
        files[POLICY_FILE].write_text("\n".join([*lines, ""]), "utf-8")
        recipe = {
            "backend": "tee",
            "platform": choice.platform,
            "reference": files[REFERENCE_FILE].read_text("utf-8"),
            "policy": files[POLICY_FILE].read_text("utf-8"),
        }
        return context.store.put(recipe, files, label=f"tee reference values, {choice.platform}")


def prove(
    model: Model, inputs: Mapping[str, Array] | bytes, request: Request, context: Context
) -> Evidence:
    """Prove one inference.

    Args:
        model: canonical bytes of it go into the enclave.
        inputs: name -> array, checked against the model; or one message that was sealed to the
            session of `--set server=SOCKET`.

    Raises:
        UsageError: an option; sealed inputs without a server, or for another session; a server
            that runs another model.
        UnsupportedModel: the runtime refuses the model, or it does not run on these inputs.
        BackendUnavailable: no server, no hardware where it is asked for, no onnxruntime.
        BackendFailed: the enclave ended, took too long, or made evidence that does not verify.
    """
    sealed = isinstance(inputs, bytes)
    options = Options.read(request, sealed=sealed)
    if options.server is not None:
        return _by_server(model, inputs, request, options, context)
    if isinstance(inputs, bytes):
        raise UsageError(
            "sealed inputs open in one running enclave alone; name its socket (--set server=SOCKET)"
        )
    from proofml.tee.enclave.host import Host

    quoter, choice = open_quoter(options, context.store)
    with Host.start(
        model,
        platform=choice.platform,
        quoter=quoter,
        mode=options.mode,
        algorithm=options.receipts,
        challenge=options.challenge,
        context=context,
    ) as host:
        found = host.infer(inputs, request.nonce)
        session = host.session if host.mode is Mode.SESSION else None
        config = host.config
    store = context.store if options.simulator is None else Store(options.simulator)
    return _evidence(found, config, session, store)


def _by_server(
    model: Model,
    inputs: Mapping[str, Array] | bytes,
    request: Request,
    options: Options,
    context: Context,
) -> Evidence:
    from proofml.tee.enclave.client import Client

    assert options.server is not None
    with Client(options.server) as client:
        served = Configuration.read(client.config).model
        if served != model.digest:
            raise UsageError(
                f"{options.server}: expected a server that runs {model.name} ({model.digest}), "
                f"got one that runs {served}"
            )
        context.progress("remote inference", None, None)
        found = client.infer(inputs, request.nonce, since=options.since)
        session = client.session if client.mode is Mode.SESSION else None
        return _evidence(found, client.config, session, context.store)


def _evidence(
    found: Inference, config: bytes, session: SessionFile | None, store: Store
) -> Evidence:
    """What the core puts into the file; verified here first, so that nobody is handed a dud."""
    parts = parts_of(found, config, session)
    checks = Checks(numbers.CHECKS)
    try:
        parts = replace(parts, attestation=normalised(parts.attestation))
        notes = _self_check(found, parts, store, checks)
    except VerificationError as error:
        if error.check != numbers.ROOT:
            raise BackendFailed(
                f"the enclave's evidence does not verify here: {error}", stage="self-check"
            ) from error
        # A server under a root that is its owner's business; verifiers will have to know it.
        notes = {"root": "not known here, so nothing of the evidence was checked beforehand"}
    hints = frozenset(checks.assumptions)
    return Evidence(found.statement, parts.blobs(), found.tensors, notes, hints)


def _self_check(found: Inference, parts: Parts, store: Store, checks: Checks) -> dict[str, str]:
    """As a verifier who pins nothing in its policy; what it assumes is what others will have to."""
    statement = found.statement
    record = Record.read(statement)
    model = statement.model.canonical_sha256
    assert model is not None  # the record was read: the weights are not hidden
    policy = TeePolicy()
    claim = Claim(record.mode, statement.digest, model, record.runtime)
    shown = verify_quote(parts, claim, policy.anchors(known_roots(store)), int(time.time()), checks)
    verify_receipts(parts, statement.digest, policy, checks)
    opinions = appraise_quote(shown, policy)
    objections = appraisal.record(opinions, checks)
    verified = shown.verified
    notes = {
        "platform": f"{record.platform}, {record.mode} mode",
        "root": f"{verified.root.name} ({verified.root.kind})",
    }
    if parts.session is not None:
        notes["receipt"] = f"number {parts.receipts[-1].record.counter} of the session"
    if objections:
        notes["appraisal"] = "; ".join(objections)
    return notes
