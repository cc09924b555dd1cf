// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";

/// @notice Has no way to receive ether.
contract Refusing {
    function post(Ledger ledger, bytes calldata terms, bytes calldata header) external {
        ledger.post{value: address(this).balance}(terms, header);
    }

    function withdraw(Ledger ledger) external {
        ledger.withdraw();
    }
}

/// @notice Withdraws again while it is paid.
contract Reentering {
    Ledger private immutable _ledger;
    uint256 public calls;
    bool public refused;

    constructor(Ledger ledger) {
        _ledger = ledger;
    }

    function post(bytes calldata terms, bytes calldata header) external {
        _ledger.post{value: address(this).balance}(terms, header);
    }

    function withdraw() external {
        _ledger.withdraw();
    }

    receive() external payable {
        ++calls;
        try _ledger.withdraw() {}
        catch {
            refused = true;
        }
    }
}
