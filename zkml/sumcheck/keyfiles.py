"""Proving keys in the cache: a circuit, its weights, and the tree that commits to them.

    circuit     the verifying key
    weights     every block of weights, one after the other at multiples of 64 bytes, each in the
                narrowest type that holds its stated range
    values      the tree's cells, uint32 .npy
    code        its code word, uint32 .npy
    nodes       its hashes, uint8 .npy

The arrays are mapped, not read, so that a large key costs no more memory than its pages in use.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proofml.circuits.graph import Ints, Weight, cells
from proofml.circuits.kernels.claims import Tree
from proofml.zkml.sumcheck.circuit import Circuit, read_circuit
from proofml.zkml.sumcheck.compile import write_circuit
from proofml.zkml.sumcheck.keys import ProvingKey, narrow
from proofml.zkml.sumcheck.layout import MODEL

_ALIGNED = 64
_ARRAYS = ("values", "code", "nodes")


def write_key(key: ProvingKey, folder: Path) -> dict[str, Path]:
    """The key as files in `folder`, by the names above."""
    files = {"circuit": write_circuit(key.circuit, folder)}
    if key.tree is None:
        return files
    files["weights"] = folder / "weights"
    with files["weights"].open("wb") as file:
        for name, offset, kind, _ in _blocks(key.circuit):
            file.seek(offset)
            file.write(np.ascontiguousarray(key.weights[name], kind).tobytes())
    for array in _ARRAYS:
        files[array] = folder / f"{array}.npy"
        np.save(files[array], getattr(key.tree, array))
    return files


def read_key(files: Mapping[str, Path]) -> ProvingKey:
    """The inverse of `write_key`, on files that the cache has checked.

    Raises:
        FieldError, KeyError, ValueError, OSError: files that another version wrote.
    """
    circuit = read_circuit(files["circuit"].read_bytes())
    if circuit.model_root is None:
        return ProvingKey(circuit, {}, None)
    data = np.memmap(files["weights"], np.uint8, "r")
    weights: dict[str, Ints] = {}
    for name, offset, kind, shape in _blocks(circuit):
        body = np.asarray(data[offset : offset + cells(shape) * kind.itemsize])
        weights[name] = body.view(kind).reshape(shape)
    values, code, nodes = (
        np.asarray(np.load(files[name], mmap_mode="r", allow_pickle=False)) for name in _ARRAYS
    )
    m = (len(values) - 1).bit_length()
    if nodes[1].tobytes() != circuit.model_root:
        raise ValueError("the tree is not the circuit's")
    return ProvingKey(circuit, weights, Tree(MODEL, m, values, code, nodes))


def _blocks(circuit: Circuit) -> Iterator[tuple[str, int, np.dtype[Any], tuple[int, ...]]]:
    """Name, offset, type and shape of each block of weights, in the order of the graph."""
    offset = 0
    for number, (tree, name) in circuit.layout.column.items():
        if tree != MODEL:
            continue
        node = circuit.graph.nodes[number]
        assert isinstance(node, Weight)
        ends: NDArray[np.int64] = np.array([node.low, node.high], np.int64)
        kind = narrow(ends).dtype
        yield name, offset, kind, node.shape
        offset += -(-cells(node.shape) * kind.itemsize // _ALIGNED) * _ALIGNED
