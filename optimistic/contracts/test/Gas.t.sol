// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";
import {DisputeStatus, Kind} from "../src/Types.sol";
import {Base} from "./Base.sol";

/// @notice What disputes of a small int8 CNN (157,696 products) cost, k = 16, in the transactions of
/// both sides together; of claims with the trace's root, and of claims that defer it.
contract GasTest is Base {
    address private constant CLAIMANT = address(0xC1A1);
    address private constant CHALLENGER = address(0xC4A1);

    /// @dev Place of the trace's root in terms of one input and two outputs.
    uint256 private constant TRACE = 67 + 32 + 2 + 64;

    event Cost(string what, uint256 kind, uint256 gas);

    /// @dev Each call is a transaction of its own, with its intrinsic gas and cold storage.
    /// forge-config: default.isolate = true
    function test_dispute() public {
        _all(new Ledger(), false);
    }

    /// forge-config: default.isolate = true
    function test_dispute_of_a_claim_that_defers_its_trace() public {
        _all(new Ledger(), true);
    }

    function _all(Ledger ledger, bool deferred) private {
        string[] memory games = vm.parseJsonStringArray(vectors("gas"), ".games");
        for (uint256 i = 0; i < games.length; ++i) {
            (uint256 total, uint256 step) = _play(ledger, games[i], deferred);
            vm.assertTrue(total < 2_000_000, "a dispute");
            vm.assertTrue(step < 400_000, "the arbiter's step");
            emit Cost(vm.parseJsonString(games[i], ".name"), deferred ? 1 : 0, total);
        }
        vm.assertEq(games.length, 6, "one for each operator");
    }

    /// @dev Takes the trace's root out of what begins with the terms.
    function _defer(bytes memory data) private pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 32), TRACE), 0)
        }
    }

    function _play(Ledger ledger, string memory json, bool deferred)
        private
        returns (uint256 total, uint256 step)
    {
        uint256[] memory by = vm.parseJsonUintArray(json, ".by");
        bytes[] memory moves = vm.parseJsonBytesArray(json, ".moves");
        bytes[] memory contexts = vm.parseJsonBytesArray(json, ".contexts");
        bytes memory terms = vm.parseJsonBytes(json, ".terms");
        bytes memory header = vm.parseJsonBytes(json, ".header");
        if (deferred) {
            _defer(terms);
            for (uint256 i = 0; i < moves.length; ++i) {
                if (uint8(moves[i][0]) == Kind.REVEAL_OPERATOR) _defer(contexts[i]);
            }
        }
        vm.deal(CLAIMANT, 1000);
        vm.prank(CLAIMANT);
        uint256 claimId = ledger.post{value: 1000}(terms, header);
        emit Cost("post", 0, vm.lastCallGas().gasTotalUsed);
        vm.deal(CHALLENGER, 300);
        vm.prank(CHALLENGER);
        uint256 id = ledger.challenge{value: 300}(claimId);
        total = vm.lastCallGas().gasTotalUsed;
        emit Cost("challenge", 0, total);
        for (uint256 i = 0; i < moves.length; ++i) {
            vm.prank(by[i] == 0 ? CLAIMANT : CHALLENGER);
            ledger.move(id, moves[i], contexts[i]);
            step = vm.lastCallGas().gasTotalUsed;
            emit Cost("move", uint8(moves[i][0]), step);
            total += step;
        }
        vm.assertEq(uint8(moves[moves.length - 1][0]), Kind.PROVE_SUMMAND, "ends in a step");
        vm.assertTrue(
            ledger.disputeOf(id).status == DisputeStatus.WON_BY_CHALLENGER, "the lie is found"
        );
    }
}
