"""Mutation run over the native verifier: every small change of its code must be noticed.

    python tools/mutate.py [--jobs N] [--only MODULE] [--what CHANGE] [--quick] [--list]

The tree is copied to a temporary folder, and nothing is changed but there, in memory. First the
tests run once, and what they show to `verify_proof` is kept: honest proofs and forged ones, with
what became of them. Then all of them have to end as they shall without any mutant.
Each mutant is then one process, forked from this one, that imports the changed source in the
place of the file and meets the first file of the tests about its module, all of these proofs, in
NumPy and in C, and the other tests (no tests with `--quick`). It is found out where one of them
ends otherwise. Survivors are printed, and so is what takes too long to end, which counts as found.

docs/sumcheck/mutation.md has the figures, and says of each survivor why it makes no difference.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.machinery
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import view

ROOT = view.ROOT

COMPLETE = "tests/sumcheck/test_protocol_complete.py"
OPENING = "tests/sumcheck/test_attacks_opening.py"
MESSAGES = "tests/sumcheck/test_attacks_messages.py"
WITNESS = "tests/sumcheck/test_attacks_witness.py"
TAMPER = "tests/sumcheck/test_tamper_bytes.py"
TRANSCRIPT = "tests/sumcheck/test_protocol_transcript.py"
PARAMS = "tests/sumcheck/test_params.py"
SOUNDNESS = "tests/sumcheck/test_soundness.py"
WEIGHTS = "tests/sumcheck/test_weights.py"
TABLES = "tests/sumcheck/test_tables.py"
LAYOUT = "tests/sumcheck/test_layout.py"
RANGES = "tests/circuits/test_ranges.py"
EXECUTE = "tests/circuits/test_execute.py"
ENGINE = "tests/sumcheck/test_engine.py"
PARTS = "tests/sumcheck/test_verifier.py"
BOUNDS = "tests/sumcheck/test_bounds.py"
#: Bytes that a mutant may have.
MEMORY = 4 << 30
#: Seconds of computing: that every mutant may take, and that one file of tests may take.
LEAST, LONGEST = 10, 600
#: What is run once, for its proofs.
SHOWN = (
    f"{COMPLETE} -k honest_proof or other_inputs or random_graphs or any_parameters",
    OPENING,
    MESSAGES,
    WITNESS,
    f"{TAMPER} -k length or canonical or exchanged or kind_of_message",
)
#: How many proofs of one test and one end are kept.
KEPT = 3

#: Module -> the tests about it: the first meets a mutant before the proofs, the others after.
MODULES: dict[str, tuple[str, ...]] = {
    "zkml/sumcheck/verifier.py": (PARTS, TRANSCRIPT, f"{TAMPER} -k length"),
    "zkml/sumcheck/pcs/verifier.py": (PARTS, TRANSCRIPT, f"{TAMPER} -k length", OPENING),
    "zkml/sumcheck/logup/verifier.py": (PARTS, ENGINE, TRANSCRIPT, MESSAGES),
    "zkml/sumcheck/reader.py": (ENGINE, TRANSCRIPT, TAMPER),
    "zkml/sumcheck/engine.py": (ENGINE, f"{TAMPER} -k trap_13", OPENING),
    "zkml/sumcheck/merkle.py": (BOUNDS, ENGINE),
    "zkml/sumcheck/reduction.py": (WEIGHTS,),
    "zkml/sumcheck/weights.py": (WEIGHTS,),
    "zkml/sumcheck/tables_at.py": (TABLES,),
    "zkml/sumcheck/argmax.py": (WEIGHTS,),
    "zkml/sumcheck/soundness.py": (SOUNDNESS, PARAMS),
    "zkml/sumcheck/params.py": (PARAMS, SOUNDNESS),
    "zkml/sumcheck/transcript.py": (TRANSCRIPT,),
    "zkml/sumcheck/count.py": (LAYOUT, f"{COMPLETE} -k counted"),
    "zkml/sumcheck/layout.py": (LAYOUT,),
    "zkml/sumcheck/circuit.py": (BOUNDS, PARAMS),
    "zkml/sumcheck/bounds.py": (BOUNDS,),
    "circuits/tables.py": (TABLES,),
    "circuits/ranges.py": (RANGES, TABLES, EXECUTE),
}
#: What a mutant imports again.
AGAIN = ("proofml.zkml.sumcheck", "proofml.circuits", "tests")

_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "+",
    ast.FloorDiv: "*",
    ast.LShift: ">>",
    ast.RShift: "<<",
    ast.BitAnd: "|",
    ast.BitOr: "&",
}
_NAMES = {
    "add": "sub",
    "sub": "add",
    "mul": "add",
    "vadd": "vsub",
    "vsub": "vadd",
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "ONE": "ZERO",
    "ZERO": "ONE",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
}


@dataclass(frozen=True)
class Mutant:
    module: str
    line: int
    column: int
    what: str
    source: str

    def __str__(self) -> str:
        """Place, change, and the line as it becomes."""
        text = self.source.splitlines()[self.line - 1].strip()
        return f"{self.module}:{self.line}:{self.column}  {self.what}  |  {text}"


class _Mutator(ast.NodeVisitor):
    """Collects (start, end, replacement, description), offsets into the source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[tuple[int, int, str, str]] = []

    def place(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self.starts[node.lineno - 1] + node.col_offset
        return start, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.place(node)
        return self.source[start:end]

    def replace(self, node: ast.expr | ast.stmt, new: str, what: str) -> None:
        self.found.append((*self.place(node), new, what))

    def between(self, a: ast.expr, b: ast.expr, new: str, what: str) -> None:
        """The operator between two operands, with what stands around it."""
        start, end = self.place(a)[1], self.place(b)[0]
        gap = self.source[start:end]
        head = gap[: len(gap) - len(gap.lstrip(") \n"))]
        tail = gap[len(gap.rstrip("( \n")) :]
        self.found.append((start, end, f"{head} {new} {tail}", what))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        body = node.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AnnAssign | ast.Assign):
                self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.replace(node, "pass", "raise dropped")

    def visit_Assert(self, node: ast.Assert) -> None:
        """For the type checker."""

    def visit_If(self, node: ast.If) -> None:
        test = self.text(node.test)
        self.replace(node.test, f"not ({test})", "condition negated")
        self.replace(node.test, "False", "condition never true")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return
        self.replace(node, "pass", "statement dropped")
        call = node.value
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "refuse":
            return
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.replace(node, "pass", "statement dropped")
        new = _BINARY.get(type(node.op))
        if new is not None:
            start, end = self.place(node.target)[1], self.place(node.value)[0]
            self.found.append((start, end, f" {new}= ", f"operator {new}="))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for a, b, op in zip(operands, operands[1:], node.ops, strict=False):
            self.between(a, b, _COMPARE[type(op)], f"comparison {_COMPARE[type(op)]}")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        new = _BINARY.get(type(node.op))
        if new is not None and not isinstance(node.left, ast.JoinedStr):
            self.between(node.left, node.right, new, f"operator {new}")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        new = "or" if isinstance(node.op, ast.And) else "and"
        for a, b in zip(node.values, node.values[1:], strict=False):
            self.between(a, b, new, f"operator {new}")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not | ast.USub):
            self.replace(node, f"({self.text(node.operand)})", "sign or negation dropped")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if type(node.value) is int:
            self.replace(node, str(node.value + 1), f"{node.value + 1} for {node.value}")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Texts."""

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in _NAMES:
            self.replace(node, _NAMES[node.id], f"{_NAMES[node.id]} for {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        new = _NAMES.get(node.attr)
        owner = getattr(node.value, "id", "")
        if new is not None and owner in ("ext5", "babybear", "np", "math"):
            self.replace(node, f"{owner}.{new}", f"{new} for {node.attr}")
        self.generic_visit(node)


def mutants(module: str, source: str) -> Iterator[Mutant]:
    mutator = _Mutator(source)
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            mutator.visit(statement)
    seen: set[str] = set()
    for start, end, new, what in sorted(mutator.found):
        changed = source[:start] + new + source[end:]
        if changed in seen or changed == source:
            continue
        seen.add(changed)
        try:
            compile(changed, module, "exec")
        except SyntaxError:
            continue
        line = source.count("\n", 0, start) + 1
        column = start - source.rfind("\n", 0, start)
        yield Mutant(module, line, column, what, changed)


def copied() -> Path:
    """The tree below the one name `proofml`, and the tests."""
    folder = Path(tempfile.mkdtemp(prefix="proofml-mutate-"))
    skip = shutil.ignore_patterns("__pycache__", "*.c", "*.h")
    for name, source in sorted(view.mapped().items()):
        shutil.copytree(source, folder.joinpath(*name.split(".")), ignore=skip, dirs_exist_ok=True)
    for name in ("sumcheck", "circuits"):
        shutil.copytree(ROOT / "tests" / name, folder / "tests" / name, ignore=skip)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def _place(folder: Path, module: str) -> Path:
    for name, source in sorted(view.mapped().items(), reverse=True):
        path = ROOT / module
        if path.is_relative_to(source):
            return folder.joinpath(*name.split("."), path.relative_to(source))
    raise ValueError(module)


@dataclass(frozen=True)
class Shown:
    """A call of `verify_proof`, and how it ends in NumPy and in C: see `_ends`."""

    circuit: bytes
    statement: bytes
    public: Mapping[int, Any]
    proof: bytes
    root: bytes | None
    ends: tuple[str | None, ...] = ()


def _pytest(folder: Path, selected: str) -> int:
    import pytest
    from hypothesis import Phase, settings

    # As tests/conftest.py has it, without the search for a smaller example.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutate", derandomize=True, deadline=None, database=None, phases=phases
    )
    path, *chosen = selected.split(" ", 2)
    args = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    args += ["--hypothesis-profile", "mutate"]
    return int(pytest.main([*args, "--rootdir", str(folder), str(folder / path), *chosen]))


def shown(folder: Path) -> list[Shown]:
    """What the tests show to the verifier."""
    from proofml.errors import VerificationError
    from proofml.zkml.sumcheck import verifier

    honest = verifier.verify_proof
    found: dict[bytes, Shown] = {}
    kept: Counter[tuple[str, str | None]] = Counter()

    def verify_proof(
        circuit: Any, statement: bytes, public: Any, proof: bytes, *, ports_root: Any = None
    ) -> None:
        end, error = None, None
        try:
            honest(circuit, statement, public, proof, ports_root=ports_root)
        except VerificationError as refused:
            end, error = refused.check, refused
        test = os.environ.get("PYTEST_CURRENT_TEST", "").split("[")[0]
        one = Shown(circuit.bytes, statement, public, proof, ports_root)
        key = hashlib.sha256(repr((statement, public, ports_root)).encode() + proof).digest()
        most = KEPT * (10 if end in (None, "sumcheck.8") else 1)
        if key not in found and kept[test, end] < most:
            kept[test, end] += 1
            found[key] = one
        if error is not None:
            raise error

    verifier.verify_proof = verify_proof
    for selected in SHOWN:
        code = _pytest(folder, selected)
        if code:
            raise SystemExit(f"{selected}: the tests fail without any mutant")
    verifier.verify_proof = honest
    every = [
        replace(one, ends=ends)
        for one, ends in zip(found.values(), _ends([*found.values()]), strict=True)
    ]
    return sorted(every, key=lambda one: any(one.ends))


def _ends(every: Sequence[Shown]) -> Iterator[tuple[str | None, ...]]:
    """The check that refuses, None where it is accepted: in NumPy and, where it is there, in C."""
    from proofml.circuits import kernels
    from proofml.errors import VerificationError
    from proofml.zkml.sumcheck import engine
    from proofml.zkml.sumcheck.circuit import Circuit
    from proofml.zkml.sumcheck.verifier import verify_proof

    circuits: dict[bytes, Circuit] = {}
    for one in every:
        circuit = circuits.get(one.circuit)
        if circuit is None:
            circuit = circuits[one.circuit] = Circuit.read(one.circuit)
        ends: list[str | None] = []
        for native in (False, True) if kernels.available() else (False,):
            with engine.using(native=native):
                try:
                    verify_proof(circuit, one.statement, one.public, one.proof, ports_root=one.root)
                    ends.append(None)
                except VerificationError as error:
                    ends.append(error.check)
        yield tuple(ends)


def _child(
    folder: Path, mutant: Mutant | None, every: Sequence[Shown], files: Sequence[str], seconds: int
) -> int:
    """Runs in a process of its own; 0 where nothing was noticed."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    for name in [name for name in sys.modules if name.startswith(AGAIN)]:
        if not name.startswith(("proofml.circuits.kernels", "proofml.circuits.field")):
            del sys.modules[name]
    if mutant is not None:
        target, source = str(_place(folder, mutant.module)), mutant.source
        honest = importlib.machinery.SourceFileLoader.get_code

        def get_code(self: Any, fullname: str) -> Any:
            if self.path == target:
                return compile(source, target, "exec")
            return honest(self, fullname)

        importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]

    def by_proofs() -> bool:
        return any(ends != one.ends for one, ends in zip(every, _ends(every), strict=True))

    def by_tests(files: Sequence[str]) -> bool:
        return any(_pytest(folder, selected) not in (0, 5) for selected in files)

    # What is quick comes first: most mutants do not get far.
    return int(by_tests(files[:1]) or by_proofs() or by_tests(files[1:]))


