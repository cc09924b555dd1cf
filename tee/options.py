"""What a caller may ask of the prover: `--set KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from proofml.backend import Request
from proofml.errors import UsageError
from proofml.statement import Visibility
from proofml.tee.binding import MAX_CHALLENGE_BYTES, Mode, ReceiptAlgorithm
from proofml.tee.platform import Platform
from proofml.tee.receipts import MAX_COUNTER

T = TypeVar("T", bound=StrEnum)

AUTO, HARDWARE, SIMULATOR = "auto", "hardware", "simulator"
_QUOTES: Final = (AUTO, HARDWARE, SIMULATOR)
#: Key -> meaning.
KNOWN: Final[Mapping[str, str]] = {
    "platform": "tdx, sgx, sev-snp or nitro; by default the machine's own, else a simulated tdx",
    "mode": "inference: a quote for each Statement; session: a quote at the start, then receipts",
    "receipts": "ed25519, or secp256k1 for contracts; of a session",
    "challenge": "hexadecimal; the verifier's, bound by the quote of a session",
    "quotes": "auto, hardware or simulator: where quotes come from",
    "simulator": "folder of the simulated roots, instead of the cache",
    "collateral": "file of DCAP collateral to be sent along (TDX on hardware)",
    "server": "socket of a running `proofml tee serve`; its platform, mode and model are used",
    "since": "first receipt that is sent along; the verifier holds a checkpoint before it",
}
#: What a running server has decided already.
_STARTING: Final = frozenset(
    {"platform", "mode", "receipts", "challenge", "quotes", "simulator", "collateral"}
)
#: Of a server alone.
_SERVED: Final = frozenset({"since"})


@dataclass(frozen=True)
class Options:
    """Read strictly; None for what was left to be found out."""

    platform: Platform | None = None
    mode: Mode = Mode.INFERENCE
    receipts: ReceiptAlgorithm = ReceiptAlgorithm.ED25519
    challenge: bytes | None = None
    quotes: str = AUTO
    simulator: Path | None = None
    collateral: Path | None = None
    server: Path | None = None
    since: int = 0

    @classmethod
    def read(cls, request: Request, *, sealed: bool = False) -> Options:
        """The options of a request.

        Args:
            sealed: the inputs come sealed; visibility is then decided by that.

        Raises:
            UsageError: naming the option, or what the backend cannot do.
        """
        options = request.options
        for key in options:
            if key not in KNOWN:
                raise UsageError(f"tee has no option {key}; known: {', '.join(KNOWN)}")
        if request.parameters != "fixed":
            raise UsageError("tee names the model by its digest; parameters cannot be hidden")
        if request.max_error is not None:
            raise UsageError("tee makes no approximation; --max-error is for others")
        if not sealed and {request.input_visibility, request.output_visibility} != {
            Visibility.PUBLIC
        }:
            raise UsageError(
                "tee hides inputs and outputs that are sealed (`proofml seal`); those that are "
                "given in the open are public"
            )
        found = cls(
            platform=_platform(options),
            mode=_choice(options, "mode", Mode, Mode.INFERENCE),
            receipts=_choice(options, "receipts", ReceiptAlgorithm, ReceiptAlgorithm.ED25519),
            challenge=_challenge(options),
            quotes=_quotes(options),
            simulator=_path(options, "simulator"),
            collateral=_path(options, "collateral"),
            server=_path(options, "server"),
            since=_since(options),
        )
        found._check(frozenset(options))
        return found

    def _check(self, given: frozenset[str]) -> None:
        """Options that contradict each other."""
        wrong = sorted(given & (_STARTING if self.server is not None else _SERVED))
        if wrong and self.server is not None:
            raise UsageError(f"--set {wrong[0]}: the server has decided that; leave it out")
        if wrong:
            raise UsageError(f"--set {wrong[0]}: of a server alone (--set server=SOCKET)")
        if self.server is not None:
            return
        if self.mode is not Mode.SESSION:
            for key in sorted(given & {"receipts", "challenge"}):
                raise UsageError(f"--set {key}: of a session (--set mode=session)")
        if self.quotes == HARDWARE and self.simulator is not None:
            raise UsageError("--set simulator: quotes shall come from hardware; leave it out")
        if self.collateral is not None and self.platform not in (None, Platform.TDX):
            raise UsageError(f"--set collateral: of tdx; this is {self.platform}")


def _choice(options: Mapping[str, str], key: str, kind: type[T], default: T) -> T:
    if key not in options:
        return default
    text = options[key]
    if text not in set(kind):
        raise UsageError(f"--set {key}={text}: expected one of {', '.join(kind)}")
    return kind(text)


def _platform(options: Mapping[str, str]) -> Platform | None:
    return _choice(options, "platform", Platform, Platform.TDX) if "platform" in options else None


def _quotes(options: Mapping[str, str]) -> str:
    text = options.get("quotes", AUTO)
    if text not in _QUOTES:
        raise UsageError(f"--set quotes={text}: expected one of {', '.join(_QUOTES)}")
    return text


def _challenge(options: Mapping[str, str]) -> bytes | None:
    if "challenge" not in options:
        return None
    text = options["challenge"]
    expected = f"1 to {MAX_CHALLENGE_BYTES} bytes as hexadecimal digits"
    try:
        found = bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(f"--set challenge={text}: expected {expected}") from error
    if not 1 <= len(found) <= MAX_CHALLENGE_BYTES:
        raise UsageError(f"--set challenge: expected {expected}, got {len(found)} bytes")
    return found


def _since(options: Mapping[str, str]) -> int:
    text = options.get("since", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_COUNTER):
        raise UsageError(f"--set since={text}: expected an integer from 0 to {MAX_COUNTER}")
    return int(text)


def _path(options: Mapping[str, str], key: str) -> Path | None:
    if key not in options:
        return None
    if not options[key] or "\0" in options[key]:
        raise UsageError(f"--set {key}={options[key]!r}: expected a path")
    return Path(options[key])
