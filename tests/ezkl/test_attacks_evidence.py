"""Proof bytes, reference strings, the record and the list of evidence."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proofml.api import verify
from proofml.backend import Context, Request
from proofml.canonical import sha256
from proofml.checks import Result
from proofml.errors import UsageError
from proofml.expectation import Expectation
from proofml.policy import Policy
from proofml.store import Store
from proofml.testing import Attacker
from proofml.verdict import Status
from proofml.zkml.ezkl.evidence import MAX_INSTANCES, MAX_TRANSCRIPT, ProofBlob
from proofml.zkml.ezkl.srs import CEREMONY, Srs, adopt, generate, import_file, srs_size

from .malicious import Table
from .models import ALLOWED, OTHER_X, X
from .workshop import HASHED_ROWS, Workshop, deaf_to, refused

QUANTISED = Policy().allow(["quantisation:prover-chosen"])

# -- the proof section ----------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"\0", b"more", bytes(4096)], ids=len)
def test_bytes_after_the_transcript(
    workshop: Workshop, tail: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EZKL reads as much of a transcript as it needs; one proof would have any number of forms."""
    attacker = workshop.take(workshop.honest())
    blob = ProofBlob.unpack(attacker.sections["proof"])
    attacker.sections["proof"] = ProofBlob(blob.instances, blob.transcript + tail).pack()
    assert workshop.bare(attacker)
    refused(workshop.judge(attacker), "ezkl.16")
    deaf_to("ezkl.16", monkeypatch)
    assert workshop.judge(attacker)


@pytest.mark.parametrize("kept", [0, 1, 32, 64, -64, -1])
def test_transcript_cut_short(workshop: Workshop, kept: int) -> None:
    attacker = workshop.take(workshop.honest())
    blob = ProofBlob.unpack(attacker.sections["proof"])
    cut = blob.transcript[:kept]
    attacker.sections["proof"] = ProofBlob(blob.instances, cut).pack()
    assert not workshop.bare(attacker)
    refused(workshop.judge(attacker), "ezkl.15")


@pytest.mark.parametrize("place", [0, 31, 32, 500, 1500, -64, -33, -1])
def test_transcript_altered(workshop: Workshop, place: int) -> None:
    attacker = workshop.take(workshop.honest())
    blob = ProofBlob.unpack(attacker.sections["proof"])
    changed = bytearray(blob.transcript)
    changed[place] ^= 1
    attacker.sections["proof"] = ProofBlob(blob.instances, bytes(changed)).pack()
    refused(workshop.judge(attacker), "ezkl.15")


def test_transcript_of_another_run(workshop: Workshop) -> None:
    """Same circuit, another input: its transcript under these instances."""
    mine, other = workshop.forger().prove(), workshop.forger(inputs=OTHER_X).prove()
    attacker = workshop.take(mine)
    blob = ProofBlob.unpack(attacker.sections["proof"])
    foreign = ProofBlob.unpack(other.sections["proof"]).transcript
    attacker.sections["proof"] = ProofBlob(blob.instances, foreign).pack()
    refused(workshop.judge(attacker), "ezkl.15")


def as_ezkl_writes(blob: ProofBlob) -> bytes:
    """EZKL's file with its convenience fields, which its verifier ignores and people read."""
    value = json.loads(blob.to_ezkl())
    value["pretty_public_inputs"] = {"outputs": [["100.0", "0.0"]]}
    value["hex_proof"], value["timestamp"], value["version"] = "0x00", 1, "23.0.5"
    return json.dumps(value).encode()


SECTIONS: dict[str, Callable[[ProofBlob], bytes]] = {
    "EZKL's JSON": as_ezkl_writes,
    "EZKL's least JSON": lambda blob: blob.to_ezkl().encode(),
    "bytes after the section": lambda blob: blob.pack() + b"\0",
    "a byte less": lambda blob: blob.pack()[:-1],
    "another magic": lambda blob: b"PMLEZK2\0" + blob.pack()[8:],
    "nothing": lambda blob: b"",
    "the head alone": lambda blob: blob.pack()[:16],
    "more instances than bytes": lambda blob: blob.pack()[:8] + b"\xff" * 8,
    "more instances than allowed": lambda blob: (
        blob.pack()[:8] + struct.pack("<I", MAX_INSTANCES + 1) + blob.pack()[12:]
    ),
    "a transcript longer than allowed": lambda blob: (
        ProofBlob((), b"").pack()[:12] + struct.pack("<I", MAX_TRANSCRIPT + 1)
    ),
}


