"""Roles end to end, with real encryption: keys, ciphertexts, runs, traces, replays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from proofml.backend import Context
from proofml.errors import UsageError
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import server
from proofml.fhe.ckks.circuit import CkksCircuit
from proofml.fhe.ckks.measure import measure
from proofml.fhe.ckks.scheme import CkksScheme
from proofml.fhe.scheme import Malformed, Scheme, TracingScheme
from proofml.model import Model
from proofml.tensors import Array

from .conftest import Party
from .models import Builder, mlp, reference, samples

pytest.importorskip("tenseal")


def circuit_of(
    scheme: CkksScheme, model: Model, context: Context, **options: object
) -> CkksCircuit:
    given = {key: str(value) for key, value in options.items()}
    return scheme.compile(model, samples(model), given, context)


def trip(
    scheme: CkksScheme, circuit: CkksCircuit, inputs: dict[str, Array], context: Context
) -> dict[str, Array]:
    """From keys to outputs, the run done twice."""
    secret, evaluation = scheme.keygen(circuit, context)
    given = scheme.encrypt(circuit, secret, inputs, context)
    made = scheme.run(circuit, evaluation, given, context)
    assert scheme.run(circuit, evaluation, given, context) == made
    return scheme.decrypt(circuit, secret, made, context)


def test_it_is_a_tracing_scheme(scheme: CkksScheme) -> None:
    assert isinstance(scheme, Scheme)
    assert isinstance(scheme, TracingScheme)
    assert scheme.probe().available


def test_round_trip_in_lanes(scheme: CkksScheme, party: Party, context: Context) -> None:
    """Three inferences in one ciphertext: near to the simulation, and to the float model."""
    assert party.circuit.program.lanes >= 256
    assert len(party.ciphertexts) == 1
    made = scheme.run(party.circuit, party.evaluation, party.ciphertexts, context)
    found = scheme.decrypt(party.circuit, party.secret, made, context)
    simulated = scheme.simulate(party.circuit, party.inputs, context)
    wanted = reference(party.model, party.inputs)
    for name, array in found.items():
        assert array.shape == (3, 4)
        assert array.dtype == np.float32
        noise = float(party.circuit.report["noise"])  # type: ignore[arg-type]
        error = float(party.circuit.report["error"])  # type: ignore[arg-type]
        assert np.max(np.abs(array - simulated[name])) <= noise
        assert np.max(np.abs(array - wanted[name])) <= error


def test_more_inferences_than_lanes(scheme: CkksScheme, context: Context) -> None:
    model = mlp(context.store, batch="n")
    circuit = circuit_of(scheme, model, context, degree=2, tolerance=1, batch=2, ring=8192)
    inputs = {"x": np.random.default_rng(0).uniform(-1, 1, (5, 8)).astype(np.float32)}
    secret, evaluation = scheme.keygen(circuit, context)
    given = scheme.encrypt(circuit, secret, inputs, context)
    assert len(given) == 3
    found = scheme.decrypt(
        circuit, secret, scheme.run(circuit, evaluation, given, context), context
    )
    simulated = scheme.simulate(circuit, inputs, context)
    np.testing.assert_allclose(found["v2"], simulated["v2"], atol=1e-3)


def test_fresh_encryptions_differ(scheme: CkksScheme, party: Party, context: Context) -> None:
    again = scheme.encrypt(party.circuit, party.secret, party.inputs, context)
    assert again != party.ciphertexts


def test_fresh_keys_differ(scheme: CkksScheme, party: Party, context: Context) -> None:
    secret, evaluation = scheme.keygen(party.circuit, context)
    assert secret != party.secret
    assert evaluation != party.evaluation


def test_runs_are_the_same_in_other_processes(party: Party, context: Context) -> None:
    """Also with another hash seed, allocator and number of threads."""
    made = server.run(party.circuit, party.evaluation, party.ciphertexts, context)
    before = dict(os.environ)
    try:
        os.environ.update(PYTHONHASHSEED="77", MALLOC_PERTURB_="165", OMP_NUM_THREADS="2")
        again = server.run(party.circuit, party.evaluation, party.ciphertexts, context)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert again == made


def test_constants_are_the_same_in_other_processes(party: Party, context: Context) -> None:
    digest = server.constants_digest(party.circuit, context)
    before = dict(os.environ)
    try:
        os.environ.update(PYTHONHASHSEED="5", GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-AVX2,-AVX512F")
        assert server.constants_digest(party.circuit, context) == digest
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_a_trace_ends_with_the_outputs(party: Party, scheme: CkksScheme, context: Context) -> None:
    made = scheme.run(party.circuit, party.evaluation, party.ciphertexts, context)
    trace = scheme.trace(party.circuit, party.evaluation, party.ciphertexts, context)
    operators = scheme.operators(party.circuit, len(party.ciphertexts))
    assert len(trace) == len(operators) == len(party.circuit.program.instructions)
    everything = [*party.ciphertexts, *trace]
    places = server.outputs_of_trace(party.circuit, len(party.ciphertexts))
    assert tuple(everything[place] for place in places) == made


def test_every_operator_is_replayed(party: Party, scheme: CkksScheme, context: Context) -> None:
    trace = scheme.trace(party.circuit, party.evaluation, party.ciphertexts, context)
    operators = scheme.operators(party.circuit, len(party.ciphertexts))
    everything = [*party.ciphertexts, *trace]
    tasks = [
        (number, [everything[place] for place in operator.operands])
        for number, operator in enumerate(operators)
    ]
    assert {operator.name for operator in operators} >= {"rotate", "dot", "multiply", "rescale"}
    assert scheme.replay(party.circuit, party.evaluation, tasks, context) == trace
    assert scheme.replay(party.circuit, party.evaluation, [], context) == ()
    # Other operands give another ciphertext.
    number = next(i for i, o in enumerate(operators) if o.name == "rotate")
    wrong = scheme.encrypt(party.circuit, party.secret, party.inputs, context)
    (found,) = scheme.replay(party.circuit, party.evaluation, [(number, wrong)], context)
    assert found != trace[number]


def test_operators_of_several_groups(party: Party, scheme: CkksScheme, context: Context) -> None:
    given = [*party.ciphertexts, *party.ciphertexts]
    operators = scheme.operators(party.circuit, 2)
    trace = scheme.trace(party.circuit, party.evaluation, given, context)
    half = len(operators) // 2
    assert trace[:half] == trace[half:]
    everything = [*given, *trace]
    last = operators[-1]
    task = (len(operators) - 1, [everything[place] for place in last.operands])
    assert scheme.replay(party.circuit, party.evaluation, [task], context) == (trace[-1],)


def test_several_inputs_and_outputs(scheme: CkksScheme, context: Context) -> None:
    """A residual network: sums of values of other levels, a product of two values, two outputs."""
    b = Builder([1, 6])
    y = b.input("y", [1, 5])
    left = b.gemm(6, 8)
    right = b.op("Gemm", y, b.draw(5, 8), b.draw(8, gain=0.1))
    product = b.op("Mul", left, right)
    b.op("Tanh")
    b.gemm(8, 8)
    total = b.op("Add", b.last, product)
    last = b.gemm(8, 3)
    model = b.model(context.store, total, last)
    circuit = circuit_of(scheme, model, context, degree=3, tolerance=1, noise=0.01)
    inputs = dict(samples(model, 1)[0])
    found = trip(scheme, circuit, inputs, context)
    simulated = scheme.simulate(circuit, inputs, context)
    for name in (total, last):
        noise = float(circuit.report["noise"])  # type: ignore[arg-type]
        assert np.max(np.abs(found[name] - simulated[name])) <= noise


def first_function(b: Builder) -> None:
    """An activation of an input: shifted and scaled under encryption."""
    b.op("Tanh")
    b.gemm(6, 3)


def twice_read(b: Builder) -> None:
    """A matrix' result that an activation and a sum read."""
    x = b.gemm(6, 6)
    b.op("Sigmoid")
    b.op("Mul", b.last, x)
    b.gemm(6, 3)


