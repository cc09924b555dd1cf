"""The same verdict as `proofml verify`: accepted, and refused by the same numbered check."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.api import verify as full_verify
from proofml.backend import Context, Request, get_backend
from proofml.cli import main as full_main
from proofml.expectation import Expectation
from proofml.keys import SigningKey
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.statement import Visibility
from proofml.store import Store
from proofml.testing import Attacker
from proofml.testing.attacker import join, split
from proofml.verdict import Status, Verdict
from proofml.zkml.sumcheck.standalone import verify
from proofml.zkml.sumcheck.standalone_cli import main

from .conftest import GOLDEN, NONCE, Golden

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits"
PROOF, KEY = (GOLDEN / "digits.pml").read_bytes(), (GOLDEN / "digits.key").read_bytes()


def pinned(golden: Golden) -> Policy:
    """The full verifier's policy that pins the same circuit."""
    table = {"model": golden.model, "circuit": golden.circuit, "key": str(golden.key)}
    value = {"version": 1, "backends": {"sumcheck": {"pinned": [table]}}}
    return Policy.from_mapping(value, source=str(golden.folder / "policy.toml"))


def both(golden: Golden, data: bytes, **expect: Any) -> tuple[Verdict, Verdict]:
    """The verdicts of the full verifier and of the one alone; the model is pinned by digest."""
    wanted = {"model_sha256": golden.model, "nonce": bytes.fromhex(NONCE), **expect}
    context = Context(Store(golden.folder / "cache"))
    full = full_verify(data, Expectation(**wanted), pinned(golden), context=context)
    return full, verify(data, KEY, **wanted)


def test_accepted(golden: Golden) -> None:
    tensors = {"inputs": {"image": golden.input}, "outputs": {"logits": golden.output}}
    for expect in ({}, tensors, {"nonce": None}):
        full, alone = both(golden, PROOF, **expect)
        assert full.status is alone.status is Status.ACCEPTED
        assert full.guarantee == alone.guarantee
        assert [c.number for c in full.checks] == [c.number for c in alone.checks]
        assert [c.result for c in full.checks] == [c.result for c in alone.checks]
        assert alone.output("logits").tobytes() == golden.output.tobytes()


