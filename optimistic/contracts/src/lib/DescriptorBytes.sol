// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed} from "../Errors.sol";
import {Cells, CellsBytes} from "./CellsBytes.sol";
import {Read} from "./Read.sol";
import {Trees} from "./Trees.sol";

/// @notice Committed constant records of one length; `count` 0 where there is no table.
struct Table {
    bytes32 root;
    uint256 count;
    uint256 size;
}

/// @notice What a descriptor says before its parts.
struct Operator {
    uint256 fold;
    Cells cells;
    uint256 rule;
    /// Number of the axes along which the rule's records differ, and place of the first.
    uint256 channels;
    uint256 channelsAt;
    Table table;
    uint256 parts;
    uint256 partsAt;
}

/// @notice A tensor and how its cell is found.
struct Operand {
    uint256 source;
    uint256 index;
    Cells cells;
    /// Of a weight only.
    bytes32 root;
    uint256 axesAt;
    uint256 end;
}

/// @notice Consecutive summands `coefficient * left * right` over all of `sums`.
struct Part {
    int256 coefficient;
    uint256 sums;
    uint256 sumsAt;
    uint256 count;
    bool hasRight;
    Operand left;
    Operand right;
    uint256 end;
}

/// @notice How one axis of an operand is indexed.
struct Axis {
    uint256 length;
    int256 out;
    int256 sum;
    int256 stride;
    int256 dilation;
    int256 offset;
    Table table;
    uint256 end;
}

