"""Stages of server and verifier, in the interpreter that has Concrete. No secret key here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from proofml.fhe.concrete import native
from proofml.worker.job import Job


def derive(job: Job) -> dict[str, Any]:
    """`circuit.mlir` -> `program.N.json` for probability N: parameters, without machine code."""
    concrete = native.load()
    text = Path("circuit.mlir").read_text()
    found = []
    for index, p_error in enumerate(job.args["p_errors"]):
        job.progress("choose parameters", index / len(job.args["p_errors"]))
        built = native.build(concrete, text, float(p_error), f"derived.{index}", library=False)
        info = built.get_program_info()
        Path(f"program.{index}.json").write_bytes(info.serialize())
        feedback = built.get_program_compilation_feedback()
        (name,) = info.function_list()
        operations = {concrete.PrimitiveOperation.PBS, concrete.PrimitiveOperation.WOP_PBS}
        lookups = concrete.MoreCircuitCompilationFeedback.count(
            feedback.get_circuit_feedback(name), operations=operations
        )
        found.append(
            {
                "p_error": repr(float(feedback.p_error)),
                "cost": repr(float(feedback.complexity)),
                "lookups": int(lookups),
            }
        )
    return {"version": native.version("concrete-python"), "derived": found}


def library(job: Job) -> dict[str, Any]:
    """`circuit.mlir` -> machine code, its parameters checked against `program.json`."""
    concrete = native.load()
    job.progress("compile circuit")
    text = Path("circuit.mlir").read_text()
    made = native.build(
        concrete,
        text,
        float(job.args["p_error"]),
        "library",
        library=True,
        simulation=job.args["simulation"],
    )
    same = made.get_program_info().serialize() == Path("program.json").read_bytes()
    return {"version": native.version("concrete-python"), "same": bool(same)}


def run(job: Job) -> dict[str, Any]:
    """`library/`, `keys`, `in.N` -> `out.N`."""
    concrete = native.load()
    job.progress("load keys")
    keys = concrete.ServerKeyset.deserialize(Path("keys").read_bytes())
    arguments = [
        native.value(concrete, Path(f"in.{index}").read_bytes())
        for index in range(job.args["inputs"])
    ]
    program = concrete.ServerProgram(concrete.Library("library"), False)
    circuit = program.get_server_circuit(job.args["function"])
    job.progress("run circuit")
    results = circuit.call(arguments, keys)
    for index, result in enumerate(results):
        Path(f"out.{index}").write_bytes(result.serialize())
    return {"version": native.version("concrete-python"), "outputs": len(results)}


def simulate(job: Job) -> dict[str, Any]:
    """`library/` made for simulation, integers `q.npy` [n, ...] -> `y.npy` [n, ...]."""
    concrete = native.load()
    job.progress("simulate circuit")
    built = concrete.Library("library")
    info = built.get_program_info()
    name = job.args["function"]
    server = concrete.ServerProgram(built, True).get_server_circuit(name)
    client = concrete.ClientProgram.create_simulated(info).get_client_circuit(name)
    results = []
    for row in np.load("q.npy", allow_pickle=False):
        argument = client.simulate_prepare_input(concrete.Value(row), 0)
        (result,) = server.simulate([argument])
        results.append(np.asarray(client.simulate_process_output(result, 0).to_py_val(), np.int64))
    np.save("y.npy", np.stack(results))
    return {"version": native.version("concrete-python")}
