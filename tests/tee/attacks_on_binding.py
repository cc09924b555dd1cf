"""Lies about what was computed: the Statement, what binds it, receipts, nonces."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from proofml.canonical import dumps
from proofml.expectation import Expectation
from proofml.statement import Statement
from proofml.tee.binding import Mode, ReceiptAlgorithm, Session, inference_data
from proofml.tee.nonces import Nonces
from proofml.tee.platform import Platform
from proofml.tee.receipt_signer import ReceiptSecret, ReceiptSigner
from proofml.testing.attacker import Attacker

from .attacks import INFERENCE, LOGGED, SESSION, Forged, attack, requoted, taken_apart, with_parts
from .workshop import OTHER_X, Enclave, Verifier, assembled, folder, model

#: Of what does not depend on the platform.
ONE = (Platform.SGX,)
#: A Statement that no receipt is over: in inference mode no quote is, in session mode no receipt.
UNBOUND = {Mode.INFERENCE: "tee.10", Mode.SESSION: "tee.13"}
#: What was measured is compared before receipts are.
UNMEASURED = {Mode.INFERENCE: "tee.10", Mode.SESSION: "tee.12"}
_FILES = count()


# -- the Statement --------------------------------------------------------------------------------


@attack(UNBOUND)
def another_nonce(platform: Platform, mode: Mode) -> Forged:
    """An old inference for a new challenge."""
    lie = taken_apart(platform, mode)
    asked = b"the verifier's own"
    lie.statement["nonce"] = asked.hex()
    return Forged(lie.forge(), Verifier(expect=Expectation(model=model(), nonce=asked)))


@attack(UNBOUND)
def no_nonce(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.statement["nonce"] = None
    return Forged(lie.forge())


@attack(UNBOUND)
def another_input(platform: Platform, mode: Mode) -> Forged:
    """The output is the one of the honest input."""
    lie = taken_apart(platform, mode)
    lie.set_value("input.0", OTHER_X["x"])
    return Forged(lie.forge(), Verifier(expect=Expectation(model=model(), inputs=OTHER_X)))


@attack(UNBOUND)
def another_output(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    wrong = np.array([[9.0, 9.0, 9.0]], np.float32)
    lie.set_value("output.0", wrong)
    return Forged(lie.forge(), Verifier(expect=Expectation(model=model(), outputs={"y": wrong})))


@attack(UNBOUND)
def another_file_of_the_model(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.statement["model"]["file_sha256"] = "00" * 32
    return Forged(lie.forge())


@attack(UNMEASURED)
def another_model(platform: Platform, mode: Mode) -> Forged:
    """A cheap model was run, a dear one is named."""
    lie = Attacker.of(Enclave.start(platform, mode, of=model(1)).proof())
    lie.statement["model"] = model().claim.to_json()
    return Forged(lie.forge())


@attack(UNMEASURED)
def another_runtime(platform: Platform, mode: Mode) -> Forged:
    lie = taken_apart(platform, mode)
    lie.statement["computation"]["detail"]["runtime"]["version"] = "0.0.1"
    return Forged(lie.forge())


# -- report data and mode -------------------------------------------------------------------------


@attack("tee.10", modes=INFERENCE)
def report_data_of_another_inference(platform: Platform, mode: Mode) -> Forged:
    """A good quote of the same enclave, over another Statement."""
    enclave = Enclave.start(platform, mode)
    elsewhere = enclave.infer(OTHER_X).attestation
    assert elsewhere is not None
    return Forged(with_parts(enclave, lambda parts: replace(parts, attestation=elsewhere)))


@attack("tee.10", modes=SESSION)
def report_data_of_another_session(platform: Platform, mode: Mode) -> Forged:
    """Quote of one session, record and receipts of another one, both honest."""
    enclave, other = Enclave.start(platform, mode), Enclave.start(platform, mode)
    assert other.session is not None
    elsewhere = other.session.attestation
    return Forged(with_parts(enclave, lambda parts: replace(parts, attestation=elsewhere)))


@attack("tee.10", modes=SESSION)
def receipt_key_of_his_own(platform: Platform, mode: Mode) -> Forged:
    """The record with his key in it, and receipts by that key over whatever he likes."""
    enclave = Enclave.start(platform, mode)
    found = enclave.infer()
    parts = enclave.parts(found)
    assert parts.session is not None
    secret = ReceiptSecret.generate(ReceiptAlgorithm.ED25519)
    session = replace(parts.session, receipt_key=secret.public)
    signed = ReceiptSigner(secret, session).receipt(found.statement.digest, int(time.time()))
    return Forged(assembled(found, replace(parts, session=session, receipts=(signed,))))


@attack("tee.10", modes=SESSION)
def sealing_key_of_his_own(platform: Platform, mode: Mode) -> Forged:
    """So that clients seal their inputs to him."""
    enclave = Enclave.start(platform, mode)
    return Forged(
        with_parts(
            enclave,
            lambda parts: replace(parts, session=_changed(parts.session, sealing_key=bytes(32))),
        )
    )


def _changed(session: Session | None, **fields: bytes) -> Session:
    assert session is not None
    return replace(session, **fields)


@attack("tee.10", modes=INFERENCE)
def session_taken_for_an_inference(platform: Platform, mode: Mode) -> Forged:
    """The quote of a session under a Statement that no receipt is over."""
    session = Enclave.start(platform, Mode.SESSION)
    assert session.session is not None
    quoted = session.session.attestation
    enclave = Enclave.start(platform, mode)
    config = session.config
    return Forged(
        with_parts(enclave, lambda parts: replace(parts, attestation=quoted, config=config))
    )


@attack("tee.9", modes=SESSION)
def inference_taken_for_a_session(platform: Platform, mode: Mode) -> Forged:
    """One quote over one Statement, shown as the start of a session with his own receipt key."""
    enclave = Enclave.start(platform, Mode.INFERENCE)
    found = enclave.infer()
    detail = {**found.statement.computation.detail, "mode": mode}
    computation = replace(found.statement.computation, detail=detail)
    lie = replace(found.statement, computation=computation)
    secret = ReceiptSecret.generate(ReceiptAlgorithm.ED25519)
    session = Session(
        receipt_algorithm=ReceiptAlgorithm.ED25519,
        receipt_key=secret.public,
        sealing_key=bytes(32),
        model=model().digest,
        config=found.statement.digest,
        challenge=None,
        started=0,
    )
    signed = ReceiptSigner(secret, session).receipt(lie.digest, int(time.time()))
    parts = replace(enclave.parts(found), session=session, receipts=(signed,))
    # The enclave's quoter signs whatever the enclave asks for; he is given the Statement's mode.
    quote = enclave.quoter.quote(inference_data(lie.digest))
    return Forged(assembled(replace(found, statement=lie), replace(parts, attestation=quote)))


@attack("tee.9", modes=INFERENCE)
def configuration_of_the_other_mode(platform: Platform, mode: Mode) -> Forged:
    """Code of his own that was configured for sessions quotes a single Statement."""
    enclave = Enclave.start(platform, Mode.SESSION)
    honest = Enclave.start(platform, mode).infer()
    quote = enclave.quoter.quote(inference_data(honest.statement.digest))
    parts = replace(enclave.parts(enclave.infer()), session=None, receipts=(), attestation=quote)
    return Forged(assembled(honest, parts))


# -- receipts -------------------------------------------------------------------------------------


@attack("tee.13", modes=SESSION)
def receipt_of_another_session(platform: Platform, mode: Mode) -> Forged:
    """Of the same model, over the same Statement."""
    enclave, other = Enclave.start(platform, mode), Enclave.start(platform, mode)
    other.infer()
    receipts = tuple(other.receipts)
    return Forged(with_parts(enclave, lambda parts: replace(parts, receipts=receipts)))


@attack("tee.13", modes=SESSION)
def receipt_of_another_inference(platform: Platform, mode: Mode) -> Forged:
    """Of the same session."""
    enclave = Enclave.start(platform, mode)
    enclave.infer(OTHER_X)
    receipts = tuple(enclave.receipts)
    return Forged(with_parts(enclave, lambda parts: replace(parts, receipts=receipts)))


@attack("tee.13", modes=SESSION)
def receipt_signed_by_himself(platform: Platform, mode: Mode) -> Forged:
    """Everything as it should be but the key."""
    enclave = Enclave.start(platform, mode)
    secret = ReceiptSecret.generate(ReceiptAlgorithm.ED25519)
    found = enclave.infer()
    parts = enclave.parts(found)
    forged = secret.sign_receipt(parts.receipts[0].record)
    return Forged(assembled(found, replace(parts, receipts=(forged,))))


@attack("tee.14", modes=SESSION)
def receipts_with_a_gap(platform: Platform, mode: Mode) -> Forged:
    """One in the middle is left out."""
    enclave = Enclave.start(platform, mode)
    enclave.infer(OTHER_X)
    enclave.infer(OTHER_X, None)
    return Forged(
        with_parts(
            enclave,
            lambda parts: replace(parts, receipts=(parts.receipts[0], *parts.receipts[2:])),
        )
    )


@attack("tee.14", modes=SESSION)
def receipts_out_of_order(platform: Platform, mode: Mode) -> Forged:
    enclave = Enclave.start(platform, mode)
    enclave.infer(OTHER_X)
    enclave.infer(OTHER_X, None)
    return Forged(
        with_parts(
            enclave,
            lambda parts: replace(
                parts, receipts=(parts.receipts[1], parts.receipts[0], parts.receipts[2])
            ),
        )
    )


@attack("tee.14", modes=SESSION)
def receipts_that_fork(platform: Platform, mode: Mode) -> Forged:
    """The session's key was stolen and signs a second chain; the verifier holds a checkpoint of
    the first one."""
    enclave = Enclave.start(platform, mode)
    enclave.infer(OTHER_X)
    held = folder() / f"checkpoint{next(_FILES)}.json"
    held.write_bytes(enclave.checkpoint())
    found = enclave.infer()
    parts = enclave.parts(found)
    assert parts.session is not None
    stolen = enclave.service._started.session.signer._secret
    second = ReceiptSigner(stolen, parts.session)
    now = int(time.time()) + 1
    forked = (second.receipt("22" * 32, now), second.receipt(found.statement.digest, now))
    victim = Verifier({"checkpoints": [held.name]})
    assert victim.judge(assembled(found, parts))
    return Forged(assembled(found, replace(parts, receipts=forked)), victim)


# -- nonces and challenges ------------------------------------------------------------------------


def store() -> tuple[Path, bytes]:
    """A verifier's own store, and a nonce that it has just issued."""
    path = Path(tempfile.mkdtemp(dir=folder())) / "nonces.sqlite"
    return path, Nonces(path).issue(int(time.time()))


