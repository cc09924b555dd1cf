"""Stages that `fhe_ckks` measures: TenSEAL's own code for the model, and ours, in workers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from proofml.benchmarks.fhe_ckks_models import STRIDE, WINDOW, weights
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import messages
from proofml.fhe.ckks.evaluate import Machine
from proofml.fhe.ckks.seal import Seal
from proofml.worker.job import Job

#: Of TenSEAL's tutorial 4, for this model.
_DEGREE, _BITS, _SCALE = 8192, [31, 26, 26, 26, 26, 26, 26, 31], 2**26


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def tenseal(job: Job) -> dict[str, Any]:
    """The tutorial: windows laid out by the client, `conv2d_im2col`, `mm`; on `input.npy`."""
    import tenseal as ts

    known = weights()
    image = np.load(job.folder / "input.npy", allow_pickle=False)

    def keys() -> Any:
        context = ts.context(ts.SCHEME_TYPE.CKKS, _DEGREE, coeff_mod_bit_sizes=_BITS)
        context.global_scale = _SCALE
        context.generate_galois_keys()
        return context

    keygen, context = _timed(keys)
    encrypting, (encrypted, windows) = _timed(
        lambda: ts.im2col_encoding(context, image.tolist(), WINDOW, WINDOW, STRIDE)
    )
    filters = [plane.tolist() for plane in known.filters]
    first, second = known.first.tolist(), known.second.tolist()

    def evaluate() -> Any:
        channels = [
            encrypted.conv2d_im2col(plane, windows) + float(bias)
            for plane, bias in zip(filters, known.filter_bias, strict=True)
        ]
        x = ts.CKKSVector.pack_vectors(channels)
        x.square_()
        x = x.mm(first) + known.first_bias.tolist()
        x.square_()
        return x.mm(second) + known.second_bias.tolist()

    seconds, processor, digests, result = [], [], set(), None
    for _ in range(job.args["repeat"]):
        before = time.process_time()
        spent, result = _timed(evaluate)
        seconds.append(spent)
        processor.append(time.process_time() - before)
        digests.add(hashlib.sha256(result.serialize()).hexdigest())
    assert result is not None
    decrypting, output = _timed(result.decrypt)
    public = context.copy()
    public.make_context_public()
    return {
        "bytes": [
            len(encrypted.serialize()),
            len(public.serialize(save_public_key=False, save_secret_key=False)),
            len(result.serialize()),
        ],
        "decrypt": decrypting,
        "digests": len(digests),
        "encrypt": encrypting,
        "evaluate": seconds,
        "keygen": keygen,
        "output": [repr(value) for value in output],
        "processor": processor,
    }


def ours(job: Job) -> dict[str, Any]:
    """`circuit`, `keys`, `in.0` -> seconds of loading, and of each run with all keys loaded."""

    def load() -> tuple[Machine, Any, Seal]:
        circuit = circuits.read((job.folder / "circuit").read_bytes())
        program = circuit.program
        data = (job.folder / "keys").read_bytes()
        parameters = program.parameters
        keys = messages.read_evaluation(data, parameters, program.rotations, program.multiplies)
        seal = Seal(parameters, job.folder)
        register = program.inputs[0]
        given = messages.read_ciphertext(
            Path(job.folder / "in.0").read_bytes(),
            parameters,
            keys.key,
            register.level,
            program.lanes,
            "input",
        )
        ciphertext = seal.ciphertext(given.residues, given.level, register.scale)
        return Machine(seal, program, keys), ciphertext, seal

    loading, (machine, ciphertext, seal) = _timed(load)
    seconds, processor, digests = [], [], set()
    for _ in range(job.args["repeat"]):
        before = time.process_time()
        spent, result = _timed(lambda: machine.run([[ciphertext]], lambda done: None))
        seconds.append(spent)
        processor.append(time.process_time() - before)
        digests.add(hashlib.sha256(seal.residues(result[0][0]).tobytes()).hexdigest())
    return {
        "digests": len(digests),
        "evaluate": seconds,
        "load": loading,
        "processor": processor,
    }
