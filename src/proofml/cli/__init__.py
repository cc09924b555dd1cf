"""The command line: one file per command, each imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from proofml import __version__

ENV_PREFIX = "PROOFML"

#: Command -> one line of help, shown without importing the command.
COMMANDS = {
    "inspect": "Show a model's interface, operators, size, digests, and who can prove it.",
    "backends": "List the registered backends and whether they can run here.",
    "export": "Run a function of yours that returns a model, and write it as ONNX.",
    "quantise": "Quantise a float model to 8-bit integers, as it is deployed and proven.",
    "seal": "Seal inputs for a proof, so that the prover cannot read them.",
    "setup": "Make (or find in the cache) what proving a model needs.",
    "prove": "Prove the inference of MODEL on INPUT.",
    "verify": "Verify a proof and print the verdict.",
    "open": "Verify a proof over sealed inputs, and read its outputs.",
    "show": "Show what a proof claims, without judging it.",
    "watch": "Run again what is claimed on a ledger, and challenge what is false.",
    "respond": "Answer disputes and requests about your own claims on a ledger.",
    "dispute": "List and draw disputes about claims on a ledger.",
    "ledger": "Make and audit embedded ledgers; deposits, balances, accounts.",
    "tee": "Trusted hardware: look into evidence, serve an enclave, reference values.",
    "fhe": "Homomorphic encryption: compile circuits, make keys, seal inputs, open outputs.",
    "srs": "List, import or generate structured reference strings.",
    "keys": "Make and show provers' signing keys.",
    "cache": "Look after the cache of keys, circuits and reference strings.",
}


class LazyGroup(click.Group):
    """Imports `proofml.cli.NAME` for the command NAME when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"proofml.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        _name_variables(command, f"{ENV_PREFIX}_{cmd_name.upper()}")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _name_variables(command: click.Command, prefix: str) -> None:
    """Each option's environment variable, by how it is written and not by its parameter's name."""
    for option in command.params:
        if isinstance(option, click.Option) and option.envvar is None:
            flag = max(option.opts, key=len).lstrip("-")
            option.envvar = f"{prefix}_{flag.replace('-', '_').upper()}"
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            _name_variables(inner, f"{prefix}_{name.upper()}")


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": ENV_PREFIX},
)
@click.version_option(__version__, prog_name="proofml")
def group() -> None:
    """Prove and verify machine-learning inference.

    Exit codes: 0 accepted or done, 1 invalid proof, 2 wrong use, 3 refused by policy or pending,
    4 backend unavailable, 5 backend failed. Results go to standard output, progress to standard
    error. Every option can be set by an environment variable, PROOFML_COMMAND_OPTION.
    """


def main(args: list[str] | None = None) -> None:
    """Entry point: runs a command and exits with the code of the contract."""
    from proofml.cli.common import run_guarded

    sys.exit(run_guarded(group, args))
