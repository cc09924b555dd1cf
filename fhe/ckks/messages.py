"""Keys and ciphertexts as files: residues in one form, headers that say what belongs together.

A residue modulo a prime of b bits takes ceil(b / 8) bytes, little-endian; polynomials stand in the
transformed (NTT) form that SEAL computes in, prime by prime. Every residue is below its prime and
nothing else is in a file, so one ciphertext has one byte string. SEAL's own files are written by
`seal` from numbers that were checked here; its reader never sees a stranger's bytes.

`key` is the SHA-256 of the file of evaluation keys: it stands in the secret key, and in every
ciphertext that was made under them.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON, sha256
from proofml.fhe.ckks import files
from proofml.fhe.ckks.params import Parameters
from proofml.fhe.scheme import Malformed
from proofml.fields import FieldError, Fields

Residues = NDArray[np.uint64]

SECRET_TYPE = "proofml/ckks-secret"
EVALUATION_TYPE = "proofml/ckks-evaluation"
CIPHERTEXT_TYPE = "proofml/ckks-ciphertext"
_BODY = "body"
_NAMES = frozenset({_BODY})
#: Of a header, with room to spare.
_HEADER = 1 << 17
MAX_ROTATIONS = 1024


def width(prime: int) -> int:
    """Bytes of a residue."""
    return (prime.bit_length() + 7) // 8


def pack(residues: Residues, primes: Sequence[int]) -> bytes:
    """[.., primes, degree] -> bytes."""
    parts = []
    for polynomial in residues.reshape(-1, len(primes), residues.shape[-1]):
        for row, prime in zip(polynomial, primes, strict=True):
            size = width(prime)
            if size == 4:
                parts.append(row.astype("<u4").tobytes())
            else:
                parts.append(row.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :size].tobytes())
    return b"".join(parts)


def unpack(data: memoryview, primes: Sequence[int], degree: int, count: int, what: str) -> Residues:
    """`count` polynomials [count, primes, degree].

    Raises:
        Malformed: a residue that is not below its prime; the size was checked before.
    """
    found = np.empty((count, len(primes), degree), np.uint64)
    position = 0
    for polynomial in found:
        for row, prime in zip(polynomial, primes, strict=True):
            size = width(prime)
            part = data[position : position + size * degree]
            position += size * degree
            if size == 4:
                short = np.frombuffer(part, "<u4")
                row[:] = short
                largest = int(short.max())
            else:
                row[:] = 0
                wide = row.view(np.uint8).reshape(-1, 8)
                wide[:, :size] = np.frombuffer(part, np.uint8).reshape(-1, size)
                largest = int(row.max())
            if largest >= prime:
                raise Malformed(what, f"residues below {prime}", largest)
    return found


def polynomial_bytes(primes: Sequence[int], degree: int) -> int:
    return degree * sum(width(prime) for prime in primes)


# -- ciphertexts ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ciphertext:
    """Two polynomials under a key.

    Attributes:
        key: of the evaluation keys, 64 hexadecimal digits.
        level: number of its primes less one.
        count: inferences in its lanes.
        residues: [2, level + 1, degree].
    """

    key: str
    level: int
    count: int
    residues: Residues


def write_ciphertext(parameters: Parameters, ciphertext: Ciphertext) -> bytes:
    header: dict[str, JSON] = {
        "count": ciphertext.count,
        "key": ciphertext.key,
        "level": ciphertext.level,
        "parameters": parameters.digest,
    }
    body = pack(ciphertext.residues, parameters.primes[: ciphertext.level + 1])
    return files.write(CIPHERTEXT_TYPE, header, {_BODY: body})


def read_ciphertext(
    data: bytes, parameters: Parameters, key: str, level: int, lanes: int, what: str
) -> Ciphertext:
    """Of this key and level.

    Raises:
        Malformed: another one, or none.
    """
    primes = parameters.primes[: level + 1]
    size = 2 * polynomial_bytes(primes, parameters.degree)
    fields, sections = files.read(data, what, CIPHERTEXT_TYPE, _NAMES, size + _HEADER)
    with files.strict(what):
        _same_parameters(fields, parameters, what)
        found = fields.sha256("key")
        count = fields.integer("count", 1, lanes)
        at = fields.integer("level", 0, 64)
        fields.done()
    if found != key:
        raise Malformed(what, f"one under the key {key}", found)
    if at != level:
        raise Malformed(f"{what}: level", level, at)
    body = _body(sections, size, what)
    residues = unpack(body, primes, parameters.degree, 2, what)
    if not residues[1].any():
        raise Malformed(what, "a ciphertext", "a plaintext in its form")
    return Ciphertext(found, at, count, residues)


# -- keys -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class EvaluationKeys:
    """Public.

    Attributes:
        key: SHA-256 of the file.
        rotations: steps in slots that have a key, sorted.
        multiplies: whether there is one for products.
        residues: of each key, that of products last: [digits, 2, primes, degree].
    """

    key: str
    rotations: tuple[int, ...]
    multiplies: bool
    residues: tuple[Residues, ...]


def write_evaluation(
    parameters: Parameters, rotations: Sequence[int], multiplies: bool, keys: Sequence[bytes]
) -> bytes:
    """Of keys as `pack` writes them, that of products last."""
    header: dict[str, JSON] = {
        "multiplies": multiplies,
        "parameters": parameters.digest,
        "rotations": list(rotations),
    }
    return files.write(EVALUATION_TYPE, header, {_BODY: b"".join(keys)})


def evaluation_bytes(parameters: Parameters, keys: int) -> int:
    """Of the body."""
    one = 2 * polynomial_bytes(parameters.primes, parameters.degree)
    return keys * len(parameters.data_primes) * one


def read_evaluation(
    data: bytes, parameters: Parameters, rotations: Sequence[int], multiplies: bool
) -> EvaluationKeys:
    """Keys for at least these rotations.

    Raises:
        Malformed: none, for other parameters, or too few.
    """
    what = "evaluation keys"
    most = evaluation_bytes(parameters, MAX_ROTATIONS + 1) + _HEADER
    fields, sections = files.read(data, what, EVALUATION_TYPE, _NAMES, most)
    with files.strict(what):
        _same_parameters(fields, parameters, what)
        present = fields.items("rotations", _step, most=MAX_ROTATIONS)
        products = fields.boolean("multiplies")
        fields.done()
    if list(present) != sorted(set(present)) or (present and present[-1] >= parameters.slots):
        raise Malformed(f"{what}: rotations", f"rising steps below {parameters.slots}", "others")
    missing = sorted(set(rotations) - set(present))
    if missing or (multiplies and not products):
        wanted = f"keys for the rotations {missing}" if missing else "a key for products"
        raise Malformed(what, wanted, "none")
    with ThreadPoolExecutor(1) as beside:  # hashing lets other threads run
        digest = beside.submit(sha256, data)
        found = _unpack_keys(sections, parameters, len(present) + products)
        return EvaluationKeys(digest.result(), present, products, tuple(found))


def _unpack_keys(sections: dict[str, bytes], parameters: Parameters, count: int) -> list[Residues]:
    what = "evaluation keys"
    body = _body(sections, evaluation_bytes(parameters, count), what)
    digits, primes = len(parameters.data_primes), parameters.primes
    size = evaluation_bytes(parameters, 1)
    found = []
    for index in range(count):
        part = body[index * size : (index + 1) * size]
        polynomials = unpack(part, primes, parameters.degree, 2 * digits, what)
        found.append(polynomials.reshape(digits, 2, len(primes), parameters.degree))
    return found


@dataclass(frozen=True, eq=False)
class SecretKey:
    """Attributes: `key` of its evaluation keys; `residues` [primes, degree]."""

    key: str
    residues: Residues

    def __repr__(self) -> str:
        return f"SecretKey(key={self.key!r})"


def write_secret(parameters: Parameters, secret: SecretKey) -> bytes:
    header: dict[str, JSON] = {"key": secret.key, "parameters": parameters.digest}
    return files.write(SECRET_TYPE, header, {_BODY: pack(secret.residues, parameters.primes)})


def read_secret(data: bytes, parameters: Parameters) -> SecretKey:
    """Raises `Malformed`; nothing of a key is quoted."""
    what = "secret key"
    size = polynomial_bytes(parameters.primes, parameters.degree)
    fields, sections = files.read(data, what, SECRET_TYPE, _NAMES, size + _HEADER)
    with files.strict(what):
        _same_parameters(fields, parameters, what)
        key = fields.sha256("key")
        fields.done()
    body = _body(sections, size, what)
    try:
        residues = unpack(body, parameters.primes, parameters.degree, 1, what)[0]
    except Malformed:
        raise Malformed(what, "residues below their primes", "others") from None
    return SecretKey(key, residues)


def _same_parameters(fields: Fields, parameters: Parameters, what: str) -> None:
    found = fields.sha256("parameters")
    if found != parameters.digest:
        raise Malformed(f"{what}: parameters", parameters.digest, found)


def _body(sections: dict[str, bytes], size: int, what: str) -> memoryview:
    body = sections[_BODY]
    if len(body) != size:
        raise Malformed(f"{what}: size", f"{size} bytes", len(body))
    return memoryview(body)


def _step(value: object, path: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 20:
        raise FieldError(path, "a step from 1", value)
    return value
