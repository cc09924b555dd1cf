"""What only the owner of the inputs does: make keys, encrypt, decrypt.

A secret key goes to workers and comes from them through pipes, so a kill leaves none on the disk.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import numpy as np

from proofml.backend import Context
from proofml.errors import UsageError
from proofml.fhe.ckks import messages, vectors
from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.call import call
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.flooding import NOISIER, flood
from proofml.fhe.ckks.noise import estimate
from proofml.fhe.ckks.server import foreign
from proofml.fhe.ckks.simulate import samples_at_once, simulate
from proofml.fhe.ckks.vectors import Batch
from proofml.tensors import Array

STAGES = "owner_stages"
#: How far beyond the interval of a polynomial its argument may lie, in parts of its radius.
_SLACK = 1e-6
#: Inferences that are looked at in one go, at most.
_CHUNK = 64


def keygen(circuit: CkksCircuit, context: Context) -> tuple[bytes, bytes]:
    """See `Scheme.keygen`."""
    with context.store.scratch() as folder:
        (folder / "circuit").write_bytes(circuit.data)
        made = call(f"{STAGES}:keygen", {}, folder, context, title="make keys")
        return base64.b64decode(made["secret"]), (folder / "keys").read_bytes()


def encrypt(
    circuit: CkksCircuit, secret: bytes, inputs: Mapping[str, Array], context: Context
) -> tuple[bytes, ...]:
    """See `Scheme.encrypt`. The circuit is run in the clear first: under encryption nobody would
    see that an input drives a polynomial out of its interval."""
    messages.read_secret(secret, circuit.program.parameters)
    check_ranges(circuit, inputs)
    check_noise(circuit, inputs)
    given = vectors.batches(circuit, inputs)
    with context.store.scratch() as folder:
        (folder / "circuit").write_bytes(circuit.data)
        for index, one in enumerate(given):
            np.save(folder / f"in.{index}.npy", one.slots)
        arguments = {"counts": [one.count for one in given], "secret": _text(secret)}
        call(f"{STAGES}:encrypt", arguments, folder, context, title="encrypt")
        return tuple((folder / f"out.{i}").read_bytes() for i in range(len(given)))


def decrypt(
    circuit: CkksCircuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
) -> dict[str, Array]:
    """See `Scheme.decrypt`; where the circuit asks for it, noise is added (`flooding`)."""
    decrypted = _slots(circuit, secret, ciphertexts, context)
    bits, each = circuit.record.flood, len(circuit.results)
    elements = sum(len(place.slots) for place in circuit.results)
    shown = [
        Batch(flood(one.slots, circuit.record.noise[i % each], bits, elements), one.count)
        for i, one in enumerate(decrypted)
    ]
    return vectors.results(circuit, shown)


def _slots(
    circuit: CkksCircuit, secret: bytes, ciphertexts: Sequence[bytes], context: Context
) -> list[Batch]:
    messages.read_secret(secret, circuit.program.parameters)
    with context.store.scratch() as folder:
        (folder / "circuit").write_bytes(circuit.data)
        for index, ciphertext in enumerate(ciphertexts):
            (folder / f"in.{index}").write_bytes(ciphertext)
        arguments = {"ciphertexts": len(ciphertexts), "secret": _text(secret)}
        with foreign("output ciphertexts"):
            found = call(f"{STAGES}:decrypt", arguments, folder, context, title="decrypt")
        return [
            Batch(np.load(folder / f"out.{i}.npy", allow_pickle=False), count)
            for i, count in enumerate(found["counts"])
        ]


def check_ranges(circuit: CkksCircuit, inputs: Mapping[str, Array]) -> None:
    """Find that every polynomial's argument stays in the interval that it was made for.

    Raises:
        UsageError: naming the activation, its interval and the argument.
    """
    given = vectors.rows(circuit, inputs)
    if not circuit.arguments:
        return
    places = {argument.register: i for i, argument in enumerate(circuit.arguments)}
    largest = np.zeros((len(places), 2))

    def watch(register: int, values: Reals) -> None:
        place = places.get(register)
        if place is not None:
            seen = values[:, circuit.arguments[place].slots]
            low, high = float(seen.min()), float(seen.max())
            largest[place] = min(largest[place][0], low), max(largest[place][1], high)

    size = min(_CHUNK, samples_at_once(circuit.program))
    for start in range(0, len(given[0]), size):
        part = [
            vectors.features(circuit, i, one[start : start + size]) for i, one in enumerate(given)
        ]
        simulate(circuit.program, part, watch)
    for (low, high), known in zip(largest, circuit.record.approximations, strict=True):
        if low < -1 - _SLACK or high > 1 + _SLACK:
            polynomial = known.polynomial
            ends = [polynomial.middle + polynomial.radius * t for t in (low, high)]
            raise UsageError(
                f"{circuit.name}: this input drives the {known.function} of value {known.value} to "
                f"{ends[0]:.4g}..{ends[1]:.4g}; its polynomial was made for {polynomial.low:.4g}.."
                f"{polynomial.high:.4g}; calibrate on inputs like it, or with a larger margin"
            )


def check_noise(circuit: CkksCircuit, inputs: Mapping[str, Array]) -> None:
    """Where results will be flooded: find that the circuit tells no smaller noise than it makes.

    Whoever compiled it could otherwise have noise added that hides nothing.

    Raises:
        UsageError: it does.
    """
    if not circuit.record.flood:
        return
    size = min(_CHUNK, samples_at_once(circuit.program))
    given = vectors.rows(circuit, inputs)
    slots = [place.slots for place in circuit.results]
    for start in range(0, len(given[0]), size):
        part = [
            vectors.features(circuit, i, one[start : start + size]) for i, one in enumerate(given)
        ]
        found = estimate(circuit.program, part, slots)
        for told, made in zip(circuit.record.noise, found.deviation, strict=True):
            if not made <= NOISIER * told:
                raise UsageError(
                    f"{circuit.name}: on these inputs encryption's noise has a deviation of "
                    f"{made:.3g}; the circuit was compiled for {told:.3g}, too little to hide it "
                    "in shown results; compile it yourself, on samples like these"
                )


def _text(secret: bytes) -> str:
    """As a worker's arguments are: JSON on its standard input."""
    return base64.b64encode(secret).decode("ascii")
