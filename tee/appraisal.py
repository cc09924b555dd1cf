"""Appraisal: is good evidence good enough? Checks tee.16 to tee.20, against a policy.

Everything here looks at what `verify` of a platform returned, never at bytes of the evidence. Each
point ends in a `Finding`: asserted, refuted or unknown, with whoever says it. Then

    asserted   the check passes
    refuted    an objection: the proof is good, and this policy refuses it
    unknown    an assumption, which the core's policy may allow; without one, a note
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from proofml.checks import Checks
from proofml.tee import about
from proofml.tee import checks as numbers
from proofml.tee.attributes import attribute_findings
from proofml.tee.config import Configuration
from proofml.tee.eventlog import COMPOSE_HASH_EVENT, EventLog
from proofml.tee.platform import Finding, RootKind, Source, Truth, Verified
from proofml.tee.policy import TeePolicy
from proofml.tee.reference import Reference
from proofml.tee.registers import LEVELS, SVNS, WITH_STATUS, identity

APPRAISED = (
    numbers.MEASUREMENTS,
    numbers.DEBUG,
    numbers.TCB,
    numbers.SVN,
    numbers.ATTRIBUTES,
)


@dataclass(frozen=True, slots=True)
class Opinion:
    """A finding, and the assumption by which it may be accepted all the same."""

    finding: Finding
    assumption: str = ""

    @property
    def objection(self) -> str:
        """Why the policy refuses; empty where it does not."""
        if self.finding.truth is not Truth.REFUTED or self.assumption:
            return ""
        return f"{self.finding.number}: {self.finding.claim}: {self.finding.detail}"


def appraise(
    verified: Verified,
    policy: TeePolicy,
    references: Sequence[Reference],
    config: Configuration,
    *,
    log: EventLog | None = None,
    more: Iterable[Finding] = (),
) -> tuple[Opinion, ...]:
    """Every point, in the order of the numbers.

    Args:
        verified: what the hardware says.
        references: what measurements may be; those of other platforms are passed over.
        config: measured, so it is the measured code's word on how it is isolated.
        log: replayed against `verified` (TDX, Nitro).
        more: findings that only this platform has.
    """
    return (
        _measurements(verified, references, log),
        _debug(verified, policy),
        _status(verified, policy),
        *_svns(verified, policy),
        _platform(verified, policy),
        *(Opinion(one) for one in attribute_findings(verified, policy.attributes)),
        *(Opinion(one) for one in more),
        *_boundary(verified, config),
    )


def record(opinions: Sequence[Opinion], checks: Checks) -> tuple[str, ...]:
    """Put the opinions into the record, one result a number; returns the objections."""
    for number in APPRAISED:
        mine = [one for one in opinions if one.finding.number == number]
        objections = [one for one in mine if one.objection]
        assumed = [one for one in mine if one.assumption]
        checks.assumptions |= {one.assumption for one in assumed}
        if objections:
            checks.refused(number, _details(objections))
        elif assumed:
            names = ", ".join(sorted({one.assumption for one in assumed}))
            checks.assumed(number, assumed[0].assumption, _details(assumed, names))
        elif any(one.finding.truth is Truth.ASSERTED for one in mine):
            checks.passed(number, _details(mine))
        else:
            checks.skipped(number, _details(mine) or "nothing to appraise on this platform")
    return tuple(one.objection for one in opinions if one.objection)


def notes(opinions: Sequence[Opinion]) -> dict[str, str]:
    """`tee.N claim` -> `asserted (hardware): detail`, for the guarantee."""
    return {
        f"{one.finding.number} {one.finding.claim}": f"{one.finding.truth} ({one.finding.source})"
        + (f": {one.finding.detail}" if one.finding.detail else "")
        for one in opinions
    }


def _details(opinions: Sequence[Opinion], names: str = "") -> str:
    parts = [f"{one.finding.claim}: {one.finding.detail}" for one in opinions]
    if len(opinions) > 1 and "," in names:
        parts.insert(0, names)
    return "; ".join(parts)


# -- tee.16 ---------------------------------------------------------------------------------------


def _measurements(
    verified: Verified, references: Sequence[Reference], log: EventLog | None
) -> Opinion:
    """Against references: one of them has to fit as a whole, and name what says which code runs."""
    measured = dict(verified.measurements)
    if log is not None and log.compose_hash is not None:
        measured[COMPOSE_HASH_EVENT] = log.compose_hash
    candidates = [one for one in references if one.platform is verified.platform]
    missing = identity(verified.platform, measured, frozenset())
    if not candidates:
        detail = "; ".join(f"{name} {measured.get(name, 'not there')}" for name in missing)
        return _measured(Truth.UNKNOWN, Source.HARDWARE, f"nothing to compare with: {detail}")
    fitting = [one for one in candidates if not _differences(one, measured)]
    if not fitting:
        nearest = min(candidates, key=lambda one: len(_differences(one, measured)))
        name = _differences(nearest, measured)[0]
        values = sorted(nearest.registers[name])
        expected = values[0] if len(values) == 1 else f"one of {len(values)} values"
        detail = (
            f"{name}: expected {expected} ({_whose(nearest)}), got {measured.get(name, 'nothing')}"
        )
        return _measured(Truth.REFUTED, nearest.source, detail)

    def left(one: Reference) -> list[str]:
        return identity(verified.platform, measured, frozenset(one.registers))

    best = min(fitting, key=lambda one: len(left(one)))
    if left(best):
        detail = "; ".join(f"{name} {measured.get(name, 'not there')}" for name in left(best))
        detail = f"{_whose(best)} fits and leaves open: {detail}"
        return _measured(Truth.UNKNOWN, best.source, detail)
    detail = f"{', '.join(sorted(best.registers))} as in {_whose(best)}"
    return _measured(Truth.ASSERTED, best.source, detail)


def _measured(truth: Truth, source: Source, detail: str) -> Opinion:
    finding = Finding(numbers.MEASUREMENTS, "measurements", truth, source, detail)
    return Opinion(finding, about.MEASUREMENT_UNPINNED if truth is Truth.UNKNOWN else "")


def _differences(reference: Reference, measured: Mapping[str, str]) -> list[str]:
    return [
        name for name, values in reference.registers.items() if measured.get(name) not in values
    ]


def _whose(reference: Reference) -> str:
    return f"{reference.name} of {reference.origin}" if reference.origin else reference.name


# -- tee.17 to tee.19 -----------------------------------------------------------------------------


def _debug(verified: Verified, policy: TeePolicy) -> Opinion:
    # A platform that does not say is no better than one that says yes.
    on = verified.attributes.get("debug", True)
    truth = Truth.REFUTED if on else Truth.ASSERTED
    detail = "on: whoever runs the machine can read and change the guest" if on else "off"
    finding = Finding(numbers.DEBUG, "debugging is off", truth, Source.HARDWARE, detail)
    return Opinion(finding, about.DEBUG_ENABLED if on and policy.debug else "")


def _status(verified: Verified, policy: TeePolicy) -> Opinion:
    """The vendor's status, and each of its advisories."""
    claim = "status of the trusted computing base"
    if verified.tcb_status is None:
        missing = verified.platform in WITH_STATUS
        truth = Truth.REFUTED if missing else Truth.UNKNOWN
        detail = "none, and this vendor publishes one" if missing else "this vendor publishes none"
        return Opinion(Finding(numbers.TCB, claim, truth, Source.DERIVED, detail))
    wrong = [name for name in verified.advisories if name not in policy.advisories]
    detail = verified.tcb_status
    if verified.advisories:
        detail += f", advisories {', '.join(verified.advisories)}"
    if verified.tcb_status not in policy.tcb_statuses:
        detail += f"; accepted: {', '.join(sorted(policy.tcb_statuses))}"
    elif wrong:
        detail += f"; not accepted: {', '.join(wrong)}"
    else:
        return Opinion(Finding(numbers.TCB, claim, Truth.ASSERTED, Source.DERIVED, detail))
    return Opinion(Finding(numbers.TCB, claim, Truth.REFUTED, Source.DERIVED, detail))


