"""Actions that one rule of the ledger forbids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from proofml.optimistic import actions, clerk
from proofml.optimistic.actions import Action, Post
from proofml.optimistic.book import ClaimStatus
from proofml.optimistic.commit import header_of
from proofml.optimistic.encoding import Header
from proofml.optimistic.moves import DisputeCells, Opening
from proofml.optimistic.program import Port, Source
from proofml.optimistic.refusals import Refusal

from .claims import TERMS, Run, false_run, honest
from .desk import ALICE, BOB, CAROL, START, Case, Desk, answer, chunk
from .players import Challenger, Claimant, opening_of
from .tiny import CHUNK, Tensor


# ---------------------------------------------------------------- whom it does not know
def unknown_claim() -> Case:
    desk = Desk.of()
    return Case(Refusal.UNKNOWN, desk, actions.Challenge(2), BOB, same(actions.Challenge(1), BOB))


def unknown_dispute() -> Case:
    desk = Desk.of()
    return Case(Refusal.UNKNOWN, desk, actions.Play(1, DisputeCells()), BOB, None)


def unknown_dispute_to_time_out() -> Case:
    return Case(Refusal.UNKNOWN, Desk.of(), actions.TimeOut(1), BOB, None)


def unknown_dispute_to_release() -> Case:
    return Case(Refusal.UNKNOWN, Desk.of(), actions.Release(0), BOB, None)


def unknown_request() -> Case:
    return Case(Refusal.UNKNOWN, Desk.of(), actions.Answer(1, b"", ()), ALICE, None)


def same(action: Action, sender: str) -> Callable[[], tuple[Action, str]]:
    return lambda: (action, sender)


def later(desk: Desk, now: int, action: Action, sender: str) -> Callable[[], tuple[Action, str]]:
    """The same, legal at another time."""

    def act() -> tuple[Action, str]:
        desk.now = now
        return action, sender

    return act


# ---------------------------------------------------------------- money
def too_poor_to_post() -> Case:
    desk = Desk(honest("wide"))
    desk.act(actions.Deposit(999), ALICE)
    post = Post(desk.run.terms(bond=1000), desk.run.header)
    cheaper = Post(desk.run.terms(bond=999), desk.run.header)
    return Case(Refusal.FUNDS, desk, post, ALICE, same(cheaper, ALICE))


def too_poor_to_challenge() -> Case:
    desk = Desk.of()
    desk.act(actions.Deposit(299), "dave")
    return Case(Refusal.FUNDS, desk, actions.Challenge(1), "dave", same(actions.Challenge(1), BOB))


def too_poor_to_ask() -> Case:
    desk = Desk.of()
    return Case(Refusal.FUNDS, desk, actions.Ask(1, 0, 0), "dave", same(actions.Ask(1, 0, 0), BOB))


def nothing_to_withdraw() -> Case:
    desk = Desk.of()
    withdraw = actions.Withdraw()
    return Case(Refusal.NOTHING, desk, withdraw, "dave", same(withdraw, BOB))


# ---------------------------------------------------------------- posting
def terms_without_time() -> Case:
    return _post(Refusal.TERMS, lambda desk: Post(desk.run.terms(extension=0), desk.run.header))


def header_of_another_program() -> Case:
    return _post(Refusal.PROGRAM, lambda desk: Post(desk.run.terms(), honest("deep").header))


def header_with_a_byte_more() -> Case:
    """It has the root that the terms state, and reads as nothing."""

    def post(desk: Desk) -> Post:
        data = desk.run.header + b"\0"
        return Post(desk.run.terms(program=clerk.header_root(data)), data)

    return _post(Refusal.HEADER, post)


def _header(change: Callable[[Header], Header]) -> Callable[[Desk], Post]:
    def post(desk: Desk) -> Post:
        header = change(header_of(desk.run.tiny.program))
        return Post(desk.run.terms(program=header.root), header.to_bytes())

    return post


def header_of_no_operator() -> Case:
    return _post(Refusal.HEADER, _header(lambda header: replace(header, count=0)))


def header_with_an_output_of_nothing() -> Case:
    def change(header: Header) -> Header:
        port = Port("", header.outputs[0].cells, Source.OPERATOR, header.count)
        return replace(header, outputs=(port, *header.outputs[1:]))

    return _post(Refusal.HEADER, _header(change))


def header_with_an_output_that_is_a_weight() -> Case:
    def change(header: Header) -> Header:
        port = Port("", header.outputs[0].cells, Source.WEIGHT, 0)
        return replace(header, outputs=(port, *header.outputs[1:]))

    return _post(Refusal.HEADER, _header(change))


def header_with_inputs_out_of_order() -> Case:
    return _post(Refusal.HEADER, _header(lambda h: replace(h, inputs=h.inputs[::-1])))


def an_input_root_too_few() -> Case:
    return _post(
        Refusal.HEADER,
        lambda desk: Post(desk.run.terms(inputs=desk.run.terms().inputs[:1]), desk.run.header),
    )


def an_output_root_too_many() -> Case:
    return _post(
        Refusal.HEADER,
        lambda desk: Post(desk.run.terms(outputs=(*desk.run.outputs, bytes(32))), desk.run.header),
    )


def an_output_that_is_an_input() -> Case:
    """The network passes its input through as output 2."""
    desk = Desk.of(honest("network"))
    outputs = desk.run.outputs
    wrong = desk.run.terms(outputs=(*outputs[:2], bytes(32)))
    right = desk.run.terms()
    return Case(
        Refusal.PASSED_THROUGH,
        desk,
        Post(wrong, desk.run.header),
        BOB,
        same(Post(right, desk.run.header), BOB),
    )


def _post(refusal: Refusal, make: Callable[[Desk], Post]) -> Case:
    desk = Desk.of()
    legal = Post(desk.run.terms(), desk.run.header)
    return Case(refusal, desk, make(desk), BOB, same(legal, BOB))


# ---------------------------------------------------------------- closed claims
def final() -> Desk:
    desk = Desk.of()
    desk.now = desk.closes
    desk.act(actions.Finalise(1), CAROL)
    return desk


def defeated() -> Desk:
    """A false claim, one challenger of which has won while another one and a request wait."""
    desk = Desk.of(false_run("wide", "cell_alone", 1))
    desk.act(actions.Challenge(1), BOB)
    desk.act(actions.Challenge(1), CAROL)
    desk.act(actions.Ask(1, 0, 1), CAROL)
    desk.dispute(1, Challenger(honest("wide")))
    assert desk.book.claims[1].status is ClaimStatus.DEFEATED
    return desk


def challenge_of_a_final_claim() -> Case:
    return Case(Refusal.CLAIM_CLOSED, final(), actions.Challenge(1), BOB, None)


def challenge_of_a_defeated_claim() -> Case:
    return Case(Refusal.CLAIM_CLOSED, defeated(), actions.Challenge(1), BOB, None)


def request_of_a_final_claim() -> Case:
    return Case(Refusal.CLAIM_CLOSED, final(), actions.Ask(1, 0, 0), BOB, None)


def finalising_twice() -> Case:
    return Case(Refusal.CLAIM_CLOSED, final(), actions.Finalise(1), BOB, None)


def finalising_a_defeated_claim() -> Case:
    desk = defeated()
    desk.now = desk.closes
    return Case(Refusal.CLAIM_CLOSED, desk, actions.Finalise(1), BOB, None)


def range_of_a_final_claim() -> Case:
    opening = Opening(0, *chunk(honest("wide"), 0, 0))
    return Case(Refusal.CLAIM_CLOSED, final(), actions.InputRange(1, 0, 0, opening), BOB, None)


def move_of_a_defeated_claim() -> Case:
    desk = defeated()
    dispute = desk.book.disputes[2]
    move = Claimant(desk.run).move(desk.book.claims[1].terms, dispute)
    return Case(Refusal.DISPUTE_CLOSED, desk, actions.Play(2, move), ALICE, None)


def timeout_of_a_defeated_claim() -> Case:
    desk = defeated()
    desk.now = desk.book.disputes[2].clock.deadline + 1
    return Case(Refusal.DISPUTE_CLOSED, desk, actions.TimeOut(2), BOB, None)


def release_of_an_open_claims_dispute() -> Case:
    desk = Desk.of()
    desk.act(actions.Challenge(1), BOB)
    return Case(Refusal.CLAIM_OPEN, desk, actions.Release(1), BOB, None)


def release_of_the_dispute_that_was_won() -> Case:
    release = same(actions.Release(2), BOB)
    return Case(Refusal.DISPUTE_CLOSED, defeated(), actions.Release(1), BOB, release)


def release_twice() -> Case:
    desk = defeated()
    desk.act(actions.Release(2), ALICE)
    return Case(Refusal.DISPUTE_CLOSED, desk, actions.Release(2), CAROL, None)


def release_of_an_open_claims_request() -> Case:
    desk = Desk.of()
    desk.act(actions.Ask(1, 0, 0), BOB)
    return Case(Refusal.CLAIM_OPEN, desk, actions.ReleaseRequest(1), BOB, same(answer(desk), ALICE))


def release_of_a_request_twice() -> Case:
    desk = defeated()
    desk.act(actions.ReleaseRequest(1), ALICE)
    return Case(Refusal.REQUEST_CLOSED, desk, actions.ReleaseRequest(1), CAROL, None)


# ---------------------------------------------------------------- the window
def challenge_after_the_window() -> Case:
    desk = Desk.of()
    desk.now = desk.closes
    return Case(Refusal.WINDOW_OVER, desk, actions.Challenge(1), BOB, None)


def request_too_late_in_the_window() -> Case:
    desk = Desk.of()
    desk.now = desk.closes - 2 * TERMS["answer"]
    return Case(Refusal.WINDOW_OVER, desk, actions.Ask(1, 0, 0), BOB, None)


def finalising_before_the_end() -> Case:
    desk = Desk.of()
    desk.now = desk.closes - 1
    finalise = actions.Finalise(1)
    return Case(Refusal.WINDOW_OPEN, desk, finalise, BOB, later(desk, desk.closes, finalise, BOB))


def finalising_during_a_dispute() -> Case:
    desk = Desk.of()
    desk.now = desk.closes - 1
    desk.act(actions.Challenge(1), BOB)
    desk.now = desk.closes
    return Case(Refusal.UNSETTLED, desk, actions.Finalise(1), ALICE, None)


def finalising_during_a_request() -> Case:
    desk = Desk.of()
    desk.act(actions.Ask(1, 0, 0), BOB)
    desk.now = desk.closes
    default = same(actions.Default(1), BOB)
    return Case(Refusal.UNSETTLED, desk, actions.Finalise(1), ALICE, default)


# ---------------------------------------------------------------- data
def asked(input: int = 0, number: int = 1) -> Desk:
    desk = Desk.of()
    desk.act(actions.Ask(1, input, number), BOB)
    return desk


def request_for_no_input() -> Case:
    desk = Desk.of()
    return Case(Refusal.NO_INPUT, desk, actions.Ask(1, 2, 0), BOB, same(actions.Ask(1, 1, 0), BOB))


def request_for_no_chunk() -> Case:
    desk = Desk.of()
    return Case(Refusal.NO_INPUT, desk, actions.Ask(1, 0, 2), BOB, same(actions.Ask(1, 0, 1), BOB))


def answer_of_a_stranger() -> Case:
    desk = asked()
    return Case(Refusal.NOT_CLAIMANT, desk, answer(desk), BOB, same(answer(desk), ALICE))


def answer_too_late() -> Case:
    desk = asked()
    desk.now = START + TERMS["answer"] + 1
    return Case(Refusal.LATE, desk, answer(desk), ALICE, same(actions.Default(1), CAROL))


def default_too_early() -> Case:
    desk = asked()
    desk.now = START + TERMS["answer"]
    return Case(Refusal.EARLY, desk, actions.Default(1), BOB, same(answer(desk), ALICE))


def answer_with_another_chunk() -> Case:
    desk = asked()
    wrong = actions.Answer(1, *chunk(desk.run, 0, 0))
    return Case(Refusal.NO_DATA, desk, wrong, ALICE, same(answer(desk), ALICE))


def answer_with_other_bytes() -> Case:
    desk = asked()
    right = answer(desk)
    wrong = replace(right, chunk=right.chunk[:-1] + b"\0")
    return Case(Refusal.NO_DATA, desk, wrong, ALICE, same(right, ALICE))


def answer_of_a_tensor_of_another_length() -> Case:
    """The root that he claimed is over too many bytes: he cannot answer for that chunk."""
    run = honest("wide")
    longer = Tensor.raw(run.inputs[0].cells, run.inputs[0].data + b"\0")
    desk = Desk.of(Run.of(run.tiny, run.given, run.values, inputs={0: longer}))
    desk.act(actions.Ask(1, 0, 1), BOB)
    return Case(Refusal.NO_DATA, desk, answer(desk), ALICE, None)


def answer_twice() -> Case:
    desk = asked()
    desk.act(answer(desk), ALICE)
    return Case(Refusal.REQUEST_CLOSED, desk, answer(desk), ALICE, None)


def default_of_an_answered_request() -> Case:
    desk = asked()
    desk.act(answer(desk), ALICE)
    desk.now += 100
    return Case(Refusal.REQUEST_CLOSED, desk, actions.Default(1), BOB, None)


def answer_after_the_defeat() -> Case:
    desk = defeated()
    return Case(Refusal.REQUEST_CLOSED, desk, answer(desk), ALICE, None)


def beyond() -> tuple[Desk, actions.InputRange]:
    """A claim whose input 1 has a cell beyond its range of 3000, in 16 bits."""
    run = honest("wide")
    cells = run.inputs[1].cells
    data = bytearray(run.inputs[1].data)
    data[20:22] = (3001).to_bytes(2, "big")
    bad = Tensor.raw(cells, bytes(data))
    desk = Desk.of(Run.of(run.tiny, run.given, run.values, inputs={1: bad}))
    return desk, actions.InputRange(1, 1, 10, opening_of(bad.tree, bad.data, CHUNK, 0))


def range_of_no_input() -> Case:
    desk, proof = beyond()
    return Case(Refusal.NO_INPUT, desk, replace(proof, input=2), BOB, same(proof, BOB))


def range_of_no_cell() -> Case:
    desk, proof = beyond()
    return Case(Refusal.NO_INPUT, desk, replace(proof, cell=45), BOB, same(proof, BOB))


def range_of_a_good_cell() -> Case:
    desk, proof = beyond()
    return Case(Refusal.IN_RANGE, desk, replace(proof, cell=9), BOB, same(proof, BOB))


def range_with_other_bytes() -> Case:
    desk, proof = beyond()
    wrong = replace(proof, opening=replace(proof.opening, leaf=b"\xff" * 90))
    return Case(Refusal.OPENING, desk, wrong, BOB, same(proof, BOB))


def range_with_another_leaf() -> Case:
    desk, proof = beyond()
    wrong = replace(proof, opening=replace(proof.opening, index=1))
    return Case(Refusal.OPENING, desk, wrong, BOB, same(proof, BOB))


CASES = [
    unknown_claim,
    unknown_dispute,
    unknown_dispute_to_time_out,
    unknown_dispute_to_release,
    unknown_request,
    too_poor_to_post,
    too_poor_to_challenge,
    too_poor_to_ask,
    nothing_to_withdraw,
    terms_without_time,
    header_of_another_program,
    header_with_a_byte_more,
    header_of_no_operator,
    header_with_an_output_of_nothing,
    header_with_an_output_that_is_a_weight,
    header_with_inputs_out_of_order,
    an_input_root_too_few,
    an_output_root_too_many,
    an_output_that_is_an_input,
    challenge_of_a_final_claim,
    challenge_of_a_defeated_claim,
    request_of_a_final_claim,
    finalising_twice,
    finalising_a_defeated_claim,
    range_of_a_final_claim,
    move_of_a_defeated_claim,
    timeout_of_a_defeated_claim,
    release_of_an_open_claims_dispute,
    release_of_the_dispute_that_was_won,
    release_twice,
    release_of_an_open_claims_request,
    release_of_a_request_twice,
    challenge_after_the_window,
    request_too_late_in_the_window,
    finalising_before_the_end,
    finalising_during_a_dispute,
    finalising_during_a_request,
    request_for_no_input,
    request_for_no_chunk,
    answer_of_a_stranger,
    answer_too_late,
    default_too_early,
    answer_with_another_chunk,
    answer_with_other_bytes,
    answer_of_a_tensor_of_another_length,
    answer_twice,
    default_of_an_answered_request,
    answer_after_the_defeat,
    range_of_no_input,
    range_of_no_cell,
    range_of_a_good_cell,
    range_with_other_bytes,
    range_with_another_leaf,
]
