// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILedger} from "../interfaces/ILedger.sol";
import {Claim, ClaimStatus} from "../Types.sol";

/// @notice What a claim must have staked for its finality to mean anything. The ledger takes any terms;
/// a claim without a window, or one that nobody could afford to dispute, becomes final as well.
struct Requirements {
    /// The least bond of the claimant, and the largest of a challenger, in wei.
    uint128 bond;
    uint128 challengeBond;
    /// The largest fee for data, in wei.
    uint128 dataFee;
    /// The least and the largest share of a lost bond that is burnt, in basis points. Where nothing
    /// is burnt, a claimant who is found out loses to himself, from another account, and nothing else.
    uint16 leastBurn;
    uint16 burn;
    /// The least time in which data can be asked for and the claim still be disputed after the
    /// answer, in seconds.
    uint32 window;
    /// The least time that a side has for a move, in seconds.
    uint32 extension;
    /// The most time that a side has for a dispute, in seconds: a challenger's bond is held for so long.
    uint32 clock;
}

/// @title What an adapter accepts as a proof
/// @notice A proof is `u256 claim | terms | header of the program`.
abstract contract Finality {
    ILedger public immutable ledger;
    Requirements private _requirements;

    constructor(ILedger ledger_, Requirements memory requirements_) {
        ledger = ledger_;
        _requirements = requirements_;
    }

    function requirements() external view returns (Requirements memory) {
        return _requirements;
    }

    /// @dev Whether the named claim is final, could be disputed, and has the content that follows.
    function _read(bytes calldata proof)
        internal
        view
        returns (bool isFinal, bytes calldata content)
    {
        if (proof.length < 32) return (false, proof);
        content = proof[32:];
        Claim memory claim = ledger.claimOf(uint256(bytes32(proof[:32])));
        isFinal = claim.status == ClaimStatus.FINAL && claim.content == keccak256(content)
            && _disputable(claim);
    }

    /// @dev Whether anybody could have disputed a claim, by these requirements.
    function _disputable(Claim memory claim) internal view returns (bool) {
        Requirements memory least = _requirements;
        return claim.bond >= least.bond && claim.challengeBond <= least.challengeBond
            && claim.dataFee <= least.dataFee && claim.burn >= least.leastBurn
            && claim.burn <= least.burn && claim.extension >= least.extension
            && claim.clock <= least.clock
            && claim.window >= uint256(least.window) + 2 * uint256(claim.answer);
    }
}