def _sections(change: Callable[[dict[str, bytes]], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        parts = dict(split(PROOF))
        change(parts)
        return join(list(parts.items()))

    return make


def _lie(change: Callable[[Attacker], object], **forge: bool) -> Callable[[], bytes]:
    def make() -> bytes:
        lie = Attacker.of(PROOF)
        change(lie)
        return lie.forge(**{"sign": False, **forge})

    return make


def _body(change: Callable[[bytes], bytes]) -> Callable[[], bytes]:
    return _lie(lambda lie: lie.sections.update(proof=change(lie.sections["proof"])))


def _flip(offset: int) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        at = offset % len(body)
        return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    return change


def _forged_signature() -> bytes:
    """Signed by somebody over something else."""
    proof = Proof.read(PROOF)
    tensors = {role: proof.tensor(role) for role, _ in proof.statement.tensors()}
    key, other = SigningKey.generate(), SigningKey.generate()

    class Liar:
        public = key.public

        def sign(self, payload: bytes) -> bytes:
            return other.sign(payload)

    signers: Any = [Liar()]
    return Proof.build(
        proof.statement, proof.backend, proof.backend_version, {}, tensors, signers=signers
    ).to_bytes()


def _detail(**changes: object) -> Callable[[Attacker], object]:
    return lambda lie: lie.statement["computation"]["detail"].update(changes)


def _value(lie: Attacker, role: str, delta: float) -> None:
    array = Proof.read(PROOF).tensor(role).copy()
    array.reshape(-1)[0] += np.float32(delta)
    lie.set_value(role, array)


def _parameters(lie: Attacker) -> None:
    lie.statement["computation"]["detail"]["parameters"]["queries"] += 1


#: What was done -> the file, and the check that refuses it.
TAMPERED: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut": (lambda: PROOF[:-1], "core.1"),
    "another magic": (lambda: b"\0" + PROOF[1:], "core.1"),
    "attestation with white space": (
        _sections(lambda parts: parts.update(attestation=parts["attestation"] + b" ")),
        "core.2",
    ),
    "signature of another": (_forged_signature, "core.3"),
    "another subject": (
        _lie(lambda lie: lie.payload["subject"].pop(), recompute=False),
        "core.4",
    ),
    "section changed": (_sections(lambda p: p.update(proof=_flip(0)(p["proof"]))), "core.5"),
    "value without its digest": (
        _lie(lambda lie: lie.predicate["statement"]["outputs"][0].update(shape=[10, 1])),
        "core.6",
    ),
    "another model": (
        _lie(lambda lie: lie.statement["model"].update(canonical_sha256="0" * 64)),
        "core.7",
    ),
    "another nonce": (_lie(lambda lie: lie.statement.update(nonce="00")), "core.11"),
    "another backend": (_lie(lambda lie: lie.predicate["backend"].update(name="x")), "core.12"),
    "another version": (_lie(lambda lie: lie.predicate["backend"].update(version=2)), "core.12"),
    "record with more": (_lie(_detail(more=1)), "sumcheck.1"),
    "evidence that is not read": (_lie(lambda lie: lie.sections.update(z=b"")), "sumcheck.2"),
    "private input": (_lie(lambda lie: lie.hide("input.0")), "sumcheck.2"),
    "vacuous parameters": (_lie(_detail(parameters={})), "sumcheck.3"),
    "a quantisation record": (_lie(_detail(quantisation_sha256="0" * 64)), "sumcheck.2"),
    "other parameters": (_lie(_parameters), "sumcheck.5"),
    "other classes": (_lie(_detail(classes={"E": 0, "T": 0, "D": 0})), "sumcheck.5"),
    "another name": (_lie(lambda lie: lie.claim("input.0").update(name="x")), "sumcheck.7"),
    "output without a code": (_lie(lambda lie: _value(lie, "output.0", 1e-3)), "sumcheck.7"),
    "no proof": (_body(lambda body: b""), "sumcheck.8"),
    "number that is not canonical": (
        _body(lambda body: body[:32] + b"\xff" * 4 + body[36:]),
        "sumcheck.8",
    ),
    "first byte": (_body(_flip(0)), "sumcheck.10"),
    "proof of another Statement": (
        _lie(lambda lie: lie.statement["model"].update(file_sha256="0" * 64)),
        "sumcheck.10",
    ),
    "last byte": (_body(_flip(-1)), "sumcheck.18"),
    "a byte more": (_body(lambda body: body + b"\0"), "sumcheck.23"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_refused_by_the_same_check(golden: Golden, name: str) -> None:
    make, number = TAMPERED[name]
    data = make()
    full, alone = both(golden, data)
    for verdict in (full, alone):
        assert verdict.status is Status.INVALID
        assert verdict.error is not None
    assert full.error is not None
    assert alone.error is not None
    assert (full.error.check, alone.error.check) == (number, number), str(alone.error)
    assert [c.number for c in full.checks] == [c.number for c in alone.checks]


@pytest.mark.parametrize("part", range(24))
def test_a_changed_byte_anywhere(golden: Golden, part: int) -> None:
    offset = 7919 * part + 1
    full, alone = both(golden, _body(_flip(offset))())
    assert full.error is not None
    assert alone.error is not None
    assert full.error.check == alone.error.check


def test_another_circuit(golden: Golden) -> None:
    """The full verifier has no pin of it and asks for the model; both then say the same."""
    data = _lie(_detail(circuit_sha256="0" * 64))()
    context = Context(Store(golden.folder / "cache"))
    model = Model.load(DIGITS / "digits_cnn_int8.onnx", store=context.store)
    full = full_verify(data, Expectation(model=model), context=context)
    alone = verify(data, KEY)
    assert full.error is not None
    assert alone.error is not None
    assert (full.error.check, alone.error.check) == ("sumcheck.5", "sumcheck.5")


def test_commands_agree(
    golden: Golden, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands on the same files."""
    monkeypatch.setenv("PROOFML_CACHE", str(golden.folder / "cache"))
    policy = golden.folder / "policy.toml"
    policy.write_text(
        "version = 1\n[[backends.sumcheck.pinned]]\n"
        f'model = "{golden.model}"\ncircuit = "{golden.circuit}"\nkey = "{golden.key}"\n'
    )
    names = ("cut", "signature of another", "other classes", "a byte more")
    cases = {"honest": PROOF, **{name: TAMPERED[name][0]() for name in names}}
    for name, data in cases.items():
        path = golden.folder / "case.pml"
        path.write_bytes(data)
        shared = [str(path), "--nonce", NONCE, "--model-sha256", golden.model, "--json"]
        code = main([*shared, "--key", str(golden.key)])
        alone = json.loads(capsys.readouterr().out)
        with pytest.raises(SystemExit) as ended:
            full_main(["verify", *shared, "--policy", str(policy), "--no-progress"])
        full = json.loads(capsys.readouterr().out)
        assert code == ended.value.code == (0 if name == "honest" else 1), name
        for key in ("status", "failed_check", "statement_sha256", "exit_code", "signers"):
            assert alone[key] == full[key], (name, key)


# -- what takes a prover ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    return Context(Store(tmp_path_factory.mktemp("prover")))


def made(context: Context, name: str, **request: Any) -> tuple[Model, bytes, bytes]:
    """Model, proof and verifying key of a digit."""
    from proofml.api import prove

    model = Model.load(DIGITS / name, store=context.store)
    with np.load(DIGITS / "digit.npz") as data:
        inputs = dict(data)
    asked = Request(**request)
    proof = prove(model, inputs, backend="sumcheck", request=asked, context=context)
    key = get_backend("sumcheck").setup(model, asked, context)["verifying-key"].read_bytes()
    return model, proof.to_bytes(), key


def test_few_bits_are_refused(context: Context) -> None:
    model, proof, key = made(context, "digits_cnn_int8.onnx", options={"bits": "85"})
    full = full_verify(proof, Expectation(model=model), context=context)
    alone = verify(proof, key)
    assert full.status is alone.status is Status.REFUSED
    assert full.reasons == alone.reasons
    assert verify(proof, key, min_bits=85)
    assert verify(proof, KEY).error is not None  # the circuit of other parameters


def test_float_model_with_a_pinned_circuit(context: Context) -> None:
    """The record is read and judged; which integers they are is what the key says."""
    pytest.importorskip("onnxruntime")
    with np.load(DIGITS / "calibration.npz") as data:
        samples = [{name: array[:1] for name, array in data.items()}]
    model, proof, key = made(context, "digits_cnn.onnx", calibration=samples)
    verdict = verify(proof, key, model_sha256=model.digest)
    assert verdict, verdict.reasons
    assert verdict.guarantee is not None
    assert "quantisation:prover-chosen" not in verdict.guarantee.assumptions
    lie = Attacker.of(proof)
    lie.sections["quantisation"] = b"{}"
    refused = verify(lie.forge(), key)
    assert refused.error is not None
    assert refused.error.check == "sumcheck.4"
    # Another record of the same model is another circuit.
    other = [{name: array * np.float32(0.5) for name, array in samples[0].items()}]
    _, proof, _ = made(context, "digits_cnn.onnx", calibration=other)
    refused = verify(proof, key)
    assert refused.error is not None
    assert refused.error.check == "sumcheck.5"


def test_hashed_input(context: Context, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A commitment is refused unless it is allowed, and opened by its salt."""
    salt, options = tmp_path / "salt", {"hiding": "none", "salt-file": str(tmp_path / "salt")}
    _, proof, key = made(
        context,
        "digits_cnn_int8.onnx",
        options=options,
        input_visibility=Visibility.HASHED,
    )
    with np.load(DIGITS / "digit.npz") as data:
        np.save(tmp_path / "image.npy", data["image"])
        np.save(tmp_path / "other.npy", data["image"][..., ::-1])
    (tmp_path / "p.pml").write_bytes(proof)
    (tmp_path / "key").write_bytes(key)
    head = [str(tmp_path / "p.pml"), "--key", str(tmp_path / "key"), "--json"]

    def run(*words: object) -> tuple[int, Any]:
        code = main([*head, *map(str, words)])
        return code, json.loads(capsys.readouterr().out)

    code, found = run()
    assert code == 3
    assert found["reasons"] == [
        "assumption hiding:none is not allowed (--allow hiding:none accepts it)"
    ]
    allowed = ("--allow", "hiding:none")
    assert run(*allowed)[0] == 0
    image = ("--input", f"image={tmp_path / 'image.npy'}")
    assert run(*allowed, *image)[1]["failed_check"] == "core.9"
    code, found = run(*allowed, *image, "--salt-file", salt)
    assert code == 0
    assert "input:unpinned" not in found["guarantee"]["assumptions"]
    other = ("--input", f"image={tmp_path / 'other.npy'}")
    code, found = run(*allowed, *other, "--salt-file", salt)
    assert (code, found["failed_check"]) == (1, "sumcheck.7")


def test_pinned_signer_is_the_full_verifiers(golden: Golden) -> None:
    """The one alone pins no keys: an unchecked signature never meets a policy that does."""
    key = SigningKey.generate()
    signed = Attacker.of(PROOF)
    signed.key = key
    data = signed.forge()
    policy = replace(pinned(golden), signers=frozenset({key.public}))
    expect = Expectation(model_sha256=golden.model)
    context = Context(Store(golden.folder / "cache"))
    assert full_verify(data, expect, policy, context=context)
    from proofml.judge import Bench, judge

    found = judge(
        data,
        expect,
        policy.allow(["signer:unchecked"]),
        context,
        Bench(("sumcheck",), get_backend, signatures=False),
    )
    assert found.status is Status.REFUSED
    assert "none of signers.keys signed the proof" in found.reasons[0]
