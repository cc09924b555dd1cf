"""Any bytes: accepted or `VerificationError`, the same from both arithmetics.

A coverage-guided run over the native prover's verifier (not a test; needs `pip install atheris`):

    python -m tests.fuzz.sumcheck_atheris CORPUS [-max_total_time=900] [-seed=1]

An input is a script that damages an honest proof of a small circuit: whole elements, digests and
messages as well as single bytes, so that most of it stays well-formed. Half of the inputs are
judged by a verifier whose checks are deaf to all but the encoding: random challenges cannot be
met, so without that nothing behind the first damaged message would ever run. Verifying keys
(`Circuit.read`) are damaged as well.
"""

from __future__ import annotations

import contextlib
import struct
import sys
from collections.abc import Iterator
from unittest import mock

import atheris

with atheris.instrument_imports(include=["proofml.zkml.sumcheck", "proofml.circuits"]):
    from proofml.canonical import CanonicalError
    from proofml.circuits.encoding import read_graph  # noqa: F401 - instrumented
    from proofml.zkml.sumcheck import checks, engine, verifier
    from proofml.zkml.sumcheck.circuit import Circuit
    from proofml.zkml.sumcheck.logup import verifier as logup_verifier
    from proofml.zkml.sumcheck.pcs import verifier as pcs_verifier

from proofml.circuits.field.babybear import P
from proofml.errors import VerificationError
from proofml.fields import FieldError
from tests.sumcheck.graphs import CASES
from tests.sumcheck.malicious import Trial

_DEAF_MODULES = (verifier, logup_verifier, pcs_verifier)


class Seed:
    """An honest run: what a verifier holds, and the proof."""

    def __init__(self, name: str) -> None:
        trial = Trial.of(name)
        self.circuit = trial.key.circuit
        self.public = trial.public
        self.root = trial.root
        self.statement = trial.statement
        self.proof = trial.prove()

    def judge(self, proof: bytes) -> str:
        """The number of the check that refuses, or `accepted`."""
        try:
            verifier.verify_proof(
                self.circuit, self.statement, self.public, proof, ports_root=self.root
            )
        except VerificationError as error:
            return error.check
        return "accepted"


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Checks that hear nothing but a broken encoding."""

    def refuse(check: str, what: str, *, expected: object = None, got: object = None) -> None:
        if check in (checks.ENCODING, checks.LENGTH):
            raise VerificationError(check, what, expected=expected, got=got)

    with contextlib.ExitStack() as stack:
        for module in _DEAF_MODULES:
            stack.enter_context(mock.patch.object(module, "refuse", refuse))
        yield


def damaged(data: bytes, script: atheris.FuzzedDataProvider) -> bytes:
    """Up to eight changes, most of them by whole words, elements or digests."""
    found = bytearray(data)
    for _ in range(script.ConsumeIntInRange(1, 8)):
        if not found:
            break
        kind = script.ConsumeIntInRange(0, 8)
        at = script.ConsumeIntInRange(0, len(found) - 1)
        word = at & ~3
        if kind == 0:
            found[at] = script.ConsumeIntInRange(0, 255)
        elif kind == 1:
            found[at] ^= 1 << script.ConsumeIntInRange(0, 7)
        elif kind == 2 and word + 4 <= len(found):
            struct.pack_into("<I", found, word, script.ConsumeIntInRange(0, P - 1))
        elif kind == 3 and word + 4 <= len(found):
            (old,) = struct.unpack_from("<I", found, word)
            struct.pack_into("<I", found, word, (old + P) & 0xFFFFFFFF)
        elif kind == 4:
            size = script.PickValueInList([4, 20, 32, 60, 80])
            found[at : at + size] = b""
        elif kind == 5:
            size = script.PickValueInList([4, 20, 32, 60, 80])
            found[at:at] = found[at : at + size]
        elif kind == 6:
            other = script.ConsumeIntInRange(0, len(found) - 1) & ~3
            size = script.PickValueInList([4, 20, 32])
            a, b = bytes(found[word : word + size]), bytes(found[other : other + size])
            if len(a) == len(b):
                found[word : word + size], found[other : other + size] = b, a
        elif kind == 7:
            del found[at:]
        else:
            found += script.ConsumeBytes(script.ConsumeIntInRange(0, 64))
    return bytes(found)


SEEDS = [Seed(name) for name in sorted(CASES)]


def one(data: bytes) -> None:
    script = atheris.FuzzedDataProvider(data)
    seed = SEEDS[script.ConsumeIntInRange(0, len(SEEDS) - 1)]
    mode = script.ConsumeIntInRange(0, 3)
    if mode == 0:
        circuit = damaged(seed.circuit.bytes, script)
        try:
            again = Circuit.read(circuit)
        except (FieldError, CanonicalError):
            return
        if again.bytes != circuit:
            raise AssertionError("a verifying key with two forms")
        return
    proof = damaged(seed.proof, script)
    if mode == 1:
        # In NumPy: the checks inside of the C kernels cannot be switched off.
        with deaf(), engine.using(native=False):
            seed.judge(proof)
        return
    found = []
    for native in (False, True):
        with engine.using(native=native):
            found.append(seed.judge(proof))
    if found[0] != found[1]:
        raise AssertionError(f"NumPy says {found[0]}, C says {found[1]}")
    if found[0] == "accepted" and proof != seed.proof:
        raise AssertionError("another proof was accepted")


def main() -> None:
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
