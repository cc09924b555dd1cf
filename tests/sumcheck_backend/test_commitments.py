"""Inputs and outputs under a root: who can open it, what a liar gains, what the prover keeps."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml.api import prove
from proofml.backend import Request, get_backend
from proofml.checks import Result
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.expectation import Expectation
from proofml.model import Model
from proofml.policy import Policy
from proofml.proof import Proof
from proofml.router import route
from proofml.salts import read_salt, write_salt
from proofml.statement import Commitment, Statement, Visibility
from proofml.testing import gemm
from proofml.verdict import Status, Verdict
from proofml.worker import Limits
from proofml.zkml.sumcheck.compile import Source
from proofml.zkml.sumcheck.keys import commit_ports
from proofml.zkml.sumcheck.layout import Visibility as Shown
from proofml.zkml.sumcheck.ports import SALT_BYTES, SCHEME, salt_bytes

from .models import OTHER_X, X, qdq_gemm
from .workshop import SALT, Forger, Workshop, attacker, refused_by

HASHED = Visibility.HASHED
SHAPES = {"x": (1, 4)}
KNOWN = Policy().allow(["hiding:none"])
OPENED: Mapping[str, Any] = {"inputs": X, "salt": salt_bytes(SALT)}


@pytest.fixture(scope="module")
def forger(model: Model) -> Forger:
    return Forger.of(Source(model, SHAPES, visibility=Shown(inputs=False)))


@pytest.fixture(scope="module")
def both(model: Model) -> Forger:
    return Forger.of(Source(model, SHAPES, visibility=Shown(inputs=False, outputs=False)))


@pytest.fixture(scope="module")
def committed(forger: Forger) -> Proof:
    return forger.proof(X)


def result(verdict: Verdict, number: str) -> Result:
    (found,) = {check.result for check in verdict.checks if check.number == number}
    return found


# -- opening ---------------------------------------------------------------------------------


def test_opened_with_the_salt(workshop: Workshop, model: Model, committed: Proof) -> None:
    verdict = workshop.judge(committed, model, KNOWN, **OPENED)
    assert verdict, verdict.reasons
    assert result(verdict, "core.9") is Result.PASSED
    assert result(verdict, "sumcheck.19") is Result.PASSED
    assert "input:unpinned" not in verdict.require().guarantee.assumptions  # type: ignore[union-attr]
    assert verdict.tensors is not None
    assert set(verdict.tensors) == {"output.0"}


def test_without_the_salt(workshop: Workshop, model: Model, committed: Proof) -> None:
    """What is insisted on is compared, or the proof is refused; the error says what to give."""
    verdict = workshop.judge(committed, model, KNOWN, inputs=X)
    refused_by(verdict, "core.9")
    assert "--salt-file" in str(verdict.error)
    # Who insists on nothing has a proof about some input under the root.
    for expect in ({}, {"salt": OPENED["salt"]}):
        verdict = workshop.judge(committed, model, KNOWN, **expect)
        assert verdict, verdict.reasons
        assert verdict.guarantee is not None
        assert {"input:unpinned", "hiding:none"} <= verdict.guarantee.assumptions


def test_the_default_policy_refuses_it(workshop: Workshop, model: Model, committed: Proof) -> None:
    """`hashed` in a file may be taken for hidden, so the verdict says that it is not."""
    verdict = workshop.judge(committed, model, **OPENED)
    assert verdict.status is Status.REFUSED
    assert verdict.reasons == (
        "assumption hiding:none is not allowed (--allow hiding:none accepts it)",
    )


def test_another_salt(workshop: Workshop, model: Model, committed: Proof) -> None:
    wrong = salt_bytes(SALT + np.eye(8, dtype=np.int64)[3])
    refused_by(workshop.judge(committed, model, KNOWN, inputs=X, salt=wrong), "sumcheck.7")
    for salt in (b"\1" * (SALT_BYTES - 1), b"\1" * (SALT_BYTES + 1), b"\xff" * SALT_BYTES):
        with pytest.raises(UsageError, match="salt: expected"):
            workshop.judge(committed, model, KNOWN, inputs=X, salt=salt)
    with pytest.raises(UsageError, match="1 to 64 bytes"):
        Expectation(salt=b"")


def test_another_input(workshop: Workshop, model: Model, committed: Proof) -> None:
    salt = OPENED["salt"]
    refused_by(workshop.judge(committed, model, KNOWN, inputs=OTHER_X, salt=salt), "sumcheck.7")
    nothing = {"x": np.full((1, 4), np.nan, np.float32)}
    refused_by(workshop.judge(committed, model, KNOWN, inputs=nothing, salt=salt), "sumcheck.7")


def test_floats_of_the_same_codes(workshop: Workshop, model: Model, committed: Proof) -> None:
    """The root binds codes: rounding the input is part of the model."""
    x = X["x"].copy()
    x[0, 0] = np.nextafter(x[0, 0], np.float32(1))
    assert workshop.judge(committed, model, KNOWN, inputs={"x": x}, salt=OPENED["salt"])
    x[0, 0] += np.float32(1 / 64)
    verdict = workshop.judge(committed, model, KNOWN, inputs={"x": x}, salt=OPENED["salt"])
    refused_by(verdict, "sumcheck.7")


def test_one_root_is_opened_as_a_whole(workshop: Workshop, model: Model, both: Forger) -> None:
    """With one of two committed tensors nothing can be compared."""
    proof = both.proof(X)
    honest = Forger.of(Source(model, SHAPES)).proof(X)
    y = {"y": honest.tensor("output.0")}
    verdict = workshop.judge(proof, model, KNOWN, outputs=y, **OPENED)
    assert verdict, verdict.reasons
    assert result(verdict, "core.10") is Result.PASSED
    refused_by(workshop.judge(proof, model, KNOWN, **OPENED), "core.9")
    refused_by(workshop.judge(proof, model, KNOWN, outputs=y, salt=OPENED["salt"]), "core.10")
    wrong = {"y": y["y"] + np.float32(1 / 16)}
    refused_by(workshop.judge(proof, model, KNOWN, outputs=wrong, **OPENED), "sumcheck.7")
    no_code = {"y": y["y"] + np.float32(0.01)}
    refused_by(workshop.judge(proof, model, KNOWN, outputs=no_code, **OPENED), "sumcheck.7")


def test_memory_for_the_root(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    """Comparing takes a tree of this machine's memory, and that says nothing of the proof."""
    forger = Forger.of(Source(model, SHAPES, visibility=Shown(inputs=False)))
    proof = forger.proof(X)
    assert workshop.judge(proof, model, KNOWN)  # now the circuit is in the cache
    small = Workshop(workshop.folder)
    small.verifier = replace(workshop.verifier, limits=Limits(memory=1 << 10))
    assert small.judge(proof, model, KNOWN)
    with pytest.raises(BackendFailed, match="committed tensors"):
        small.judge(proof, model, KNOWN, **OPENED)


