"""ERC-7992, ERC-7007 and ERC-8004 on claims of the ledger, by web3.py alone.

Whoever consumes an inference on chain calls one of these; they answer yes for a final claim that
could have been disputed, and for nothing else.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from proofml.optimistic.evm_abi import Artefact, artefact, decoded
from proofml.optimistic.evm_library import Web3

from . import anvil
from .claims import Run, false_run, honest
from .evm_bench import Bench, bench
from .evm_worlds import address_of, deploy
from .players import Challenger, Liar

SYSTEM = bytes(Web3.keccak(text="proofml-optimistic-v1"))[:4]
#: bond, challenge bond, data fee, burn, window, extension.
REQUIREMENTS = (1000, 300, 7, 1000, 1000, 400, 10, 60)
USER = address_of("user")
#: A registry of validations for tests: it logs whatever it is called with.
ECHO = bytes.fromhex("365f5f37365fa000")
REGISTRY = "0x" + "8004" * 10


@dataclass
class Standards:
    """The adapters, and claims in each state.

    Attributes:
        final, false: runs; the numbers of their claims are 1 (final) and 2 (defeated).
    """

    bench: Bench
    final: Run
    false: Run
    web3: Web3
    verifier: Any
    content: Any
    agent: Any

    def proof(self, claim: int, run: Run) -> bytes:
        """`u256 claim | terms | header`, which everybody can read from the ledger's log."""
        found = self.bench.open().claim(claim)
        assert found.terms.trace == run.root
        return claim.to_bytes(32, "big") + found.terms.to_bytes() + found.header.to_bytes()

    def refuses(self, call: Any) -> str:
        """Name of the error by which a call ends."""
        with pytest.raises(Exception) as caught:
            call.call({"from": Web3.to_checksum_address(USER)})
        data = bytes.fromhex(str(caught.value.args[1])[2:])  # type: ignore[attr-defined]
        for entry in call.contract_abi:
            if entry["type"] == "error":
                types = ",".join(item["type"] for item in entry["inputs"])
                if bytes(Web3.keccak(text=f"{entry['name']}({types})"))[:4] == data[:4]:
                    return str(entry["name"])
        return data.hex()

    def does(self, call: Any) -> dict[str, Any]:
        """A transaction of this call; its receipt."""
        to = str(call.address).lower()
        data = bytes.fromhex(call._encode_transaction_data()[2:])
        receipt = self.bench.node.send(USER, to, data)
        assert receipt["status"] == "0x1"
        return receipt


def bytes_of(tensors: Any) -> bytes:
    return b"".join(tensor.data for tensor in tensors)


def outputs_of(run: Run) -> bytes:
    ports = run.tiny.program.outputs
    return bytes_of((run.inputs if port.source == 0 else run.tensors)[port.index] for port in ports)


def contract(web3: Web3, node: anvil.Anvil, compiled: Artefact, *arguments: object) -> Any:
    address = Web3.to_checksum_address(deploy(node, compiled, *arguments))
    return web3.eth.contract(address=address, abi=compiled.abi)


@pytest.fixture(scope="module")
def made() -> Iterator[Standards]:
    with anvil.running("--auto-impersonate") as node, bench(node) as found:
        node.fund(USER)
        node.rpc("anvil_setCode", REGISTRY, "0x" + ECHO.hex())
        run, false = honest("network"), false_run("network", "cell", 3)
        terms = {"window": 500, "clock": 60, "extension": 10}
        found.post(run, **terms)
        found.post(false, **terms)
        dispute = found.challenge(2)
        found.play(dispute, Liar(false, random.Random(1)), Challenger(run))
        found.post(run, **terms)  # 3: stays open
        for number, changed in enumerate(
            (
                {"window": 0},
                {"window": 439},  # less than the answer's time twice, and what is demanded
                {"bond": 999},
                {"challenge_bond": 301},
                {"data_fee": 8},
                {"burn": 1001},
                {"extension": 9},
            ),
            4,
        ):
            assert found.post(run, **{**terms, **changed}) == number
        node.at(node.time + 501)
        for claim in (1, *range(4, 11)):
            found.ledger("anybody").finalise(claim, found.account("anybody"))
        web3, ledger = Web3(node.node), found.pin.contract
        program = found.open().claim(1).terms.program
        yield Standards(
            found,
            run,
            false,
            web3,
            contract(web3, node, artefact("InferenceVerifier"), ledger, REQUIREMENTS),
            contract(web3, node, artefact("ContentVerifier"), ledger, REQUIREMENTS, program),
            contract(web3, node, artefact("AgentValidator"), ledger, REQUIREMENTS, REGISTRY),
        )


UNMET = range(4, 11)


