// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Ledger} from "../src/Ledger.sol";
import {
    Claim,
    ClaimStatus,
    Dispute,
    DisputeStatus,
    Kind,
    Phase,
    Request,
    RequestStatus
} from "../src/Types.sol";
import {Base} from "./Base.sol";
import {Model} from "./Model.sol";

/// @notice What the invariant tests do to a ledger: an honest claimant and an honest challenger who
/// answer before time passes, and a crowd that does anything.
contract World is Base {
    address public constant HONEST = address(0x600D);
    address public constant WATCHER = address(0x3A7C);
    uint256 private constant CROWD = 3;
    uint256 private constant MOST = 12;

    Ledger public immutable ledger;
    Model public immutable model;

    /// @notice What a claim is: who posted it and how it lies. Numbered as on the ledger.
    struct Told {
        bool honest;
        Model.Lie lie;
    }

    /// @notice What the players of a dispute know beside the ledger.
    struct Known {
        bool watched;
        uint256 op;
        uint256 change;
        bytes states;
        uint256 opened;
        uint256 moves;
    }

    mapping(uint256 claimId => Told) private _told;
    mapping(uint256 disputeId => Known) private _known;
    uint256 public paidIn;
    uint256 public paidOut;
    uint256 public refused;
    uint256 public ended;

    constructor(Ledger ledger_, Model model_) {
        ledger = ledger_;
        model = model_;
    }

    // ------------------------------------------------------------ actions
    function postHonestly(bool deferred) external {
        if (ledger.claims() < MOST) {
            _post(HONEST, Told(true, Model.Lie(false, 0, 0, 0, deferred)));
        }
    }

    function postLie(uint256 seed) external {
        if (ledger.claims() >= MOST) return;
        uint256 op = seed % 4;
        uint256 cell = (seed >> 8) % model.count(op);
        int256 truth = model.truth(op, cell);
        int256 value = op == 3
            ? int256((uint256(truth) + 1 + (seed >> 32) % 1499) % 1500)
            : op == 2
                ? truth + 1 + int256((seed >> 32) % 1000)
                : truth > 0 ? truth - 1 - int256((seed >> 32) % 100) : truth + 1;
        // Where the trace is deferred: an output, as nothing else can be false.
        bool deferred = op > 1 && (seed >> 64) & 1 == 1;
        _post(_one(seed), Told(false, Model.Lie(true, op, cell, value, deferred)));
    }

    function _post(address sender, Told memory told) private {
        bytes memory terms = model.terms(told.lie);
        bytes memory header = model.header();
        _fund(sender, 1000);
        vm.prank(sender);
        uint256 id = ledger.post{value: 1000}(terms, header);
        _told[id] = told;
    }

    /// @notice The crowd disputes any claim; the watcher disputes false ones.
    function challenge(uint256 claim, uint256 seed, bool watched) external {
        uint256 id = _pick(claim, ledger.claims());
        if (id == 0 || ledger.disputes() >= MOST) return;
        if (watched && _told[id].honest) return;
        address sender = watched ? WATCHER : _one(seed);
        _fund(sender, 300);
        vm.prank(sender);
        try ledger.challenge{value: 300}(id) returns (uint256 disputeId) {
            _known[disputeId].watched = watched;
            _known[disputeId].opened = block.timestamp;
            _known[disputeId].change = 1 + seed % 1500;
        } catch {
            _unfund(sender, 300);
        }
    }

    /// @notice The crowd makes some moves that the rules may allow, where it owes one.
    function play(uint256 dispute, uint256 seed) external {
        uint256 id = _pick(dispute, ledger.disputes());
        if (id == 0) return;
        for (uint256 i = 0; i <= seed % 5; ++i) {
            answerAll();
            _play(id, uint256(keccak256(abi.encode(seed, i))));
        }
    }

    function _play(uint256 id, uint256 seed) private {
        Dispute memory pos = ledger.disputeOf(id);
        if (pos.status != DisputeStatus.RUNNING) return;
        Model.Lie memory lie = _told[pos.claimId].lie;
        bytes memory move;
        bytes memory context;
        if (uint8(pos.phase) & 1 == 0) {
            // The liar, for an even seed with other states than he began with.
            uint256 change = seed & 1 == 0 ? _known[id].change : seed % 1500;
            (move, context) = model.claimant(pos, _known[id].op, lie, change);
        } else {
            (move, context) = _wild(pos, id, lie, seed);
        }
        _try(id, pos, _sender(pos), move, context);
    }

    /// @notice Anybody sends anything to a dispute.
    function garbage(uint256 dispute, uint256 seed, uint8 kind, bytes calldata body) external {
        uint256 id = _pick(dispute, ledger.disputes());
        if (id == 0) return;
        Dispute memory pos = ledger.disputeOf(id);
        address sender = seed & 1 == 0 ? _one(seed) : _sender(pos);
        if (sender == HONEST || sender == WATCHER) sender = _one(seed);
        bytes memory context = seed & 2 == 0 ? bytes("") : body;
        _try(id, pos, sender, bytes.concat(bytes1(1 + kind % 12), body), context);
    }

    /// @notice Time passes; the honest answer first, and end what they can.
    function wait(uint16 time) external {
        answerAll();
        vm.warp(block.timestamp + time % 120);
        for (uint256 id = 1; id <= ledger.disputes(); ++id) {
            try ledger.timeout(id) {
                ++ended;
            } catch {
                ++refused;
            }
        }
        answerAll();
    }

    function ask(uint256 claim, uint256 seed) external {
        uint256 id = _pick(claim, ledger.claims());
        if (id == 0 || ledger.requests() >= MOST) return;
        address sender = _one(seed);
        bytes memory content = bytes.concat(model.terms(_told[id].lie), model.header());
        _fund(sender, 7);
        vm.prank(sender);
        try ledger.request{value: 7}(id, uint16(seed >> 8) % 2, uint32(seed >> 16) % 3, content) {}
        catch {
            _unfund(sender, 7);
        }
    }

    /// @notice Whatever anybody may do to anything, by number.
    function settle(uint256 seed, uint8 what) external {
        uint256 id = 1 + seed % MOST;
        vm.prank(_one(seed));
        if (what % 6 == 0) {
            try ledger.finalise(id) {} catch {}
        } else if (what % 6 == 1) {
            try ledger.release(id) {} catch {}
        } else if (what % 6 == 2) {
            try ledger.releaseRequest(id) {} catch {}
        } else if (what % 6 == 3) {
            try ledger.declareDefault(id) {} catch {}
        } else if (what % 6 == 4) {
            try ledger.timeout(id) {} catch {}
        } else {
            try ledger.proveInputRange(id, 0, uint32(seed), "", "", "") {} catch {}
        }
    }

    function withdraw(uint256 who) external {
        address account = who % 5 == 0 ? HONEST : who % 5 == 1 ? WATCHER : _one(who);
        vm.prank(account);
        try ledger.withdraw() returns (uint256 amount) {
            paidOut += amount;
        } catch {
            ++refused;
        }
    }

    // ------------------------------------------------------------ the honest
    /// @notice All answers that the honest owe.
    function answerAll() public {
        for (uint256 id = 1; id <= ledger.disputes(); ++id) {
            while (_answer(id)) {}
        }
        for (uint256 id = 1; id <= ledger.requests(); ++id) {
            Request memory asked = ledger.requestOf(id);
            if (asked.status != RequestStatus.OPEN || !_told[asked.claimId].honest) continue;
            bytes memory data = model.input();
            bytes memory path = model.path(model.leaves(data), asked.chunk, 1);
            bytes memory content =
                bytes.concat(model.terms(_told[asked.claimId].lie), model.header());
            bytes memory chunk = model.chunk(data, asked.chunk);
            vm.prank(HONEST);
            ledger.answer(id, chunk, path, content);
        }
    }

    /// @dev Makes the move that an honest player owes; whether there was one.
    function _answer(uint256 id) private returns (bool) {
        Dispute memory pos = ledger.disputeOf(id);
        if (pos.status != DisputeStatus.RUNNING) return false;
        if (ledger.claimOf(pos.claimId).status != ClaimStatus.OPEN) return false;
        Told memory told = _told[pos.claimId];
        Known storage known = _known[id];
        bytes memory move;
        bytes memory context;
        if (uint8(pos.phase) & 1 == 0) {
            if (!told.honest) return false;
            (move, context) = model.claimant(pos, known.op, told.lie, 0);
        } else {
            if (!known.watched) return false;
            (move, context) = model.challenger(pos, known.op, told.lie, known.states);
        }
        _move(id, pos, _sender(pos), move, context);
        return true;
    }

    /// @notice The accounts that money can be with.
    function accounts() external pure returns (address[6] memory) {
        return [address(0), HONEST, WATCHER, address(0xBAD1), address(0xBAD2), address(0xBAD3)];
    }

    function toldOf(uint256 claimId) external view returns (bool honest) {
        return _told[claimId].honest;
    }

    function knownOf(uint256 disputeId) external view returns (Known memory) {
        return _known[disputeId];
    }

    // ------------------------------------------------------------ inside
    /// @dev A challenger's move at random, of the right kind.
    function _wild(Dispute memory pos, uint256 id, Model.Lie memory lie, uint256 seed)
        private
        view
        returns (bytes memory, bytes memory)
    {
        uint256 op = _known[id].op;
        if (pos.phase == Phase.TRACE_SELECT) return model.select(pos, model.trace(lie), seed % 5);
        if (pos.phase == Phase.OPERATOR_ANSWER) {
            if (seed % 4 > 0 || op == 0) return (hex"05", "");
            // His operand is what its producer made.
            uint256 producer = op == 1 ? 0 : 1;
            bytes memory leaf = model.leaf(producer, lie);
            return (
                bytes.concat(
                    bytes1(uint8(Kind.PROVE_WIRING)),
                    hex"0000",
                    bytes2(uint16(leaf.length)),
                    leaf,
                    hex"02",
                    model.path(model.trace(lie), producer, 2)
                ),
                bytes.concat(model.leaf(op, lie), model.descriptor(op))
            );
        }
        if (pos.phase == Phase.CELLS_SELECT) {
            return model.select(pos, model.leaves(model.tensor(op, lie)), seed % 3);
        }
        if (pos.phase == Phase.CHUNK_SELECT) {
            uint256 cell = seed % (model.count(op) + 1);
            (bytes memory move, bytes memory context) = model.selectCell(pos, op, lie, cell);
            if (seed % 7 == 0) move[0] = bytes1(uint8(Kind.PROVE_RANGE));
            return (move, context);
        }
        if (pos.phase == Phase.SUMS_SELECT) {
            return (abi.encodePacked(uint8(Kind.SELECT), uint32(seed % 9)), _known[id].states);
        }
        return
            (model.summand(pos, op, lie), bytes.concat(model.leaf(op, lie), model.descriptor(op)));
    }

    function _try(
        uint256 id,
        Dispute memory pos,
        address sender,
        bytes memory move,
        bytes memory context
    ) private {
        vm.prank(sender);
        try ledger.move(id, move, context) {
            _note(id, pos, move);
        } catch {
            ++refused;
        }
    }

    /// @dev An honest move, which must be taken.
    function _move(
        uint256 id,
        Dispute memory pos,
        address sender,
        bytes memory move,
        bytes memory context
    ) private {
        vm.prank(sender);
        ledger.move(id, move, context);
        _note(id, pos, move);
    }

    function _note(uint256 id, Dispute memory pos, bytes memory move) private {
        Known storage known = _known[id];
        ++known.moves;
        if (pos.phase == Phase.OPERATOR_REVEAL) known.op = pos.index;
        if (uint8(move[0]) == Kind.REVEAL_SUMS) {
            bytes memory states = new bytes(8 * uint256(uint8(move[1])));
            for (uint256 i = 0; i < states.length; ++i) {
                states[i] = move[2 + i];
            }
            known.states = states;
        }
        if (ledger.disputeOf(id).status != DisputeStatus.RUNNING) ++ended;
    }

    function _sender(Dispute memory pos) private view returns (address) {
        return uint8(pos.phase) & 1 == 0 ? ledger.claimOf(pos.claimId).claimant : pos.challenger;
    }

    function _fund(address account, uint256 amount) private {
        vm.deal(account, account.balance + amount);
        paidIn += amount;
    }

    function _unfund(address account, uint256 amount) private {
        vm.deal(account, account.balance - amount);
        paidIn -= amount;
    }

    function _one(uint256 seed) private pure returns (address) {
        return address(uint160(0xBAD1 + (seed >> 3) % CROWD));
    }

    function _pick(uint256 seed, uint256 count) private pure returns (uint256) {
        return count == 0 ? 0 : 1 + seed % count;
    }
}
