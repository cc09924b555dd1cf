// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Nothing, Transfer} from "./Errors.sol";

/// @title Money that is owed, paid by pull
/// @notice What the contract holds is the sum of all balances, of the bonds of open claims and
/// running disputes and of the fees of open requests. Burnt money is the zero address' balance.
abstract contract Treasury {
    uint256 private constant WHOLE = 10_000;

    /// @notice What an account can withdraw.
    mapping(address account => uint256 wei_) public balances;

    event Credited(address indexed account, uint256 amount);
    event Withdrawn(address indexed account, uint256 amount);

    /// @notice Pays the sender's whole balance out.
    /// @return amount What was paid.
    function withdraw() external returns (uint256 amount) {
        amount = balances[msg.sender];
        require(amount > 0, Nothing());
        // Before the call, so that a receiver that calls back finds nothing.
        balances[msg.sender] = 0;
        emit Withdrawn(msg.sender, amount);
        // slither-disable-next-line low-level-calls
        (bool paid,) = msg.sender.call{value: amount}("");
        require(paid, Transfer());
    }

    function _credit(address account, uint256 amount) internal {
        balances[account] += amount;
        emit Credited(account, amount);
    }

    /// @dev Pays a lost bond to the winner, less the share that is burnt.
    /// @param own What the winner gets back beside it.
    function _forfeit(address winner, uint256 own, uint256 bond, uint256 points) internal {
        uint256 burnt = bond * points / WHOLE;
        if (burnt > 0) _credit(address(0), burnt);
        _credit(winner, own + bond - burnt);
    }
}
