"""The verifier's steps over evidence, numbered as the checks are; cheap ones before dear ones.

    (1)  the record of the computation     (9)  the mode that the quote binds
    (2)  sections, strictly read           (10) what the quote binds
    (3)  the quote's form                  (11) event log, replayed
    (4)  the root, held by this verifier   (12) configuration and model, measured
    (5)  certificates                      (13) receipt: the session's key, this Statement
    (6)  revocation                        (14) receipts: a chain
    (7)  signature of the quote            (15) freshness
    (8)  collateral                        (16) to (20) appraisal

(1) and (2) are `evidence.Record` and `evidence.Parts`, (16) to (20) `appraisal`. (15) comes last,
since it uses up a nonce: `backend_verifier`. From (7) on nothing is read from the evidence that a
signature does not cover: report data, registers and attributes are those of `Verified`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proofml.canonical import CanonicalError, loads
from proofml.checks import Checks
from proofml.errors import UsageError, VerificationError, printable
from proofml.fields import FieldError
from proofml.tee import about, platforms
from proofml.tee import checks as numbers
from proofml.tee.appraisal import Opinion, appraise
from proofml.tee.binding import Mode, Session, check_binding
from proofml.tee.config import Configuration, Runtime, check_measured
from proofml.tee.eventlog import REGISTERS, EventLog
from proofml.tee.evidence import Parts
from proofml.tee.measure import code_measurement
from proofml.tee.platform import Platform, RootKind, Source, Verified
from proofml.tee.policy import TeePolicy
from proofml.tee.receipt_chain import Head, Segment, check_receipt, check_segment
from proofml.tee.receipts import MAX_CHECKPOINT_BYTES, ReceiptKey, SignedCheckpoint
from proofml.tee.reference import Reference
from proofml.tee.roots import Roots
from proofml.tee.x509 import as_text

#: Stands for no Statement, where a session is looked at by itself.
NO_STATEMENT = "0" * 64


@dataclass(frozen=True)
class Claim:
    """What the evidence has to be about.

    Attributes:
        statement: the Statement's digest, `NO_STATEMENT` for a session by itself.
        model: canonical SHA-256.
        runtime: None where nobody names one, and the measured one is taken.
    """

    mode: Mode
    statement: str
    model: str
    runtime: Runtime | None


@dataclass(frozen=True)
class Shown:
    """What steps (3) to (12) showed."""

    verified: Verified
    config: Configuration
    log: EventLog | None


def verify_quote(
    parts: Parts, claim: Claim, roots: Roots, now: int, checks: Checks, *, pinned: bool = False
) -> Shown:
    """Steps (3) to (12).

    Args:
        now: seconds since 1970; `pinned` where it is the policy's and not the clock's.

    Raises:
        VerificationError: with the number of the step that refuses.
        BackendUnavailable: a package of the platform is missing.
    """
    platform = parts.attestation.platform
    # (3) to (8)
    verified = platforms.verify(parts.attestation, roots, now)
    _record_verified(verified, checks, now if pinned else None)
    # (9), (10)
    check_binding(verified.report_data, claim.mode, claim.statement, parts.session)
    checks.passed(numbers.MODE, claim.mode)
    checks.passed(numbers.BINDING, verified.report_data.hex()[:32] + "...")
    # (11)
    log: EventLog | None = None
    if platform in REGISTERS:
        log = EventLog.read(parts.attestation.event_log, platform)
        log.check(verified.measurements)
        names = [f"{event.name} ({event.imr})" for event in log.events if event.runtime]
        words = f"{len(log.events)} events, of them at run time: {', '.join(names) or 'none'}"
        checks.passed(numbers.EVENT_LOG, printable(words))
    else:
        checks.skipped(numbers.EVENT_LOG, f"{platform} has no register that grows")
    # (12)
    config = check_measured(
        parts.config,
        platform,
        verified.measurements,
        log,
        model=claim.model,
        mode=claim.mode,
        runtime=claim.runtime or Configuration.read(parts.config).runtime,
        session=parts.session,
    )
    checks.passed(numbers.MEASURED, f"model {config.model}")
    return Shown(verified, config, log)


def _record_verified(verified: Verified, checks: Checks, pinned: int | None) -> None:
    """(3) to (8) have passed; what they leave open is said beside them."""
    root = verified.root
    checks.passed(numbers.QUOTE, f"{verified.platform} {verified.details.get('quote', '')}".strip())
    words = f"{root.name}, {root.sha256}"
    if root.kind is RootKind.SIMULATED:
        checks.assumed(numbers.ROOT, about.ROOT_SIMULATED, words)
    elif root.kind is RootKind.CUSTOM:
        checks.assumed(numbers.ROOT, about.ROOT_CUSTOM, words)
    else:
        checks.passed(numbers.ROOT, words)
    holds = f"hold from {as_text(verified.not_before)} to {as_text(verified.not_after)}"
    if pinned is None:
        checks.passed(numbers.CERTIFICATES, holds)
    else:
        words = f"judged at {as_text(pinned)}, {holds}"
        checks.assumed(numbers.CERTIFICATES, about.TIME_PINNED, words)
    revocation = verified.details.get("revocation", "")
    if verified.platform is Platform.NITRO:
        checks.skipped(numbers.REVOCATION, revocation or "the document carries no lists")
    elif revocation == "checked":
        checks.passed(numbers.REVOCATION)
    else:
        checks.assumed(numbers.REVOCATION, about.REVOCATION_UNKNOWN, "no list came along")
    checks.passed(numbers.SIGNATURE)
    if verified.platform is Platform.NITRO:
        checks.skipped(numbers.COLLATERAL, "the document carries its certificates and nothing else")
    else:
        checks.passed(numbers.COLLATERAL)


def verify_receipts(
    parts: Parts, statement: str, policy: TeePolicy, checks: Checks
) -> tuple[Segment | None, str]:
    """Steps (13) and (14), and how far the chain is known, in words.

    A segment that begins neither with the first receipt nor at a checkpoint that the verifier
    holds shows the order of its receipts alone: `tee-receipts:partial`.

    Raises:
        VerificationError: tee.13; tee.14, no chain, or another one than a checkpoint that the
            verifier holds.
        UsageError: a checkpoint of the policy's that is none, or that this session's key did not
            sign.
    """
    session = parts.session
    if session is None:
        for number in (numbers.RECEIPT, numbers.CHAIN):
            checks.skipped(number, "one quote for each inference")
        return None, ""
    key = ReceiptKey.of(session)
    held = held_checkpoints(session, key, policy)
    first = parts.receipts[0].record
    start = held.get(first.counter) if first.counter else Head.start(session)
    partial = start is None
    # Whatever came before is taken as the first receipt names it.
    start = start or Head(session.digest, first.counter, first.previous)
    segment = check_segment(parts.receipts, session, held=start, key=key)
    _check_held(segment, held)
    check_receipt(segment, statement)
    checks.passed(numbers.RECEIPT, f"number {segment.last.counter}, {session.receipt_algorithm}")
    words = _chain_words(segment, held)
    if partial:
        checks.assumed(numbers.CHAIN, about.RECEIPTS_PARTIAL, words)
    else:
        checks.passed(numbers.CHAIN, words)
    return segment, words


def _check_held(segment: Segment, held: Mapping[int, Head]) -> None:
    """The segment goes through each checkpoint to which it comes; raises tee.14."""
    first = segment.receipts[0].record
    for counter in sorted(held):
        if not first.counter <= counter <= segment.head.counter:
            continue
        before = counter - first.counter
        got = segment.receipts[before - 1].record.digest if before else first.previous
        _same_chain(held[counter], got)


def _same_chain(held: Head, got: str) -> None:
    if got != held.digest:
        numbers.refuse(
            numbers.CHAIN,
            f"after {held.counter} receipts: the chain forked, another one is held",
            expected=held.digest,
            got=got,
        )


def _chain_words(segment: Segment, held: Mapping[int, Head]) -> str:
    first, end = segment.receipts[0].record.counter, segment.head.counter
    words = f"receipts {first} to {segment.last.counter}"
    if not held:
        return f"{words}; no checkpoint is held"
    inside = [counter for counter in held if first <= counter <= end]
    mark = max(inside or held)
    if mark > end:
        return f"{words}; the checkpoint at {mark} comes later"
    if mark < first:
        return f"{words}; the checkpoint at {mark} comes earlier"
    if mark == end:
        return f"{words}; they end at the checkpoint at {mark}"
    return f"{words}; through the checkpoint at {mark}"


def held_checkpoints(session: Session, key: ReceiptKey, policy: TeePolicy) -> dict[int, Head]:
    """Those of the policy's checkpoints that are of this session, by their counters.

    Raises:
        UsageError: a file that is no checkpoint, or not signed by the session's key.
        VerificationError: tee.14, two of them, both signed, contradict each other.
    """
    found: dict[int, Head] = {}
    for path in policy.checkpoints:
        head = _read_checkpoint(path, session, key)
        if head is not None:
            _same_chain(found.setdefault(head.counter, head), head.digest)
    return found


def _read_checkpoint(path: Path, session: Session, key: ReceiptKey) -> Head | None:
    """None for one of another session; raises `UsageError`."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"{path}: no such file; expected a checkpoint")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CHECKPOINT_BYTES + 1)
        signed = SignedCheckpoint.read(loads(data, max_bytes=MAX_CHECKPOINT_BYTES), "")
        if signed.record.session != session.digest:
            return None
        key.check(signed)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (CanonicalError, FieldError) as error:
        raise UsageError(f"{path}: {error}; expected a checkpoint") from error
    except VerificationError as error:
        raise UsageError(f"{path}: {error.reason}; it is of this session") from error
    return Head.of(signed.record)


def references_for(policy: TeePolicy, platform: Platform) -> tuple[Reference, ...]:
    """What measurements may be: the policy's, or those of this installation where it says so.

    Raises:
        UsageError: a reference-value file that is not good, or an installation without source.
    """
    if not policy.own_installation:
        return policy.references()
    registers = {name: frozenset({value}) for name, value in code_measurement(platform).items()}
    return (Reference(platform, "the verifier's own installation", registers, Source.DERIVED),)


def appraise_quote(shown: Shown, policy: TeePolicy) -> tuple[Opinion, ...]:
    """Steps (16) to (20), not recorded yet."""
    verified = shown.verified
    return appraise(
        verified,
        policy,
        references_for(policy, verified.platform),
        shown.config,
        log=shown.log,
        more=platforms.own_findings(verified),
    )