# -- lies: the Statement is in the transcript, so each is proven as well as it can be ----------


def root_of(forger: Forger, inputs: Mapping[str, np.ndarray]) -> bytes:
    commitment = forger.proof(inputs).statement.inputs[0].commitment
    assert commitment is not None
    return bytes.fromhex(commitment.value)


def test_another_root(workshop: Workshop, model: Model, forger: Forger) -> None:
    lie = replace(forger, root=b"\1" * 32).proof(X)
    refused_by(workshop.judge(lie, model, KNOWN), "sumcheck.19")
    refused_by(workshop.judge(lie, model, KNOWN, **OPENED), "sumcheck.7")


def test_root_of_another_input(workshop: Workshop, model: Model, forger: Forger) -> None:
    """The verifier knows and expects the other one; the output is that of this one."""
    lie = replace(forger, root=root_of(forger, OTHER_X)).proof(X)
    salt = OPENED["salt"]
    refused_by(workshop.judge(lie, model, KNOWN, inputs=OTHER_X, salt=salt), "sumcheck.19")
    # The tree is the other one's too, and what is sent of it is not what lies in it.
    lie = replace(forger, committed=OTHER_X).proof(X)
    refused_by(workshop.judge(lie, model, KNOWN, inputs=OTHER_X, salt=salt), "sumcheck.15")


def test_output_of_another_input(workshop: Workshop, model: Model, forger: Forger) -> None:
    y = Forger.of(Source(model, SHAPES)).proof(OTHER_X).tensor("output.0")
    lie = replace(forger, tensors={"y": y}).proof(X)
    refused_by(workshop.judge(lie, model, KNOWN, **OPENED), "sumcheck.12")


def test_committed_output_of_another_input(workshop: Workshop, model: Model, both: Forger) -> None:
    """Input and output lie under one root; it is not enough that it is the expected one."""
    y = Forger.of(Source(model, SHAPES)).proof(X).tensor("output.0")
    lie = replace(both, committed=X).proof(OTHER_X)
    verdict = workshop.judge(lie, model, KNOWN, outputs={"y": y}, **OPENED)
    refused_by(verdict, "sumcheck.7")
    refused_by(workshop.judge(lie, model, KNOWN), "sumcheck.15")