def run(
    folder: Path,
    mutants: list[Mutant],
    every: Sequence[Shown],
    limits: Mapping[str, int],
    options: argparse.Namespace,
) -> tuple[list[Mutant], list[Mutant]]:
    """Those that survive, and those that do not end."""
    waiting, running = list(reversed(mutants)), dict[int, Mutant]()
    survivors: list[Mutant] = []
    endless: list[Mutant] = []
    start, done = time.time(), 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            mutant = waiting.pop()
            files = _files(mutant.module, options)
            running[_forked(folder, mutant, every, files, limits[mutant.module])] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        done += 1
        code = os.waitstatus_to_exitcode(status)
        if code == 0:
            survivors.append(mutant)
            print(f"survived  {mutant}", flush=True)
        elif code == -signal.SIGXCPU:
            endless.append(mutant)
            print(f"no end    {mutant}", flush=True)
        if done % 50 == 0:
            seconds = time.time() - start
            print(f"{done} of {len(mutants)}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return survivors, endless


def _files(module: str, options: argparse.Namespace) -> tuple[str, ...]:
    return () if options.quick else MODULES[module]


def _forked(
    folder: Path, mutant: Mutant | None, every: Sequence[Shown], files: Sequence[str], seconds: int
) -> int:
    """The process of one mutant."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = _child(folder, mutant, every, files, seconds)
        finally:
            os._exit(code)
    return pid


def unchanged(
    folder: Path, modules: Sequence[str], every: Sequence[Shown], options: argparse.Namespace
) -> dict[str, int]:
    """Module -> seconds of computing that its mutants may take: some times what it takes itself.

    Stops where proofs or tests fail without any mutant: else each would count as found.
    """
    selections = {selected for module in modules for selected in _files(module, options)}
    waiting: list[str] = ["", *sorted(selections)]  # "": the proofs
    running: dict[int, str] = {}
    taken: dict[str, float] = {}
    while waiting or running:
        while waiting and len(running) < options.jobs:
            one = waiting.pop()
            proofs, files = ((), (one,)) if one else (every, ())
            running[_forked(folder, None, proofs, files, LONGEST)] = one
        pid, status, used = os.wait4(-1, 0)
        one = running.pop(pid)
        taken[one] = used.ru_utime + used.ru_stime
        if os.waitstatus_to_exitcode(status):
            raise SystemExit(f"{one or 'the proofs'}: another end without any mutant")
    print(f"{sum(taken.values()):.0f} s without any mutant", file=sys.stderr, flush=True)
    return {
        module: LEAST + round(options.times * sum(taken[f] for f in ("", *_files(module, options))))
        for module in modules
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", help="a module, or a part of its name")
    parser.add_argument("--what", action="append", help="a part of what is changed: dropped, ...")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--quick", action="store_true", help="proofs only, no tests")
    parser.add_argument("--times", type=float, default=3, help="that a mutant may take longer")
    options = parser.parse_args()
    folder = copied()
    try:
        return _mutated(folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mutated(folder: Path, options: argparse.Namespace) -> int:
    all_mutants = [
        mutant
        for module in MODULES
        if options.only is None or any(part in module for part in options.only)
        for mutant in mutants(module, _place(folder, module).read_text())
        if options.what is None or any(part in mutant.what for part in options.what)
    ]
    if options.list:
        for mutant in all_mutants:
            print(mutant)
        return 0
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    import proofml.circuits.kernels

    assert Path(proofml.circuits.kernels.__file__).is_relative_to(folder)
    every = shown(folder)
    ends = Counter(one.ends for one in every)
    print(f"{len(every)} proofs: {dict(ends)}", file=sys.stderr, flush=True)
    total = Counter(m.module for m in all_mutants)
    limits = unchanged(folder, list(total), every, options)
    survivors, endless = run(folder, all_mutants, every, limits, options)
    alive, lasting = (Counter(m.module for m in found) for found in (survivors, endless))
    for module, count in total.items():
        killed = count - alive[module] - lasting[module]
        print(
            f"{module}: {count} mutants, {killed} killed, {lasting[module]} do not end, "
            f"{alive[module]} survive"
        )
    killed = len(all_mutants) - len(survivors) - len(endless)
    print(
        f"{len(all_mutants)} mutants, {killed} killed, {len(endless)} do not end, "
        f"{len(survivors)} survive"
    )
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