def function_of_a_product(b: Builder) -> None:
    b.op("Mul", b.last, b.last)
    b.op("Sub", b.last, b.const(1.0))
    b.op("Gelu")


def powers(b: Builder) -> None:
    b.op("Pow", b.last, b.const(3.0))
    b.op("Mul", b.last, b.const(0.1))


def image(b: Builder) -> None:
    b.op("Reshape", b.last, b.const([1, 1, 2, 3], np.int64))
    b.conv(1, 3, 2, pads=[1, 1, 0, 0])
    b.norm(3)
    b.op("Relu")
    b.op("AveragePool", kernel_shape=[2, 2], strides=[1, 1])
    b.op("Flatten")
    b.gemm(6, 3)


def tokens(b: Builder) -> None:
    b.op("Reshape", b.last, b.const([1, 2, 3], np.int64))
    b.op("MatMul", b.last, b.draw(3, 5))
    b.op("Softplus")
    b.op("MatMul", b.last, b.draw(5, 2))


def nothing(b: Builder) -> None:
    b.op("Identity")


NETWORKS = (first_function, twice_read, function_of_a_product, powers, image, tokens, nothing)


@pytest.mark.parametrize("build", NETWORKS, ids=lambda build: build.__name__)
def test_networks(build: Callable[[Builder], None], scheme: CkksScheme, context: Context) -> None:
    """Encrypted within the noise of the simulation, and near to the float model."""
    b = Builder([1, 6], opset=20)
    build(b)
    model = b.model(context.store)
    circuit = circuit_of(scheme, model, context, degree=8, tolerance=1)
    scheme.check_circuit(circuit, model, context)
    inputs = dict(samples(model, 1)[0])
    found, wanted = trip(scheme, circuit, inputs, context), reference(model, inputs)
    simulated = scheme.simulate(circuit, inputs, context)
    for name, array in found.items():
        noise = float(circuit.report["noise"])  # type: ignore[arg-type]
        error = float(circuit.report["error"])  # type: ignore[arg-type]
        assert np.max(np.abs(array - simulated[name])) <= noise
        assert np.max(np.abs(array - wanted[name])) <= error + 1e-5


