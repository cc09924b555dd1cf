// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Finality, Requirements} from "./Finality.sol";
import {IERC165} from "../interfaces/IERC165.sol";
import {ILedger} from "../interfaces/ILedger.sol";
import {IModelRegistry, IModelVerifier} from "../interfaces/IERC7992.sol";
import {Tensors} from "../lib/Tensors.sol";
import {TermsBytes} from "../lib/TermsBytes.sol";

/// @title ERC-7992: an inference is verified by a final claim
/// @notice Registry and verifier in one. A model's commitment is `modelHash` the root of its program,
/// `circuitHash` zero, `vkHash` the hash of the ledger's code, since that code is what decides, and
/// `proofSystemId` that of "proofml-optimistic-v1". A changed model is a new one: `updateModel`
/// takes another uri and nothing else.
contract InferenceVerifier is Finality, IModelRegistry, IModelVerifier, IERC165 {
    /// @notice Another model needs another number.
    error CommitmentIsFixed(uint256 modelId);
    /// @notice The commitment is not of the form that this verifier knows.
    error CommitmentMalformed();

    bytes4 public constant PROOF_SYSTEM = bytes4(keccak256("proofml-optimistic-v1"));
    /// @dev Before what an input commitment hashes.
    bytes private constant DOMAIN = "proofml-inputs-v1";

    struct Model {
        address owner;
        bool deprecated;
        ModelCommitment commitment;
    }

    mapping(uint256 id => Model) private _models;
    /// @notice How many models there are; each is numbered from 1.
    uint256 public models;

    constructor(ILedger ledger_, Requirements memory requirements_)
        Finality(ledger_, requirements_)
    {}

    /// @inheritdoc IModelRegistry
    function registerModel(ModelCommitment calldata commitment) external returns (uint256 modelId) {
        if (commitment.proofSystemId != PROOF_SYSTEM) {
            revert UnsupportedProofSystem(commitment.proofSystemId);
        }
        require(
            commitment.circuitHash == 0 && commitment.vkHash == address(ledger).codehash,
            CommitmentMalformed()
        );
        modelId = ++models;
        Model storage model = _models[modelId];
        model.owner = msg.sender;
        model.commitment = commitment;
        emit ModelRegistered(modelId, msg.sender, commitment);
    }

    /// @inheritdoc IModelRegistry
    function updateModel(uint256 modelId, ModelCommitment calldata newCommitment) external {
        Model storage model = _owned(modelId);
        ModelCommitment memory old = model.commitment;
        require(
            old.modelHash == newCommitment.modelHash && old.circuitHash == newCommitment.circuitHash
                && old.vkHash == newCommitment.vkHash
                && old.proofSystemId == newCommitment.proofSystemId,
            CommitmentIsFixed(modelId)
        );
        model.commitment.uri = newCommitment.uri;
        emit ModelUpdated(modelId, old, newCommitment);
    }

    /// @inheritdoc IModelRegistry
    function deprecateModel(uint256 modelId) external {
        _owned(modelId).deprecated = true;
        emit ModelDeprecated(modelId);
    }

    /// @inheritdoc IModelRegistry
    function getModel(uint256 modelId)
        external
        view
        returns (ModelCommitment memory commitment, bool deprecated, address owner)
    {
        Model storage model = _model(modelId);
        return (model.commitment, model.deprecated, model.owner);
    }

    /// @inheritdoc IModelVerifier
    /// @param inputCommitment See `inputCommitmentOf`.
    /// @param output Cells of all outputs, tensor after tensor.
    /// @param proof `u256 claim | terms | header`.
    function verifyInference(
        uint256 modelId,
        bytes32 inputCommitment,
        bytes calldata output,
        bytes calldata proof
    ) external {
        Model storage model = _model(modelId);
        require(!model.deprecated, VerificationRefused_ModelDeprecated(modelId));
        (bool isFinal, bytes calldata content) = _read(proof);
        require(isFinal, InvalidProof());
        require(TermsBytes.program(content) == model.commitment.modelHash, ModelMismatch());
        require(inputCommitmentOf(content) == inputCommitment, InputCommitmentMismatch());
        require(Tensors.match_(content, true, output), OutputMismatch());
        emit InferenceVerified(modelId, inputCommitment, output, msg.sender);
    }

    /// @notice keccak256 of a domain, the statement's hash (which binds a nonce) and the inputs' roots.
    /// @param content Terms of a claim; what follows them is not read.
    function inputCommitmentOf(bytes calldata content) public pure returns (bytes32) {
        TermsBytes.Places memory places = TermsBytes.parts(content);
        bytes memory roots = "";
        for (uint256 i = 0; i < places.inputs; ++i) {
            roots = bytes.concat(roots, TermsBytes.input(content, i));
        }
        return keccak256(bytes.concat(DOMAIN, TermsBytes.statement(content), roots));
    }

    /// @inheritdoc IModelVerifier
    function proofSystemOf(uint256 modelId) external view returns (bytes4) {
        return _model(modelId).commitment.proofSystemId;
    }

    /// @inheritdoc IModelVerifier
    function registry() external view returns (address) {
        return address(this);
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) external pure returns (bool) {
        return interfaceId == type(IERC165).interfaceId
            || interfaceId == type(IModelRegistry).interfaceId
            || interfaceId == type(IModelVerifier).interfaceId;
    }

    function _model(uint256 modelId) private view returns (Model storage model) {
        model = _models[modelId];
        require(model.owner != address(0), ModelNotFound(modelId));
    }

    function _owned(uint256 modelId) private view returns (Model storage model) {
        model = _model(modelId);
        require(model.owner == msg.sender, NotModelOwner(modelId, msg.sender));
    }
}
