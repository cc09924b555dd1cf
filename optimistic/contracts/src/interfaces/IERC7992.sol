// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice ERC-7992 (draft), registry of models.
/// @dev The draft gives an event and an error the name `ModelDeprecated`, which no compiler takes; the
/// event has it here.
interface IModelRegistry {
    struct ModelCommitment {
        bytes32 modelHash;
        bytes32 circuitHash;
        bytes32 vkHash;
        bytes4 proofSystemId;
        string uri;
    }

    event ModelRegistered(
        uint256 indexed modelId, address indexed owner, ModelCommitment commitment
    );
    event ModelUpdated(
        uint256 indexed modelId, ModelCommitment oldCommitment, ModelCommitment newCommitment
    );
    event ModelDeprecated(uint256 indexed modelId);

    error ModelNotFound(uint256 modelId);
    error NotModelOwner(uint256 modelId, address caller);

    function registerModel(ModelCommitment calldata commitment) external returns (uint256 modelId);

    function updateModel(uint256 modelId, ModelCommitment calldata newCommitment) external;

    function deprecateModel(uint256 modelId) external;

    function getModel(uint256 modelId)
        external
        view
        returns (ModelCommitment memory commitment, bool deprecated, address owner);
}

/// @notice ERC-7992 (draft), verifier of inferences.
interface IModelVerifier {
    event InferenceVerified(
        uint256 indexed modelId,
        bytes32 indexed inputCommitment,
        bytes output,
        address indexed caller
    );

    error InvalidProof();
    error ModelMismatch();
    error InputCommitmentMismatch();
    error OutputMismatch();
    error UnsupportedProofSystem(bytes4 proofSystemId);
    error VerificationRefused_ModelDeprecated(uint256 modelId);

    /// @notice Reverts unless the inference is proven.
    function verifyInference(
        uint256 modelId,
        bytes32 inputCommitment,
        bytes calldata output,
        bytes calldata proof
    ) external;

    function proofSystemOf(uint256 modelId) external view returns (bytes4);

    function registry() external view returns (address registryAddress);
}
