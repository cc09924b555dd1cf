// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Header, NoInput, OutputRoot, PassedThrough, Program} from "../Errors.sol";
import {Cells, CellsBytes} from "./CellsBytes.sol";
import {Read} from "./Read.sol";
import {TermsBytes} from "./TermsBytes.sol";
import {Trees} from "./Trees.sol";

/// @title Header of a program: its ports, and the root over its operators' descriptors
/// @notice `u32 N | u16 n, n * port | u16 n, n * port | 32 descriptor root`, where a port is `cells |
/// u8 source | u32 index`. The root of the program is SHA-256 of 0x02 and the header.
library HeaderBytes {
    using Read for bytes;

    uint256 internal constant INPUT = 0;
    uint256 internal constant OPERATOR = 2;
    /// @dev Place of the first input's port.
    uint256 internal constant FIRST = 6;

    /// @notice Number of operators.
    function operators(bytes calldata header) internal pure returns (uint256) {
        return header.u32(0);
    }

    /// @notice Root over the descriptors. Only of a header that `check` has passed.
    function descriptorRoot(bytes calldata header) internal pure returns (bytes32) {
        return header.hash(header.length - 32);
    }

    /// @notice That this is the header of the terms' program and agrees with them.
    function check(bytes calldata header, bytes calldata terms, TermsBytes.Places memory places)
        internal
        view
    {
        require(Trees.hash(2, header) == TermsBytes.program(terms), Program());
        uint256 count = operators(header);
        require(count > 0, Header());
        require(header.u16(4) == places.inputs, Header());
        uint256 place = FIRST;
        uint256 source;
        uint256 index;
        for (uint256 i = 0; i < places.inputs; ++i) {
            (place, source, index) = _port(header, place);
            require(source == INPUT && index == i, Header());
        }
        require(header.u16(place) == places.outputs && places.outputs > 0, Header());
        place += 2;
        for (uint256 i = 0; i < places.outputs; ++i) {
            (place, source, index) = _port(header, place);
            if (source == INPUT) {
                require(index < places.inputs, Header());
                bytes32 passed = TermsBytes.output(terms, places, i);
                require(passed == TermsBytes.input(terms, index), PassedThrough());
            } else {
                require(source == OPERATOR && index < count, Header());
            }
        }
        require(header.length == place + 32, Header());
    }

    /// @notice That every output which an operator makes has the root that the trace gives it.
    function checkOutput(
        bytes calldata header,
        bytes calldata terms,
        TermsBytes.Places memory places,
        uint256 operator,
        bytes32 root
    ) internal pure {
        uint256 place = FIRST;
        uint256 source;
        uint256 index;
        place = skip(header, place, places.inputs) + 2;
        for (uint256 i = 0; i < places.outputs; ++i) {
            (place, source, index) = _port(header, place);
            if (source == OPERATOR && index == operator) {
                require(TermsBytes.output(terms, places, i) == root, OutputRoot());
            }
        }
    }

    /// @notice Cells of an input.
    function input(bytes calldata header, uint256 index) internal pure returns (Cells memory) {
        require(index < header.u16(4), NoInput());
        return CellsBytes.read(header, skip(header, FIRST, index));
    }

    /// @notice The place after so many ports.
    function skip(bytes calldata header, uint256 place, uint256 ports)
        internal
        pure
        returns (uint256)
    {
        for (uint256 i = 0; i < ports; ++i) {
            (place,,) = _port(header, place);
        }
        return place;
    }

    /// @dev Reads a port; `end` is the place of what follows it.
    function _port(bytes calldata header, uint256 place)
        private
        pure
        returns (uint256 end, uint256 source, uint256 index)
    {
        Cells memory cells = CellsBytes.read(header, place);
        source = header.u8(cells.end);
        index = header.u32(cells.end + 1);
        end = cells.end + 5;
    }
}
