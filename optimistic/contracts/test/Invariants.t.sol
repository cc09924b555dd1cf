// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";
import {Claim, ClaimStatus, Dispute, DisputeStatus, RequestStatus} from "../src/Types.sol";
import {Base} from "./Base.sol";
import {Model} from "./Model.sol";
import {World} from "./World.sol";

/// @notice What holds whatever anybody does.
contract InvariantsTest is Base {
    uint256 private constant CLOCK = 60;
    uint256 private constant EXTENSION = 10;

    Ledger private ledger;
    World private world;

    function setUp() public {
        vm.warp(1000);
        ledger = new Ledger();
        world = new World(ledger, new Model());
        world.postHonestly(false);
        world.postLie(1);
        world.postHonestly(true);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    /// @notice Every coin is somebody's, is held for a claim, a dispute or a request, or was paid out.
    function invariant_money_is_conserved() public view {
        uint256 held = 0;
        address[6] memory accounts = world.accounts();
        for (uint256 i = 0; i < accounts.length; ++i) {
            held += ledger.balances(accounts[i]);
        }
        for (uint256 id = 1; id <= ledger.claims(); ++id) {
            if (ledger.claimOf(id).status == ClaimStatus.OPEN) held += 1000;
        }
        for (uint256 id = 1; id <= ledger.disputes(); ++id) {
            if (ledger.disputeOf(id).status == DisputeStatus.RUNNING) held += 300;
        }
        for (uint256 id = 1; id <= ledger.requests(); ++id) {
            if (ledger.requestOf(id).status == RequestStatus.OPEN) held += 7;
        }
        vm.assertEq(address(ledger).balance, held, "held");
        vm.assertEq(world.paidIn() - world.paidOut(), held, "paid in and out");
    }

    /// @notice Counters of a claim are what they count.
    function invariant_counters() public view {
        for (uint256 id = 1; id <= ledger.claims(); ++id) {
            Claim memory claim = ledger.claimOf(id);
            uint256 running = 0;
            for (uint256 i = 1; i <= ledger.disputes(); ++i) {
                Dispute memory dispute = ledger.disputeOf(i);
                if (dispute.claimId == id && dispute.status == DisputeStatus.RUNNING) ++running;
            }
            uint256 asked = 0;
            for (uint256 i = 1; i <= ledger.requests(); ++i) {
                if (ledger.requestOf(i).claimId != id) continue;
                if (ledger.requestOf(i).status == RequestStatus.OPEN) ++asked;
            }
            vm.assertEq(claim.running, running, "running");
            vm.assertEq(claim.asked, asked, "asked");
            if (claim.status == ClaimStatus.FINAL) vm.assertEq(running + asked, 0, "final");
        }
    }

    /// @notice A side that is right never loses, whatever the other does.
    function invariant_the_honest_never_lose() public view {
        for (uint256 id = 1; id <= ledger.claims(); ++id) {
            if (!world.toldOf(id)) continue;
            vm.assertTrue(ledger.claimOf(id).status != ClaimStatus.DEFEATED, "an honest claim");
        }
        for (uint256 id = 1; id <= ledger.disputes(); ++id) {
            Dispute memory dispute = ledger.disputeOf(id);
            bool lost = world.toldOf(dispute.claimId)
                ? dispute.status == DisputeStatus.WON_BY_CHALLENGER
                : world.knownOf(id).watched && dispute.status == DisputeStatus.WON_BY_CLAIMANT;
            vm.assertTrue(!lost, "an honest side");
        }
    }

    /// @notice No dispute can outlast its bound, counted by the moves that were made.
    function invariant_disputes_end_in_bound() public view {
        for (uint256 id = 1; id <= ledger.disputes(); ++id) {
            Dispute memory dispute = ledger.disputeOf(id);
            if (dispute.status != DisputeStatus.RUNNING) continue;
            World.Known memory known = world.knownOf(id);
            uint256 left =
                uint8(dispute.phase) & 1 == 0 ? dispute.claimantLeft : dispute.challengerLeft;
            vm.assertLe(
                dispute.since + left,
                known.opened + 2 * CLOCK + (known.moves + 1) * EXTENSION,
                "deadline"
            );
            // Trace, operator, cells, chunk, four rounds of sums, the step.
            vm.assertLe(known.moves, 2 + 2 + 2 + 2 + 8 + 1, "moves");
        }
    }

    /// @notice The watcher finds every lie, and the crowd that disputes the truth pays for it.
    function test_each_lie_is_found() public {
        // The last two once more, without a trace.
        for (uint256 i = 0; i < 6; ++i) {
            _found(i < 4 ? i : i - 2, i > 3);
        }
    }

    function _found(uint256 op, bool deferred) private {
        world.postLie(op + (1499 << 8) + (uint256(7) << 32) + (uint256(deferred ? 1 : 0) << 64));
        uint256 claimId = ledger.claims();
        vm.assertTrue((ledger.claimOf(claimId).traceRoot == 0) == deferred, "deferred");
        world.challenge(claimId - 1, op, true);
        uint256 id = ledger.disputes();
        for (uint256 i = 0; i < 12; ++i) {
            world.play(id - 1, 10 * i);
        }
        vm.assertTrue(
            ledger.disputeOf(id).status == DisputeStatus.WON_BY_CHALLENGER, vm.toString(op)
        );
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.DEFEATED, "defeated");
    }

    function test_fuzz_an_honest_claim_stands(uint256[24] memory seeds) public {
        // With a trace, or without.
        uint256 claimId = seeds[0] & 1 == 0 ? 1 : 3;
        world.challenge(claimId - 1, seeds[0], false);
        for (uint256 i = 0; i < seeds.length; ++i) {
            world.play(0, seeds[i]);
        }
        world.wait(119);
        vm.assertTrue(
            ledger.disputeOf(1).status == DisputeStatus.WON_BY_CLAIMANT, "won by the claimant"
        );
        vm.warp(1500);
        ledger.finalise(claimId);
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.FINAL, "final");
    }
}
