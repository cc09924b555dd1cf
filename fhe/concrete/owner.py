"""What only the owner of the inputs does: make keys, encrypt, decrypt.

Secret keys go to workers and come from them through pipes, so a kill leaves none on the disk.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofml.backend import Context
from proofml.fhe.concrete.call import call
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.concrete.messages import (
    SecretKey,
    read_ciphertext,
    read_secret,
    write_ciphertext,
    write_evaluation,
    write_secret,
)
from proofml.fhe.concrete.server import dequantise_rows, derive, foreign, input_row, quantise_rows
from proofml.fhe.scheme import Malformed
from proofml.tensors import Array

STAGES = "owner_stages"


def keygen(circuit: ConcreteCircuit, context: Context) -> tuple[bytes, bytes]:
    """See `Scheme.keygen`. The parameters are derived again first: keys for weaker ones leak."""
    with foreign("circuit"):
        (derived,) = derive(circuit.text, [circuit.choice.p_error], context)
    if derived.parameters != circuit.program.data:
        raise Malformed(
            "circuit's parameters", "those that Concrete chooses for its program", "others"
        )
    with context.store.scratch() as folder:
        (folder / "program.json").write_bytes(derived.parameters)
        made = call(f"{STAGES}:keygen", {}, folder, context, title="make keys")
        bodies = tuple(base64.b64decode(one) for one in made["secrets"])
        evaluation = write_evaluation(circuit.program, (folder / "keys").read_bytes())
    return write_secret(circuit.program, evaluation.key, bodies).data, evaluation.data


def encrypt(
    circuit: ConcreteCircuit, secret: bytes, inputs: Mapping[str, Array], context: Context
) -> tuple[bytes, ...]:
    """See `Scheme.encrypt`. What calibration never saw is taken to the end of its range."""
    key = read_secret(secret, circuit.program)
    row = input_row(circuit, inputs)
    (integers,) = quantise_rows(circuit, row[None], context)
    with context.store.scratch() as folder:
        _place(folder, circuit)
        np.save(folder / "q.npy", integers)
        call(
            f"{STAGES}:encrypt",
            _arguments(circuit, key),
            folder,
            context,
            title="encrypt",
        )
        body = (folder / "in.0").read_bytes()
    return (write_ciphertext(circuit.program, key.key, "input", body),)


def decrypt(
    circuit: ConcreteCircuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
) -> dict[str, Array]:
    """See `Scheme.decrypt`."""
    key = read_secret(secret, circuit.program)
    if len(ciphertexts) != 1:
        raise Malformed("output ciphertexts", "1", len(ciphertexts))
    body = read_ciphertext(ciphertexts[0], circuit.program, key.key, "output")
    with context.store.scratch() as folder:
        _place(folder, circuit)
        (folder / "out.0").write_bytes(body)
        with foreign("output ciphertext"):
            call(
                f"{STAGES}:decrypt",
                _arguments(circuit, key),
                folder,
                context,
                title="decrypt",
            )
        integers = np.load(folder / "y.npy", allow_pickle=False)
    (result,) = dequantise_rows(circuit, integers[None], context)
    return {circuit.outputs[0].name: result}


def _place(folder: Path, circuit: ConcreteCircuit) -> None:
    (folder / "program.json").write_bytes(circuit.program.data)


def _arguments(circuit: ConcreteCircuit, key: SecretKey) -> dict[str, Any]:
    """Of the owner's stages: JSON on a worker's standard input."""
    bodies = [base64.b64encode(body).decode("ascii") for body in key.bodies]
    return {"function": circuit.program.function, "secrets": bodies}
