"""A server that lies: every digest recomputed, signed anew; and the checks that refuse it.

The server holds all that is public. Where it can, it runs what it claims, so that what it shows is
consistent but for one lie.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from proofml.backend import Context
from proofml.canonical import dumps, loads, sha256
from proofml.container import pack, unpack
from proofml.fhe import files
from proofml.fhe.backend_owner import seal_with
from proofml.fhe.engine import engine
from proofml.policy import Policy
from proofml.store import Store
from proofml.testing.attacker import Attacker

from .world import World, compile_ckks

Attack = Callable[[World, Attacker], None]


def detail(attacker: Attacker) -> dict[str, Any]:
    found: dict[str, Any] = attacker.statement["computation"]["detail"]
    return found


def put(attacker: Attacker, role: str, ciphertexts: tuple[bytes, ...]) -> None:
    """Other ciphertexts of a role, committed to."""
    section = files.join(ciphertexts)
    attacker.sections[role] = section
    for claim in attacker.statement[role]:
        claim["commitment"]["value"] = files.commitment(role, section)


def put_circuit(world: World, attacker: Attacker, data: bytes) -> None:
    """Another circuit, all that the record says of it in line."""
    attacker.sections["circuit"] = data
    record = detail(attacker)
    record["circuit"] = sha256(data)
    public = engine(world.backend)
    read = public.read_circuit(data)
    record["parameters"] = public.parameters(read)
    record["security_bits"] = read.security_bits


def put_keys(attacker: Attacker, data: bytes) -> None:
    attacker.sections["evaluation"] = data
    detail(attacker)["evaluation"] = sha256(data)


def ciphertexts(attacker: Attacker, role: str) -> tuple[bytes, ...]:
    return files.split(attacker.sections[role], role)


def header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A container with another header."""
    head, sections = unpack(data)
    value: dict[str, Any] = loads(head)  # type: ignore[assignment]
    change(value)
    return pack(dumps(value), sections)


def body(data: bytes, change: Callable[[bytes], bytes], name: str = "body") -> bytes:
    """A container with another section."""
    head, sections = unpack(data)
    return pack(head, {**sections, name: change(sections[name])})


def run(world: World, attacker: Attacker) -> None:
    """The outputs that circuit, keys and inputs of the proof give, as they are now."""
    public = engine(world.backend)
    outputs = public.run(
        public.read_circuit(attacker.sections["circuit"]),
        attacker.sections["evaluation"],
        ciphertexts(attacker, "inputs"),
        world.server,
    )
    put(attacker, "outputs", outputs)


def nudged(data: bytes) -> bytes:
    """One residue less or more by a little, far inside the body; still well formed."""

    def change(found: bytes) -> bytes:
        at = len(found) // 2 // 8 * 8
        return found[:at] + bytes([found[at] ^ 1]) + found[at + 1 :]

    return body(data, change)


# -- the attacks of a malicious server ------------------------------------------------------------


def other_weight(world: World, attacker: Attacker) -> None:
    """The circuit of another model, said to be this one's; run on the client's ciphertexts."""
    if world.backend == "ckks":
        made = compile_ckks(world.changed, world.server)
        made = header(made, lambda head: head.update(model=world.model.digest))
    else:
        made = body(world.circuit, other_constant, "program")
    put_circuit(world, attacker, made)
    if world.backend == "ckks":
        run(world, attacker)


def other_constant(text: bytes) -> bytes:
    """One weight in a circuit of Concrete."""
    at = text.index(b"dense<[[") + len(b"dense<[[")
    end = min(text.index(mark, at) for mark in (b",", b"]"))
    return text[:at] + str(int(text[at:end]) ^ 1).encode() + text[end:]


def other_weight_unsaid(world: World, attacker: Attacker) -> None:
    """The right circuit in the file, outputs of one with another weight."""
    if world.backend == "ckks":
        honest = dict(attacker.sections), dict(detail(attacker))
        other_weight(world, attacker)
        attacker.sections["circuit"] = honest[0]["circuit"]
        detail(attacker).update(honest[1])
    else:
        output_changed(world, attacker)


def input_not_committed(world: World, attacker: Attacker) -> None:
    """Another input ciphertext under the old commitment."""
    (first, *rest) = ciphertexts(attacker, "inputs")
    attacker.sections["inputs"] = files.join((nudged(first), *rest))


def output_changed(world: World, attacker: Attacker) -> None:
    """One output ciphertext."""
    (first, *rest) = ciphertexts(attacker, "outputs")
    put(attacker, "outputs", (nudged(first), *rest))


def circuit_unsaid(world: World, attacker: Attacker) -> None:
    """Another circuit than the record names."""
    attacker.sections["circuit"] = header(
        attacker.sections["circuit"], lambda head: head.update(name="another")
    )


def parameters_said(world: World, attacker: Attacker) -> None:
    """A record that tells other parameters."""
    detail(attacker)["parameters"] = "0" * 64


