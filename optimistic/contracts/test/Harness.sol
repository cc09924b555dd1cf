// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed} from "../src/Errors.sol";
import {Arbiter, Openings} from "../src/lib/Arbiter.sol";
import {DescriptorBytes, Operand, Operator, Part} from "../src/lib/DescriptorBytes.sol";
import {Read} from "../src/lib/Read.sol";
import {Trees} from "../src/lib/Trees.sol";

/// @notice The libraries' internal functions, callable from tests.
contract Harness {
    using Read for bytes;

    /// @notice Reads a whole descriptor as that of operator `index`; returns its summands.
    function descriptor(bytes calldata data, uint256 index) external pure returns (uint256 count) {
        Operator memory op = DescriptorBytes.head(data);
        uint256 pos = op.partsAt;
        for (uint256 i = 0; i < op.parts; ++i) {
            Part memory part = DescriptorBytes.part(data, op, pos);
            pos = part.end;
            count += part.count;
            _check(part.left, index);
            if (part.hasRight) _check(part.right, index);
        }
        require(pos == data.length && count < 1 << 31, Malformed());
    }

    function _check(Operand memory operand, uint256 index) private pure {
        require(operand.source != DescriptorBytes.OPERATOR || operand.index < index, Malformed());
    }

    /// @notice One step by a move ProveSummand; returns the state and the openings left over.
    function step(
        bytes calldata data,
        bytes calldata leaf,
        uint256 cell,
        uint256 summand,
        int256 state,
        bytes calldata move
    ) external view returns (int256 result, uint256 left, uint256 rest) {
        Arbiter.Step memory what = Arbiter.Step({
            op: DescriptorBytes.head(data), cell: cell, summand: summand, state: state
        });
        Openings memory cursor = Openings({pos: 2, left: move.u8(1)});
        result = Arbiter.step(data, leaf, what, move, cursor);
        return (result, cursor.left, move.length - cursor.pos);
    }

    /// @notice A rule by a move RevealSums of one state.
    function rule(bytes calldata data, uint256 cell, int256 state, bytes calldata move)
        external
        view
        returns (int256 result, uint256 left, uint256 rest)
    {
        Openings memory cursor = Openings({pos: 11, left: move.u8(10)});
        result = Arbiter.rule(data, DescriptorBytes.head(data), cell, state, move, cursor);
        return (result, cursor.left, move.length - cursor.pos);
    }

    function rootOfBytes(bytes calldata data) external view returns (bytes32) {
        return Trees.rootOfBytes(data);
    }

    function opens(
        bytes32 top,
        uint256 count,
        uint256 index,
        bytes calldata data,
        bytes calldata path
    ) external view returns (bool) {
        return Trees.opens(top, count, index, data, path);
    }

    function parent(bytes calldata nodes) external view returns (bytes32) {
        return Trees.parent(nodes);
    }

    function depth(uint256 count) external pure returns (uint256) {
        return Trees.depth(count);
    }

    function present(uint256 count, uint256 level) external pure returns (uint256) {
        return Trees.present(count, level);
    }

    function u8(bytes calldata data, uint256 pos) external pure returns (uint256) {
        return data.u8(pos);
    }

    function hash(bytes calldata data, uint256 pos) external pure returns (bytes32) {
        return data.hash(pos);
    }

    function slice(bytes calldata data, uint256 pos, uint256 size)
        external
        pure
        returns (bytes memory)
    {
        return data.slice(pos, size);
    }

    function flag(bytes calldata data, uint256 pos) external pure returns (bool) {
        return data.flag(pos);
    }

    function signed(bytes calldata data)
        external
        pure
        returns (int256 a, int256 b, int256 c, uint256 d)
    {
        return (data.i8(0), data.i32(0), data.i64(0), data.unsigned(0, 3));
    }
}
