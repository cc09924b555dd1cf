"""Where a prover's quotes come from: the hardware of this machine, or a simulator that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofml.errors import BackendUnavailable, UsageError
from proofml.store import Store
from proofml.tee.collateral import MAX_COLLATERAL_BYTES
from proofml.tee.options import AUTO, HARDWARE, SIMULATOR, Options
from proofml.tee.platform import Platform
from proofml.tee.quoter import Quoter

#: What shows that this machine is such a guest. SGX enclaves are made by a library OS, not here.
_SIGNS: Final = {
    Platform.TDX: Path("/sys/devices/virtual/misc/tdx_guest"),
    Platform.SEV_SNP: Path("/sys/devices/virtual/misc/sev-guest"),
    Platform.NITRO: Path("/dev/nsm"),
}


def here() -> tuple[Platform, ...]:
    """Platforms whose hardware this machine offers to its guest."""
    return tuple(platform for platform, sign in _SIGNS.items() if sign.exists())


@dataclass(frozen=True)
class Choice:
    platform: Platform
    simulated: bool


def choose(options: Options) -> Choice:
    """Which platform, and whether its hardware is here.

    Raises:
        BackendUnavailable: hardware is asked for and not here.
    """
    found = here()
    platform = options.platform or (found[0] if found else Platform.TDX)
    if options.quotes == SIMULATOR or (options.quotes == AUTO and options.simulator is not None):
        return Choice(platform, simulated=True)
    if platform in found:
        return Choice(platform, simulated=False)
    if options.quotes == HARDWARE:
        others = ", ".join(found) or "none"
        raise BackendUnavailable(
            f"{platform}: this machine does not offer it to its guest (it offers {others}); "
            "--set quotes=simulator takes a software root, which the verdict says"
        )
    return Choice(platform, simulated=True)


def open_quoter(options: Options, store: Store) -> tuple[Quoter, Choice]:
    """A started guest of the chosen platform.

    Raises:
        BackendUnavailable: hardware is asked for and not here.
        BackendFailed: the platform refuses, or the simulator's folder cannot be written.
        UsageError: a broken simulator, or a collateral file that cannot be read.
    """
    choice = choose(options)
    if choice.simulated:
        from proofml.tee.simulator.hardware import SimulatedQuoter

        if options.collateral is not None:
            raise UsageError("--set collateral: of hardware; a simulator signs its own")
        place = store if options.simulator is None else Store(options.simulator)
        return SimulatedQuoter.open(choice.platform, place), choice
    from proofml.tee import hardware

    if options.collateral is None:
        return hardware.open_quoter(choice.platform), choice
    data = _read(options.collateral)
    return hardware.open_quoter(choice.platform, collateral=lambda quote: data), choice


def _read(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"{path}: no such file; expected DCAP collateral")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_COLLATERAL_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_COLLATERAL_BYTES:
        raise UsageError(f"{path}: expected at most {MAX_COLLATERAL_BYTES} bytes of collateral")
    return data
