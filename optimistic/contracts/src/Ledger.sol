// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    ClaimClosed,
    ClaimOpen,
    Context,
    DisputeClosed,
    Early,
    Funds,
    InRange,
    Late,
    Malformed,
    NoData,
    NoInput,
    NotClaimant,
    Opening,
    RequestClosed,
    Unknown,
    Unsettled,
    WindowOpen,
    WindowOver
} from "./Errors.sol";
import {Game} from "./Game.sol";
import {ILedger} from "./interfaces/ILedger.sol";
import {
    Claim,
    ClaimStatus,
    Dispute,
    DisputeStatus,
    Phase,
    Request,
    RequestStatus
} from "./Types.sol";
import {Cells, CellsBytes} from "./lib/CellsBytes.sol";
import {HeaderBytes} from "./lib/HeaderBytes.sol";
import {TermsBytes} from "./lib/TermsBytes.sol";
import {Trees} from "./lib/Trees.sol";

/// @title Ledger of claims about inferences of models
/// @notice Who claims that a program gave certain outputs on certain inputs stakes a bond. Within the
/// window anybody may challenge the claim by a bond of his own and play the game, or ask for the
/// inputs chunk by chunk. A claim that nobody defeats becomes final.
/// @dev No owner, no upgrade, no call to other contracts but the payment of a withdrawal. Times are
/// seconds of the block. There are no loops over claims, disputes or requests.
contract Ledger is Game, ILedger {
    using CellsBytes for Cells;

    mapping(uint256 id => Request) private _requests;

    /// @notice How many claims, disputes and requests there are; each is numbered from 1.
    uint64 public claims;
    uint64 public disputes;
    uint64 public requests;

    event Posted(uint256 indexed claimId, address indexed claimant, bytes terms, bytes header);
    event Challenged(
        uint256 indexed claimId, uint256 indexed disputeId, address indexed challenger
    );
    event Requested(
        uint256 indexed claimId,
        uint256 indexed requestId,
        address indexed requester,
        uint16 input,
        uint32 chunk
    );
    event Answered(uint256 indexed requestId, bytes chunk, bytes path);
    event RequestEnded(uint256 indexed requestId, RequestStatus status);
    event InputBeyondRange(
        uint256 indexed claimId,
        address indexed sender,
        uint16 input,
        uint32 cell,
        bytes chunk,
        bytes path
    );

    /// @notice Posts a claim; the value sent is its bond.
    /// @param terms What is claimed and staked.
    /// @param header Of the program.
    function post(bytes calldata terms, bytes calldata header)
        external
        payable
        returns (uint256 claimId)
    {
        TermsBytes.Places memory places = TermsBytes.parts(terms);
        require(places.end == terms.length, Malformed());
        TermsBytes.Stakes memory stakes = TermsBytes.stakes(terms, places);
        HeaderBytes.check(header, terms, places);
        require(msg.value == stakes.bond, Funds());
        claimId = ++claims;
        Claim storage claim = _claims[claimId];
        claim.claimant = msg.sender;
        claim.posted = uint40(block.timestamp);
        claim.status = ClaimStatus.OPEN;
        claim.kLog = stakes.kLog;
        claim.bond = stakes.bond;
        claim.challengeBond = stakes.challengeBond;
        claim.dataFee = stakes.dataFee;
        claim.burn = stakes.burn;
        claim.window = stakes.window;
        claim.clock = stakes.clock;
        claim.extension = stakes.extension;
        claim.answer = stakes.answer;
        claim.operators = uint32(HeaderBytes.operators(header));
        claim.traceRoot = TermsBytes.traceRoot(terms, places);
        claim.content = keccak256(bytes.concat(terms, header));
        emit Posted(claimId, msg.sender, terms, header);
    }

    /// @notice Opens a dispute; the value sent is the challenger's bond. The claimant moves first.
    function challenge(uint256 claimId) external payable returns (uint256 disputeId) {
        Claim storage claim = _openClaim(claimId);
        require(block.timestamp < uint256(claim.posted) + claim.window, WindowOver());
        require(msg.value == claim.challengeBond, Funds());
        claim.running += 1;
        disputeId = ++disputes;
        uint32 count = claim.operators;
        Dispute storage dispute = _disputes[disputeId];
        dispute.challenger = msg.sender;
        dispute.claimId = uint64(claimId);
        dispute.status = DisputeStatus.RUNNING;
        dispute.phase = count == 1 ? Phase.OPERATOR_REVEAL : Phase.TRACE_REVEAL;
        dispute.level = uint8(Trees.depth(count));
        dispute.claimantLeft = claim.clock;
        dispute.challengerLeft = claim.clock;
        dispute.count = count;
        bytes32 root = claim.traceRoot;
        if (root != bytes32(0)) {
            dispute.trace = root;
            dispute.node = root;
        }
        _turn(dispute, claim.extension);
        emit Challenged(claimId, disputeId, msg.sender);
    }

    /// @notice Returns the bond of a dispute that ran when another one defeated the claim.
    function release(uint256 disputeId) external {
        Dispute storage dispute = _disputes[disputeId];
        require(dispute.status != DisputeStatus.NONE, Unknown());
        require(dispute.status == DisputeStatus.RUNNING, DisputeClosed());
        Claim storage claim = _claims[dispute.claimId];
        require(claim.status == ClaimStatus.DEFEATED, ClaimOpen());
        claim.running -= 1;
        dispute.status = DisputeStatus.CANCELLED;
        emit DisputeEnded(disputeId, DisputeStatus.CANCELLED);
        _credit(dispute.challenger, claim.challengeBond);
    }

    /// @notice Asks for a chunk of an input; the value sent is the fee for the answer.
    /// @param content Terms and header of the claim, end to end.
    function request(uint256 claimId, uint16 input, uint32 chunk, bytes calldata content)
        external
        payable
        returns (uint256 requestId)
    {
        Claim storage claim = _openClaim(claimId);
        // As long again as the answer may take, so that who asked can still dispute the claim.
        require(
            block.timestamp + 2 * uint256(claim.answer) < uint256(claim.posted) + claim.window,
            WindowOver()
        );
        require(msg.value == claim.dataFee, Funds());
        (, Cells memory cells) = _input(claim, input, content);
        require(chunk < cells.chunks(), NoInput());
        claim.asked += 1;
        requestId = ++requests;
        _requests[requestId] = Request({
            requester: msg.sender,
            claimId: uint64(claimId),
            status: RequestStatus.OPEN,
            input: input,
            asked: uint40(block.timestamp),
            chunk: chunk
        });
        emit Requested(claimId, requestId, msg.sender, input, chunk);
    }

    /// @notice Answers a request by the chunk and its path to the input's root, and earns the fee.
    /// @param path 32 bytes for each level, from the leaf's sibling upwards.
    /// @param content Terms and header of the claim, end to end.
    function answer(
        uint256 requestId,
        bytes calldata chunk,
        bytes calldata path,
        bytes calldata content
    ) external {
        (Request storage asked, Claim storage claim) = _openRequest(requestId);
        require(msg.sender == claim.claimant, NotClaimant());
        require(block.timestamp <= uint256(asked.asked) + claim.answer, Late());
        (bytes32 root, Cells memory cells) = _input(claim, asked.input, content);
        require(_opens(root, cells, asked.chunk, chunk, path), NoData());
        claim.asked -= 1;
        asked.status = RequestStatus.ANSWERED;
        emit Answered(requestId, chunk, path);
        _credit(msg.sender, claim.dataFee);
    }

    /// @notice Defeats a claim whose claimant did not answer a request in time.
    function declareDefault(uint256 requestId) external {
        (Request storage asked, Claim storage claim) = _openRequest(requestId);
        require(block.timestamp > uint256(asked.asked) + claim.answer, Early());
        claim.asked -= 1;
        asked.status = RequestStatus.DEFAULTED;
        emit RequestEnded(requestId, RequestStatus.DEFAULTED);
        _defeat(asked.claimId, claim, asked.requester, claim.dataFee);
    }

    /// @notice Returns the fee of a request that was open when the claim was defeated.
    function releaseRequest(uint256 requestId) external {
        Request storage asked = _requests[requestId];
        require(asked.status != RequestStatus.NONE, Unknown());
        require(asked.status == RequestStatus.OPEN, RequestClosed());
        Claim storage claim = _claims[asked.claimId];
        require(claim.status == ClaimStatus.DEFEATED, ClaimOpen());
        claim.asked -= 1;
        asked.status = RequestStatus.RELEASED;
        emit RequestEnded(requestId, RequestStatus.RELEASED);
        _credit(asked.requester, claim.dataFee);
    }

    /// @notice Defeats a claim by a cell of an input that is beyond the input's range.
    /// @param chunk The chunk that holds the cell, with its path to the input's root.
    /// @param content Terms and header of the claim, end to end.
    function proveInputRange(
        uint256 claimId,
        uint16 input,
        uint32 cell,
        bytes calldata chunk,
        bytes calldata path,
        bytes calldata content
    ) external {
        Claim storage claim = _openClaim(claimId);
        (bytes32 root, Cells memory cells) = _input(claim, input, content);
        require(cell < cells.count, NoInput());
        uint256 index = uint256(cell) * cells.width / Trees.CHUNK;
        require(_opens(root, cells, index, chunk, path), Opening());
        require(cells.valueOf(chunk, cell) > cells.high, InRange());
        emit InputBeyondRange(claimId, msg.sender, input, cell, chunk, path);
        _defeat(claimId, claim, msg.sender, 0);
    }

    /// @notice Makes a claim final whose window is over, and returns its bond.
    function finalise(uint256 claimId) external {
        Claim storage claim = _openClaim(claimId);
        require(block.timestamp >= uint256(claim.posted) + claim.window, WindowOpen());
        require(claim.running == 0 && claim.asked == 0, Unsettled());
        claim.status = ClaimStatus.FINAL;
        emit ClaimEnded(claimId, ClaimStatus.FINAL);
        _credit(claim.claimant, claim.bond);
    }

    /// @inheritdoc ILedger
    function claimOf(uint256 claimId) external view returns (Claim memory) {
        return _claims[claimId];
    }

    /// @notice A dispute as it is stored; RUNNING of a defeated claim means that `release` is due.
    function disputeOf(uint256 disputeId) external view returns (Dispute memory) {
        return _disputes[disputeId];
    }

    function requestOf(uint256 requestId) external view returns (Request memory) {
        return _requests[requestId];
    }

    function _openClaim(uint256 claimId) private view returns (Claim storage claim) {
        claim = _claims[claimId];
        require(claim.status != ClaimStatus.NONE, Unknown());
        require(claim.status == ClaimStatus.OPEN, ClaimClosed());
    }

    function _openRequest(uint256 requestId)
        private
        view
        returns (Request storage asked, Claim storage claim)
    {
        asked = _requests[requestId];
        require(asked.status != RequestStatus.NONE, Unknown());
        require(asked.status == RequestStatus.OPEN, RequestClosed());
        claim = _claims[asked.claimId];
        require(claim.status == ClaimStatus.OPEN, RequestClosed());
    }

    /// @dev Root and cells of an input.
    function _input(Claim storage claim, uint256 input, bytes calldata content)
        private
        view
        returns (bytes32, Cells memory)
    {
        require(keccak256(content) == claim.content, Context());
        TermsBytes.Places memory places = TermsBytes.parts(content);
        Cells memory cells = HeaderBytes.input(content[places.end:], input);
        return (TermsBytes.input(content, input), cells);
    }

    /// @dev Whether these are the bytes of a chunk of a tensor.
    function _opens(
        bytes32 root,
        Cells memory cells,
        uint256 chunk,
        bytes calldata data,
        bytes calldata path
    ) private view returns (bool) {
        return data.length == cells.chunkLength(chunk)
            && Trees.opens(root, cells.chunks(), chunk, data, path);
    }
}
