// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Children, Context, Malformed, NoChild} from "../Errors.sol";
import {Dispute, Phase} from "../Types.sol";
import {Read} from "./Read.sol";
import {Trees} from "./Trees.sol";

/// @title Descending a committed tree
/// @notice The claimant shows descendants of the current node, the challenger chooses one.
library Descent {
    using Read for bytes;

    /// @notice Checks `u8 m | 2^m * 32`: all descendants m levels below, which hash to the node. Those
    /// beyond the last leaf must be zero: a tree of another form would hide a difference where
    /// nobody may descend.
    function reveal(Dispute storage dispute, uint256 kLog, bytes calldata body) internal {
        uint256 below = body.u8(0);
        bytes calldata children = body[1:];
        require(below < 32 && children.length == 32 << below, Malformed());
        uint256 level = dispute.level;
        require(below == _step(kLog, level), Children());
        uint256 first = uint256(dispute.index) << below;
        uint256 present = Trees.present(dispute.count, level - below);
        for (uint256 i = present > first ? present - first : 0; i < 1 << below; ++i) {
            require(children.hash(32 * i) == bytes32(0), Children());
        }
        require(holds(dispute, Trees.parent(children)), Children());
    }

    /// @notice Whether what hashes to `node` may be revealed: it is the current node. Where the
    /// claim's trace is deferred and this is the first reveal, it becomes the trace's root, by which
    /// the claimant is held from then on.
    function holds(Dispute storage dispute, bytes32 node) internal returns (bool) {
        bytes32 current = dispute.node;
        // Further down a zero node is a node like any other: only the trace's root is ever missing.
        if (current == bytes32(0) && dispute.trace == bytes32(0)) {
            dispute.trace = node;
            dispute.node = node;
            // Absent nodes fold to zero: no trace, and the next reveal would be a first one again.
            return node != bytes32(0);
        }
        return node == current;
    }

    /// @notice Goes to child `u32 i`.
    /// @param context The child and its siblings up to the current node: the same that hashed to it
    /// when they were revealed.
    function select(
        Dispute storage dispute,
        uint256 kLog,
        bytes calldata body,
        bytes calldata context
    ) internal {
        require(body.length == 4, Malformed());
        uint256 child = body.u32(0);
        uint256 level = dispute.level;
        uint256 below = _step(kLog, level);
        level -= below;
        uint256 index = (uint256(dispute.index) << below) + child;
        require(child < 1 << below && index < Trees.present(dispute.count, level), NoChild());
        require(context.length == 32 * (below + 1), Context());
        bytes32 node = context.hash(0);
        require(Trees.root(node, child, context[32:]) == dispute.node, Context());
        dispute.node = node;
        dispute.index = uint32(index);
        dispute.level = uint8(level);
        bool trace = dispute.phase == Phase.TRACE_SELECT;
        if (level > 0) dispute.phase = trace ? Phase.TRACE_REVEAL : Phase.CELLS_REVEAL;
        else dispute.phase = trace ? Phase.OPERATOR_REVEAL : Phase.CHUNK_REVEAL;
    }

    /// @dev Levels that a reveal goes down.
    function _step(uint256 kLog, uint256 level) private pure returns (uint256) {
        return kLog < level ? kLog : level;
    }
}
