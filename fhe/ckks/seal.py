"""SEAL through `tenseal.sealapi`, for stages in workers: contexts, and numbers in and out.

SEAL reads and writes objects as files. They are written here in its uncompressed form, from
residues that were checked before; the form is that of SEAL 4 (`save_members` of each class). Out
they come number by number, since a file would be compressed by the library SEAL was built with.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from proofml.fhe.ckks.params import Parameters

Residues = NDArray[np.uint64]
#: Of a file that is written piece by piece: keys are large, and copies of them slow.
_Part: TypeAlias = bytes | Residues

_MAGIC = 0xA15E
_HEADER_BYTES = 16
_NOT_COMPRESSED = 0


def library() -> Any:
    """The module; raises `ImportError` where it is not installed."""
    import tenseal.sealapi as sealapi

    return sealapi


class Seal:
    """One context: the parameters, and the objects that need nothing else.

    Attributes:
        api: the module.
        context: SEAL's.
        evaluator, encoder: over it.
    """

    def __init__(self, parameters: Parameters, folder: Path) -> None:
        self.api = library()
        self.parameters = parameters
        self._folder = folder
        made = self.api.EncryptionParameters(self.api.SCHEME_TYPE.CKKS)
        made.set_poly_modulus_degree(parameters.degree)
        made.set_coeff_modulus([self.api.Modulus(prime) for prime in parameters.primes])
        self.context = self.api.SEALContext(made, True, self.api.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ValueError(f"SEAL refuses them: {self.context.parameters_error_message()}")
        self.evaluator = self.api.Evaluator(self.context)
        self.encoder = self.api.CKKSEncoder(self.context)
        self._ids: dict[int, Any] = {}
        data = self.context.first_context_data()
        while data is not None:
            self._ids[data.chain_index()] = data.parms_id()
            data = data.next_context_data()
        self._version = self._find_version()

    def id_of(self, level: int) -> Any:
        """SEAL's name for the primes of a level."""
        return self._ids[level]

    def element(self, step: int) -> int:
        """The Galois element that moves slots by `step` to the left."""
        return pow(3, step, 2 * self.parameters.degree)

    # -- SEAL's files -----------------------------------------------------------------------------

    def _find_version(self) -> tuple[int, int]:
        header = self.api.Serialization.SEALHeader()
        return int(header.version_major), int(header.version_minor)

    def _object(self, *parts: _Part) -> list[_Part]:
        """SEAL's header before what it counts."""
        size = _HEADER_BYTES + sum(_size(part) for part in parts)
        major, minor = self._version
        header = struct.pack(
            "<HBBBBHQ", _MAGIC, _HEADER_BYTES, major, minor, _NOT_COMPRESSED, 0, size
        )
        return [header, *parts]

    def _array(self, residues: Residues) -> list[_Part]:
        return self._object(struct.pack("<Q", residues.size), residues)

    def _ciphertext(self, residues: Residues, parms_id: Any, scale: float) -> list[_Part]:
        size, primes, degree = residues.shape
        members = struct.pack("<4QBQQQdQ", *parms_id, 1, size, degree, primes, scale, 1)
        return self._object(members, *self._array(residues))

    def _load(self, empty: Any, parts: Sequence[_Part]) -> Any:
        path = self._folder / "seal.object"
        with path.open("wb") as file:
            for part in parts:
                file.write(part if isinstance(part, bytes) else _little(part))
        empty.load(self.context, str(path))
        path.unlink()
        return empty

    def _load_private(self, empty: Any, parts: Sequence[_Part]) -> Any:
        """From memory that has a path, where the system has such; a key is on no disk then."""
        if not hasattr(os, "memfd_create"):
            return self._load(empty, parts)
        handle = os.memfd_create("key", os.MFD_CLOEXEC)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part if isinstance(part, bytes) else _little(part))
            file.flush()
            empty.load(self.context, f"/proc/self/fd/{handle}")
        return empty

    def ciphertext(self, residues: Residues, level: int, scale: float) -> Any:
        """From residues [2, level + 1, degree]."""
        parts = self._ciphertext(residues, self.id_of(level), scale)
        return self._load(self.api.Ciphertext(), parts)

    def residues(self, ciphertext: Any) -> Residues:
        """[2, primes, degree] of a ciphertext of two polynomials."""
        primes, degree = ciphertext.coeff_modulus_size(), self.parameters.degree
        count = int(ciphertext.size()) * primes * degree
        flat = np.fromiter(map(ciphertext.__getitem__, range(count)), np.uint64, count)
        return flat.reshape(-1, primes, degree)

    def galois_keys(self, steps: Sequence[int], keys: Sequence[Residues]) -> Any:
        """Keys of rotations, each [digits, 2, primes, degree]."""
        places = {(self.element(s) - 1) // 2: key for s, key in zip(steps, keys, strict=True)}
        rows = [places.get(index) for index in range(self.parameters.degree)]
        return self._load(self.api.GaloisKeys(), self._switching(rows))

    def relinearisation_keys(self, key: Residues) -> Any:
        return self._load(self.api.RelinKeys(), self._switching([key]))

    def _switching(self, rows: Sequence[Residues | None]) -> list[_Part]:
        key_id = self.context.key_parms_id()
        parts: list[_Part] = [struct.pack("<4QQ", *key_id, len(rows))]
        for row in rows:
            parts.append(struct.pack("<Q", 0 if row is None else len(row)))
            if row is not None:
                # SEAL gives keys, as everything that no encoder made, the scale 1.
                for digit in row:
                    parts += self._ciphertext(digit, key_id, 1.0)
        return self._object(*parts)

    def secret_key(self, residues: Residues) -> Any:
        """From [primes, degree]."""
        members = struct.pack("<4QQd", *self.context.key_parms_id(), residues.size, 1.0)
        parts = self._object(members, *self._array(residues))
        return self._load_private(self.api.SecretKey(), parts)


def _size(part: _Part) -> int:
    return len(part) if isinstance(part, bytes) else part.nbytes


def _little(residues: Residues) -> memoryview:
    """Its bytes, little-endian, without a copy where they are so in memory."""
    return np.ascontiguousarray(residues, "<u8").data.cast("B")
