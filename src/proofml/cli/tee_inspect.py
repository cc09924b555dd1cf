"""`proofml tee inspect`: every field of a quote, and how far its evidence goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proofml.canonical import JSON
from proofml.cli.common import json_option, print_json
from proofml.cli.files import read_file
from proofml.cli.page import bold, dim, line
from proofml.errors import EXIT_INVALID, UsageError, printable

if TYPE_CHECKING:
    from proofml.cli.tee_evidence import Examined, Found
    from proofml.tee.platform import Verified
    from proofml.tee.policy import TeePolicy
    from proofml.tee.reader import Field
    from proofml.tee.roots import Roots

MAX_BYTES = 1 << 30
#: Digits of a field that are shown without --full.
_SHOWN = 64
#: Of fields of which the parsers say nothing, by the last part of their name (Intel TDX Module ABI
#: Specification; SDM, volume 3D; DCAP Quoting Library API, appendix A).
_MEANINGS = {
    "version": "of the format",
    "mrseam": "measurement of the TDX module",
    "mrsignerseam": "who signed the module; zeros: Intel",
    "seam_attributes": "of the module",
    "mrtd": "the guest as it was built: its firmware",
    "mrconfigid": "configuration beside the software",
    "mrowner": "who owns the guest",
    "mrownerconfig": "configuration of the owner's",
    "rtmr0": "grows: the firmware's configuration",
    "rtmr1": "grows: boot loader and kernel",
    "rtmr2": "grows: the kernel's command line and initial files",
    "rtmr3": "grows: what runs inside",
    "mrservicetd": "service guests that are bound to it",
    "signature_length": "of all that follows but padding",
    "length": "of what it announces",
    "qe_auth_length": "of what it announces",
    "qe_auth": "hashed together with the attestation key",
    "cpu_svn": "security versions of the processor",
    "misc_select": "extended features of the state-save area",
    "isv_ext_prod_id": "product of the enclave's, extended",
    "isv_prod_id": "product of the enclave's",
    "isv_svn": "security version of the enclave",
    "config_id": "configuration, chosen at launch",
    "config_svn": "security version of the configuration",
    "isv_family_id": "family of products",
    "report_data": "of the enclave's choice",
}


@click.command("inspect")
@click.argument("file", type=str)
@click.option(
    "--collateral",
    type=click.Path(path_type=Path),
    multiple=True,
    help="What vouches for a bare quote: DCAP JSON, or AMD's certificates; verifies it.",
)
@click.option("--at", help="Time at which to verify: seconds since 1970, or 2025-06-19T12:00:00Z.")
@click.option(
    "--policy", type=click.Path(path_type=Path), help="Policy file whose roots count; verifies."
)
@click.option("--verify", is_flag=True, help="Make every check that the file allows, now.")
@click.option("--full", is_flag=True, help="Show long fields as a whole.")
@json_option
def inspect(
    file: str,
    collateral: tuple[Path, ...],
    at: str | None,
    policy: Path | None,
    verify: bool,
    full: bool,
    as_json: bool,
) -> int:
    """Show FILE field by field: a quote, report or document, a .pml proof, or a session file.

    The platform is found out. With --verify, --collateral, --at or --policy the checks are made
    that the evidence allows, and the exit code is 1 where one fails. That is no verdict: nothing is
    compared with what you expect. - stands for standard input.
    """
    from proofml.cli.tee_evidence import QUOTE, examine, find, read_collateral

    found = find(read_file(file, MAX_BYTES))
    if collateral:
        if found.kind != QUOTE:
            raise UsageError(f"--collateral: a {found.kind} carries its own; leave it out")
        data = read_collateral(found.platform, [read_file(path, MAX_BYTES) for path in collateral])
        found = replace(found, attestation=replace(found.attestation, collateral=data))
    examined = None
    if verify or collateral or at is not None or policy is not None:
        examined = examine(found, *_anchors(policy, at))
    if as_json:
        print_json({"file": file, **_to_json(found, examined)})
    else:
        _show(file, found, full)
        if examined is not None:
            _show_checks(examined)
    return EXIT_INVALID if examined is not None and examined.error is not None else 0


def _anchors(policy: Path | None, at: str | None) -> tuple[TeePolicy, Roots, int]:
    """The backend's table of the policy, roots that count, and the time."""
    from proofml.policy import Policy
    from proofml.store import Store
    from proofml.tee.known_simulators import known_roots
    from proofml.tee.policy import TeePolicy

    rules = TeePolicy.read(Policy() if policy is None else Policy.load(policy))
    now = int(time.time()) if rules.at is None else rules.at
    return (
        rules,
        rules.anchors(known_roots(Store.default())),
        now if at is None else parse_time(at),
    )


def parse_time(text: str) -> int:
    """Seconds since 1970, of a number or of a date and time with its zone; raises `UsageError`."""
    from proofml.tee.binding import LATEST_TIME

    try:
        if text.isascii() and text.isdigit():
            found = int(text) if len(text) <= 16 else -1
        else:
            moment = datetime.fromisoformat(text)
            found = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        found = -1
    if not 0 <= found <= LATEST_TIME:
        raise UsageError(
            f"--at {text}: expected seconds since 1970, or a time such as 2025-06-19T12:00:00Z"
        )
    return found


