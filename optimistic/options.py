"""What a caller may ask of the prover: `--set KEY=VALUE`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proofml.backend import Request
from proofml.circuits.settings import (
    QUANTISING,
    check_known,
    path_option,
    quantisation_config,
    read_option,
    whole,
)
from proofml.errors import UsageError
from proofml.fields import FieldError, sha256_item
from proofml.keys import read_passphrase
from proofml.optimistic.accounts import Account
from proofml.optimistic.claim import MAX_K_LOG, MAX_URI_BYTES, WHOLE
from proofml.optimistic.ledgers import Opened, open_chain, open_file
from proofml.optimistic.policy import ChainPin
from proofml.optimistic.record import read_address
from proofml.statement import Visibility

if TYPE_CHECKING:
    from proofml.circuits.quantise.record import QuantisationConfig

_U32 = (1 << 32) - 1
_U128 = (1 << 128) - 1
#: Names the terms of a claim; each has a default, in `Stakes`.
STAKES: Final = (
    "bond", "challenge-bond", "burn", "window", "clock", "extension", "answer", "data-fee", "k",
    "uri", "trace",
)  # fmt: skip
LEDGER: Final = (
    "ledger", "rpc", "chain-id", "contract", "code-sha256", "key", "passphrase-file",
)  # fmt: skip
#: Of float claims; `arithmetic` is exact where it is not given.
FLOATING: Final = ("arithmetic", "bounds", "grouped")
KNOWN: Final = (*LEDGER, *STAKES, *QUANTISING, *FLOATING)


def is_float(request: Request) -> bool:
    """Whether a float claim is asked for; raises `UsageError` for an arithmetic that is none."""
    given = request.options.get("arithmetic", "exact")
    if given not in ("exact", "float"):
        raise UsageError(f"--set arithmetic={given}: expected exact or float")
    for key in FLOATING[1:]:
        if given == "exact" and key in request.options:
            raise UsageError(f"--set {key}: of float claims; give arithmetic=float as well")
    return given == "float"


@dataclass(frozen=True, slots=True)
class Stakes:
    """Terms that the claimant chooses, as in `claim.Terms`.

    Attributes:
        clock: for all moves of a dispute. The first move of a claim whose trace is deferred takes a
            run of the model in which every operator's output is hashed, several times as long as
            a plain run: the clock, and the extension for whoever answers late, must leave time
            for it.
        deferred: `trace=deferred`: only inputs and outputs are committed, the trace in the first
            move of a dispute; `trace=posted`: its root is part of the claim.
    """

    bond: int = 1000
    challenge_bond: int = 100
    burn: int = 1000
    window: int = 3600
    clock: int = 600
    extension: int = 120
    answer: int = 300
    data_fee: int = 1
    k_log: int = 4
    uri: str = ""
    deferred: bool = True


#: Where each action waits for blocks; a policy without times of its own accepts these.
ON_CHAIN: Final = Stakes(window=24 * 3600, clock=6 * 3600, extension=3600, answer=3600)


@dataclass(frozen=True, slots=True)
class Options:
    """Read strictly.

    Attributes:
        ledger: file of an embedded ledger.
        chain: or a contract on a chain.
        key: of the claimant's account.
        passphrase_file: for the key.
        quantisation: how a float model is quantised; None where the model is quantised itself.
    """

    ledger: Path | None
    chain: ChainPin | None
    key: Path | None
    passphrase_file: Path | None
    stakes: Stakes
    quantisation: QuantisationConfig | None

    @classmethod
    def read(cls, request: Request, *, quantised: bool) -> Options:
        """Raises `UsageError` naming the option."""
        options = request.options
        check_known(options, KNOWN, "optimistic", quantised=quantised)
        _check_visibility(request)
        ledger, chain = path_option(options, "ledger"), _chain(request)
        if ledger is not None and chain is not None:
            raise UsageError("--set ledger and rpc: expected one of them")
        passphrase = path_option(options, "passphrase-file")
        config = None if quantised else quantisation_config(options)
        key = path_option(options, "key")
        default = Stakes() if chain is None else ON_CHAIN
        return cls(ledger, chain, key, passphrase, _stakes(request, default), config)

    def open(self) -> Opened:
        """The ledger, for the claimant's account.

        Raises:
            UsageError: which option is missing; no such file; no key.
            BackendUnavailable, VerificationError: as of `ledgers`.
        """
        if self.key is None:
            raise UsageError(
                "a claim is posted by an account: expected --set key=FILE (`proofml keys generate` "
                "makes one)"
            )
        passphrase = read_passphrase(self.passphrase_file)
        if self.chain is not None:
            return open_chain(self.chain, [self.key], passphrase)
        if self.ledger is None:
            raise UsageError(
                "a claim is posted on a ledger: expected --set ledger=FILE (`proofml ledger init` "
                "makes one), or --set rpc=URL with chain-id and contract"
            )
        return open_file(self.ledger, Account.load(self.key, passphrase=passphrase))


def _stakes(request: Request, default: Stakes) -> Stakes:
    options = request.options

    def number(key: str, low: int, high: int, value: int) -> int:
        return read_option(options, key, whole(low, high), value)

    found = Stakes(
        bond=number("bond", 1, _U128, default.bond),
        challenge_bond=number("challenge-bond", 1, _U128, default.challenge_bond),
        burn=number("burn", 0, WHOLE, default.burn),
        window=number("window", 0, _U32, default.window),
        clock=number("clock", 1, _U32, default.clock),
        extension=number("extension", 1, _U32, default.extension),
        answer=number("answer", 1, _U32, default.answer),
        data_fee=number("data-fee", 0, _U128, default.data_fee),
        k_log=read_option(options, "k", _power, default.k_log),
        uri=read_option(options, "uri", _uri, default.uri),
        deferred=read_option(options, "trace", _deferred, default.deferred),
    )
    if found.extension > found.clock:
        raise UsageError(
            f"--set extension={found.extension}: expected at most the clock, {found.clock}"
        )
    return found


def _power(text: str) -> int:
    powers = {str(1 << log): log for log in range(1, MAX_K_LOG + 1)}
    if text not in powers:
        raise ValueError(f"one of {', '.join(powers)}")
    return powers[text]


def _deferred(text: str) -> bool:
    if text not in ("deferred", "posted"):
        raise ValueError(
            "deferred (the first move of a dispute makes it, and the clock must leave time for "
            "that run), or posted"
        )
    return text == "deferred"


def _uri(text: str) -> str:
    if len(text) > MAX_URI_BYTES or any(not "!" <= character <= "~" for character in text):
        raise ValueError(f"at most {MAX_URI_BYTES} printable ASCII characters without blanks")
    return text


def _chain(request: Request) -> ChainPin | None:
    options = request.options
    needed = ("rpc", "chain-id", "contract")
    if not any(key in options for key in (*needed, "code-sha256")):
        return None
    if not all(key in options for key in needed):
        raise UsageError("a chain: expected --set rpc=URL, chain-id=NUMBER and contract=0x...")
    code = options.get("code-sha256")
    try:
        contract = read_address(options["contract"].lower(), "contract")
        digest = None if code is None else sha256_item(code, "code-sha256")
    except FieldError as error:
        raise UsageError(f"--set {error}") from error
    chain_id = read_option(options, "chain-id", whole(1, (1 << 53) - 1), 0)
    return ChainPin(options["rpc"], chain_id, contract, digest, 0)


def _check_visibility(request: Request) -> None:
    """Challengers need everything: nothing can be kept from them."""
    for role, shown in (
        ("input", request.input_visibility is Visibility.PUBLIC),
        ("output", request.output_visibility is Visibility.PUBLIC),
        ("parameters", request.parameters == "fixed"),
    ):
        if not shown:
            raise UsageError(
                f"optimistic hides nothing, as challengers run the model again; {role}: expected "
                + ("fixed" if role == "parameters" else "public")
            )