@attack("tee.15")
def replayed(platform: Platform, mode: Mode) -> Forged:
    """A good proof, for the second time."""
    path, nonce = store()
    enclave = Enclave.start(platform, mode)
    data = enclave.proof(enclave.infer(nonce=nonce))
    victim = Verifier({"nonces": str(path)}, expect=Expectation(model=model(), nonce=nonce))
    assert victim.judge(data)
    return Forged(data, victim)


@attack("tee.15", modes=INFERENCE)
def replayed_in_another_file(platform: Platform, mode: Mode) -> Forged:
    """Signed by himself, with other notes: other bytes, the same nonce."""
    first = replayed(platform, mode)
    lie = Attacker.of(first.data)
    lie.predicate["notes"]["anything"] = "new"
    return Forged(lie.forge(), first.victim)


@attack("tee.15", ONE)
def replayed_when_the_nonce_is_forgotten(platform: Platform, mode: Mode) -> Forged:
    """A good proof, for the second time, of a nonce that has expired since, and is pinned."""
    path, _ = store()
    before = int(time.time()) - 1000
    nonce = Nonces(path).issue(before)
    enclave = Enclave.start(platform, mode)
    found = enclave.infer(nonce=nonce)
    Nonces(path).consume(nonce, found.statement.digest, before)
    Nonces(path).issue(int(time.time()))  # which forgets what has expired
    victim = Verifier({"nonces": str(path)}, expect=Expectation(model=model(), nonce=nonce))
    return Forged(enclave.proof(found), victim)


