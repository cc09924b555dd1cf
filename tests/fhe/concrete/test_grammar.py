"""Invariant: nothing but operations on ciphertexts is compiled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proofml.fhe.concrete import grammar
from proofml.fhe.concrete.circuit import ConcreteCircuit
from proofml.fhe.scheme import Malformed

PLAIN = """module {
  func.func @f(%arg0: tensor<1x4x!FHE.eint<3>>) -> tensor<1x2x!FHE.esint<4>> {
    %cst = arith.constant dense<[[1, -2], [0, 1]]> : tensor<2x2xi3>
    %cst_0 = arith.constant dense<"0x0102FF"> : tensor<3xi8>
    %c3_i4 = arith.constant 3 : i4
    %from_elements = tensor.from_elements %c3_i4 : tensor<1xi4>
    %0 = "FHELinalg.to_signed"(%arg0) : (tensor<1x4x!FHE.eint<3>>) -> tensor<1x4x!FHE.esint<3>>
    %1 = "FHELinalg.conv2d"(%0, %cst) {dilations = dense<1> : tensor<2xi64>, group = 1 : i64} : \
(tensor<1x4x!FHE.esint<3>>, tensor<2x2xi3>) -> tensor<1x2x!FHE.esint<4>>
    %collapsed = tensor.collapse_shape %1 [[0], [1, 2]] : tensor<1x2x!FHE.esint<4>> into \
tensor<2x!FHE.esint<4>>
    return %1 : tensor<1x2x!FHE.esint<4>>
  }
}
"""


def test_what_concrete_writes(
    linear: ConcreteCircuit, network: ConcreteCircuit, forest: ConcreteCircuit
) -> None:
    for circuit in (linear, network, forest):
        assert grammar.check(circuit.text) == circuit.program.function
    assert grammar.check(PLAIN.encode()) == "f"
    assert grammar.check(PLAIN.rstrip("\n").encode()) == "f"


HOSTILE = [
    '    %9 = "llvm.call"() {callee = @system} : () -> i32',
    "    %9 = llvm.call @system(%1) : (i64) -> i32",
    "    %9 = func.call @system(%1) : (i64) -> i32",
    "    call @system(%1) : (i64) -> ()",
    '    %9 = "FHELinalg.round"(%1) ({ "llvm.call"() : () -> () }) : (i3) -> i3',
    '    %9 = "FHELinalg.fancy_index"(%1, %cst) : (tensor<9xi3>, tensor<3xindex>) -> tensor<3xi3>',
    '    %9 = "FHELinalg.fancy_assign"(%1, %cst, %2) : (tensor<9xi3>, tensor<3xindex>, '
    "tensor<3xi3>) -> tensor<9xi3>",
    '    %9 = "FHE.gen_gate"(%1, %2, %3) : (i3, i3, i3) -> i3',
    "    %9 = tensor.empty() : tensor<3xi3>",
    "    %9 = tensor.cast %1 : tensor<3xi3> to tensor<3xi3>",
    "    %9 = tensor.extract_slice %1[%c3_i4] [1] [1] : tensor<3xi3> to tensor<1xi3>",
    '    %9 = "FHELinalg.round"(%1) {a = "x"} : (i3) -> i3',
    '    %9 = "FHELinalg.round"(%1) {a = @system} : (i3) -> i3',
    '    %9 = "FHELinalg.round"(%1) {a = 1} {b = 2} : (i3) -> i3',
    '    %9 = "FHELinalg.round"(%1) : (i3) -> i3 loc("x")',
    '    %9 = "Concrete.bootstrap_lwe_tensor"(%1) : (i3) -> i3',
    '    %9 = "RT.await_future"(%1) : (i3) -> i3',
    '    %9:2 = "FHELinalg.round"(%1) : (i3) -> i3',
    '    %9 = "FHELinalg.round"(%1) : (!llvm.ptr) -> i3',
    '    %9 = "FHELinalg.round"(%1) : (memref<3xi3>) -> i3',
    "    %9 = memref.alloc() : memref<3xi3>",
    "    %9 = tensor.generate { } : tensor<3xi3>",
    '    %9 = tensor.extract %1 "x" : i3',
    '    %9 = arith.constant dense<"text"> : tensor<3xi3>',
    "    %9 = arith.constant @system : i3",
    "    %9 = linalg.generic {} ins(%1 : i3) outs(%1 : i3) { }",
    "    scf.for %i = %a to %b step %c { }",
    "  func.func private @system(i64) -> i32",
    "    ^bb0:",
    "    // a remark",
    '  } func.func @g() { "llvm.call"() }',
    '#alias = "x"',
    "",
]


@pytest.mark.parametrize("line", HOSTILE)
def test_other_operations(line: str) -> None:
    lines = PLAIN.split("\n")
    lines.insert(7, line)
    with pytest.raises(Malformed):
        grammar.check("\n".join(lines).encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "module {\n}\n",
        PLAIN + PLAIN,
        PLAIN + "#x",
        PLAIN.replace("module {", "module @m {"),
        PLAIN.replace("func.func @f", "func.func private @f"),
        PLAIN.replace("func.func @f", 'func.func @"system"'),
        PLAIN.replace("-> tensor<1x2x!FHE.esint<4>> {", "-> i32 attributes {x} {"),
        PLAIN.replace("return", "llvm.return"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("%c3", "\u0665"),
    ],
)
def test_other_modules(text: str) -> None:
    with pytest.raises(Malformed):
        grammar.check(text.encode())


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(Malformed):
        grammar.check(data)


INSIDE = [
    '    %9 = "FHELinalg.apply_mapped_lookup_table"(%1, %2, %m) : (tensor<1x3x!FHE.eint<2>>, '
    "tensor<3x4xi64>, tensor<1x3xindex>) -> tensor<1x3x!FHE.eint<2>>",
    "    %9 = tensor.extract %1[%i, %i] : tensor<3x3x!FHE.eint<2>>",
    "    %9 = tensor.insert %2 into %1[%i] : tensor<3x!FHE.eint<2>>",
    "    %9 = tensor.extract_slice %1[0, 1] [2, 2] [2, 1] : tensor<3x3xi4> to tensor<2x2xi4>",
    "    %9 = tensor.insert_slice %2 into %1[1, 1] [2, 2] [1, 1] : tensor<2x2xi4> "
    "into tensor<3x3xi4>",
    "    %9 = tensor.insert_slice %2 into %1[0] [9] [1] : tensor<9xi4> into tensor<9xi4>",
]
#: (part of a line above, the same part reaching beyond its tensor)
OUTSIDE = [
    (0, "%m)", "%arg0)"),
    (0, "tensor<3x4xi64>", "tensor<2x4xi64>"),
    (0, "tensor<3x4xi64>", "tensor<4xi64>"),
    (0, "(%1, %2, %m)", "(%1, %2)"),
    (1, "%i, %i", "%i, %j"),
    (1, "%i, %i", "%i, %c3_i4"),
    (1, "%i, %i", "%i, %n"),
    (1, "%i, %i", "%i"),
    (1, "3x3x", "3x2x"),
    (2, "%i", "%j"),
    (3, "[0, 1]", "[0, 2]"),
    (3, "[2, 1]", "[3, 1]"),
    (3, "[2, 2]", "[2, 3]"),
    (3, "[0, 1]", "[0]"),
    (3, "[2, 1]", "[0, 1]"),
    (4, "[1, 1] [2, 2]", "[1, 100000] [2, 2]"),
    (4, "into tensor<3x3xi4>", "into tensor<2x3xi4>"),
    (5, "[9]", "[10]"),
    (5, "[0]", "[999999999]"),
]
INDICES = """    %i = arith.constant 2 : index
    %j = arith.constant 3 : index
    %n = arith.constant -1 : index
    %m = arith.constant dense<[[0, 1, 2]]> : tensor<1x3xindex>"""


def _with(*added: str) -> bytes:
    lines = PLAIN.split("\n")
    lines[7:7] = added
    return "\n".join(lines).encode()


@pytest.mark.parametrize("line", INSIDE)
def test_indices_inside(line: str) -> None:
    assert grammar.check(_with(INDICES, line)) == "f"


@pytest.mark.parametrize(("which", "part", "other"), OUTSIDE)
def test_indices_outside(which: int, part: str, other: str) -> None:
    """Machine code would read or write beside the tensor."""
    line = INSIDE[which]
    assert part in line
    with pytest.raises(Malformed):
        grammar.check(_with(INDICES, line.replace(part, other, 1)))


@pytest.mark.parametrize(
    "map_of",
    [
        "dense<3> : tensor<1x3xindex>",
        "dense<[[0, 1, -1]]> : tensor<1x3xindex>",
        'dense<"0x000000000000000001000000000000000300000000000000"> : tensor<1x3xindex>',
        'dense<"0x0000000000000000010000000000000000000000000000FF"> : tensor<1x3xindex>',
        'dense<"0x00"> : tensor<1x3xindex>',
        "dense<[[0, 1, 2]]> : tensor<1x3xi64>",
    ],
)
def test_maps_of_lookups(map_of: str) -> None:
    with pytest.raises(Malformed):
        grammar.check(_with(f"    %m = arith.constant {map_of}", INSIDE[0]))
