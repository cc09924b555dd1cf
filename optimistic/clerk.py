"""What an action makes of a book: the ledger's rules about claims, requests and money, pure.

Nothing here loops over disputes or requests, as a contract could not: those that are open when
their claim is defeated read as cancelled, and somebody releases each of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from proofml.optimistic import actions, arbiter, game
from proofml.optimistic.actions import Action
from proofml.optimistic.book import (
    Book,
    ClaimState,
    ClaimStatus,
    Draft,
    Money,
    RequestState,
    RequestStatus,
    known,
)
from proofml.optimistic.claim import Terms
from proofml.optimistic.encoding import BadDescriptor, Header, read_header
from proofml.optimistic.floating import claim as floats
from proofml.optimistic.floating import data
from proofml.optimistic.floating import dispute as pointing
from proofml.optimistic.game import DisputeState, Status
from proofml.optimistic.moves import Move, Opening
from proofml.optimistic.program import Source
from proofml.optimistic.refusals import IllegalMove, Refusal


def apply(book: Book, action: Action, sender: str, now: int) -> Draft:
    """What the action of this sender changes; the book stays as it is.

    Raises:
        IllegalMove: the first rule that forbids it.
        ValueError: `now` is before the last action.
    """
    if now < book.time:
        raise ValueError(f"time: expected {book.time} or later, got {now}")
    return _Clerk(book, sender, now).act(action)


def header_root(data: bytes) -> bytes:
    """The root of the program whose header these bytes are, if they are one."""
    return hashlib.sha256(b"\x02" + data).digest()


class _Clerk:
    """Carries out one action on a draft."""

    def __init__(self, book: Book, sender: str, now: int) -> None:
        self._book = book
        self._sender = sender
        self._now = now
        self._draft = Draft(now, book.money)

    def act(self, action: Action) -> Draft:
        match action:
            case actions.Deposit(amount):
                self._move_money(deposited=amount)
                self._credit(self._sender, amount)
            case actions.Withdraw():
                self._withdraw()
            case actions.Post(terms, header):
                self._post(terms, header)
            case actions.Challenge(claim):
                self._challenge(claim)
            case actions.Play(dispute, move):
                state = self._book.dispute(dispute)
                claim_ = self._book.claims[state.claim]
                self._settle(dispute, played(state, claim_, self._sender, move, self._now))
            case actions.TimeOut(dispute):
                self._settle(dispute, game.time_out(self._book.dispute(dispute), self._now))
            case actions.Release(dispute):
                self._release(dispute)
            case actions.Ask(claim, number, chunk):
                self._ask(claim, number, chunk)
            case actions.Answer(request, chunk_, path):
                self._answer(request, chunk_, path)
            case actions.Default(request):
                self._default(request)
            case actions.ReleaseRequest(request):
                self._release_request(request)
            case actions.InputRange(claim, number, cell, opening):
                self._input_range(claim, number, cell, opening)
            case actions.Finalise(claim):
                self._finalise(claim)
        return self._draft

    # ------------------------------------------------------------ money
    def _move_money(
        self, *, held: int = 0, burnt: int = 0, deposited: int = 0, withdrawn: int = 0
    ) -> None:
        before = self._draft.money
        self._draft.money = Money(
            before.held + held,
            before.burnt + burnt,
            before.deposited + deposited,
            before.withdrawn + withdrawn,
        )

    def _balance(self, account: str) -> int:
        return self._draft.balances.get(account, self._book.balances.get(account, 0))

    def _credit(self, account: str, amount: int) -> None:
        self._draft.balances[account] = self._balance(account) + amount

    def _hold(self, amount: int, what: str) -> None:
        balance = self._balance(self._sender)
        if balance < amount:
            raise IllegalMove(
                Refusal.FUNDS, f"{what}: expected a balance of {amount}, got {balance}; deposit"
            )
        self._credit(self._sender, -amount)
        self._move_money(held=amount)

    def _pay(self, account: str, amount: int) -> None:
        """From what is held."""
        self._move_money(held=-amount)
        self._credit(account, amount)

    def _forfeit(self, terms: Terms, bond: int, winner: str) -> None:
        """A loser's bond: a share is burnt, the winner gets the rest."""
        burn = terms.burnt(bond)
        self._move_money(held=-burn, burnt=burn)
        self._pay(winner, bond - burn)

    def _withdraw(self) -> None:
        amount = self._balance(self._sender)
        if amount == 0:
            raise IllegalMove(Refusal.NOTHING, f"{self._sender}: its balance is 0")
        self._credit(self._sender, -amount)
        self._move_money(withdrawn=amount)
        self._draft.result = amount

    # ------------------------------------------------------------ claims
    def _post(self, terms: Terms, header_bytes: bytes) -> None:
        terms.check()
        state = posted(terms, header_bytes, self._sender, self._now)
        self._hold(terms.bond, "bond")
        number = len(self._book.claims) + 1
        self._draft.claims[number] = state
        self._draft.result = number

    def _open(self, number: int) -> ClaimState:
        claim = self._book.claim(number)
        if claim.status is not ClaimStatus.OPEN:
            raise IllegalMove(Refusal.CLAIM_CLOSED, f"claim {number} is {claim.status.name}")
        return claim

    def _challenge(self, number: int) -> None:
        claim = self._open(number)
        if self._now >= claim.closes:
            raise IllegalMove(
                Refusal.WINDOW_OVER, f"claim {number}: expected before {claim.closes}"
            )
        self._hold(claim.terms.challenge_bond, "challenge bond")
        self._draft.claims[number] = replace(claim, running=claim.running + 1)
        dispute = len(self._book.disputes) + 1
        state = started(number, claim, self._sender, self._now)
        self._draft.disputes[dispute] = state
        self._draft.result = dispute

    def _settle(self, number: int, dispute: DisputeState) -> None:
        """After a move; pays if it was the last one."""
        self._draft.disputes[number] = dispute
        if dispute.status is Status.RUNNING:
            return
        claim = self._book.claims[dispute.claim]
        claim = replace(claim, running=claim.running - 1)
        stake = claim.terms.challenge_bond
        if dispute.status is Status.WON_BY_CLAIMANT:
            self._forfeit(claim.terms, stake, claim.claimant)
            self._draft.claims[dispute.claim] = claim
        else:
            self._pay(dispute.challenger, stake)
            self._defeat(dispute.claim, claim, dispute.challenger, f"dispute {number}")

    def _defeat(self, number: int, claim: ClaimState, winner: str, why: str) -> None:
        self._forfeit(claim.terms, claim.terms.bond, winner)
        self._draft.claims[number] = replace(claim, status=ClaimStatus.DEFEATED, why=why)

    def _release(self, number: int) -> None:
        dispute = known(self._book.disputes, number, "dispute")
        if dispute.status is not Status.RUNNING:
            raise IllegalMove(Refusal.DISPUTE_CLOSED, f"dispute {number}: {dispute.status.name}")
        claim = self._defeated(dispute.claim)
        self._pay(dispute.challenger, claim.terms.challenge_bond)
        self._draft.disputes[number] = self._book.dispute(number)
        self._draft.claims[dispute.claim] = replace(claim, running=claim.running - 1)

    def _defeated(self, number: int) -> ClaimState:
        claim = self._book.claims[number]
        if claim.status is not ClaimStatus.DEFEATED:
            raise IllegalMove(Refusal.CLAIM_OPEN, f"claim {number} is {claim.status.name}")
        return claim

    def _finalise(self, number: int) -> None:
        claim = self._open(number)
        if self._now < claim.closes:
            raise IllegalMove(
                Refusal.WINDOW_OPEN, f"claim {number}: expected {claim.closes} or later"
            )
        if claim.running or claim.asked:
            raise IllegalMove(
                Refusal.UNSETTLED,
                f"claim {number}: {claim.running} disputes run, {claim.asked} requests are open",
            )
        self._pay(claim.claimant, claim.terms.bond)
        self._draft.claims[number] = replace(claim, status=ClaimStatus.FINAL)

    # ------------------------------------------------------------ data
    def _ask(self, number: int, input_: int, chunk: int) -> None:
        claim = self._open(number)
        # An answer in the last moment leaves the same time again to execute and to challenge.
        if self._now + 2 * claim.terms.answer >= claim.closes:
            latest = claim.closes - 2 * claim.terms.answer
            raise IllegalMove(Refusal.WINDOW_OVER, f"claim {number}: expected before {latest}")
        inputs = claim.header.inputs
        if claim.floating is not None:
            data.check_place(claim.floating, input_, chunk)
        elif not (0 <= input_ < len(inputs) and 0 <= chunk < inputs[input_].cells.chunks):
            raise IllegalMove(
                Refusal.NO_INPUT, f"claim {number}: it has no chunk {chunk} of an input {input_}"
            )
        self._hold(claim.terms.data_fee, "fee")
        request = len(self._book.requests) + 1
        until = self._now + claim.terms.answer
        self._draft.requests[request] = RequestState(number, self._sender, input_, chunk, until)
        self._draft.claims[number] = replace(claim, asked=claim.asked + 1)
        self._draft.result = request

    def _answer(self, number: int, shown: bytes, path: tuple[bytes, ...]) -> None:
        request, claim = self._asked(number)
        if self._sender != claim.claimant:
            raise IllegalMove(Refusal.NOT_CLAIMANT, f"expected an answer of {claim.claimant}")
        if self._now > request.until:
            raise IllegalMove(Refusal.LATE, f"request {number}: expected by {request.until}")
        place, chunk = request.input, request.chunk
        if claim.floating is not None:
            data.read_answer(claim.floating, claim.terms, place, chunk, shown, path)
        else:
            opening = Opening(chunk, shown, path)
            try:
                cells = claim.header.inputs[place].cells
                arbiter.check_chunk(cells, claim.terms.inputs[place], opening)
            except arbiter.BadOpening as error:
                raise IllegalMove(Refusal.NO_DATA, f"request {number}: {error}") from error
        self._pay(claim.claimant, claim.terms.data_fee)
        self._close(number, request, claim, RequestStatus.ANSWERED)

    def _default(self, number: int) -> None:
        request, claim = self._asked(number)
        if self._now <= request.until:
            raise IllegalMove(
                Refusal.EARLY, f"request {number} can be answered until {request.until}"
            )
        self._pay(request.requester, claim.terms.data_fee)
        claim = self._close(number, request, claim, RequestStatus.DEFAULTED)
        self._defeat(request.claim, claim, request.requester, f"request {number}")

    def _release_request(self, number: int) -> None:
        request = self._book.request(number)
        if request.status is not RequestStatus.OPEN:
            raise IllegalMove(Refusal.REQUEST_CLOSED, f"request {number}: {request.status.name}")
        claim = self._defeated(request.claim)
        self._pay(request.requester, claim.terms.data_fee)
        self._close(number, request, claim, RequestStatus.RELEASED)

    def _asked(self, number: int) -> tuple[RequestState, ClaimState]:
        request = self._book.request(number)
        claim = self._book.claims[request.claim]
        if request.status is not RequestStatus.OPEN or claim.status is not ClaimStatus.OPEN:
            raise IllegalMove(
                Refusal.REQUEST_CLOSED,
                f"request {number} is {request.status.name}, its claim {claim.status.name}",
            )
        return request, claim

    def _close(
        self, number: int, request: RequestState, claim: ClaimState, status: RequestStatus
    ) -> ClaimState:
        self._draft.requests[number] = replace(request, status=status)
        claim = replace(claim, asked=claim.asked - 1)
        self._draft.claims[request.claim] = claim
        return claim

    def _input_range(self, number: int, input_: int, cell: int, opening: Opening) -> None:
        claim = self._open(number)
        inputs = claim.header.inputs
        if not (0 <= input_ < len(inputs) and 0 <= cell < inputs[input_].cells.count):
            raise IllegalMove(
                Refusal.NO_INPUT, f"claim {number}: it has no cell {cell} of an input {input_}"
            )
        cells = inputs[input_].cells
        try:
            value = arbiter.check_cell(cells, claim.terms.inputs[input_], cell, opening)
        except arbiter.BadOpening as error:
            raise IllegalMove(Refusal.OPENING, str(error)) from error
        if value <= cells.high:
            raise IllegalMove(
                Refusal.IN_RANGE, f"input {input_}, cell {cell}: {value} is at most {cells.high}"
            )
        self._defeat(number, claim, self._sender, f"input {input_}, cell {cell}")


