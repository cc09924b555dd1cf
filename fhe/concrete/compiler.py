"""From a model to a circuit: cut it, search for bits and rounding, derive the parameters.

No key is made for this: results on the calibration samples come from the circuit's own integers in
the clear, and costs from Concrete's optimiser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from proofml.backend import Context
from proofml.canonical import JSON, real
from proofml.errors import UnsupportedModel, UsageError
from proofml.fhe.concrete import circuit as circuits
from proofml.fhe.concrete.candidates import Candidate, Cut
from proofml.fhe.concrete.circuit import LIBRARIES, Choice, ConcreteCircuit
from proofml.fhe.concrete.environment import interpreter
from proofml.fhe.concrete.fidelity import Fidelity
from proofml.fhe.concrete.options import (
    DEFAULT_P_ERROR,
    LEVELLED_BITS,
    P_ERRORS,
    ROUNDINGS,
    SEARCHED_BITS,
    Options,
)
from proofml.fhe.concrete.server import Derived, derive
from proofml.model import Model
from proofml.tensors import Array

#: Bits of the leaves of trees that a search tries.
_LEAF_BITS = (4, 6, 8)
#: Most circuits of a network that a search compiles.
_COMPILED = 5
#: Among the circuits that do, one that costs this much more is taken if it is nearer the model.
_CHEAP = 1.25


def compile_model(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    options: Mapping[str, str],
    context: Context,
) -> ConcreteCircuit:
    """See `Scheme.compile`. The samples become part of the circuit, and so public."""
    chosen = Options.read(options)
    rows = stack(model, samples)
    interpreter(context.store, "compile")  # asked first: without it nothing below helps
    with context.store.scratch() as folder:
        cut = Cut(model, rows, folder, context)
        candidates = _search(cut, chosen)
        best = _choose(candidates, chosen, model.name)
        derived, asked, prices = _price(best, chosen, context)
        assert best.fidelity is not None
        assert best.quantiser is not None
        return circuits.make(
            model=model.digest,
            name=model.name[:256],
            inputs=model.inputs,
            outputs=model.outputs,
            libraries=LIBRARIES,
            choice=Choice(best.bits, best.rounding, asked),
            report=_report(best, derived, candidates, prices, len(rows)),
            head=cut.head,
            tail=cut.tail,
            text=best.text,
            parameters=derived.parameters,
            quantiser=best.quantiser,
            samples=rows,
        )


def stack(model: Model, samples: Sequence[Mapping[str, Array]]) -> Array:
    """The one input of all samples, float32 [n, ...], all of one shape."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedModel(
            f"{model.name}: expected one input and one output, got {len(model.inputs)} and "
            f"{len(model.outputs)}"
        )
    (source,), (result,) = model.inputs, model.outputs
    if source.dtype != "float32" or result.dtype != "float32":
        raise UnsupportedModel(f"{model.name}: expected float32 in and out, got {source}, {result}")
    if not 1 <= len(samples) <= circuits.MAX_SAMPLES:
        raise UsageError(
            f"{model.name}: expected 1 to {circuits.MAX_SAMPLES} calibration samples, got "
            f"{len(samples)}; give inputs like those to come (--calibration FILE)"
        )
    rows = [model.check_inputs(sample)[source.name] for sample in samples]
    shapes = {row.shape for row in rows}
    if len(shapes) != 1 or not shapes.copy().pop():
        raise UsageError(f"{model.name}: expected calibration samples of one shape, got {shapes}")
    stacked = np.stack(rows)
    if not np.isfinite(stacked).all():
        raise UsageError(
            f"{model.name}: expected calibration samples of finite numbers, got others"
        )
    return stacked


def _search(cut: Cut, options: Options) -> list[Candidate]:
    p_error = options.p_error or DEFAULT_P_ERROR
    if cut.kind == "trees":
        return cut.ensembles([options.bits] if options.bits else list(_LEAF_BITS), p_error)
    if options.bits and options.rounding is not None:
        return cut.networks([(options.bits, options.rounding or None)], p_error)
    grid = _grid(options)
    known = cut.accuracies(grid)
    wanted = _promising(known, options)
    if not wanted:
        return known
    first = cut.networks(wanted[:1], p_error)
    if first[0].fidelity is not None and not first[0].lookups and not options.bits:
        # Without lookups bits cost next to nothing.
        return first + cut.networks([(bits, None) for bits in LEVELLED_BITS], p_error)
    compiled = first + cut.networks(wanted[1:], p_error)
    done = {(one.bits, one.rounding) for one in compiled}
    return compiled + [one for one in known if (one.bits, one.rounding) not in done]


