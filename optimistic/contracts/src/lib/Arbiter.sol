// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Opening} from "../Errors.sol";
import {Cells, CellsBytes} from "./CellsBytes.sol";
import {Axis, DescriptorBytes, Operand, Operator, Part, Table} from "./DescriptorBytes.sol";
import {Float32} from "./Float32.sol";
import {LeafBytes} from "./LeafBytes.sol";
import {Read} from "./Read.sol";
import {Trees} from "./Trees.sol";

/// @notice Where the next opening of a move stands.
struct Openings {
    uint256 pos;
    /// How many are left.
    uint256 left;
}

/// @title One step of a fold, and the rule that makes a cell of its last state
/// @notice Reads the cells and records that the step needs from openings, each checked against a
/// root that was committed before.
/// @dev Twin of `proofml.optimistic.arbiter`. An opening is `u32 leaf index | u16 length, leaf | u8
/// n, n * 32 path`.
library Arbiter {
    using Read for bytes;
    using CellsBytes for Cells;
    using DescriptorBytes for Table;

    /// @notice State of a maximum before its first summand.
    int256 internal constant LEAST = -(1 << 31);
    /// @dev Products stop growing here, far beyond every state that can be asserted.
    int256 private constant HUGE = 1 << 127;

    /// @notice What a step is about.
    struct Step {
        Operator op;
        uint256 cell;
        uint256 summand;
        int256 state;
    }

    /// @dev Coordinates of a cell of the output, and of a summand within its part.
    struct Point {
        uint256[] out;
        uint256[] sum;
        /// Place of the first length of the part's sums.
        uint256 sumsAt;
    }

    /// @notice State before the first summand.
    function start(uint256 fold) internal pure returns (int256) {
        return fold == DescriptorBytes.MAXIMUM ? LEAST : int256(0);
    }

    /// @notice The state after one more summand.
    /// @param data The operator's descriptor.
    /// @param leaf Its leaf of the trace, with the roots of its operands.
    /// @param move The move that holds the openings: of the records of the left operand's axes, of
    /// its cell, then of the right operand's; none after the first index that is out of range. An
    /// argmax opens the summand, then the one that its state names.
    function step(
        bytes calldata data,
        bytes calldata leaf,
        Step memory pos,
        bytes calldata move,
        Openings memory cursor
    ) internal view returns (int256) {
        int256 value = _summand(data, leaf, pos, pos.summand, move, cursor);
        if (pos.op.fold == DescriptorBytes.SUM) return pos.state + value;
        if (pos.op.fold == DescriptorBytes.MAXIMUM) return value > pos.state ? value : pos.state;
        int256 best = _summand(data, leaf, pos, uint256(pos.state), move, cursor);
        return value > best ? int256(pos.summand) : pos.state;
    }

    /// @notice What the operator's rule makes of the last state.
    /// @param move The move that holds the opening of the rule's record, where it has any.
    function rule(
        bytes calldata data,
        Operator memory op,
        uint256 cell,
        int256 state,
        bytes calldata move,
        Openings memory cursor
    ) internal view returns (int256) {
        if (op.rule == DescriptorBytes.IDENTITY) return state;
        if (op.rule == DescriptorBytes.RELU) return state > 0 ? state : int256(0);
        uint256 channel = _channel(data, op, cell);
        if (op.rule == DescriptorBytes.INTERVALS) {
            return _interval(_open(move, cursor, op.table, move.u32(cursor.pos)), channel, state);
        }
        uint256 each = op.table.perLeaf();
        bytes calldata records = _open(move, cursor, op.table, channel / each);
        uint256 pos = (channel % each) * DescriptorBytes.REQUANT_RECORD;
        return
            Float32.requantise(state, records.u32(pos), records.i32(pos + 4), records.i32(pos + 8));
    }

    /// @dev Value of the first record that is the channel's and holds the state.
    function _interval(bytes calldata records, uint256 channel, int256 state)
        private
        pure
        returns (int256)
    {
        for (uint256 pos = 0; pos < records.length; pos += DescriptorBytes.INTERVAL_RECORD) {
            if (
                records.u32(pos) == channel && records.i32(pos + 4) <= state
                    && state <= records.i32(pos + 8)
            ) return records.i32(pos + 12);
        }
        revert Opening();
    }

    /// @dev Number of a cell's channel: its coordinates along the operator's channel axes.
    function _channel(bytes calldata data, Operator memory op, uint256 cell)
        private
        pure
        returns (uint256 channel)
    {
        uint256[] memory out = _unravel(data, op.cells.dims, op.cells.rank, cell);
        for (uint256 i = 0; i < op.channels; ++i) {
            uint256 axis = data.u8(op.channelsAt + i);
            channel = channel * data.u32(op.cells.dims + 4 * axis) + out[axis];
        }
    }

    /// @dev Value of one summand: coefficient, coefficients of axes, left and right multiplied; 0
    /// where an index is out of range.
    function _summand(
        bytes calldata data,
        bytes calldata leaf,
        Step memory pos,
        uint256 summand,
        bytes calldata move,
        Openings memory cursor
    ) private view returns (int256 value) {
        (Part memory part, uint256 operand, uint256 j) = _partOf(data, pos.op, summand);
        Point memory point = Point({
            out: _unravel(data, pos.op.cells.dims, pos.op.cells.rank, pos.cell),
            sum: _unravel(data, part.sumsAt, part.sums, j),
            sumsAt: part.sumsAt
        });
        bool present;
        (value, present) = _factor(data, leaf, operand, part.left, point, move, cursor);
        if (!present) return 0;
        if (part.hasRight) {
            int256 right;
            operand += part.left.source == DescriptorBytes.ONES ? 0 : 1;
            (right, present) = _factor(data, leaf, operand, part.right, point, move, cursor);
            if (!present) return 0;
            value = _times(value, right);
        }
        return _times(value, part.coefficient);
    }

    /// @dev The part that holds a summand, the number of its first operand that has a root, and the
    /// summand's number within it.
    function _partOf(bytes calldata data, Operator memory op, uint256 summand)
        private
        pure
        returns (Part memory part, uint256 operand, uint256 j)
    {
        j = summand;
        uint256 pos = op.partsAt;
        uint256 free = Read.mark();
        for (uint256 i = 0; i < op.parts; ++i) {
            Read.reclaim(free);
            part = DescriptorBytes.part(data, op, pos);
            if (j < part.count) return (part, operand, j);
            j -= part.count;
            pos = part.end;
            if (part.left.source != DescriptorBytes.ONES) ++operand;
            if (part.hasRight && part.right.source != DescriptorBytes.ONES) ++operand;
        }
        revert Opening();
    }

    /// @dev An operand's cell times the coefficients of its axes; not present where an index is out
    /// of range.
    /// @param operand Number of the operand's root in the leaf.
    function _factor(
        bytes calldata data,
        bytes calldata leaf,
        uint256 operand,
        Operand memory from,
        Point memory point,
        bytes calldata move,
        Openings memory cursor
    ) private view returns (int256 value, bool present) {
        if (from.source == DescriptorBytes.ONES) return (1, true);
        value = 1;
        uint256 flat = 0;
        uint256 pos = from.axesAt;
        for (uint256 i = 0; i < from.cells.rank; ++i) {
            Axis memory axis = DescriptorBytes.axis(data, pos);
            pos = axis.end;
            (int256 place, int256 coefficient) = _place(data, axis, point, move, cursor);
            if (place < 0 || place >= int256(axis.length)) return (0, false);
            flat = flat * axis.length + uint256(place);
            value = _times(value, coefficient);
        }
        Cells memory cells = from.cells;
        uint256 chunk = flat * cells.width / Trees.CHUNK;
        bytes calldata opened = _next(
            move,
            cursor,
            LeafBytes.input(leaf, operand),
            cells.chunks(),
            chunk,
            cells.chunkLength(chunk)
        );
        value = _times(value, cells.valueOf(opened, flat));
        present = true;
    }

    /// @dev Index along one axis of an operand, in range or not, and its coefficient.
    function _place(
        bytes calldata data,
        Axis memory axis,
        Point memory point,
        bytes calldata move,
        Openings memory cursor
    ) private view returns (int256 place, int256 coefficient) {
        uint256 out = axis.out < 0 ? 0 : point.out[uint256(axis.out)];
        uint256 sum = axis.sum < 0 ? 0 : point.sum[uint256(axis.sum)];
        if (axis.table.count == 0) {
            place = int256(out) * axis.stride + int256(sum) * axis.dilation + axis.offset;
            return (place, 1);
        }
        // One record for each summand along the axis, for each place along the output.
        uint256 taps = axis.sum < 0 ? 1 : data.u32(point.sumsAt + 4 * uint256(axis.sum));
        uint256 record = out * taps + sum;
        uint256 each = axis.table.perLeaf();
        bytes calldata records = _open(move, cursor, axis.table, record / each);
        uint256 start_ = (record % each) * DescriptorBytes.AXIS_RECORD;
        return (records.i32(start_), records.i32(start_ + 4));
    }

    /// @dev Opens a leaf of a table.
    function _open(bytes calldata move, Openings memory cursor, Table memory table, uint256 leaf)
        private
        view
        returns (bytes calldata)
    {
        uint256 count = table.leaves();
        require(leaf < count, Opening());
        return _next(move, cursor, table.root, count, leaf, table.leafLength(leaf));
    }

    /// @dev Takes the next opening, which must be of this leaf under this root.
    function _next(
        bytes calldata move,
        Openings memory cursor,
        bytes32 root,
        uint256 count,
        uint256 index,
        uint256 length
    ) private view returns (bytes calldata leaf) {
        require(cursor.left > 0, Opening());
        uint256 pos = cursor.pos;
        require(move.u32(pos) == index && move.u16(pos + 4) == length, Opening());
        leaf = move.slice(pos + 6, length);
        pos += 6 + length;
        bytes calldata path = move.slice(pos + 1, 32 * move.u8(pos));
        require(Trees.opens(root, count, index, leaf, path), Opening());
        cursor.pos = pos + 1 + path.length;
        --cursor.left;
    }

    /// @dev Coordinates of a flat index, row-major, where `rank` lengths stand at `dims`.
    function _unravel(bytes calldata data, uint256 dims, uint256 rank, uint256 flat)
        private
        pure
        returns (uint256[] memory place)
    {
        place = new uint256[](rank);
        for (uint256 i = rank; i > 0; --i) {
            uint256 length = data.u32(dims + 4 * (i - 1));
            place[i - 1] = flat % length;
            flat /= length;
        }
    }

    /// @dev Product of a value and a factor of less than 2^34, held within +-HUGE. Nothing but 0
    /// comes back from there, so that the end is HUGE exactly where the true product is at least as
    /// large, and no asserted state is.
    function _times(int256 value, int256 factor) private pure returns (int256) {
        int256 product = value * factor;
        return product > HUGE ? HUGE : product < -HUGE ? -HUGE : product;
    }
}
