"""Stages of server and verifier: evaluation keys and ciphertexts, no secret key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import messages
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.evaluate import Constants, Machine
from proofml.fhe.ckks.messages import Ciphertext, EvaluationKeys
from proofml.fhe.ckks.program import Program
from proofml.fhe.ckks.seal import Seal
from proofml.fhe.scheme import Malformed
from proofml.worker.job import Job


def refusing(stage: Callable[[Job], dict[str, Any]]) -> Callable[[Job], dict[str, Any]]:
    """What is malformed is told to the host as a result, field by field."""

    def wrapped(job: Job) -> dict[str, Any]:
        try:
            return stage(job)
        except Malformed as error:
            return {"malformed": [error.what, error.expected, error.got]}

    return wrapped


@refusing
def run(job: Job) -> dict[str, Any]:
    """`circuit`, `keys` and `in.N` -> `out.N`, group by group; with `trace` also `trace.N`."""
    circuit, keys, machine, seal = _open(job)
    program = circuit.program
    groups, counts = _inputs(job, circuit, keys, seal)
    parameters = program.parameters

    def keep(group: int, number: int, made: Any) -> None:
        place = group * len(program.instructions) + number
        level = program.registers[len(program.inputs) + number].level
        ciphertext = Ciphertext(keys.key, level, counts[group], seal.residues(made))
        path = job.folder / f"trace.{place}"
        path.write_bytes(messages.write_ciphertext(parameters, ciphertext))

    watch = keep if job.args["trace"] else None
    results = machine.run(groups, lambda done: job.progress("run circuit", done), watch)
    place = 0
    for group, outputs in enumerate(results):
        for register, made in zip(program.outputs, outputs, strict=True):
            level = program.registers[register].level
            ciphertext = Ciphertext(keys.key, level, counts[group], seal.residues(made))
            path = job.folder / f"out.{place}"
            path.write_bytes(messages.write_ciphertext(parameters, ciphertext))
            place += 1
    return {"outputs": place}


@refusing
def replay(job: Job) -> dict[str, Any]:
    """Instructions `tasks`, operands `in.N` one task after the other -> `out.N`, one each."""
    circuit, keys, machine, seal = _open(job)
    program, place = circuit.program, 0
    for index, number in enumerate(job.args["tasks"]):
        instruction = program.instructions[number]
        operands, counts = [], set()
        for register in instruction.operands:
            known = program.registers[register]
            found = _ciphertext(job.folder / f"in.{place}", program, keys, known.level, place)
            operands.append(seal.ciphertext(found.residues, found.level, known.scale))
            counts.add(found.count)
            place += 1
        if len(counts) != 1:
            raise Malformed(f"operands of instruction {number}", "one count", sorted(counts))
        made = machine.step(number, operands, machine.constants.of(instruction))
        level = program.registers[len(program.inputs) + number].level
        ciphertext = Ciphertext(keys.key, level, counts.pop(), seal.residues(made))
        path = job.folder / f"out.{index}"
        path.write_bytes(messages.write_ciphertext(program.parameters, ciphertext))
        job.progress("run operators", (index + 1) / len(job.args["tasks"]))
    return {"outputs": len(job.args["tasks"])}


@refusing
def constants(job: Job) -> dict[str, Any]:
    """SHA-256 over the residues of all encoded constants of `circuit`, in the program's order."""
    circuit = circuits.read((job.folder / "circuit").read_bytes())
    seal = Seal(circuit.program.parameters, job.folder)
    encoder = Constants(seal, circuit.program)
    digest = hashlib.sha256()
    for instruction in circuit.program.instructions:
        for plain in encoder.of(instruction):
            count = int(plain.coeff_count())
            flat = np.fromiter(map(plain.__getitem__, range(count)), np.uint64, count)
            digest.update(flat.astype("<u8").tobytes())
    return {"sha256": digest.hexdigest()}


def _open(job: Job) -> tuple[CkksCircuit, EvaluationKeys, Machine, Seal]:
    job.progress("load keys")
    circuit = circuits.read((job.folder / "circuit").read_bytes())
    program = circuit.program
    keys = messages.read_evaluation(
        (job.folder / "keys").read_bytes(),
        program.parameters,
        program.rotations,
        program.multiplies,
    )
    seal = Seal(program.parameters, job.folder)
    return circuit, keys, Machine(seal, program, keys), seal


def _inputs(
    job: Job, circuit: CkksCircuit, keys: EvaluationKeys, seal: Seal
) -> tuple[list[list[Any]], list[int]]:
    program = circuit.program
    each = len(program.inputs)
    groups: list[list[Any]] = []
    counts: list[int] = []
    for start in range(0, job.args["inputs"], each):
        found = [
            _ciphertext(job.folder / f"in.{start + i}", program, keys, register.level, start + i)
            for i, register in enumerate(program.inputs)
        ]
        count = {one.count for one in found}
        if len(count) != 1:
            raise Malformed("input ciphertexts of one batch", "one count", sorted(count))
        counts.append(count.pop())
        groups.append(
            [
                seal.ciphertext(one.residues, one.level, register.scale)
                for one, register in zip(found, program.inputs, strict=True)
            ]
        )
    return groups, counts


def _ciphertext(
    path: Path, program: Program, keys: EvaluationKeys, level: int, place: int
) -> Ciphertext:
    return messages.read_ciphertext(
        path.read_bytes(),
        program.parameters,
        keys.key,
        level,
        program.lanes,
        f"ciphertext {place}",
    )