def _grid(options: Options) -> list[tuple[int, int | None]]:
    """(bits, rounding) of which the accuracy is looked at."""
    bits = [options.bits] if options.bits else list(SEARCHED_BITS)
    roundings: list[int | None] = [None, *ROUNDINGS]
    if options.rounding is not None:
        roundings = [options.rounding or None]
    return [(one, rounding) for one in bits for rounding in roundings]


def _promising(known: list[Candidate], options: Options) -> list[tuple[int, int | None]]:
    """Which to compile: cost grows with the width of a lookup, and less with bits elsewhere.

    For the two smallest numbers of bits that are good enough with some rounding, the coarsest such
    rounding and the next one; the first of them without rounding too, which is best where there
    are no lookups. Where none is good enough, the nearest ones.
    """
    usable = [one for one in known if one.fidelity is not None]
    good = [one for one in usable if one.fidelity and _is_good(one.fidelity, options)]
    if not good:
        nearest = sorted(usable, key=lambda one: one.fidelity.deviation if one.fidelity else 0.0)
        return [(one.bits, one.rounding) for one in nearest[:_COMPILED]]
    wanted: list[tuple[int, int | None]] = []
    for bits in sorted({one.bits for one in good})[:2]:
        roundings = sorted(one.rounding for one in good if one.bits == bits and one.rounding)
        wanted += [(bits, rounding) for rounding in roundings[:2]]
        if (bits, None) in {(one.bits, one.rounding) for one in good} and bits == good[0].bits:
            wanted.insert(0, (bits, None))
    return wanted[:_COMPILED]


def _is_good(one: Fidelity, options: Options) -> bool:
    return one.agreement >= options.agreement and one.deviation <= options.deviation


def _choose(candidates: list[Candidate], options: Options, name: str) -> Candidate:
    """Near the cheapest of those that are good enough; or else the one nearest the model."""
    usable = [one for one in candidates if one.quantiser is not None]
    if not usable:
        reasons = sorted({one.refused for one in candidates if one.refused})
        raise UnsupportedModel(
            f"{name}: {reasons[0]}; fewer bits or a smaller layer would do "
            f"(tried {len(candidates)} combinations of bits and rounding)"
        )

    def fidelity(one: Candidate) -> Fidelity:
        assert one.fidelity is not None
        return one.fidelity

    good = [one for one in usable if _is_good(fidelity(one), options)]
    if not good:
        return min(usable, key=lambda one: (fidelity(one).deviation, one.cost))
    # Circuits without lookups cost next to nothing, so that the nearest one is the best.
    most = min(one.cost for one in good) * _CHEAP
    cheap = [one for one in good if one.cost <= most or one.lookups == 0]
    return min(cheap, key=lambda one: (fidelity(one).deviation, one.cost))


def _price(
    best: Candidate, options: Options, context: Context
) -> tuple[Derived, float, list[dict[str, JSON]]]:
    """The parameters at the probability that is used, that probability, and others' prices."""
    asked = sorted({*P_ERRORS, options.p_error or DEFAULT_P_ERROR})
    found = dict(zip(asked, derive(best.text, asked, context), strict=True))
    outputs = best.outputs
    prices: list[dict[str, JSON]] = [
        {
            "lookup_p_error": real(p_error),
            "p_error": real(one.failure(outputs)),
            "cost": real(one.cost),
        }
        for p_error, one in found.items()
    ]
    if options.p_error is not None:
        return found[options.p_error], options.p_error, prices
    bearable = [p for p in asked if found[p].failure(outputs) <= options.max_failure]
    p_error = min(bearable or asked[:1], key=lambda p: found[p].cost)
    return found[p_error], p_error, prices


def _report(
    best: Candidate,
    derived: Derived,
    candidates: list[Candidate],
    prices: list[dict[str, JSON]],
    samples: int,
) -> dict[str, JSON]:
    assert best.fidelity is not None
    return {
        **best.fidelity.to_json(),
        "p_error": real(derived.failure(best.outputs)),
        "lookup_p_error": real(derived.p_error),
        "lookups": derived.lookups,
        "cost": real(derived.cost),
        "width": best.width,
        "samples": samples,
        "candidates": [one.to_json() for one in candidates],
        "p_errors": prices,
    }
