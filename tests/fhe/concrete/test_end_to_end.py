"""With Concrete: real keys and ciphertexts give what the simulation gives, and lies are refused.

Invariant of every attack: `Malformed` from the part that it was meant for, or other bytes than an
honest run's; never another exception, never the death of this process.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from proofml.backend import Context
from proofml.errors import UnsupportedModel, UsageError
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete import clock, owner, server
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.concrete.messages import EvaluationKeys, read_evaluation, write_evaluation
from proofml.fhe.concrete.scheme import ConcreteScheme
from proofml.fhe.scheme import Malformed, Scheme
from proofml.model import Model
from proofml.tensors import Array
from tests.fhe.concrete import models

SCHEME = ConcreteScheme()


@dataclass
class World:
    """One client of one circuit, with one honest run."""

    circuit: ConcreteCircuit
    context: Context
    secret: bytes
    evaluation: bytes
    inputs: dict[str, Array]
    sealed: tuple[bytes, ...]
    result: tuple[bytes, ...]


def _world(circuit: ConcreteCircuit, context: Context, seed: int = 1) -> World:
    (inputs,) = models.samples(circuit.samples.shape[1:], 1, seed)
    secret, evaluation = SCHEME.keygen(circuit, context)
    sealed = SCHEME.encrypt(circuit, secret, inputs, context)
    result = SCHEME.run(circuit, evaluation, sealed, context)
    return World(circuit, context, secret, evaluation, inputs, sealed, result)


@pytest.fixture(scope="module")
def forest_world(forest: ConcreteCircuit, concrete: Context) -> World:
    return _world(forest, concrete)


@pytest.fixture(scope="module")
def linear_world(linear: ConcreteCircuit, concrete: Context) -> World:
    return _world(linear, concrete)


def test_is_a_scheme() -> None:
    assert isinstance(SCHEME, Scheme)


@pytest.mark.parametrize("which", ["linear_world", "forest_world"])
def test_encrypted_is_simulated(which: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(which)
    want = SCHEME.simulate(world.circuit, world.inputs, world.context)
    got = SCHEME.decrypt(world.circuit, world.secret, world.result, world.context)
    assert list(got) == ["y"]
    np.testing.assert_array_equal(got["y"], want["y"])
    assert got["y"].dtype == np.float32


@pytest.mark.parametrize("which", ["linear_world", "forest_world"])
def test_near_the_model(which: str, request: pytest.FixtureRequest) -> None:
    ort = pytest.importorskip("onnxruntime")
    world: World = request.getfixturevalue(which)
    data = models.logistic() if which == "linear_world" else models.trees(post="SOFTMAX")
    session = ort.InferenceSession(data)
    rows = world.circuit.samples
    got = server.simulate_rows(world.circuit, rows, world.context)
    want = np.stack([session.run(["y"], {"x": row})[0] for row in rows])
    assert np.abs(got - want).max() <= float(str(world.circuit.report["error"])) + 1e-5


def test_encryption_is_fresh(linear_world: World) -> None:
    world = linear_world
    again = SCHEME.encrypt(world.circuit, world.secret, world.inputs, world.context)
    assert again != world.sealed
    secret, evaluation = SCHEME.keygen(world.circuit, world.context)
    assert secret != world.secret
    assert evaluation != world.evaluation or world.circuit.program.evaluation_bytes == 0


def test_runs_give_the_same_bytes(forest_world: World) -> None:
    world = forest_world
    found = server.reproduce(
        world.circuit, world.evaluation, world.sealed, world.result, world.context
    )
    assert found.matches
    if clock.library(world.context.store) is not None:
        assert found.attempts == 1
        assert found.steady


def test_without_a_clock_runs_are_tried_again(
    forest_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = forest_world
    monkeypatch.setattr(clock, "library", lambda store: None)
    honest = iter([(b"1",), (b"2",), world.result])
    clocks: list[bool] = []

    def run(*_: object, steady: bool) -> tuple[bytes, ...]:
        clocks.append(steady)
        return next(honest)

    monkeypatch.setattr(server, "run", run)
    found = server.reproduce(
        world.circuit, world.evaluation, world.sealed, world.result, world.context
    )
    assert found == server.Reproduction(True, 3, False)
    assert clocks == [True, False, True]  # where there is one
    honest = iter([(b"other",)] * 2)
    found = server.reproduce(
        world.circuit, world.evaluation, world.sealed, world.result, world.context, attempts=2
    )
    assert found == server.Reproduction(False, 2, False)
    with pytest.raises(UsageError, match="attempts"):
        server.reproduce(
            world.circuit, world.evaluation, world.sealed, world.result, world.context, attempts=0
        )


def test_another_result_does_not_match(forest_world: World) -> None:
    world = forest_world
    other = SCHEME.encrypt(
        world.circuit, world.secret, models.samples((1, 4), 1, 9)[0], world.context
    )
    result = SCHEME.run(world.circuit, world.evaluation, other, world.context)
    found = server.reproduce(
        world.circuit, world.evaluation, world.sealed, result, world.context, attempts=2
    )
    assert not found.matches
    assert found.attempts == 2


def test_foreign_keys(linear_world: World, forest_world: World) -> None:
    for mine, theirs in ((linear_world, forest_world), (forest_world, linear_world)):
        with pytest.raises(Malformed, match="evaluation keys"):
            SCHEME.run(mine.circuit, theirs.evaluation, mine.sealed, mine.context)
        with pytest.raises(Malformed, match="secret key"):
            SCHEME.decrypt(mine.circuit, theirs.secret, mine.result, mine.context)
        with pytest.raises(Malformed, match="secret key"):
            SCHEME.encrypt(mine.circuit, theirs.secret, mine.inputs, mine.context)
    other, _ = SCHEME.keygen(forest_world.circuit, forest_world.context)
    with pytest.raises(Malformed, match="under the key"):
        SCHEME.decrypt(forest_world.circuit, other, forest_world.result, forest_world.context)


def test_the_input_is_no_output(forest_world: World) -> None:
    world = forest_world
    with pytest.raises(Malformed, match="role output"):
        SCHEME.decrypt(world.circuit, world.secret, world.sealed, world.context)
    with pytest.raises(Malformed, match="role input"):
        SCHEME.run(world.circuit, world.evaluation, world.result, world.context)
    for several in ((), world.sealed * 2):
        with pytest.raises(Malformed, match="ciphertexts"):
            SCHEME.run(world.circuit, world.evaluation, several, world.context)


def _bodies(data: bytes, start: int, count: int) -> list[bytes]:
    """Copies of `data` in which a run of bytes is other, at some places from `start` on."""
    found = []
    for index in range(count):
        position = start + (len(data) - start - 64) * index // max(1, count - 1)
        changed = bytearray(data)
        changed[position : position + 48] = bytes(48 * [0xFF])
        found.append(bytes(changed))
    return found


def test_broken_ciphertexts(forest_world: World) -> None:
    world = forest_world
    (sealed,) = world.sealed
    start = sealed.index(b"body") + 12
    for changed in _bodies(sealed, start, 6):
        try:
            result = SCHEME.run(world.circuit, world.evaluation, (changed,), world.context)
        except Malformed:
            continue
        assert result != world.result
    (result,) = world.result
    for changed in _bodies(result, result.index(b"body") + 12, 3):
        try:
            SCHEME.decrypt(world.circuit, world.secret, (changed,), world.context)
        except Malformed:
            continue


def test_broken_evaluation_keys(forest_world: World) -> None:
    """Also with the digest of the broken keys in every file: what a careful attacker sends."""
    world = forest_world
    program = world.circuit.program
    keys = read_evaluation(world.evaluation, program)
    sealed = server.read_ciphertext(world.sealed[0], program, keys.key, "input")
    for body in _bodies(keys.body, 0, 4):
        broken: EvaluationKeys = write_evaluation(program, body)
        mine = server.write_ciphertext(program, broken.key, "input", sealed)
        try:
            result = SCHEME.run(world.circuit, broken.data, (mine,), world.context)
        except Malformed:
            continue
        assert result != world.result


def test_other_inputs(linear_world: World) -> None:
    world = linear_world
    row = world.inputs["x"]
    for inputs in (
        {},
        {"z": row},
        {"x": row.astype(np.float64)},
        {"x": row[0]},
        {"x": np.concatenate([row, row])},
        {"x": row * np.float32(np.nan)},
        {"x": row * np.float32(np.inf)},
        {"x": row, "y": row},
    ):
        with pytest.raises(UsageError):
            SCHEME.encrypt(world.circuit, world.secret, inputs, world.context)
        with pytest.raises(UsageError):
            SCHEME.simulate(world.circuit, inputs, world.context)


def test_far_inputs_end_at_the_range(linear_world: World) -> None:
    world = linear_world
    far = {"x": np.full((1, 4), 1e30, np.float32)}
    near = {"x": np.full((1, 4), 1e3, np.float32)}
    results = [SCHEME.simulate(world.circuit, one, world.context)["y"] for one in (far, near)]
    np.testing.assert_array_equal(*results)


@pytest.fixture(scope="module")
def model(concrete: Context) -> Model:
    return Model.load(models.mlp(), store=concrete.store)


def _with_part(circuit: ConcreteCircuit, **parts: object) -> ConcreteCircuit:
    """A circuit whose maker changed parts of it and packed it again, digests and all."""
    fields = {
        field.name: getattr(circuit, field.name)
        for field in dataclasses.fields(circuit)
        if field.name not in ("data", "program")
    }
    return circuits.make(**{"parameters": circuit.program.data, **fields, **parts})


def test_a_circuit_is_derived_again(
    network: ConcreteCircuit, model: Model, concrete: Context
) -> None:
    SCHEME.check_circuit(network, model, concrete)


def test_circuits_of_other_models(
    network: ConcreteCircuit, model: Model, concrete: Context
) -> None:
    proto = onnx.load_model_from_string(models.mlp())
    weights = np.array(numpy_helper.to_array(proto.graph.initializer[0]))
    weights.flat[0] += 0.5
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(weights, proto.graph.initializer[0].name)
    )
    other = Model.load(proto.SerializeToString(), store=concrete.store)
    with pytest.raises(Malformed, match="circuit's model"):
        SCHEME.check_circuit(network, other, concrete)
    # Its maker says that it is of the other model.
    claims = _with_part(network, model=other.digest)
    with pytest.raises(Malformed, match="circuit's program"):
        SCHEME.check_circuit(claims, other, concrete)
    # Its maker changed one weight in the circuit alone.
    changed = network.text.replace(b"dense<[[1, -1, -1]", b"dense<[[1, -1, 2]", 1)
    assert changed != network.text
    with pytest.raises(Malformed, match="circuit's program"):
        SCHEME.check_circuit(_with_part(network, text=changed), model, concrete)


def test_circuits_with_other_parts(
    network: ConcreteCircuit, linear: ConcreteCircuit, model: Model, concrete: Context
) -> None:
    report = dict(network.report)
    scales = dataclasses.replace(network.quantiser, out_scale=network.quantiser.out_scale * 2)  # type: ignore[union-attr, call-arg]
    table = {
        "head": {"head": linear.head},
        "tail": {"tail": linear.tail},
        "quantiser out_scale": {"quantiser": scales},
        "report, p_error": {"report": report | {"p_error": "1e-60"}},
        "report, error": {"report": report | {"error": "0.0"}},
        "libraries": {"libraries": {"concrete-ml": "1.9.0", "concrete-python": "9.9"}},
    }
    for words, parts in table.items():
        with pytest.raises(Malformed, match=words):
            SCHEME.check_circuit(_with_part(network, **parts), model, concrete)


def test_other_parameters_for_the_program(network: ConcreteCircuit, concrete: Context) -> None:
    """Parameters as secure, but not what Concrete chooses: keys would fit nothing."""
    (derived,) = server.derive(network.text, [2.0**-12], concrete)
    changed = _with_part(network, parameters=derived.parameters)
    with pytest.raises(Malformed, match="Concrete chooses"):
        owner.keygen(changed, concrete)
    with (
        pytest.raises(Malformed, match="Concrete chooses"),
        server.machine_code(changed, concrete),
    ):
        pass


def test_programs_that_do_not_compile(network: ConcreteCircuit, concrete: Context) -> None:
    broken = _with_part(network, text=network.text.replace(b"tensor<1x4x!", b"tensor<1x5x!"))
    with pytest.raises(Malformed):
        owner.keygen(broken, concrete)


def test_too_wide_is_refused_in_time(concrete: Context) -> None:
    wide = Model.load(models.wide(), store=concrete.store)
    start = time.monotonic()
    with pytest.raises(UnsupportedModel, match=r"Gemm_0 makes values of \d\d bits"):
        SCHEME.compile(wide, models.samples((1, 512)), {"bits": "12", "rounding": "none"}, concrete)
    assert time.monotonic() - start < 120


def test_operators_that_concrete_lacks(concrete: Context) -> None:
    nodes = [
        onnx.helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        onnx.helper.make_node("TopK", ["h", "k"], ["t", "i"]),
        onnx.helper.make_node("MatMul", ["t", "v"], ["y"]),
    ]
    constants = {
        "w": models._weights(0, 4, 3),
        "b": models._weights(1, 3),
        "k": np.array([2]),
        "v": models._weights(2, 2, 2),
    }
    data = models.build(nodes, constants, (1, 4), (1, 2))
    with pytest.raises(UnsupportedModel, match="TopK"):
        SCHEME.compile(Model.load(data, store=concrete.store), models.samples((1, 4)), {}, concrete)


def test_samples_that_do_not_fit(concrete: Context, model: Model) -> None:
    for samples in (
        [],
        models.samples((1, 5)),
        [{"x": np.full((1, 4), np.nan, np.float32)}],
        models.samples((1, 4), circuits.MAX_SAMPLES + 1),
    ):
        with pytest.raises(UsageError):
            SCHEME.compile(model, samples, {}, concrete)


def test_the_search_shows_its_table(concrete: Context) -> None:
    model = Model.load(models.cnn(), store=concrete.store)
    circuit = SCHEME.compile(model, models.samples((1, 1, 5, 5)), {"p-error": "auto"}, concrete)
    rows = circuit.report["candidates"]
    assert isinstance(rows, (list, tuple))
    costs = [row for row in rows if isinstance(row, dict) and "cost" in row]
    assert len(costs) >= 2
    assert len(rows) > len(costs)
    assert float(str(circuit.report["p_error"])) <= 2.0**-20
    assert circuits.read(circuit.data) == circuit
    SCHEME.check_circuit(circuit, model, concrete)
