"""The native prover in processes of its own, so that time and memory are those of one task.

    python -m proofml.benchmarks.sumcheck_child setup MODEL INPUT CALIBRATION FOLDER
    python -m proofml.benchmarks.sumcheck_child prove FOLDER REPEAT
    python -m proofml.benchmarks.sumcheck_child verify FOLDER REPEAT

`setup` leaves a proving key and the input's codes in FOLDER, `prove` a proof and its public
values. Each prints one JSON object: seconds and bytes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from proofml.benchmarks.process import own_memory
from proofml.circuits import kernels

#: Names of the stages, in their order.
STAGES = ("inference", "commit", "lookups", "contractions", "opening")
#: Seconds of rest before each repetition, which a scheduler rewards where others want to run too.
PAUSE = 0.03
_CODES, _KEY = "codes.npz", ("circuit", "weights", "values.npy", "code.npy", "nodes.npy")


def setup(model_path: str, input_path: str, calibration_path: str, folder: str) -> dict[str, Any]:
    """Quantise, compile, commit; `verifying_key` and `proving_key` in bytes."""
    from proofml.circuits import ranges
    from proofml.circuits.codec import encode_input
    from proofml.circuits.onnx import compile_model
    from proofml.circuits.quantise import QuantisationConfig, calibrate
    from proofml.cli.common import read_samples, read_tensors
    from proofml.model import Model
    from proofml.store import Store
    from proofml.zkml.sumcheck.compile import Source
    from proofml.zkml.sumcheck.keyfiles import write_key
    from proofml.zkml.sumcheck.keys import commit_model

    watch = _Watch()
    store = Store(Path(folder) / "store")
    model = Model.load(Path(model_path), store=store)
    inputs = read_tensors(input_path, model)
    samples = read_samples(calibration_path, model)
    watch.mark("load")
    record = calibrate(model, samples, QuantisationConfig(), store)
    source = Source(model, {name: array.shape for name, array in inputs.items()}, record)
    quantised = source.integer_model
    watch.mark("quantise")
    compiled = compile_model(quantised, source.shapes)
    ranges.check(compiled.graph, compiled.weights)
    watch.mark("compile")
    key = commit_model(compiled.graph, compiled.weights)
    watch.mark("commit")
    files = write_key(key, Path(folder))
    codes = {str(p.value): encode_input(p, inputs[p.name]) for p in compiled.graph.inputs}
    np.savez(Path(folder) / _CODES, **codes)  # type: ignore[arg-type]
    watch.mark("write")
    return {
        "seconds": watch.seconds,
        "peak": own_memory()[0],
        "parameters": model.parameters,
        "verifying_key": len(key.circuit.bytes),
        "proving_key": sum(path.stat().st_size for path in files.values()),
    }


def read(folder: Path) -> tuple[Any, dict[int, Any]]:
    """The key that `setup` wrote, mapped, and the codes of the input."""
    from proofml.zkml.sumcheck.keyfiles import read_key

    paths = [folder / name for name in _KEY]
    key = read_key({path.stem: path for path in paths if path.exists()})
    with np.load(folder / _CODES, allow_pickle=False) as data:
        return key, {int(name): data[name] for name in data.files}


def prove(folder_name: str, repeat: str) -> dict[str, Any]:
    """Prove `repeat` times; the Statement, and with it the work of grinding, differs each time."""
    from proofml.zkml.sumcheck import keyfiles  # noqa: F401  (imports belong to the baseline)
    from proofml.zkml.sumcheck.prover import prove_circuit

    folder, baseline = Path(folder_name), own_memory()[1]
    watch = _Watch()
    key, codes = read(folder)
    watch.mark("read key")
    assert key.executor is not None  # made at first use, as is the layout
    assert key.circuit.layout is not None
    watch.mark("prepare")
    runs: list[dict[str, float]] = []
    cpu: list[float] = []
    proof, values, first = b"", [], 0
    for number in range(int(repeat)):
        time.sleep(PAUSE)
        run, used = _Watch(), time.process_time()
        values = key.executor.run(codes)
        proof = prove_circuit(key, values, bytes([number % 256]) * 32, stage=run.begin)
        run.mark(STAGES[-1])
        runs.append(run.seconds)
        cpu.append(time.process_time() - used)
        first = first or own_memory()[0]
    layout, graph = key.circuit.layout, key.circuit.graph
    bound = {graph.outputs[index].value for index in layout.bound_outputs}
    public = {str(value): values[value] for value in layout.public | bound}
    (folder / "proof").write_bytes(proof)
    np.savez(folder / "public.npz", **public)
    return {
        "baseline": baseline,
        "first_peak": first,
        "peak": own_memory()[0],
        "once": watch.seconds,
        "runs": runs,
        "cpu": cpu,
        "proof": len(proof),
        "statement": (int(repeat) - 1) % 256,
        "sizes": sizes(key),
    }


def sizes(key: Any) -> dict[str, Any]:
    """What the cost of a proof depends on."""
    layout, params = key.circuit.layout, key.circuit.params
    return {
        "trees": {name: stack.log for name, stack in layout.trees.items()},
        "leaves": layout.leaves.log,
        "nodes": len(layout.graph.nodes),
        "lookups": len(layout.lookups),
        "rows": sum(table.rows for table in layout.plan.tables),
        "mu": params.mu,
        "rate": params.rate,
        "folds": list(params.folds),
        "queries": params.queries,
        "grind": params.grind,
        "bits": key.circuit.report.bits,
    }


def verify(folder_name: str, repeat: str) -> dict[str, Any]:
    """`once`: reading the verifying key and verifying with it for the first time."""
    from proofml.zkml.sumcheck.circuit import Circuit
    from proofml.zkml.sumcheck.verifier import verify_proof

    folder = Path(folder_name)
    proof = (folder / "proof").read_bytes()
    statement = bytes([int((folder / "statement").read_text())]) * 32
    with np.load(folder / "public.npz", allow_pickle=False) as data:
        public = {int(name): data[name] for name in data.files}
    watch = _Watch()
    circuit = Circuit.read((folder / "circuit").read_bytes())
    watch.mark("read key")
    verify_proof(circuit, statement, public, proof)
    watch.mark("first")
    runs = []
    for _ in range(int(repeat)):
        time.sleep(PAUSE)
        started = time.perf_counter()
        verify_proof(circuit, statement, public, proof)
        runs.append(time.perf_counter() - started)
    return {
        "once": watch.seconds,
        "runs": runs,
        "peak": own_memory()[0],
        "kernels": kernels.level(),
    }


class _Watch:
    """Seconds between marks, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name = STAGES[0]
        self._since = time.perf_counter()

    def mark(self, name: str) -> None:
        """What ends here is called `name`."""
        now = time.perf_counter()
        self.seconds[name] = now - self._since
        self._since = now

    def begin(self, name: str) -> None:
        """What begins here is called `name`; what was begun before ends."""
        self.mark(self._name)
        self._name = name


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"setup": setup, "prove": prove, "verify": verify}

if __name__ == "__main__":
    found = TASKS[sys.argv[1]](*sys.argv[2:])
    if sys.argv[1] == "prove":
        (Path(sys.argv[2]) / "statement").write_text(str(found["statement"]))
    print(json.dumps(found))
