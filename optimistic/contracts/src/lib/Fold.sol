// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Context, Malformed, NoChild, Opening, Rule, States} from "../Errors.sol";
import {Dispute, Phase} from "../Types.sol";
import {Arbiter, Openings} from "./Arbiter.sol";
import {DescriptorBytes, Operator} from "./DescriptorBytes.sol";
import {Read} from "./Read.sol";
import {Site} from "./Site.sol";

/// @title The fold of one cell: states at the cuts of an interval, down to one step
/// @dev Twin of `proofml.optimistic.phases.sums`. An interval [a, b) is cut at a + ceil(t * (b - a) /
/// k) for 0 < t < k, or everywhere where it is shorter than k.
library Fold {
    using Read for bytes;

    /// @notice Checks a move `u8 kind | u8 n, n * i64 states | u8 0, or u8 1 and an opening`: states at
    /// the inner cuts and, the first time, at the end, which then must give the disputed cell.
    /// @param context The first time the disputed operator, then nothing.
    function reveal(
        Dispute storage dispute,
        uint256 kLog,
        bytes calldata data,
        bytes calldata context
    ) internal {
        bool fresh = dispute.phase == Phase.RESULT_REVEAL;
        uint256 length = dispute.to - dispute.from;
        uint256 count = data.u8(1);
        bytes calldata states = data.slice(2, 8 * count);
        uint256 pos = 2 + states.length;
        bool opened = data.flag(pos);
        require(count == _parts(length, kLog) - (fresh ? 0 : 1), States());
        if (dispute.fold == DescriptorBytes.ARGMAX) _checkIndices(states, dispute.summands);
        Openings memory cursor = Openings({pos: pos + 1, left: opened ? 1 : 0});
        if (fresh) {
            int256 end = states.i64(states.length - 8);
            _checkRule(dispute, end, data, context, cursor);
            dispute.toState = int64(end);
        } else {
            require(context.length == 0, Malformed());
        }
        require(cursor.left == 0, Opening());
        require(cursor.pos == data.length, Malformed());
        if (length == 1) {
            dispute.phase = Phase.SUMMAND;
        } else {
            dispute.states = keccak256(states);
            dispute.phase = Phase.SUMS_SELECT;
        }
    }

    /// @notice Goes to interval `u32 i`, whose start the challenger accepts and whose end he does not.
    /// @param context The states that were last revealed.
    function select(
        Dispute storage dispute,
        uint256 kLog,
        bytes calldata body,
        bytes calldata context
    ) internal {
        require(body.length == 4, Malformed());
        require(keccak256(context) == dispute.states, Context());
        uint256 i = body.u32(0);
        uint256 from = dispute.from;
        uint256 length = dispute.to - from;
        uint256 parts = _parts(length, kLog);
        require(i < parts, NoChild());
        if (i + 1 < parts) {
            dispute.to = uint32(from + _cut(i + 1, length, parts));
            dispute.toState = int64(context.i64(8 * i));
        }
        if (i > 0) {
            dispute.from = uint32(from + _cut(i, length, parts));
            dispute.fromState = int64(context.i64(8 * (i - 1)));
        }
        dispute.phase = dispute.to - dispute.from == 1 ? Phase.SUMMAND : Phase.SUMS_REVEAL;
    }

    /// @notice Whether the step does not lead to the asserted state, by a move `u8 kind | u8 n, n *
    /// opening`.
    /// @param context The disputed operator.
    function differs(Dispute storage dispute, bytes calldata data, bytes calldata context)
        internal
        view
        returns (bool)
    {
        (bytes calldata leaf, bytes calldata descriptor) = Site.operator(dispute, context);
        Arbiter.Step memory pos = Arbiter.Step({
            op: DescriptorBytes.head(descriptor),
            cell: dispute.cell,
            summand: dispute.from,
            state: dispute.fromState
        });
        Openings memory cursor = Openings({pos: 2, left: data.u8(1)});
        int256 state = Arbiter.step(descriptor, leaf, pos, data, cursor);
        require(cursor.left == 0, Opening());
        require(cursor.pos == data.length, Malformed());
        return state != dispute.toState;
    }

    /// @dev That the state at the end of the fold gives the disputed cell.
    function _checkRule(
        Dispute storage dispute,
        int256 end,
        bytes calldata data,
        bytes calldata context,
        Openings memory cursor
    ) private view {
        // slither-disable-next-line unused-return
        (, bytes calldata descriptor) = Site.operator(dispute, context);
        Operator memory op = DescriptorBytes.head(descriptor);
        int256 value = Arbiter.rule(descriptor, op, dispute.cell, end, data, cursor);
        require(value == dispute.value, Rule());
    }

    /// @dev States of an argmax are numbers of summands.
    function _checkIndices(bytes calldata states, uint256 summands) private pure {
        for (uint256 pos = 0; pos < states.length; pos += 8) {
            int256 state = states.i64(pos);
            require(state >= 0 && state < int256(summands), States());
        }
    }

    /// @dev Into how many intervals one of this length is cut.
    function _parts(uint256 length, uint256 kLog) private pure returns (uint256) {
        return length < 1 << kLog ? length : 1 << kLog;
    }

    /// @dev Where the i-th interval begins, counted from the start of all.
    function _cut(uint256 i, uint256 length, uint256 parts) private pure returns (uint256) {
        return (i * length + parts - 1) / parts;
    }
}
