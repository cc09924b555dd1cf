"""The command `proofml-verify-sumcheck`: a verdict on standard output, and an exit code.

    0 accepted   1 invalid   2 wrong use   3 refused   5 the machine failed

as `proofml verify` has them. Only the standard library and NumPy are imported.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from proofml import __version__
from proofml.canonical import JSON
from proofml.checks import Result
from proofml.circuits import kernels
from proofml.errors import EXIT_FAILED, ProofmlError, UsageError, printable
from proofml.guarantee import CORE_ASSUMPTIONS
from proofml.salts import read_salt
from proofml.statement import Statement
from proofml.tensors import MAX_TENSOR_BYTES, Array, dtype_name
from proofml.verdict import Verdict
from proofml.zkml.sumcheck import about
from proofml.zkml.sumcheck.bounds import DEFAULT_BITS
from proofml.zkml.sumcheck.circuit import MAX_BYTES
from proofml.zkml.sumcheck.standalone import (
    ASSUMPTIONS,
    check_installation,
    demands,
    read_key,
    verify,
)

_INTERRUPTED = 130
_HEADER_BYTES = 1 << 16
_NOT_CHECKED = (
    "signatures were NOT checked: the package cryptography is not installed; the proof stands or "
    "falls without them, who made it is not shown"
)
_MEANING: Mapping[str, str] = {
    **CORE_ASSUMPTIONS,
    **about.ASSUMPTIONS,
    "model:unpinned": "the circuit is the pinned one; the model's digest is the prover's word",
}
_NO_KEY = (
    "expected --key FILE: this verifier compiles nothing, so the circuit has to be pinned by its "
    "verifying key, as `proofml setup MODEL -b sumcheck -o FOLDER` writes it; a float model's "
    "quantisation record is applied to the model, so its circuit is pinned as well, or "
    "`proofml verify --model FILE` verifies it"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is the result."""
    try:
        return _run(_parser().parse_args(arguments))
    except ProofmlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (MemoryError, OSError) as error:
        print(f"error: {error or 'out of memory'}", file=sys.stderr)
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="proofml-verify-sumcheck",
        description="Verify PROOF, a .pml file of the sumcheck backend, against a pinned circuit.",
        epilog="Exit code: 0 accepted, 1 invalid, 2 wrong use, 3 refused, 5 the machine failed.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("proof", type=Path, metavar="PROOF")
    add("--key", type=Path, metavar="FILE", help="verifying key: the pinned circuit")
    add("--circuit-digest", metavar="HEX", help="digest that the key must have")
    add(
        "--model-digest",
        "--model-sha256",
        metavar="HEX",
        help="canonical digest of the model that you expect",
    )
    tensor: dict[str, Any] = {"action": "append", "default": [], "metavar": "NAME=FILE.npy"}
    add("--input", help="an input that you expect", **tensor)
    add("--output", help="an output that you expect", **tensor)
    add("--nonce", metavar="HEX", help="the challenge that you gave")
    add("--salt-file", type=Path, metavar="FILE", help="salt of a commitment to hashed tensors")
    add(
        "--min-bits",
        type=int,
        default=DEFAULT_BITS,
        metavar="N",
        help="least bits of soundness (default %(default)s)",
    )
    add(
        "--allow",
        action="append",
        default=[],
        metavar="ASSUMPTION",
        help="accept an assumption by name",
    )
    add("--json", action="store_true", dest="as_json", help="print the verdict as JSON")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(options: argparse.Namespace) -> int:
    check_installation()
    if options.key is None:
        raise UsageError(_NO_KEY)
    circuit = read_key(_read(options.key))
    allowed = ASSUMPTIONS | set(options.allow)
    verdict = verify(
        options.proof,
        circuit,
        circuit_sha256=options.circuit_digest,
        model_sha256=options.model_digest,
        inputs=_tensors("--input", options.input),
        outputs=_tensors("--output", options.output),
        nonce=_nonce(options.nonce),
        salt=None if options.salt_file is None else read_salt(options.salt_file),
        min_bits=options.min_bits,
        assumptions=allowed,
    )
    signatures = _signatures(verdict)
    if signatures == "not checked":
        print(f"warning: {_NOT_CHECKED}", file=sys.stderr)
    if options.as_json:
        value: dict[str, JSON] = {
            "proof": str(options.proof),
            "key": str(options.key),
            "circuit_sha256": circuit.digest,
            "signatures": signatures,
            "kernels": kernels.level() if kernels.available() else "none",
            "policy": demands(options.min_bits, allowed).to_json(),
            **verdict.to_json(),
        }
        print(json.dumps(value, indent=2, sort_keys=True))
    else:
        print("\n".join(_lines(verdict, options.proof, circuit.digest, signatures)))
    sys.stdout.flush()
    return verdict.exit_code


