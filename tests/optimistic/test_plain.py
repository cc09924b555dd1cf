"""Runs without a trace say what runs with one say; onnxruntime is believed where it was seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proofml import processor
from proofml.backend import Context
from proofml.circuits.graph import Ints
from proofml.circuits.source import Source
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.model import Model
from proofml.optimistic import plain
from proofml.optimistic.compile import machine_of
from proofml.optimistic.trace import Machine, Outcome, Trace
from proofml.store import Store
from proofml.tensors import Array
from proofml.testing import gemm

from ..circuits.models import load
from ..circuits.oracle import random_graph as random_program
from ..circuits.random_graphs import random_graph


def same(run: Outcome, trace: Trace) -> None:
    assert run.machine is trace.machine
    assert run.program is trace.program
    assert (run.input_roots, run.output_roots) == (trace.input_roots, trace.output_roots)
    for one, two in zip(run.outputs, trace.outputs, strict=True):
        np.testing.assert_array_equal(one, two)


def test_any_program() -> None:
    for seed in range(120):
        b = random_program(seed)
        count = len(b.nodes)
        graph = b.graph(*sorted({count - 1, seed % count}))
        machine = Machine.of(graph, b.weights)
        feed = b.feed()
        inputs = [feed[port.value] for port in graph.inputs]
        same(machine.execute(inputs), machine.run(inputs))


def test_inputs_that_are_none() -> None:
    b = random_program(1)
    machine = Machine.of(b.graph(len(b.nodes) - 1), b.weights)
    inputs = [np.full(port.cells.shape, 1 << 40, np.int64) for port in machine.program.inputs]
    with pytest.raises(UsageError):
        machine.execute(inputs)
    with pytest.raises(UsageError, match="expected"):
        machine.execute([])


class Counted:
    """How often the program was executed without onnxruntime, and the model by it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.own = self.runtime = 0
        execute, run_model = Machine.execute, plain.run_model

        def executed(machine: Machine, inputs: Sequence[Ints]) -> Outcome:
            self.own += 1
            return execute(machine, inputs)

        def ran(*arguments: Any, **more: Any) -> dict[str, Array]:
            self.runtime += 1
            return run_model(*arguments, **more)

        patch.setattr(Machine, "execute", executed)
        patch.setattr(plain, "run_model", ran)

    @property
    def both(self) -> tuple[int, int]:
        return self.own, self.runtime


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Nothing kept, and a processor on which onnxruntime is used."""
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "this")
    processor.CPUINFO.write_text("flags : avx512_vnni\n")
    return Context(Store(tmp_path / "store"))


def subjects(
    context: Context, *, fused: bool
) -> Iterator[tuple[Source, Machine, dict[str, Array]]]:
    """Models that onnxruntime computes to the bit, or others."""
    for seed in range(100):
        net, proto = random_graph(seed)
        model: Model = load(proto)
        feeds = net.feeds()
        source = Source(model, {name: array.shape for name, array in feeds.items()})
        machine = machine_of(source, context)
        if machine.fused is fused:
            yield source, machine, feeds


def first(context: Context, *, fused: bool) -> tuple[Source, Machine, dict[str, Array]]:
    return next(subjects(context, fused=fused))


def test_onnxruntime_is_compared_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    source, machine, feeds = first(context, fused=True)
    trace = machine.run(machine.encode(feeds))
    counted = Counted(monkeypatch)
    for times in (1, 2, 3):
        same(plain.execute(source, machine, feeds, context), trace)
        assert counted.both == (1, times)


def test_another_processor_compares_again(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that goes from one machine to another brings no agreement along."""
    source, machine, feeds = first(context, fused=True)
    counted = Counted(monkeypatch)
    plain.execute(source, machine, feeds, context)
    compared = 1
    for flags in ("avx512_vnni avx2", "avx_vnni", "avx512_vnni amx_int8"):
        processor.CPUINFO.write_text(f"flags : {flags}\n")
        for _ in range(2):
            plain.execute(source, machine, feeds, context)
        compared += 1
        assert counted.own == compared
    processor.CPUINFO.write_text("flags : sse2 avx512_vnni\n")  # as at first, for all that matters
    plain.execute(source, machine, feeds, context)
    assert counted.own == compared
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    plain.execute(source, machine, feeds, context)
    assert counted.own == compared + 1


