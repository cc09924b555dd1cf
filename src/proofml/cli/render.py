"""Statements and verdicts for people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from proofml.backend import get_backend
from proofml.checks import Result
from proofml.errors import ProofmlError, printable
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.statement import Statement, TensorClaim
from proofml.tensors import Array
from proofml.verdict import Status, Verdict

_COLOURS = {
    Status.ACCEPTED: "bold green",
    Status.REFUSED: "bold yellow",
    Status.PENDING: "bold yellow",
    Status.INVALID: "bold red",
}
_MARKS = {
    Result.PASSED: "[green]pass   [/]",
    Result.FAILED: "[red]FAIL   [/]",
    Result.ASSUMED: "[yellow]assumed[/]",
    Result.SKIPPED: "[dim]n/a    [/]",
}


def console() -> Console:
    return Console(highlight=False, soft_wrap=True)


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


def print_statement(
    out: Console, statement: Statement, values: Mapping[str, Array] | None = None
) -> None:
    """What is claimed, line by line."""
    model = statement.model
    if model.weights_hidden:
        out.print(f"  model        any weights of architecture {model.architecture_sha256}")
    else:
        out.print(f"  model        {model.canonical_sha256}")
        out.print(f"  model file   {model.file_sha256}")
    for role, claim in statement.tensors():
        out.print(f"  {role.split('.')[0]:<12} {escape(describe_tensor(claim))}")
        if values is not None and role in values:
            out.print(f"  {'':<12} {escape(preview(values[role]))}")
    nonce = "none" if statement.nonce is None else statement.nonce.hex()
    out.print(f"  nonce        {nonce}")
    out.print(f"  computation  {escape(statement.computation.kind)}")


def print_verdict(verdict: Verdict, proof: Path) -> None:
    """The verdict on standard output."""
    out = console()
    colour = _COLOURS[verdict.status]
    out.print(f"[{colour}]{verdict.status.value.upper()}[/]  {escape(str(proof))}")
    for reason in verdict.reasons:
        out.print(f"  [{colour}]because[/] {escape(reason)}")
    if verdict.statement is not None:
        out.print("\n[bold]claimed[/]")
        print_statement(out, verdict.statement, verdict.tensors)
    if verdict.guarantee is not None:
        _print_guarantee(out, verdict)
    out.print("\n[bold]checked[/]")
    width = max((len(check.number) for check in verdict.checks), default=0)
    for check in verdict.checks:
        title = check.title.split(":")[0]
        out.print(
            f"  {check.number:<{width}} {_MARKS[check.result]}  {title:<18} "
            f"[dim]{escape(printable(check.detail))}[/]".rstrip()
        )


def _print_guarantee(out: Console, verdict: Verdict) -> None:
    guarantee = verdict.guarantee
    assert guarantee is not None
    out.print("\n[bold]shown[/]")
    out.print(f"  backend      {verdict.backend}")
    out.print(f"  integrity    {', '.join(sorted(guarantee.integrity))}")
    if guarantee.bits is not None:
        out.print(f"  soundness    about {guarantee.bits} bits")
    for subject, whom in guarantee.hidden.items():
        out.print(f"  hidden       {escape(subject)} from {escape(whom)}")
    for key, value in guarantee.notes.items():
        out.print(f"  {escape(key):<12} {escape(value)}")
    out.print(f"  finality     {guarantee.finality.value}")
    out.print("\n[bold]still assumed[/]")
    for name in sorted(guarantee.assumptions):
        out.print(f"  {name:<28} [dim]{escape(meaning_of(name, verdict.backend))}[/]")
    if not guarantee.assumptions:
        out.print("  nothing more than the checks below rest on")