def _svns(verified: Verified, policy: TeePolicy) -> tuple[Opinion, ...]:
    """Each version that the policy bounds; without a vendor's status, all levels have to be."""
    wanted = {
        name: least for name, least in policy.min_svn.items() if name in SVNS[verified.platform]
    }
    found = []
    for name, least in wanted.items():
        got = verified.svns.get(name)
        if got is None and name in LEVELS.get(verified.platform, ()):
            continue  # a component that other generations of this platform have
        good = got is not None and got >= least
        found.append(
            Opinion(
                Finding(
                    numbers.SVN,
                    name,
                    Truth.ASSERTED if good else Truth.REFUTED,
                    Source.HARDWARE,
                    f"{'nothing' if got is None else got}, at least {least}",
                )
            )
        )
    levels = [name for name in LEVELS.get(verified.platform, ()) if name in verified.svns]
    free = [name for name in levels if name not in wanted]
    if free:
        detail = ", ".join(f"{name} {verified.svns[name]}" for name in free)
        finding = Finding(
            numbers.SVN,
            "firmware is recent enough",
            Truth.UNKNOWN,
            Source.HARDWARE,
            f"min_svn says nothing of {detail}",
        )
        found.append(Opinion(finding, about.SVN_UNPINNED))
    return tuple(found)


# -- tee.20 ---------------------------------------------------------------------------------------


def _platform(verified: Verified, policy: TeePolicy) -> Opinion:
    good = verified.platform in policy.platforms
    accepted = ", ".join(sorted(policy.platforms))
    detail = verified.platform if good else f"{verified.platform}, accepted: {accepted}"
    truth = Truth.ASSERTED if good else Truth.REFUTED
    return Opinion(Finding(numbers.ATTRIBUTES, "platform", truth, Source.HARDWARE, detail))


def _boundary(verified: Verified, config: Configuration) -> tuple[Opinion, ...]:
    """Of the simulator only: hardware isolates the guest, whatever its process shares inside."""
    if verified.root.kind is not RootKind.SIMULATED:
        return ()
    claim, missing = "isolation of the process", config.missing_isolation
    if not missing:
        has = ", ".join(sorted(config.isolation))
        return (
            Opinion(
                Finding(numbers.ATTRIBUTES, claim, Truth.ASSERTED, Source.PROVIDER, f"own {has}")
            ),
        )
    detail = f"shared with the host: {', '.join(missing)}"
    finding = Finding(numbers.ATTRIBUTES, claim, Truth.UNKNOWN, Source.PROVIDER, detail)
    return (Opinion(finding, about.BOUNDARY_PROCESS),)
