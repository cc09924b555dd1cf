"""Benchmarks of the trusted-hardware verifier: receipts, checkpoints, quotes.

    python -m proofml.benchmarks.tee receipts   signing and checking, one core
    python -m proofml.benchmarks.tee quotes     parsing and verifying, one core, simulated roots
    python -m proofml.benchmarks.tee all        both

`--docs docs/tee` writes the tables of docs/tee/benchmarks.md anew. Every figure is processor time
of this one thread, the least of its repetitions, with the median in brackets. Run it on a machine
that does nothing else; how quiet it was stands below each table.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import click

from proofml.benchmarks.meter import machine
from proofml.benchmarks.process import others
from proofml.benchmarks.tables import replace_table
from proofml.store import Store
from proofml.tee.binding import ReceiptAlgorithm, Session
from proofml.tee.platform import Platform
from proofml.tee.receipt_chain import check_segment, check_tail
from proofml.tee.receipt_signer import ReceiptSecret, ReceiptSigner
from proofml.tee.receipts import ReceiptKey, check_checkpoint, read_receipts, receipts_bytes

PAGE = "benchmarks.md"
STARTED = 1_750_000_000
#: Of a short operation, measured together.
CALLS = 25
#: Module of each platform, with `parse` and `verify`.
MODULES = {
    Platform.TDX: "proofml.tee.tdx",
    Platform.SGX: "proofml.tee.sgx",
    Platform.SEV_SNP: "proofml.tee.sev_snp",
    Platform.NITRO: "proofml.tee.nitro",
}


@dataclass(frozen=True)
class Times:
    """Seconds of one operation, over the repetitions."""

    least: float
    middle: float

    @classmethod
    def of(
        cls, work: Callable[[], object], repeat: int, *, units: int = 1, calls: int = 1
    ) -> Times:
        """Processor time of `work`, which does `units` operations; `calls` of it at a time."""
        found = []
        for _ in range(repeat):
            before = time.process_time()
            for _ in range(calls):
                work()
            found.append((time.process_time() - before) / (calls * units))
        return cls(min(found), median(found))

    def __str__(self) -> str:
        scale, unit = (1e6, "µs") if self.least < 1e-3 else (1e3, "ms")
        return f"{self.least * scale:.3g} {unit} ({self.middle * scale:.3g} {unit})"

    @property
    def rate(self) -> str:
        return f"{1 / self.least:,.0f} ({1 / self.middle:,.0f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# -- receipts -------------------------------------------------------------------------------------


def _statements(count: int) -> list[str]:
    return [hashlib.sha256(b"statement %d" % index).hexdigest() for index in range(count)]


def receipts(algorithm: ReceiptAlgorithm, *, count: int, repeat: int) -> Mapping[str, str]:
    """Figure -> its cell, of one algorithm and segments of `count` receipts."""
    secret = ReceiptSecret.generate(algorithm)
    session = Session(
        algorithm, secret.public, bytes(32), "0" * 64, "1" * 64, b"challenge", STARTED
    )
    digests = _statements(count)

    def sign() -> ReceiptSigner:
        signer = ReceiptSigner(secret, session)
        for digest in digests:
            signer.receipt(digest, STARTED)
        return signer

    signer = ReceiptSigner(secret, session)
    chain = tuple(signer.receipt(digest, STARTED) for digest in digests)
    data, record = receipts_bytes(chain), session.to_bytes()
    one = receipts_bytes(chain[:1])
    key = ReceiptKey.of(session)
    head = check_segment(chain, session).head
    checkpoint = signer.checkpoint(b"nonce").to_bytes()

    def single() -> None:
        check_segment(read_receipts(one), Session.read(record))

    def tail() -> None:
        check_tail(head, check_checkpoint(checkpoint, key, b"nonce").record)

    def signatures() -> None:
        for receipt in chain:
            key.check(receipt)

    whole = Times.of(lambda: check_segment(read_receipts(data), session), repeat, units=count)
    reading = Times.of(lambda: read_receipts(data), repeat, units=count)
    return {
        "sign a receipt": str(Times.of(sign, repeat, units=count)),
        "read a receipt (strict JSON)": str(reading),
        "check its signature": str(Times.of(signatures, repeat, units=count)),
        f"read and check a segment of {count:,}, each receipt": str(whole),
        "receipts a second, one core": whole.rate,
        "a single receipt, session record and key included": str(
            Times.of(single, repeat, calls=CALLS)
        ),
        "check a checkpoint and the end of a chain": str(Times.of(tail, repeat, calls=CALLS)),
        "bytes of a receipt": f"{len(data) / count:.0f}",
    }


def receipts_table(*, count: int, repeat: int) -> str:
    columns = {
        algorithm: receipts(algorithm, count=count, repeat=repeat) for algorithm in ReceiptAlgorithm
    }
    names = list(columns[ReceiptAlgorithm.ED25519])
    rows = [[name, *(column[name] for column in columns.values())] for name in names]
    return _table(["figure", "Ed25519", "secp256k1 (EIP-191)"], rows)


# -- quotes ---------------------------------------------------------------------------------------


def quote(platform: Platform, store: Store, *, repeat: int) -> list[str]:
    """Row of one platform: sizes, parse, verify, quotes a second."""
    from proofml.tee.roots import Roots, fingerprint
    from proofml.tee.simulator.hardware import SimulatedQuoter

    quoter = SimulatedQuoter.open(platform, store)
    quoter.configure(b"{}")
    evidence = quoter.quote(bytes(64))
    roots = Roots.vendor().with_simulated([fingerprint(quoter.authority.root_der)])
    module: Any = importlib.import_module(MODULES[platform])
    now = int(time.time())
    assert module.verify(evidence, roots, now).report_data == bytes(64)
    parse = Times.of(lambda: module.parse(evidence.quote), repeat, calls=CALLS)
    verify = Times.of(lambda: module.verify(evidence, roots, now), repeat, calls=CALLS)
    sizes = [f"{len(evidence.quote):,}", f"{len(evidence.collateral):,}"]
    return [platform.value, *sizes, str(parse), str(verify), verify.rate]


def quotes_table(*, repeat: int) -> str:
    with tempfile.TemporaryDirectory() as folder:
        rows = [quote(platform, Store(folder), repeat=repeat) for platform in Platform]
    head = ["platform", "bytes of a quote", "of collateral", "parse", "verify", "quotes a second"]
    return _table(head, rows)


# -- the command ----------------------------------------------------------------------------------


def _about(load: float) -> str:
    return (
        f"Measured on {machine()}, one thread, {date.today().isoformat()}, "
        f"{load:.1f} other threads wanting to run before it.\n"
    )


def publish(name: str, table: Callable[[], str], docs: Path | None) -> None:
    """Measure, print the table, and write it into the page."""
    load = others()
    text = f"{table()}\n{_about(load)}"
    click.echo(text)
    if docs is not None:
        page = docs / PAGE
        page.write_text(replace_table(page.read_text(), name, text))


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("what", type=click.Choice(["receipts", "quotes", "all"]))
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder whose benchmarks.md gets the tables.",
)
@click.option("--repeat", type=click.IntRange(1), default=20, show_default=True)
@click.option(
    "--count",
    type=click.IntRange(1, 1 << 14),
    default=1000,
    show_default=True,
    help="Receipts in a segment.",
)
def main(what: str, docs: Path | None, repeat: int, count: int) -> None:
    """Times of the trusted-hardware verifier."""
    if what in ("receipts", "all"):
        publish("receipts", lambda: receipts_table(count=count, repeat=repeat), docs)
    if what in ("quotes", "all"):
        publish("quotes", lambda: quotes_table(repeat=repeat), docs)


if __name__ == "__main__":
    main()