@attack("tee.15", ONE)
def nonce_that_nobody_issued(platform: Platform, mode: Mode) -> Forged:
    path, _ = store()
    enclave = Enclave.start(platform, mode)
    return Forged(enclave.proof(), Verifier({"nonces": str(path)}))


@attack("tee.15", ONE)
def no_nonce_where_they_are_kept(platform: Platform, mode: Mode) -> Forged:
    path, _ = store()
    enclave = Enclave.start(platform, mode)
    found = enclave.infer(nonce=None)
    return Forged(enclave.proof(found), Verifier({"nonces": str(path)}))


@attack("tee.15", modes=SESSION)
def session_of_an_old_challenge(platform: Platform, mode: Mode) -> Forged:
    """A session that was started before the verifier asked."""
    enclave = Enclave.start(platform, mode, challenge=b"yesterday's")
    return Forged(enclave.proof(), Verifier({"challenge": b"today's".hex()}))


@attack("tee.15")
def no_challenge(platform: Platform, mode: Mode) -> Forged:
    return Forged(Enclave.start(platform, mode).proof(), Verifier({"challenge": "00ff"}))


# -- events and configuration ---------------------------------------------------------------------


@attack("tee.11", LOGGED)
def log_without_an_event(platform: Platform, mode: Mode) -> Forged:
    enclave = Enclave.start(platform, mode)
    return Forged(with_parts(enclave, lambda parts: requoted(parts, event_log=b"[]")))


