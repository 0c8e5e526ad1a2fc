"""Any order of calls: a case is always where the table of moves says, and nobody erases alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.domain.actors import WORKER, Actor
from app.domain.dsars import CLOSED, MOVES, UNAPPROVED_MOVES, Move, State
from app.domain.errors import (
    ClearlakeError,
    FourEyesError,
    IllegalMoveError,
    InvalidFieldsError,
    ScopeChangedError,
)
from app.services import decisions
from app.services.parts import Parts
from tests.services.dsar_cases import (
    ASKER,
    OFFICER,
    REASON,
    SERVICE,
    approve,
    digest_of,
    entries_of,
    get,
    identity,
    moved,
    put_scope,
    submit,
)

SERVICES = tuple(m for m in Move if m not in (Move.APPROVE, Move.REJECT, Move.CANCEL, Move.SCOPE))


def refusal(act: Callable[[], object]) -> ClearlakeError | None:
    """What a call was refused with; None when it was not."""
    try:
        act()
    except ClearlakeError as err:
        return err
    return None


class CaseMachine(RuleBasedStateMachine):
    """One case, and a model of it: a state, a scope, the moves made."""

    parts: ClassVar[Parts]

    @initialize()
    def begin(self) -> None:
        self.id = submit(self.parts).dsar.id
        self.state = State.RECEIVED
        self.made = 0
        self.users = 0
        self.approver: str | None = None

    def legal(self, move: Move) -> bool:
        waits = self.state is State.ON_HOLD and self.approver is None
        return self.state in MOVES[move] and not (waits and move not in UNAPPROVED_MOVES)

    def expect(self, move: Move, act: Callable[[], object]) -> None:
        if self.legal(move):
            act()
            self.state = MOVES[move][self.state]
            self.made += 1
            if move in (Move.RESCOPE, Move.PUT_BACK):
                self.approver = None
            return
        refused = refusal(act)
        assert isinstance(refused, IllegalMoveError)
        assert set(refused.legal) == {
            m.value for m in (Move.APPROVE, Move.REJECT, Move.CANCEL) if self.legal(m)
        }

    @precondition(lambda self: not self.users)
    @rule(users=st.sampled_from([2, 9]))
    def scope(self, users: int) -> None:
        case = get(self.parts, self.id)
        self.expect(Move.SCOPE, lambda: put_scope(self.parts, identity(case.id, users=users)))
        self.users = users if self.state is State.AWAITING_APPROVAL else 0

    @precondition(lambda self: self.users)
    @rule(
        actor=st.sampled_from([ASKER, OFFICER, OFFICER, OFFICER, SERVICE, WORKER]),
        is_right=st.sampled_from([True, True, True, False]),
        review=st.sampled_from([None, "tombstone", "keep"]),
    )
    def approve(self, actor: Actor, is_right: bool, review: str | None) -> None:
        digest = digest_of(self.parts, self.id) if is_right else "0" * 64

        def act() -> None:
            approve(self.parts, get(self.parts, self.id), actor=actor, review=review, digest=digest)

        expected: type[ClearlakeError] | None = None
        if actor is not OFFICER:
            expected = FourEyesError
        elif not self.legal(Move.APPROVE):
            expected = IllegalMoveError
        elif not is_right:
            expected = ScopeChangedError
        elif (review is None) == (self.users > 5):
            expected = InvalidFieldsError
        if expected is None:
            self.expect(Move.APPROVE, act)
            self.approver = actor.id
            return
        assert type(refusal(act)) is expected

    @rule(move=st.sampled_from([Move.REJECT, Move.CANCEL]), is_meant=st.integers(0, 3))
    def end(self, move: Move, is_meant: int) -> None:
        if is_meant and self.legal(move):
            return
        decide = {Move.REJECT: decisions.reject, Move.CANCEL: decisions.cancel}[move]

        def act() -> None:
            with self.parts.database.transaction() as tx:
                decide(OFFICER, tx, parts=self.parts, dsar_id=self.id, reason=REASON)

        self.expect(move, act)

    @rule(move=st.sampled_from(SERVICES))
    def go_on(self, move: Move) -> None:
        self.expect(move, lambda: moved(self.parts, self.id, move))

    @invariant()
    def is_where_the_table_says(self) -> None:
        case = get(self.parts, self.id)
        assert case.state is self.state
        assert case.approved_by == self.approver
        if case.state not in (State.RECEIVED, State.AWAITING_APPROVAL, State.ON_HOLD, *CLOSED):
            assert case.approved_by not in (None, case.requested_by)
        assert (case.closed_at is not None) == (case.state in (State.REJECTED, State.CANCELLED))

    def teardown(self) -> None:
        # as many entries as changes: the refused calls left none
        if hasattr(self, "made"):
            assert len(entries_of(self.parts, self.id)) == self.made + 1


def test_any_order_of_calls_follows_the_table_of_moves(parts: Parts) -> None:
    run_state_machine_as_test(
        type("Machine", (CaseMachine,), {"parts": parts}),
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
