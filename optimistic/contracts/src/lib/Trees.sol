// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Merkle trees of SHA-256 over chunks of bytes
/// @notice A leaf is SHA-256 of 0x00 and its bytes, a node of 0x01 and its two children. Leaves that
/// are not there, up to the next power of two, are 32 zero bytes, and so is a node over two of them.
/// Levels are numbered from the leaves (0) up.
/// @dev Twin of `proofml.optimistic.merkle`. SHA-256 is the precompiled contract at address 2; what it
/// hashes is laid out above the free memory pointer and left there.
library Trees {
    /// @notice Bytes of one leaf of a tensor's or table's tree; the last one may be shorter.
    uint256 internal constant CHUNK = 1024;

    /// @notice SHA-256 of one byte and the data.
    function hash(uint8 prefix, bytes calldata data) internal view returns (bytes32 result) {
        assembly ("memory-safe") {
            let p := mload(0x40)
            mstore8(p, prefix)
            calldatacopy(add(p, 1), data.offset, data.length)
            if iszero(staticcall(gas(), 2, p, add(data.length, 1), 0, 32)) {
                revert(0, 0)
            }
            if iszero(eq(returndatasize(), 32)) { revert(0, 0) }
            result := mload(0)
        }
    }

    /// @notice Hash of a leaf's bytes.
    function leaf(bytes calldata data) internal view returns (bytes32) {
        return hash(0, data);
    }

    /// @notice The parent of two nodes; of two absent ones it is absent too.
    function node(bytes32 left, bytes32 right) internal view returns (bytes32 result) {
        assembly ("memory-safe") {
            if or(left, right) {
                let p := mload(0x40)
                mstore8(p, 1)
                mstore(add(p, 1), left)
                mstore(add(p, 33), right)
                if iszero(staticcall(gas(), 2, p, 65, 0, 32)) { revert(0, 0) }
                if iszero(eq(returndatasize(), 32)) { revert(0, 0) }
                result := mload(0)
            }
        }
    }

    /// @notice Levels above the leaves: ceil(log2(count)), for 1 to 2^32 leaves.
    function depth(uint256 count) internal pure returns (uint256 levels) {
        while ((1 << levels) < count) {
            unchecked {
                ++levels;
            }
        }
    }

    /// @notice How many nodes of a level are not absent.
    function present(uint256 count, uint256 level) internal pure returns (uint256) {
        return (count + (1 << level) - 1) >> level;
    }

    /// @notice The root that a node of level 0 and its siblings, from below, lead to.
    /// @param path 32 bytes for each level; the caller has checked how many.
    function root(bytes32 start, uint256 index, bytes calldata path)
        internal
        view
        returns (bytes32 result)
    {
        result = start;
        for (uint256 pos = 0; pos < path.length; pos += 32) {
            bytes32 sibling;
            assembly ("memory-safe") {
                sibling := calldataload(add(path.offset, pos))
            }
            result = index & 1 == 1 ? node(sibling, result) : node(result, sibling);
            index >>= 1;
        }
    }

    /// @notice Whether a leaf's bytes open under a root.
    function opens(
        bytes32 top,
        uint256 count,
        uint256 index,
        bytes calldata data,
        bytes calldata path
    ) internal view returns (bool) {
        return index < count && path.length == 32 * depth(count)
            && root(leaf(data), index, path) == top;
    }

    /// @notice The node above 2^m neighbours of one level.
    /// @param nodes 2^m times 32 bytes; the caller has checked that.
    function parent(bytes calldata nodes) internal view returns (bytes32) {
        uint256 base;
        assembly ("memory-safe") {
            base := mload(0x40)
            mstore(0x40, add(base, nodes.length))
            calldatacopy(base, nodes.offset, nodes.length)
        }
        for (uint256 left = nodes.length >> 5; left > 1; left >>= 1) {
            _halve(base, left);
        }
        return _load(base);
    }

    /// @notice Root of the tree over these bytes, cut into chunks.
    /// @param data At least one byte.
    function rootOfBytes(bytes calldata data) internal view returns (bytes32) {
        uint256 count = (data.length + CHUNK - 1) / CHUNK;
        uint256 width = 1 << depth(count);
        uint256 base;
        assembly ("memory-safe") {
            base := mload(0x40)
            mstore(0x40, add(base, mul(width, 32)))
        }
        for (uint256 i = 0; i < width; ++i) {
            uint256 end = i + 1 < count ? (i + 1) * CHUNK : data.length;
            bytes32 value = i < count ? leaf(data[i * CHUNK:end]) : bytes32(0);
            assembly ("memory-safe") {
                mstore(add(base, mul(i, 32)), value)
            }
        }
        for (uint256 left = width; left > 1; left >>= 1) {
            _halve(base, left);
        }
        return _load(base);
    }

    /// @dev Replaces `left` nodes in memory by the parents of their pairs.
    function _halve(uint256 base, uint256 left) private view {
        for (uint256 i = 0; i < left; i += 2) {
            uint256 pos = base + 32 * i;
            bytes32 above = node(_load(pos), _load(pos + 32));
            assembly ("memory-safe") {
                mstore(add(base, mul(i, 16)), above)
            }
        }
    }

    function _load(uint256 pos) private pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(pos)
        }
    }
}
