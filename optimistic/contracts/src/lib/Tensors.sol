// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Cells, CellsBytes} from "./CellsBytes.sol";
import {HeaderBytes} from "./HeaderBytes.sol";
import {TermsBytes} from "./TermsBytes.sol";
import {Trees} from "./Trees.sol";

/// @title Inputs and outputs of a claim as plain bytes
/// @notice The cells of all tensors, one tensor after the other, in the order of the ports.
library Tensors {
    using CellsBytes for Cells;

    /// @notice Whether these are the bytes of the claim's inputs, or of its outputs.
    /// @param content Terms and header, which belong together.
    function match_(bytes calldata content, bool outputs, bytes calldata data)
        internal
        view
        returns (bool)
    {
        TermsBytes.Places memory places = TermsBytes.parts(content);
        bytes calldata header = content[places.end:];
        uint256 place = HeaderBytes.FIRST;
        if (outputs) place = HeaderBytes.skip(header, place, places.inputs) + 2;
        uint256 count = outputs ? places.outputs : places.inputs;
        uint256 pos = 0;
        for (uint256 i = 0; i < count; ++i) {
            Cells memory cells = CellsBytes.read(header, place);
            place = HeaderBytes.skip(header, place, 1);
            uint256 size = cells.count * cells.width;
            if (pos + size > data.length) return false;
            bytes32 root =
                outputs ? TermsBytes.output(content, places, i) : TermsBytes.input(content, i);
            if (Trees.rootOfBytes(data[pos:pos + size]) != root) return false;
            pos += size;
        }
        return pos == data.length;
    }
}
