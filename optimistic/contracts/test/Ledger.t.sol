// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    ClaimClosed,
    ClaimOpen,
    Context,
    DisputeClosed,
    Early,
    Funds,
    Header,
    InRange,
    Late,
    Malformed,
    NoData,
    NoInput,
    NotClaimant,
    NotYourTurn,
    Nothing,
    Opening,
    PassedThrough,
    Program,
    RequestClosed,
    Terms,
    Transfer,
    Unknown,
    Unsettled,
    WindowOpen,
    WindowOver
} from "../src/Errors.sol";
import {Game} from "../src/Game.sol";
import {Ledger} from "../src/Ledger.sol";
import {Claim, ClaimStatus, Dispute, DisputeStatus, Phase, RequestStatus} from "../src/Types.sol";
import {Reentering, Refusing} from "./Receivers.sol";
import {Recorded} from "./Recorded.sol";

/// @notice Claims, bonds, clocks and requests: every way in which the ledger refuses.
contract LedgerTest is Recorded {
    Replay private game;

    function setUp() public {
        ledger = new Ledger();
        vm.warp(1000);
        game = named("network cell 0");
    }

    // ------------------------------------------------------------ posting
    function test_a_claim_is_kept() public {
        uint256 id = post(game);
        Claim memory claim = ledger.claimOf(id);
        vm.assertEq(id, 1, "number");
        vm.assertEq(ledger.claims(), 1, "count");
        vm.assertEq(claim.claimant, CLAIMANT, "claimant");
        vm.assertEq(claim.posted, 1000, "time");
        vm.assertTrue(claim.status == ClaimStatus.OPEN, "open");
        vm.assertEq(claim.bond, BOND, "bond");
        vm.assertEq(claim.challengeBond, STAKE, "stake");
        vm.assertEq(claim.dataFee, FEE, "fee");
        vm.assertEq(claim.burn, 1000, "burn");
        vm.assertEq(claim.window, WINDOW, "window");
        vm.assertEq(claim.clock, CLOCK, "clock");
        vm.assertEq(claim.extension, EXTENSION, "extension");
        vm.assertEq(claim.answer, ANSWER, "answer");
        vm.assertEq(claim.operators, 6, "operators");
        vm.assertEq(claim.content, keccak256(concat(game)), "content");
        vm.assertEq(address(ledger).balance, BOND, "held");
    }

    function test_post_takes_the_bond_exactly() public {
        vm.deal(address(this), 2 * BOND);
        vm.expectRevert(Funds.selector);
        ledger.post{value: BOND - 1}(game.terms, game.header);
        vm.expectRevert(Funds.selector);
        ledger.post{value: BOND + 1}(game.terms, game.header);
    }

    /// @dev Places counted from the end: the uri has 14 bytes, its length two.
    function test_terms_that_cannot_be_posted() public {
        uint256 tail = game.terms.length - 16;
        // k_log 0 and 7; burn 10001; extension above clock; answer, clock and extension 0.
        _unpostable(tail - 67, 0, 1);
        _unpostable(tail - 67, 7, 1);
        _unpostable(tail - 66, 0, 16);
        _unpostable(tail - 50, 0, 16);
        _unpostable(tail - 34, 10_001, 2);
        _unpostable(tail - 28, 0, 4);
        _unpostable(tail - 24, 0, 4);
        _unpostable(tail - 24, CLOCK + 1, 4);
        _unpostable(tail - 20, 0, 4);
        // A blank, a control character, a byte that is no ASCII.
        _unpostable(tail + 2, 0x20, 1);
        _unpostable(tail + 5, 0x0a, 1);
        _unpostable(tail + 15, 0xc3, 1);
    }

    function _unpostable(uint256 place, uint256 value, uint256 size) private {
        bytes memory terms = _with(game.terms, place, value, size);
        vm.assertTrue(keccak256(terms) != keccak256(game.terms), "changed");
        vm.deal(address(this), BOND);
        vm.expectRevert(Terms.selector);
        ledger.post{value: BOND}(terms, game.header);
    }

    function test_terms_at_their_bounds_can_be_posted() public {
        uint256 tail = game.terms.length - 16;
        bytes memory terms = _with(game.terms, tail - 34, 10_000, 2);
        terms = _with(terms, tail - 24, CLOCK, 4);
        terms = _with(terms, tail - 32, 0, 4);
        post(_with(terms, tail - 67, 6, 1), game.header);
        post(_with(terms, tail - 67, 1, 1), game.header);
    }

    function test_terms_that_do_not_read() public {
        vm.deal(address(this), BOND);
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}(_with(game.terms, 0, 2, 1), game.header);
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}(bytes.concat(game.terms, "x"), game.header);
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}(_cut(game.terms, 1), game.header);
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}(_with(game.terms, 65, 257, 2), game.header);
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}("", game.header);
        // A uri of 1025 bytes.
        bytes memory terms = _with(game.terms, game.terms.length - 16, 1025, 2);
        terms = bytes.concat(_cut(terms, 14), _filled(1025, "a"));
        vm.expectRevert(Malformed.selector);
        ledger.post{value: BOND}(terms, game.header);
    }

    function test_the_header_of_another_program() public {
        vm.deal(address(this), BOND);
        bytes memory header = _with(game.header, 3, 7, 1);
        vm.expectRevert(Program.selector);
        ledger.post{value: BOND}(game.terms, header);
    }

    function test_headers_that_disagree() public {
        // No operator; another number of inputs; an input with another number; an output of an
        // operator that is not there; something behind.
        _unread(_with(game.header, 0, 0, 4), Header.selector);
        _unread(_with(game.header, 4, 2, 2), Header.selector);
        uint256 port = 6 + 1 + 12 + 9;
        _unread(_with(game.header, port, 2, 1), Header.selector);
        _unread(_with(game.header, port + 1, 1, 4), Header.selector);
        _unread(_with(game.header, port + 5, 2, 2), Header.selector);
        uint256 output = port + 7 + 1 + 4 + 9;
        _unread(_with(game.header, output, 1, 1), Header.selector);
        _unread(_with(game.header, output + 1, 6, 4), Header.selector);
        _unread(bytes.concat(game.header, "x"), Header.selector);
        uint256 passed = game.header.length - 32 - 5;
        _unread(_with(game.header, passed + 1, 1, 4), Header.selector);
        // A tensor without cells.
        _unread(_with(game.header, 7, 0, 4), Malformed.selector);
        _unread("", Malformed.selector);
    }

    function _unread(bytes memory header, bytes4 selector) private {
        bytes memory terms = _of(header, game.terms);
        vm.deal(address(this), BOND);
        vm.expectRevert(selector);
        ledger.post{value: BOND}(terms, header);
    }

    /// @dev The third output of this program is its input.
    function test_an_input_passed_through_has_its_root() public {
        bytes memory terms = game.terms;
        terms[67 + 32 + 2 + 64] ^= 0x01;
        vm.deal(address(this), BOND);
        vm.expectRevert(PassedThrough.selector);
        ledger.post{value: BOND}(terms, game.header);
    }

    function test_the_same_claim_twice_is_two_claims() public {
        vm.assertEq(post(game), 1, "first");
        vm.assertEq(post(game), 2, "second");
        vm.warp(block.timestamp + WINDOW);
        ledger.finalise(1);
        vm.assertTrue(ledger.claimOf(2).status == ClaimStatus.OPEN, "the other stays open");
    }

    // ------------------------------------------------------------ windows
    function test_nothing_that_is_not_there() public {
        vm.expectRevert(Unknown.selector);
        ledger.challenge(1);
        vm.expectRevert(Unknown.selector);
        ledger.finalise(1);
        vm.expectRevert(Unknown.selector);
        ledger.move(1, hex"05", "");
        vm.expectRevert(Unknown.selector);
        ledger.timeout(1);
        vm.expectRevert(Unknown.selector);
        ledger.release(0);
        vm.expectRevert(Unknown.selector);
        ledger.request(1, 0, 0, "");
        vm.expectRevert(Unknown.selector);
        ledger.answer(1, "", "", "");
        vm.expectRevert(Unknown.selector);
        ledger.declareDefault(1);
        vm.expectRevert(Unknown.selector);
        ledger.releaseRequest(1);
        vm.expectRevert(Unknown.selector);
        ledger.proveInputRange(0, 0, 0, "", "", "");
    }

    function test_a_challenge_within_the_window() public {
        uint256 claimId = post(game);
        vm.warp(1000 + WINDOW - 1);
        uint256 id = challenge(claimId);
        Dispute memory dispute = ledger.disputeOf(id);
        vm.assertEq(dispute.challenger, CHALLENGER, "challenger");
        vm.assertEq(dispute.claimId, claimId, "claim");
        vm.assertTrue(dispute.phase == Phase.TRACE_REVEAL, "phase");
        vm.assertEq(dispute.claimantLeft, CLOCK, "claimant");
        vm.assertEq(dispute.challengerLeft, CLOCK, "challenger");
        vm.warp(1000 + WINDOW);
        vm.deal(CHALLENGER, STAKE);
        vm.prank(CHALLENGER);
        vm.expectRevert(WindowOver.selector);
        ledger.challenge{value: STAKE}(claimId);
    }

    function test_a_challenge_stakes_exactly() public {
        uint256 claimId = post(game);
        vm.deal(address(this), 2 * STAKE);
        vm.expectRevert(Funds.selector);
        ledger.challenge{value: STAKE - 1}(claimId);
        vm.expectRevert(Funds.selector);
        ledger.challenge{value: STAKE + 1}(claimId);
    }

    function test_finality() public {
        uint256 claimId = post(game);
        vm.warp(1000 + WINDOW - 1);
        vm.expectRevert(WindowOpen.selector);
        ledger.finalise(claimId);
        uint256 id = challenge(claimId);
        vm.warp(1000 + WINDOW);
        vm.expectRevert(Unsettled.selector);
        ledger.finalise(claimId);
        // The honest claimant would answer; the challenger falls silent.
        advance(game, id, 0, 1);
        vm.warp(block.timestamp + CLOCK + 1);
        ledger.timeout(id);
        ledger.finalise(claimId);
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.FINAL, "final");
        vm.assertEq(ledger.balances(CLAIMANT), BOND + STAKE - STAKE / 10, "bond and stake");
        vm.assertEq(ledger.balances(address(0)), STAKE / 10, "burnt");
        vm.expectRevert(ClaimClosed.selector);
        ledger.finalise(claimId);
        vm.expectRevert(ClaimClosed.selector);
        ledger.challenge(claimId);
        vm.expectRevert(ClaimClosed.selector);
        ledger.request(claimId, 0, 0, concat(game));
        vm.expectRevert(ClaimClosed.selector);
        ledger.proveInputRange(claimId, 0, 0, "", "", concat(game));
        vm.expectRevert(DisputeClosed.selector);
        ledger.timeout(id);
        vm.expectRevert(DisputeClosed.selector);
        ledger.release(id);
    }

    // ------------------------------------------------------------ disputes
    function test_a_lie_is_paid_to_who_finds_it() public {
        uint256 claimId = post(game);
        uint256 id = challenge(claimId);
        uint256 other = challenge(claimId);
        vm.expectRevert(ClaimOpen.selector);
        ledger.release(other);
        advance(game, id, 0, game.moves.length);
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.DEFEATED, "defeated");
        vm.assertEq(ledger.balances(CHALLENGER), STAKE + BOND - BOND / 10, "bond");
        vm.assertEq(ledger.balances(address(0)), BOND / 10, "burnt");
        vm.assertEq(ledger.balances(CLAIMANT), 0, "nothing");
        // The other dispute is over as well.
        vm.prank(CLAIMANT);
        vm.expectRevert(DisputeClosed.selector);
        ledger.move(other, game.moves[0], game.contexts[0]);
        vm.warp(block.timestamp + CLOCK + 1);
        vm.expectRevert(DisputeClosed.selector);
        ledger.timeout(other);
        vm.expectRevert(ClaimClosed.selector);
        ledger.finalise(claimId);
        ledger.release(other);
        vm.assertTrue(ledger.disputeOf(other).status == DisputeStatus.CANCELLED, "cancelled");
        vm.assertEq(ledger.balances(CHALLENGER), 2 * STAKE + BOND - BOND / 10, "stake back");
        vm.expectRevert(DisputeClosed.selector);
        ledger.release(other);
        vm.assertEq(ledger.claimOf(claimId).running, 0, "none runs");
    }

    function test_replayed_moves_are_refused() public {
        uint256 id = challenge(post(game));
        for (uint256 step = 0; step < game.moves.length; ++step) {
            advance(game, id, step, step + 1);
            vm.prank(game.by[step] == 0 ? CLAIMANT : CHALLENGER);
            vm.expectRevert();
            ledger.move(id, game.moves[step], game.contexts[step]);
        }
        vm.prank(CHALLENGER);
        vm.expectRevert(DisputeClosed.selector);
        ledger.move(id, game.moves[0], game.contexts[0]);
    }

    function test_moves_of_another_dispute_change_nothing() public {
        uint256 claimId = post(game);
        uint256 first = challenge(claimId);
        uint256 second = challenge(claimId);
        advance(game, first, 0, 3);
        vm.assertTrue(ledger.disputeOf(second).phase == Phase.TRACE_REVEAL, "untouched");
        vm.prank(CHALLENGER);
        vm.expectRevert(NotYourTurn.selector);
        ledger.move(second, game.moves[1], game.contexts[1]);
    }

    function test_clocks() public {
        uint256 id = challenge(post(game));
        vm.warp(1000 + CLOCK - 2);
        advance(game, id, 0, 1);
        Dispute memory dispute = ledger.disputeOf(id);
        vm.assertEq(dispute.claimantLeft, 2, "time used is gone");
        vm.assertEq(dispute.challengerLeft, CLOCK, "the other's is not");
        vm.assertEq(dispute.since, block.timestamp, "his turn begins");
        advance(game, id, 1, 2);
        vm.assertEq(ledger.disputeOf(id).claimantLeft, EXTENSION, "raised to the extension");
        vm.warp(block.timestamp + EXTENSION);
        vm.expectRevert(Early.selector);
        ledger.timeout(id);
        advance(game, id, 2, 3);
        vm.assertEq(ledger.disputeOf(id).claimantLeft, 0, "to the last second");
        vm.warp(block.timestamp + CLOCK + 1);
        vm.prank(CHALLENGER);
        vm.expectRevert(Late.selector);
        ledger.move(id, game.moves[3], game.contexts[3]);
        vm.prank(STRANGER);
        ledger.timeout(id);
        vm.assertTrue(ledger.disputeOf(id).status == DisputeStatus.WON_BY_CLAIMANT, "lost by time");
    }

    /// @dev Griefing: all that a silent challenger does to an honest claim is a known delay.
    function test_silence_costs_the_stake_and_a_known_delay() public {
        uint256 claimId = post(game);
        vm.warp(1000 + WINDOW - 1);
        uint256[5] memory ids;
        for (uint256 i = 0; i < 5; ++i) {
            ids[i] = challenge(claimId);
            advance(game, ids[i], 0, 1);
        }
        vm.warp(block.timestamp + CLOCK + 1);
        for (uint256 i = 0; i < 5; ++i) {
            ledger.timeout(ids[i]);
        }
        ledger.finalise(claimId);
        vm.assertEq(ledger.balances(CLAIMANT), BOND + 5 * (STAKE - STAKE / 10), "paid for waiting");
    }

    // ------------------------------------------------------------ data
    function test_a_request_and_its_answer() public {
        (Replay memory wide, uint256 claimId) = _wide();
        vm.deal(STRANGER, FEE);
        vm.prank(STRANGER);
        uint256 id = ledger.request{value: FEE}(claimId, 0, 1, concat(wide));
        vm.warp(1000 + ANSWER);
        bytes memory chunk = vm.parseJsonBytes(_data(), ".chunk");
        bytes memory path = vm.parseJsonBytes(_data(), ".path");
        vm.expectRevert(NotClaimant.selector);
        ledger.answer(id, chunk, path, concat(wide));
        vm.prank(CLAIMANT);
        vm.expectRevert(Context.selector);
        ledger.answer(id, chunk, path, wide.terms);
        vm.prank(CLAIMANT);
        vm.expectRevert(NoData.selector);
        ledger.answer(id, _cut(chunk, 1), path, concat(wide));
        vm.prank(CLAIMANT);
        vm.expectRevert(NoData.selector);
        ledger.answer(id, chunk, _cut(path, 32), concat(wide));
        vm.expectRevert(Early.selector);
        ledger.declareDefault(id);
        vm.prank(CLAIMANT);
        ledger.answer(id, chunk, path, concat(wide));
        vm.assertTrue(ledger.requestOf(id).status == RequestStatus.ANSWERED, "answered");
        vm.assertEq(ledger.balances(CLAIMANT), FEE, "fee");
        vm.prank(CLAIMANT);
        vm.expectRevert(RequestClosed.selector);
        ledger.answer(id, chunk, path, concat(wide));
        vm.warp(1000 + ANSWER + 1);
        vm.expectRevert(RequestClosed.selector);
        ledger.declareDefault(id);
        vm.expectRevert(RequestClosed.selector);
        ledger.releaseRequest(id);
    }

    function test_requests_that_nobody_could_answer() public {
        (Replay memory wide, uint256 claimId) = _wide();
        vm.deal(address(this), 10 * FEE);
        bytes memory content = concat(wide);
        vm.expectRevert(NoInput.selector);
        ledger.request{value: FEE}(claimId, 2, 0, content);
        vm.expectRevert(NoInput.selector);
        ledger.request{value: FEE}(claimId, 0, 2, content);
        vm.expectRevert(Funds.selector);
        ledger.request{value: FEE - 1}(claimId, 0, 0, content);
        vm.expectRevert(Context.selector);
        ledger.request{value: FEE}(claimId, 0, 0, wide.header);
        vm.warp(1000 + WINDOW - 2 * ANSWER);
        vm.expectRevert(WindowOver.selector);
        ledger.request{value: FEE}(claimId, 0, 0, content);
        vm.warp(1000 + WINDOW - 2 * ANSWER - 1);
        ledger.request{value: FEE}(claimId, 0, 0, content);
        vm.warp(1000 + WINDOW);
        vm.expectRevert(Unsettled.selector);
        ledger.finalise(claimId);
    }

    function test_no_answer_defeats_the_claim() public {
        (Replay memory wide, uint256 claimId) = _wide();
        vm.deal(STRANGER, FEE);
        vm.prank(STRANGER);
        uint256 id = ledger.request{value: FEE}(claimId, 1, 0, concat(wide));
        vm.deal(CHALLENGER, FEE);
        vm.prank(CHALLENGER);
        uint256 other = ledger.request{value: FEE}(claimId, 0, 0, concat(wide));
        uint256 dispute = challenge(claimId);
        vm.warp(1000 + ANSWER + 1);
        vm.prank(CLAIMANT);
        vm.expectRevert(Late.selector);
        ledger.answer(id, "", "", concat(wide));
        vm.expectRevert(ClaimOpen.selector);
        ledger.releaseRequest(other);
        ledger.declareDefault(id);
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.DEFEATED, "defeated");
        vm.assertTrue(ledger.requestOf(id).status == RequestStatus.DEFAULTED, "defaulted");
        vm.assertEq(ledger.balances(STRANGER), BOND - BOND / 10 + FEE, "to who asked");
        vm.expectRevert(RequestClosed.selector);
        ledger.declareDefault(other);
        vm.prank(CLAIMANT);
        vm.expectRevert(RequestClosed.selector);
        ledger.answer(other, "", "", concat(wide));
        ledger.releaseRequest(other);
        ledger.release(dispute);
        vm.assertEq(ledger.balances(CHALLENGER), FEE + STAKE, "fee and stake back");
        vm.expectRevert(RequestClosed.selector);
        ledger.releaseRequest(other);
        vm.assertEq(ledger.claimOf(claimId).asked, 0, "none is open");
        vm.assertEq(address(ledger).balance, 2 * FEE + STAKE + BOND, "all of it is somebody's");
    }

    function test_an_input_beyond_its_range() public {
        string memory json = _data();
        bytes memory terms = vm.parseJsonBytes(json, ".beyond_terms");
        bytes memory header = named("network cell 0").header;
        uint256 claimId = post(terms, header);
        bytes memory content = bytes.concat(terms, header);
        bytes memory chunk = vm.parseJsonBytes(json, ".beyond_chunk");
        uint32 cell = uint32(vm.parseJsonUint(json, ".beyond_cell"));
        vm.expectRevert(NoInput.selector);
        ledger.proveInputRange(claimId, 1, cell, chunk, "", content);
        vm.expectRevert(NoInput.selector);
        ledger.proveInputRange(claimId, 0, 162, chunk, "", content);
        vm.expectRevert(Opening.selector);
        ledger.proveInputRange(claimId, 0, cell, _cut(chunk, 1), "", content);
        vm.expectRevert(Opening.selector);
        ledger.proveInputRange(claimId, 0, cell, chunk, new bytes(32), content);
        vm.expectRevert(InRange.selector);
        ledger.proveInputRange(claimId, 0, cell ^ 1, chunk, "", content);
        vm.expectRevert(Context.selector);
        ledger.proveInputRange(claimId, 0, cell, chunk, "", terms);
        // Also after the window.
        vm.warp(1000 + WINDOW + 5);
        vm.prank(STRANGER);
        ledger.proveInputRange(claimId, 0, cell, chunk, "", content);
        vm.assertTrue(ledger.claimOf(claimId).status == ClaimStatus.DEFEATED, "defeated");
        vm.assertEq(ledger.balances(STRANGER), BOND - BOND / 10, "bond");
        vm.expectRevert(ClaimClosed.selector);
        ledger.proveInputRange(claimId, 0, cell, chunk, "", content);
    }

    // ------------------------------------------------------------ money
    function test_withdrawals() public {
        vm.prank(CLAIMANT);
        vm.expectRevert(Nothing.selector);
        ledger.withdraw();
        uint256 claimId = post(game);
        vm.warp(1000 + WINDOW);
        ledger.finalise(claimId);
        vm.prank(CLAIMANT);
        vm.assertEq(ledger.withdraw(), BOND, "amount");
        vm.assertEq(CLAIMANT.balance, BOND, "paid");
        vm.assertEq(address(ledger).balance, 0, "empty");
        vm.prank(CLAIMANT);
        vm.expectRevert(Nothing.selector);
        ledger.withdraw();
    }

    function test_a_receiver_that_takes_nothing_keeps_its_balance() public {
        Refusing receiver = new Refusing();
        vm.deal(address(receiver), BOND);
        receiver.post(ledger, game.terms, game.header);
        vm.warp(1000 + WINDOW);
        ledger.finalise(1);
        vm.expectRevert(Transfer.selector);
        receiver.withdraw(ledger);
        vm.assertEq(ledger.balances(address(receiver)), BOND, "kept");
    }

    /// @dev A receiver that calls back gets what it is owed, once.
    function test_reentrancy() public {
        post(game);
        Reentering thief = new Reentering(ledger);
        vm.deal(address(thief), BOND);
        thief.post(game.terms, game.header);
        vm.warp(1000 + WINDOW);
        ledger.finalise(2);
        thief.withdraw();
        vm.assertEq(thief.calls(), 1, "called back");
        vm.assertTrue(thief.refused(), "the second withdrawal is refused");
        vm.assertEq(address(thief).balance, BOND, "once");
        vm.assertEq(address(ledger).balance, BOND, "the other claim's bond is there");
    }

    function test_plain_transfers_are_refused() public {
        vm.deal(address(this), 1);
        (bool sent,) = address(ledger).call{value: 1}("");
        vm.assertTrue(!sent, "no receive function");
        (sent,) = address(ledger).call(hex"12345678");
        vm.assertTrue(!sent, "no fallback");
    }

    // ------------------------------------------------------------ events
    function test_events_carry_what_players_need() public {
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Ledger.Posted(1, CLAIMANT, game.terms, game.header);
        uint256 claimId = post(game);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Ledger.Challenged(1, 1, CHALLENGER);
        uint256 id = challenge(claimId);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Game.Moved(1, CLAIMANT, game.moves[0]);
        advance(game, id, 0, 1);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Game.Moved(1, CHALLENGER, game.moves[1]);
        advance(game, id, 1, 2);
        advance(game, id, 2, game.moves.length - 1);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Game.DisputeEnded(1, DisputeStatus.WON_BY_CHALLENGER);
        vm.expectEmit(true, true, true, true, address(ledger));
        emit Game.ClaimEnded(1, ClaimStatus.DEFEATED);
        advance(game, id, game.moves.length - 1, game.moves.length);
    }

    // ------------------------------------------------------------ bytes
    function _wide() private returns (Replay memory wide, uint256 claimId) {
        wide = named("wide cell 2");
        claimId = post(wide);
    }

    function _data() private view returns (string memory) {
        return vectors("data");
    }

    /// @dev Terms of the program with this header.
    function _of(bytes memory header, bytes memory terms) private pure returns (bytes memory) {
        bytes32 root = sha256(bytes.concat(hex"02", header));
        return _with(terms, 33, uint256(root), 32);
    }

    /// @dev A copy with a number of `size` bytes written over it.
    function _with(bytes memory data, uint256 place, uint256 value, uint256 size)
        private
        pure
        returns (bytes memory made)
    {
        made = bytes.concat(data);
        for (uint256 i = 0; i < size; ++i) {
            made[place + i] = bytes1(uint8(value >> (8 * (size - 1 - i))));
        }
    }

    function _cut(bytes memory data, uint256 count) private pure returns (bytes memory made) {
        made = new bytes(data.length - count);
        for (uint256 i = 0; i < made.length; ++i) {
            made[i] = data[i];
        }
    }

    function _filled(uint256 length, bytes1 value) private pure returns (bytes memory made) {
        made = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            made[i] = value;
        }
    }
}
