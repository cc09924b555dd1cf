// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";
import {AgentValidator} from "../src/adapters/AgentValidator.sol";
import {ContentVerifier} from "../src/adapters/ContentVerifier.sol";
import {Requirements} from "../src/adapters/Finality.sol";
import {InferenceVerifier} from "../src/adapters/InferenceVerifier.sol";
import {IERC165} from "../src/interfaces/IERC165.sol";
import {IModelRegistry, IModelVerifier} from "../src/interfaces/IERC7992.sol";
import {IValidationRegistry} from "../src/interfaces/IERC8004.sol";
import {Base} from "./Base.sol";
import {Model} from "./Model.sol";

/// @notice Keeps the last answer, as a registry of ERC-8004 would.
contract Registry is IValidationRegistry {
    address public validator;
    bytes32 public requestHash;
    uint8 public response;
    bytes32 public responseHash;
    string public tag;

    function validationResponse(
        bytes32 requestHash_,
        uint8 response_,
        string calldata,
        bytes32 responseHash_,
        string calldata tag_
    ) external {
        (validator, requestHash, response) = (msg.sender, requestHash_, response_);
        (responseHash, tag) = (responseHash_, tag_);
    }
}

/// @notice ERC-7992, ERC-7007 and ERC-8004 by final claims.
contract AdaptersTest is Base {
    address private constant OWNER = address(0x0AE);

    Ledger private ledger;
    Model private model;
    InferenceVerifier private verifier;
    Requirements private requirements;
    bytes private content;
    bytes private output;
    bytes private proof;
    bytes32 private commitment;
    bytes32 private program;
    uint256 private modelId;

    function setUp() public {
        vm.warp(1000);
        ledger = new Ledger();
        model = new Model();
        requirements = Requirements({
            bond: 1000,
            challengeBond: 300,
            dataFee: 7,
            leastBurn: 1000,
            burn: 1000,
            // The terms have 500 s and answers within 20 s.
            window: 460,
            extension: 10,
            clock: 60
        });
        verifier = new InferenceVerifier(ledger, requirements);
        program = sha256(bytes.concat(hex"02", model.header()));
        Model.Lie memory truth;
        content = bytes.concat(model.terms(truth), model.header());
        output = bytes.concat(model.tensor(2, truth), model.tensor(3, truth));
        bytes memory terms = model.terms(truth);
        bytes memory header = model.header();
        vm.deal(address(this), 1000);
        uint256 claimId = ledger.post{value: 1000}(terms, header);
        proof = bytes.concat(bytes32(claimId), content);
        commitment = verifier.inputCommitmentOf(content);
        IModelRegistry.ModelCommitment memory own = _commitment(program);
        vm.prank(OWNER);
        modelId = verifier.registerModel(own);
    }

    function _commitment(bytes32 root)
        private
        view
        returns (IModelRegistry.ModelCommitment memory)
    {
        return IModelRegistry.ModelCommitment({
            modelHash: root,
            circuitHash: 0,
            vkHash: address(ledger).codehash,
            proofSystemId: verifier.PROOF_SYSTEM(),
            uri: "ipfs://model"
        });
    }

    function _final() private {
        vm.warp(1500);
        ledger.finalise(1);
    }

    // ------------------------------------------------------------ ERC-7992
    function test_a_final_claim_verifies() public {
        _final();
        vm.expectEmit(true, true, true, true, address(verifier));
        emit IModelVerifier.InferenceVerified(modelId, commitment, output, address(this));
        verifier.verifyInference(modelId, commitment, output, proof);
    }

    function test_a_claim_that_is_open_does_not() public {
        vm.warp(1500);
        vm.expectRevert(IModelVerifier.InvalidProof.selector);
        verifier.verifyInference(modelId, commitment, output, proof);
    }

    function test_a_defeated_claim_does_not() public {
        _defeat();
        vm.expectRevert(IModelVerifier.InvalidProof.selector);
        verifier.verifyInference(modelId, commitment, output, proof);
    }

    function test_what_does_not_match_is_refused() public {
        _final();
        bytes memory longer = bytes.concat(output, hex"00");
        vm.expectRevert(IModelVerifier.OutputMismatch.selector);
        verifier.verifyInference(modelId, commitment, longer, proof);
        bytes memory other = bytes.concat(output);
        other[0] ^= 0x01;
        vm.expectRevert(IModelVerifier.OutputMismatch.selector);
        verifier.verifyInference(modelId, commitment, other, proof);
        vm.expectRevert(IModelVerifier.OutputMismatch.selector);
        verifier.verifyInference(modelId, commitment, hex"80", proof);
        vm.expectRevert(IModelVerifier.InputCommitmentMismatch.selector);
        verifier.verifyInference(modelId, commitment ^ bytes32(uint256(1)), output, proof);
        uint256 another = verifier.registerModel(_commitment(keccak256("another")));
        vm.expectRevert(IModelVerifier.ModelMismatch.selector);
        verifier.verifyInference(another, commitment, output, proof);
        // The number of another claim, another content, nothing at all.
        bytes memory changed = bytes.concat(bytes32(uint256(2)), content);
        vm.expectRevert(IModelVerifier.InvalidProof.selector);
        verifier.verifyInference(modelId, commitment, output, changed);
        changed = bytes.concat(proof);
        changed[40] ^= 0x01;
        vm.expectRevert(IModelVerifier.InvalidProof.selector);
        verifier.verifyInference(modelId, commitment, output, changed);
        vm.expectRevert(IModelVerifier.InvalidProof.selector);
        verifier.verifyInference(modelId, commitment, output, hex"00");
    }

    /// @dev A claim can be final and mean nothing, since nobody could dispute it.
    function test_requirements() public {
        _final();
        for (uint256 i = 0; i < 8; ++i) {
            Requirements memory more = requirements;
            if (i == 0) ++more.bond;
            else if (i == 1) --more.challengeBond;
            else if (i == 2) --more.dataFee;
            else if (i == 3) --more.burn;
            else if (i == 4) ++more.leastBurn;
            else if (i == 5) ++more.window;
            else if (i == 6) ++more.extension;
            else --more.clock;
            ContentVerifier stricter = new ContentVerifier(ledger, more, program);
            vm.assertTrue(!stricter.verify(model.input(), output, proof), vm.toString(i));
            vm.assertEq(abi.encode(stricter.requirements()), abi.encode(more), "they can be read");
        }
        ContentVerifier same = new ContentVerifier(ledger, requirements, program);
        vm.assertTrue(same.verify(model.input(), output, proof), "these are met");
    }

    function test_a_deprecated_model_is_refused() public {
        _final();
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.NotModelOwner.selector, modelId, address(this))
        );
        verifier.deprecateModel(modelId);
        vm.expectEmit(true, true, true, true, address(verifier));
        emit IModelRegistry.ModelDeprecated(modelId);
        vm.prank(OWNER);
        verifier.deprecateModel(modelId);
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelVerifier.VerificationRefused_ModelDeprecated.selector, modelId
            )
        );
        verifier.verifyInference(modelId, commitment, output, proof);
        (, bool deprecated, address owner) = verifier.getModel(modelId);
        vm.assertTrue(deprecated, "deprecated");
        vm.assertEq(owner, OWNER, "owner");
    }

    function test_the_registry() public {
        vm.assertEq(verifier.registry(), address(verifier), "itself");
        vm.assertTrue(
            verifier.proofSystemOf(modelId) == bytes4(keccak256("proofml-optimistic-v1")), "system"
        );
        (IModelRegistry.ModelCommitment memory found, bool deprecated,) = verifier.getModel(modelId);
        vm.assertEq(found.modelHash, program, "model");
        vm.assertTrue(!deprecated, "not deprecated");
        bytes memory unknown =
            abi.encodeWithSelector(IModelRegistry.ModelNotFound.selector, uint256(9));
        vm.expectRevert(unknown);
        verifier.getModel(9);
        vm.expectRevert(unknown);
        verifier.proofSystemOf(9);
        vm.expectRevert(unknown);
        verifier.verifyInference(9, commitment, output, proof);
        IModelRegistry.ModelCommitment memory other = _commitment(program);
        other.proofSystemId = 0x12345678;
        vm.expectRevert(
            abi.encodeWithSelector(
                IModelVerifier.UnsupportedProofSystem.selector, bytes4(0x12345678)
            )
        );
        verifier.registerModel(other);
        other = _commitment(program);
        other.vkHash = keccak256("another ledger");
        vm.expectRevert(InferenceVerifier.CommitmentMalformed.selector);
        verifier.registerModel(other);
        other = _commitment(program);
        other.circuitHash = bytes32(uint256(1));
        vm.expectRevert(InferenceVerifier.CommitmentMalformed.selector);
        verifier.registerModel(other);
    }

    function test_a_model_keeps_its_commitment() public {
        IModelRegistry.ModelCommitment memory other = _commitment(program);
        other.uri = "ipfs://elsewhere";
        vm.expectRevert(
            abi.encodeWithSelector(IModelRegistry.NotModelOwner.selector, modelId, address(this))
        );
        verifier.updateModel(modelId, other);
        vm.prank(OWNER);
        verifier.updateModel(modelId, other);
        (IModelRegistry.ModelCommitment memory found,,) = verifier.getModel(modelId);
        vm.assertEq(bytes(found.uri), bytes("ipfs://elsewhere"), "uri");
        for (uint256 i = 0; i < 4; ++i) {
            other = _commitment(program);
            if (i == 0) other.modelHash = 0;
            else if (i == 1) other.circuitHash = bytes32(uint256(1));
            else if (i == 2) other.vkHash = 0;
            else other.proofSystemId = 0;
            vm.prank(OWNER);
            vm.expectRevert(
                abi.encodeWithSelector(InferenceVerifier.CommitmentIsFixed.selector, modelId)
            );
            verifier.updateModel(modelId, other);
        }
    }

    function test_interfaces() public view {
        vm.assertTrue(verifier.supportsInterface(type(IERC165).interfaceId), "165");
        vm.assertTrue(verifier.supportsInterface(type(IModelRegistry).interfaceId), "registry");
        vm.assertTrue(verifier.supportsInterface(type(IModelVerifier).interfaceId), "verifier");
        vm.assertTrue(!verifier.supportsInterface(0xffffffff), "none");
    }

    /// @dev The statement, which binds a nonce, and the roots are in it.
    function test_input_commitments() public view {
        bytes memory other = bytes.concat(content);
        other[1] ^= 0x01;
        vm.assertTrue(verifier.inputCommitmentOf(other) != commitment, "statement");
        other[1] ^= 0x01;
        other[67] ^= 0x01;
        vm.assertTrue(verifier.inputCommitmentOf(other) != commitment, "root");
        bytes32 root = model.root(model.input());
        vm.assertEq(
            commitment,
            keccak256(abi.encodePacked("proofml-inputs-v1", bytes32(0), root)),
            "as documented"
        );
    }

    // ------------------------------------------------------------ ERC-7007
    function test_content() public {
        ContentVerifier content_ = new ContentVerifier(ledger, requirements, program);
        bytes memory prompt = model.input();
        vm.assertTrue(!content_.verify(prompt, output, proof), "open");
        _final();
        vm.assertTrue(content_.verify(prompt, output, proof), "final");
        vm.assertTrue(!content_.verify(output, output, proof), "another prompt");
        vm.assertTrue(!content_.verify(prompt, prompt, proof), "other content");
        vm.assertTrue(!content_.verify(prompt, output, ""), "no proof");
        prompt[7] ^= 0x01;
        vm.assertTrue(!content_.verify(prompt, output, proof), "a changed prompt");
        ContentVerifier other = new ContentVerifier(ledger, requirements, keccak256("other"));
        vm.assertTrue(!other.verify(model.input(), output, proof), "another program");
    }

    // ------------------------------------------------------------ ERC-8004
    function test_answers_of_a_validator() public {
        Registry registry = new Registry();
        AgentValidator validator = new AgentValidator(ledger, requirements, registry);
        vm.expectRevert(abi.encodeWithSelector(AgentValidator.Pending.selector, uint256(1)));
        validator.respond(1);
        vm.expectRevert(abi.encodeWithSelector(AgentValidator.Pending.selector, uint256(7)));
        validator.respond(7);
        _final();
        validator.respond(1);
        bytes32 hash = keccak256(content);
        vm.assertEq(registry.validator(), address(validator), "who");
        vm.assertEq(registry.requestHash(), validator.requestHashOf(1), "which");
        vm.assertEq(registry.response(), 100, "final");
        vm.assertEq(registry.responseHash(), hash, "content");
        vm.assertEq(bytes(registry.tag()), bytes("proofml-optimistic-v1"), "tag");
        ++requirements.bond;
        AgentValidator stricter = new AgentValidator(ledger, requirements, registry);
        vm.expectRevert(abi.encodeWithSelector(AgentValidator.Pending.selector, uint256(1)));
        stricter.respond(1);
    }

    function test_a_defeated_claim_is_answered_by_zero() public {
        Registry registry = new Registry();
        AgentValidator validator = new AgentValidator(ledger, requirements, registry);
        _defeat();
        validator.respond(1);
        vm.assertEq(registry.requestHash(), validator.requestHashOf(1), "which");
        vm.assertEq(registry.response(), 0, "defeated");
        vm.assertTrue(
            validator.requestHashOf(1) != validator.requestHashOf(2), "each claim has its own"
        );
    }

    function _defeat() private {
        vm.deal(address(this), 7);
        uint256 id = ledger.request{value: 7}(1, 0, 0, content);
        vm.warp(1021);
        ledger.declareDefault(id);
    }
}
