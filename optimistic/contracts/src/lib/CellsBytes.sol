// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed} from "../Errors.sol";
import {Read} from "./Read.sol";
import {Trees} from "./Trees.sol";

/// @notice How the cells of a tensor are written: `value = low + unsigned(width bytes)`.
struct Cells {
    /// Place of the first dimension, u32 each.
    uint256 dims;
    uint256 rank;
    /// Cells of the tensor.
    uint256 count;
    /// Bytes of a cell.
    uint256 width;
    int256 low;
    int256 high;
    /// Place of what follows.
    uint256 end;
}

/// @title Shapes and cells of tensors
/// @notice `u8 rank | rank * u32 | u8 width | i32 low | i32 high`
/// @dev Twin of `proofml.optimistic.cells` and of the reader in `encoding`.
library CellsBytes {
    using Read for bytes;

    uint256 internal constant MAX_RANK = 8;
    uint256 internal constant MAX_CELLS = 1 << 26;

    /// @notice Reads the cells that stand at a place.
    function read(bytes calldata data, uint256 pos) internal pure returns (Cells memory cells) {
        cells.rank = data.u8(pos);
        require(cells.rank <= MAX_RANK, Malformed());
        cells.dims = pos + 1;
        pos = cells.dims + 4 * cells.rank;
        uint256 count = 1;
        for (uint256 i = 0; i < cells.rank; ++i) {
            uint256 length = data.u32(cells.dims + 4 * i);
            count *= length;
            require(length > 0 && count <= MAX_CELLS, Malformed());
        }
        cells.count = count;
        cells.width = data.u8(pos);
        cells.low = data.i32(pos + 1);
        cells.high = data.i32(pos + 5);
        require(cells.low <= cells.high, Malformed());
        int256 span = cells.high - cells.low;
        // The least that holds the span.
        require(cells.width == (span < 1 << 8 ? 1 : span < 1 << 16 ? 2 : 4), Malformed());
        cells.end = pos + 9;
    }

    /// @notice Leaves of the tensor's tree.
    function chunks(Cells memory cells) internal pure returns (uint256) {
        return (cells.count * cells.width + Trees.CHUNK - 1) / Trees.CHUNK;
    }

    /// @notice Bytes of a chunk; `chunk` is less than `chunks`.
    function chunkLength(Cells memory cells, uint256 chunk) internal pure returns (uint256) {
        uint256 rest = cells.count * cells.width - chunk * Trees.CHUNK;
        return rest < Trees.CHUNK ? rest : Trees.CHUNK;
    }

    /// @notice What a cell says, in range or not, within the chunk that holds it.
    function valueOf(Cells memory cells, bytes calldata chunk, uint256 cell)
        internal
        pure
        returns (int256)
    {
        uint256 pos = (cell * cells.width) % Trees.CHUNK;
        return cells.low + int256(chunk.unsigned(pos, cells.width));
    }
}
