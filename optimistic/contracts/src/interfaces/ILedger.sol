// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claim} from "../Types.sol";

/// @notice What other contracts read of a ledger.
interface ILedger {
    /// @notice A claim as it is kept; of status NONE where there is none of this number.
    function claimOf(uint256 claimId) external view returns (Claim memory);
}