@pytest.mark.parametrize(("flags", "key"), [("avx2", "1"), ("avx2 avx_vnni", None)])
def test_onnxruntime_is_asked_to_add_exactly(
    context: Context, tmp_path: Path, flags: str, key: str | None
) -> None:
    """Where products of uint8 by int8 would saturate, and only there."""
    pytest.importorskip("onnxruntime")
    from proofml.runtime_stages import EXACT, open_session

    assert context.store is not None  # whose fixture puts the file in the processor's place
    processor.CPUINFO.write_text(f"flags : {flags}\n")
    path = tmp_path / "model.onnx"
    path.write_bytes(gemm(0))
    options = open_session(path, "model").get_session_options()
    if key is not None:
        assert options.get_session_config_entry(EXACT) == key
    else:
        with pytest.raises(RuntimeError, match=EXACT):
            options.get_session_config_entry(EXACT)


def test_models_that_cannot_be_made_to_add_exactly(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime refuses some then; they run as before, and what is no model is refused."""
    pytest.importorskip("onnxruntime")
    from proofml import runtime_stages

    assert context.store is not None
    processor.CPUINFO.write_text("flags : avx2\n")
    path = tmp_path / "model.onnx"
    path.write_bytes(gemm(0))
    true, tried = runtime_stages._session, []

    def refusing(path: Path, options: Any) -> Any:
        tried.append(options.get_session_config_entry(runtime_stages.EXACT))
        if tried[-1] == "1":
            raise RuntimeError("Attempt to replace the existing tensor")
        return true(path, options)

    monkeypatch.setattr(runtime_stages, "_session", refusing)
    assert runtime_stages.open_session(path, "model").run(None, {"x": np.ones((1, 4), np.float32)})
    assert tried == ["1", "0"]
    path.write_bytes(b"no model")
    with pytest.raises(UnsupportedModel, match="onnxruntime refuses it"):
        runtime_stages.open_session(path, "model")


def test_several_models(context: Context) -> None:
    """Twice each: what is compared, and what is not any more."""
    for number, (source, machine, feeds) in enumerate(subjects(context, fused=True)):
        trace = machine.run(machine.encode(feeds))
        for _ in range(2):
            same(plain.execute(source, machine, feeds, context), trace)
        if number == 3:
            return
    pytest.fail("too few models")


def test_what_disagrees_is_not_used(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that makes something else, also where it does so again."""
    source, machine, feeds = first(context, fused=True)
    trace = machine.run(machine.encode(feeds))
    true = plain.outputs_of

    def wrong(machine: Machine, arrays: Mapping[str, Array]) -> tuple[Ints, ...]:
        found, *rest = true(machine, arrays)
        changed = found.copy()
        changed.flat[0] += 1 if changed.flat[0] < 0 else -1
        return (changed, *rest)

    counted = Counted(monkeypatch)
    monkeypatch.setattr(plain, "outputs_of", wrong)
    for times in (1, 2):
        same(plain.execute(source, machine, feeds, context), trace)
        assert counted.both == (times, times)


@pytest.mark.parametrize("version", [None, "1.31.9", "1.320.0", "2.0"])
def test_another_onnxruntime_is_not_asked(
    context: Context, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    source, machine, feeds = first(context, fused=True)
    trace = machine.run(machine.encode(feeds))
    counted = Counted(monkeypatch)
    monkeypatch.setattr(plain, "runtime_version", lambda: version)
    same(plain.execute(source, machine, feeds, context), trace)
    assert counted.both == (1, 0)


@pytest.mark.parametrize(
    ("machine", "flags", "exact"),
    [
        ("x86_64", "flags : fpu avx2 avx512f avx512_vnni sse", True),
        ("AMD64", "flags : avx2 avx_vnni", True),
        ("x86_64", "flags : avx2 avx512f avx512vl", False),
        ("x86_64", "model name : avx512_vnni-less", False),
        ("x86_64", None, False),
        ("aarch64", None, True),
    ],
)
def test_a_processor_that_saturates_is_not_used(
    context: Context,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    flags: str | None,
    exact: bool,
) -> None:
    source, made, feeds = first(context, fused=True)
    trace = made.run(made.encode(feeds))
    counted = Counted(monkeypatch)
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(processor.platform, "machine", lambda: machine)
    if flags is not None:
        processor.CPUINFO.write_text(f"processor : 0\n{flags}\n")
    same(plain.execute(source, made, feeds, context), trace)
    assert counted.both == (1, int(exact))


def test_models_that_it_need_not_compute_to_the_bit(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, machine, feeds = first(context, fused=False)
    trace = machine.run(machine.encode(feeds))
    counted = Counted(monkeypatch)
    same(plain.execute(source, machine, feeds, context), trace)
    assert counted.both == (1, 0)


def test_an_output_that_no_program_has(context: Context) -> None:
    _, machine, _ = first(context, fused=True)
    arrays = {port.name: np.zeros((1, 2, 3), np.float64) for port in machine.graph.outputs}
    with pytest.raises(BackendFailed, match="none of the program"):
        plain.outputs_of(machine, arrays)