@pytest.mark.parametrize("name", SECTIONS)
def test_proof_section_in_another_form(workshop: Workshop, name: str) -> None:
    attacker = workshop.take(workshop.honest())
    blob = ProofBlob.unpack(attacker.sections["proof"])
    attacker.sections["proof"] = SECTIONS[name](blob)
    refused(workshop.judge(attacker), "ezkl.7")


# -- reference strings ----------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path: Path) -> Srs:
    """A string whose maker the verifier has never heard of."""
    return generate(Store(tmp_path / "theirs"), 8)


def test_development_string_is_refused_at_once(workshop: Workshop) -> None:
    """REFUSED, exit code 3: whoever made the string can prove anything, so nothing more is read."""
    verdict = workshop.judge(workshop.honest(), policy=Policy())
    assert verdict.status is Status.REFUSED
    assert verdict.exit_code == 3
    assert verdict.guarantee is None
    for name in ("srs:local-dev", "quantisation:prover-chosen"):
        assert any(f"--allow {name}" in reason for reason in verdict.reasons)
    made = [check.number for check in verdict.checks if check.number.startswith("ezkl.")]
    assert made == [f"ezkl.{number}" for number in range(1, 7)]
    assert verdict.checks[-1].result is Result.ASSUMED


def test_string_of_the_attacker(workshop: Workshop, foreign: Srs) -> None:
    """A whole bundle under his own string is no better than a development one, and says so."""
    proof = workshop.forger(srs=foreign).prove()
    assert workshop.bare(proof)
    assert workshop.judge(proof, policy=QUANTISED).status is Status.REFUSED
    accepted = workshop.judge(proof)
    assert accepted.guarantee is not None
    assert "srs:local-dev" in accepted.guarantee.assumptions
    trusted = generate(workshop.prover.store, 8)
    pinned = Policy(sections={"ezkl": {"srs": [trusted.sha256]}}).allow(QUANTISED.assumptions)
    assert workshop.judge(proof, policy=pinned).status is Status.REFUSED
    honest = workshop.judge(workshop.forger().prove(), policy=pinned)
    assert honest.guarantee is not None
    assert {n for n in honest.guarantee.assumptions if n.startswith("srs:")} == {"srs:pinned"}


def test_string_of_the_attacker_under_the_name_of_another(workshop: Workshop, foreign: Srs) -> None:
    """The Statement names the string that the policy pins, key and proof are of his own one."""
    trusted = generate(workshop.prover.store, 8)

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_sha256"] = trusted.sha256

    proof = workshop.forger(srs=foreign, lie=lie).prove()
    refused(workshop.judge(proof), "ezkl.6")
    # With the trusted file beside it, the key is not what that string gives.
    attacker = workshop.take(proof)
    workshop.take(workshop.forger().prove())
    (entry,) = [e for e in attacker.predicate["evidence"] if e["name"] == "srs"]
    entry["sha256"] = trusted.sha256
    refused(workshop.judge(attacker), "ezkl.13")


def test_string_exchanged_beside_an_honest_proof(workshop: Workshop, foreign: Srs) -> None:
    """Another string with every digest recomputed, the Statement's included."""
    attacker = workshop.take(workshop.forger().prove())
    reference(attacker, foreign.path.read_bytes(), workshop)
    refused(workshop.judge(attacker), "ezkl.8")


def reference(attacker: Attacker, data: bytes, workshop: Workshop) -> None:
    """A string of these bytes beside the proof, all digests in line."""
    digest = sha256(data)
    (workshop.folder / f"{digest}.evidence").write_bytes(data)
    attacker.statement["computation"]["detail"]["srs_sha256"] = digest
    (entry,) = [e for e in attacker.predicate["evidence"] if e["name"] == "srs"]
    entry.update(sha256=digest, size=len(data))


