"""What a daemon can execute: models by their programs, and inputs that it was given in proofs.

Everything that others wrote is bounded before it is used: proofs by their size, programs by their
number of cells, which the ledger's header and the model decide. Of a proof nothing is believed but
its inputs, by their roots, and a quantisation record, by the program that it leads to.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from proofml.backend import Context
from proofml.circuits.codec import encode_input
from proofml.circuits.graph import Ints
from proofml.circuits.quantise.record import MAX_RECORD_BYTES, QuantisationRecord
from proofml.circuits.source import Source, is_quantised
from proofml.errors import ProofmlError
from proofml.fields import FieldError
from proofml.model import Model
from proofml.optimistic import commit
from proofml.optimistic.about import NAME
from proofml.optimistic.book import ClaimState
from proofml.optimistic.compile import machine_of
from proofml.optimistic.encoding import Header
from proofml.optimistic.floating.claim import FloatHeader
from proofml.optimistic.floating.plan import Plan
from proofml.optimistic.floating.shelf import PlanShelf
from proofml.optimistic.record import QUANTISATION
from proofml.optimistic.trace import Machine
from proofml.proof import SUFFIX, Proof

#: Larger files in a folder of proofs are not opened.
MAX_PROOF_BYTES = 1 << 30
#: Files of one folder that are looked at.
MAX_FILES = 100_000
#: Files about one Statement in which its inputs are looked for, the newest first.
_COPIES = 8
#: Programs at the shapes of strangers' headers whose roots are kept.
_KEPT = 1024
#: Stamp of what is not there.
_GONE = (-1, -1)
#: Cells of all tensors of a run: 8 bytes each while it is made, at most.
DEFAULT_MOST_CELLS = 1 << 30

#: Model, quantisation record, shapes.
_Key = tuple[str, str, tuple[tuple[int, ...], ...]]


@dataclass
class Library:
    """Models and proofs at hand.

    Attributes:
        models: that claims may be about.
        records: for float models among them.
        places: files of proofs, or folders that hold some.
        most_cells: of all tensors of a run; larger programs are not executed.
    """

    models: Sequence[Model]
    context: Context
    records: list[QuantisationRecord] = field(default_factory=list)
    places: Sequence[Path] = ()
    most_cells: int = DEFAULT_MOST_CELLS
    _proofs: dict[str, list[Path]] = field(default_factory=dict)
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _roots: OrderedDict[_Key, bytes | None] = field(default_factory=OrderedDict)
    _plans: PlanShelf = field(default_factory=PlanShelf)

    # ------------------------------------------------------------ proofs
    def scan(self) -> list[str]:
        """Look for new proofs; what was wrong with those that cannot be read."""
        complaints: list[str] = []
        files = list(self._files(complaints))
        self._seen = {path: self._seen[path] for path in files if path in self._seen}
        for path in files:
            try:
                stamp = _stamp(path)
                if self._seen.get(path) == stamp:
                    continue
                self._seen[path] = stamp
                if stamp == _GONE:
                    raise ValueError("expected a file or a folder")
                if not path.is_file() or stamp[1] > MAX_PROOF_BYTES:
                    raise ValueError(f"expected a file of at most {MAX_PROOF_BYTES} bytes")
                self._enter(path, Proof.read(path))
            except (ProofmlError, FieldError, ValueError, OSError, MemoryError) as error:
                complaints.append(f"{path}: {error}")
        return complaints

    def _files(self, complaints: list[str]) -> Iterable[Path]:
        for place in self.places:
            if not place.is_dir():
                yield place
                continue
            try:
                found = (path for path in place.iterdir() if path.suffix == SUFFIX)
                yield from sorted(islice(found, MAX_FILES))
            except OSError as error:  # of a network's disk, or no longer ours to read
                complaints.append(f"{place}: {error}")

    def _enter(self, path: Path, proof: Proof) -> None:
        if proof.backend != NAME:
            return
        copies = self._proofs.setdefault(proof.statement.digest, [])
        copies[:] = [path, *(other for other in copies if other != path)][:_COPIES]
        if QUANTISATION not in proof.sections:
            return
        data = proof.evidence(QUANTISATION, check="optimistic.4", most=MAX_RECORD_BYTES)
        record = QuantisationRecord.from_bytes(data)
        known = {found.digest for found in self.records}
        if record.digest not in known and record.model in {m.digest for m in self.models}:
            self.records.append(record)

    # ------------------------------------------------------------ programs
    def plan(self, header: FloatHeader) -> Plan | None:
        """The plan of a float claim's program; None where none of the models has it."""
        return self._plans.find(self.models, header, self.context, self.most_cells)

    def knows(self, header: Header) -> bool:
        """Whether the program is that of one of the models."""
        return self._source(header) is not None

    def machine(self, header: Header) -> Machine | None:
        """The model of this program, ready to be executed; None where none is."""
        source = self._source(header)
        return None if source is None else machine_of(source, self.context, self.most_cells)

    def _source(self, header: Header) -> Source | None:
        root = header.root
        return next((s for s in self._candidates(header) if self._root(s) == root), None)

    def _root(self, source: Source) -> bytes | None:
        """The root of a source's program; None where it has none, or is too large."""
        record = source.quantisation
        key = (
            source.model.digest,
            "" if record is None else record.digest,
            tuple(source.shapes.values()),
        )
        if key not in self._roots:
            try:
                machine = machine_of(source, self.context, self.most_cells)
                self._roots[key] = commit.program_root(machine.program)
            except ProofmlError:
                self._roots[key] = None
            while len(self._roots) > _KEPT:
                self._roots.popitem(last=False)
        self._roots.move_to_end(key)
        return self._roots[key]

    def _candidates(self, header: Header) -> Iterable[Source]:
        """Models and records of which, at the header's shapes, it could be the program."""
        shapes = [port.cells.shape for port in header.inputs]
        if sum(port.cells.count for port in header.inputs) > self.most_cells:
            return
        for model in self.models:
            specs = model.inputs
            if len(specs) != len(shapes) or len(model.outputs) != len(header.outputs):
                continue
            if not all(spec.admits(shape) for spec, shape in zip(specs, shapes, strict=True)):
                continue
            named = {spec.name: shape for spec, shape in zip(specs, shapes, strict=True)}
            if is_quantised(model):
                yield Source(model, named)
                continue
            for record in self.records:
                if record.model == model.digest:
                    yield Source(model, named, record)

    # ------------------------------------------------------------ inputs
    def inputs(self, claim: ClaimState, machine: Machine) -> tuple[Ints, ...] | None:
        """The claim's inputs from a proof about its Statement; None where there is none.

        What is returned has the claim's input roots, whatever the file said.
        """
        for path in self._proofs.get(claim.terms.statement.hex(), ()):
            try:
                found = _inputs(Proof.read(path), machine)
                roots = tuple(
                    commit.tensor_root(port.cells, array)
                    for port, array in zip(machine.program.inputs, found, strict=True)
                )
            except (ProofmlError, ValueError, KeyError, OSError):
                continue  # gone, changed since, or not of this model: another file may be
            if roots == claim.terms.inputs:
                return found
        return None


def _inputs(proof: Proof, machine: Machine) -> tuple[Ints, ...]:
    """Codes of the Statement's inputs.

    Raises:
        VerificationError, ValueError, KeyError: the proof has others, or none.
    """
    ports = machine.graph.inputs
    return tuple(encode_input(port, proof.tensor(f"input.{i}")) for i, port in enumerate(ports))


def _stamp(path: Path) -> tuple[int, int]:
    """Time and size of a file, by which changes are seen."""
    try:
        stat = path.stat()
    except OSError:
        return _GONE
    return stat.st_mtime_ns, stat.st_size
