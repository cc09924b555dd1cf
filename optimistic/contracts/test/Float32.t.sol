// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Opening} from "../src/Errors.sol";
import {Float32} from "../src/lib/Float32.sol";
import {Base} from "./Base.sol";

contract Float32Test is Base {
    /// @dev Bytes of a case: i64 state, u32 scale, i32 low, i32 high, i32 value.
    uint256 private constant CASE = 24;

    function requantise(int256 state, uint256 scale, int256 low, int256 high)
        external
        pure
        returns (int256)
    {
        return Float32.requantise(state, scale, low, high);
    }

    function test_requantise_like_the_vectors() public view {
        vm.assertEq(_requantise(vectors("float32")), 4000, "count");
    }

    /// @dev The file of 10^6 cases is too large to be kept; `tools/contracts.sh vectors` writes it.
    function test_requantise_like_many_vectors() public view {
        string memory path = "test/vectors/float32.jsonl";
        if (!vm.exists(path)) return;
        uint256 count = 0;
        string memory line = vm.readLine(path);
        while (bytes(line).length > 0) {
            count += _requantise(line);
            line = vm.readLine(path);
        }
        vm.assertEq(count, 1_000_000, "count");
    }

    function _requantise(string memory json) private pure returns (uint256 done) {
        bytes[] memory blocks = vm.parseJsonBytesArray(json, ".requantise");
        for (uint256 i = 0; i < blocks.length; ++i) {
            bytes memory cases = blocks[i];
            for (uint256 place = 0; place < cases.length; place += CASE) {
                uint256 word;
                assembly ("memory-safe") {
                    word := mload(add(add(cases, 32), place))
                }
                int256 found = Float32.requantise(
                    int64(uint64(word >> 192)),
                    uint32(word >> 160),
                    int32(uint32(word >> 128)),
                    int32(uint32(word >> 96))
                );
                int256 expected = int32(uint32(word >> 64));
                if (found != expected) vm.assertEq(found, expected, vm.toString(word));
                ++done;
            }
        }
    }

    function test_conversions_like_the_vectors() public view {
        string memory json = vectors("float32");
        bytes memory cases = vm.parseJsonBytes(json, ".from_int");
        for (uint256 place = 0; place < cases.length; place += 12) {
            uint256 word = _word(cases, place);
            vm.assertEq(
                Float32.fromInt(int64(uint64(word >> 192))),
                uint256(uint32(word >> 160)),
                vm.toString(place)
            );
        }
        cases = vm.parseJsonBytes(json, ".multiply");
        for (uint256 place = 0; place < cases.length; place += 12) {
            uint256 word = _word(cases, place);
            vm.assertEq(
                Float32.mul(uint32(word >> 224), uint32(word >> 192)),
                uint256(uint32(word >> 160)),
                vm.toString(place)
            );
        }
        bytes memory floats = vm.parseJsonBytes(json, ".to_int");
        bytes[] memory integers = vm.parseJsonBytesArray(json, ".to_int_values");
        for (uint256 i = 0; i < integers.length; ++i) {
            uint256 word = _word(floats, 4 * i);
            int256 expected = int256(_word(integers[i], 0));
            vm.assertEq(Float32.toInt(word >> 224), expected, vm.toString(i));
        }
        vm.assertTrue(integers.length > 100 && cases.length > 12_000, "too few");
    }

    function test_scales_that_no_model_has() public {
        uint256[5] memory scales = [uint256(0), 0x007FFFFF, 0x7F800000, 0x7FC00000, 0xBF800000];
        for (uint256 i = 0; i < scales.length; ++i) {
            vm.expectRevert(Opening.selector);
            this.requantise(1, scales[i], -128, 127);
        }
    }

    function test_a_range_upside_down() public {
        vm.expectRevert(Opening.selector);
        this.requantise(1, 0x3F800000, 1, 0);
    }

    /// @dev A float is at most half of its last place away from the integer that it stands for, and
    /// integers of up to 24 bits are themselves.
    function test_fuzz_from_int_is_near(int64 value) public pure {
        uint256 bits = Float32.fromInt(value);
        int256 back = Float32.toInt(bits);
        int256 distance = back > value ? back - value : value - back;
        uint256 field = (bits >> 23) & 0xFF;
        uint256 unit = field > 150 ? 1 << (field - 150) : 0;
        vm.assertLe(uint256(2 * distance), unit, "distance");
    }

    function test_fuzz_one_is_neutral(uint32 bits) public pure {
        vm.assume(bits & 0x7F800000 != 0x7F800000);
        vm.assertEq(Float32.mul(bits, 0x3F800000), uint256(bits), "1 * x");
        vm.assertEq(Float32.mul(0xBF800000, bits), uint256(bits ^ (1 << 31)), "-1 * x");
    }

    function test_fuzz_requantise_stays_within(int64 state, uint32 scale, int16 low, int16 high)
        public
        pure
    {
        vm.assume(scale >= 0x00800000 && scale < 0x7F800000 && low <= high);
        int256 value = Float32.requantise(state, scale, low, high);
        vm.assertTrue(value >= low && value <= high, "range");
        // Monotone: a larger state gives no smaller value.
        if (state < type(int64).max) {
            vm.assertTrue(Float32.requantise(state + 1, scale, low, high) >= value, "order");
        }
    }

    function _word(bytes memory data, uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), place))
        }
    }
}
