"""Where a secret key is not: in files and logs of workers, in what servers and readers get."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from proofml import api
from proofml.backend import Context
from proofml.fhe.backend_owner import seal_with
from proofml.fhe.engine import engine
from proofml.policy import Policy
from proofml.store import Store

from .world import World


def keys(world: World) -> list[bytes]:
    """Parts of the bare secret keys: bytes that stand nowhere by chance."""
    module = import_module(f"proofml.fhe.{world.backend}.messages")
    circuit: Any = engine(world.backend).read_circuit(world.circuit)
    if world.backend == "ckks":
        parameters = circuit.program.parameters
        residues = module.read_secret(world.one.key.secret, parameters).residues
        bodies = [module.pack(residues, parameters.primes)]
    else:
        bodies = list(module.read_secret(world.one.key.secret, circuit.program).bodies)
    return [body[len(body) // 2 :][:256] for body in bodies]


def test_is_in_the_owners_files_alone(world: World) -> None:
    parts = keys(world)
    assert all(part in world.one.key.to_bytes() for part in parts)
    assert all(part in world.one.secret.to_bytes() for part in parts)
    shown = (world.one.evaluation, world.one.sealed.to_bytes(), world.circuit)
    for data in (*shown, world.one.proof.to_bytes()):
        assert not any(part in data for part in parts)


def test_workers_find_it_in_no_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for when a stage has ended, as a kill at that moment would leave its folder."""
    owner = import_module(f"proofml.fhe.{world.backend}.owner")
    found: dict[str, dict[str, bytes]] = {}
    call = owner.call

    def watched(stage: str, args: object, folder: Path, *rest: object, **more: object) -> object:
        made = call(stage, args, folder, *rest, **more)
        found[stage] = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        return made

    verdict = world.judge(world.one.proof)
    monkeypatch.setattr(owner, "call", watched)
    context = Context(Store(world.folder / "client-0"))
    seal_with(world.model, world.one.inputs, world.one.key, Policy(), context)
    monkeypatch.setattr("proofml.store.Store.default", lambda: Store(world.folder / "client-0"))
    api.open(world.one.proof, world.one.secret, verdict)
    assert set(found) == {"owner_stages:encrypt", "owner_stages:decrypt"}
    parts = keys(world)
    for files in found.values():
        assert "worker.log" in files
        assert not [name for name, data in files.items() if any(part in data for part in parts)]