# -- JSON -----------------------------------------------------------------------------------------


def _to_json(found: Found, examined: Examined | None) -> dict[str, JSON]:
    value: dict[str, JSON] = {
        "kind": found.kind,
        "platform": found.platform,
        "size": len(found.attestation.quote),
        "fields": [
            {
                "name": one.name,
                "offset": one.offset,
                "size": len(one.data),
                "hex": one.data.hex(),
                "meaning": _meaning(one),
            }
            for one in found.fields
        ],
        "beside": _beside(found),
    }
    if examined is not None:
        value["checks"] = [one.to_json() for one in examined.checks]
        value["failed_check"] = None if examined.error is None else examined.error.check
        verified = examined.verified
        value["verified"] = None if verified is None else _verified(verified)
    return value


def _verified(verified: Verified) -> dict[str, JSON]:
    root = verified.root
    return {
        "root": {"name": root.name, "kind": root.kind, "sha256": root.sha256},
        "report_data": verified.report_data.hex(),
        "measurements": dict(verified.measurements),
        "svns": dict(verified.svns),
        "attributes": dict(verified.attributes),
        "tcb_status": verified.tcb_status,
        "advisories": list(verified.advisories),
        "not_before": verified.not_before,
        "not_after": verified.not_after,
        "details": dict(verified.details),
    }


def _beside(found: Found) -> dict[str, JSON]:
    """What a proof or a session file has beside its quote, as it says."""
    parts = found.parts
    if parts is None:
        return {}
    from proofml.tee.config import Configuration
    from proofml.tee.eventlog import EventLog

    value: dict[str, JSON] = {"config": Configuration.read(parts.config).to_json()}
    if parts.attestation.event_log:
        log = EventLog.read(parts.attestation.event_log, found.platform)
        value["events"] = [event.to_json() for event in log.events]
    if parts.session is not None:
        value["session"] = {**parts.session.to_json(), "digest": parts.session.digest}
    if parts.receipts:
        value["receipts"] = [
            {**one.record.to_json(), "signature": one.signature.hex()} for one in parts.receipts
        ]
    if parts.sealed_outputs is not None:
        value["sealed_outputs"] = len(parts.sealed_outputs)
    if found.statement is not None:
        value["statement_sha256"] = found.statement.digest
    return value


# -- for people -----------------------------------------------------------------------------------


def _show(file: str, found: Found, full: bool) -> None:
    from proofml.cli.tee_evidence import QUOTE

    size = len(found.attestation.quote)
    what = "" if found.kind == QUOTE else f", in a {found.kind}"
    line(f"{bold(file)}  {found.platform}, {size} bytes{what}; nothing here is verified")
    names = max(len(printable(one.name)) for one in found.fields)
    line(dim(f"\n{'offset':>7} {'size':>6}  {'field':<{names}}  bytes"))
    for one in found.fields:
        line(
            f"{one.offset:>7} {len(one.data):>6}  {printable(one.name):<{names}}  "
            f"{_digits(one, full)}  {dim(printable(_meaning(one)))}".rstrip()
        )
    for title, value in _beside(found).items():
        line("\n" + bold(title.replace("_", " ")))
        _show_value(value)


def _meaning(one: Field) -> str:
    return one.note or _MEANINGS.get(one.name.rpartition(".")[2], "")


def _digits(one: Field, full: bool) -> str:
    text = one.data.hex()
    if full or len(text) <= _SHOWN:
        return text
    if not any(one.data):
        return f"zeros ({len(one.data)} bytes)"
    return f"{text[:_SHOWN]}... ({len(one.data)} bytes)"


def _show_value(value: JSON) -> None:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            line(f"  {printable(name):<18} {_short(inner)}")
    elif isinstance(value, (list, tuple)):
        for inner in value[:20]:
            line(f"  {_short(inner)}")
        if len(value) > 20:
            line(f"  ... and {len(value) - 20} more (--json shows all)")
    else:
        line(f"  {_short(value)}")


def _short(value: JSON) -> str:
    """One line; a table as its keys and values."""
    if isinstance(value, Mapping):
        return printable(", ".join(f"{name} {_short(inner)}" for name, inner in value.items()))
    return printable("none" if value is None else value)


def _show_checks(examined: Examined) -> None:
    from proofml.cli.render import print_checks

    line("\n" + bold("checked"))
    print_checks(examined.checks)
    verified = examined.verified
    if verified is None:
        return
    line("\n" + bold("the hardware says"))
    for name, value in {
        "report data": verified.report_data.hex(),
        "status": verified.tcb_status or "this vendor publishes none",
        "advisories": ", ".join(verified.advisories) or "none",
        **{name: value for name, value in verified.measurements.items() if value.strip("0")},
        "set": ", ".join(name for name, on in verified.attributes.items() if on) or "no attribute",
        **verified.details,
    }.items():
        line(f"  {printable(name):<18} {printable(value)}")
