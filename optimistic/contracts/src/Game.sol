// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Context,
    DisputeClosed,
    Early,
    Late,
    Malformed,
    NotYourTurn,
    Unknown,
    WrongPhase
} from "./Errors.sol";
import {Treasury} from "./Treasury.sol";
import {Claim, ClaimStatus, Dispute, DisputeStatus, Kind, Phase} from "./Types.sol";
import {Descent} from "./lib/Descent.sol";
import {Fold} from "./lib/Fold.sol";
import {Read} from "./lib/Read.sol";
import {Site} from "./lib/Site.sol";

/// @title The game between a claimant and a challenger
/// @notice The challenger descends the claimant's own trees to the first leaf that differs from his,
/// and from there to one cell and one summand, which the contract computes. Whatever the claimant
/// reveals hashes to something that he has committed before; the states of a fold are all that he
/// asserts freely.
/// @dev Twin of `proofml.optimistic.game`: the same rules in the same order. Moves are the bytes of
/// `proofml.optimistic.moves`. What a move says about things that are known already (the operator,
/// the children that were revealed) is given again in `context` and checked against a hash, so that
/// the ledger stores little.
abstract contract Game is Treasury {
    using Read for bytes;

    /// @dev What a move leads to.
    enum Outcome {
        GOES_ON,
        CLAIMANT_WINS,
        CHALLENGER_WINS
    }

    mapping(uint256 id => Claim) internal _claims;
    mapping(uint256 id => Dispute) internal _disputes;

    /// @notice A move, with all bytes that the other side needs.
    event Moved(uint256 indexed disputeId, address indexed mover, bytes move);
    event DisputeEnded(uint256 indexed disputeId, DisputeStatus status);
    event ClaimEnded(uint256 indexed claimId, ClaimStatus status);

    /// @notice Makes a move.
    /// @param data `u8 kind | body`.
    /// @param context By kind (bytes end to end, nothing between):
    /// RevealTrace, RevealCells, DisputeCells: nothing.
    /// Select of a node: the child, then its siblings up to the current node, from below.
    /// Select of an interval: the states that were last revealed, i64 each.
    /// RevealOperator: terms, header of the program.
    /// ProveWiring, RevealChunk, ProveSummand and the first RevealSums: leaf of the trace,
    /// descriptor; later RevealSums: nothing.
    /// SelectCell, ProveRange: leaf of the trace, descriptor, chunk.
    function move(uint256 disputeId, bytes calldata data, bytes calldata context) external {
        (Dispute storage dispute, Claim storage claim) = _runningDispute(disputeId);
        bool claimants = _claimantOwes(dispute.phase);
        require(msg.sender == (claimants ? claim.claimant : dispute.challenger), NotYourTurn());
        uint256 used = block.timestamp - dispute.since;
        uint256 left = claimants ? dispute.claimantLeft : dispute.challengerLeft;
        require(used <= left, Late());
        emit Moved(disputeId, msg.sender, data);
        Outcome outcome = _play(dispute, claim, data, context);
        if (outcome != Outcome.GOES_ON) {
            _end(disputeId, dispute, claim, outcome == Outcome.CHALLENGER_WINS);
            return;
        }
        // Time used is gone; whoever owes the next move has at least the extension.
        if (claimants) dispute.claimantLeft = uint32(left - used);
        else dispute.challengerLeft = uint32(left - used);
        _turn(dispute, claim.extension);
    }

    /// @notice Ends a dispute in which the side that owes the move has no time left: it loses.
    function timeout(uint256 disputeId) external {
        (Dispute storage dispute, Claim storage claim) = _runningDispute(disputeId);
        bool claimants = _claimantOwes(dispute.phase);
        uint256 left = claimants ? dispute.claimantLeft : dispute.challengerLeft;
        require(block.timestamp - dispute.since > left, Early());
        _end(disputeId, dispute, claim, claimants);
    }

    /// @dev Begins a turn of the side that owes the move in the dispute's phase.
    function _turn(Dispute storage dispute, uint32 extension) internal {
        dispute.since = uint40(block.timestamp);
        if (_claimantOwes(dispute.phase)) {
            if (dispute.claimantLeft < extension) dispute.claimantLeft = extension;
        } else if (dispute.challengerLeft < extension) {
            dispute.challengerLeft = extension;
        }
    }

    function _claimantOwes(Phase phase) internal pure returns (bool) {
        // The parity of an enumeration's member.
        // slither-disable-next-line incorrect-equality
        return uint8(phase) & 1 == 0;
    }

    /// @dev A dispute that runs, of a claim that is open.
    function _runningDispute(uint256 disputeId)
        internal
        view
        returns (Dispute storage dispute, Claim storage claim)
    {
        dispute = _disputes[disputeId];
        require(dispute.status != DisputeStatus.NONE, Unknown());
        require(dispute.status == DisputeStatus.RUNNING, DisputeClosed());
        claim = _claims[dispute.claimId];
        require(claim.status == ClaimStatus.OPEN, DisputeClosed());
    }

    /// @dev Pays the winner. A dispute that a challenger wins defeats the claim.
    function _end(uint256 disputeId, Dispute storage dispute, Claim storage claim, bool defeated)
        private
    {
        claim.running -= 1;
        DisputeStatus status =
            defeated ? DisputeStatus.WON_BY_CHALLENGER : DisputeStatus.WON_BY_CLAIMANT;
        dispute.status = status;
        emit DisputeEnded(disputeId, status);
        if (defeated) {
            _defeat(dispute.claimId, claim, dispute.challenger, claim.challengeBond);
        } else {
            _forfeit(claim.claimant, 0, claim.challengeBond, claim.burn);
        }
    }

    /// @dev Ends a claim; its bond, less the share that is burnt, goes to who showed it false.
    /// @param own What he gets back beside it.
    function _defeat(uint256 claimId, Claim storage claim, address winner, uint256 own) internal {
        claim.status = ClaimStatus.DEFEATED;
        emit ClaimEnded(claimId, ClaimStatus.DEFEATED);
        _forfeit(winner, own, claim.bond, claim.burn);
    }

    /// @dev The dispute after this move.
    function _play(
        Dispute storage dispute,
        Claim storage claim,
        bytes calldata data,
        bytes calldata context
    ) private returns (Outcome) {
        Phase phase = dispute.phase;
        uint256 kind = data.u8(0);
        bytes calldata body = data[1:];
        if (phase == Phase.TRACE_REVEAL || phase == Phase.CELLS_REVEAL) {
            bool trace = phase == Phase.TRACE_REVEAL;
            require(kind == (trace ? Kind.REVEAL_TRACE : Kind.REVEAL_CELLS), WrongPhase());
            _nothing(context);
            Descent.reveal(dispute, claim.kLog, body);
            dispute.phase = trace ? Phase.TRACE_SELECT : Phase.CELLS_SELECT;
        } else if (phase == Phase.TRACE_SELECT || phase == Phase.CELLS_SELECT) {
            require(kind == Kind.SELECT, WrongPhase());
            Descent.select(dispute, claim.kLog, body, context);
        } else if (phase == Phase.OPERATOR_REVEAL) {
            require(kind == Kind.REVEAL_OPERATOR, WrongPhase());
            require(keccak256(context) == claim.content, Context());
            Site.reveal(dispute, body, context);
        } else if (phase == Phase.OPERATOR_ANSWER) {
            if (kind == Kind.PROVE_WIRING) {
                return _wins(Site.miswired(dispute, claim, body, context));
            }
            require(kind == Kind.DISPUTE_CELLS, WrongPhase());
            _nothing(body);
            _nothing(context);
            dispute.phase = dispute.level == 0 ? Phase.CHUNK_REVEAL : Phase.CELLS_REVEAL;
        } else if (phase == Phase.CHUNK_REVEAL) {
            require(kind == Kind.REVEAL_CHUNK, WrongPhase());
            _nothing(context);
            Site.revealChunk(dispute, body);
        } else if (phase == Phase.CHUNK_SELECT) {
            if (kind == Kind.PROVE_RANGE) return _wins(Site.beyondRange(dispute, body, context));
            require(kind == Kind.SELECT_CELL, WrongPhase());
            Site.selectCell(dispute, body, context);
        } else if (phase == Phase.SUMS_SELECT) {
            require(kind == Kind.SELECT, WrongPhase());
            Fold.select(dispute, claim.kLog, body, context);
        } else if (phase == Phase.SUMMAND) {
            require(kind == Kind.PROVE_SUMMAND, WrongPhase());
            return _wins(Fold.differs(dispute, data, context));
        } else {
            require(kind == Kind.REVEAL_SUMS, WrongPhase());
            Fold.reveal(dispute, claim.kLog, data, context);
        }
        return Outcome.GOES_ON;
    }

    function _wins(bool challenger) private pure returns (Outcome) {
        return challenger ? Outcome.CHALLENGER_WINS : Outcome.CLAIMANT_WINS;
    }

    function _nothing(bytes calldata data) private pure {
        require(data.length == 0, Malformed());
    }
}
