// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Chunk,
    Context,
    Descriptor,
    InputRoot,
    Leaf,
    Malformed,
    NoCell,
    NoWire,
    Operands,
    WeightRoot,
    Wiring
} from "../Errors.sol";
import {Claim, Dispute, Phase} from "../Types.sol";
import {Arbiter} from "./Arbiter.sol";
import {Cells, CellsBytes} from "./CellsBytes.sol";
import {Descent} from "./Descent.sol";
import {DescriptorBytes, Operand, Operator, Part} from "./DescriptorBytes.sol";
import {HeaderBytes} from "./HeaderBytes.sol";
import {LeafBytes} from "./LeafBytes.sol";
import {Read} from "./Read.sol";
import {TermsBytes} from "./TermsBytes.sol";
import {Trees} from "./Trees.sol";

/// @title The disputed operator, and one chunk of what it made
/// @dev Twin of `proofml.optimistic.phases.operator` and `chunk`. What follows a revealed operator
/// names it by its leaf of the trace and its descriptor, end to end.
library Site {
    using Read for bytes;
    using CellsBytes for Cells;

    /// @notice Checks `u16 length, leaf | u16 length, descriptor | u8 n, n * 32 path` of the current
    /// leaf of the trace: all that does not depend on other operators. An honest claimant can always
    /// pass it, and one who cannot has lost.
    /// @param context Terms and header, which the caller has checked.
    function reveal(Dispute storage dispute, bytes calldata body, bytes calldata context) internal {
        bytes calldata leaf = body.slice(2, body.u16(0));
        uint256 pos = 2 + leaf.length;
        bytes calldata data = body.slice(pos + 2, body.u16(pos));
        pos += 2 + data.length;
        bytes calldata path = _path(body, pos);
        uint256 index = dispute.index;
        require(Descent.holds(dispute, Trees.leaf(leaf)) && LeafBytes.isOf(leaf, index), Leaf());
        TermsBytes.Places memory places = TermsBytes.parts(context);
        bytes calldata header = context[places.end:];
        require(
            Trees.opens(HeaderBytes.descriptorRoot(header), dispute.count, index, data, path),
            Descriptor()
        );
        Operator memory op = DescriptorBytes.head(data);
        dispute.summands = _checkOperands(data, op, leaf, context[:places.end], places);
        HeaderBytes.checkOutput(header, context[:places.end], places, index, LeafBytes.output(leaf));
        dispute.operator = keccak256(bytes.concat(leaf, data));
        dispute.fold = uint8(op.fold);
        uint256 chunks = op.cells.chunks();
        dispute.tail = uint16(op.cells.chunkLength(chunks - 1));
        dispute.node = LeafBytes.output(leaf);
        dispute.count = uint32(chunks);
        dispute.level = uint8(Trees.depth(chunks));
        dispute.index = 0;
        dispute.phase = Phase.OPERATOR_ANSWER;
    }

    /// @notice Whether an operand is not its producer's output, by `u16 operand | u16 length, leaf |
    /// u8 n, n * 32 path` of the producer's leaf of the trace.
    function miswired(
        Dispute storage dispute,
        Claim storage claim,
        bytes calldata body,
        bytes calldata context
    ) internal view returns (bool) {
        uint256 number = body.u16(0);
        bytes calldata producer = body.slice(4, body.u16(2));
        bytes calldata path = _path(body, 4 + producer.length);
        (bytes calldata leaf, bytes calldata data) = operator(dispute, context);
        (bool found, uint256 index) = _wire(data, number);
        require(found, NoWire());
        require(Trees.opens(dispute.trace, claim.operators, index, producer, path), Wiring());
        require(LeafBytes.isOf(producer, index), Wiring());
        return LeafBytes.output(producer) != LeafBytes.input(leaf, number);
    }

    /// @notice Checks `u16 length, bytes` of the current chunk of the output.
    function revealChunk(Dispute storage dispute, bytes calldata body) internal {
        bytes calldata chunk = body.slice(2, body.u16(0));
        require(body.length == 2 + chunk.length, Malformed());
        require(chunk.length == _chunkLength(dispute), Chunk());
        require(Trees.leaf(chunk) == dispute.node, Chunk());
        dispute.phase = Phase.CHUNK_SELECT;
    }

    /// @notice Goes on to the fold of cell `u32`.
    function selectCell(Dispute storage dispute, bytes calldata body, bytes calldata context)
        internal
    {
        (uint256 cell, int256 value,) = _cell(dispute, body, context);
        dispute.cell = uint32(cell);
        dispute.value = int64(value);
        dispute.from = 0;
        dispute.to = dispute.summands;
        dispute.fromState = int64(Arbiter.start(dispute.fold));
        dispute.phase = Phase.RESULT_REVEAL;
    }

    /// @notice Whether cell `u32` is beyond what the tensor's cells can say.
    function beyondRange(Dispute storage dispute, bytes calldata body, bytes calldata context)
        internal
        view
        returns (bool)
    {
        (, int256 value, int256 high) = _cell(dispute, body, context);
        return value > high;
    }

    /// @notice The disputed operator's leaf of the trace and descriptor, checked.
    function operator(Dispute storage dispute, bytes calldata context)
        internal
        view
        returns (bytes calldata leaf, bytes calldata data)
    {
        require(keccak256(context) == dispute.operator, Context());
        uint256 length = LeafBytes.length(context);
        return (context[:length], context[length:]);
    }

    /// @dev Checks all operands against the leaf's roots; returns the number of summands.
    function _checkOperands(
        bytes calldata data,
        Operator memory op,
        bytes calldata leaf,
        bytes calldata terms,
        TermsBytes.Places memory places
    ) private pure returns (uint32) {
        uint256 inputs = LeafBytes.inputs(leaf);
        uint256 index = LeafBytes.operator(leaf);
        uint256 pos = op.partsAt;
        uint256 number = 0;
        uint256 summands = 0;
        uint256 free = Read.mark();
        for (uint256 i = 0; i < op.parts; ++i) {
            Part memory part = DescriptorBytes.part(data, op, pos);
            pos = part.end;
            summands += part.count;
            for (uint256 side = 0; side < (part.hasRight ? 2 : 1); ++side) {
                Operand memory operand = side == 0 ? part.left : part.right;
                if (operand.source == DescriptorBytes.ONES) continue;
                require(number < inputs, Operands());
                bytes32 root = LeafBytes.input(leaf, number);
                ++number;
                if (operand.source == DescriptorBytes.INPUT) {
                    require(operand.index < places.inputs, InputRoot());
                    require(root == TermsBytes.input(terms, operand.index), InputRoot());
                } else if (operand.source == DescriptorBytes.WEIGHT) {
                    require(root == operand.root, WeightRoot());
                } else {
                    require(operand.index < index, Malformed());
                }
            }
            Read.reclaim(free);
        }
        require(number == inputs, Operands());
        require(pos == data.length && summands < 1 << 31, Malformed());
        return uint32(summands);
    }

    /// @dev The operator that makes an operand, if an operator does.
    function _wire(bytes calldata data, uint256 number)
        private
        pure
        returns (bool found, uint256 index)
    {
        Operator memory op = DescriptorBytes.head(data);
        uint256 pos = op.partsAt;
        uint256 free = Read.mark();
        for (uint256 i = 0; i < op.parts; ++i) {
            Part memory part = DescriptorBytes.part(data, op, pos);
            pos = part.end;
            for (uint256 side = 0; side < (part.hasRight ? 2 : 1); ++side) {
                Operand memory operand = side == 0 ? part.left : part.right;
                if (operand.source == DescriptorBytes.ONES) continue;
                if (number == 0) {
                    return (operand.source == DescriptorBytes.OPERATOR, operand.index);
                }
                --number;
            }
            Read.reclaim(free);
        }
    }

    /// @dev A cell `u32` of the revealed chunk, its value and the largest that it may have.
    /// @param context Leaf, descriptor and chunk.
    function _cell(Dispute storage dispute, bytes calldata body, bytes calldata context)
        private
        view
        returns (uint256 cell, int256 value, int256 high)
    {
        require(body.length == 4, Malformed());
        cell = body.u32(0);
        uint256 length = _chunkLength(dispute);
        require(context.length > length, Context());
        bytes calldata chunk = context[context.length - length:];
        require(Trees.leaf(chunk) == dispute.node, Context());
        (, bytes calldata data) = operator(dispute, context[:context.length - length]);
        Cells memory cells = DescriptorBytes.head(data).cells;
        require(cell < cells.count && cell * cells.width / Trees.CHUNK == dispute.index, NoCell());
        value = cells.valueOf(chunk, cell);
        high = cells.high;
    }

    /// @dev Bytes of the current chunk.
    function _chunkLength(Dispute storage dispute) private view returns (uint256) {
        return dispute.index == dispute.count - 1 ? dispute.tail : Trees.CHUNK;
    }

    /// @dev The path that ends a body.
    function _path(bytes calldata body, uint256 pos) private pure returns (bytes calldata path) {
        path = body.slice(pos + 1, 32 * body.u8(pos));
        require(body.length == pos + 1 + path.length, Malformed());
    }
}