@pytest.mark.parametrize("damage", ["another byte", "cut", "longer", "gone"])
def test_file_beside_is_not_the_one_listed(workshop: Workshop, tmp_path: Path, damage: str) -> None:
    """A fresh verifier reads the string beside the proof, and only as listed."""
    path = tmp_path / "proof.pml"
    proof = workshop.honest()
    proof.write(path)
    (beside,) = tmp_path.glob("*.evidence")
    data = beside.read_bytes()
    if damage == "gone":
        beside.unlink()
    else:
        changed = {"another byte": data[:-1] + b"\0", "cut": data[:-1], "longer": data + b"\0"}
        beside.write_bytes(changed[damage])
    context = Context(Store(tmp_path / "fresh"))
    verdict = verify(path, Expectation(model=workshop.model), ALLOWED, context=context)
    refused(verdict, "ezkl.6")


@pytest.mark.parametrize("tail", [-1, 1, 4096])
def test_string_of_another_size(workshop: Workshop, foreign: Srs, tail: int) -> None:
    """EZKL reads as much of a string as it needs."""
    data = foreign.path.read_bytes()
    changed = data[:tail] if tail < 0 else data + bytes(tail)
    attacker = workshop.take(workshop.forger(srs=foreign).prove())
    reference(attacker, changed, workshop)
    refused(workshop.judge(attacker), "ezkl.6")


def test_string_of_no_points(workshop: Workshop, tmp_path: Path) -> None:
    """The right size and nothing in it. EZKL does not look at what it reads."""
    path = tmp_path / "zeros"
    path.write_bytes(struct.pack("<I", 8) + bytes(srs_size(8) - 4))
    empty = Srs(8, sha256(path.read_bytes()), path)

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_sha256"] = empty.sha256

    attacker = workshop.take(workshop.forger(lie=lie).prove())
    (workshop.folder / f"{empty.sha256}.evidence").write_bytes(path.read_bytes())
    (entry,) = [e for e in attacker.predicate["evidence"] if e["name"] == "srs"]
    entry["sha256"] = empty.sha256
    refused(workshop.judge(attacker), "ezkl.13")


def test_string_with_fewer_points_than_rows(workshop: Workshop) -> None:
    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_k"] = 7

    refused(workshop.judge(workshop.forger(lie=lie).prove()), "ezkl.6")


@pytest.mark.parametrize("k", [9, 26])
def test_string_said_to_be_larger(workshop: Workshop, k: int) -> None:
    """A gigabyte is not read to find out."""

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_k"] = k

    refused(workshop.judge(workshop.forger(lie=lie).prove()), "ezkl.6")


@pytest.mark.parametrize("inline", [True, False])
def test_junk_in_the_place_of_a_string(workshop: Workshop, inline: bool) -> None:
    """The verifier has the string in his cache; the file must list that one all the same."""
    attacker = workshop.take(workshop.forger().prove())
    assert workshop.judge(attacker)
    adopt(workshop.verifier.store, generate(workshop.prover.store, 8).path)
    assert workshop.judge(attacker)
    entries = attacker.predicate["evidence"]
    (entry,) = [entry for entry in entries if entry["name"] == "srs"]
    if inline:
        entries.remove(entry)
        attacker.sections["srs"] = b"a message for somebody else"
    else:
        entry["sha256"] = "3" * 64
    refused(workshop.judge(attacker), "ezkl.6")


def test_ceremony_that_is_not_imported(workshop: Workshop, foreign: Srs) -> None:
    """The Statement names the public string; only the verifier's own copy of it will do."""

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_sha256"] = CEREMONY[8]

    attacker = workshop.take(workshop.forger(srs=foreign, lie=lie).prove())
    refused(workshop.judge(attacker), "ezkl.2")  # his string is evidence that nobody reads
    entries = attacker.predicate["evidence"]
    entries[:] = [entry for entry in entries if entry["name"] != "srs"]
    with pytest.raises(UsageError, match="srs import"):
        workshop.judge(attacker)


