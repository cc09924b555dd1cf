"""The numbered checks of the homomorphic verifiers; each number means one check for ever.

Both backends make the same checks under their own names: `ckks.4` and `concrete.4` are about the
circuit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import NoReturn

from proofml.errors import UnsupportedModel, VerificationError, printable
from proofml.fhe.scheme import Malformed
from proofml.worker import WorkerFailed


class Check(IntEnum):
    """What a number stands for."""

    RECORD = 1
    EVIDENCE = 2
    INTERFACE = 3
    CIRCUIT = 4
    MODEL = 5
    KEYS = 6
    INPUTS = 7
    OUTPUTS = 8
    TRACE = 9
    RUN = 10


TITLES: Mapping[Check, str] = {
    Check.RECORD: "computation: a complete record, of libraries that this version knows",
    Check.EVIDENCE: "evidence: exactly the sections of this backend, no larger than they may be",
    Check.INTERFACE: "interface: inputs and outputs private, each under a commitment",
    Check.CIRCUIT: "circuit: the stated one, strictly read, of 128 bits or more",
    Check.MODEL: "model: the circuit follows from this model",
    Check.KEYS: "keys: the stated evaluation keys, of the circuit's parameters",
    Check.INPUTS: "inputs: the committed ciphertexts, under these keys, of the stated shapes",
    Check.OUTPUTS: "outputs: the committed ciphertexts, under these keys, of the stated shapes",
    Check.TRACE: "trace: the committed ciphertexts of all operators, from inputs to outputs",
    Check.RUN: "re-execution: this machine's own run gives the same bytes",
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """The checks under the name of a backend."""

    backend: str

    def of(self, check: Check) -> str:
        return f"{self.backend}.{check.value}"

    def titles(self) -> dict[str, str]:
        return {self.of(check): TITLES[check] for check in Check}

    def refuse(
        self, check: Check, what: str, *, expected: object = None, got: object = None
    ) -> NoReturn:
        raise VerificationError(self.of(check), what, expected=expected, got=got)

    @contextmanager
    def strangers(self, check: Check) -> Iterator[None]:
        """Bytes of strangers are at work: what is wrong with them is said under this check."""
        try:
            yield
        except Malformed as error:
            self.refuse(check, error.what, expected=error.expected, got=error.got)
        except UnsupportedModel as error:
            self.refuse(check, printable(error))
        except WorkerFailed as error:
            if error.is_machines_fault:
                raise
            self.refuse(check, f"the worker failed on it: {printable(error)}")
