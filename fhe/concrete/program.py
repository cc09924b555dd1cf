"""The parameters that Concrete chose for a circuit (its ProgramInfo), and the security they give.

Security of LWE with binary secrets, 64-bit modulus: the least standard deviation of the noise for a
dimension n is 2^(SLOPE n + BIAS) of the modulus for 128 bits, and n is at least 450. The line was
fitted by Zama to the Lattice Estimator (M. Albrecht, R. Player, S. Scott, On the concrete hardness
of learning with errors, J. Math. Cryptol. 9(3), 2015), all attacks that it knows; it is the one in
Concrete 2.10. The tables of HomomorphicEncryption.org have no such dimensions. A ring of degree N
and rank k counts as n = k N.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proofml.canonical import tagged_sha256
from proofml.fhe.scheme import Malformed

SECURITY_BITS = 128
SLOPE, BIAS = -0.025696778711484593, 2.675931372549016
LEAST_DIMENSION = 450
#: No noise below two bits of the modulus helps: it would be rounded away.
LEAST_LOG_DEVIATION = -62.0
#: Rounding of a decimal variance.
_SLACK = 1e-6
MAX_BYTES = 4 << 20
MAX_KEYS = 64
MAX_DIMENSION = 1 << 18
_TAG = "proofml/concrete-parameters/v1"


@dataclass(frozen=True)
class Program:
    """Read and checked.

    Attributes:
        data: as Concrete wrote it.
        function: name of the one function.
        secrets: dimension of every secret key, in order.
        evaluation_bytes: bytes of the bodies of all evaluation keys, compressed.
        input_shape, output_shape: of the integers that are encrypted and decrypted.
        input_bytes, output_bytes: bytes of their ciphertexts, without Concrete's headers.
    """

    data: bytes
    function: str
    secrets: tuple[int, ...]
    evaluation_bytes: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_bytes: int
    output_bytes: int

    @property
    def parameters(self) -> str:
        """Digest of everything that keys and ciphertexts depend on."""
        return tagged_sha256(_TAG, self.data)


def read(data: bytes) -> Program:
    """Raises `Malformed`, also for parameters of less than 128 bits."""
    what = "circuit's parameters"
    if len(data) > MAX_BYTES:
        raise Malformed(what, f"at most {MAX_BYTES} bytes", len(data))
    try:
        found = json.loads(data.decode("ascii"), parse_constant=_refuse, object_pairs_hook=_unique)
        return _read(found, data)
    except Malformed:
        raise
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise Malformed(
            what, "the parameters of a circuit as Concrete writes them", repr(error)
        ) from (error)


def _refuse(text: str) -> Any:
    raise ValueError(f"number {text}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _read(found: dict[str, Any], data: bytes) -> Program:
    keyset, (circuit,) = found["keyset"], found["circuits"]
    (source,), (result,) = circuit["inputs"], circuit["outputs"]
    secrets = tuple(_dimension(key["params"], "lweDimension") for key in keyset["lweSecretKeys"])
    if [key["id"] for key in keyset["lweSecretKeys"]] != list(range(len(secrets))):
        raise ValueError("secret keys out of order")
    if not 1 <= len(secrets) <= MAX_KEYS or keyset["packingKeyswitchKeys"]:
        raise ValueError("more keys than a circuit of lookups needs")
    for key in keyset["lweSecretKeys"]:
        _binary(key["params"], "secret key")
    for name, dimension, variance in _noises(keyset, (source, result), secrets):
        _secure(name, dimension, variance)
    return Program(
        data,
        str(circuit["name"]),
        secrets,
        sum(_evaluation_sizes(keyset)),
        _shape(source, "abstractShape"),
        _shape(result, "abstractShape"),
        8 * math.prod(_shape(source, "concreteShape")),
        8 * math.prod(_shape(result, "concreteShape")),
    )


def _cipher(gate: dict[str, Any]) -> dict[str, Any]:
    cipher = gate["typeInfo"]["lweCiphertext"]
    if not isinstance(cipher, dict):
        raise TypeError("a gate that is no ciphertext")
    return cipher


def _shape(gate: dict[str, Any], kind: str) -> tuple[int, ...]:
    shape = tuple(int(dim) for dim in _cipher(gate)[kind]["dimensions"])
    if len(shape) > 16 or not all(1 <= dim <= 1 << 31 for dim in shape):
        raise ValueError(f"shape {shape}")
    if math.prod(shape) > 1 << 31:
        raise ValueError(f"shape {shape}")
    return shape


def _dimension(params: dict[str, Any], key: str) -> int:
    value = params[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_DIMENSION:
        raise ValueError(f"{key} {value!r}")
    return value


def _binary(params: dict[str, Any], name: str) -> None:
    if params["keyType"] != "binary" or params["integerPrecision"] != 64:
        raise Malformed(name, "binary keys, a modulus of 64 bits", params["keyType"])


def _noises(
    keyset: dict[str, Any], gates: tuple[dict[str, Any], ...], secrets: tuple[int, ...]
) -> Iterator[tuple[str, int, float]]:
    """(what is encrypted, under a key of which dimension, with noise of which variance)."""
    for key in keyset["lweBootstrapKeys"]:
        params = key["params"]
        _binary(params, "bootstrapping key")
        dimension = _dimension(params, "glweDimension") * _dimension(params, "polynomialSize")
        if dimension != secrets[key["outputId"]]:
            raise ValueError("a bootstrapping key that fits no secret key")
        if params["inputLweDimension"] != secrets[key["inputId"]]:
            raise ValueError("a bootstrapping key that fits no secret key")
        yield f"bootstrapping key {key['id']}", dimension, float(params["variance"])
    for key in keyset["lweKeyswitchKeys"]:
        params = key["params"]
        _binary(params, "key-switching key")
        dimension = _dimension(params, "outputLweDimension")
        if dimension != secrets[key["outputId"]]:
            raise ValueError("a key-switching key that fits no secret key")
        if params["inputLweDimension"] != secrets[key["inputId"]]:
            raise ValueError("a key-switching key that fits no secret key")
        yield f"key-switching key {key['id']}", dimension, float(params["variance"])
    for name, gate in zip(("input", "output"), gates, strict=True):
        encryption = _cipher(gate)["encryption"]
        dimension = _dimension(encryption, "lweDimension")
        if dimension != secrets[encryption["keyId"]]:
            raise ValueError("a ciphertext that fits no secret key")
        if name == "input":  # an output's noise is what computing leaves, never less
            yield name, dimension, float(encryption["variance"])


def _secure(name: str, dimension: int, variance: float) -> None:
    least = max(SLOPE * dimension + BIAS, LEAST_LOG_DEVIATION)
    has = math.log2(variance) / 2 if 0 < variance < 1 else -math.inf
    if dimension < LEAST_DIMENSION or has < least - _SLACK:
        raise Malformed(
            f"{name}: noise at dimension {dimension}",
            f"a deviation of at least 2^{least:.2f} and a dimension of at least {LEAST_DIMENSION}, "
            f"for {SECURITY_BITS}-bit security",
            f"2^{has:.2f}",
        )


def _evaluation_sizes(keyset: dict[str, Any]) -> Iterator[int]:
    """Bytes of each evaluation key: of compressed ones only the bodies are kept."""
    for key in keyset["lweBootstrapKeys"]:
        params = key["params"]
        levels, rank = _dimension(params, "levelCount"), _dimension(params, "glweDimension")
        if key["compression"] != "seed":
            raise ValueError("an evaluation key that is not compressed")
        yield 8 * params["inputLweDimension"] * levels * (rank + 1) * params["polynomialSize"]
    for key in keyset["lweKeyswitchKeys"]:
        if key["compression"] != "seed":
            raise ValueError("an evaluation key that is not compressed")
        yield 8 * key["params"]["inputLweDimension"] * _dimension(key["params"], "levelCount")
