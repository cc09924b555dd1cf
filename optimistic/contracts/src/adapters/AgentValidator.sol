// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Finality, Requirements} from "./Finality.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {IValidationRegistry} from "../interfaces/IERC8004.sol";
import {Claim, ClaimStatus} from "../Types.sol";

/// @title ERC-8004: a validator whose answers are what has become of claims
/// @notice An agent names this contract as validator and `requestHashOf` its claim as request; when
/// the claim is over, anybody has the answer written into the registry: 100 for final, 0 for
/// defeated. The answer is about the claim alone: an agent may name anybody's claim, about any
/// program. Whoever relies on it compares `claimOf(id).claimant` with the agent's own account and the
/// program in the claim's terms with the model that he expects.
contract AgentValidator is Finality {
    /// @notice The claim is neither defeated, nor final under terms that mean anything.
    error Pending(uint256 claimId);

    string public constant TAG = "proofml-optimistic-v1";

    IValidationRegistry public immutable registry;

    constructor(ILedger ledger_, Requirements memory requirements_, IValidationRegistry registry_)
        Finality(ledger_, requirements_)
    {
        registry = registry_;
    }

    /// @notice Answers the request about a claim.
    function respond(uint256 claimId) external {
        Claim memory claim = ledger.claimOf(claimId);
        bool isFinal = claim.status == ClaimStatus.FINAL && _disputable(claim);
        require(isFinal || claim.status == ClaimStatus.DEFEATED, Pending(claimId));
        registry.validationResponse(
            _requestHash(claimId, claim.content), isFinal ? 100 : 0, "", claim.content, TAG
        );
    }

    /// @notice What a request about a claim commits to: this chain, this ledger, the claim's number
    /// and what it says.
    function requestHashOf(uint256 claimId) external view returns (bytes32) {
        return _requestHash(claimId, ledger.claimOf(claimId).content);
    }

    function _requestHash(uint256 claimId, bytes32 content) private view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(ledger), claimId, content));
    }
}
