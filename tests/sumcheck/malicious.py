"""A prover who lies in exactly one place and proves all the rest as an honest one would.

Every lie hangs on a hook of `Lie`: in the witness, between witness and commitment, in the leaves
of the lookups, in one message, in the opened rows. Whatever comes after the lie follows from it:
the transcript goes on with what was sent, digests and paths fit, the work is done. So what refuses
the proof is a check of the protocol, and each test says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import numpy as np

from proofml.circuits import kernels
from proofml.circuits.field import ext5
from proofml.circuits.field.babybear import P
from proofml.circuits.field.ext5 import Element
from proofml.circuits.graph import ArgMax, Ints
from proofml.circuits.kernels.claims import Tree
from proofml.errors import VerificationError
from proofml.zkml.sumcheck import columns as columns_module
from proofml.zkml.sumcheck import engine, keys, prover, proving, reader, verifier
from proofml.zkml.sumcheck.columns import Columns, columns_of
from proofml.zkml.sumcheck.layout import PORTS, Layout
from proofml.zkml.sumcheck.logup import verifier as logup_verifier
from proofml.zkml.sumcheck.params import Params
from proofml.zkml.sumcheck.pcs import verifier as pcs_verifier
from proofml.zkml.sumcheck.transcript import Transcript
from proofml.zkml.sumcheck.twin import opening, rounds

from .graphs import CASES, Case, toy

STATEMENT = bytes(range(32))
Salt = np.arange(8, dtype=np.int64) + 77


@dataclass(frozen=True)
class Segment:
    """One message of a proof. Rows and paths, after the last challenge, are not absorbed."""

    tag: str
    start: int
    size: int
    absorbed: bool


@dataclass
class Lie:
    """What an honest prover does, unless a hook is set."""

    #: What is committed: (tree, its cells) -> its cells. Claims and leaves stay as they were.
    commit: Callable[[str, np.ndarray], np.ndarray] | None = None
    #: A tree that was committed -> another one.
    tree: Callable[[Tree], Tree] | None = None
    #: The leaves (ids, c1, c2, numerators), changed in place.
    leaves: Callable[[Layout, tuple[np.ndarray, ...]], None] | None = None
    #: (tag, how many of that tag before, data) -> data.
    message: Callable[[str, int, bytes], bytes] | None = None
    #: (how many before, data): what is sent after the last challenge, a row or a path each.
    silent: Callable[[int, bytes], bytes] | None = None
    #: (how many before, [vector, weights]) -> the same, after every fold of the opening.
    fold: Callable[[int, list[np.ndarray]], list[np.ndarray]] | None = None
    #: Layout by which leaves are filled, in place of the circuit's.
    layout: Layout | None = None
    #: Replaces `grind`.
    nonce: int | None = None


@dataclass
class Trial:
    """An honest run of a case, and everything that a verifier is told."""

    case: Case
    key: keys.ProvingKey
    values: list[Ints]
    public: dict[int, Ints]
    ports: Tree | None
    statement: bytes = STATEMENT
    log: list[Segment] = field(default_factory=list)

    @classmethod
    def of(cls, case: Case | str, *, seed: int = 0, params: Params | None = None) -> Trial:
        case = CASES[case]() if isinstance(case, str) else case
        layout = case.layout
        key = keys.commit_model(
            case.graph, case.weights, visibility=case.visibility, params=params or toy(layout)
        )
        return cls.on(case, key, seed)

    @classmethod
    def on(cls, case: Case, key: keys.ProvingKey, seed: int = 0) -> Trial:
        values = key.executor.run(case.inputs(seed))
        trial = cls(case, key, values, {}, None)
        trial.public = trial.public_of(values)
        trial.ports = trial.ports_of(values)
        return trial

    @property
    def layout(self) -> Layout:
        return self.key.circuit.layout

    def public_of(self, values: Sequence[Ints]) -> dict[int, Ints]:
        layout, graph = self.layout, self.case.graph
        shown = [graph.outputs[i].value for i in layout.bound_outputs]
        return {value: values[value] for value in (*layout.public, *shown)}

    def ports_of(self, values: Sequence[Ints]) -> Tree | None:
        if PORTS not in self.layout.trees:
            return None
        return keys.commit_ports(self.key.circuit, dict(enumerate(values)), salt=Salt)

    @property
    def root(self) -> bytes | None:
        return None if self.ports is None else self.ports.nodes[1].tobytes()

    def prove(
        self,
        lie: Lie | None = None,
        *,
        values: Sequence[Ints] | None = None,
        columns: Columns | None = None,
        key: keys.ProvingKey | None = None,
    ) -> bytes:
        """A proof; its messages are in `log` unless the C kernels made it."""
        self.log = []
        with ExitStack() as stack:
            for patch in self._patches(lie) if lie is not None else ():
                stack.enter_context(patch)
            return prover.prove_circuit(
                key or self.key,
                list(values if values is not None else self.values),
                self.statement,
                ports=self.ports,
                columns=columns,
            )

    def _patches(self, lie: Lie) -> Iterator[Any]:
        log, counts = self.log, dict[str, int]()
        at = 0

        def send(absorb: bool, run: Any, tag: str, data: bytes) -> bytes:
            nonlocal at
            number = counts.get(tag, 0)
            counts[tag] = number + 1
            if absorb and lie.message is not None:
                data = lie.message(tag, number, data)
            if not absorb and lie.silent is not None:
                data = lie.silent(number, data)
            log.append(Segment(tag, at, len(data), absorb))
            at += len(data)
            return data

        def from_run(run: Any, tag: str, data: bytes) -> None:
            data = send(True, run, tag, data)
            run.transcript.absorb(tag, data)
            run.out.append(data)

        def from_writer(writer: Any, tag: str, data: bytes) -> None:
            data = send(True, writer, tag, data)
            writer.transcript.absorb(tag, data)
            writer._parts.append(data)

        def silent(writer: Any, data: bytes) -> None:
            # Rows have the tag of nothing; a path comes after the rows of its tree.
            writer._parts.append(send(False, writer, "opened", data))

        yield mock.patch.object(kernels, "available", return_value=False)
        yield mock.patch.object(prover._Run, "send", from_run)
        yield mock.patch.object(rounds.Writer, "send", from_writer)
        yield mock.patch.object(rounds.Writer, "silent", silent)
        honest_commit = proving.commit

        def commit(tag: str, values: np.ndarray, mu: int, rate: int) -> Tree:
            if lie.commit is not None:
                values = lie.commit(tag, values.copy())
            tree = honest_commit(tag, values, mu, rate)
            return tree if lie.tree is None else lie.tree(tree)

        yield mock.patch.object(proving, "commit", commit)
        honest_leaves = prover._leaves

        def leaves(layout: Layout, columns: Columns) -> tuple[np.ndarray, ...]:
            found = honest_leaves(lie.layout or layout, columns)
            if lie.leaves is not None:
                lie.leaves(layout, found)
            return found

        yield mock.patch.object(prover, "_leaves", leaves)
        if lie.fold is not None:
            steps = 0
            honest_join, honest_step = opening._join, opening._step

            def hooked(pair: list[np.ndarray]) -> list[np.ndarray]:
                nonlocal steps
                steps += 1
                assert lie.fold is not None
                return lie.fold(steps - 1, pair)

            # `_join` uses `_step` for its selector rounds: only what comes after counts.
            def join(*args: Any) -> list[np.ndarray]:
                with mock.patch.object(opening, "_step", honest_step):
                    pair = honest_join(*args)
                return hooked(pair)

            yield mock.patch.object(opening, "_join", join)
            yield mock.patch.object(opening, "_step", lambda *args: hooked(honest_step(*args)))
        if lie.nonce is not None:
            yield mock.patch.object(opening, "grind", return_value=lie.nonce)

    def verify(self, proof: bytes, **other: Any) -> None:
        verifier.verify_proof(
            other.get("circuit", self.key.circuit),
            other.get("statement", self.statement),
            other.get("public", self.public),
            proof,
            ports_root=other.get("root", self.root),
        )

    def refused(self, proof: bytes, **other: Any) -> str:
        """The number of the check that refuses; fails where none does."""
        try:
            self.verify(proof, **other)
        except VerificationError as error:
            return error.check
        raise AssertionError("the proof was accepted")


# -- witnesses -------------------------------------------------------------------------------


def rerun(trial: Trial, forced: Mapping[int, Ints]) -> list[Ints]:
    """All values of the graph where some are what the liar wants; the rest follows from them."""
    values: list[Ints] = []
    for number, rule in enumerate(trial.key.executor._rules):
        if number in forced:
            values.append(forced[number])
        else:
            values.append(trial.values[number] if rule is None else rule(values))
    return values


def witness(trial: Trial, values: Sequence[Ints], layout: Layout | None = None) -> Columns:
    """Columns of a run that is not honest: what has no row in a table is not counted."""

    def count(counts: Ints, rows: Ints) -> None:
        rows = rows.reshape(-1)
        rows = rows[(rows >= 0) & (rows < len(counts))]
        counts += np.bincount(rows, minlength=len(counts))

    with mock.patch.object(columns_module, "_count", count):
        return columns_of(layout or trial.layout, values)


def copied(columns: Columns) -> Columns:
    """Columns that can be changed."""
    return Columns(
        [v.copy() for v in columns.values],
        {name: block.copy() for name, block in columns.blocks.items()},
        [(c1.copy(), argument.copy()) for c1, argument in columns.lookups],
    )


def bump(array: Ints, low: int | None = None, high: int | None = None, by: int = 1) -> Ints | None:
    """A copy with one cell off by one, within a range; None where no cell can move."""
    found = array.copy()
    flat = found.reshape(-1)
    for at in range(flat.size):
        for delta in (by, -by):
            value = int(flat[at]) + delta
            if (low is None or value >= low) and (high is None or value <= high):
                flat[at] = value
                return found
    return None


def swapped_ids(trial: Trial, number: int, ids: Ints) -> Layout:
    """The layout in which one lookup uses other ids of its table."""
    layout = trial.layout
    lookups = list(layout.plan.lookups)
    lookups[number] = replace(lookups[number], ids=ids)
    return replace(layout, plan=replace(layout.plan, lookups=tuple(lookups)))


def stated(trial: Trial, values: Sequence[Ints]) -> dict[int, Ints]:
    return trial.public_of(values)


# -- forging one message so that the next check passes ------------------------------------------


class Refusal(Exception):
    def __init__(self, check: str, what: str, *, expected: Any = None, got: Any = None) -> None:
        self.check, self.expected, self.got = check, expected, got
        super().__init__(check, what)


@contextmanager
def _raw() -> Iterator[None]:
    """Refusals with the values that were compared, by the verifier in Python."""

    def refuse(check: str, what: str, **values: Any) -> None:
        raise Refusal(check, what, **values)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(kernels, "available", return_value=False))
        for module in (verifier, logup_verifier, pcs_verifier, reader, engine):
            stack.enter_context(mock.patch.object(module, "refuse", refuse))
        yield


def first_refusal(trial: Trial, proof: bytes) -> Refusal | None:
    with _raw():
        try:
            trial.verify(proof)
        except Refusal as refusal:
            return refusal
    return None


def put(proof: bytes, at: int, element: Element) -> bytes:
    data = np.array(element, "<u4").tobytes()
    return proof[:at] + data + proof[at + len(data) :]


def solve(trial: Trial, proof: bytes, at: int, check: str) -> Element:
    """The element at an offset with which a check that is affine in it passes.

    Between the element and the check there must be no challenge.
    """
    ends = []
    for guess in (ext5.ZERO, ext5.ONE):
        refusal = first_refusal(trial, put(proof, at, guess))
        assert refusal is not None
        assert refusal.check == check, refusal
        ends.append(ext5.sub(refusal.got, refusal.expected))
    slope = ext5.sub(ends[1], ends[0])
    return ext5.mul(ext5.neg(ends[0]), inverse(slope))


def inverse(a: Element) -> Element:
    """1 / a in F, as a^(p^5 - 2)."""
    assert a != ext5.ZERO
    result, exponent = ext5.ONE, P**5 - 2
    while exponent:
        if exponent & 1:
            result = ext5.mul(result, a)
        a, exponent = ext5.mul(a, a), exponent >> 1
    return result


def forge(trial: Trial, wanted: Mapping[str, tuple[int, Element]]) -> Lie:
    """Sends other elements: tag -> (which message of that tag, its element)."""

    def message(tag: str, number: int, data: bytes) -> bytes:
        if tag in wanted and wanted[tag][0] == number:
            return np.array(wanted[tag][1], "<u4").tobytes()
        return data

    return Lie(message=message)


@dataclass(frozen=True)
class Event:
    """What a transcript did: `absorb` with data, or `challenge`, `seed`, `indices`."""

    kind: str
    tag: str
    data: object


@contextmanager
def recorded() -> Iterator[list[Event]]:
    """Every absorb and squeeze of transcripts in Python, in order."""
    events: list[Event] = []
    absorb, challenge = Transcript.absorb, Transcript.challenge
    seed, indices = Transcript.seed, Transcript.indices

    def on_absorb(self: Transcript, tag: str, data: bytes) -> None:
        events.append(Event("absorb", tag, data))
        absorb(self, tag, data)

    def on(kind: str, honest: Callable[..., Any]) -> Callable[..., Any]:
        def squeezed(self: Transcript, tag: str, *rest: int) -> Any:
            found = honest(self, tag, *rest)
            events.append(Event(kind, tag, found))
            return found

        return squeezed

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(kernels, "available", return_value=False))
        stack.enter_context(mock.patch.object(Transcript, "absorb", on_absorb))
        for kind, honest in (("challenge", challenge), ("seed", seed), ("indices", indices)):
            stack.enter_context(mock.patch.object(Transcript, kind, on(kind, honest)))
        yield events


def argmax_numbers(case: Case) -> list[int]:
    return [i for i, node in enumerate(case.graph.nodes) if isinstance(node, ArgMax)]
