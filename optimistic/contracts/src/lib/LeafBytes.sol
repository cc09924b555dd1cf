// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Read} from "./Read.sol";

/// @title Leaf of the trace: one operator's input roots and output root
/// @notice `u32 operator | u16 n | n * 32 input roots | 32 output root`
library LeafBytes {
    using Read for bytes;

    uint256 private constant ROOTS = 6;

    /// @notice Bytes of the leaf that `data` begins with.
    function length(bytes calldata data) internal pure returns (uint256) {
        return ROOTS + 32 * inputs(data) + 32;
    }

    /// @notice Whether the data is one leaf, of this operator, and nothing more.
    function isOf(bytes calldata data, uint256 index) internal pure returns (bool) {
        return data.length >= ROOTS && data.length == length(data) && operator(data) == index;
    }

    function operator(bytes calldata data) internal pure returns (uint256) {
        return data.u32(0);
    }

    function inputs(bytes calldata data) internal pure returns (uint256) {
        return data.u16(4);
    }

    /// @notice Root of an operand; `index` is less than `inputs`.
    function input(bytes calldata data, uint256 index) internal pure returns (bytes32) {
        return data.hash(ROOTS + 32 * index);
    }

    function output(bytes calldata data) internal pure returns (bytes32) {
        return data.hash(ROOTS + 32 * inputs(data));
    }
}
