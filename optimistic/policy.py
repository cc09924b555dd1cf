"""The policy's table `[backends.optimistic]`, read strictly.

ledger              path of an embedded ledger, from the policy's folder
ledger_name         hexadecimal, 32 bytes: the name that this ledger has to have
chain               instead: a table of rpc, chain_id, contract, code_sha256, confirmations (12),
                    block_seconds (12)
least_bond          what a claimant has to stake (1 on an embedded ledger, whose money is
                    bookkeeping; on a chain it has to be named, in wei)
most_challenge_bond what a challenger may have to stake; by default the claim's own bond
most_data_fee       what asking for 1024 bytes of an input may cost; by default 1% of the bond
least_window        seconds in which a claim can be challenged (3600; on a chain a day); less is
                    `window:none`
least_clock         seconds that each side has for a whole dispute (60; on a chain two extensions)
most_clock          the same at most (7 days): so long a dispute holds the bond of whoever is right
least_extension     seconds that each side has for a move at least (30; on a chain 600, or 25 blocks
                    more than the confirmations)
most_time           seconds from posting to finality, if disputes take as long as they can (30 days)
least_burn          share of a lost bond that nobody gets, in basis points (500): a claimant who
most_burn           sees that he loses can defeat himself and get the rest back; at most (5000)
quantisation        digests of accepted quantisation records: the integer version of a float model
                    is then not the prover's choice
pinned              tables {model, interface, file}: canonical digest of a model, digest of its
                    program's interface, path of it: nothing is compiled, no model is needed

A proof names a ledger, but only the one that is pinned here is opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proofml.errors import UsageError
from proofml.fields import FieldError, Fields, sha256_item
from proofml.optimistic.about import INPUTS_NOT_ASKABLE, LEDGER_LOCAL, NAME, WINDOW_NONE
from proofml.optimistic.claim import WHOLE, Terms
from proofml.optimistic.interface import MAX_BYTES, Interface, read_interface
from proofml.optimistic.record import LEDGER_NAME_BYTES, MAX_NUMBER, read_address
from proofml.policy import Policy

#: Of a chain, where its table says nothing else.
CONFIRMATIONS: Final = 12
BLOCK_SECONDS: Final = 12
#: Blocks that a move may wait for, its confirmations aside.
_BLOCKS = 25
_LEAST_ON_CHAIN = 600
_DAY = 24 * 3600
MOST_CLOCK: Final = 7 * _DAY
MOST_TIME: Final = 30 * _DAY
#: Requests of one account that a block takes, or an embedded ledger in a second.
REQUESTS: Final = 50
#: All requests for a claim's inputs may cost this part of what a challenger wins.
_PART = 4
LEAST_BURN: Final = WHOLE // 20
MOST_BURN: Final = WHOLE // 2
_U32 = (1 << 32) - 1
_U128 = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class ChainPin:
    """A contract on a chain.

    Attributes:
        rpc: of a node that the verifier trusts to tell what the chain says.
        code_sha256: of the contract's code; None for that of this package's own contract.
        confirmations: blocks that have to lie above one that counts.
    """

    rpc: str
    chain_id: int
    contract: str
    code_sha256: str | None
    confirmations: int
    block_seconds: int = BLOCK_SECONDS


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a ledger takes what is sent to it.

    Attributes:
        confirmations: blocks until a reader believes it.
        block_seconds: from one block to the next; 0 where there are none.
    """

    confirmations: int = 0
    block_seconds: int = 0

    @classmethod
    def of(cls, chain: ChainPin | None) -> Pace:
        return cls() if chain is None else cls(chain.confirmations, chain.block_seconds)

    @classmethod
    def usual(cls, *, local: bool) -> Pace:
        """That of a policy which says nothing of it."""
        return cls() if local else cls(CONFIRMATIONS, BLOCK_SECONDS)

    @property
    def window(self) -> int:
        """The least of a policy that demands no other."""
        return _DAY if self.block_seconds else 3600

    @property
    def extension(self) -> int:
        """As `window`."""
        if not self.block_seconds:
            return 30
        return max(_LEAST_ON_CHAIN, (self.confirmations + _BLOCKS) * self.block_seconds)

    def clock(self, extension: int) -> int:
        """As `window`, where a move has `extension` seconds."""
        return 2 * extension if self.block_seconds else 60

    def asking(self, requests: int) -> int:
        """Seconds from a claim's posting until one account's requests are on the ledger."""
        bundles = -(-requests // REQUESTS)
        if not self.block_seconds:
            return bundles
        return (2 * self.confirmations + bundles) * self.block_seconds

    def askable(self, terms: Terms, requests: int, extension: int) -> bool:
        """Whether all inputs could be asked for on the ledger, in time and without a loss.

        A liar may answer all requests but the last one, and earns their fees until he loses his
        bond.

        Args:
            requests: for all inputs.
            extension: seconds that it takes to see the claim.
        """
        time = 2 * terms.answer + extension + self.asking(requests)
        wins = terms.bond - terms.burnt(terms.bond)
        return terms.window >= time and _PART * terms.data_fee * requests <= wins


@dataclass(frozen=True, slots=True)
class Pin:
    """A program known beforehand; the file is believed because it has the interface's digest."""

    model: str
    interface: str
    file: Path

    def read(self, source: str) -> Interface:
        """Raises `UsageError` for any other file."""
        where = f"{source}: backends.{NAME}.pinned: file {self.file}"
        if not self.file.is_file():  # opening a pipe would wait for ever
            raise UsageError(f"{where}: no such file; `proofml setup -b {NAME} -o` writes one")
        try:
            with self.file.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            found = read_interface(data)
        except OSError as error:
            raise UsageError(f"{where}: cannot be read: {error.strerror}") from error
        except FieldError as error:
            raise UsageError(f"{where}: {error}") from error
        if found.digest != self.interface:
            raise UsageError(f"{where}: expected digest {self.interface}, got {found.digest}")
        return found


@dataclass(frozen=True, slots=True)
class OptimisticPolicy:
    """As it was read; what it names is opened when it is needed."""

    ledger: Path | None
    ledger_name: bytes | None
    chain: ChainPin | None
    least_bond: int | None
    most_challenge_bond: int | None
    most_data_fee: int | None
    least_window: int
    least_clock: int
    most_clock: int
    least_extension: int
    most_time: int
    least_burn: int
    most_burn: int
    quantisation: frozenset[str]
    pinned: tuple[Pin, ...]

    @classmethod
    def read(cls, policy: Policy) -> OptimisticPolicy:
        """Raises `UsageError` naming the key."""
        fields = policy.section(NAME)
        folder = Path(policy.source).parent
        try:
            found = _read(fields, folder)
            fields.done()
        except FieldError as error:
            raise UsageError(f"{policy.source}: {error}; see docs/policy.md") from error
        return found

    def interfaces(self, model: str | None, source: str) -> tuple[Interface, ...]:
        """All that are pinned for this model; raises `UsageError` where one cannot be read."""
        return tuple(pin.read(source) for pin in self.pinned if pin.model == model)

    def askable(self, terms: Terms, requests: int) -> bool:
        """Whether all inputs, by so many requests, could be asked for on the ledger."""
        return Pace.of(self.chain).askable(terms, requests, self.least_extension)

    def objections(self, terms: Terms, longest: int) -> tuple[str, ...]:
        """Why these stakes are not enough; the window is judged apart.

        Args:
            longest: seconds that a dispute lasts at most.
        """
        most = terms.bond if self.most_challenge_bond is None else self.most_challenge_bond
        fee = terms.bond // 100 if self.most_data_fee is None else self.most_data_fee
        found = []
        if self.least_bond is None and self.chain is not None:
            found.append(
                f"the policy names no bond that is enough: set backends.{NAME}.least_bond, in wei; "
                f"the claim's is {terms.bond}"
            )
        for name, value, low, high in (
            ("bond", terms.bond, self.least_bond, None),
            ("challenge bond", terms.challenge_bond, None, most),
            ("fee for data", terms.data_fee, None, fee),
            ("clock", terms.clock, self.least_clock, self.most_clock),
            ("extension", terms.extension, self.least_extension, None),
            ("time to finality", terms.window + longest, None, self.most_time),
            ("burn", terms.burn, self.least_burn, self.most_burn),
        ):
            if low is not None and value < low:
                found.append(f"the claim's {name} is {value}, the policy demands at least {low}")
            if high is not None and value > high:
                found.append(f"the claim's {name} is {value}, the policy allows at most {high}")
        return tuple(found)


def usual_hints(terms: Terms, requests: int, *, local: bool) -> frozenset[str]:
    """What a verifier will have to allow whose policy demands no more than the default.

    Args:
        requests: how many ask for all inputs.
        local: on an embedded ledger.
    """
    pace = Pace.usual(local=local)
    watched = terms.window >= pace.window
    found = {
        LEDGER_LOCAL: local,
        WINDOW_NONE: not watched,
        INPUTS_NOT_ASKABLE: watched and not pace.askable(terms, requests, pace.extension),
    }
    return frozenset(name for name, raised in found.items() if raised)


def _read(fields: Fields, folder: Path) -> OptimisticPolicy:
    name = None
    if "ledger_name" in fields:
        name = fields.hexadecimal("ledger_name", longest=LEDGER_NAME_BYTES)
        if len(name) != LEDGER_NAME_BYTES:
            raise FieldError(fields.at("ledger_name"), "32 bytes", name.hex())
    chain = _chain(fields.table("chain")) if "chain" in fields else None
    ledger = folder / fields.string("ledger") if "ledger" in fields else None
    if chain is not None and (ledger is not None or name is not None):
        raise FieldError(fields.at("chain"), "a chain or a ledger's file, not both", "both")
    if name is not None and ledger is None:
        raise FieldError(fields.at("ledger_name"), "it together with ledger", "no file")

    def pin(value: object, path: str) -> Pin:
        table = Fields(value, path)
        file = folder / table.string("file")
        found = Pin(table.sha256("model"), table.sha256("interface"), file)
        table.done()
        return found

    def amount(key: str, low: int) -> int | None:
        return fields.integer(key, low, _U128) if key in fields else None

    def seconds(key: str, default: int) -> int:
        return fields.integer(key, 1, _U32, default=default)

    pace = Pace.of(chain)
    extension = seconds("least_extension", pace.extension)
    return OptimisticPolicy(
        ledger=ledger,
        ledger_name=name,
        chain=chain,
        least_bond=amount("least_bond", 1),
        most_challenge_bond=amount("most_challenge_bond", 1),
        most_data_fee=amount("most_data_fee", 0),
        least_window=seconds("least_window", pace.window),
        least_clock=seconds("least_clock", pace.clock(extension)),
        most_clock=seconds("most_clock", MOST_CLOCK),
        least_extension=extension,
        most_time=fields.integer("most_time", 1, MAX_NUMBER, default=MOST_TIME),
        least_burn=fields.integer("least_burn", 0, WHOLE, default=LEAST_BURN),
        most_burn=fields.integer("most_burn", 0, WHOLE, default=MOST_BURN),
        quantisation=frozenset(fields.items("quantisation", sha256_item, default=())),
        pinned=fields.items("pinned", pin, default=()),
    )


def _chain(fields: Fields) -> ChainPin:
    found = ChainPin(
        rpc=fields.string("rpc"),
        chain_id=fields.integer("chain_id", 1, MAX_NUMBER),
        contract=read_address(fields.raw("contract"), fields.at("contract")),
        code_sha256=fields.sha256("code_sha256") if "code_sha256" in fields else None,
        confirmations=fields.integer("confirmations", 0, 1 << 20, default=CONFIRMATIONS),
        block_seconds=fields.integer("block_seconds", 1, 3600, default=BLOCK_SECONDS),
    )
    fields.done()
    return found
