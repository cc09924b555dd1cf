// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Finality, Requirements} from "./Finality.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {IContentVerifier} from "../interfaces/IERC7007.sol";
import {Tensors} from "../lib/Tensors.sol";
import {TermsBytes} from "../lib/TermsBytes.sol";

/// @title ERC-7007: content is verified by a final claim
/// @notice A token of ERC-7007 whose content one program generates delegates its `verify` here.
contract ContentVerifier is Finality, IContentVerifier {
    /// @notice Root of the program that generates the content.
    bytes32 public immutable program;

    constructor(ILedger ledger_, Requirements memory requirements_, bytes32 program_)
        Finality(ledger_, requirements_)
    {
        program = program_;
    }

    /// @inheritdoc IContentVerifier
    /// @param prompt Cells of all inputs, tensor after tensor.
    /// @param aigcData Cells of all outputs.
    /// @param proof `u256 claim | terms | header`.
    function verify(bytes calldata prompt, bytes calldata aigcData, bytes calldata proof)
        external
        view
        returns (bool)
    {
        (bool isFinal, bytes calldata content) = _read(proof);
        return isFinal && TermsBytes.program(content) == program
            && Tensors.match_(content, false, prompt) && Tensors.match_(content, true, aigcData);
    }
}
