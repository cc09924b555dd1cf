// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Dispute, Kind, Phase} from "../src/Types.sol";

/// @notice A small program with all that its players need, made in Solidity alone, so that it is
/// independent of the recorded games: x[1500] of int8, and
///     0  y = rint(clip((3 x + 5) / 2))          sum of two parts, requantised
///     1  z[i] = max(y[i], y[i + 1])             the last one against 0
///     2  total = sum of z                       1500 summands
///     3  best = index of the first largest z    1500 summands
contract Model {
    uint256 public constant N = 1500;
    uint256 public constant OPERATORS = 4;
    uint256 private constant CHUNK = 1024;
    /// @dev Terms: k = 8.
    uint8 private constant K_LOG = 3;
    /// @dev 0.5, -128, 127.
    bytes private constant RECORD = hex"3f000000ffffff800000007f";

    /// @notice One cell of one operator that is claimed as something else.
    struct Lie {
        bool told;
        uint256 op;
        uint256 cell;
        int256 value;
        /// The claim has no trace.
        bool deferred;
    }

    /// @dev Cells as they are committed: value + 128.
    bytes private _x;
    bytes private _y;
    bytes private _z;
    int256 public total;
    uint256 public best;

    constructor() {
        bytes memory x = new bytes(N);
        bytes memory y = new bytes(N);
        bytes memory z = new bytes(N);
        uint256 seed = uint256(keccak256("model"));
        for (uint256 i = 0; i < N; ++i) {
            if (i % 32 == 0) seed = uint256(keccak256(abi.encode(seed)));
            x[i] = bytes1(uint8(seed >> (8 * (i % 32))));
            int256 twice = 3 * _value(x, i) + 5;
            // Half of an odd number goes to the even neighbour.
            int256 half = (twice - (twice & 1)) / 2;
            if (twice & 1 == 1 && half & 1 == 1) ++half;
            half = half > 127 ? int256(127) : half < -128 ? int256(-128) : half;
            y[i] = bytes1(uint8(uint256(half + 128)));
        }
        for (uint256 i = 0; i < N; ++i) {
            bytes1 next = i + 1 < N ? y[i + 1] : bytes1(0x80);
            z[i] = y[i] > next ? y[i] : next;
            total += _value(z, i);
            if (z[i] > z[best]) best = i;
        }
        (_x, _y, _z) = (x, y, z);
    }

    function _value(bytes memory data, uint256 cell) private pure returns (int256) {
        return int256(uint256(uint8(data[cell]))) - 128;
    }

    // ------------------------------------------------------------ tensors
    function count(uint256 op) public pure returns (uint256) {
        return op < 2 ? N : 1;
    }

    /// @notice The bytes of the input.
    function input() public view returns (bytes memory) {
        return _x;
    }

    /// @notice The bytes of what an operator makes, with a lie.
    function tensor(uint256 op, Lie memory lie) public view returns (bytes memory data) {
        bool told = lie.told && lie.op == op;
        if (op > 1) {
            int256 value = told ? lie.value : op == 2 ? total : int256(best);
            if (op == 2) return abi.encodePacked(uint32(uint256(value + (1 << 31))));
            return abi.encodePacked(uint16(uint256(value)));
        }
        data = op == 0 ? _y : _z;
        if (told) data[lie.cell] = bytes1(uint8(uint256(lie.value + 128)));
    }

    /// @notice What a cell truly is.
    function truth(uint256 op, uint256 cell) public view returns (int256) {
        if (op < 2) return _value(op == 0 ? _y : _z, cell);
        return op == 2 ? total : int256(best);
    }

    /// @notice The true state after `j` summands.
    function state(uint256 op, uint256 cell, uint256 j) public view returns (int256 s) {
        if (op == 0) {
            return j == 0 ? int256(0) : 3 * _value(_x, cell) + (j == 1 ? int256(0) : int256(5));
        }
        if (op == 1) return j == 0 ? -(1 << 31) : _value(j == 1 ? _y : _z, cell);
        bytes memory z = _z;
        for (uint256 i = 0; i < j; ++i) {
            if (op == 2) s += _value(z, i);
            else if (z[i] > z[uint256(s)]) s = int256(i);
        }
    }

    /// @notice A state at the end that gives a cell this value.
    function ending(uint256 op, int256 value) public pure returns (int256) {
        return op == 0 ? 2 * value : value;
    }

    function summands(uint256 op) public pure returns (uint256) {
        return op < 2 ? 2 : N;
    }

    // ------------------------------------------------------------ trees
    function chunk(bytes memory data, uint256 index) public pure returns (bytes memory made) {
        uint256 start = index * CHUNK;
        uint256 size = data.length < start + CHUNK ? data.length - start : CHUNK;
        made = new bytes(size);
        assembly ("memory-safe") {
            mcopy(add(made, 32), add(add(data, 32), start), size)
        }
    }

    function leaves(bytes memory data) public pure returns (bytes32[] memory made) {
        made = new bytes32[]((data.length + CHUNK - 1) / CHUNK);
        for (uint256 i = 0; i < made.length; ++i) {
            made[i] = sha256(bytes.concat(hex"00", chunk(data, i)));
        }
    }

    function node(bytes32[] memory from, uint256 level, uint256 index)
        public
        pure
        returns (bytes32)
    {
        if (level == 0) return index < from.length ? from[index] : bytes32(0);
        bytes32 left = node(from, level - 1, 2 * index);
        bytes32 right = node(from, level - 1, 2 * index + 1);
        return left | right == 0 ? bytes32(0) : sha256(bytes.concat(hex"01", left, right));
    }

    /// @notice Siblings of a leaf, `depth` of them.
    function path(bytes32[] memory from, uint256 index, uint256 depth)
        public
        pure
        returns (bytes memory made)
    {
        for (uint256 level = 0; level < depth; ++level) {
            made = bytes.concat(made, node(from, level, (index >> level) ^ 1));
        }
    }

    function root(bytes memory data) public pure returns (bytes32) {
        return data.length > CHUNK ? node(leaves(data), 1, 0) : leaves(data)[0];
    }

    // ------------------------------------------------------------ program
    /// @notice `u8 rank | dims | u8 width | i32 low | i32 high` of what an operator makes.
    function cells(uint256 op) public pure returns (bytes memory) {
        if (op == 2) return hex"0004800000007fffffff";
        if (op == 3) return hex"000200000000000005db";
        return hex"01000005dc01ffffff800000007f";
    }

    function descriptor(uint256 op) public pure returns (bytes memory) {
        if (op == 0) {
            bytes32 records = sha256(bytes.concat(hex"00", RECORD));
            return bytes.concat(
                hex"0100",
                cells(0),
                hex"010001",
                records,
                hex"00000001000c0002",
                bytes.concat(hex"0000000300", _operand(0, 0, hex"00ff000000010000000000000000")),
                hex"0000000005000300"
            );
        }
        if (op == 1) {
            return bytes.concat(
                hex"0101",
                cells(1),
                hex"0000000002",
                bytes.concat(
                    hex"0000000100", _operand(2, 0, hex"00ff000000010000000000000000"), hex"00"
                ),
                bytes.concat(
                    hex"0000000100", _operand(2, 0, hex"00ff000000010000000000000001"), hex"00"
                )
            );
        }
        return bytes.concat(
            op == 2 ? bytes(hex"0100") : bytes(hex"0102"),
            cells(op),
            hex"00000000010000000101000005dc",
            _operand(2, 1, hex"ff00000000000000000100000000"),
            hex"00"
        );
    }

    /// @dev A vector of int8, indexed as `axis` says.
    function _operand(uint8 source, uint32 index, bytes memory axis)
        private
        pure
        returns (bytes memory)
    {
        return bytes.concat(bytes1(source), bytes4(index), cells(0), hex"01000005dc", axis, hex"00");
    }

    function descriptors() public pure returns (bytes32[] memory made) {
        made = new bytes32[](OPERATORS);
        for (uint256 op = 0; op < OPERATORS; ++op) {
            made[op] = sha256(bytes.concat(hex"00", descriptor(op)));
        }
    }

    function header() public pure returns (bytes memory) {
        return bytes.concat(
            hex"000000040001",
            cells(0),
            hex"00000000000002",
            bytes.concat(cells(2), hex"0200000002", cells(3), hex"0200000003"),
            node(descriptors(), 2, 0)
        );
    }

    /// @notice Leaf of the trace.
    function leaf(uint256 op, Lie memory lie) public view returns (bytes memory) {
        bytes32 read = op == 0 ? root(input()) : root(tensor(op == 1 ? 0 : 1, lie));
        bytes memory again = op == 1 ? bytes.concat(read) : bytes("");
        return bytes.concat(
            bytes4(uint32(op)),
            op == 1 ? bytes2(0x0002) : bytes2(0x0001),
            read,
            again,
            root(tensor(op, lie))
        );
    }

    function trace(Lie memory lie) public view returns (bytes32[] memory made) {
        made = new bytes32[](OPERATORS);
        for (uint256 op = 0; op < OPERATORS; ++op) {
            made[op] = sha256(bytes.concat(hex"00", leaf(op, lie)));
        }
    }

    function terms(Lie memory lie) public view returns (bytes memory) {
        return bytes.concat(
            bytes.concat(hex"01", bytes32(0), sha256(bytes.concat(hex"02", header()))),
            bytes.concat(
                hex"0001", root(input()), hex"0002", root(tensor(2, lie)), root(tensor(3, lie))
            ),
            bytes.concat(lie.deferred ? bytes32(0) : node(trace(lie), 2, 0), bytes1(K_LOG)),
            // Bonds of 1000 and 300, a burn of 10%, a window of 500 s, clocks of 60 s with an
            // extension of 10 s, answers within 20 s for a fee of 7.
            bytes.concat(bytes16(uint128(1000)), bytes16(uint128(300)), bytes2(uint16(1000))),
            bytes.concat(bytes4(uint32(500)), bytes4(uint32(60)), bytes4(uint32(10))),
            bytes.concat(bytes4(uint32(20)), bytes16(uint128(7)), hex"0000")
        );
    }

    // ------------------------------------------------------------ players
    /// @notice The claimant's move where a dispute stands.
    /// @param op The disputed operator, once it is known.
    /// @param change From this summand on the states of a lie are shifted.
    function claimant(Dispute memory pos, uint256 op, Lie memory lie, uint256 change)
        external
        view
        returns (bytes memory move, bytes memory context)
    {
        if (pos.phase == Phase.TRACE_REVEAL) {
            return (_reveal(Kind.REVEAL_TRACE, trace(lie), pos), "");
        }
        if (pos.phase == Phase.OPERATOR_REVEAL) {
            bytes memory read = leaf(pos.index, lie);
            bytes memory data = descriptor(pos.index);
            bytes memory siblings = path(descriptors(), pos.index, 2);
            move = bytes.concat(
                bytes1(uint8(Kind.REVEAL_OPERATOR)),
                bytes2(uint16(read.length)),
                read,
                bytes2(uint16(data.length)),
                data,
                hex"02",
                siblings
            );
            return (move, bytes.concat(terms(lie), header()));
        }
        if (pos.phase == Phase.CELLS_REVEAL) {
            return (_reveal(Kind.REVEAL_CELLS, leaves(tensor(op, lie)), pos), "");
        }
        if (pos.phase == Phase.CHUNK_REVEAL) {
            bytes memory data = chunk(tensor(op, lie), pos.index);
            return
                (
                    bytes.concat(
                        bytes1(uint8(Kind.REVEAL_CHUNK)), bytes2(uint16(data.length)), data
                    ),
                    ""
                );
        }
        return _sums(pos, op, lie, change);
    }

    /// @notice The honest challenger's move against a lie.
    /// @param states That were last revealed.
    function challenger(Dispute memory pos, uint256 op, Lie memory lie, bytes memory states)
        external
        view
        returns (bytes memory move, bytes memory context)
    {
        if (pos.phase == Phase.TRACE_SELECT) return select(pos, trace(lie), lie.op);
        if (pos.phase == Phase.OPERATOR_ANSWER) return (hex"05", "");
        if (pos.phase == Phase.CELLS_SELECT) {
            return select(pos, leaves(tensor(op, lie)), lie.cell / CHUNK);
        }
        if (pos.phase == Phase.CHUNK_SELECT) return selectCell(pos, op, lie, lie.cell);
        if (pos.phase == Phase.SUMS_SELECT) {
            uint256 length = pos.to - pos.from;
            uint256 parts = length < 8 ? length : 8;
            uint256 i = 0;
            while (i + 1 < parts) {
                uint256 cut = pos.from + ((i + 1) * length + parts - 1) / parts;
                if (_stateAt(states, i) != state(op, pos.cell, cut)) break;
                ++i;
            }
            return (abi.encodePacked(uint8(Kind.SELECT), uint32(i)), states);
        }
        return (summand(pos, op, lie), bytes.concat(leaf(op, lie), descriptor(op)));
    }

    /// @notice Goes to a child that leads to a leaf.
    function select(Dispute memory pos, bytes32[] memory from, uint256 target)
        public
        pure
        returns (bytes memory move, bytes memory context)
    {
        // Both trees are shorter than one reveal goes down.
        return (
            abi.encodePacked(uint8(Kind.SELECT), uint32(target)),
            bytes.concat(node(from, 0, target), path(from, target, pos.level))
        );
    }

    function selectCell(Dispute memory pos, uint256 op, Lie memory lie, uint256 cell)
        public
        view
        returns (bytes memory move, bytes memory context)
    {
        return (
            abi.encodePacked(uint8(Kind.SELECT_CELL), uint32(cell)),
            bytes.concat(leaf(op, lie), descriptor(op), chunk(tensor(op, lie), pos.index))
        );
    }

    /// @notice All that the arbiter reads; the tensors before the operator are not lied about.
    function summand(Dispute memory pos, uint256 op, Lie memory lie)
        public
        view
        returns (bytes memory)
    {
        Lie memory before = lie.op < op ? lie : Lie(false, 0, 0, 0, lie.deferred);
        if (op == 0) {
            if (pos.from == 1) return hex"0b00";
            return bytes.concat(hex"0b01", _opening(input(), pos.cell));
        }
        if (op == 1) {
            uint256 cell = uint256(pos.cell) + pos.from;
            if (cell == N) return hex"0b00";
            return bytes.concat(hex"0b01", _opening(tensor(0, before), cell));
        }
        bytes memory from = tensor(1, before);
        if (op == 2) return bytes.concat(hex"0b01", _opening(from, pos.from));
        return bytes.concat(
            hex"0b02", _opening(from, pos.from), _opening(from, uint256(int256(pos.fromState)))
        );
    }

    function _opening(bytes memory data, uint256 cell) private pure returns (bytes memory) {
        uint256 index = cell / CHUNK;
        bytes memory part = chunk(data, index);
        return bytes.concat(
            bytes4(uint32(index)),
            bytes2(uint16(part.length)),
            part,
            hex"01",
            path(leaves(data), index, 1)
        );
    }

    function _reveal(uint256 kind, bytes32[] memory from, Dispute memory pos)
        private
        pure
        returns (bytes memory move)
    {
        uint256 below = pos.level < K_LOG ? pos.level : K_LOG;
        move = abi.encodePacked(uint8(kind), uint8(below));
        for (uint256 i = 0; i < 1 << below; ++i) {
            uint256 index = (uint256(pos.index) << below) + i;
            move = bytes.concat(move, node(from, pos.level - below, index));
        }
    }

    /// @dev States: true ones before `change`, and from there on shifted to what the cell says.
    function _sums(Dispute memory pos, uint256 op, Lie memory lie, uint256 change)
        private
        view
        returns (bytes memory move, bytes memory context)
    {
        bool fresh = pos.phase == Phase.RESULT_REVEAL;
        uint256 length = pos.to - pos.from;
        uint256 parts = length < 8 ? length : 8;
        int256 shift = 0;
        if (lie.told && lie.op == op && lie.cell == pos.cell) {
            shift = ending(op, lie.value) - state(op, pos.cell, summands(op));
        }
        uint256 said = fresh ? parts : parts - 1;
        move = abi.encodePacked(uint8(Kind.REVEAL_SUMS), uint8(said));
        for (uint256 i = 1; i <= said; ++i) {
            uint256 cut = pos.from + (i * length + parts - 1) / parts;
            int256 value = state(op, pos.cell, cut) + (cut >= change ? shift : int256(0));
            // States of an argmax stay numbers of summands.
            if (op == 3 && (value < 0 || value >= int256(N))) value = 0;
            if (fresh && i == said) value = state(op, pos.cell, cut) + shift;
            move = bytes.concat(move, bytes8(uint64(int64(value))));
        }
        if (!fresh) return (bytes.concat(move, hex"00"), "");
        bytes memory rule =
            op == 0 ? bytes.concat(hex"0100000000000c", RECORD, hex"00") : bytes(hex"00");
        return (bytes.concat(move, rule), bytes.concat(leaf(op, lie), descriptor(op)));
    }

    function _stateAt(bytes memory states, uint256 i) private pure returns (int256 value) {
        for (uint256 k = 0; k < 8; ++k) {
            value = (value << 8) | int256(uint256(uint8(states[8 * i + k])));
        }
        return int64(int256(value));
    }
}
