// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed, Terms} from "../Errors.sol";
import {Read} from "./Read.sol";

/// @title What a claim says and stakes
/// @notice `u8 version = 1 | 32 statement | 32 program | u16 n, n * 32 input roots | u16 n, n * 32
/// output roots | 32 trace root | u8 k_log | u128 bond | u128 challenge bond | u16 burn | u32 window
/// | u32 clock | u32 extension | u32 answer | u128 data fee | u16 length, uri`
/// @dev Twin of `proofml.optimistic.claim`.
library TermsBytes {
    using Read for bytes;

    uint256 private constant MAX_PORTS = 256;
    uint256 private constant MAX_URI = 1024;
    uint256 private constant WHOLE = 10_000;
    uint256 private constant STATEMENT = 1;
    uint256 private constant PROGRAM = 33;
    uint256 private constant INPUTS = 67;

    /// @notice Where the parts of terms lie.
    struct Places {
        uint256 inputs;
        uint256 outputs;
        /// Of the first output root.
        uint256 outputsAt;
        /// Of the trace root; what follows has fixed places up to the uri.
        uint256 traceAt;
        uint256 end;
    }

    /// @notice What the game is played by.
    struct Stakes {
        uint8 kLog;
        uint128 bond;
        uint128 challengeBond;
        uint16 burn;
        uint32 window;
        uint32 clock;
        uint32 extension;
        uint32 answer;
        uint128 dataFee;
    }

    /// @notice Finds the parts of the terms that `data` begins with.
    function parts(bytes calldata data) internal pure returns (Places memory found) {
        require(data.u8(0) == 1, Malformed());
        found.inputs = data.u16(INPUTS - 2);
        uint256 pos = INPUTS + 32 * found.inputs;
        found.outputs = data.u16(pos);
        found.outputsAt = pos + 2;
        require(found.inputs <= MAX_PORTS && found.outputs <= MAX_PORTS, Malformed());
        found.traceAt = found.outputsAt + 32 * found.outputs;
        uint256 length = data.u16(found.traceAt + 99);
        require(length <= MAX_URI, Malformed());
        found.end = found.traceAt + 101 + length;
        require(found.end <= data.length, Malformed());
    }

    function statement(bytes calldata data) internal pure returns (bytes32) {
        return data.hash(STATEMENT);
    }

    function program(bytes calldata data) internal pure returns (bytes32) {
        return data.hash(PROGRAM);
    }

    function input(bytes calldata data, uint256 index) internal pure returns (bytes32) {
        return data.hash(INPUTS + 32 * index);
    }

    function traceRoot(bytes calldata data, Places memory pos) internal pure returns (bytes32) {
        return data.hash(pos.traceAt);
    }

    function output(bytes calldata data, Places memory pos, uint256 index)
        internal
        pure
        returns (bytes32)
    {
        return data.hash(pos.outputsAt + 32 * index);
    }

    /// @notice Reads the stakes and checks that they can be posted, whatever the program is.
    function stakes(bytes calldata data, Places memory pos)
        internal
        pure
        returns (Stakes memory found)
    {
        uint256 base = pos.traceAt + 32;
        found.kLog = uint8(data.u8(base));
        found.bond = data.u128(base + 1);
        found.challengeBond = data.u128(base + 17);
        found.burn = uint16(data.u16(base + 33));
        found.window = uint32(data.u32(base + 35));
        found.clock = uint32(data.u32(base + 39));
        found.extension = uint32(data.u32(base + 43));
        found.answer = uint32(data.u32(base + 47));
        found.dataFee = data.u128(base + 51);
        require(found.kLog >= 1 && found.kLog <= 6 && found.burn <= WHOLE, Terms());
        require(found.bond > 0 && found.challengeBond > 0 && found.answer > 0, Terms());
        // A side without time, or one that can be left without, could not defend itself.
        require(found.extension > 0 && found.extension <= found.clock, Terms());
        // Who watches must be able to read the terms: characters that every decoder agrees about.
        for (uint256 i = base + 69; i < pos.end; ++i) {
            uint256 character = data.u8(i);
            require(character > 0x20 && character < 0x7F, Terms());
        }
    }
}
