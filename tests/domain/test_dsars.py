"""The tables of a case: every state has words, every move a meaning, and the ends are ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.dsars import (
    CLOSED,
    MOVES,
    PERSONS_MOVES,
    DsarType,
    Move,
    State,
    legal_moves,
    moved,
    needs,
)
from app.domain.errors import IllegalMoveError

STATES = st.sampled_from(State)
TYPES = st.sampled_from(DsarType)


@given(state=STATES, move=st.sampled_from(Move), type_=TYPES)
def test_a_move_leads_where_the_table_says_or_names_what_is_legal(
    state: State, move: Move, type_: DsarType
) -> None:
    may = state in MOVES[move] and (type_ is DsarType.ERASURE or move in (Move.REJECT, Move.CANCEL))
    if may:
        assert moved(state, move, type_=type_) is MOVES[move][state]
    else:
        with pytest.raises(IllegalMoveError) as refused:
            moved(state, move, type_=type_)
        assert refused.value.legal == tuple(m.value for m in legal_moves(state, type_))


@given(state=STATES, type_=TYPES)
def test_every_state_says_what_it_waits_for_and_whose_move_that_is(
    state: State, type_: DsarType
) -> None:
    said = needs(state, type_)
    assert said.whose in ("service", "privacy_officer", "nobody")
    assert (said.whose == "nobody") == (state in CLOSED)
    if state in CLOSED:
        assert legal_moves(state, type_) == ()


def test_nothing_is_erased_that_was_not_approved() -> None:
    assert set(MOVES[Move.APPROVE]) == {State.AWAITING_APPROVAL}
    assert set(MOVES[Move.TAKE]) == {State.QUEUED}
    into_queue = {m for m, table in MOVES.items() if State.QUEUED in table.values()}
    assert into_queue == {Move.APPROVE, Move.LIFT_APPROVED}
    assert set(MOVES[Move.LIFT_APPROVED]) == {State.ON_HOLD}
    # what an end, a rejection or a cancellation leads to is reached from before a run only
    for move in (Move.REJECT, Move.CANCEL):
        assert not {State.RUNNING, State.SETTLING, *CLOSED} & set(MOVES[move])


def test_every_state_can_be_reached_and_every_open_one_left() -> None:
    reached = {after for table in MOVES.values() for after in table.values()}
    left = {state for table in MOVES.values() for state in table}
    assert reached == set(State) - {State.RECEIVED}
    assert left >= set(State) - CLOSED
    assert set(PERSONS_MOVES) <= set(MOVES)
    assert set(MOVES) == set(Move)


def test_a_case_that_was_rejected_or_cancelled_stays_so() -> None:
    for move, table in MOVES.items():
        assert State.REJECTED not in table, move
        assert State.CANCELLED not in table, move
