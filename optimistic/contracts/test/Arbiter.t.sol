// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Base} from "./Base.sol";
import {Harness} from "./Harness.sol";

/// @notice Descriptors, steps and rules, as Python has them.
contract ArbiterTest is Base {
    Harness private harness;

    function setUp() public {
        harness = new Harness();
    }

    function test_descriptors_that_python_reads() public view {
        string memory json = vectors("descriptors");
        bytes[] memory data = vm.parseJsonBytesArray(json, ".descriptors");
        uint256[] memory accepted = vm.parseJsonUintArray(json, ".accepted");
        uint256 good = 0;
        for (uint256 i = 0; i < data.length; ++i) {
            bool read = false;
            try harness.descriptor(data[i], 9) {
                read = true;
                ++good;
            } catch {}
            vm.assertTrue(read == (accepted[i] == 1), vm.toString(i));
        }
        vm.assertTrue(good > 14 && good < data.length && data.length > 300, "too few");
    }

    function test_steps_like_python() public view {
        string memory json = vectors("steps");
        uint256 legal = 0;
        for (uint256 i = 0; i < 60; ++i) {
            bytes memory data = vm.parseJsonBytes(json, key("steps", i, "descriptor"));
            bytes memory leaf = vm.parseJsonBytes(json, key("steps", i, "leaf"));
            bytes memory move = vm.parseJsonBytes(json, key("steps", i, "move"));
            uint256 cell = vm.parseJsonUint(json, key("steps", i, "cell"));
            uint256 summand = vm.parseJsonUint(json, key("steps", i, "summand"));
            int256 state = _int(json, key("steps", i, "state"));
            bool taken = false;
            try harness.step(data, leaf, cell, summand, state, move) returns (
                int256 result, uint256 left, uint256 rest
            ) {
                taken = left == 0 && rest == 0;
                if (taken) {
                    vm.assertEq(result, _int(json, key("steps", i, "result")), vm.toString(i));
                    ++legal;
                }
            } catch {}
            vm.assertTrue(
                taken == (vm.parseJsonUint(json, key("steps", i, "legal")) == 1), vm.toString(i)
            );
        }
        vm.assertTrue(legal > 30 && legal < 60, "too few of one kind");
    }

    function test_rules_like_python() public view {
        string memory json = vectors("steps");
        uint256 legal = 0;
        for (uint256 i = 0; i < 60; ++i) {
            bytes memory data = vm.parseJsonBytes(json, key("rules", i, "descriptor"));
            bytes memory move = vm.parseJsonBytes(json, key("rules", i, "move"));
            uint256 cell = vm.parseJsonUint(json, key("rules", i, "cell"));
            int256 state = _int(json, key("rules", i, "state"));
            bool taken = false;
            try harness.rule(data, cell, state, move) returns (
                int256 result, uint256 left, uint256 rest
            ) {
                vm.assertTrue(left == 0 && rest == 0, vm.toString(i));
                vm.assertEq(result, _int(json, key("rules", i, "result")), vm.toString(i));
                taken = true;
                ++legal;
            } catch {}
            vm.assertTrue(
                taken == (vm.parseJsonUint(json, key("rules", i, "legal")) == 1), vm.toString(i)
            );
        }
        vm.assertTrue(legal > 30, "too few");
    }

    function _int(string memory json, string memory name) private pure returns (int256) {
        return abi.decode(vm.parseJsonBytes(json, name), (int256));
    }
}
