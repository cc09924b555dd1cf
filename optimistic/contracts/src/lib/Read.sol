// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed} from "../Errors.sol";

/// @title Big-endian fields of bytes in calldata
/// @dev Every function reverts with `Malformed` where the bytes end before the field does.
library Read {
    function u8(bytes calldata data, uint256 pos) internal pure returns (uint256) {
        return _word(data, pos, 1) >> 248;
    }

    function u16(bytes calldata data, uint256 pos) internal pure returns (uint256) {
        return _word(data, pos, 2) >> 240;
    }

    function u32(bytes calldata data, uint256 pos) internal pure returns (uint256) {
        return _word(data, pos, 4) >> 224;
    }

    function u128(bytes calldata data, uint256 pos) internal pure returns (uint128) {
        return uint128(_word(data, pos, 16) >> 128);
    }

    function i8(bytes calldata data, uint256 pos) internal pure returns (int256) {
        return int8(uint8(u8(data, pos)));
    }

    function i32(bytes calldata data, uint256 pos) internal pure returns (int256) {
        return int32(uint32(u32(data, pos)));
    }

    function i64(bytes calldata data, uint256 pos) internal pure returns (int256) {
        return int64(uint64(_word(data, pos, 8) >> 192));
    }

    function hash(bytes calldata data, uint256 pos) internal pure returns (bytes32) {
        return bytes32(_word(data, pos, 32));
    }

    /// @notice 0 or 1; other bytes are no flag.
    function flag(bytes calldata data, uint256 pos) internal pure returns (bool) {
        uint256 value = u8(data, pos);
        require(value < 2, Malformed());
        return value == 1;
    }

    /// @notice An unsigned number of `size` bytes, at most 32.
    function unsigned(bytes calldata data, uint256 pos, uint256 size)
        internal
        pure
        returns (uint256)
    {
        return _word(data, pos, size) >> (256 - 8 * size);
    }

    function slice(bytes calldata data, uint256 pos, uint256 size)
        internal
        pure
        returns (bytes calldata)
    {
        require(pos + size <= data.length, Malformed());
        return data[pos:pos + size];
    }

    /// @dev The word that begins at `at`, of which the first `size` bytes lie within the data; what
    /// follows them is not the caller's to read.
    function _word(bytes calldata data, uint256 pos, uint256 size)
        private
        pure
        returns (uint256 value)
    {
        require(pos + size <= data.length, Malformed());
        assembly ("memory-safe") {
            value := calldataload(add(data.offset, pos))
        }
    }

    /// @notice Where free memory begins; `reclaim` takes back what was allocated since.
    function mark() internal pure returns (uint256 place) {
        assembly ("memory-safe") {
            place := mload(0x40)
        }
    }

    /// @notice Frees all memory from a mark on; the caller reads nothing of it any more.
    function reclaim(uint256 place) internal pure {
        assembly ("memory-safe") {
            mstore(0x40, place)
        }
    }
}
