"""What server and verifier do with a circuit: run it, and run it again. No secret key here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from proofml.backend import Context
from proofml.errors import UsageError, printable
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import vectors
from proofml.fhe.ckks.call import call
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.scheme import Malformed, Operator
from proofml.tensors import Array
from proofml.worker import WorkerFailed

STAGES = "server_stages"
MAX_CIPHERTEXTS = 4096
#: Of a trace: more would be ciphertexts of some 50 GB.
MAX_OPERATORS = 1 << 20

read_circuit = circuits.read


def run(
    circuit: CkksCircuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
) -> tuple[bytes, ...]:
    """See `Scheme.run`."""
    return _run(circuit, evaluation, ciphertexts, context, trace=False)


def trace(
    circuit: CkksCircuit, evaluation: bytes, ciphertexts: Sequence[bytes], context: Context
) -> tuple[bytes, ...]:
    """See `TracingScheme.trace`."""
    return _run(circuit, evaluation, ciphertexts, context, trace=True)


def operators(circuit: CkksCircuit, ciphertexts: int) -> tuple[Operator, ...]:
    """See `TracingScheme.operators`; those of one group of inputs after those of another.

    Raises:
        Malformed: another number of ciphertexts, or more than `MAX_OPERATORS`.
    """
    program = circuit.program
    groups = _groups(circuit, ciphertexts)
    inputs, count = len(program.inputs), len(program.instructions)
    if groups * count > MAX_OPERATORS:
        raise Malformed("operators of a trace", f"at most {MAX_OPERATORS}", groups * count)
    found = []
    for group in range(groups):
        for instruction in program.instructions:
            places = tuple(
                group * inputs + operand
                if operand < inputs
                else ciphertexts + group * count + operand - inputs
                for operand in instruction.operands
            )
            found.append(Operator(instruction.op, places))
    return tuple(found)


def outputs_of_trace(circuit: CkksCircuit, ciphertexts: int) -> tuple[int, ...]:
    """Positions, as in `Operator.operands`, of the ciphertexts that `run` gives."""
    program = circuit.program
    inputs, count = len(program.inputs), len(program.instructions)
    return tuple(
        group * inputs + output
        if output < inputs
        else ciphertexts + group * count + output - inputs
        for group in range(_groups(circuit, ciphertexts))
        for output in program.outputs
    )


def replay(
    circuit: CkksCircuit,
    evaluation: bytes,
    tasks: Iterable[tuple[int, Sequence[bytes]]],
    context: Context,
) -> tuple[bytes, ...]:
    """See `TracingScheme.replay`; operands of one operator at a time are held."""
    count = len(circuit.program.instructions)
    numbers: list[int] = []
    placed = 0
    with context.store.scratch() as folder:
        for operator, given in tasks:
            instruction = circuit.program.instructions[operator % count]
            if operator < 0 or len(given) != len(instruction.operands):
                raise UsageError(
                    f"operator {operator}: expected {len(instruction.operands)} operands, "
                    f"got {len(given)}"
                )
            numbers.append(operator % count)
            for operand in given:
                (folder / f"in.{placed}").write_bytes(operand)
                placed += 1
        if not numbers:
            return ()
        _place(folder, circuit, evaluation, ())
        with foreign("evaluation keys or ciphertexts"):
            call(
                f"{STAGES}:replay",
                {"tasks": numbers},
                folder,
                context,
                title="load keys",
            )
        return tuple((folder / f"out.{i}").read_bytes() for i in range(len(numbers)))


def simulate(
    circuit: CkksCircuit, inputs: Mapping[str, Array], context: Context
) -> dict[str, Array]:
    """See `Scheme.simulate`."""
    return vectors.compute(circuit, inputs)


def constants_digest(circuit: CkksCircuit, context: Context) -> str:
    """SHA-256 over the encoded constants: the same in every process and on every machine."""
    with context.store.scratch() as folder:
        (folder / "circuit").write_bytes(circuit.data)
        found = call(f"{STAGES}:constants", {}, folder, context, title="encode constants")
    return str(found["sha256"])


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """A worker that failed on somebody's bytes, and not for want of this machine's means."""
    try:
        yield
    except WorkerFailed as error:
        if error.is_machines_fault:
            raise
        raise Malformed(what, "some that SEAL can run", printable(error)) from error


def _run(
    circuit: CkksCircuit,
    evaluation: bytes,
    ciphertexts: Sequence[bytes],
    context: Context,
    *,
    trace: bool,
) -> tuple[bytes, ...]:
    groups = _groups(circuit, len(ciphertexts))
    program = circuit.program
    with context.store.scratch() as folder:
        _place(folder, circuit, evaluation, ciphertexts)
        with foreign("evaluation keys or ciphertexts"):
            call(
                f"{STAGES}:run",
                {"inputs": len(ciphertexts), "trace": trace},
                folder,
                context,
                title="load keys",
            )
        stem, each = (
            ("trace", len(program.instructions)) if trace else ("out", len(program.outputs))
        )
        return tuple((folder / f"{stem}.{i}").read_bytes() for i in range(groups * each))


def _groups(circuit: CkksCircuit, ciphertexts: int) -> int:
    each = len(circuit.program.inputs)
    if not 1 <= ciphertexts <= MAX_CIPHERTEXTS or ciphertexts % each:
        raise Malformed(
            "input ciphertexts", f"a multiple of {each}, at most {MAX_CIPHERTEXTS}", ciphertexts
        )
    return ciphertexts // each


def _place(
    folder: Path, circuit: CkksCircuit, evaluation: bytes, ciphertexts: Sequence[bytes]
) -> None:
    (folder / "circuit").write_bytes(circuit.data)
    (folder / "keys").write_bytes(evaluation)
    for index, ciphertext in enumerate(ciphertexts):
        (folder / f"in.{index}").write_bytes(ciphertext)