def test_what_seal_cannot_run_ends_as_malformed(
    party: Party, scheme: CkksScheme, context: Context
) -> None:
    """A forged circuit whose constants are all zero: SEAL refuses such products."""
    program = party.circuit.program
    constants = tuple(np.zeros_like(c) for c in program.constants)
    forged = replace(program, constants=constants)
    circuit = circuits.make(
        name="forged",
        model=party.circuit.model,
        inputs=party.circuit.inputs,
        outputs=party.circuit.outputs,
        record=party.circuit.record,
        program=forged,
        layouts=party.circuit.layouts,
        arguments=party.circuit.arguments,
        results=party.circuit.results,
        tail=party.circuit.tail,
        report=party.circuit.report,
    )
    with pytest.raises(Malformed, match="some that SEAL can run"):
        scheme.run(circuit, party.evaluation, party.ciphertexts, context)


def test_noise_is_that_of_the_estimate(party: Party, scheme: CkksScheme, context: Context) -> None:
    """Over 256 lanes: not above the estimated deviation, nor far below it."""
    inputs = {"x": np.random.default_rng(2).uniform(-1, 1, (256, 8)).astype(np.float32)}
    given = scheme.encrypt(party.circuit, party.secret, inputs, context)
    made = scheme.run(party.circuit, party.evaluation, given, context)
    found = scheme.decrypt(party.circuit, party.secret, made, context)["v2"]
    error = found - scheme.simulate(party.circuit, inputs, context)["v2"]
    estimated = party.circuit.record.noise[0]
    assert 0.1 * estimated < float(np.std(error)) < 1.1 * estimated


def test_precision_is_measured(party: Party, context: Context) -> None:
    found = measure(
        party.circuit, party.model, party.secret, party.evaluation, party.inputs, context
    )
    assert found.inferences == 3
    assert 0 < found.noise <= found.noise_bound
    assert found.noise < found.error <= found.error_bound
    assert 0 <= found.agreement <= 1


def test_circuits_are_derived_again(party: Party, scheme: CkksScheme, context: Context) -> None:
    scheme.check_circuit(party.circuit, party.model, context)
    assert scheme.read_circuit(party.circuit.data).data == party.circuit.data
    again = scheme.compile(
        party.model,
        samples(party.model),
        {"degree": "4", "ring": "8192", "tolerance": "1"},
        context,
    )
    assert again.program.block() == party.circuit.program.block()


def test_circuits_of_other_models_are_found_out(
    party: Party, scheme: CkksScheme, context: Context
) -> None:
    """The attacker writes whatever digest is asked for; the program betrays him."""
    other = mlp(context.store, "Relu", batch="n")
    with pytest.raises(Malformed, match="circuit's model"):
        scheme.check_circuit(party.circuit, other, context)
    with pytest.raises(Malformed, match="polynomials"):
        scheme.check_circuit(replace(party.circuit, model=other.digest), other, context)
    program = party.circuit.program
    constants = [c.copy() for c in program.constants]
    constants[0][0] *= 1.0000001
    forged = replace(party.circuit, program=replace(program, constants=tuple(constants)))
    with pytest.raises(Malformed, match="program"):
        scheme.check_circuit(forged, party.model, context)
    record = party.circuit.record
    known = record.approximations[0]
    coefficients = (*known.polynomial.coefficients[:-1], 0.25)
    lying = replace(known, polynomial=replace(known.polynomial, coefficients=coefficients))
    forged = replace(party.circuit, record=replace(record, approximations=(lying,)))
    with pytest.raises(Malformed, match="an error of at most"):
        scheme.check_circuit(forged, party.model, context)
    forged = replace(party.circuit, tail=replace(party.circuit.tail, outputs=("v1",)))
    with pytest.raises(Malformed, match="program"):
        scheme.check_circuit(forged, party.model, context)


