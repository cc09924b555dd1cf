// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Malformed} from "../src/Errors.sol";
import {Base} from "./Base.sol";
import {Harness} from "./Harness.sol";

contract TreesTest is Base {
    Harness private harness;

    function setUp() public {
        harness = new Harness();
    }

    function test_roots_and_paths_like_python() public view {
        string memory json = vectors("trees");
        for (uint256 i = 0; i < 12; ++i) {
            bytes memory data = vm.parseJsonBytes(json, key("cases", i, "data"));
            bytes32 root = bytes32(vm.parseJsonBytes(json, key("cases", i, "root")));
            uint256 count = vm.parseJsonUint(json, key("cases", i, "count"));
            uint256 index = vm.parseJsonUint(json, key("cases", i, "leaf"));
            bytes memory path = vm.parseJsonBytes(json, key("cases", i, "path"));
            vm.assertEq(harness.rootOfBytes(data), root, vm.toString(i));
            uint256 end = data.length < 1024 * (index + 1) ? data.length : 1024 * (index + 1);
            bytes memory leaf = harness.slice(data, 1024 * index, end - 1024 * index);
            vm.assertTrue(harness.opens(root, count, index, leaf, path), vm.toString(i));
            vm.assertTrue(!harness.opens(root, count, count, leaf, path), "no such leaf");
            vm.assertTrue(
                !harness.opens(root, count, index, leaf, bytes.concat(path, bytes32(0))), "longer"
            );
            if (count > 1) {
                vm.assertTrue(!harness.opens(root, count, index ^ 1, leaf, path), "another place");
            }
            leaf[0] ^= 0x01;
            vm.assertTrue(!harness.opens(root, count, index, leaf, path), "another leaf");
        }
    }

    /// @dev SHA-256 by the compiler's own function.
    function test_fuzz_parent(bytes32[16] memory nodes, uint8 zeros) public view {
        for (uint256 i = 0; i < 16; ++i) {
            if ((zeros >> (i / 2)) & 1 == 1) nodes[i] = 0;
        }
        bytes memory data;
        for (uint256 i = 0; i < 16; ++i) {
            data = bytes.concat(data, nodes[i]);
        }
        for (uint256 left = 16; left > 1; left /= 2) {
            for (uint256 i = 0; i < left; i += 2) {
                bool absent = nodes[i] == 0 && nodes[i + 1] == 0;
                nodes[i / 2] = absent
                    ? bytes32(0)
                    : sha256(abi.encodePacked(uint8(1), nodes[i], nodes[i + 1]));
            }
        }
        vm.assertEq(harness.parent(data), nodes[0], "parent");
    }

    function test_fuzz_root_of_one_chunk(bytes memory data) public view {
        vm.assume(data.length > 0 && data.length <= 1024);
        vm.assertEq(harness.rootOfBytes(data), sha256(abi.encodePacked(uint8(0), data)), "one leaf");
    }

    function test_fuzz_depth(uint32 count) public view {
        vm.assume(count > 0);
        uint256 depth = harness.depth(count);
        vm.assertTrue(1 << depth >= count, "holds them");
        vm.assertTrue(depth == 0 || 1 << (depth - 1) < count, "no more than needed");
        vm.assertEq(harness.present(count, 0), uint256(count), "leaves");
        vm.assertEq(harness.present(count, depth), 1, "root");
    }

    function test_reading_beyond_the_end() public {
        bytes memory data = hex"0102";
        vm.assertEq(harness.u8(data, 1), 2, "last");
        vm.expectRevert(Malformed.selector);
        harness.u8(data, 2);
        vm.expectRevert(Malformed.selector);
        harness.hash(data, 0);
        vm.expectRevert(Malformed.selector);
        harness.slice(data, 1, 2);
        vm.expectRevert(Malformed.selector);
        harness.flag(data, 1);
    }

    function test_signs() public view {
        (int256 a, int256 b, int256 c, uint256 d) = harness.signed(hex"ff00000180000000");
        vm.assertEq(a, int256(-1), "i8");
        vm.assertEq(b, int256(-0xffffff), "i32");
        vm.assertEq(c, int256(-0x00fffffe80000000), "i64");
        vm.assertEq(d, uint256(0xff0000), "u24");
    }
}
