"""Statements and verdicts for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from proofml.backend import get_backend
from proofml.checks import CheckResult, Result
from proofml.cli.page import bold, dim, line
from proofml.errors import ProofmlError, printable
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.statement import Statement, TensorClaim
from proofml.tensors import Array
from proofml.verdict import Status, Verdict

_COLOURS = {
    Status.ACCEPTED: "green",
    Status.REFUSED: "yellow",
    Status.PENDING: "yellow",
    Status.INVALID: "red",
}
_MARKS = {
    Result.PASSED: click.style("pass   ", fg="green"),
    Result.FAILED: click.style("FAIL   ", fg="red"),
    Result.REFUSED: click.style("refused", fg="yellow"),
    Result.ASSUMED: click.style("assumed", fg="yellow"),
    Result.SKIPPED: dim("n/a    "),
}


def meaning_of(assumption: str, backend: str | None) -> str:
    """What an assumption's name stands for, in words."""
    if assumption in CORE_ASSUMPTIONS:
        return CORE_ASSUMPTIONS[assumption]
    try:
        return "" if backend is None else get_backend(backend).assumptions.get(assumption, "")
    except ProofmlError:
        return ""


def describe_tensor(claim: TensorClaim) -> str:
    text = f"{claim.name}  {claim.dtype}{list(claim.shape)}  {claim.visibility}"
    if claim.sha256 is not None:
        text += f"  sha256 {claim.sha256[:16]}..."
    if claim.commitment is not None:
        text += f"  {claim.commitment.scheme} {claim.commitment.value[:16]}..."
    return text


def preview(array: Array) -> str:
    """A tensor's values, shortened."""
    return np.array2string(array.reshape(-1), threshold=12, edgeitems=5, precision=6).replace(
        "\n", ""
    )


def print_statement(statement: Statement, values: Mapping[str, Array] | None = None) -> None:
    """What is claimed, line by line."""
    model = statement.model
    if model.weights_hidden:
        line(f"  model        any weights of architecture {model.architecture_sha256}")
    else:
        line(f"  model        {model.canonical_sha256}")
        line(f"  model file   {model.file_sha256}")
    for role, claim in statement.tensors():
        line(f"  {role.split('.')[0]:<12} {describe_tensor(claim)}")
        if values is not None and role in values:
            line(f"  {'':<12} {preview(values[role])}")
    nonce = "none" if statement.nonce is None else statement.nonce.hex()
    line(f"  nonce        {nonce}")
    line(f"  computation  {statement.computation.kind}")


def print_verdict(verdict: Verdict, proof: Path) -> None:
    """The verdict on standard output."""
    colour = _COLOURS[verdict.status]
    line(f"{bold(verdict.status.value.upper(), colour)}  {proof}")
    for reason in verdict.reasons:
        line(f"  {bold('because', colour)} {reason}")
    if verdict.statement is not None:
        line("\n" + bold("claimed"))
        print_statement(verdict.statement, verdict.tensors)
    if verdict.guarantee is not None:
        _print_guarantee(verdict)
    line("\n" + bold("checked"))
    print_checks(verdict.checks, told={number for number, _ in _findings(verdict).values()})


def print_checks(checks: Sequence[CheckResult], *, told: Collection[str] = ()) -> None:
    """A line for each, on standard output; of `told` numbers that passed the detail is known."""
    width = max((len(check.number) for check in checks), default=0)
    for check in checks:
        title = check.title.split(":")[0]
        known = check.number in told and check.result is Result.PASSED
        detail = "" if known else dim(printable(check.detail))
        line(f"  {check.number:<{width}} {_MARKS[check.result]}  {title:<18} {detail}".rstrip())


def _findings(verdict: Verdict) -> dict[str, tuple[str, str]]:
    """Notes that are about one check, `NUMBER CLAIM`: key -> number and claim."""
    numbers = {check.number for check in verdict.checks}
    found: dict[str, tuple[str, str]] = {}
    for key in () if verdict.guarantee is None else verdict.guarantee.notes:
        number, _, claim = key.partition(" ")
        if number in numbers and claim:
            found[key] = (number, claim)
    return found


def _print_guarantee(verdict: Verdict) -> None:
    guarantee = verdict.guarantee
    assert guarantee is not None
    line("\n" + bold("shown"))
    line(f"  backend      {verdict.backend}")
    line(f"  integrity    {', '.join(sorted(guarantee.integrity))}")
    if guarantee.bits is not None:
        line(f"  soundness    about {guarantee.bits} bits")
    for subject, whom in guarantee.hidden.items():
        line(f"  hidden       {subject} from {whom}")
    findings = _findings(verdict)
    for key, value in guarantee.notes.items():
        if key not in findings:
            line(f"  {printable(key):<12} {printable(value)}")
    line(f"  finality     {guarantee.finality.value}")
    if findings:
        line("\n" + bold("found"))
    for key, (number, claim) in findings.items():
        line(f"  {number:<7} {printable(claim):<36}  {printable(guarantee.notes[key])}")
    line("\n" + bold("still assumed"))
    for name in sorted(guarantee.assumptions):
        line(f"  {name:<28} {dim(meaning_of(name, verdict.backend))}")
    if not guarantee.assumptions:
        line("  nothing more than the checks below rest on")
