"""The native prover against EZKL: the same float model, input and machine, in one run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proofml.benchmarks import models, sumcheck_ezkl
from proofml.benchmarks.process import call, command_line, run, summary
from proofml.benchmarks.sumcheck_child import STAGES
from proofml.store import Store

CHILD = "proofml.benchmarks.sumcheck_child"
NONCE = "62656e63686d61726b"
ALLOWED = ("srs:local-dev", "quantisation:prover-chosen", "semantics:defined-here")
#: Where the search for EZKL's rows begins. 2^12 rows are the fewest that the backend takes for
#: LeNet, and with so many columns a proof was not done after five minutes.
LEAST = {"mlp": 7, "lenet": 15}

Say = Callable[[str], None]
Cost = dict[str, Any]


def compare(
    name: str,
    *,
    say: Say,
    repeat: int = 15,
    ezkl_repeat: int = 3,
    commands: int = 3,
    rows: int | None = None,
    least: int | None = None,
) -> dict[str, Any]:
    """Everything for one model.

    Args:
        name: in `models.BUILDERS`.
        repeat, ezkl_repeat, commands: repetitions of the native prover and verifier, of EZKL's,
            and of whole commands.
        rows: of EZKL's circuit, as a power of two; searched if None, upwards from `least`, or
            from `LEAST`.
    """
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        case = models.write(name, folder)
        store = Store(folder / "ezkl")
        tried: list[sumcheck_ezkl.Tried] = []
        if rows is None:
            begin = LEAST.get(name, 7) if least is None else least
            rows, tried = sumcheck_ezkl.best_rows(case, store, say, least=begin)
        say(f"EZKL on {name}: measuring with 2^{rows} rows")
        theirs = sumcheck_ezkl.measure(case, Store(folder / "fresh"), rows, ezkl_repeat)
        say(f"sumcheck on {name}")
        ours = native(case, folder / "native", repeat)
        options: dict[str, list[object]] = {
            "ezkl": [f"--set={key}={value}" for key, value in sumcheck_ezkl.options(rows).items()],
            "sumcheck": ["--calibration", case.calibration],
        }
        for backend, cost, cache in (("ezkl", theirs, "fresh"), ("sumcheck", ours, "commands")):
            say(f"proofml prove -b {backend}, proofml verify: {name}")
            cost["command"] = whole(case, backend, options[backend], folder / cache, commands)
        return {
            "name": name,
            "parameters": case.parameters,
            "ezkl": theirs,
            "sumcheck": ours,
            "tried": [vars(one) for one in tried],
        }


def native(case: models.Case, folder: Path, repeat: int) -> Cost:
    """The native prover: set up, prove and verify in three fresh processes."""
    folder.mkdir()
    words = case.model, case.input, case.calibration
    set_up = call(CHILD, "setup", *words, folder)
    proved = call(CHILD, "prove", folder, repeat)
    verified = call(CHILD, "verify", folder, repeat)
    plain = call(CHILD, "verify", folder, repeat, environment={"PROOFML_KERNELS": "none"})
    totals = [sum(one.values()) for one in proved["runs"]]
    stages = {name: summary([one[name] for one in proved["runs"]]) for name in STAGES}
    return {
        "setup": sum(set_up["seconds"].values()),
        "setup_stages": set_up["seconds"],
        "setup_peak": set_up["peak"],
        "proof": summary(totals),
        "call": {"min": sum(proved["once"].values()) + totals[0]},
        "cpu": summary(proved["cpu"]),
        "stages": stages,
        "peak": proved["first_peak"],
        "last_peak": proved["peak"],
        "baseline": proved["baseline"],
        "verify": summary(verified["runs"]),
        "verify_first": sum(verified["once"].values()),
        "verify_plain": summary(plain["runs"]),
        "verify_plain_first": sum(plain["once"].values()),
        "bytes": proved["proof"],
        "verifying_key": set_up["verifying_key"],
        "proving_key": set_up["proving_key"],
        "sizes": proved["sizes"],
    }


def whole(
    case: models.Case, backend: str, options: Sequence[object], cache: Path, repeat: int
) -> Cost:
    """The commands `proofml prove` and `proofml verify`, everything cached by a first call.

    That first call is the one whose memory is sampled: it is not timed, but for a verifier's.
    """
    environment = {"PROOFML_CACHE": str(cache)}
    path = case.model.with_name(f"{case.name}-{backend}.pml")
    prove = command_line(
        *("prove", case.model, case.input, "-b", backend, "-o", path, "--nonce", NONCE),
        *("--force", "--no-progress", *options),
    )
    verify = command_line(
        *("verify", path, "--model", case.model, "--input", case.input, "--nonce", NONCE),
        *("--no-progress", *(f"--allow={name}" for name in ALLOWED)),
    )
    found: Cost = {}
    for name, argv in (("prove", prove), ("verify", verify)):
        first = run(argv, environment, sample=True)
        again = [run(argv, environment).seconds for _ in range(repeat)]
        found[name] = {**summary(again), "first": first.seconds}
        found[f"{name}_peak"] = first.peak
    found["file"] = path.stat().st_size
    return found


# ---------------------------------------------------------------- as a table
def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One line a figure, three columns a model: EZKL, native, how many times less."""
    head = ["figure"]
    for result in results:
        rows = result["ezkl"]["rows"]
        head += [f"{result['name']}: EZKL, 2^{rows} rows", "native", "factor"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for figure, read, show in _FIGURES:
        cells = [figure]
        for result in results:
            theirs, ours = read(result["ezkl"]), read(result["sumcheck"])
            cells += [show(theirs), show(ours), _factor(theirs, ours)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def rows_table(results: Sequence[Mapping[str, Any]]) -> str:
    """What EZKL needed with each number of rows that was tried."""
    lines = ["| model | rows | prove s | peak MiB |", "|---|---|---|---|"]
    for result in results:
        for one in result["tried"]:
            failed = one["proof"] is None
            cells = ("none: " + _plain(one["reason"]), "") if failed else _numbers(one)
            lines.append(f"| {result['name']} | 2^{one['logrows']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _numbers(one: Mapping[str, Any]) -> tuple[str, str]:
    return _seconds({"min": one["proof"]}), _mebibytes(one["peak"])


def _plain(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")


def _seconds(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        value = {"min": value}
    shown = [_short(value["min"])]
    if "median" in value:
        shown.append(f"({_short(value['median'])})")
    return " ".join(shown)


def _short(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _kilobytes(value: Any) -> str:
    return "" if value is None else f"{value / 1e3:,.1f} kB"


def _mebibytes(value: Any) -> str:
    return "" if value is None else f"{value / 2**20:,.0f} MiB"


def _factor(theirs: Any, ours: Any) -> str:
    if theirs is None or ours is None:
        return ""
    a, b = (one["min"] if isinstance(one, Mapping) else one for one in (theirs, ours))
    return f"{a / b:,.3g}" if a / b < 1000 else f"{a / b:,.0f}"


def _at(*path: str) -> Callable[[Cost], Any]:
    def read(cost: Cost) -> Any:
        found: Any = cost
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return read


_FIGURES: tuple[tuple[str, Callable[[Cost], Any], Callable[[Any], str]], ...] = (
    ("prove, key in memory", _at("proof"), _seconds),
    ("prove, key read first", _at("call"), _seconds),
    ("prove, processor time of all threads", _at("cpu"), _seconds),
    ("`proofml prove`, all cached", _at("command", "prove"), _seconds),
    ("setup", _at("setup"), _seconds),
    ("verify, key in memory", _at("verify"), _seconds),
    ("verify, NumPy only", _at("verify_plain"), _seconds),
    ("`proofml verify`, all cached", _at("command", "verify"), _seconds),
    ("`proofml verify`, nothing cached", _at("command", "verify", "first"), _seconds),
    ("proof", _at("bytes"), _kilobytes),
    ("`.pml` file", _at("command", "file"), _kilobytes),
    ("verifying key", _at("verifying_key"), _kilobytes),
    ("proving key", _at("proving_key"), _kilobytes),
    ("peak memory, prover alone", _at("peak"), _mebibytes),
    ("of it before the key is read", _at("baseline"), _mebibytes),
    ("peak memory, first `proofml prove`", _at("command", "prove_peak"), _mebibytes),
    ("peak memory, first `proofml verify`", _at("command", "verify_peak"), _mebibytes),
)
