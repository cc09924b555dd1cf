"""Two models that people use, as integers: a text recogniser's detector and its classifier.

They come with the package `rapidocr-onnxruntime` (extra `test-models`), of which only the .onnx
files are read. Each is quantised once on lines of text that are drawn here; what comes out is kept
in the cache of the test session, so that other tests get it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.canonical import JSON
from proofml.circuits.quantise import QuantisationConfig, QuantisationRecord, apply, calibrate
from proofml.model import Model
from proofml.store import Store
from proofml.tensors import Array

from ..models.test_real_models import OCR, folder_of

Inputs = Mapping[str, Array]
Pixels = NDArray[np.float32]

#: Letters, five by seven cells each, that look otherwise upside down.
_GLYPHS = {
    "A": ".###. #...# #...# ##### #...# #...# #...#",
    "B": "####. #...# #...# ####. #...# #...# ####.",
    "E": "##### #.... #.... ####. #.... #.... #####",
    "F": "##### #.... #.... ####. #.... #.... #....",
    "G": ".###. #...# #.... #.### #...# #...# .###.",
    "J": "..### ...#. ...#. ...#. ...#. #..#. .##..",
    "K": "#...# #..#. #.#.. ##... #.#.. #..#. #...#",
    "L": "#.... #.... #.... #.... #.... #.... #####",
    "P": "####. #...# #...# ####. #.... #.... #....",
    "R": "####. #...# #...# ####. #.#.. #..#. #...#",
    "T": "##### ..#.. ..#.. ..#.. ..#.. ..#.. ..#..",
    "Y": "#...# #...# .#.#. ..#.. ..#.. ..#.. ..#..",
    "a": "..... ..... .###. ....# .#### #...# .####",
    "e": "..... ..... .###. #...# ##### #.... .###.",
    "h": "#.... #.... #.##. ##..# #...# #...# #...#",
    "r": "..... ..... #.##. ##..# #.... #.... #....",
    "t": ".#... .#... ###.. .#... .#... .#..# ..##.",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "7": "##### ....# ...#. ..#.. .#... .#... .#...",
    " ": "..... ..... ..... ..... ..... ..... .....",
}
#: Inputs of calibration; later numbers are held out.
CALIBRATION = range(16)


def page(height: int, width: int, seed: int, *, lines: int, turned: bool = False) -> Pixels:
    """Dark text on light paper with a little noise, [height, width, 3] from 0 to 1."""
    rng = np.random.default_rng(seed)
    ink = np.zeros((height, width))
    room = height // lines
    for line in range(lines):
        cell = int(rng.integers(max(1, room // 12), max(2, room // 8) + 1))
        letters = rng.choice(list(_GLYPHS), int(rng.integers(6, 12)))
        text = np.concatenate([_glyph(letter) for letter in letters], axis=1)
        text = _soft(np.kron(text, np.ones((cell, cell))))
        top = line * room + int(rng.integers(0, max(1, room - text.shape[0])))
        left = int(rng.integers(2, 12 if lines == 1 else width // 4))
        part = text[: height - top, : width - left]
        ink[top : top + part.shape[0], left : left + part.shape[1]] = part
    if turned:
        ink = ink[::-1, ::-1]
    paper, dark = rng.uniform(0.7, 1.0), rng.uniform(0.0, 0.3)
    grey = paper + (dark - paper) * ink
    noisy = grey[:, :, None] + rng.normal(scale=0.012, size=(height, width, 3))
    return np.clip(noisy, 0, 1).astype(np.float32)


def _glyph(letter: str) -> NDArray[np.float64]:
    """[7, 6]: a letter and the gap behind it."""
    rows = [[float(cell == "#") for cell in row + "."] for row in _GLYPHS[letter].split()]
    return np.array(rows)


def _soft(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """Edges as a scanner sees them: the mean of three cells along both axes."""
    for axis in (0, 1):
        wide = np.pad(ink, [(1, 1) if i == axis else (0, 0) for i in (0, 1)])
        n = ink.shape[axis]
        ink = sum(wide.take(range(i, i + n), axis) for i in range(3)) / 3
    return ink


def line_of_text(seed: int) -> Inputs:
    """For the classifier: upright for even seeds, upside down for odd ones."""
    pixels = page(48, 192, seed, lines=1, turned=seed % 2 == 1)
    return {"x": _planes((pixels - np.float32(0.5)) / np.float32(0.5))}


def lines_of_text(seed: int) -> Inputs:
    """For the detector: 96 by 160 pixels with the usual mean and deviation of photographs."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    return {"x": _planes((page(96, 160, seed, lines=3) - mean) / deviation)}


def _planes(pixels: Pixels) -> Array:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32)


@dataclass(frozen=True)
class RealModel:
    """A float model, how it is quantised, and inputs for it by number."""

    name: str
    file: str
    config: QuantisationConfig
    sample: Callable[[int], Inputs]

    def float_model(self) -> Model:
        return Model.load(folder_of(OCR) / "models" / self.file)

    def record(self) -> QuantisationRecord:
        """Calibrated once in a test session."""
        model, store = self.float_model(), Store.default()
        recipe: dict[str, JSON] = {
            "kind": "record of a test's model",
            "model": model.digest,
            "config": self.config.to_json(),
        }
        found = store.read(recipe)
        if found is not None:
            return QuantisationRecord.from_bytes(found["record"])
        samples = [self.sample(seed) for seed in CALIBRATION]
        made = calibrate(model, samples, self.config, store)
        with store.scratch() as folder:
            (folder / "record").write_bytes(made.to_bytes())
            store.put(recipe, {"record": folder / "record"}, label=f"record of {self.name}")
        return made

    def quantised(self) -> Model:
        """The integer model."""
        return _quantised(self.name, self.config.per_channel)

    def per_channel(self) -> RealModel:
        """The same with a scale for each output channel of the weights."""
        return replace(self, config=replace(self.config, per_channel=True))


CLASSIFIER = RealModel(
    "classifier",
    "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    QuantisationConfig(shapes={"x": (1, 3, 48, 192)}, cut_softmax=True),
    line_of_text,
)
DETECTOR = RealModel(
    "detector",
    "ch_PP-OCRv4_det_infer.onnx",
    QuantisationConfig(shapes={"x": (1, 3, 96, 160)}),
    lines_of_text,
)
ALL = {real.name: real for real in (CLASSIFIER, DETECTOR)}


@cache
def _quantised(name: str, per_channel: bool) -> Model:
    real = ALL[name].per_channel() if per_channel else ALL[name]
    return Model.load(apply(real.float_model(), real.record()))


def classifier(*, per_channel: bool = False) -> tuple[Model, dict[str, Any]]:
    """The quantised classifier (text upright or upside down: two logits) and a line upside down."""
    return _quantised("classifier", per_channel), dict(line_of_text(101))


def detector(*, per_channel: bool = False) -> tuple[Model, dict[str, Any]]:
    """The quantised detector (a map of where text is) and a page of three lines."""
    return _quantised("detector", per_channel), dict(lines_of_text(100))