def test_two_roots(workshop: Workshop, model: Model, both: Forger) -> None:
    """Each claim names the root; there is one tree."""

    def differ(statement: Statement) -> Statement:
        (claim,) = statement.outputs
        other = Commitment(SCHEME, "ab" * 32)
        return replace(statement, outputs=(replace(claim, commitment=other),))

    lie = replace(both, change=differ).proof(X)
    refused_by(workshop.judge(lie, model, KNOWN), "sumcheck.2")


@pytest.mark.parametrize(
    "commitment",
    [
        {"scheme": "ezkl-poseidon-bn254"},
        {"scheme": SCHEME + ".1"},
        {"value": "ab" * 31},
        {"value": "ab" * 33},
    ],
    ids=str,
)
def test_commitments_of_another_scheme(
    workshop: Workshop, model: Model, committed: Proof, commitment: dict[str, str]
) -> None:
    lie = attacker(committed)
    lie.claim("input.0")["commitment"].update(commitment)
    refused_by(workshop.judge(lie.forge(), model, KNOWN, **OPENED), "sumcheck.2")


def test_value_beside_the_root(workshop: Workshop, model: Model, committed: Proof) -> None:
    """What is committed is not shown as well, under its own name, another one, or by digest."""
    honest = Forger.of(Source(model, SHAPES)).proof(X)
    body = honest.sections["input.0"]
    lie = attacker(committed)
    lie.sections["input.0"] = body
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "core.6")
    lie = attacker(committed)
    lie.sections["shown"] = body
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "sumcheck.2")
    lie = attacker(committed)
    lie.claim("input.0")["sha256"] = honest.statement.inputs[0].sha256
    refused_by(workshop.judge(lie.forge(recompute=False), model, KNOWN), "core.2")


def test_root_beside_the_value(workshop: Workshop, model: Model, committed: Proof) -> None:
    """The committed circuit is not that of a Statement whose input is public, nor the reverse."""
    public = Forger.of(Source(model, SHAPES))
    lie = attacker(committed)
    honest = attacker(public.proof(X))
    lie.claim("input.0").clear()
    lie.claim("input.0").update(honest.claim("input.0"))
    lie.sections["input.0"] = honest.sections["input.0"]
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "sumcheck.5")
    honest.claim("input.0").clear()
    honest.claim("input.0").update(attacker(committed).claim("input.0"))
    del honest.sections["input.0"]
    refused_by(workshop.judge(honest.forge(), model, KNOWN), "sumcheck.5")


def test_root_under_another_statement(
    workshop: Workshop, model: Model, forger: Forger, committed: Proof
) -> None:
    """The same root is no proof: the nonce, and all of the Statement, is in the transcript."""
    lie = attacker(committed)
    lie.statement["nonce"] = "ff" * 8
    verdict = workshop.judge(lie.forge(), model, KNOWN, nonce=b"\xff" * 8, **OPENED)
    refused_by(verdict, "sumcheck.10")
    later = replace(forger, change=lambda statement: replace(statement, nonce=b"later")).proof(X)
    lie = attacker(later)
    lie.sections["proof"] = committed.sections["proof"]
    verdict = workshop.judge(lie.forge(), model, KNOWN, nonce=b"later", **OPENED)
    refused_by(verdict, "sumcheck.10")


def test_visibility_is_one_for_a_role(workshop: Workshop) -> None:
    model = workshop.load(qdq_gemm(0, passing=True))
    shown = Shown(inputs=False, outputs=False)
    forger = Forger.of(Source(model, SHAPES, visibility=shown))
    assert workshop.judge(forger.proof(X), model, KNOWN)
    lie = attacker(forger.proof(X))
    honest = attacker(Forger.of(Source(model, SHAPES)).proof(X))
    lie.claim("output.1").clear()
    lie.claim("output.1").update(honest.claim("output.1"))
    lie.sections["output.1"] = honest.sections["output.1"]
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "sumcheck.2")
    lie = attacker(forger.proof(X))
    lie.hide("output.1")
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "sumcheck.2")