def test_ceremony_that_is_imported(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a local string in the role of the public one: no string travels, none is assumed."""
    public, foreign = (generate(Store(tmp_path / name), 8) for name in ("public", "foreign"))
    monkeypatch.setitem(CEREMONY, 8, public.sha256)  # type: ignore[arg-type]
    store = Store(tmp_path / "verifier")
    honest = workshop.forger(srs=public).prove()
    assert [entry.name for entry in honest.entries if entry.beside] == []
    with pytest.raises(UsageError, match="srs import"):
        workshop.judge(honest, store=store)
    import_file(store, public.path)
    accepted = workshop.judge(honest, policy=QUANTISED, store=store)
    assert accepted.guarantee is not None
    assert "srs:ceremony" in accepted.guarantee.assumptions

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["srs_sha256"] = public.sha256

    attacker = workshop.take(workshop.forger(srs=foreign, lie=lie).prove())
    entries = attacker.predicate["evidence"]
    entries[:] = [entry for entry in entries if entry["name"] != "srs"]
    refused(workshop.judge(attacker, policy=QUANTISED, store=store), "ezkl.13")


# -- the record -----------------------------------------------------------------------------------

RECORDS: dict[str, dict[str, Any]] = {
    "parameters nobody knows": {"parameters": "open"},
    "hashed parameters without a commitment": {"parameters": "hashed"},
    "a commitment to fixed parameters": {"parameters_commitment": "00" * 32},
    "private parameters of a named model": {"parameters": "private"},
    "a commitment that is too long": {
        "parameters": "hashed",
        "parameters_commitment": "00" * 33,
    },
    "a digest in capitals": {"settings_sha256": "A" * 64},
    "a string of no points": {"srs_k": 0},
    "a string of too many points": {"srs_k": 27},
    "a version that is a number": {"ezkl": 23},
    "one key more": {"proving_key_sha256": "0" * 64},
}


@pytest.mark.parametrize("name", RECORDS)
def test_record(workshop: Workshop, name: str) -> None:
    """Refused before anything else of the backend's, whatever is proven."""
    attacker = workshop.take(workshop.honest())
    attacker.statement["computation"]["detail"].update(RECORDS[name])
    refused(workshop.judge(attacker), "ezkl.1")


def test_record_of_another_kind(workshop: Workshop) -> None:
    attacker = workshop.take(workshop.honest())
    attacker.statement["computation"]["kind"] = "onnxruntime"
    refused(workshop.judge(attacker), "ezkl.1")


def test_commitment_of_another_length(workshop: Workshop) -> None:
    """Hexadecimal and short enough for the record, but no field element."""
    request = Request(parameters="hashed")

    def lie(statement: Table) -> None:
        statement["computation"]["detail"]["parameters_commitment"] = "00" * 31

    forger = workshop.forger(request=request, run_args=HASHED_ROWS, lie=lie)
    refused(workshop.judge(forger.prove()), "ezkl.11")


# -- the list of evidence -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["proof", "settings", "verifying-key"])
def test_evidence_left_out(workshop: Workshop, name: str) -> None:
    attacker = workshop.take(workshop.honest())
    del attacker.sections[name]
    refused(workshop.judge(attacker), "ezkl.2")


@pytest.mark.parametrize("name", ["proving-key", "proof2", "calibration", "input.1"])
def test_evidence_that_nobody_reads(workshop: Workshop, name: str) -> None:
    attacker = workshop.take(workshop.honest())
    attacker.sections[name] = b"anything"
    refused(workshop.judge(attacker), "ezkl.2")


@pytest.mark.parametrize(
    ("name", "number"), [("proof", "ezkl.7"), ("settings", "ezkl.3"), ("verifying-key", "ezkl.14")]
)
def test_evidence_beside_the_file(workshop: Workshop, name: str, number: str) -> None:
    """Only a string may lie beside the proof, where the file system would name it."""
    attacker = workshop.take(workshop.honest())
    body = attacker.sections.pop(name)
    (workshop.folder / f"{sha256(body)}.evidence").write_bytes(body)
    (entry,) = [e for e in attacker.predicate["evidence"] if e["name"] == name]
    entry["location"] = "beside"
    refused(workshop.judge(attacker), number)


def test_honest_proof_for_comparison(workshop: Workshop) -> None:
    """What all of the above was made of is accepted, by EZKL and here."""
    for proof in (workshop.honest(), workshop.forger().prove()):
        assert workshop.bare(proof)
        verdict = workshop.judge(proof)
        assert verdict, verdict.reasons
        assert (proof.tensor("input.0") == X["x"]).all()
