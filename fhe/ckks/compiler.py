"""Model and calibration samples -> circuit, with degrees, ring and primes chosen by trial.

Each degree of polynomials is tried in the clear on the samples, from the cheapest up; then each
ring, with the largest scale that 128-bit security leaves room for, and the noise estimated. The
first pair within the caller's bounds is taken; the report has the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proofml.backend import Context
from proofml.canonical import JSON, real
from proofml.container import MAX_FILE_BYTES
from proofml.errors import BackendFailed, UnsupportedModel, UsageError
from proofml.fhe.agreement import agreement
from proofml.fhe.ckks import circuit as circuits
from proofml.fhe.ckks import derive, flooding, messages
from proofml.fhe.ckks.affine import Reals
from proofml.fhe.ckks.builder import Vanishing
from proofml.fhe.ckks.circuit import Approximation, CkksCircuit, Record
from proofml.fhe.ckks.encoding import TooLarge
from proofml.fhe.ckks.frontend import read_network
from proofml.fhe.ckks.layout import Layout, TooWide, choose, power
from proofml.fhe.ckks.lower import levels_needed
from proofml.fhe.ckks.minimax import Polynomial, largest_error, minimax
from proofml.fhe.ckks.network import FUNCTIONS, Activation, Function
from proofml.fhe.ckks.noise import SIGMAS, Noise, estimate
from proofml.fhe.ckks.options import Options
from proofml.fhe.ckks.params import (
    DEGREES,
    LEAST_SECURITY,
    MAX_PRIME_BITS,
    MAX_PRIMES,
    STANDARD,
    Parameters,
    choose_primes,
)
from proofml.fhe.ckks.polynomial import has_lead
from proofml.fhe.ckks.simulate import samples_at_once
from proofml.fhe.scheme import Malformed
from proofml.model import Model
from proofml.runtime import run_model, runtime_version
from proofml.tensors import Array

#: Degrees that are tried; each one takes a level more than the one before.
TRIED = (2, 4, 8, 16, 32)
MIN_SCALE_BITS, SHORT_SCALE_BITS, MAX_SCALE_BITS = 22, 31, 40
#: Part of the noise that is allowed, up to which the short scale is taken.
_AMPLE = 1 / 16
#: Bits between the largest result and half of the base prime: inputs may give larger ones than
#: calibration did.
_HEADROOM = 3.0
#: Room for key switching's noise: less of it, and a smaller scale.
_SPECIAL_BITS = (0, 3, 6, 9, 12)
MAX_SAMPLES = 4096
#: Of a file, besides keys.
_MARGIN_BYTES = 1 << 20
#: Samples that noise is estimated on, at most, and that onnxruntime runs.
_NOISE_SAMPLES, _REFERENCE_SAMPLES = 256, 4
#: How far the network may be from onnxruntime, in parts of the largest output.
_SAME = 1e-3
#: A result beyond six standard deviations.
_BEYOND = math.erfc(SIGMAS / math.sqrt(2.0))


def compile_model(
    model: Model,
    samples: Sequence[Mapping[str, Array]],
    options: Mapping[str, str],
    context: Context,
) -> CkksCircuit:
    """See `Scheme.compile`."""
    return _Compiler(model, samples, Options.read(options), context).compile()


@dataclass(frozen=True)
class _Fit:
    """Polynomials of one degree, and how the network does with them on the samples."""

    degree: int
    approximations: tuple[Approximation, ...]
    levels: int
    values: list[Reals]
    error: float
    agreement: float

    @property
    def polynomials(self) -> dict[int, Polynomial]:
        return {a.value: a.polynomial for a in self.approximations}

    def row(self, spread: float) -> dict[str, JSON]:
        return {
            "agreement": real(round(self.agreement, 6)),
            "degree": self.degree,
            "error": _short(self.error),
            "levels": self.levels,
            "relative_error": _short(self.error / spread),
        }


@dataclass(frozen=True)
class _Trial:
    """A ring with its primes, and what comes out with it."""

    derived: derive.Derived
    scale: float
    noise: Noise

    @property
    def parameters(self) -> Parameters:
        return self.derived.lowered.program.parameters


class _Compiler:
    def __init__(
        self,
        model: Model,
        samples: Sequence[Mapping[str, Array]],
        options: Options,
        context: Context,
    ) -> None:
        self._model = model
        self._options = options
        self._context = context
        self._network = read_network(model, final=options.final)
        self._samples = samples
        self._rows = self._read_samples()
        context.progress("evaluate model", None, None)
        self._exact = self._finite(self._network.evaluate(self._rows))
        self._layouts: dict[int, list[Layout]] = {}

    def compile(self) -> CkksCircuit:
        self._compare()
        fits = self._fits()
        spread = self._spread()
        fit = self._choose_fit(fits, spread)
        trial = self._choose_ring(fit)
        record = Record(
            self._options.final,
            self._options.flood,
            trial.scale,
            trial.noise.deviation,
            fit.approximations,
        )
        derived = trial.derived
        return circuits.make(
            name=self._model.name,
            model=self._model.digest,
            inputs=self._model.inputs,
            outputs=self._model.outputs,
            record=record,
            program=derived.lowered.program,
            layouts=[layout.slots() for layout in derived.layouts[: len(self._rows)]],
            arguments=derived.arguments,
            results=derived.places,
            tail=self._network.tail,
            report=self._report(fits, fit, trial, spread),
        )

    # -- samples ----------------------------------------------------------------------------------

    def _read_samples(self) -> list[Reals]:
        model = self._model
        if not self._samples:
            raise UsageError(f"{model.name}: expected at least one calibration sample, got none")
        checked = [model.check_inputs(sample) for sample in self._samples]
        found: list[Reals] = []
        for spec in model.inputs:
            arrays = [sample[spec.name] for sample in checked]
            stacked = np.concatenate([a.reshape(len(a), -1) for a in arrays]).astype(np.float64)
            if not np.isfinite(stacked).all():
                raise UsageError(
                    f"{model.name}: calibration samples of {spec.name!r}: expected finite "
                    "numbers, got NaN or infinity"
                )
            found.append(stacked[:MAX_SAMPLES])
        if not len(found[0]) or any(len(rows) != len(found[0]) for rows in found):
            raise UsageError(
                f"{model.name}: calibration samples: expected one batch for all inputs"
            )
        return found

    def _finite(self, values: list[Reals]) -> list[Reals]:
        if not all(np.isfinite(value).all() for value in values):
            raise UnsupportedModel(
                f"{self._model.name}: it makes numbers of the calibration samples that are not "
                "finite"
            )
        return values

    def _results(self, values: Sequence[Reals]) -> list[Reals]:
        return [values[result.value][:, result.index] for result in self._network.results]

    def _spread(self) -> float:
        flat = np.concatenate([r.reshape(-1) for r in self._results(self._exact)])
        return max(float(flat.max() - flat.min()), float(np.max(np.abs(flat))) * 1e-3, 1e-30)

    def _compare(self) -> None:
        """With onnxruntime, where it is installed: that the network is the model.

        Raises:
            BackendFailed: it is not.
        """
        if runtime_version() is None:
            return
        done = 0
        for sample in self._samples[:_REFERENCE_SAMPLES]:
            checked = self._model.check_inputs(sample)
            reference = run_model(
                self._model, checked, self._context.store, progress=self._context.progress
            )
            count = min(len(next(iter(checked.values()))), len(self._exact[0]) - done)
            for place in range(count):
                self._same(
                    done + place, {name: a[place : place + 1] for name, a in reference.items()}
                )
            done += count

    def _same(self, row: int, reference: Mapping[str, Array]) -> None:
        tensors = {
            result.name: self._exact[result.value][row, result.index]
            .astype(np.float32)
            .reshape(result.shape)
            for result in self._network.results
        }
        for name, array in self._network.tail.run(tensors).items():
            wanted = reference[name]
            if array.dtype.kind != "f" or not np.isfinite(wanted).all():
                continue  # an argmax may fall either way among equals
            error = float(np.max(np.abs(array - wanted), initial=0.0))
            if error > _SAME * max(float(np.max(np.abs(wanted), initial=0.0)), 1e-3):
                raise BackendFailed(
                    f"{self._model.name}: output {name!r}: the compiler's network is off by "
                    f"{error:g} from onnxruntime; please report this model",
                    stage="compile",
                )

    # -- polynomials ------------------------------------------------------------------------------

    def _fits(self) -> list[_Fit]:
        if not self._network.activations:
            return [self._fit(0)]
        degrees = TRIED if self._options.degree is None else (self._options.degree,)
        return [self._fit(degree) for degree in degrees]

    def _fit(self, degree: int) -> _Fit:
        """Layer by layer, each interval as the polynomials before it leave it."""
        found: list[Approximation] = []

        def pick(value: int, step: Activation, argument: Reals) -> Polynomial:
            exact = self._exact[step.operand]
            low = min(float(argument.min()), float(exact.min()))
            high = max(float(argument.max()), float(exact.max()))
            middle, radius = (low + high) / 2, max((high - low) / 2, 1e-3)
            radius *= self._options.margin
            function = FUNCTIONS[step.function]
            polynomial = _best(function, middle - radius, middle + radius, degree)
            error = largest_error(polynomial, function.exact)
            found.append(Approximation(value, step.function, polynomial, error))
            return polynomial

        values = self._finite(self._network.evaluate(self._rows, pick))
        levels = levels_needed(self._network, {a.value: a.polynomial for a in found})
        made, exact = self._results(values), self._results(self._exact)
        error = max(float(np.max(np.abs(a - b))) for a, b in zip(made, exact, strict=True))
        agreements = [agreement(b, a) for a, b in zip(made, exact, strict=True)]
        return _Fit(degree, tuple(found), levels, values, error, min(agreements))

    def _choose_fit(self, fits: Sequence[_Fit], spread: float) -> _Fit:
        if self._options.degree is not None or len(fits) == 1:
            return fits[0]
        for fit in fits:
            if fit.error <= self._options.tolerance * spread:
                return fit
        best = min(fits, key=lambda fit: fit.error)
        raise UnsupportedModel(
            f"{self._model.name}: polynomials of degree {best.degree} put the outputs off by "
            f"{best.error:g}, {best.error / spread:.3g} of their spread; expected at most "
            f"{self._options.tolerance:g}; allow more (--set tolerance=...), or train with a "
            "smaller range of activations"
        )

    # -- rings ------------------------------------------------------------------------------------

    def _choose_ring(self, fit: _Fit) -> _Trial:
        rings = DEGREES if self._options.ring is None else (self._options.ring,)
        lanes = self._options.batch or 1
        rings = tuple(ring for ring in rings if lanes <= ring // 2)
        if not rings:
            raise UnsupportedModel(
                f"{self._model.name}: no ring that may be used has the slots for a batch of {lanes}"
            )
        refused: list[str] = []
        wide: TooWide | None = None
        deep = True
        limit = self._limit(fit)
        for ring in rings:
            self._context.progress(f"plan at ring degree {ring}", None, None)
            try:
                trial = self._try(ring, fit)
            except TooWide as error:
                wide, deep = error, False
                continue
            if trial is None:
                continue
            deep = False
            size = self._key_bytes(trial)
            if size > MAX_FILE_BYTES - _MARGIN_BYTES:
                heavy = f"{size >> 20} MiB of evaluation keys at ring degree {ring}"
                refused.append(heavy)
                continue
            worst = self._worst(trial)
            if worst <= limit:
                return trial
            refused.append(f"a noise of {worst:.3g} at ring degree {ring}")
        if refused:
            raise UnsupportedModel(
                f"{self._model.name}: no ring will do: {', '.join(refused)}; expected a noise of "
                f"at most {limit:.3g} in the outputs and {MAX_FILE_BYTES >> 20} MiB of keys; allow "
                "more noise (--set noise=...), or use polynomials of a smaller degree"
            )
        if wide is not None:
            raise UnsupportedModel(
                f"{self._model.name}: {wide.where}: too wide: needs {wide.needed} slots, one "
                f"inference of {lanes} in a ciphertext has {max(rings) // 2 // lanes}; use a "
                "smaller layer or batch"
            )
        assert deep
        fitting = max(levels_that_fit(ring) for ring in rings)
        raise UnsupportedModel(
            f"{self._model.name}: too deep: needs {fit.levels} levels, {fitting} fit at "
            f"{LEAST_SECURITY}-bit security (ring degree {max(rings)}); use fewer layers, or "
            "polynomials of a smaller degree (--set degree=2)"
        )

    @staticmethod
    def _key_bytes(trial: _Trial) -> int:
        program = trial.derived.lowered.program
        keys = len(program.rotations) + program.multiplies
        return messages.evaluation_bytes(trial.parameters, keys)

    def _largest(self, fit: _Fit) -> float:
        return max(float(np.max(np.abs(r))) for r in self._results(fit.values)) or 1.0

    def _try(self, ring: int, fit: _Fit) -> _Trial | None:
        """The best trial with this ring; None where the levels do not fit.

        With residues of four bytes where they are fine enough: smaller keys, and more security.
        """
        best: _Trial | None = None
        for most in (SHORT_SCALE_BITS, MAX_SCALE_BITS):
            found = self._try_scale(ring, fit, most)
            if found is None:
                continue
            if best is None or max(found.noise.bound) < max(best.noise.bound):
                best = found
            if self._worst(found) <= _AMPLE * self._limit(fit):
                return found
        return best

    def _worst(self, trial: _Trial) -> float:
        """Largest noise in what is shown."""
        return max(trial.noise.bound) * max(1.0, self._flooding())

    def _flooding(self) -> float:
        elements = sum(len(result.index) for result in self._network.results)
        return flooding.factor(self._options.flood, elements)

    def _limit(self, fit: _Fit) -> float:
        return self._options.noise * self._largest(fit)

    def _try_scale(self, ring: int, fit: _Fit, most: int) -> _Trial | None:
        """The best trial with scales of at most so many bits."""
        above = math.ceil(math.log2(max(self._largest(fit), 1.0)) + 1 + _HEADROOM)
        best: _Trial | None = None
        for extra in _SPECIAL_BITS:
            for _ in range(4):
                found = self._primes(ring, fit.levels, above, extra, most)
                if found is None:
                    break
                trial = self._lowered(fit, found[0], 2.0 ** found[1])
                if trial.noise.headroom >= _HEADROOM - 1:
                    if best is None or max(trial.noise.bound) < max(best.noise.bound):
                        best = trial
                    break
                above += math.ceil(_HEADROOM - trial.noise.headroom)
        return best

    @staticmethod
    def _primes(
        ring: int, levels: int, above: int, extra: int, most: int
    ) -> tuple[Parameters, int] | None:
        """The largest scale, and primes for it.

        Args:
            above: bits that the base prime has more than the scale.
            extra: bits that the prime of key switching has more than that.
            most: bits of the largest scale.
        """
        for bits in range(most, MIN_SCALE_BITS - 1, -1):
            base = bits + above
            special = base + extra
            if special > MAX_PRIME_BITS:
                continue
            try:
                primes = choose_primes(ring, bits, levels, base, special)
                return Parameters(ring, primes), bits
            except (Malformed, ValueError):
                continue
        return None

    def _lowered(self, fit: _Fit, parameters: Parameters, scale: float) -> _Trial:
        lanes, layouts = self._lanes(parameters)
        try:
            derived = derive.derive(
                self._network, layouts, fit.polynomials, parameters, scale, lanes
            )
        except (Malformed, TooLarge, Vanishing) as error:
            raise UnsupportedModel(
                f"{self._model.name}: no program at ring degree {parameters.degree}: {error}"
            ) from error
        program = derived.lowered.program
        inputs = []
        count = min(_NOISE_SAMPLES, samples_at_once(program))
        for layout, rows in zip(layouts, self._rows, strict=False):
            part = rows[:count]
            padded = np.concatenate([part, np.zeros((len(part), 1))], axis=1)
            repeats = program.features // layout.period
            inputs.append(np.tile(padded[:, layout.slots()], (1, repeats)))
        lowered = derived.lowered
        return _Trial(derived, scale, estimate(program, inputs, lowered.slots, lowered.arguments))

    def _lanes(self, parameters: Parameters) -> tuple[int, list[Layout]]:
        """Inferences side by side, and the layout for what each has of the slots.

        As many as fit where the model's batch is free: they cost nothing.

        Raises:
            TooWide: where not even one fits.
        """
        free = any(spec.shape is not None and spec.shape[0] is None for spec in self._model.inputs)
        if self._options.batch is not None or not free:
            lanes = self._options.batch or 1
            return lanes, self._laid_out(parameters.slots // lanes)
        features = min(power(max(self._network.sizes)), parameters.slots)
        while True:
            try:
                return parameters.slots // features, self._laid_out(features)
            except TooWide:
                if features == parameters.slots:
                    raise
                features *= 2

    def _laid_out(self, features: int) -> list[Layout]:
        if features not in self._layouts:
            self._layouts[features] = choose(self._network, features)
        return self._layouts[features]

    # -- report -----------------------------------------------------------------------------------

    def _report(
        self, fits: Sequence[_Fit], fit: _Fit, trial: _Trial, spread: float
    ) -> dict[str, JSON]:
        program, parameters = trial.derived.lowered.program, trial.parameters
        noise = max(trial.noise.bound)
        shown = noise * max(1.0, self._flooding())
        elements = sum(len(result.index) for result in self._network.results)
        counts = {
            op: sum(instruction.op == op for instruction in program.instructions)
            for op in ("rotate", "multiply", "rescale")
        }
        levels = parameters.levels
        return {
            "agreement": real(round(fit.agreement, 6)),
            "approximation_error": _short(fit.error),
            "bytes": {
                "evaluation_keys": self._key_bytes(trial),
                "input_ciphertext": 2
                * messages.polynomial_bytes(parameters.primes[: levels + 1], parameters.degree),
                "output_ciphertext": 2
                * messages.polynomial_bytes(parameters.primes[:1], parameters.degree),
            },
            "degrees": [one.row(spread) for one in fits],
            "error": _short(fit.error + shown),
            "headroom_bits": _short(trial.noise.headroom),
            "lanes": program.lanes,
            "levels": levels,
            "modulus_bits": parameters.modulus_bits,
            "most_modulus_bits": STANDARD[LEAST_SECURITY][parameters.degree],
            "noise": _short(noise),
            "operations": {
                **counts,
                "products_with_constants": sum(
                    len(i.constants) for i in program.instructions if i.op == "dot"
                ),
            },
            "p_error": _short(min(1.0, elements * _BEYOND)),
            "ring_degree": parameters.degree,
            "samples": len(self._rows[0]),
            "scale_bits": _short(math.log2(trial.scale)),
            "security_bits": parameters.security_bits,
            "spread": _short(spread),
        }


def _best(function: Function, low: float, high: float, degree: int) -> Polynomial:
    """Of a lower degree where the leading term is next to nothing, and costs a level."""
    found = minimax(function.exact, low, high, degree, function.kinks)
    lower = degree > 1 and degree & (degree - 1) == 0 and not has_lead(found.coefficients)
    return _best(function, low, high, degree - 1) if lower else found


def levels_that_fit(ring: int) -> int:
    """At any scale that is tried, for results of at most 1."""
    found = 0
    for bits in range(MIN_SCALE_BITS, MAX_SCALE_BITS + 1):
        base = bits + 2 + math.ceil(_HEADROOM)
        for levels in range(found + 1, MAX_PRIMES - 1):
            try:
                Parameters(ring, choose_primes(ring, bits, levels, base, base))
            except (Malformed, ValueError):
                break
            found = levels
    return found


def _short(value: float) -> str:
    """Six digits are enough for people."""
    return real(float(f"{value:.6g}"))