def _read(path: Path) -> bytes:
    """The key's bytes."""
    if not path.is_file():  # opening a pipe would wait for ever
        raise UsageError(f"--key {path}: no such file")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--key {path}: cannot be read: {error.strerror}") from error


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise UsageError(f"--nonce {text}: expected hexadecimal digits") from error


def _tensors(option: str, words: Sequence[str]) -> Mapping[str, Array] | None:
    """`NAME=FILE.npy` words; None where there are none."""
    found: dict[str, Array] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or not name or not path or name in found:
            raise UsageError(f"{option} {word}: expected NAME=FILE.npy, each name once")
        found[name] = _tensor(f"{option} {name}", Path(path))
    return found or None


def _tensor(what: str, path: Path) -> Array:
    try:
        if not path.is_file():
            raise UsageError(f"{what}: {path}: no such file")
        if path.stat().st_size > MAX_TENSOR_BYTES + _HEADER_BYTES:
            raise UsageError(f"{what}: {path}: more than {MAX_TENSOR_BYTES} bytes")
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    except UsageError:
        raise
    except Exception as error:  # NumPy and tokenize raise whatever comes
        raise UsageError(f"{what}: {path}: expected a .npy file: {error}") from error
    if dtype_name(array) is None:
        raise UsageError(f"{what}: {path}: has dtype {array.dtype}, expected numbers")
    return array


def _signatures(verdict: Verdict) -> str:
    if any(c.number == "core.3" and c.result is Result.ASSUMED for c in verdict.checks):
        return "not checked"
    return "checked" if verdict.signers else "none"


def _lines(verdict: Verdict, proof: Path, circuit: str, signatures: str) -> list[str]:
    """The verdict for people; what the proof says is made printable."""
    lines = [f"{verdict.status.value.upper()}  {printable(proof)}"]
    lines += [f"  because {printable(reason)}" for reason in verdict.reasons]
    if verdict.statement is not None:
        lines += ["", "claimed", *_claimed(verdict.statement, verdict.tensors or {})]
    guarantee = verdict.guarantee
    if guarantee is not None:
        level = kernels.level() if kernels.available() else "none, NumPy"
        lines += ["", "shown", f"  circuit      {circuit}", f"  bits         {guarantee.bits}"]
        lines += [f"  signatures   {signatures.replace('not', 'NOT')}", f"  kernels      {level}"]
        lines += [
            f"  {key:<12} {printable(value)}"
            for key, value in guarantee.notes.items()
            if key != "circuit"
        ]
        lines += ["", "still assumed"]
        lines += [
            f"  {name:<24} {_MEANING.get(name, '')}" for name in sorted(guarantee.assumptions)
        ]
    lines += ["", "checked"]
    for check in verdict.checks:
        text = f"  {check.number:<12} {check.result.value:<15} {check.title.split(':')[0]:<18} "
        lines.append(f"{text}{printable(check.detail)}".rstrip())
    return lines


def _claimed(statement: Statement, values: Mapping[str, Array]) -> list[str]:
    model = statement.model
    lines = [f"  model        {model.canonical_sha256 or model.architecture_sha256}"]
    for role, claim in statement.tensors():
        shape = list(claim.shape)
        lines.append(f"  {role:<12} {claim.name}  {claim.dtype}{shape}  {claim.visibility}")
        if role in values:
            text = np.array2string(values[role].reshape(-1), threshold=12, edgeitems=5, precision=6)
            lines.append(f"  {'':<12} {' '.join(text.split())}")
    nonce = "none" if statement.nonce is None else statement.nonce.hex()
    return [*lines, f"  nonce        {nonce}"]


if __name__ == "__main__":
    sys.exit(main())
