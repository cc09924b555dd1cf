"""The file: in-toto Statement, DSSE envelope, evidence; core.1 to core.6 made to fail alone.

Each attack starts from a good proof, changes one thing, recomputes every digest that can be
recomputed and signs with the attacker's key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml import container
from proofml.canonical import dumps, loads
from proofml.errors import UsageError, VerificationError
from proofml.keys import SigningKey, envelope
from proofml.proof import INTOTO_TYPE, PREDICATE_TYPE, Blob, Proof, subjects
from proofml.testing import Attacker
from proofml.testing.attacker import DAMAGE, join, split


def refused(data: bytes) -> str:
    with pytest.raises(VerificationError) as caught:
        Proof.read(data)
    return caught.value.check


def attacker(parts: Any, **changes: Any) -> Attacker:
    return Attacker.of(parts.proof(**changes).to_bytes())


# -- honest ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [True, False])
def test_round_trip(parts: Any, tmp_path: Path, signed: bool) -> None:
    proof = parts.proof(signed=signed)
    path = tmp_path / "a.pml"
    proof.write(path)
    for back in (Proof.read(path), Proof.read(str(path)), Proof.read(path.read_bytes())):
        assert back.to_bytes() == proof.to_bytes()
        assert back.statement == parts.statement
        assert back.signers == ((parts.key.public,) if signed else ())
        assert back.notes == {"by": "nobody"}
        assert np.array_equal(back.tensor("output.0"), parts.arrays["output.0"])
        assert back.evidence("trace", check="fake.1", most=99) == b"what happened"
    assert os.listdir(tmp_path) == ["a.pml"]


def test_attestation_is_in_toto(parts: Any) -> None:
    """The layout that other tools read, written out here by hand."""
    signed = json.loads(parts.proof().attestation)
    assert set(signed) == {"payload", "payloadType", "signatures"}
    assert signed["payloadType"] == "application/vnd.in-toto+json"
    payload = json.loads(base64.b64decode(signed["payload"]))
    assert payload["_type"] == INTOTO_TYPE == "https://in-toto.io/Statement/v1"
    assert payload["predicateType"] == PREDICATE_TYPE
    digest = parts.statement.inputs[0].sha256
    assert payload["subject"][:3] == [
        {"name": "model:canonical", "digest": {"sha256": "1" * 64}},
        {"name": "model:file", "digest": {"sha256": "2" * 64}},
        {"name": "input:a", "digest": {"sha256": digest}},
    ]
    assert len(payload["subject"]) == 4  # and the output; hashed and private inputs have none
    assert json.loads(parts.proof(signed=False).attestation) == payload


def test_extracted_tensor_is_a_npy_file(parts: Any, tmp_path: Path) -> None:
    path = tmp_path / "input.npy"
    path.write_bytes(parts.proof().sections["input.0"])
    assert np.array_equal(np.load(path), parts.arrays["input.0"])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == parts.statement.inputs[0].sha256


def test_several_signers(parts: Any) -> None:
    keys = [SigningKey.generate() for _ in range(3)]
    proof = Proof.read(parts.proof(signers=[*keys, keys[0]]).to_bytes())
    assert proof.signers == tuple(sorted(key.public for key in keys))


def test_what_is_not_there(parts: Any) -> None:
    proof = parts.proof()
    with pytest.raises(KeyError):
        proof.tensor("input.1")
    for name, most in (("other", 99), ("trace", 3)):
        with pytest.raises(VerificationError) as caught:
            proof.evidence(name, check="fake.1", most=most)
        assert caught.value.check == "fake.1"


# -- writing --------------------------------------------------------------------------------------


def test_never_overwritten_unasked(parts: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pml"
    path.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        parts.proof().write(path)
    assert path.read_text() == "mine"
    parts.proof().write(path, force=True)
    assert Proof.read(path).statement == parts.statement


def test_cannot_be_written(parts: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        parts.proof().write(tmp_path / "none" / "a.pml")


def test_full_disk_leaves_nothing(
    parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("proofml.proof.os.fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        parts.proof().write(tmp_path / "a.pml")
    assert os.listdir(tmp_path) == []


def test_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            Proof.read(path)


# -- core.1 ---------------------------------------------------------------------------------------


def test_core_1_container(parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = parts.proof().to_bytes()
    assert refused(data + b"\0") == "core.1"
    assert refused(b"PK\x03\x04" + data) == "core.1"
    assert refused(join([*split(data), split(data)[-1]])) == "core.1"
    path = tmp_path / "large.pml"
    path.write_bytes(data)
    monkeypatch.setattr(container, "MAX_FILE_BYTES", len(data) - 1)
    with pytest.raises(VerificationError, match=r"core\.1: file size"):
        Proof.read(path)


# -- core.2 ---------------------------------------------------------------------------------------

PAYLOAD: dict[str, tuple[str, Any]] = {
    "another in-toto type": ("_type", "https://in-toto.io/Statement/v0.1"),
    "another predicate": ("predicateType", "https://slsa.dev/provenance/v1"),
    "unknown key": ("extra", 1),
    "predicate is a list": ("predicate", []),
    "unknown key in the predicate": ("predicate.extra", 1),
    "no Statement": ("predicate.statement", None),
    "version of the Statement": ("predicate.statement.version", 2),
    "backend is text": ("predicate.backend", "fake"),
    "name of the backend": ("predicate.backend.name", "x" * 65),
    "backend with an escape": ("predicate.backend.name", "fake\x1b[2J"),
    "version of the backend": ("predicate.backend.version", 0),
    "version is true": ("predicate.backend.version", True),
    "evidence is a table": ("predicate.evidence", {}),
    "name of evidence": ("predicate.evidence.0.name", "../up"),
    "evidence called attestation": ("predicate.evidence.0.name", "attestation"),
    "size of evidence": ("predicate.evidence.0.size", -1),
    "digest of evidence": ("predicate.evidence.0.sha256", "x"),
    "place of evidence": ("predicate.evidence.0.location", "https://example.com"),
    "unknown key of evidence": ("predicate.evidence.0.url", "https://example.com"),
    "notes are a list": ("predicate.notes", []),
    "note is a number": ("predicate.notes", {"a": 1}),
    "note with an escape": ("predicate.notes", {"a": "\x1b]0;title\x07"}),
    "name of a note with an escape": ("predicate.notes", {"\x1b[2J": "a"}),
    "long note": ("predicate.notes", {"a": "x" * 1025}),
    "many notes": ("predicate.notes", {str(i): "" for i in range(65)}),
}


@pytest.mark.parametrize("name", sorted(PAYLOAD))
def test_core_2_payload(parts: Any, name: str) -> None:
    path, wrong = PAYLOAD[name]
    liar = attacker(parts)
    value: Any = liar.payload
    for key in path.split(".")[:-1]:
        value = value[int(key) if key.isdigit() else key]
    value[path.split(".")[-1]] = wrong
    assert refused(liar.forge(recompute=False)) == "core.2"
    assert refused(liar.forge(recompute=False, sign=False)) == "core.2"


@pytest.mark.parametrize("key", ["_type", "subject", "predicateType", "predicate"])
def test_core_2_missing(parts: Any, key: str) -> None:
    liar = attacker(parts)
    del liar.payload[key]
    assert refused(liar.forge(recompute=False)) == "core.2"


def test_core_2_spelling(parts: Any) -> None:
    """The same JSON written otherwise is another file: bare, in the envelope, and the envelope."""
    liar = attacker(parts)
    loose = json.dumps(liar.payload).encode()
    key = SigningKey.generate()
    for attestation in (
        loose,
        b"",
        b"[]",
        b"null",
        b"\xff",
        envelope(loose, [key]),
        envelope(b"[]", [key]),
        json.dumps(loads(envelope(dumps(liar.payload), [key]))).encode(),
        envelope(envelope(dumps(liar.payload), [key]), [key]),
    ):
        assert refused(container.pack(attestation, liar.sections)) == "core.2"


def test_core_2_envelope(parts: Any) -> None:
    liar = attacker(parts)
    good = loads(envelope(dumps(liar.payload), [liar.key]))
    for key, wrong in (
        ("payloadType", "application/json"),
        ("payload", good["payload"] + "="),
        ("signatures", []),
        ("signatures", good["signatures"] * 2),
        ("extra", 1),
    ):
        bad = container.pack(dumps({**good, key: wrong}), liar.sections)
        assert refused(bad) == "core.2"


# -- core.3 ---------------------------------------------------------------------------------------


def test_core_3_signature(parts: Any) -> None:
    """A signature of another payload, or under the name of a key that did not sign."""
    liar = attacker(parts)
    good = loads(envelope(dumps(liar.payload), [liar.key]))
    liar.predicate["notes"] = {"by": "somebody"}
    other = loads(envelope(dumps(liar.payload), [liar.key]))
    crossed = {**other, "signatures": good["signatures"]}
    assert refused(container.pack(dumps(crossed), liar.sections)) == "core.3"
    renamed = {**good, "signatures": [{**good["signatures"][0], "keyid": parts.key.public}]}
    assert refused(container.pack(dumps(renamed), liar.sections)) == "core.3"


# -- core.4 ---------------------------------------------------------------------------------------


def test_core_4_subjects(parts: Any) -> None:
    """Tools that read only in-toto see the subjects: they must be what the Statement says."""
    found = subjects(parts.statement)
    for wrong in (
        found[:-1],
        [*found, found[0]],
        list(reversed(found)),
        [],
        {},
        None,
        [{**found[0], "digest": {"sha256": "3" * 64}}, *found[1:]],
        [{**found[0], "uri": "https://example.com"}, *found[1:]],
    ):
        liar = attacker(parts)
        liar.payload["subject"] = wrong
        assert refused(liar.forge(recompute=False)) == "core.4"
    liar = attacker(parts)
    liar.statement["model"]["file_sha256"] = "3" * 64
    assert refused(liar.forge(recompute=False)) == "core.4"


# -- core.5 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_core_5_damaged_section(parts: Any, damage: str) -> None:
    for name in parts.proof().sections:
        liar = attacker(parts)
        liar.sections[name] = DAMAGE[damage](liar.sections[name])
        assert refused(liar.forge(recompute=False)) == "core.5"


def test_core_5_list(parts: Any) -> None:
    """Order, doubles, a section that is not listed, an entry without a section."""
    for change in (
        lambda e: e.reverse(),
        lambda e: e.append(e[-1]),
        lambda e: e.clear(),
        lambda e: e.pop(0),
        lambda e: e[-1].update(name="zz"),
        lambda e: e[-1].update(location="beside"),
        lambda e: e[-1].update(size=e[-1]["size"] + 1),
        lambda e: e[-1].update(sha256="0" * 64),
    ):
        liar = attacker(parts)
        change(liar.predicate["evidence"])
        assert refused(liar.forge(recompute=False)) == "core.5"


# -- core.6 ---------------------------------------------------------------------------------------


def test_core_6_values(parts: Any) -> None:
    """Public values: there, in this file, of the stated digest, dtype and shape; others absent."""
    liar = attacker(parts)
    liar.sections["input.0"] = liar.sections["output.0"]
    assert refused(liar.forge()) == "core.6"
    liar = attacker(parts)
    del liar.sections["input.0"]
    assert refused(liar.forge()) == "core.6"
    for role in ("input.1", "input.2"):
        liar = attacker(parts)
        liar.sections[role] = b"a hidden value, shown"
        assert refused(liar.forge()) == "core.6"
    for key, wrong in (("dtype", "int32"), ("shape", [4]), ("shape", [2, 2]), ("sha256", "0" * 64)):
        liar = attacker(parts)
        liar.claim("input.0")[key] = wrong
        assert refused(liar.forge()) == "core.6"


def test_core_6_value_beside(parts: Any) -> None:
    """A public value cannot lie beside the file, where it could be taken away."""
    liar = attacker(parts)
    liar._list_evidence()
    entry = next(e for e in liar.predicate["evidence"] if e["name"] == "input.0")
    entry["location"] = "beside"
    del liar.sections["input.0"]
    assert refused(liar.forge(recompute=False)) == "core.6"


def test_core_6_not_a_tensor(parts: Any) -> None:
    """The digest is right and the bytes are no canonical tensor."""
    for body in (b"", b"\x80\x04K\x01.", liar_header(parts)):
        liar = attacker(parts)
        liar.sections["input.0"] = body
        liar.claim("input.0")["sha256"] = hashlib.sha256(body).hexdigest()
        assert refused(liar.forge()) == "core.6"


def liar_header(parts: Any) -> bytes:
    """A .npy header that NumPy reads and that is not the canonical one."""
    body: bytes = parts.proof().sections["input.0"]
    return body.replace(b"'fortran_order': False", b"'fortran_order':False ")


# -- evidence beside the file ---------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "made" / "large.bin"
    path.parent.mkdir()
    path.write_bytes(b"0123456789" * 1000)
    return path


def beside(parts: Any, large: Path) -> Proof:
    proof = parts.proof(evidence={"trace": Blob(b"t"), "zz-large": Blob(path=large)})
    assert isinstance(proof, Proof)
    return proof


def read_beside(proof: Proof, most: int = 1 << 20) -> bytes:
    return proof.evidence_beside("zz-large", check="fake.1", most=most).read_bytes()


def test_beside_is_written_and_read(parts: Any, large: Path, tmp_path: Path) -> None:
    proof = beside(parts, large)
    assert read_beside(proof) == large.read_bytes()  # before it is written, where it was made
    proof.write(tmp_path / "a.pml")
    large.unlink()
    back = Proof.read(tmp_path / "a.pml")
    assert back.sections.keys() == {"input.0", "output.0", "trace"}
    assert read_beside(back) == b"0123456789" * 1000
    (tmp_path / "moved").mkdir()
    back.write(tmp_path / "moved" / "b.pml")
    assert read_beside(Proof.read(tmp_path / "moved" / "b.pml")) == b"0123456789" * 1000


def test_beside_damaged(parts: Any, large: Path, tmp_path: Path) -> None:
    beside(parts, large).write(tmp_path / "a.pml")
    (path,) = tmp_path.glob("*.evidence")
    body = path.read_bytes()
    for wrong in (body[:-1], body + b"0", b"1" + body[1:], b""):
        path.write_bytes(wrong)
        with pytest.raises(VerificationError) as caught:
            read_beside(Proof.read(tmp_path / "a.pml"))
        assert caught.value.check == "fake.1"
    path.write_bytes(body)
    assert read_beside(Proof.read(tmp_path / "a.pml")) == body
    with pytest.raises(VerificationError, match="at most 10 bytes"):
        read_beside(Proof.read(tmp_path / "a.pml"), most=10)


def test_beside_is_no_file(parts: Any, large: Path, tmp_path: Path) -> None:
    """Gone, a folder, a pipe (which would wait for ever), a link that leads nowhere."""
    beside(parts, large).write(tmp_path / "a.pml")
    (path,) = tmp_path.glob("*.evidence")
    path.unlink()
    makers = (lambda: None, path.mkdir, lambda: os.mkfifo(path), lambda: path.symlink_to("none"))
    for make in makers:
        make()
        with pytest.raises(VerificationError) as caught:
            read_beside(Proof.read(tmp_path / "a.pml"))
        assert caught.value.check == "fake.1"
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def test_beside_without_a_folder(parts: Any, large: Path, tmp_path: Path) -> None:
    back = Proof.read(beside(parts, large).to_bytes())
    with pytest.raises(VerificationError) as caught:
        read_beside(back)
    assert caught.value.check == "fake.1"
    with pytest.raises(UsageError, match="without a folder"):
        back.write(tmp_path / "a.pml")


def test_inline_is_not_beside(parts: Any, tmp_path: Path) -> None:
    parts.proof().write(tmp_path / "a.pml")
    with pytest.raises(VerificationError) as caught:
        Proof.read(tmp_path / "a.pml").evidence_beside("trace", check="fake.1", most=99)
    assert caught.value.check == "fake.1"
