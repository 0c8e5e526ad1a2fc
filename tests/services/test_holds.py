"""Legal holds without a lake: who places and releases, whom one hits, and what of it is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.actors import WORKER, Actor
from app.domain.dsars import Move, State
from app.domain.errors import FourEyesError, InvalidFieldsError, NotFoundError, OnHoldError
from app.domain.holds import BY_HOLD, HoldKind
from app.domain.identifiers import Identifier, Kind
from app.domain.steps import StepKind
from app.services import decisions, dsar_views, dsars, endings, holds, previews, runs
from app.services.holds import HoldAsked, HoldView
from app.services.parts import Parts
from app.store import holds as store
from tests.services.dsar_cases import (
    ASKER,
    LINKED,
    OFFICER,
    REASON,
    SERVICE,
    SHARED,
    USER,
    approve,
    dumped,
    entries_of,
    get,
    identity,
    put_scope,
    scoped,
    somebody,
    submit,
)
from tests.services.erased import act, with_rules

ME = Identifier(Kind.USER_ID, USER)
ORDER = "ord_CANARY10"


def place(
    parts: Parts,
    subject: Identifier | None = ME,
    *,
    dataset: str | None = None,
    order_id: str | None = None,
) -> str:
    asked = HoldAsked(REASON, subject=subject, dataset=dataset, order_id=order_id)
    with parts.database.transaction() as tx:
        return holds.place(ASKER, tx, parts=parts, asked=asked).id


def release(parts: Parts, hold_id: str, *, actor: Actor = OFFICER) -> None:
    with parts.database.transaction() as tx:
        holds.release(actor, tx, parts=parts, hold_id=hold_id, reason=REASON)


def view(parts: Parts, hold_id: str) -> HoldView:
    with parts.database.transaction() as tx:
        return holds.view(tx, hold_id)


def another(parts: Parts) -> str:
    """Somebody else's case, that waits for its approval."""
    case = submit(parts, somebody(1)).dsar
    none = identity(case.id, users=2, decision="tombstone")
    given = frozenset({Identifier(Kind.USER_ID, str(somebody(1).user_id))})
    return put_scope(parts, replace(none, given=given, linked=frozenset(), shared=())).id


def test_whom_a_hold_hits_waits_where_it_stands_and_comes_back_by_itself(parts: Parts) -> None:
    awaiting, queued = scoped(parts), approve(parts, scoped(parts))
    other = another(parts)
    first, second = place(parts), place(parts, Identifier(Kind.ANON_ID, LINKED))
    assert [get(parts, c.id).state for c in (awaiting, queued)] == [State.ON_HOLD] * 2
    assert get(parts, other).state is State.AWAITING_APPROVAL
    assert view(parts, first).cases == 2
    with parts.database.transaction() as tx:
        seen = dsar_views.overview(tx, dsar_id=queued.id)
        assert runs.start(WORKER, tx, parts=parts) is None
    assert (seen.waiting_reason, set(seen.holds)) == (BY_HOLD, {first, second})
    assert first in seen.needs.what
    assert seen.legal_moves == ("reject", "cancel")
    release(parts, first)
    assert get(parts, queued.id).state is State.ON_HOLD
    release(parts, second)
    assert get(parts, awaiting.id).state is State.AWAITING_APPROVAL
    back = get(parts, queued.id)
    assert (back.state, back.approved_by, back.waiting_reason) == (
        State.QUEUED,
        OFFICER.id,
        None,
    )
    verbs = [verb for verb, _ in entries_of(parts, queued.id)]
    assert verbs[-2:] == ["dsar.put_on_hold", "dsar.hold_lifted"]
    assert [v for v, _ in entries_of(parts, first)] == ["hold.placed", "hold.released"]


def test_a_case_that_comes_under_a_hold_is_on_hold_as_soon_as_it_is_known_who_it_is(
    parts: Parts,
) -> None:
    hold_id = place(parts)
    case = scoped(parts)
    assert case.state is State.ON_HOLD
    release(parts, hold_id)
    assert get(parts, case.id).state is State.AWAITING_APPROVAL


def test_a_shared_value_that_is_kept_is_not_erased_and_so_not_held(parts: Parts) -> None:
    place(parts, Identifier(Kind.DEVICE_FP, SHARED))
    kept = put_scope(parts, identity(submit(parts).dsar.id, users=2, decision="keep"))
    erased = put_scope(parts, identity(submit(parts).dsar.id, users=2, decision="tombstone"))
    assert (kept.state, erased.state) == (State.AWAITING_APPROVAL, State.ON_HOLD)


def test_a_hold_finds_cases_of_every_generation_of_digest_keys(parts: Parts) -> None:
    before = scoped(parts)
    parts.keys.rotate_digest()
    place(parts)
    parts.keys.rotate_digest()
    assert get(parts, before.id).state is State.ON_HOLD
    assert scoped(parts).state is State.ON_HOLD


