"""`proofml verify`: the verdict, and an exit code that means something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from proofml.cli.common import json_option, print_json
from proofml.cli.judging import judge, judging_options


@click.command("verify")
@click.argument("proof", type=click.Path(path_type=Path))
@judging_options
@json_option
def command(proof: Path, as_json: bool, **options: Any) -> int:
    """Verify PROOF (a .pml file) and print the verdict.

    What you do not pin (model, input, output, nonce) comes back as an assumption; the default
    policy refuses an unpinned model. Exit code: 0 accepted, 1 invalid, 3 refused or pending.
    """
    from proofml.cli.render import print_verdict

    found = judge(proof, **options)
    verdict = found.verdict
    if as_json:
        print_json({"proof": str(proof), "policy": found.policy.to_json(), **verdict.to_json()})
    else:
        print_verdict(verdict, proof)
    return verdict.exit_code