@pytest.mark.parametrize(
    "changes",
    [
        {"coefficients": (0.0, 0.0)},
        {"coefficients": (1.0, 0.0)},
        {"coefficients": (0.0, 1e-300)},
        {"coefficients": (1.0, 1e300)},
        {"coefficients": (0.0,) * 64 + (1.0,)},
        {"low": 1e-308, "high": 1.1e-308},
        {"low": -1e308, "high": 1e308},
    ],
)
def test_records_that_nothing_follows_from(
    party: Party, scheme: CkksScheme, context: Context, changes: Any
) -> None:
    """Whatever a stranger's record holds, the answer is a refusal and no other error."""
    record = party.circuit.record
    (known,) = record.approximations
    lying = replace(known, polynomial=replace(known.polynomial, **changes), error=1.7e308)
    forged = replace(party.circuit, record=replace(record, approximations=(lying,)))
    with np.errstate(all="ignore"), pytest.raises(Malformed):
        scheme.check_circuit(forged, party.model, context)


def test_a_trace_has_a_bound(party: Party, scheme: CkksScheme) -> None:
    """Neither many ciphertexts nor a long program make a verifier list more than he can hold."""
    most = server.MAX_OPERATORS // len(party.circuit.program.instructions)
    assert len(scheme.operators(party.circuit, 2)) == 2 * len(party.circuit.program.instructions)
    long = replace(
        party.circuit.program,
        instructions=party.circuit.program.instructions * (server.MAX_OPERATORS // 1000),
    )
    circuit = replace(party.circuit, program=long)
    with pytest.raises(Malformed, match="operators"):
        scheme.operators(circuit, min(most, server.MAX_CIPHERTEXTS))


def test_server_and_verifier_import_nothing_of_the_owner(party: Party) -> None:
    code = (
        "import sys; from proofml.fhe.ckks import server, server_stages, derive\n"
        "assert not [m for m in sys.modules if 'ckks.owner' in m], sys.modules\n"
        "assert 'tenseal' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_inputs_beyond_calibration_are_refused(
    party: Party, scheme: CkksScheme, context: Context
) -> None:
    inputs = {"x": np.full((2, 8), 50.0, np.float32)}
    with pytest.raises(UsageError, match="drives the Tanh of value 2"):
        scheme.encrypt(party.circuit, party.secret, inputs, context)


def test_flooding_hides_the_noise(scheme: CkksScheme, context: Context) -> None:
    b = Builder(["n", 8])
    b.gemm(8, 4)
    model = b.model(context.store)
    circuit = circuit_of(scheme, model, context, flood=16)
    assert circuit.record.flood == 16
    inputs = {"x": np.random.default_rng(0).uniform(-1, 1, (200, 8)).astype(np.float32)}
    secret, evaluation = scheme.keygen(circuit, context)
    given = scheme.encrypt(circuit, secret, inputs, context)
    made = scheme.run(circuit, evaluation, given, context)
    first = scheme.decrypt(circuit, secret, made, context)["v0"]
    second = scheme.decrypt(circuit, secret, made, context)["v0"]
    wanted = circuit.record.noise[0] * 2 * 6 * np.sqrt(12 * 4) * 2**8
    assert float(np.std(first - second)) == pytest.approx(wanted * np.sqrt(2), rel=0.15)
    simulated = scheme.simulate(circuit, inputs, context)["v0"]
    assert np.max(np.abs(first - simulated)) < float(circuit.report["error"])  # type: ignore[arg-type]
    # A circuit that tells too small a noise would hide nothing.
    lying = replace(circuit, record=replace(circuit.record, noise=(circuit.record.noise[0] / 9,)))
    with pytest.raises(UsageError, match="too little to hide it"):
        scheme.encrypt(lying, secret, inputs, context)
