"""What can be wrong with the files and inputs of the three roles, and the error that each gives.

The table in docs/fhe/bad-inputs.md is written from this one (`tools/fhe_bad_inputs.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from proofml import api
from proofml.backend import Context, Request
from proofml.errors import ProofmlError, UnsupportedModel, UsageError, VerificationError
from proofml.fhe import files
from proofml.fhe.backend_owner import keygen, read_key, seal_with
from proofml.fhe.key_files import load_key, save_key
from proofml.fhe.schemes import scheme_of
from proofml.model import Model
from proofml.policy import Policy
from proofml.sealed import Sealed, Secret
from proofml.store import Store
from proofml.testing import gemm
from proofml.testing.attacker import Attacker

from . import attacks
from .attacks import body, header, weak
from .world import World, compile_ckks, request


@dataclass(frozen=True)
class Bad:
    """One wrong thing.

    Attributes:
        name: what is wrong, for people.
        where: which command or call meets it.
        error: of the error tree; `check` of a `VerificationError`.
        words: of its message.
        meet: does it, in a folder of its own.
        backends: of which it is tried.
    """

    name: str
    where: str
    error: type[ProofmlError]
    words: str
    meet: Callable[[World, Path], object]
    check: int | None = None
    backends: tuple[str, ...] = ("ckks", "concrete")


def client(world: World) -> Context:
    return Context(Store(world.folder / "client-0"))


def seal(world: World, values: Any, **changes: Any) -> object:
    key = replace(world.one.key, **changes)
    return seal_with(world.model, {"x": values}, key, Policy(), client(world))


def vector(world: World) -> Any:
    return world.one.inputs["x"].copy()


def with_value(world: World, value: float) -> object:
    found = vector(world)
    found[0, 1] = value
    return seal(world, found)


def serve(world: World, message: bytes, **options: str) -> object:
    sealed = Sealed(world.backend, world.model.digest, message)
    return api.prove(world.model, sealed, request=request(**options), context=world.server)


def message(world: World, **changes: Any) -> bytes:
    return replace(files.Message.read(world.one.sealed.message), **changes).to_bytes()


def inputs(world: World, change: Callable[[bytes], bytes]) -> bytes:
    """A message whose first input ciphertext is changed."""
    found = files.Message.read(world.one.sealed.message)
    (first, *rest) = files.split(found.inputs, "inputs")
    return replace(found, inputs=files.join((change(first), *rest))).to_bytes()


def judge(world: World, change: Callable[[World, Attacker], None]) -> object:
    attacker = Attacker.of(world.one.proof.to_bytes())
    change(world, attacker)
    verdict = world.judge(attacker.forge())
    if verdict.error is not None:
        raise verdict.error
    return verdict


def open_with(world: World, secret: Secret) -> object:
    return api.open(world.one.proof, secret, world.judge(world.one.proof))


def ticket(world: World, change: Callable[[bytes], bytes]) -> object:
    return open_with(world, replace(world.one.secret, data=change(world.one.secret.data)))


def keys_of(data: bytes, backend: str, world: World) -> object:
    return keygen(backend, data, client(world))


def saved(world: World, folder: Path, **options: Any) -> Path:
    path = folder / "key"
    save_key(world.one.key, path, **options)
    return path


def open_to_others(world: World, folder: Path) -> object:
    path = saved(world, folder)
    path.chmod(0o644)
    return load_key(path)


def secret_open_to_others(world: World, folder: Path) -> object:
    path = folder / "x.secret"
    world.one.secret.save(path)
    path.chmod(0o640)
    return open_with(world, Secret.load(path))


def written_twice(world: World, folder: Path) -> object:
    saved(world, folder)
    return saved(world, folder)


def cut_on_disk(world: World, folder: Path) -> object:
    path = saved(world, folder)
    path.write_bytes(path.read_bytes()[:-1])
    return load_key(path)


def oversized(world: World, folder: Path) -> object:
    path = saved(world, folder)
    with path.open("r+b") as file:
        file.truncate(files.MAX_KEY_BYTES + (1 << 20))
    return load_key(path)


def evaluation_file(world: World, folder: Path, data: bytes) -> object:
    path = folder / "keys"
    path.write_bytes(data)
    return serve(world, message(world, keys=None), evaluation=str(path))


def too_deep(world: World, folder: Path) -> object:
    """More activations than any ring has levels for."""
    from ..ckks.models import Builder, samples

    store = Store(folder / "cache")
    builder = Builder([1, 4])
    for _ in range(24):
        builder.gemm(4, 4)
        builder.op("Tanh")
    model = builder.model(store)
    from proofml.fhe.ckks.compiler import compile_model

    return compile_model(model, samples(model), {"degree": "32"}, Context(store))


def too_wide_ckks(world: World, folder: Path) -> object:
    """More features than a ciphertext has slots."""
    store = Store(folder / "cache")
    model = Model.load(gemm(0, inputs=40_000, outputs=1), store=store)
    from proofml.fhe.ckks.compiler import compile_model

    sample = {"x": np.zeros((1, 40_000), np.float32)}
    return compile_model(model, [sample, sample], {}, Context(store))


def too_wide_concrete(world: World, folder: Path) -> object:
    """A sum that no table lookup takes at these bits."""
    from proofml.fhe.concrete.compiler import compile_model

    from ..concrete import models

    store = Store(folder / "cache")
    model = Model.load(models.wide(), store=store)
    sampled = models.samples((1, 512), count=8)
    return compile_model(model, sampled, {"bits": "8", "rounding": "none"}, Context(store))


def unknown_operator(world: World, folder: Path) -> object:
    from ..ckks.models import Builder

    store = Store(folder / "cache")
    builder = Builder([1, 4])
    builder.op("Sin")
    model = builder.model(store)
    return compile_ckks(model, Context(store))


def version(world: World, data: bytes, value: int = 0) -> bytes:
    return header(data, lambda head: head.update(version=value))


def other(name: str) -> str:
    return "concrete" if name == "ckks" else "ckks"


BAD: tuple[Bad, ...] = (
    # -- circuits, met when keys are made
    Bad(
        "circuit of less than 128 bits",
        "fhe keygen",
        UsageError,
        "128-bit",
        lambda w, _: keys_of(weak(w), w.backend, w),
    ),
    Bad(
        "circuit cut short",
        "fhe keygen",
        UsageError,
        "expected",
        lambda w, _: keys_of(w.circuit[:-1], w.backend, w),
    ),
    Bad(
        "circuit of an older version",
        "fhe keygen",
        UsageError,
        "version: expected 1, got 0",
        lambda w, _: keys_of(version(w, w.circuit), w.backend, w),
    ),
    Bad(
        "circuit of a newer version",
        "fhe keygen",
        UsageError,
        "version: expected 1, got 2",
        lambda w, _: keys_of(version(w, w.circuit, 2), w.backend, w),
    ),
    Bad(
        "a model in the place of a circuit",
        "fhe keygen",
        UsageError,
        "expected a circuit",
        lambda w, _: scheme_of(w.model.canonical),
    ),
    # -- models, met when they are compiled
    Bad(
        "model that is too deep",
        "fhe compile",
        UnsupportedModel,
        "level",
        too_deep,
        backends=("ckks",),
    ),
    Bad(
        "model that is too wide",
        "fhe compile",
        UnsupportedModel,
        "slots",
        too_wide_ckks,
        backends=("ckks",),
    ),
    Bad(
        "sums too wide for a table lookup",
        "fhe compile",
        UnsupportedModel,
        "bits",
        too_wide_concrete,
        backends=("concrete",),
    ),
    Bad(
        "operator that the scheme does not have",
        "fhe compile",
        UnsupportedModel,
        "Sin",
        unknown_operator,
        backends=("ckks",),
    ),
    Bad(
        "no calibration samples",
        "setup",
        UsageError,
        "--calibration",
        lambda w, _: backend_of(w).setup(w.model, Request(), w.server),
    ),
    Bad(
        "unknown option",
        "setup",
        UsageError,
        "no-such",
        lambda w, _: backend_of(w).setup(w.model, Request(options={"no-such": "1"}), w.server),
    ),
    # -- inputs, met when they are sealed
    Bad("NaN in an input", "fhe seal", UsageError, "finite", lambda w, _: with_value(w, np.nan)),
    Bad(
        "infinity in an input",
        "fhe seal",
        UsageError,
        "finite",
        lambda w, _: with_value(w, np.inf),
    ),
    Bad(
        "input of another shape",
        "fhe seal",
        UsageError,
        "expected float32",
        lambda w, _: seal(w, np.zeros((1, 5), np.float32)),
    ),
    Bad(
        "input of another dtype",
        "fhe seal",
        UsageError,
        "float64",
        lambda w, _: seal(w, vector(w).astype(np.float64)),
    ),
    Bad(
        "key of another circuit's model",
        "fhe seal",
        UsageError,
        "the circuit is of another model",
        lambda w, _: seal_with(w.changed, w.one.inputs, w.one.key, Policy(), client(w)),
    ),
    Bad(
        "secret part of a key that is no key",
        "fhe seal",
        UsageError,
        "secret key",
        lambda w, _: seal(w, vector(w), secret=b"\0" * len(w.one.key.secret)),
    ),
    # -- key files
    Bad("key file cut short", "fhe seal", UsageError, "key", cut_on_disk),
    Bad("key file that is too large", "fhe seal", UsageError, "at most", oversized),
    Bad("key file that others can read", "fhe seal", UsageError, "0600", open_to_others),
    Bad("key file over another one", "fhe keygen", UsageError, "never written over", written_twice),
    Bad(
        "key file under a passphrase, none given",
        "fhe seal",
        UsageError,
        "passphrase",
        lambda w, f: load_key(saved(w, f, passphrase="right")),
    ),
    Bad(
        "key file under another passphrase",
        "fhe seal",
        UsageError,
        "does not open",
        lambda w, f: load_key(saved(w, f, passphrase="right"), passphrase="wrong"),
    ),
    Bad(
        "key file of an older version",
        "fhe seal",
        UsageError,
        "version: expected 1, got 0",
        lambda w, _: read_key(version(w, w.one.key.to_bytes())),
    ),
    Bad(
        "key file of the other scheme",
        "fhe seal",
        UsageError,
        "expected a key of",
        lambda w, _: read_key(replace(w.one.key, scheme=other(w.backend)).to_bytes(), w.backend),
    ),
    Bad(
        "key file with another circuit in it",
        "fhe seal",
        UsageError,
        "circuit: expected",
        lambda w, _: read_key(body(w.one.key.to_bytes(), lambda one: one[:-1], "circuit")),
    ),
    # -- sealed inputs, met by the server
    Bad(
        "sealed inputs cut short",
        "prove",
        UsageError,
        "sealed inputs",
        lambda w, _: serve(w, w.one.sealed.message[:-1]),
    ),
    Bad(
        "sealed inputs of an older version",
        "prove",
        UsageError,
        "version: expected 1, got 0",
        lambda w, _: serve(w, version(w, w.one.sealed.message)),
    ),
    Bad(
        "sealed inputs of the other scheme",
        "prove",
        UsageError,
        "scheme: expected",
        lambda w, _: serve(w, message(w, scheme=other(w.backend))),
    ),
    Bad(
        "ciphertext under another client's key",
        "prove",
        UsageError,
        "expected one under the key",
        lambda w, _: serve(w, message(w, inputs=files.Message.read(w.two.sealed.message).inputs)),
    ),
    Bad(
        "ciphertext cut short",
        "prove",
        UsageError,
        "ciphertext",
        lambda w, _: serve(w, inputs(w, lambda one: one[:-1])),
    ),
    Bad(
        "ciphertext with bytes left over",
        "prove",
        UsageError,
        "ciphertext",
        lambda w, _: serve(w, inputs(w, lambda one: body(one, lambda b: b + bytes(1 << 16)))),
    ),
    Bad(
        "ciphertext of an older version",
        "prove",
        UsageError,
        "version: expected 1, got 0",
        lambda w, _: serve(w, inputs(w, lambda one: version(w, one))),
    ),
    Bad(
        "ciphertext of other parameters",
        "prove",
        UsageError,
        "parameters: expected",
        lambda w, _: serve(
            w, inputs(w, lambda one: header(one, lambda h: h.update(parameters="0" * 64)))
        ),
    ),
    Bad(
        "no ciphertexts at all",
        "prove",
        UsageError,
        "1 to 4096 ciphertexts",
        lambda w, _: serve(w, message(w, inputs=struct.pack("<I", 0))),
    ),
    Bad(
        "shape that the ciphertexts do not have",
        "prove",
        UsageError,
        "shape of",
        lambda w, _: serve(w, message(w, shapes=((1, 5),))),
    ),
    Bad(
        "evaluation keys missing",
        "prove",
        UsageError,
        "evaluation=FILE",
        lambda w, _: serve(w, message(w, keys=None)),
    ),
    Bad(
        "evaluation keys of another client",
        "prove --set evaluation",
        UsageError,
        "expected keys",
        lambda w, f: evaluation_file(w, f, w.two.evaluation),
    ),
    Bad(
        "evaluation keys cut short",
        "prove --set evaluation",
        UsageError,
        "expected keys",
        lambda w, f: evaluation_file(w, f, w.one.evaluation[:-1]),
    ),
    Bad(
        "inputs sealed for another model",
        "prove",
        UsageError,
        "sealed for another model",
        lambda w, _: api.prove(w.changed, w.one.sealed, context=w.server),
    ),
    Bad(
        "plain inputs",
        "prove",
        UsageError,
        "seal them first",
        lambda w, _: api.prove(w.model, w.one.inputs, backend=w.backend, context=w.server),
    ),
    # -- proofs, met by verifiers
    Bad(
        "proof with parameters below 128 bits",
        "verify",
        VerificationError,
        "128-bit",
        lambda w, _: judge(w, attacks.weak_parameters),
        4,
    ),
    Bad(
        "proof with another circuit",
        "verify",
        VerificationError,
        "circuit",
        lambda w, _: judge(w, attacks.circuit_unsaid),
        4,
    ),
    Bad(
        "proof with evaluation keys of another client",
        "verify",
        VerificationError,
        "evaluation keys",
        lambda w, _: judge(w, attacks.keys_unsaid),
        6,
    ),
    Bad(
        "proof with another client's output",
        "verify",
        VerificationError,
        "expected one under the key",
        lambda w, _: judge(w, attacks.others_output),
        8,
    ),
    Bad(
        "proof with a changed output ciphertext",
        "verify",
        VerificationError,
        "output ciphertexts",
        lambda w, _: judge(w, attacks.output_changed),
        10,
    ),
    # -- secrets, met by `open`
    Bad(
        "secret of another client",
        "open",
        VerificationError,
        "evaluation keys",
        lambda w, _: open_with(w, w.two.secret),
        6,
    ),
    Bad(
        "secret cut short",
        "open",
        UsageError,
        "secret",
        lambda w, _: ticket(w, lambda one: one[:-1]),
    ),
    Bad("secret file that others can read", "open", UsageError, "0600", secret_open_to_others),
    Bad(
        "secret of an older version",
        "open",
        UsageError,
        "version: expected 1, got 0",
        lambda w, _: ticket(w, lambda one: version(w, one)),
    ),
    Bad(
        "secret with another key in it",
        "open",
        UsageError,
        "secret key",
        lambda w, _: ticket(w, lambda one: body(one, lambda b: bytes(len(b)), "secret")),
    ),
)


def backend_of(world: World) -> Any:
    from proofml.backend import get_backend

    return get_backend(world.backend)
