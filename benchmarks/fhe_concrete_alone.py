"""Concrete used directly, without proofml: run by the interpreter that has it, as a script.

    fhe_concrete_alone.py prepare FOLDER   circuit.mlir, q.npy, p_error -> server.zip, keys, in
    fhe_concrete_alone.py run FOLDER       server.zip, keys, in -> out; seconds of each part
    fhe_concrete_alone.py ml FOLDER        body.onnx, rows.npy, wanted.json: Concrete ML's own way

Prints one line of JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

BEGAN = time.perf_counter()


def _configuration(fhe: Any, p_error: float) -> Any:
    return fhe.Configuration(
        p_error=p_error, compress_evaluation_keys=True, compress_input_ciphertexts=True
    )


def prepare(folder: Path) -> dict[str, float]:
    fhe = importlib.import_module("concrete.fhe")
    p_error = float((folder / "p_error").read_text())
    server = fhe.Server.create(
        (folder / "circuit.mlir").read_text(), _configuration(fhe, p_error), False
    )
    server.save(folder / "server.zip")
    client = fhe.Client(server.client_specs)
    started = time.perf_counter()
    client.keys.generate()
    seconds = time.perf_counter() - started
    (folder / "keys").write_bytes(client.evaluation_keys.serialize())
    (folder / "in").write_bytes(client.encrypt(np.load(folder / "q.npy")).serialize())
    return {"keygen": seconds, "keys": (folder / "keys").stat().st_size}


def run(folder: Path) -> dict[str, float]:
    fhe = importlib.import_module("concrete.fhe")
    loaded, spent = time.perf_counter(), time.process_time()
    server = fhe.Server.load(folder / "server.zip")
    keys = fhe.EvaluationKeys.deserialize((folder / "keys").read_bytes())
    value = fhe.Value.deserialize((folder / "in").read_bytes())
    started = time.perf_counter()
    result = server.run(value, evaluation_keys=keys)
    ended = time.perf_counter()
    (folder / "out").write_bytes(result.serialize())
    return {
        "import": loaded - BEGAN,
        "load": started - loaded,
        "run": ended - started,
        "processor": time.process_time() - spent,
    }


def ml(folder: Path) -> dict[str, float]:
    onnx = importlib.import_module("onnx")
    compile_onnx_model = importlib.import_module("concrete.ml.torch.compile").compile_onnx_model
    wanted = json.loads((folder / "wanted.json").read_text())
    started = time.perf_counter()
    module = compile_onnx_model(
        onnx.load(folder / "body.onnx"),
        np.load(folder / "rows.npy"),
        n_bits=wanted["bits"],
        rounding_threshold_bits=wanted["rounding"],
        p_error=wanted["p_error"],
    )
    compiled = time.perf_counter()
    circuit = module.fhe_circuit
    circuit.keygen()
    made = time.perf_counter()
    value = circuit.encrypt(module.quantize_input(np.load(folder / "row.npy")))
    begun = time.perf_counter()
    circuit.run(value)
    return {
        "compile": compiled - started,
        "keygen": made - compiled,
        "run": time.perf_counter() - begun,
        "cost": float(circuit.complexity),
        "lookups": int(circuit.programmable_bootstrap_count),
    }


if __name__ == "__main__":
    work = {"prepare": prepare, "run": run, "ml": ml}[sys.argv[1]]
    print(json.dumps(work(Path(sys.argv[2]))))
