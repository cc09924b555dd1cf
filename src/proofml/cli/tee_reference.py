"""`proofml tee reference-values`: what an enclave of this installation measures."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from proofml.cli.common import force_option, parse_pairs
from proofml.cli.files import write_file
from proofml.errors import BackendUnavailable, UsageError

if TYPE_CHECKING:
    from proofml.model import Model
    from proofml.tee.binding import Mode
    from proofml.tee.platform import Platform

_PLATFORMS = ["tdx", "sgx", "sev-snp", "nitro"]


@click.command("reference-values")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--platform", type=click.Choice(_PLATFORMS), required=True, help="Whose registers.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File to write [standard output]."
)
@click.option("--name", help="What to call them [MODEL and release].")
@click.option(
    "--mode",
    type=click.Choice(["inference", "session"]),
    help="Of what the enclave's quotes are; either if left out.",
)
@click.option(
    "--shared",
    multiple=True,
    metavar="NAME",
    help="Isolation that the process may lack, where a kernel does not grant it (uts, ...).",
)
@click.option(
    "--requires",
    multiple=True,
    metavar="PACKAGE=VERSION",
    help="Version inside the enclave, where it is not the one that is installed here.",
)
@click.option(
    "--sign", type=click.Path(path_type=Path), multiple=True, help="Ed25519 key to sign with."
)
@click.option("--passphrase-file", type=click.Path(path_type=Path), help="Passphrase of the key.")
@force_option
def reference_values(
    model: Path,
    platform: str,
    output: Path | None,
    name: str | None,
    mode: str | None,
    shared: tuple[str, ...],
    requires: tuple[str, ...],
    sign: tuple[Path, ...],
    passphrase_file: Path | None,
    force: bool,
) -> None:
    """Derive what an enclave measures that runs MODEL with this release of proofml.

    Two registers: of the code, and of the configuration, which names the model, the runtime and how
    far the process is isolated. A policy takes the file under [backends.tee] measurements. It holds
    for the simulator, and for images whose measured part is this package; for any other image the
    values come from whoever built it.
    """
    from proofml import __version__
    from proofml.cli.keys import load_key
    from proofml.model import Model
    from proofml.tee.binding import Mode
    from proofml.tee.measure import code_measurement
    from proofml.tee.platform import Platform
    from proofml.tee.reference import Reference, ReferenceFile

    if output is not None and output.exists() and not force:
        raise UsageError(f"{output}: exists; give another name (-o) or --force")
    chosen = Platform(platform)
    loaded = Model.load(model)
    versions = parse_pairs(requires, "--requires")
    modes = tuple(Mode) if mode is None else (Mode(mode),)
    registers = {
        register: frozenset({value})
        for register, value in code_measurement(chosen, versions).items()
    }
    registers |= config_registers(
        loaded, chosen, modes, shared, runtime=versions.get("onnxruntime")
    )
    reference = Reference(chosen, name or f"{loaded.name}, proofml {__version__}", registers)
    keys = [load_key(path, passphrase_file) for path in sign]
    data = ReferenceFile((reference,)).to_bytes(keys)
    if output is None:
        click.echo(data, nl=False)
        return
    write_file(output, data)
    click.echo(f"{output}: {len(data)} bytes, {platform}, {reference.name}")
    for register, values in registers.items():
        for value in sorted(values):
            click.echo(f"  {register:<12} {value}")


def config_registers(
    model: Model,
    platform: Platform,
    modes: Collection[Mode],
    shared: Collection[str] = (),
    *,
    runtime: str | None = None,
) -> Mapping[str, frozenset[str]]:
    """The register into which the configuration is measured, one value for each mode.

    Args:
        shared: names of isolation that the process may lack; all of it is expected otherwise.
        runtime: version of onnxruntime in the enclave; None for the one that is installed here.

    Raises:
        UsageError: an unknown name of isolation.
        BackendUnavailable: onnxruntime is not installed, and no version is given.
    """
    from proofml.runtime import SETTINGS, runtime_version
    from proofml.tee import config as measured
    from proofml.tee.enclave.isolation import ISOLATION
    from proofml.tee.eventlog import EventLog
    from proofml.tee.platform import Platform

    unknown = sorted(set(shared) - set(ISOLATION))
    if unknown:
        raise UsageError(f"--shared {unknown[0]}: expected one of {', '.join(ISOLATION)}")
    version = runtime or runtime_version()
    if version is None:
        raise BackendUnavailable("onnxruntime is not installed; pip install 'proofml[tee]'")
    isolation = {name: name not in shared for name in ISOLATION}
    function = measured.Runtime("onnxruntime", version, SETTINGS)
    values: set[str] = set()
    name = "host_data" if platform is Platform.SEV_SNP else "configid"
    for mode in modes:
        data = measured.Configuration(model.digest, mode, function, isolation).to_bytes()
        if platform is Platform.SEV_SNP:
            values.add(measured.host_data(data).hex())
        elif platform is Platform.SGX:
            values.add(measured.config_id(data).hex())
        else:
            index, event = measured.CONFIG_REGISTERS[platform], measured.config_event(data)
            log = EventLog(platform).extended(index, measured.CONFIG_EVENT, event)
            ((name, value),) = log.registers.items()
            values.add(value)
    return {name: frozenset(values)}
