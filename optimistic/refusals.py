"""Why a ledger refuses: one name for each rule of the game, the same as in the contract's errors.

An action that breaks a rule changes nothing: Python raises `IllegalMove`, the contract reverts.
"""

from __future__ import annotations

from enum import StrEnum

from proofml.errors import UsageError


class Refusal(StrEnum):
    """The rule that was broken. The order is that in which the rules are checked."""

    # Ledger.
    UNKNOWN = "no such claim, dispute or request"
    FUNDS = "the sender's balance is less than what the action holds"
    NOTHING = "nothing to withdraw"
    TERMS = "terms that cannot be posted"
    PROGRAM = "the header is not that of the program"
    HEADER = "the header is malformed, or disagrees with the terms"
    PASSED_THROUGH = "an output that is an input has another root"
    CLAIM_CLOSED = "the claim is no longer open"
    CLAIM_OPEN = "the claim is not defeated"
    WINDOW_OVER = "too late in the window"
    WINDOW_OPEN = "the window is not over"
    UNSETTLED = "a dispute runs or a request is open"
    # Requests for data.
    REQUEST_CLOSED = "the request is no longer open"
    NOT_CLAIMANT = "only the claimant may answer"
    NO_INPUT = "no such input, or no such chunk of it"
    NO_DATA = "the chunk does not open under the input's root"
    IN_RANGE = "the cell is within the input's range"
    # Whose move.
    DISPUTE_CLOSED = "the dispute is over"
    NOT_YOUR_TURN = "the other side owes the move"
    LATE = "the time of the side that owes the move is over"
    EARLY = "the side that owes the move still has time"
    WRONG_PHASE = "this phase awaits another move"
    # Descending a tree.
    CHILDREN = "children that do not belong to the current node"
    NO_CHILD = "no such child"
    # The operator.
    LEAF = "the leaf is not the one that was reached"
    DESCRIPTOR = "the descriptor is not the program's"
    OPERANDS = "the leaf has another number of inputs"
    INPUT_ROOT = "an operand is not the claim's input"
    WEIGHT_ROOT = "an operand is not the model's weight"
    OUTPUT_ROOT = "the operator's output is not the claim's"
    NO_WIRE = "no operand of this number that is another operator's output"
    WIRING = "the producer's leaf does not open under the trace's root"
    # The cell.
    CHUNK = "the chunk is not the one that was reached"
    NO_CELL = "the cell is not in this chunk"
    # The fold.
    STATES = "another number of states, or a state that none can be"
    RULE = "the last state does not give the cell"
    OPENING = "an opening does not verify, is missing, or is one too many"


class IllegalMove(UsageError):
    """An action that a rule forbids; nothing changed. `refusal` names the rule."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(f"{refusal.name.lower()}: {message}")
        self.refusal = refusal
