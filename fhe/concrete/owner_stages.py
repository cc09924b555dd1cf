"""Stages of the owner of the inputs, in the interpreter that has Concrete: all that need secrets.

Keys for encryption and decryption are the bare secret keys. Concrete's own key file would hold the
evaluation keys as well; from the parameters without their list of evaluation keys, and the secret
keys that are given, it makes key sets of secret keys alone. They are arguments or results, in
base64, and never files.
"""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from proofml.fhe.concrete import native
from proofml.worker.job import Job

_EVALUATION = ("lweBootstrapKeys", "lweKeyswitchKeys", "packingKeyswitchKeys")


def keygen(job: Job) -> dict[str, Any]:
    """`program.json` -> `keys`; every secret key."""
    concrete = native.load()
    job.progress("make keys")
    info = concrete.ProgramInfo.deserialize(Path("program.json").read_bytes())
    # Seeds of the system's generator, two of 128 bits; Concrete would take a zero for "none given".
    seeds = [1 + secrets.randbelow((1 << 64) - 1) for _ in range(4)]
    made = concrete.Keyset(info, None, *seeds, None)
    found = made.get_client_keys().get_secret_keys()
    Path("keys").write_bytes(made.get_server_keys().serialize())
    bodies = [base64.b64encode(key.serialize()).decode("ascii") for key in found]
    return {"version": native.version("concrete-python"), "secrets": bodies}


def encrypt(job: Job) -> dict[str, Any]:
    """`program.json`, integers `q.npy` -> `in.0`, under `secrets`."""
    concrete = native.load()
    client = _client(concrete, job)
    job.progress("encrypt")
    value = client.prepare_input(concrete.Value(np.load("q.npy", allow_pickle=False)), 0)
    Path("in.0").write_bytes(value.serialize())
    return {"version": native.version("concrete-python")}


def decrypt(job: Job) -> dict[str, Any]:
    """`program.json`, `out.0` -> integers `y.npy`, by `secrets`."""
    concrete = native.load()
    client = _client(concrete, job)
    job.progress("decrypt")
    value = native.value(concrete, Path("out.0").read_bytes())
    result = client.process_output(value, 0).to_py_val()
    np.save("y.npy", np.asarray(result, dtype=np.int64))
    return {"version": native.version("concrete-python")}


def _client(concrete: Any, job: Job) -> Any:
    data = Path("program.json").read_bytes()
    parameters = concrete.ProgramInfo.deserialize(data)
    program = json.loads(data)
    for kind in _EVALUATION:
        program["keyset"][kind] = []
    bare = concrete.ProgramInfo.deserialize(json.dumps(program).encode())
    known = [key["id"] for key in program["keyset"]["lweSecretKeys"]]
    described = _descriptions(concrete, bare)
    given = {
        known[index]: concrete.LweSecretKey.deserialize(
            base64.b64decode(job.args["secrets"][index]), described[index]
        )
        for index in range(len(known))
    }
    made = concrete.Keyset(bare, None, 0, 0, 0, 0, given)
    return concrete.ClientProgram.create_encrypted(parameters, made).get_client_circuit(
        job.args["function"]
    )


def _descriptions(concrete: Any, bare: Any) -> list[Any]:
    """The native descriptions of the secret keys; only keys carry them, so some are made."""
    throwaway = concrete.Keyset(bare, None, 1, 1, 1, 1, None)
    return [key.param for key in throwaway.get_client_keys().get_secret_keys()]