def started(number: int, claim: ClaimState, challenger: str, now: int) -> DisputeState:
    """A dispute about a claim, of either kind, that was just opened."""
    claimant, terms = claim.claimant, claim.terms
    if claim.floating is not None:
        return pointing.start(number, claimant, challenger, terms, now)
    return game.start(number, claimant, challenger, terms, claim.header, now)


def played(
    state: DisputeState, claim: ClaimState, sender: str, move: Move, now: int
) -> DisputeState:
    """A dispute after a move; errors as of `game.play` or `floating.dispute.play`."""
    if claim.floating is not None:
        return pointing.play(state, claim.terms, claim.floating, sender, move, now)
    return game.play(state, claim.terms, claim.header, sender, move, now)


def posted(terms: Terms, header: bytes, claimant: str, now: int) -> ClaimState:
    """A claim that is posted with this header.

    Raises:
        IllegalMove: PROGRAM, HEADER, PASSED_THROUGH.
    """
    if floats.program_of(header) == terms.program:
        floating = floats.posted(terms, header)
        return ClaimState(terms, floats.blank(floating), claimant, now, floating=floating)
    return ClaimState(terms, _header(terms, header), claimant, now)


def _header(terms: Terms, data: bytes) -> Header:
    """The header that belongs to these terms.

    Raises:
        IllegalMove: PROGRAM, HEADER, PASSED_THROUGH.
    """
    root = header_root(data)
    if root != terms.program:
        raise IllegalMove(
            Refusal.PROGRAM, f"header: expected program {terms.program.hex()}, got {root.hex()}"
        )
    try:
        header = read_header(data)
    except BadDescriptor as error:
        raise IllegalMove(Refusal.HEADER, str(error)) from error
    for what, ports, roots in (
        ("inputs", header.inputs, terms.inputs),
        ("outputs", header.outputs, terms.outputs),
    ):
        if len(ports) != len(roots):
            raise IllegalMove(
                Refusal.HEADER, f"{what}: expected {len(ports)} roots, got {len(roots)}"
            )
    for number, (port, root) in enumerate(zip(header.outputs, terms.outputs, strict=True)):
        if port.source is Source.INPUT and root != terms.inputs[port.index]:
            raise IllegalMove(
                Refusal.PASSED_THROUGH, f"output {number}: expected the root of input {port.index}"
            )
    return header
