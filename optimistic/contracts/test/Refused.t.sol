// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Children, Leaf, Malformed, NoChild, Opening, OutputRoot, Wiring} from "../src/Errors.sol";
import {Ledger} from "../src/Ledger.sol";
import {DisputeStatus, Kind, Phase} from "../src/Types.sol";
import {Recorded} from "./Recorded.sol";

/// @notice Moves that no recorded game has: trees of another form, and openings too many.
contract RefusedTest is Recorded {
    /// @dev Place of the trace's root in terms of one input and three outputs.
    uint256 private constant TRACE = 67 + 32 + 2 + 96;

    Replay private game;

    function setUp() public {
        ledger = new Ledger();
        vm.warp(1000);
        // Six operators, all shown by one reveal of eight nodes.
        game = named("network cell_alone 3");
        vm.assertEq(game.moves[0].length, 2 + 8 * 32, "eight children");
    }

    function _children() private view returns (bytes32[8] memory nodes) {
        bytes memory data = game.moves[0];
        for (uint256 i = 0; i < 8; ++i) {
            bytes32 node;
            assembly ("memory-safe") {
                node := mload(add(add(data, 34), mul(i, 32)))
            }
            nodes[i] = node;
        }
    }

    function _node(bytes32 left, bytes32 right) private pure returns (bytes32) {
        if (left | right == 0) return 0;
        return sha256(bytes.concat(hex"01", left, right));
    }

    function _write(bytes memory data, uint256 place, bytes32 value) private pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 32), place), value)
        }
    }

    /// @dev A difference beyond the last leaf could never be descended to.
    function test_leaves_beyond_the_last_one() public {
        for (uint256 beyond = 6; beyond < 8; ++beyond) {
            bytes32[8] memory nodes = _children();
            vm.assertEq(nodes[beyond], bytes32(0), "absent");
            nodes[beyond] = keccak256("something");
            bytes memory move = bytes.concat(game.moves[0]);
            _write(move, 2 + 32 * beyond, nodes[beyond]);
            for (uint256 left = 8; left > 1; left /= 2) {
                for (uint256 i = 0; i < left; i += 2) {
                    nodes[i / 2] = _node(nodes[i], nodes[i + 1]);
                }
            }
            bytes memory terms = bytes.concat(game.terms);
            _write(terms, TRACE, nodes[0]);
            uint256 id = challenge(post(terms, game.header));
            // The children hash to the root; only their form is wrong.
            vm.assertEq(ledger.disputeOf(id).node, nodes[0], "root");
            vm.prank(CLAIMANT);
            vm.expectRevert(Children.selector);
            ledger.move(id, move, "");
        }
    }

    function test_children_that_are_absent_cannot_be_chosen() public {
        uint256 id = challenge(post(game));
        advance(game, id, 0, 1);
        bytes32[8] memory n = _children();
        bytes32 left = _node(_node(n[0], n[1]), _node(n[2], n[3]));
        bytes memory context = bytes.concat(n[6], n[7], _node(n[4], n[5]), left);
        vm.prank(CHALLENGER);
        vm.expectRevert(NoChild.selector);
        ledger.move(id, abi.encodePacked(uint8(Kind.SELECT), uint32(6)), context);
        // The last one that is there can.
        context = bytes.concat(n[5], n[4], _node(n[6], n[7]), left);
        vm.prank(CHALLENGER);
        ledger.move(id, abi.encodePacked(uint8(Kind.SELECT), uint32(5)), context);
        vm.assertTrue(ledger.disputeOf(id).phase == Phase.OPERATOR_REVEAL, "at the leaf");
        vm.assertEq(ledger.disputeOf(id).index, 5, "the last one");
    }

    /// @dev The recorded claim without its trace.
    function _deferred(Replay memory what) private returns (uint256 id) {
        bytes memory terms = bytes.concat(what.terms);
        _write(terms, TRACE, bytes32(0));
        id = challenge(post(terms, what.header));
        vm.assertEq(ledger.disputeOf(id).trace, bytes32(0), "no trace");
        vm.assertEq(ledger.disputeOf(id).node, bytes32(0), "no node");
    }

    /// @dev They fold to zero, after which the trace would be as free as before.
    function test_absent_nodes_are_no_trace() public {
        uint256 id = _deferred(game);
        bytes memory zeros = bytes.concat(hex"0103", new bytes(8 * 32));
        vm.prank(CLAIMANT);
        vm.expectRevert(Children.selector);
        ledger.move(id, zeros, "");
        vm.assertEq(ledger.disputeOf(id).trace, bytes32(0), "still none");
        advance(game, id, 0, 1);
        vm.assertTrue(ledger.disputeOf(id).trace != 0, "bound");
    }

    /// @dev k = 2: what is revealed below the root hashes to what was revealed first.
    function test_a_trace_is_bound_by_its_first_reveal() public {
        game = named("network cell 0");
        vm.assertEq(game.moves[2].length, 2 + 2 * 32, "two children, twice");
        uint256 child = uint8(game.moves[1][4]);
        uint256 id = _deferred(game);
        // Another trace: the node that is chosen is not that of the recorded one.
        bytes memory first = bytes.concat(game.moves[0]);
        _write(first, 2 + 32 * child, keccak256("another"));
        bytes memory context = bytes.concat(game.contexts[1]);
        _write(context, 0, keccak256("another"));
        vm.prank(CLAIMANT);
        ledger.move(id, first, "");
        bytes32 root = ledger.disputeOf(id).trace;
        vm.assertEq(root, ledger.disputeOf(id).node, "bound");
        vm.prank(CHALLENGER);
        ledger.move(id, game.moves[1], context);
        vm.prank(CLAIMANT);
        vm.expectRevert(Children.selector);
        ledger.move(id, game.moves[2], "");
        vm.assertEq(ledger.disputeOf(id).trace, root, "the same");
        // In another dispute the recorded trace is shown, and goes on.
        id = challenge(ledger.disputeOf(id).claimId);
        advance(game, id, 0, 3);
        vm.assertTrue(ledger.disputeOf(id).trace != root, "another one");
    }

    /// @dev A present node of zeros is a node like any other: nothing is bound again below it.
    function test_below_a_node_of_zeros_nothing_is_bound() public {
        game = named("network cell 0");
        uint256 child = uint8(game.moves[1][4]);
        uint256 id = _deferred(game);
        bytes memory first = bytes.concat(game.moves[0]);
        _write(first, 2 + 32 * child, bytes32(0));
        bytes memory context = bytes.concat(game.contexts[1]);
        _write(context, 0, bytes32(0));
        vm.prank(CLAIMANT);
        ledger.move(id, first, "");
        vm.prank(CHALLENGER);
        ledger.move(id, game.moves[1], context);
        vm.assertEq(ledger.disputeOf(id).node, bytes32(0), "zeros");
        vm.prank(CLAIMANT);
        vm.expectRevert(Children.selector);
        ledger.move(id, game.moves[2], "");
    }

    /// @dev The first reveal of a program of one operator is its leaf.
    function test_one_operator_is_bound_by_its_leaf() public {
        game = named("one output 0 deferred");
        uint256 id = challenge(post(game));
        vm.prank(CLAIMANT);
        vm.expectRevert(OutputRoot.selector);
        ledger.move(id, game.moves[0], game.contexts[0]);
        // Of another operator.
        bytes memory move = bytes.concat(game.moves[0]);
        move[6] = 0x01;
        vm.prank(CLAIMANT);
        vm.expectRevert(Leaf.selector);
        ledger.move(id, move, game.contexts[0]);
        vm.assertEq(ledger.disputeOf(id).trace, bytes32(0), "none");
        game = named("one cell 1 deferred");
        id = challenge(post(game));
        advance(game, id, 0, 1);
        vm.assertTrue(ledger.disputeOf(id).trace != 0, "bound");
    }

    /// @dev The producer's leaf opens under the trace of its dispute.
    function test_wiring_by_the_trace_of_the_dispute() public {
        game = named("network wiring 0 deferred");
        uint256 last = game.moves.length - 1;
        vm.assertEq(uint8(game.moves[last][0]), Kind.PROVE_WIRING, "wiring");
        uint256 id = challenge(post(game));
        vm.assertEq(ledger.claimOf(1).traceRoot, bytes32(0), "none in the claim");
        advance(game, id, 0, last);
        bytes memory wrong = bytes.concat(game.moves[last]);
        wrong[wrong.length - 1] ^= 0x01;
        vm.prank(CHALLENGER);
        vm.expectRevert(Wiring.selector);
        ledger.move(id, wrong, game.contexts[last]);
        advance(game, id, last, last + 1);
        vm.assertTrue(ledger.disputeOf(id).status == DisputeStatus.WON_BY_CHALLENGER, "miswired");
    }

    function test_openings_too_many() public {
        game = named("network cell_alone 17");
        uint256 last = game.moves.length - 1;
        bytes memory move = game.moves[last];
        vm.assertEq(uint8(move[0]), Kind.PROVE_SUMMAND, "a step");
        uint256 count = uint8(move[1]);
        vm.assertTrue(count > 0, "openings");
        uint256 id = challenge(post(game));
        advance(game, id, 0, last);
        bytes memory body = new bytes(move.length - 2);
        for (uint256 i = 0; i < body.length; ++i) {
            body[i] = move[i + 2];
        }
        bytes memory more = bytes.concat(hex"0b", bytes1(uint8(2 * count)), body, body);
        vm.prank(CHALLENGER);
        vm.expectRevert(Opening.selector);
        ledger.move(id, more, game.contexts[last]);
        vm.prank(CHALLENGER);
        vm.expectRevert(Malformed.selector);
        ledger.move(id, bytes.concat(move, hex"00"), game.contexts[last]);
        advance(game, id, last, last + 1);
        vm.assertTrue(
            ledger.disputeOf(id).status == DisputeStatus.WON_BY_CHALLENGER, "as it was, it wins"
        );
    }
}
