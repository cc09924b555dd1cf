"""Stages of the owner of the inputs: keys, encryption, decryption.

The secret key is an argument or a result, in base64, and never a file.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofml.canonical import sha256
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import messages
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.messages import Ciphertext, SecretKey
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.ckks.seal import Seal
from proofml.fhe.ckks.server_stages import refusing
from proofml.worker.job import Job


@refusing
def keygen(job: Job) -> dict[str, Any]:
    """`circuit` -> `keys`; the secret key."""
    circuit = _circuit(job)
    program = circuit.program
    parameters = program.parameters
    seal = Seal(parameters, job.folder)
    job.progress("make keys")
    generator = seal.api.KeyGenerator(seal.context)
    keys: list[Any] = []
    if program.rotations:
        made = seal.api.GaloisKeys()
        elements = [seal.element(step) for step in program.rotations]
        generator.create_galois_keys(elements, made)
        keys += [made.key(element) for element in elements]
    if program.multiplies:
        products = seal.api.RelinKeys()
        generator.create_relin_keys(products)
        keys.append(products.key(2))
    job.progress("write keys")
    written = _written(seal, keys, job.folder)
    data = messages.write_evaluation(parameters, program.rotations, program.multiplies, written)
    (job.folder / "keys").write_bytes(data)
    secret = generator.secret_key()  # it owns what `data` refers to
    count = len(parameters.primes) * parameters.degree
    flat = np.fromiter(map(secret.data().__getitem__, range(count)), np.uint64, count)
    residues = flat.reshape(len(parameters.primes), parameters.degree)
    written_secret = messages.write_secret(parameters, SecretKey(sha256(data), residues))
    return {"secret": base64.b64encode(written_secret).decode("ascii")}


def _written(seal: Seal, keys: Sequence[Any], folder: Path) -> list[bytes]:
    """Each key packed. Numbers come out of SEAL one by one, so all cores take part."""
    count = min(len(keys), os.cpu_count() or 1)
    children = []
    for first in range(count):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                for i in range(first, len(keys), count):
                    residues = np.stack([seal.residues(digit.data()) for digit in keys[i]])
                    packed = messages.pack(residues, seal.parameters.primes)
                    (folder / f"key.{i}").write_bytes(packed)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    ends = [os.waitpid(child, 0)[1] for child in children]
    if any(ends):
        raise MemoryError  # what else could have ended them
    return [(folder / f"key.{i}").read_bytes() for i in range(len(keys))]


@refusing
def encrypt(job: Job) -> dict[str, Any]:
    """`circuit` and slots `in.N.npy` [slots] -> `out.N`, under `secret`."""
    circuit = _circuit(job)
    program = circuit.program
    parameters = program.parameters
    secret = _secret(job, parameters)
    seal = Seal(parameters, job.folder)
    encryptor = seal.api.Encryptor(seal.context, seal.secret_key(secret.residues))
    each = len(program.inputs)
    for i, count in enumerate(job.args["counts"]):
        register = program.inputs[i % each]
        slots = np.load(job.folder / f"in.{i}.npy", allow_pickle=False)
        plain, made = seal.api.Plaintext(), seal.api.Ciphertext()
        parms_id = seal.id_of(register.level)
        seal.encoder.encode(slots.tolist(), parms_id, register.scale, plain)
        encryptor.encrypt_symmetric(plain, made)
        ciphertext = Ciphertext(secret.key, register.level, count, seal.residues(made))
        (job.folder / f"out.{i}").write_bytes(messages.write_ciphertext(parameters, ciphertext))
        job.progress("encrypt", (i + 1) / len(job.args["counts"]))
    return {}


@refusing
def decrypt(job: Job) -> dict[str, Any]:
    """`circuit` and `in.N` -> slots `out.N.npy` [slots], by `secret`; the counts."""
    circuit = _circuit(job)
    program = circuit.program
    parameters = program.parameters
    secret = _secret(job, parameters)
    seal = Seal(parameters, job.folder)
    decryptor = seal.api.Decryptor(seal.context, seal.secret_key(secret.residues))
    counts = []
    each = len(program.outputs)
    for i in range(job.args["ciphertexts"]):
        register = program.registers[program.outputs[i % each]]
        found = messages.read_ciphertext(
            (job.folder / f"in.{i}").read_bytes(),
            parameters,
            secret.key,
            register.level,
            program.lanes,
            f"ciphertext {i}",
        )
        plain = seal.api.Plaintext()
        decryptor.decrypt(seal.ciphertext(found.residues, found.level, register.scale), plain)
        np.save(job.folder / f"out.{i}.npy", np.array(seal.encoder.decode_double(plain)))
        counts.append(found.count)
        job.progress("decrypt", (i + 1) / job.args["ciphertexts"])
    return {"counts": counts}


def _circuit(job: Job) -> CkksCircuit:
    return circuits.read((job.folder / "circuit").read_bytes())


def _secret(job: Job, parameters: Parameters) -> SecretKey:
    return messages.read_secret(base64.b64decode(job.args["secret"]), parameters)
