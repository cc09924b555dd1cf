"""How recent a platform is: the level of Intel's TCB information that it reaches, and its status.

The rules are those of Intel's quote verification library (Intel SGX DCAP, QuoteVerification):
levels from the highest to the lowest, the first of which the platform reaches every part; the
module of TDX by its own identity; an outdated quoting enclave or module makes the whole outdated;
and where a trust domain's module was updated under it, the domain should start again.

`dcap-qvl` has to find the same where it finds one (`dcap_verify`). It finds none for guests that it
refuses for an attribute (debugging, migration, ...) or whose status is `Revoked`. Those are good
quotes here, for appraisal to refuse, and appraisal wants their status too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn

from proofml.tee.checks import COLLATERAL, refuse
from proofml.tee.pck import PckExtension

_UP, _OUT, _REVOKED = "UpToDate", "OutOfDate", "Revoked"
_CONFIGURE, _HARDEN = "ConfigurationNeeded", "SWHardeningNeeded"
_BOTH, _OUT_CONFIGURE = "ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"
_MODULE: Final = frozenset({_UP, _OUT, _REVOKED})
_QE: Final = _MODULE | {_CONFIGURE, _OUT_CONFIGURE}
_PLATFORM: Final = _QE | {_HARDEN, _BOTH}
#: Status of a platform -> that of the whole where a component is out of date.
_OUTDATED: Final = {_UP: _OUT, _HARDEN: _OUT, _CONFIGURE: _OUT_CONFIGURE, _BOTH: _OUT_CONFIGURE}
#: What a bad text raises where it is read.
_BROKEN: Final = (KeyError, TypeError, ValueError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Tcb:
    """`status` as Intel spells it; identifiers of `advisories`, sorted."""

    status: str
    advisories: tuple[str, ...] = ()


def evaluate(
    tcb_info: Mapping[str, Any],
    identity: Mapping[str, Any],
    pck: PckExtension,
    qe_svn: int,
    tee_svns: Sequence[bytes] = (),
) -> Tcb:
    """The status of platform, module and quoting enclave together.

    Args:
        tcb_info, identity: the signed texts, of this platform and this quoting enclave.
        qe_svn: of the quoting enclave.
        tee_svns: `tee_tcb_svn` of a trust domain and, in TD 1.5, `tee_tcb_svn2`; 16 bytes each.

    Raises:
        VerificationError: tee.8, no level is reached, or a text has another form.
    """
    try:
        enclave = _enclave(identity, qe_svn)
        found = [_platform(tcb_info, pck, svn) for svn in tee_svns or (None,)]
    except _BROKEN as error:
        refuse(COLLATERAL, f"levels: {type(error).__name__}: {error}", expected="version 3 or 2")
    launch, *updates = (_converged(one, enclave) for one in found)
    for current in updates:
        if _REVOKED in (launch.status, current.status):
            return replace(launch, status=_REVOKED)
        launch = replace(launch, status=_relaunch(launch.status, current.status))
    return launch


def _enclave(identity: Mapping[str, Any], svn: int) -> Tcb:
    for level in identity["tcbLevels"]:
        if svn >= _svn(level["tcb"]["isvsvn"]):
            return _tcb(level, _QE)
    return _unreached("QE identity", f"isvsvn {svn}")


def _platform(tcb_info: Mapping[str, Any], pck: PckExtension, tee_svn: bytes | None) -> Tcb:
    """Of the processor and, in TDX, of the module."""
    order = sorted(
        ((_parts(level["tcb"], tee_svn is not None), level) for level in tcb_info["tcbLevels"]),
        key=lambda one: one[0],
        reverse=True,
    )
    for (sgx, pce, tdx), level in order:
        reached = pck.pce_svn >= pce and _all_reached(pck.components, sgx)
        if tee_svn is not None:
            # From its version 1 on, a module's own numbers are left to its identity.
            first = 2 if tee_svn[1] else 0
            reached = reached and _all_reached(tee_svn[first:], tdx[first:])
        if reached:
            found = _tcb(level, _PLATFORM)
            return found if tee_svn is None else _converged(found, _module(tcb_info, tee_svn))
    module = "none" if tee_svn is None else tee_svn.hex()
    got = f"cpu_svn {pck.cpu_svn.hex()}, pce_svn {pck.pce_svn}, tee_tcb_svn {module}"
    return _unreached("TCB information", got)


def module_identity(tcb_info: Mapping[str, Any], version: int) -> Mapping[str, Any] | None:
    """What TCB information says of a version of the TDX module; 0 is what came before versions.

    Raises:
        KeyError, TypeError, AttributeError: a text of another form.
    """
    found: Mapping[str, Any] | None
    if version:
        name = f"TDX_{version:02X}"
        named = (one for one in tcb_info["tdxModuleIdentities"] if one["id"].upper() == name)
        found = next(named, None)
    else:
        found = tcb_info["tdxModule"]
    return found


def _module(tcb_info: Mapping[str, Any], tee_svn: bytes) -> Tcb:
    svn, version = tee_svn[:2]
    if not version:
        return Tcb(_UP)
    for level in (module_identity(tcb_info, version) or {"tcbLevels": ()})["tcbLevels"]:
        if svn >= _svn(level["tcb"]["isvsvn"]):
            return _tcb(level, _MODULE)
    return _unreached(f"TCB information: TDX module {version}", f"isvsvn {svn}")


def _converged(platform: Tcb, component: Tcb) -> Tcb:
    status = platform.status
    if component.status == _REVOKED:
        status = _REVOKED
    elif component.status == _OUT:
        status = _OUTDATED.get(status, status)
    return Tcb(status, tuple(sorted({*platform.advisories, *component.advisories})))


def _relaunch(launch: str, current: str) -> str:
    """Of a domain that was started on an outdated module, which was updated since."""
    if launch not in (_OUT, _OUT_CONFIGURE) or current in (_OUT, _OUT_CONFIGURE):
        return launch
    needed = launch == _OUT_CONFIGURE or current in (_CONFIGURE, _BOTH)
    return "TDRelaunchAdvisedConfigurationNeeded" if needed else "TDRelaunchAdvised"


def _parts(tcb: Mapping[str, Any], tdx: bool) -> tuple[list[int], int, list[int]]:
    """Components of the processor, of the provisioning enclave, and of TDX."""
    return (
        [_svn(one["svn"]) for one in tcb["sgxtcbcomponents"]],
        _svn(tcb["pcesvn"]),
        [_svn(one["svn"]) for one in tcb["tdxtcbcomponents"]] if tdx else [],
    )


def _svn(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0xFFFF:
        raise ValueError(f"expected a security version, got {value!r}")
    return value


def _all_reached(mine: Iterable[int], least: Iterable[int]) -> bool:
    """As many on both sides, else it is a text of another form."""
    return all(have >= want for have, want in zip(mine, least, strict=True))


def _tcb(level: Mapping[str, Any], allowed: frozenset[str]) -> Tcb:
    status, advisories = level["tcbStatus"], level.get("advisoryIDs", [])
    if status not in allowed:
        raise ValueError(f"status {status!r}")
    if not isinstance(advisories, list) or not all(isinstance(one, str) for one in advisories):
        raise TypeError("advisoryIDs")
    return Tcb(status, tuple(sorted(set(advisories))))


def _unreached(what: str, got: str) -> NoReturn:
    refuse(COLLATERAL, f"{what}: levels", expected="one that is reached", got=got)
