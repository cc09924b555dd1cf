// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";
import {Base} from "./Base.sol";

/// @notice Disputes that were recorded in Python.
abstract contract Recorded is Base {
    address internal constant CLAIMANT = address(0xC1A1);
    address internal constant CHALLENGER = address(0xC4A1);
    address internal constant STRANGER = address(0x57A9);
    /// @dev What the recorded terms say.
    uint256 internal constant BOND = 1000;
    uint256 internal constant STAKE = 300;
    uint256 internal constant FEE = 7;
    uint256 internal constant WINDOW = 500;
    uint256 internal constant CLOCK = 60;
    uint256 internal constant EXTENSION = 10;
    uint256 internal constant ANSWER = 20;

    Ledger internal ledger;

    struct Replay {
        string name;
        bytes terms;
        bytes header;
        uint256[] by;
        uint256[] waits;
        bytes[] moves;
        bytes[] contexts;
        uint256[] illegal;
        uint256 silent;
        uint256 status;
    }

    function read(string memory json) internal pure returns (Replay memory) {
        return Replay({
            name: vm.parseJsonString(json, ".name"),
            terms: vm.parseJsonBytes(json, ".terms"),
            header: vm.parseJsonBytes(json, ".header"),
            by: vm.parseJsonUintArray(json, ".by"),
            waits: vm.parseJsonUintArray(json, ".waits"),
            moves: vm.parseJsonBytesArray(json, ".moves"),
            contexts: vm.parseJsonBytesArray(json, ".contexts"),
            illegal: vm.parseJsonUintArray(json, ".illegal"),
            silent: vm.parseJsonUint(json, ".silent"),
            status: vm.parseJsonUint(json, ".status")
        });
    }

    /// @notice The recorded game of this name.
    function named(string memory name) internal view returns (Replay memory) {
        string[] memory games = vm.parseJsonStringArray(vectors("games"), ".games");
        for (uint256 i = 0; i < games.length; ++i) {
            string memory found = vm.parseJsonString(games[i], ".name");
            if (keccak256(bytes(found)) == keccak256(bytes(name))) return read(games[i]);
        }
        revert(string.concat("no game ", name));
    }

    function post(Replay memory game) internal returns (uint256) {
        return post(game.terms, game.header);
    }

    function post(bytes memory terms, bytes memory header) internal returns (uint256) {
        vm.deal(CLAIMANT, BOND);
        vm.prank(CLAIMANT);
        return ledger.post{value: BOND}(terms, header);
    }

    function challenge(uint256 claimId) internal returns (uint256) {
        vm.deal(CHALLENGER, STAKE);
        vm.prank(CHALLENGER);
        return ledger.challenge{value: STAKE}(claimId);
    }

    /// @notice Makes the moves `from` up to, not including, `to`, all at once.
    function advance(Replay memory game, uint256 id, uint256 from, uint256 to) internal {
        for (uint256 step = from; step < to; ++step) {
            vm.prank(game.by[step] == 0 ? CLAIMANT : CHALLENGER);
            ledger.move(id, game.moves[step], game.contexts[step]);
        }
    }

    function concat(Replay memory game) internal pure returns (bytes memory) {
        return bytes.concat(game.terms, game.header);
    }
}
