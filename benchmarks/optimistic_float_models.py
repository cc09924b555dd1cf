"""Real float models and inputs like those that they were made for.

The models come with the packages `rapidocr-onnxruntime` and `magika` (extra `test-models`); of the
packages only the .onnx files are read. Pictures of text are drawn with Pillow where it is
installed and are bars of ink where it is not; bytes are those of Python's own library.
"""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from proofml.tensors import Array

Picture = NDArray[np.float32]

_WORDS = (
    "proof of inference", "the quick brown fox", "Total 1,284.50", "ISBN 978-0-89871-521-7",
    "Hello, world", "no trace, no claim", "2025-11-26", "jumps over the lazy dog", "x = a * b + c",
    "Invoice 40817", "gate B12", "accepted",
)  # fmt: skip
_TOKENS = 1024


@dataclass(frozen=True)
class Case:
    """One model.

    Attributes:
        package, path: where its file lies.
        shape: of its one input, for one sample.
        make: an input from a seed, of that shape.
    """

    name: str
    package: str
    path: str
    shape: tuple[int, ...]
    make: Callable[[int, tuple[int, ...]], Array]

    @property
    def file(self) -> Path:
        """The .onnx file; a `ClickException` where its package is missing."""
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise click.ClickException(
                f"{self.package} is not installed; pip install 'proofml[test-models]'"
            )
        return Path(spec.submodule_search_locations[0]) / self.path

    def input(self, seed: int) -> Array:
        return self.make(seed, self.shape)


#: One input in so many is no text: blank, black, noise, or a ramp.
_ODD = 8


def line_of_text(seed: int, shape: tuple[int, ...]) -> Picture:
    """One line in an image [1, 3, height, width] with values from -1 to 1, a little noisy."""
    rng = np.random.default_rng(seed)
    height, width = shape[-2:]
    if seed % _ODD == _ODD - 1:
        return _odd(seed // _ODD, shape)
    page = _drawn(rng, height, width, [(4, height // 5, int(height * 0.5))])
    return _as_input(rng, page, shape)


def page_of_text(seed: int, shape: tuple[int, ...]) -> Picture:
    """Several lines in an image, as `line_of_text`."""
    rng = np.random.default_rng(seed)
    height, width = shape[-2:]
    if seed % _ODD == _ODD - 1:
        return _odd(seed // _ODD, shape)
    size = int(rng.integers(10, 22))
    rows = range(int(rng.integers(2, size)), height - size, size + int(rng.integers(6, 14)))
    lines = [(int(rng.integers(2, width // 4)), row, size) for row in rows]
    return _as_input(rng, _drawn(rng, height, width, lines), shape)


def _odd(kind: int, shape: tuple[int, ...]) -> Picture:
    """Pictures in which all or many places are the same, or none."""
    rng = np.random.default_rng(kind)
    flat = np.full(shape, (1.0, -1.0, rng.uniform(-1, 1))[kind % 3])
    ramp = np.broadcast_to(np.linspace(-1, 1, shape[-1]), shape)
    noise = rng.uniform(-1, 1, shape)
    return np.asarray((flat, ramp, noise)[kind % 4 % 3], np.float32)


def _drawn(
    rng: np.random.Generator, height: int, width: int, lines: list[tuple[int, int, int]]
) -> NDArray[np.float64]:
    """Ink on paper, 0 to 1; a line is (left, top, size of the letters)."""
    try:
        from PIL import Image, ImageDraw, ImageFont

        image = Image.new("L", (width, height), int(rng.integers(200, 256)))
        pen = ImageDraw.Draw(image)
        for left, top, size in lines:
            ink, words = int(rng.integers(0, 90)), _WORDS[int(rng.integers(len(_WORDS)))]
            pen.text((left, top), words, ink, ImageFont.load_default(size))
        return np.asarray(image, np.float64) / 255
    except ImportError:
        page = np.full((height, width), rng.uniform(0.8, 1.0))
        for left, top, size in lines:
            marks = rng.random((1, width - left)) < 0.5
            page[top : top + size, left:][:, marks[0]] = rng.uniform(0.0, 0.3)
        return page


def _as_input(
    rng: np.random.Generator, page: NDArray[np.float64], shape: tuple[int, ...]
) -> Picture:
    noisy = page + rng.normal(0, rng.uniform(0.002, 0.03), shape)  # a batch: other noise for each
    return (np.clip(noisy, 0, 1) * 2 - 1).astype(np.float32)


@cache
def _library() -> tuple[Path, ...]:
    folder = Path(sysconfig.get_paths()["stdlib"])
    found = [path for kind in ("*.py", "*.txt", "*.pyc", "*.so") for path in folder.rglob(kind)]
    return tuple(sorted(path for path in found if path.stat().st_size > 2 * _TOKENS))


def file_bytes(seed: int, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """The first and last bytes of a file: what magika sees of it."""
    rng = np.random.default_rng(seed)
    files = _library()
    data = files[int(rng.integers(len(files)))].read_bytes()
    start = 0 if rng.random() < 0.7 else int(rng.integers(len(data) - _TOKENS))
    part = data[start:].strip() or data
    if seed % _ODD == _ODD - 1:  # one byte again and again, a short file, or noise
        size = int(rng.integers(1, 600))
        part = (bytes([seed % 256]) * 4096, part[:size], rng.bytes(4096))[seed // _ODD % 3]
    first, last = part[:_TOKENS], part[-_TOKENS:]
    tokens = np.full(shape, 256, np.int32)
    tokens[:, : len(first)] = np.frombuffer(first, np.uint8)
    tokens[:, shape[1] - len(last) :] = np.frombuffer(last, np.uint8)
    return tokens


_OCR = "rapidocr_onnxruntime"
CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("classifier", _OCR, "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192),
             line_of_text),
        Case("recogniser", _OCR, "models/ch_PP-OCRv4_rec_infer.onnx", (1, 3, 48, 96),
             line_of_text),
        Case("detector", _OCR, "models/ch_PP-OCRv4_det_infer.onnx", (1, 3, 96, 96), page_of_text),
        Case("magika", "magika", "models/standard_v3_3/model.onnx", (1, 2 * _TOKENS), file_bytes),
    )
}  # fmt: skip
