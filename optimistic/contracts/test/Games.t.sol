// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Early, Late} from "../src/Errors.sol";
import {Ledger} from "../src/Ledger.sol";
import {ClaimStatus, Dispute, DisputeStatus} from "../src/Types.sol";
import {Recorded} from "./Recorded.sol";

/// @notice Disputes that were played in Python, move by move, with moves between that Python refuses.
contract GamesTest is Recorded {
    /// @dev As in the generator.
    uint256 private constant SHORTER = 0xFFFFFFFF;
    uint256 private constant START = 1000;

    string[] private names;

    function setUp() public {
        ledger = new Ledger();
    }

    function test_games_like_python() public {
        string memory json = vectors("games");
        names = vm.parseJsonStringArray(json, ".errors");
        string[] memory games = vm.parseJsonStringArray(json, ".games");
        uint256 refused = 0;
        uint256[5] memory endings;
        for (uint256 i = 0; i < games.length; ++i) {
            (uint256 more, uint256 status) = _replay(games[i]);
            refused += more;
            ++endings[status];
        }
        vm.assertTrue(refused > 60, "too few illegal moves");
        vm.assertTrue(endings[2] > 3 && endings[3] > 10, "too few endings of one kind");
    }

    /// @dev `tools/contracts.sh vectors` writes this file, too large to be kept.
    function test_many_games_like_python() public {
        string memory path = "test/vectors/games.jsonl";
        if (!vm.exists(path)) return;
        names = vm.parseJsonStringArray(vectors("games"), ".errors");
        uint256 count = 0;
        for (string memory line = vm.readLine(path); bytes(line).length > 0; ++count) {
            _replay(line);
            line = vm.readLine(path);
        }
        vm.assertTrue(count >= 400, "too few");
    }

    function _replay(string memory json) private returns (uint256 refused, uint256 status) {
        Replay memory game = read(json);
        return (_play(game, game.name), game.status);
    }

    function _play(Replay memory game, string memory name) private returns (uint256 refused) {
        vm.warp(START);
        uint256 claimId = post(game);
        uint256 id = challenge(claimId);
        uint256 next = 0;
        for (uint256 step = 0; step < game.moves.length; ++step) {
            vm.warp(block.timestamp + game.waits[step]);
            while (next < game.illegal.length && game.illegal[next] == step) {
                _refused(game, id, next, name);
                ++refused;
                next += 6;
            }
            // The last move of a side that fell silent is one of the refused ones.
            if (game.silent > 0 && step == game.moves.length - 1) break;
            vm.prank(game.by[step] == 0 ? CLAIMANT : CHALLENGER);
            ledger.move(id, game.moves[step], game.contexts[step]);
        }
        if (game.silent > 0) _silence(id, game);
        vm.assertEq(next, game.illegal.length, name);
        vm.assertEq(uint256(ledger.disputeOf(id).status), game.status, name);
        bool defeated = game.status == uint256(DisputeStatus.WON_BY_CHALLENGER);
        vm.assertTrue(
            ledger.claimOf(claimId).status == (defeated ? ClaimStatus.DEFEATED : ClaimStatus.OPEN),
            name
        );
        vm.assertEq(ledger.claimOf(claimId).running, 0, name);
    }

    /// @dev The side that owes the move lets its time run out.
    function _silence(uint256 id, Replay memory game) private {
        Dispute memory dispute = ledger.disputeOf(id);
        uint256 left = game.silent == 1 ? dispute.claimantLeft : dispute.challengerLeft;
        vm.warp(dispute.since + left);
        vm.expectRevert(Early.selector);
        ledger.timeout(id);
        vm.warp(block.timestamp + 1);
        uint256 last = game.moves.length - 1;
        vm.expectRevert(Late.selector);
        vm.prank(game.by[last] == 0 ? CLAIMANT : CHALLENGER);
        ledger.move(id, game.moves[last], game.contexts[last]);
        vm.prank(STRANGER);
        ledger.timeout(id);
    }

    function _refused(Replay memory game, uint256 id, uint256 next, string memory name) private {
        uint256 step = game.illegal[next];
        uint256 who = game.illegal[next + 1];
        uint256 target = game.illegal[next + 2];
        bytes memory data = game.moves[step];
        bytes memory context = game.contexts[step];
        bytes memory made =
            _changed(target == 0 ? data : context, game.illegal[next + 3], game.illegal[next + 4]);
        bytes32 before = keccak256(abi.encode(ledger.disputeOf(id)));
        vm.prank(who == 0 ? CLAIMANT : who == 1 ? CHALLENGER : STRANGER);
        string memory where = string.concat(name, ", step ", vm.toString(step), ": ");
        try ledger.move(id, target == 0 ? made : data, target == 0 ? context : made) {
            vm.assertTrue(false, string.concat(where, "taken"));
        } catch (bytes memory reason) {
            string memory expected = names[game.illegal[next + 5]];
            if (keccak256(bytes(expected)) != keccak256("*")) {
                bytes4 selector = bytes4(keccak256(bytes(string.concat(expected, "()"))));
                vm.assertEq(reason, abi.encodePacked(selector), string.concat(where, expected));
            }
        }
        vm.assertEq(before, keccak256(abi.encode(ledger.disputeOf(id))), where);
    }

    function _changed(bytes memory data, uint256 position, uint256 xor)
        private
        pure
        returns (bytes memory made)
    {
        bool shorter = position == SHORTER;
        made = new bytes(shorter ? data.length - 1 : data.length);
        for (uint256 i = 0; i < made.length; ++i) {
            made[i] = data[i];
        }
        if (!shorter && made.length > 0) made[position] ^= bytes1(uint8(xor));
    }
}
