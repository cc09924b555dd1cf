"""Mutation run over the native verifier: every small change of its code must make a test fail.

    python tools/mutate.py [--jobs N] [--only MODULE] [--list] [--seconds N]

The tree is copied to a temporary folder and tested there, in NumPy. Each mutant is one process,
forked from this one, that imports the changed source in the place of the file and runs the tests
that are about its module until one fails. Survivors are printed with their lines; what is known
of them stands in docs/sumcheck/mutation.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib.machinery
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import view  # noqa: E402

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
#: Honest proofs of every case, and nothing else: whatever refuses too much ends here.
ACCEPTS = f"{COMPLETE} -k an_honest_proof"
PARAMETERS = f"{COMPLETE} -k any_parameters"
COUNTED = f"{COMPLETE} -k counted"

#: Module -> the tests about it, the quickest first.
MODULES: dict[str, tuple[str, ...]] = {
    "zkml/sumcheck/verifier.py": (ACCEPTS, MESSAGES, TRANSCRIPT, WITNESS),
    "zkml/sumcheck/pcs/verifier.py": (ACCEPTS, PARAMETERS, OPENING, MESSAGES, TRANSCRIPT, TAMPER),
    "zkml/sumcheck/logup/verifier.py": (ACCEPTS, MESSAGES, TRANSCRIPT),
    "zkml/sumcheck/reader.py": (ACCEPTS, TAMPER, TRANSCRIPT),
    "zkml/sumcheck/engine.py": (ACCEPTS, PARAMETERS, OPENING, TAMPER),
    "zkml/sumcheck/reduction.py": (WEIGHTS, ACCEPTS, WITNESS),
    "zkml/sumcheck/weights.py": (WEIGHTS, ACCEPTS),
    "zkml/sumcheck/tables_at.py": (TABLES, ACCEPTS),
    "zkml/sumcheck/argmax.py": (WEIGHTS, ACCEPTS, WITNESS),
    "zkml/sumcheck/soundness.py": (SOUNDNESS, PARAMS),
    "zkml/sumcheck/params.py": (PARAMS, SOUNDNESS),
    "zkml/sumcheck/transcript.py": (TRANSCRIPT, OPENING),
    "zkml/sumcheck/count.py": (COUNTED,),
    "zkml/sumcheck/layout.py": (LAYOUT, ACCEPTS),
    "circuits/tables.py": (TABLES, ACCEPTS),
    "circuits/ranges.py": (RANGES, TABLES),
}

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
    what: str
    source: str


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

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # noqa: N802
        body = node.body
        if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]
        for default in (*node.args.defaults, *node.args.kw_defaults):
            if default is not None:
                self.visit(default)
        for statement in body:
            self.visit(statement)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # noqa: N802
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef | ast.AnnAssign | ast.Assign):
                self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:  # noqa: N802
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:  # noqa: N802
        self.replace(node, "pass", "raise dropped")

    def visit_Assert(self, node: ast.Assert) -> None:  # noqa: N802
        """For the type checker."""

    def visit_If(self, node: ast.If) -> None:  # noqa: N802
        test = self.text(node.test)
        self.replace(node.test, f"not ({test})", "condition negated")
        self.replace(node.test, "False", "condition never true")
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:  # noqa: N802
        if isinstance(node.value, ast.Constant):
            return
        self.replace(node, "pass", "statement dropped")
        call = node.value
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "refuse":
            return
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:  # noqa: N802
        self.replace(node, "pass", "statement dropped")
        new = _BINARY.get(type(node.op))
        if new is not None:
            start, end = self.place(node.target)[1], self.place(node.value)[0]
            self.found.append((start, end, f" {new}= ", f"operator {new}="))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:  # noqa: N802
        operands = [node.left, *node.comparators]
        for a, b, op in zip(operands, operands[1:], node.ops, strict=False):
            self.between(a, b, _COMPARE[type(op)], f"comparison {_COMPARE[type(op)]}")
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:  # noqa: N802
        new = _BINARY.get(type(node.op))
        if new is not None and not isinstance(node.left, ast.JoinedStr):
            self.between(node.left, node.right, new, f"operator {new}")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:  # noqa: N802
        new = "or" if isinstance(node.op, ast.And) else "and"
        for a, b in zip(node.values, node.values[1:], strict=False):
            self.between(a, b, new, f"operator {new}")
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:  # noqa: N802
        if isinstance(node.op, ast.Not | ast.USub):
            self.replace(node, f"({self.text(node.operand)})", "sign or negation dropped")
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:  # noqa: N802
        if type(node.value) is int:
            self.replace(node, str(node.value + 1), f"{node.value + 1} for {node.value}")

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:  # noqa: N802
        """Texts."""

    def visit_Name(self, node: ast.Name) -> None:  # noqa: N802
        if node.id in _NAMES:
            self.replace(node, _NAMES[node.id], f"{_NAMES[node.id]} for {node.id}")

    def visit_Attribute(self, node: ast.Attribute) -> None:  # noqa: N802
        new = _NAMES.get(node.attr)
        owner = getattr(node.value, "id", "")
        if new is not None and owner in ("ext5", "babybear", "np", "math"):
            if not (owner == "np" and node.attr == "add"):
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
        yield Mutant(module, line, what, changed)


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


def _child(folder: Path, mutant: Mutant | None, files: tuple[str, ...], seconds: int) -> int:
    """Runs in a process of its own; 0 where all tests passed."""
    import pytest

    signal.alarm(seconds)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    if mutant is not None:
        target, source = str(_place(folder, mutant.module)), mutant.source
        honest = importlib.machinery.SourceFileLoader.get_code

        def get_code(self: Any, fullname: str) -> Any:
            if self.path == target:
                return compile(source, target, "exec")
            return honest(self, fullname)

        importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    for file in files:
        path, *chosen = file.split(" ")
        args = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
        code = pytest.main([*args, "--rootdir", str(folder), str(folder / path), *chosen])
        if code not in (0, 5):
            return 1
    return 0


def run(folder: Path, every: list[Mutant], jobs: int, seconds: int) -> list[Mutant]:
    """The survivors."""
    waiting, running = list(reversed(every)), dict[int, Mutant]()
    survivors: list[Mutant] = []
    start, done = time.time(), 0
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = _child(folder, mutant, MODULES[mutant.module], seconds)
                finally:
                    os._exit(code)
            running[pid] = mutant
        pid, status = os.wait()
        mutant = running.pop(pid)
        done += 1
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0:
            survivors.append(mutant)
            print(f"survived  {mutant.module}:{mutant.line}  {mutant.what}", flush=True)
        if done % 50 == 0:
            print(f"{done} of {len(every)}, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return survivors


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", action="append", help="a module, or a part of its name")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--trust", action="store_true", help="do not run the tests without mutants")
    parser.add_argument("--seconds", type=int, default=300, help="for the tests of one mutant")
    options = parser.parse_args()
    os.environ["PROOFML_KERNELS"] = "none"
    folder = copied()
    every: list[Mutant] = []
    for module in MODULES:
        if options.only is None or any(part in module for part in options.only):
            every += mutants(module, _place(folder, module).read_text())
    if options.list:
        for mutant in every:
            print(f"{mutant.module}:{mutant.line}  {mutant.what}")
        return 0
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    # Everything that no mutant changes is imported once.
    import hypothesis  # noqa: F401
    import numpy as np  # noqa: F401
    import pytest  # noqa: F401

    import proofml.circuits.kernels

    assert Path(proofml.circuits.kernels.__file__).is_relative_to(folder)
    for module in dict.fromkeys(mutant.module for mutant in every if not options.trust):
        pid = os.fork()
        if pid == 0:
            os._exit(_child(folder, None, MODULES[module], options.seconds))
        if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
            print(f"the tests of {module} fail without any mutant", file=sys.stderr)
            return 2
    survivors = run(folder, every, options.jobs, options.seconds)
    total, alive = Counter(m.module for m in every), Counter(m.module for m in survivors)
    for module, count in total.items():
        print(f"{module}: {count} mutants, {alive[module]} survive")
    print(f"{len(every)} mutants, {len(survivors)} survive")
    shutil.rmtree(folder)
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
