// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What has become of a claim.
enum ClaimStatus {
    NONE,
    OPEN,
    FINAL,
    DEFEATED
}

/// @notice What has become of a dispute. Of a defeated claim, one that is still RUNNING is released.
enum DisputeStatus {
    NONE,
    RUNNING,
    WON_BY_CLAIMANT,
    WON_BY_CHALLENGER,
    CANCELLED
}

/// @notice What has become of a request for data.
enum RequestStatus {
    NONE,
    OPEN,
    ANSWERED,
    DEFAULTED,
    RELEASED
}

/// @notice Which move a dispute awaits. In even phases the claimant owes it, in odd ones the
/// challenger.
enum Phase {
    TRACE_REVEAL,
    TRACE_SELECT,
    OPERATOR_REVEAL,
    OPERATOR_ANSWER,
    CELLS_REVEAL,
    CELLS_SELECT,
    CHUNK_REVEAL,
    CHUNK_SELECT,
    // States at the first cuts and at the end of the fold.
    RESULT_REVEAL,
    SUMS_SELECT,
    // States at the cuts of a later interval.
    SUMS_REVEAL,
    SUMMAND
}

/// @notice First byte of a move.
library Kind {
    uint256 internal constant REVEAL_TRACE = 1;
    uint256 internal constant SELECT = 2;
    uint256 internal constant REVEAL_OPERATOR = 3;
    uint256 internal constant PROVE_WIRING = 4;
    uint256 internal constant DISPUTE_CELLS = 5;
    uint256 internal constant REVEAL_CELLS = 6;
    uint256 internal constant REVEAL_CHUNK = 7;
    uint256 internal constant SELECT_CELL = 8;
    uint256 internal constant PROVE_RANGE = 9;
    uint256 internal constant REVEAL_SUMS = 10;
    uint256 internal constant PROVE_SUMMAND = 11;
}

/// @notice A claim as the ledger keeps it; its terms and header are known by their hash.
struct Claim {
    address claimant;
    /// When it was posted, in seconds.
    uint40 posted;
    ClaimStatus status;
    uint8 kLog;
    /// Disputes that run.
    uint32 running;
    uint128 bond;
    uint128 challengeBond;
    uint128 dataFee;
    /// Share of a lost bond that nobody gets, in basis points.
    uint16 burn;
    uint32 window;
    uint32 clock;
    uint32 extension;
    uint32 answer;
    /// Requests for data that are open.
    uint32 asked;
    /// Number of operators: leaves of the trace.
    uint32 operators;
    /// Zero where it is deferred to each dispute's first reveal.
    bytes32 traceRoot;
    /// keccak256(terms, header).
    bytes32 content;
}

/// @notice A dispute as the ledger keeps it.
struct Dispute {
    address challenger;
    uint64 claimId;
    DisputeStatus status;
    Phase phase;
    /// Level of the current node of the trace's or tensor's tree, above the leaves.
    uint8 level;
    uint8 fold;
    /// When the current turn began, and what claimant and challenger have left, in seconds.
    uint40 since;
    uint32 claimantLeft;
    uint32 challengerLeft;
    /// Number of the current node within its level; at level 0 of the operator or chunk.
    uint32 index;
    /// Leaves of the current tree.
    uint32 count;
    /// Summands of a cell of the disputed operator.
    uint32 summands;
    /// Flat index of the disputed cell.
    uint32 cell;
    /// Bytes of the last chunk of the output.
    uint16 tail;
    /// Root of the trace: the claim's, or of what the first reveal showed; zero before that.
    bytes32 trace;
    /// Hash of the current node.
    bytes32 node;
    /// keccak256(leaf of the trace, descriptor) of the disputed operator.
    bytes32 operator;
    /// The disputed interval [from, to) of the fold, the states at its ends, and the cell's value.
    uint32 from;
    uint32 to;
    int64 fromState;
    int64 toState;
    int64 value;
    /// keccak256 of the states that were last revealed.
    bytes32 states;
}

/// @notice A request for one chunk of an input.
struct Request {
    address requester;
    uint64 claimId;
    RequestStatus status;
    uint16 input;
    uint40 asked;
    uint32 chunk;
}
