// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Why the ledger refuses. The names are those of `proofml.optimistic.refusals`, one for each rule;
// the three at the end exist on chain only. An action that breaks a rule changes nothing.

// Ledger.
/// No such claim, dispute or request.
error Unknown();
/// The value sent is not exactly what the action holds.
error Funds();
/// Nothing to withdraw.
error Nothing();
/// Terms that cannot be posted.
error Terms();
/// The header is not that of the program.
error Program();
/// The header is malformed, or disagrees with the terms.
error Header();
/// An output that is an input has another root.
error PassedThrough();
/// The claim is no longer open.
error ClaimClosed();
/// The claim is not defeated.
error ClaimOpen();
/// Too late in the window.
error WindowOver();
/// The window is not over.
error WindowOpen();
/// A dispute runs or a request is open.
error Unsettled();

// Requests for data.
/// The request is no longer open.
error RequestClosed();
/// Only the claimant may answer.
error NotClaimant();
/// No such input, or no such chunk of it.
error NoInput();
/// The chunk does not open under the input's root.
error NoData();
/// The cell is within the input's range.
error InRange();

// Whose move.
/// The dispute is over.
error DisputeClosed();
/// The other side owes the move.
error NotYourTurn();
/// The time of the side that owes the move is over.
error Late();
/// The side that owes the move still has time.
error Early();
/// This phase awaits another move.
error WrongPhase();

// Descending a tree.
/// Children that do not belong to the current node.
error Children();
/// No such child.
error NoChild();

// The operator.
/// The leaf is not the one that was reached.
error Leaf();
/// The descriptor is not the program's.
error Descriptor();
/// The leaf has another number of inputs.
error Operands();
/// An operand is not the claim's input.
error InputRoot();
/// An operand is not the model's weight.
error WeightRoot();
/// The operator's output is not the claim's.
error OutputRoot();
/// No operand of this number that is another operator's output.
error NoWire();
/// The producer's leaf does not open under the trace's root.
error Wiring();

// The cell.
/// The chunk is not the one that was reached.
error Chunk();
/// The cell is not in this chunk.
error NoCell();

// The fold.
/// Another number of states, or a state that none can be.
error States();
/// The last state does not give the cell.
error Rule();
/// An opening does not verify, is missing, or is one too many.
error Opening();

// On chain only.
/// Bytes that do not read as what they should be.
error Malformed();
/// Bytes that repeat what was committed do not hash to what the ledger keeps.
error Context();
/// The receiver refused the withdrawal.
error Transfer();