def test_two_ports_of_one_committed_value(workshop: Workshop) -> None:
    model = workshop.load(qdq_gemm(0, passing=True))
    forger = Forger.of(Source(model, SHAPES, visibility=Shown(inputs=False, outputs=False)))
    honest = Forger.of(Source(model, SHAPES)).proof(X)
    outputs = {"y": honest.tensor("output.0"), "x_again": honest.tensor("output.1")}
    proof = forger.proof(X)
    assert workshop.judge(proof, model, KNOWN, outputs=outputs, **OPENED)
    wrong = {**outputs, "x_again": outputs["x_again"] + np.float32(1 / 64)}
    refused_by(workshop.judge(proof, model, KNOWN, outputs=wrong, **OPENED), "sumcheck.7")


# -- pins ------------------------------------------------------------------------------------


def test_pinned_circuit(
    workshop: Workshop, model: Model, committed: Proof, honest: Proof, tmp_path: Path
) -> None:
    """The circuit says what is committed, so a pin of one kind is none of the other."""

    def pinned(name: str, request: Request) -> Policy:
        folder = tmp_path / name
        folder.mkdir()
        found = get_backend("sumcheck").setup(model, request, workshop.prover)
        for key, path in found.items():
            (folder / key).write_bytes(path.read_bytes())
        return Policy.load(folder / "policy.toml").allow(["hiding:none"])

    asked = Request(input_visibility=HASHED, options={"hiding": "none"})
    hashed, public = pinned("hashed", asked), pinned("public", Request())
    digest = model.digest
    assert workshop.judge(committed, None, hashed, model_sha256=digest, **OPENED)
    assert workshop.judge(honest, None, public, model_sha256=digest, inputs=X)
    for proof, policy in ((committed, public), (honest, hashed)):
        with pytest.raises(UsageError, match="--model FILE"):
            workshop.judge(proof, None, policy, model_sha256=digest)
    # A Statement that names the pinned circuit and shows what that one commits to.
    lie = attacker(honest)
    detail = committed.statement.computation.detail
    lie.statement["computation"]["detail"].update(circuit_sha256=detail["circuit_sha256"])
    refused_by(workshop.judge(lie.forge(), None, hashed, model_sha256=digest), "sumcheck.5")


# -- the prover -------------------------------------------------------------------------------


def asked(folder: Path, **more: str) -> dict[str, Any]:
    options = {"hiding": "none", "salt-file": str(folder / "salt"), **more}
    return {"input_visibility": HASHED, "options": options}