/// @title Descriptors of operators, read in place
/// @notice `u8 version = 1 | u8 fold | cells | u8 rule | u8 n, n * u8 channel axes | u8 0, or u8 1 and
/// a table | u16 n, n * part`; the parts are given at the functions that read them.
/// @dev Twin of `proofml.optimistic.encoding`: accepts what its reader accepts, and nothing else.
library DescriptorBytes {
    using Read for bytes;

    // Fold.
    uint256 internal constant SUM = 0;
    uint256 internal constant MAXIMUM = 1;
    uint256 internal constant ARGMAX = 2;
    // Source.
    uint256 internal constant INPUT = 0;
    uint256 internal constant WEIGHT = 1;
    uint256 internal constant OPERATOR = 2;
    uint256 internal constant ONES = 3;
    // Rule.
    uint256 internal constant IDENTITY = 0;
    uint256 internal constant REQUANT = 1;
    uint256 internal constant INTERVALS = 2;
    uint256 internal constant RELU = 3;
    // Bytes of a record.
    uint256 internal constant AXIS_RECORD = 8;
    uint256 internal constant REQUANT_RECORD = 12;
    uint256 internal constant INTERVAL_RECORD = 16;

    uint256 private constant MAX_SUMS = 8;

    /// @notice Reads a descriptor up to its parts.
    function head(bytes calldata data) internal pure returns (Operator memory op) {
        require(data.u8(0) == 1, Malformed());
        op.fold = data.u8(1);
        require(op.fold <= ARGMAX, Malformed());
        op.cells = CellsBytes.read(data, 2);
        uint256 pos = op.cells.end;
        op.rule = data.u8(pos);
        op.channels = data.u8(pos + 1);
        op.channelsAt = pos + 2;
        require(op.rule <= RELU && op.channels <= op.cells.rank, Malformed());
        uint256 channels = 1;
        uint256 least = 0;
        for (uint256 i = 0; i < op.channels; ++i) {
            uint256 dim = data.u8(op.channelsAt + i);
            require(dim >= least && dim < op.cells.rank, Malformed());
            least = dim + 1;
            channels *= data.u32(op.cells.dims + 4 * dim);
        }
        (op.table, pos) = _table(data, op.channelsAt + op.channels);
        if (op.rule == REQUANT) {
            require(op.table.size == REQUANT_RECORD && op.table.count == channels, Malformed());
        } else if (op.rule == INTERVALS) {
            require(op.table.size == INTERVAL_RECORD && op.table.count >= channels, Malformed());
        } else {
            require(op.table.count == 0 && op.channels == 0, Malformed());
        }
        op.parts = data.u16(pos);
        op.partsAt = pos + 2;
        require(op.parts > 0 && (op.fold != ARGMAX || op.parts == 1), Malformed());
    }

    /// @notice Reads a part: `i32 coefficient | u8 n, n * u32 sums | operand | u8 0, or u8 1 and an
    /// operand`.
    function part(bytes calldata data, Operator memory op, uint256 pos)
        internal
        pure
        returns (Part memory found)
    {
        found.coefficient = data.i32(pos);
        found.sums = data.u8(pos + 4);
        require(found.sums <= MAX_SUMS, Malformed());
        found.sumsAt = pos + 5;
        found.count = 1;
        for (uint256 i = 0; i < found.sums; ++i) {
            uint256 length = data.u32(found.sumsAt + 4 * i);
            require(length > 0 && length <= CellsBytes.MAX_CELLS, Malformed());
            found.count *= length;
        }
        found.left = _operand(data, op, found, found.sumsAt + 4 * found.sums);
        found.end = found.left.end + 1;
        found.hasRight = data.flag(found.left.end);
        if (op.fold != SUM) {
            require(found.coefficient == 1 && !found.hasRight, Malformed());
            require(op.fold != ARGMAX || found.sums == 1, Malformed());
        }
        if (found.hasRight) {
            found.right = _operand(data, op, found, found.end);
            found.end = found.right.end;
        }
    }

    /// @notice Reads an axis that `part` has passed: `u32 length | i8 out | i8 sum | i32 stride | i32
    /// dilation | i32 offset | u8 0, or u8 1 and a table`.
    function axis(bytes calldata data, uint256 pos) internal pure returns (Axis memory found) {
        found.length = data.u32(pos);
        found.out = data.i8(pos + 4);
        found.sum = data.i8(pos + 5);
        found.stride = data.i32(pos + 6);
        found.dilation = data.i32(pos + 10);
        found.offset = data.i32(pos + 14);
        (found.table, found.end) = _table(data, pos + 18);
    }

    /// @notice Records in a whole leaf of the table's tree.
    function perLeaf(Table memory table) internal pure returns (uint256) {
        return Trees.CHUNK / table.size;
    }

    /// @notice Leaves of the table's tree.
    function leaves(Table memory table) internal pure returns (uint256) {
        uint256 each = perLeaf(table);
        return (table.count + each - 1) / each;
    }

    /// @notice Bytes of a leaf; `leaf` is less than `leaves`.
    function leafLength(Table memory table, uint256 leaf) internal pure returns (uint256) {
        uint256 each = perLeaf(table);
        uint256 rest = table.count - leaf * each;
        return (rest < each ? rest : each) * table.size;
    }

    /// @dev Reads an operand: `u8 3`, the number 1, or `u8 source | u32 index | cells | 32 root, of a
    /// weight only | u8 n, n * axis`.
    function _operand(bytes calldata data, Operator memory op, Part memory within, uint256 pos)
        private
        pure
        returns (Operand memory found)
    {
        found.source = data.u8(pos);
        require(found.source <= ONES, Malformed());
        found.end = pos + 1;
        if (found.source == ONES) return found;
        found.index = data.u32(pos + 1);
        found.cells = CellsBytes.read(data, pos + 5);
        pos = found.cells.end;
        if (found.source == WEIGHT) {
            found.root = data.hash(pos);
            pos += 32;
        }
        require(data.u8(pos) == found.cells.rank, Malformed());
        ++pos;
        found.axesAt = pos;
        for (uint256 i = 0; i < found.cells.rank; ++i) {
            require(data.u32(pos) == data.u32(found.cells.dims + 4 * i), Malformed());
            pos = _checkAxis(data, op, within, pos);
        }
        found.end = pos;
    }

    /// @dev That an axis can be evaluated without a further look; returns the place after it.
    function _checkAxis(bytes calldata data, Operator memory op, Part memory within, uint256 pos)
        private
        pure
        returns (uint256)
    {
        Axis memory found = axis(data, pos);
        require(found.out >= -1 && found.out < int256(op.cells.rank), Malformed());
        require(found.sum >= -1 && found.sum < int256(within.sums), Malformed());
        if (found.table.count == 0) {
            require(found.out >= 0 || found.stride == 0, Malformed());
            require(found.sum >= 0 || found.dilation == 0, Malformed());
        } else {
            require(found.stride == 0 && found.dilation == 0 && found.offset == 0, Malformed());
            uint256 count = 1;
            if (found.out >= 0) count = data.u32(op.cells.dims + 4 * uint256(found.out));
            if (found.sum >= 0) count *= data.u32(within.sumsAt + 4 * uint256(found.sum));
            require(found.table.size == AXIS_RECORD && found.table.count == count, Malformed());
        }
        return found.end;
    }

    /// @dev Reads `u8 0`, or `u8 1 | 32 root | u32 count | u16 size`.
    function _table(bytes calldata data, uint256 pos)
        private
        pure
        returns (Table memory found, uint256 end)
    {
        if (!data.flag(pos)) return (found, pos + 1);
        found.root = data.hash(pos + 1);
        found.count = data.u32(pos + 33);
        found.size = data.u16(pos + 37);
        require(found.count > 0 && found.size > 0 && found.size <= Trees.CHUNK, Malformed());
        end = pos + 39;
    }
}
