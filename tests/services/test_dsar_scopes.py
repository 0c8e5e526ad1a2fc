"""From received cases to scopes, on a made lake of either kind: one look serves all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from app.domain import failpoints
from app.domain.datasets import DataMap
from app.domain.dsars import DsarType, State
from app.domain.errors import IllegalMoveError
from app.domain.steps import StepKind, StepState
from app.lake.datamap import map_text, parse_map
from app.lake.make import Cast, make_lake
from app.lake.ports import Doors
from app.lake.stitch import stitch
from app.services import decisions, dsar_views, ledger, previews, scopes
from app.services.ledger import Performed, Worker
from app.services.parts import Parts
from app.stages.resolving import lake_fingerprint
from app.store import dsars as store
from app.store import steps
from app.store.dsars import Dsar
from app.store.tables import step as step_table
from tests.e2e.worlds import START
from tests.places import Place
from tests.services.dsar_cases import (
    OFFICER,
    REASON,
    approve,
    dumped,
    entries_of,
    get,
    somebody,
    submit,
)

SOMEBODY = "usr_0SOMEBODY00000000000000000"


def made_cast(place: Place) -> Cast:
    made = make_lake(
        events=1500,
        users=60,
        days=2,
        seed=1,
        codec="none",
        root=place.root,
        loader=place.loader,
        engine=place.engine,
        start=START,
        retain_until=datetime.now(UTC) + timedelta(days=1),
    )
    stitch(place.engine, built_at=datetime(2026, 11, 6, tzinfo=UTC))
    return made.cast


def map_of(place: Place, *, review_above: int = 5) -> DataMap:
    text = map_text(root=place.root).replace("review_above: 5", f"review_above: {review_above}")
    environment = {"CLEARLAKE_CATALOG_URI": place.catalog.uri, "CLEARLAKE_S3_ENDPOINT": "http://x"}
    return parse_map(text, source="lake.yaml", environment=environment)


def worker(parts: Parts) -> Worker:
    return Worker("w", parts, {StepKind.SCOPE: scopes.scope_cases}, lambda *_: [])


def submitted(parts: Parts, user_id: str | None = None, *anon_ids: str) -> Dsar:
    asked = replace(somebody(0), user_id=user_id, anon_ids=anon_ids)
    return submit(parts, asked).dsar


@dataclass(frozen=True)
class Cases:
    """One of every sort, received before anybody looked."""

    buyer: Dsar
    shared: Dsar
    visitor: Dsar
    nobody: Dsar
    access: Dsar
    gone: Dsar
    """Cancelled."""
    lost: Dsar
    """Its key is not there."""
    bells: tuple[str, ...]

    @classmethod
    def made(cls, parts: Parts, cast: Cast, rung: list[str]) -> Cases:
        cases = cls(
            buyer=submitted(parts, cast.active_buyer),
            shared=submitted(parts, cast.tablet_user),
            visitor=submitted(parts, None, cast.visitor_anon_id),
            nobody=submitted(parts, "usr_0NOBODY0000000000000000000"),
            access=submit(parts, replace(somebody(7), type=DsarType.ACCESS)).dsar,
            gone=submitted(parts, cast.provider),
            lost=submitted(parts, cast.disputed_buyer),
            bells=tuple(rung),
        )
        with parts.database.transaction() as tx:
            decisions.cancel(OFFICER, tx, parts=parts, dsar_id=cases.gone.id, reason=REASON)
        parts.keys.shred(cases.lost.id)
        return cases

    def now(self, parts: Parts) -> Cases:
        """As they stand now."""
        fresh: dict[str, Any] = {
            f.name: get(parts, getattr(self, f.name).id) for f in fields(self) if f.name != "bells"
        }
        return replace(self, **fresh)


def test_every_received_case_gets_its_scope_from_one_look_at_the_lake(
    place: Place,
    lake_parts: Callable[[DataMap], Parts],
    rung: list[str],
    database_url: str,
) -> None:
    cast = made_cast(place)
    data_map = map_of(place, review_above=2)
    parts = lake_parts(data_map)
    cases = Cases.made(parts, cast, rung)
    assert ledger.perform(cases.bells[0], worker=worker(parts)) is Performed.FINISHED
    cases = cases.now(parts)
    for case in (cases.buyer, cases.shared, cases.visitor, cases.nobody):
        assert case.state is State.AWAITING_APPROVAL
    assert cases.access.state is State.RECEIVED
    assert cases.gone.state is State.CANCELLED
    # the one that could not be opened is named as such and stopped nobody
    assert (cases.lost.state, cases.lost.waiting_reason) == (State.RECEIVED, "key_missing")
    assert entries_of(parts, cases.lost.id)[-1] == ("dsar.scope_failed", '{"code":"key_missing"}')
    counts = cases.buyer.identity_counts or {}
    assert counts["user_id"] == 1
    assert counts["anon_id"] >= 1
    assert cases.visitor.identity_counts == {"anon_id": 1}
    assert cases.nobody.identity_counts == {"user_id": 1}
    with parts.database.transaction() as tx:
        rows = store.scopes_of(tx, [cases.buyer.id, cases.shared.id, cases.visitor.id])
        assert store.scope_of(tx, cases.lost.id) is None
    assert {r.fingerprint for r in rows} == {lake_fingerprint(data_map, place.doors())}
    the_shared_tablet_waits_for_a_decision(parts, cases.shared, data_map)
    assert dumped(database_url).found([cast.active_buyer, cast.visitor_anon_id]) == []
    the_other_bells_find_nobody_left(parts, cases)


def the_shared_tablet_waits_for_a_decision(parts: Parts, case: Dsar, data_map: DataMap) -> None:
    with parts.database.transaction() as tx:
        seen = previews.preview(tx, parts=parts, dsar_id=case.id)
        row = store.scope_of(tx, case.id)
    assert row is not None
    assert {(s.kind, s.users, s.decision) for s in seen.shared} == {
        ("anon_id", 3, "review"),
        ("device_fp", 3, "review"),
    }
    assert seen.undecided == case.shared_count == 2
    assert {d.name for d in seen.datasets} == {d.name for d in data_map.datasets}
    assert sum(d.rows or 0 for d in seen.datasets if d.name == "events") >= 1400
    # what a run finds, if nothing moves, is what is approved now
    approved = approve(parts, case, review="tombstone")
    identity = previews.identity_of(parts, row)
    assert scopes.fits(parts, identity, approved)
    assert not scopes.fits(parts, replace(identity, linked=frozenset()), approved)


def the_other_bells_find_nobody_left(parts: Parts, cases: Cases) -> None:
    for step_id in cases.bells[1:]:
        assert ledger.perform(step_id, worker=worker(parts)) is Performed.FINISHED
    with parts.database.transaction() as tx:
        found = [steps.get(tx, step_id) for step_id in cases.bells]
    ended = {s.target: s for s in found if s is not None}
    # the case that cannot be opened waits for a person; that was written down once
    assert ended.pop(cases.lost.id).state is StepState.PARKED
    assert [v for v, _ in entries_of(parts, cases.lost.id)].count("dsar.scope_failed") == 1
    assert {s.state for s in ended.values()} == {StepState.DONE}
    assert ended[cases.shared.id].receipt == {"scoped": 0, "failed": 1}


def test_a_map_that_the_lake_does_not_meet_scopes_nobody_and_says_so(
    place_file: Place, file_parts: Callable[[DataMap], Parts], rung: list[str]
) -> None:
    parts = file_parts(map_of(place_file))
    case = submitted(parts, SOMEBODY)
    assert ledger.perform(rung[0], worker=worker(parts)) is Performed.PARKED
    with parts.database.transaction() as tx:
        seen = dsar_views.overview(tx, dsar_id=case.id)
    assert (seen.status, seen.waiting_reason) == (State.RECEIVED, "data_map")
    # once the lake is there, a retry resolves it, and everybody else who waits
    made_cast(place_file)
    another = submitted(parts, SOMEBODY)
    with parts.database.transaction() as tx:
        decisions.retry(OFFICER, tx, dsar_id=case.id)
    assert rung[-1] == rung[0]
    assert ledger.perform(rung[-1], worker=worker(parts)) is Performed.FINISHED
    for one in (case, another):
        with parts.database.transaction() as tx:
            seen = dsar_views.overview(tx, dsar_id=one.id)
        assert (seen.status, seen.waiting_reason) == (State.AWAITING_APPROVAL, None)
    with pytest.raises(IllegalMoveError), parts.database.transaction() as tx:
        decisions.retry(OFFICER, tx, dsar_id=case.id)


def test_a_case_that_is_cancelled_while_it_is_resolved_stays_cancelled(
    place_file: Place, file_parts: Callable[[DataMap], Parts], rung: list[str]
) -> None:
    made_cast(place_file)
    parts = file_parts(map_of(place_file))
    case, other = submitted(parts, SOMEBODY), submitted(parts, SOMEBODY)
    lake = parts.lake
    assert lake is not None

    @contextmanager
    def opened() -> Iterator[Doors]:
        with parts.database.transaction() as tx:
            decisions.cancel(OFFICER, tx, parts=parts, dsar_id=case.id, reason=REASON)
        with lake.open() as doors:
            yield doors

    busy = replace(parts, lake=replace(lake, open=opened))
    assert ledger.perform(rung[0], worker=worker(busy)) is Performed.FINISHED
    assert get(parts, case.id).state is State.CANCELLED
    assert get(parts, other.id).state is State.AWAITING_APPROVAL
    with parts.database.transaction() as tx:
        assert [r.dsar_id for r in store.scopes_of(tx, [case.id, other.id])] == [other.id]


def test_an_act_that_dies_anywhere_is_done_again_and_scopes_each_case_once(
    place_file: Place,
    file_parts: Callable[[DataMap], Parts],
    rung: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made_cast(place_file)
    parts = file_parts(map_of(place_file))
    cases = [submitted(parts, SOMEBODY) for _ in range(3)]
    for place in ("resolved=raise", "before_entry=raise@2", "recorded=raise@2"):
        monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"scopes.{place}")
        monkeypatch.setattr(failpoints, "_passed", Counter())
        with pytest.raises(failpoints.FailpointError):
            ledger.perform(rung[0], worker=worker(parts))
        with parts.database.transaction() as tx:
            tx.run(update(step_table).values(lease_until=tx.now() - timedelta(hours=1)))
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    assert ledger.perform(rung[0], worker=worker(parts)) is Performed.FINISHED
    for case in cases:
        assert get(parts, case.id).state is State.AWAITING_APPROVAL
        assert [v for v, _ in entries_of(parts, case.id)] == ["dsar.received", "dsar.scoped"]


def test_a_worker_that_is_to_end_resolves_nobody_and_gives_the_step_back(
    place_file: Place, file_parts: Callable[[DataMap], Parts], rung: list[str]
) -> None:
    parts = file_parts(map_of(place_file))
    case = submitted(parts, SOMEBODY)
    asked = iter([False])  # once for the claim; from then on it is to end
    ending = replace(worker(parts), draining=lambda: next(asked, True))
    assert ledger.perform(rung[0], worker=ending) is Performed.GIVEN_BACK
    assert get(parts, case.id).state is State.RECEIVED