# ---------------------------------------------------------------- ERC-7992
def test_inference_is_verified(made: Standards) -> None:
    calls, run = made.verifier.functions, made.final
    program = made.bench.open().claim(1).terms.program
    code = bytes(
        Web3.keccak(made.web3.eth.get_code(Web3.to_checksum_address(made.bench.pin.contract)))
    )
    commitment = (program, bytes(32), code, SYSTEM, "ipfs://model")
    assert made.refuses(calls.registerModel((program, bytes(32), code, b"1234", ""))) == (
        "UnsupportedProofSystem"
    )
    assert made.refuses(calls.registerModel((program, bytes(32), bytes(32), SYSTEM, ""))) == (
        "CommitmentMalformed"
    )
    made.does(calls.registerModel(commitment))
    other = (bytes(32), bytes(32), code, SYSTEM, "")
    made.does(calls.registerModel(other))
    assert calls.models().call() == 2
    assert calls.getModel(1).call()[0][0] == program
    assert calls.proofSystemOf(1).call() == SYSTEM
    assert calls.registry().call() == made.verifier.address

    proof, output = made.proof(1, run), outputs_of(run)
    commits = calls.inputCommitmentOf(proof[32:]).call()
    receipt = made.does(calls.verifyInference(1, commits, output, proof))
    (event,) = made.verifier.events.InferenceVerified().process_receipt(_receipt(made, receipt))
    assert event["args"]["modelId"] == 1
    assert event["args"]["inputCommitment"] == commits
    assert event["args"]["output"] == output

    def refused(model: int, commits_: bytes, output_: bytes, proof_: bytes) -> str:
        return made.refuses(calls.verifyInference(model, commits_, output_, proof_))

    assert refused(3, commits, output, proof) == "ModelNotFound"
    assert refused(2, commits, output, proof) == "ModelMismatch"
    assert refused(1, bytes(32), output, proof) == "InputCommitmentMismatch"
    for wrong in (output[:-1], output + b"\0", bytes([output[0] ^ 1]) + output[1:], b""):
        assert refused(1, commits, wrong, proof) == "OutputMismatch"
    for claim, its in ((2, made.false), (3, run)):  # defeated, open
        assert refused(1, commits, outputs_of(its), made.proof(claim, its)) == "InvalidProof"
    for claim in UNMET:
        assert refused(1, commits, output, made.proof(claim, run)) == "InvalidProof"
    for claim in (0, 99, 1 << 255):
        assert refused(1, commits, output, claim.to_bytes(32, "big") + proof[32:]) == "InvalidProof"
    for cut in (b"", proof[:31], proof[:-1], proof + b"\0", proof[:40] + b"\1" + proof[41:]):
        assert refused(1, commits, output, cut) == "InvalidProof"
    made.does(calls.deprecateModel(1))
    assert refused(1, commits, output, proof) == "VerificationRefused_ModelDeprecated"


def _receipt(made: Standards, receipt: dict[str, Any]) -> Any:
    return made.web3.eth.get_transaction_receipt(receipt["transactionHash"])


# ---------------------------------------------------------------- ERC-7007
def test_content_is_verified(made: Standards) -> None:
    run = made.final
    prompt, data, proof = bytes_of(run.inputs), outputs_of(run), made.proof(1, run)

    def verify(prompt_: bytes, data_: bytes, proof_: bytes) -> bool:
        return bool(made.content.functions.verify(prompt_, data_, proof_).call())

    assert verify(prompt, data, proof)
    assert not verify(prompt[:-1], data, proof)
    assert not verify(bytes([prompt[0] ^ 1]) + prompt[1:], data, proof)
    assert not verify(prompt, data + b"\0", proof)
    assert not verify(prompt, data, b"")
    assert not verify(prompt, data, proof[:-1])
    assert not verify(
        bytes_of(made.false.inputs), outputs_of(made.false), made.proof(2, made.false)
    )
    assert not verify(prompt, data, made.proof(3, run))
    for claim in UNMET:
        assert not verify(prompt, data, made.proof(claim, run))
    another = contract(
        made.web3,
        made.bench.node,
        artefact("ContentVerifier"),
        made.bench.pin.contract,
        REQUIREMENTS,
        bytes(32),
    )
    assert not another.functions.verify(prompt, data, proof).call()


# ---------------------------------------------------------------- ERC-8004
@pytest.mark.parametrize(("claim", "answer"), [(1, 100), (2, 0)])
def test_a_validator_answers(made: Standards, claim: int, answer: int) -> None:
    request = made.agent.functions.requestHashOf(claim).call()
    receipt = made.does(made.agent.functions.respond(claim))
    (log,) = receipt["logs"]
    assert log["address"] == REGISTRY
    called = bytes.fromhex(log["data"][2:])
    assert (
        called[:4]
        == bytes(Web3.keccak(text="validationResponse(bytes32,uint8,string,bytes32,string)"))[:4]
    )
    found = decoded(["bytes32", "uint8", "string", "bytes32", "string"], called[4:])
    content = made.proof(claim, made.final if claim == 1 else made.false)[32:]
    assert found == (request, answer, "", bytes(Web3.keccak(content)), "proofml-optimistic-v1")


@pytest.mark.parametrize("claim", [3, *UNMET])
def test_a_validator_does_not_answer_yet(made: Standards, claim: int) -> None:
    assert made.refuses(made.agent.functions.respond(claim)) == "Pending"


def test_requests_name_chain_ledger_claim_and_content(made: Standards) -> None:
    requests = {made.agent.functions.requestHashOf(claim).call() for claim in (1, 2, 3)}
    assert len(requests) == 3