@attack("tee.11", LOGGED)
def log_with_one_more_event(platform: Platform, mode: Mode) -> Forged:
    """Such as an application that was never measured."""
    from proofml.tee.config import CONFIG_REGISTERS
    from proofml.tee.eventlog import EventLog

    enclave = Enclave.start(platform, mode)

    def longer(data: bytes) -> bytes:
        log = EventLog.read(data, platform)
        imr = CONFIG_REGISTERS[platform]
        return log.extended(imr, "compose-hash", bytes(32)).to_bytes()

    return Forged(
        with_parts(
            enclave,
            lambda parts: requoted(parts, event_log=longer(parts.attestation.event_log)),
        )
    )


@attack("tee.11", LOGGED)
def log_of_another_configuration(platform: Platform, mode: Mode) -> Forged:
    """Log and configuration agree; the register in the quote is that of another one."""
    other = Enclave.start(platform, mode, of=model(1))
    log = other.parts(other.infer()).attestation.event_log
    enclave = Enclave.start(platform, mode)
    config = other.config
    return Forged(
        with_parts(enclave, lambda parts: replace(requoted(parts, event_log=log), config=config))
    )


@attack("tee.11", LOGGED)
def event_with_another_digest(platform: Platform, mode: Mode) -> Forged:
    """The payload of another configuration under the digest that was measured."""

    def changed(data: bytes) -> bytes:
        value = json.loads(data)
        value[0]["event_payload"] = "00" * 32
        return dumps(value)

    enclave = Enclave.start(platform, mode)
    return Forged(
        with_parts(
            enclave,
            lambda parts: requoted(parts, event_log=changed(parts.attestation.event_log)),
        )
    )


@attack("tee.12")
def another_configuration(platform: Platform, mode: Mode) -> Forged:
    """Which says that the process was isolated, for example."""
    bare = dict.fromkeys(("user", "network", "pid", "mount", "ipc"), False)
    enclave = Enclave.start(platform, mode, isolation=bare)
    config = Enclave.start(platform, mode).config
    return Forged(with_parts(enclave, lambda parts: replace(parts, config=config)))


@attack("tee.12")
def model_that_was_not_measured(platform: Platform, mode: Mode) -> Forged:
    """Code of his own has another model measured than the one that its Statements name."""
    enclave = Enclave.start(platform, mode, of=model(1))
    honest = Enclave.start(platform, mode).infer()
    lie = Statement.read({**honest.statement.to_json(), "model": model().claim.to_json()})
    if mode is Mode.INFERENCE:
        parts = replace(
            enclave.parts(enclave.infer()),
            attestation=enclave.quoter.quote(inference_data(lie.digest)),
        )
    else:
        parts = enclave.parts(enclave.infer())
    return Forged(assembled(replace(honest, statement=lie), parts))


@attack("tee.12", LOGGED)
def second_configuration(platform: Platform, mode: Mode) -> Forged:
    """Measured later, by code that ran inside: which of the two counts is not his to choose."""
    from proofml.tee.config import CONFIG_EVENT, config_event

    first = Enclave.start(platform, mode)
    first.quoter.extend(CONFIG_EVENT, config_event(first.config))
    if mode is Mode.INFERENCE:
        return Forged(first.proof())
    parts = first.parts(first.infer())
    assert parts.session is not None
    from proofml.tee.binding import session_data

    again = first.quoter.quote(session_data(parts.session))
    return Forged(with_parts(first, lambda parts: replace(parts, attestation=again)))