@pytest.mark.parametrize("actor", [ASKER, SERVICE, WORKER], ids=lambda a: a.id)
def test_neither_who_placed_it_nor_a_service_key_nor_a_worker_releases_a_hold(
    parts: Parts, actor: Actor
) -> None:
    hold_id = place(parts)
    with pytest.raises(FourEyesError):
        release(parts, hold_id, actor=actor)
    assert view(parts, hold_id).released_at is None
    release(parts, hold_id)
    ended = view(parts, hold_id)
    release(parts, hold_id, actor=actor)  # twice is a success, and changes nothing
    assert view(parts, hold_id) == ended
    assert (ended.released_by, ended.cases) == (OFFICER.id, 0)


def test_a_hold_is_on_one_thing_that_is_there(parts: Parts, lake_of_nothing: Parts) -> None:
    for wrong in (
        HoldAsked(REASON),
        HoldAsked(REASON, subject=ME, dataset="events"),
        HoldAsked(REASON, dataset="evnets"),
    ):
        with pytest.raises(InvalidFieldsError), parts.database.transaction() as tx:
            holds.place(ASKER, tx, parts=lake_of_nothing, asked=wrong)
    hold_id = place(lake_of_nothing, None, dataset="events")
    assert view(parts, hold_id).kind is HoldKind.DATASET
    with pytest.raises(NotFoundError):
        release(parts, "hold_x")


def test_a_hold_on_a_dataset_stops_no_case_and_the_preview_names_it(parts: Parts) -> None:
    hold_id = place(parts, None, dataset="events")
    case = approve(parts, scoped(parts))
    assert case.state is State.QUEUED
    with parts.database.transaction() as tx:
        seen = previews.preview(tx, parts=parts, dsar_id=case.id)
    assert [(h.id, h.kind, h.dataset) for h in seen.holds] == [(hold_id, "dataset", "events")]


def test_until_it_is_known_whom_an_order_names_nobody_is_approved(parts: Parts) -> None:
    case = scoped(parts)
    hold_id = place(parts, None, order_id=ORDER)
    assert view(parts, hold_id).is_looked_for
    with pytest.raises(OnHoldError, match="moment"):
        approve(parts, case)
    release(parts, hold_id)
    assert approve(parts, case).state is State.QUEUED


def test_everybody_whom_a_run_has_begun_with_may_be_whom_an_order_names(parts: Parts) -> None:
    begun = approve(parts, scoped(parts))
    with parts.database.transaction() as tx:
        assert runs.start(WORKER, tx, parts=parts) is not None
    other = another(parts)
    hold_id = place(parts, None, order_id=ORDER)
    with parts.database.transaction() as tx:
        assert store.protect_begun(tx, hold_id) == 1
        assert set(store.hits_of(tx, [begun.id, other])) == {begun.id}


def test_a_case_on_hold_is_rejected_unless_a_run_has_it(parts: Parts) -> None:
    queued, waits = approve(parts, scoped(parts)), scoped(parts)
    with parts.database.transaction() as tx:
        runs.start(WORKER, tx, parts=parts)
        dsars.move(WORKER, tx, queued.id, Move.HOLD, verb="dsar.held", reason="a lock")
    place(parts)
    with parts.database.transaction() as tx:
        assert decisions.legal_of(tx, get(parts, queued.id)) == ()
        decisions.reject(OFFICER, tx, parts=parts, dsar_id=waits.id, reason=REASON)
    assert get(parts, waits.id).state is State.REJECTED
    # what a run waits for is the run's: a released hold does not take it out
    with parts.database.transaction() as tx:
        assert store.free_again(tx) == {}


def test_the_value_goes_with_the_release_and_the_reasons_at_their_end(
    parts: Parts, database_url: str
) -> None:
    brief = with_rules(parts, retain=timedelta(0))
    ids = [place(brief), place(brief, None, order_id=ORDER)]
    assert dumped(database_url).found([USER, ORDER, REASON]) == []
    for hold_id in ids:
        with parts.database.transaction() as tx:
            shown = holds.opened(OFFICER, tx, parts=parts, hold_id=hold_id)
        assert shown is not None
        assert shown.value in (USER, ORDER)
        assert repr(shown).count("CANARY") == 0
        release(brief, hold_id)
        assert act(parts, StepKind.SHRED, endings.shred, hold_id).value == "finished"
        with parts.database.transaction() as tx:
            again = holds.opened(OFFICER, tx, parts=parts, hold_id=hold_id)
            assert again == holds.HoldOpened(None, {"place": REASON, "release": REASON})
    with parts.database.transaction() as tx:
        assert holds.forget_due(tx, parts) == 2
    with parts.database.transaction() as tx:
        assert holds.forget_due(tx, parts) == 0
        bare = holds.opened(OFFICER, tx, parts=parts, hold_id=ids[0])
    assert bare == holds.HoldOpened(None, {})


def test_a_hold_in_force_keeps_its_value_whatever_step_comes(parts: Parts) -> None:
    hold_id = place(parts)
    act(parts, StepKind.SHRED, endings.shred, hold_id)
    with parts.database.transaction() as tx:
        shown = holds.opened(OFFICER, tx, parts=parts, hold_id=hold_id)
    assert shown is not None
    assert shown.value == USER