def security_said(world: World, attacker: Attacker) -> None:
    """A record that tells more security."""
    detail(attacker)["security_bits"] = 192


def weak_parameters(world: World, attacker: Attacker) -> None:
    """A circuit of less than 128 bits."""
    data = weak(world)
    attacker.sections["circuit"] = data
    detail(attacker)["circuit"] = sha256(data)


def weak(world: World) -> bytes:
    """The circuit with parameters of less than 128 bits."""
    if world.backend == "ckks":

        def change(head: dict[str, Any]) -> None:
            primes = head["program"]["parameters"]["primes"]
            taken = [int(one) for one in primes]
            more = prime(max(taken).bit_length() - 1, 2 * 4096, taken)
            primes.insert(0, type(primes[0])(more))

        return header(world.circuit, change)
    return body(world.circuit, less_noise, "parameters")


def prime(bits: int, step: int, taken: list[int]) -> int:
    """The largest prime of so many bits that is 1 modulo `step`."""
    from proofml.fhe.ckks.params import is_prime

    found = (1 << bits) - (1 << bits) % step + 1
    while found >= 1 << bits or not is_prime(found) or found in taken:
        found -= step
    return found


def less_noise(text: bytes) -> bytes:
    """Concrete's parameters with hardly any noise in what is encrypted."""
    import json

    value = json.loads(text)

    def walk(one: Any) -> None:
        if isinstance(one, dict):
            for key, inner in one.items():
                if key.lower().endswith("variance"):
                    one[key] = inner / 2**40
                else:
                    walk(inner)
        elif isinstance(one, list):
            for inner in one:
                walk(inner)

    walk(value)
    return json.dumps(value, separators=(",", ":")).encode()


def keys_unsaid(world: World, attacker: Attacker) -> None:
    """The second client's evaluation keys in the place of the first one's."""
    attacker.sections["evaluation"] = world.two.evaluation


def others_output(world: World, attacker: Attacker) -> None:
    """The second client's outputs, as they are."""
    theirs = Attacker.of(world.two.proof.to_bytes())
    put(attacker, "outputs", ciphertexts(theirs, "outputs"))


def others_output_renamed(world: World, attacker: Attacker) -> None:
    """The second client's outputs, said to be under the first one's key."""
    public = engine(world.backend)
    key = public.check_keys(public.read_circuit(world.circuit), world.one.evaluation)
    theirs = ciphertexts(Attacker.of(world.two.proof.to_bytes()), "outputs")
    renamed = tuple(header(one, lambda head: head.update(key=key)) for one in theirs)
    put(attacker, "outputs", renamed)


def earlier_output(world: World, attacker: Attacker) -> None:
    """The outputs of the same client's other input, under the same keys."""
    context = Context(Store(world.folder / "client-0"))
    message, _ = seal_with(world.model, world.two.inputs, world.one.key, Policy(), context)
    section = files.Message.read(message).inputs
    public = engine(world.backend)
    circuit = public.read_circuit(world.circuit)
    given = files.split(section, "inputs")
    put(attacker, "outputs", public.run(circuit, world.one.evaluation, given, world.server))


def others_input(world: World, attacker: Attacker) -> None:
    """The second client's inputs among the first one's keys."""
    theirs = Attacker.of(world.two.proof.to_bytes())
    put(attacker, "inputs", ciphertexts(theirs, "inputs"))


def shown_input(world: World, attacker: Attacker) -> None:
    """Inputs said to be hashed, so that an expectation would be compared."""
    for claim in attacker.statement["inputs"]:
        claim["visibility"] = "hashed"


def more_evidence(world: World, attacker: Attacker) -> None:
    """Something that nobody reads."""
    attacker.sections["extra"] = struct.pack("<I", 0)


def old_libraries(world: World, attacker: Attacker) -> None:
    """Other libraries than this backend has."""
    detail(attacker)["libraries"] = {"another-library": "1"}


def trace_of_nothing(world: World, attacker: Attacker) -> None:
    """A trace that is none, under a root that it does not have."""
    count = 1
    if world.backend == "ckks":
        from proofml.fhe.ckks import server
        from proofml.fhe.ckks.circuit import read

        count = len(server.operators(read(world.circuit), len(ciphertexts(attacker, "inputs"))))
    detail(attacker)["trace"] = {"operators": count, "root": "0" * 64}
    attacker.sections["trace"] = b"nothing"


#: Attack -> number of the check that is meant for it.
ATTACKS: dict[Attack, int] = {
    old_libraries: 1,
    more_evidence: 2,
    shown_input: 3,
    circuit_unsaid: 4,
    parameters_said: 4,
    security_said: 4,
    weak_parameters: 4,
    other_weight: 5,
    keys_unsaid: 6,
    input_not_committed: 7,
    others_input: 7,
    others_output: 8,
    trace_of_nothing: 9,
    output_changed: 10,
    other_weight_unsaid: 10,
    others_output_renamed: 10,
    earlier_output: 10,
}
