"""Client, server and verifier as processes of their own, files between them, nothing else shared.

The verifier's folder and cache never held a secret key, and its process imports no code for one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from .processes import Role
from .world import World


@pytest.fixture(scope="module", params=["plain", "under a passphrase"])
def passphrase(request: pytest.FixtureRequest) -> bool:
    return bool(request.param != "plain")


def test_three_processes(world: World, tmp_path: Path, passphrase: bool) -> None:
    if passphrase and world.backend == "concrete":
        pytest.skip("files are protected by the same code for both backends")
    client, server, verifier = (Role(tmp_path / n) for n in ("client", "server", "verifier"))
    for role in (client, server, verifier):
        (role.folder / "model.onnx").write_bytes(world.model.canonical)
    (client.folder / "model.circuit").write_bytes(world.circuit)
    np.savez(client.folder / "x.npz", **world.one.inputs)
    (client.folder / "words").write_text("a passphrase\n")
    protected = ["--passphrase-file", "words"] if passphrase else []

    keys, private = client.run("fhe", "keygen", "model.circuit", *protected)
    assert any("owner" in name for name in private)
    assert (client.folder / "model.key").stat().st_mode & 0o777 == 0o600
    client.run("fhe", "seal", "model.onnx", "x.npz", "--key", "model.key", *protected)
    assert (client.folder / "x.secret").stat().st_mode & 0o777 == 0o600
    client.give(server, "x.sealed", "model.evaluation")

    made, private = server.run(
        *("prove", "model.onnx", "--sealed", "x.sealed", "--set", "evaluation=model.evaluation"),
        *("--nonce", "00ff"),
    )
    assert private == []
    assert "--allow circuit:unpinned" in made["verify"]
    evidence = f"{keys['evaluation_sha256']}.evidence"
    server.give(verifier, "x.pml", evidence)
    server.give(client, "x.pml", evidence)
    client.give(verifier, "model.policy.toml")

    pinned = [
        *("--model", "model.onnx", "--policy", "model.policy.toml", "--nonce", "00ff"),
        *("--allow", "decryptions:unshared"),
    ]
    refused, _ = verifier.run("verify", "x.pml", *pinned, code=3)
    assert any("nonce:unauthenticated" in reason for reason in refused["reasons"])
    pinned += ["--allow", "nonce:unauthenticated"]
    verdict, private = verifier.run("verify", "x.pml", *pinned)
    assert verdict["status"] == "accepted"
    assert private == [], "the verifier imported code that uses a secret key"

    secret = client.secret("a passphrase" if passphrase else None)
    assert not server.holds(secret)
    assert not verifier.holds(secret)
    if not passphrase:
        assert client.holds(secret)

    opened, _ = client.run(
        *("fhe", "open", "x.pml", "--secret", "x.secret", "-o", "y.npz", *pinned, *protected)
    )
    assert opened["names"] == ["y"]
    (want,) = onnxruntime.InferenceSession(world.model.canonical).run(None, world.one.inputs)
    got = np.load(client.folder / "y.npz")["y"]
    # The golden circuit of concrete has 4 bits; that it is exact is tested elsewhere.
    assert np.abs(got - want).max() < (0.5 if world.backend == "concrete" else 1e-3)
    assert (client.folder / "y.npz").stat().st_mode & 0o777 == 0o600

    # A refused proof: exit code 3, no outputs, and the secret is not asked for anything.
    missing = pinned[:-2]
    client.run(
        *("fhe", "open", "x.pml", "--secret", "x.secret", "-o", "z.npz", *missing, *protected),
        code=3,
    )
    assert not (client.folder / "z.npz").exists()