def test_salt_is_kept_by_the_prover(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    """In a file of its owner's, and nowhere in the proof; a file that exists is read."""
    proof = workshop.prove(model, X, **asked(tmp_path))
    path = tmp_path / "salt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    salt = read_salt(path)
    assert len(salt) == SALT_BYTES
    data = proof.to_bytes()
    assert salt not in data
    assert salt.hex().encode() not in data
    assert str(path).encode() not in data
    assert proof.hints == {"hiding:none"}
    assert workshop.judge(proof, model, KNOWN, inputs=X, salt=salt)
    again = workshop.prove(model, X, **asked(tmp_path), max_error=None)
    assert again.statement.digest == proof.statement.digest
    assert read_salt(path) == salt
    path.unlink()
    other = workshop.prove(model, X, **asked(tmp_path))
    assert other.statement.inputs != proof.statement.inputs


def test_self_check(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    request = asked(tmp_path, **{"self-check": "yes"})
    workshop.prove(model, X, **request)
    workshop.prove(model, X, **{**request, "output_visibility": HASHED})


def test_outputs_for_the_prover(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    """A committed output is in no file but the one that was asked for."""
    path = tmp_path / "y.npz"
    request = asked(tmp_path, **{"output-file": str(path)})
    proof = workshop.prove(model, X, **request, output_visibility=HASHED)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with np.load(path) as file:
        outputs = dict(file)
    assert outputs["y"].tobytes() not in proof.to_bytes()
    salt = read_salt(tmp_path / "salt")
    assert workshop.judge(proof, model, KNOWN, inputs=X, outputs=outputs, salt=salt)
    with pytest.raises(UsageError, match="cannot be written: File exists"):
        workshop.prove(model, X, **request, output_visibility=HASHED)


def test_output_only(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    options = asked(tmp_path)["options"]
    proof = workshop.prove(model, X, options=options, output_visibility=HASHED)
    y = {"y": workshop.prove(model, X).tensor("output.0")}
    salt = read_salt(tmp_path / "salt")
    assert workshop.judge(proof, model, KNOWN, inputs=X, outputs=y, salt=salt)
    refused_by(workshop.judge(proof, model, KNOWN, outputs=y), "core.10")


def test_float_model(workshop: Workshop, tmp_path: Path) -> None:
    """The codes of a float model's input are committed; its record is as public as ever."""
    pytest.importorskip("onnxruntime")
    model = workshop.load(gemm(0, relu=True))
    proof = workshop.prove(model, X, calibration=(X, OTHER_X), **asked(tmp_path))
    policy = KNOWN.allow(["quantisation:prover-chosen"])
    salt = read_salt(tmp_path / "salt")
    assert workshop.judge(proof, model, policy, inputs=X, salt=salt)
    refused_by(workshop.judge(proof, model, policy, inputs=OTHER_X, salt=salt), "sumcheck.7")


def test_consent_is_asked_for(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    """Nobody gets a commitment who asked for hiding, and the router does not choose it."""
    with pytest.raises(UnsupportedModel, match=r"hides nothing.*--set hiding=none"):
        workshop.prove(model, X, input_visibility=HASHED)
    with pytest.raises(UsageError, match="takes --set salt-file=PATH"):
        workshop.prove(model, X, input_visibility=HASHED, options={"hiding": "none"})
    with suppress(UnsupportedModel):  # where no backend that hides is installed
        assert route(model, Request(input_visibility=HASHED)).name != "sumcheck"
    everything = Request(**asked(tmp_path), output_visibility=Visibility.PRIVATE)
    with pytest.raises(UnsupportedModel, match="cannot hide output"):
        prove(model, X, backend="sumcheck", request=everything, context=workshop.prover)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"options": {"hiding": "none"}}, "--set hiding: no tensor is committed"),
        ({"options": {"salt-file": "s"}}, "--set salt-file: no tensor is committed"),
        ({"options": {"output-file": "y"}}, "--set output-file: no output is committed"),
        (
            {"input_visibility": HASHED, "options": {"hiding": "none", "output-file": "y"}},
            "--set output-file: no output is committed",
        ),
        ({"input_visibility": HASHED, "options": {"hiding": "all"}}, "expected one of none"),
        (
            {"input_visibility": HASHED, "options": {"hiding": "none", "salt-file": ""}},
            "expected the path of a file",
        ),
    ],
    ids=str,
)
def test_options(workshop: Workshop, model: Model, request_: dict[str, Any], words: str) -> None:
    with pytest.raises((UsageError, UnsupportedModel), match=words):
        workshop.prove(model, X, **request_)


@pytest.mark.parametrize("text", ["", "\n", "xy", "00", "ff" * 32, "é", "00" * 65], ids=ascii)
def test_salt_files_that_are_none(
    workshop: Workshop, model: Model, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "salt"
    path.write_text(text, "utf-8")
    with pytest.raises(UsageError, match="salt"):
        workshop.prove(model, X, **asked(tmp_path))
    assert path.read_text("utf-8") == text


def test_salt_that_cannot_be_kept(workshop: Workshop, model: Model, tmp_path: Path) -> None:
    """Then there is no proof: nobody could open it."""
    with pytest.raises(UsageError, match="cannot be written"):
        workshop.prove(model, X, **asked(tmp_path / "no such folder"))
    (tmp_path / "salt").mkdir()
    with pytest.raises(UsageError, match="no such file"):
        workshop.prove(model, X, **asked(tmp_path))
    with pytest.raises(UsageError, match="cannot be written"):
        write_salt(tmp_path / "salt", b"1")


def test_outputs_without_a_column(workshop: Workshop, tmp_path: Path) -> None:
    """An output that is the public input itself cannot be committed apart from it."""
    model = workshop.load(qdq_gemm(0, passing=True))
    options = asked(tmp_path)["options"]
    with pytest.raises(UnsupportedModel, match=r"output 'x_again' cannot be committed.*public"):
        workshop.prove(model, X, options=options, output_visibility=HASHED)
    assert not (tmp_path / "salt").exists()
    # Stated all the same: there is no such circuit.
    lie = attacker(workshop.prove(model, X))
    for role in ("output.0", "output.1"):
        lie.hide(role)
        lie.claim(role).update(
            visibility="hashed", commitment={"scheme": SCHEME, "value": "ab" * 32}
        )
    refused_by(workshop.judge(lie.forge(), model, KNOWN), "sumcheck.5")


def test_salts_differ(forger: Forger) -> None:
    """Two commitments to one input tell nothing of each other without their salts."""
    circuit = forger.key.circuit
    (port,) = circuit.graph.inputs
    codes = {port.value: np.zeros(port.shape, np.int64)}
    roots = {commit_ports(circuit, codes).nodes[1].tobytes() for _ in range(4)}
    assert len(roots) == 4
