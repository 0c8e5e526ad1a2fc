"""The acts of a run, by groups: each may be repeated, stopped, and done by another process."""

from __future__ import annotations

import itertools

import pytest

from app.domain.errors import KeyMissingError
from app.domain.failpoints import FailpointError
from app.domain.findings import What
from app.domain.receipts import ObjectWork, WorkState
from app.lake import bronze_lines, bronze_read
from app.offline.stages import check, erase, undo
from app.stages.acts import ROUNDS
from app.stages.grouping import groups
from app.stages.search import seeing
from tests.stages.runs import Run
from tests.verify.material import event, user
from tests.verify.planted import TABLE, rows


def _states(run: Run) -> dict[str, WorkState]:
    with run.journal() as journal:
        return {w.uri.rpartition("/")[2]: w.state for w in journal.works("raw_events")}


def _written(run: Run) -> list[ObjectWork]:
    with run.journal() as journal:
        return [w for w in journal.works("raw_events") if w.state is WorkState.WRITTEN]


# --- plan ----------------------------------------------------------------------------------------


def test_planning_again_adds_what_is_new_and_leaves_what_was_done(run: Run) -> None:
    run.planned()
    with run.acts() as acts:
        first, *_ = acts.again(run.raw)
        acts.erase_group(run.raw, [first])
        done = acts.journal.works("raw_events")
        table = acts.journal.table_work("events")
    run.load("zz-late.ndjson", event(2))
    run.place.engine.append(TABLE, rows({"user_id": user(2)}))
    with run.acts() as acts:
        acts.plan_dataset(run.raw)
        acts.plan_dataset(run.events)
        assert acts.journal.works("raw_events")[:-1] == done
        assert acts.journal.works("raw_events")[-1].uri.endswith("zz-late.ndjson")
        assert acts.journal.table_work("events") == table


# --- erase ---------------------------------------------------------------------------------------


def test_groups_are_erased_in_any_order_by_whichever_process(run: Run) -> None:
    run.planned()
    with run.acts() as acts:
        small = groups(acts.again(run.raw), max_objects=2)
    assert len(small) > 3
    for group in reversed(small):
        with run.acts() as acts:
            acts.erase_group(run.raw, group)
            acts.erase_group(run.raw, group[:1])
    with run.acts() as acts:
        assert acts.newer(run.raw) == []
        assert acts.journal.fact("horizon:raw_events") is not None
        assert check(acts)
    works = _states(run)
    assert sorted(n for n, state in works.items() if state is WorkState.CHECKED) == [
        f"evt-{n}.ndjson" for n in range(6)
    ]
    assert set(works.values()) == {WorkState.CHECKED, WorkState.CLEAN}


def test_an_act_that_is_told_to_stop_leaves_the_rest_to_a_repeat(run: Run) -> None:
    run.planned()
    asked = itertools.count()
    with run.acts(stop=lambda: next(asked) >= 3) as acts:
        works = acts.again(run.raw)
        acts.erase_group(run.raw, works)
        acts.erase_table(run.events)
    states = set(_states(run).values())
    assert WorkState.PLANNED in states
    with run.acts() as acts:
        table = acts.journal.table_work("events")
        assert table is not None
        assert not table.commits
        erase(acts)
        table = acts.journal.table_work("events")
        assert table is not None
        assert table.commits
    assert WorkState.PLANNED not in _states(run).values()


def test_objects_that_came_or_changed_since_are_planned_again_until_nothing_is_new(
    run: Run,
) -> None:
    run.planned()
    with run.acts() as acts:
        acts.erase_group(run.raw, acts.again(run.raw))
    fresh = run.load("evt-new.ndjson", event(1), event(8))
    again = run.load("evt-0.ndjson", event(2), event(8))
    with run.acts() as acts:
        found = acts.newer(run.raw)
        assert {w.uri for w in found} == {fresh, again}
        assert {(w.state, w.rounds) for w in found} == {(WorkState.PLANNED, 1)}
        assert all(w.bytes_before for w in found)
        assert acts.rounds(run.raw) == 1
        assert acts.journal.fact("horizon:raw_events") is None
    with run.acts() as acts:
        acts.erase_group(run.raw, acts.again(run.raw))
        assert acts.newer(run.raw) == []
        assert acts.rounds(run.raw) == 0
    assert run.body(fresh) == event(8)
    assert run.body(again) == event(8)


def test_a_loader_that_never_rests_is_given_up_and_named(folder_run: Run) -> None:
    run = folder_run
    run.planned()
    rounds = 0
    with run.acts() as acts:
        works = acts.again(run.raw)
        for rounds in range(1, 3 * ROUNDS):
            acts.erase_group(run.raw, works)
            run.load(f"evt-more-{rounds}.ndjson", event(1))
            works = acts.newer(run.raw)
            assert max(w.rounds for w in works) == acts.rounds(run.raw) == rounds
            if acts.rounds(run.raw) >= ROUNDS:
                break
        acts.give_up(run.raw)
        assert rounds == ROUNDS
        assert acts.open_datasets() == {"raw_events"}
        assert acts.journal.fact("horizon:raw_events") is not None
    parked = [n for n, s in _states(run).items() if s is WorkState.PARKED]
    assert parked == [f"evt-more-{ROUNDS}.ndjson"]
    with run.acts() as acts:
        erase(acts)
        assert not acts.open_works()
        assert acts.rounds(run.raw) == 0


def test_a_round_that_was_cut_off_is_made_again_and_counted(
    folder_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder_run
    run.planned()
    with run.acts() as acts:
        acts.erase_group(run.raw, acts.again(run.raw))
    fresh = run.load("evt-new.ndjson", event(1))
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", "stages.round_counted=raise")
    with run.acts() as acts, pytest.raises(FailpointError):
        acts.newer(run.raw)
    with run.acts() as acts:
        assert [(w.uri, w.rounds) for w in acts.newer(run.raw)] == [(fresh, 2)]


def test_new_objects_get_records_of_their_own_after_a_restart(folder_run: Run) -> None:
    """Two datasets were numbered together once, and the numbers of one ran into each other."""
    with folder_run.journal() as journal:
        for name in ("a", "b"):
            journal.put_works(name, [ObjectWork(f"s3://b/{name}{n}") for n in range(3)])
        journal.put_works("a", [ObjectWork("s3://b/a3")])
    with folder_run.journal() as journal:
        assert len(journal.works("a")) == 4
        journal.put_works("a", [ObjectWork(f"s3://b/a{n}") for n in range(4, 9)])
    with folder_run.journal() as journal:
        # Without having read the dataset first.
        journal.put_works("a", [ObjectWork("s3://b/a9"), ObjectWork("s3://b/a0", rounds=1)])
    with folder_run.journal() as journal:
        assert [w.uri for w in journal.works("a")] == [f"s3://b/a{n}" for n in range(10)]
        assert journal.works("a")[0].rounds == 1
        assert len(journal.works("b")) == 3


# --- check ---------------------------------------------------------------------------------------


def test_a_wrong_replacement_stops_its_group_and_is_put_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.planned()
    before = {w.uri: run.body(w.uri) for w in _planned(run)}
    _erase_wrongly(run, monkeypatch)
    small = groups(_written(run), max_objects=2)
    assert len(small) == 3
    for group in small:
        with run.acts() as acts:
            assert not acts.check_group(run.raw, group)
    with run.acts() as acts:
        found = acts.check_findings()
        assert {f.uri for f in found} == {w.uri for group in small for w in group}
        assert {f.what for f in found} - {What.NOTE}
        assert not _written(run)
        assert undo(acts) == 0
    assert {uri: run.body(uri) for uri in before} == before


def test_one_wrong_pair_does_not_put_back_the_right_ones(
    folder_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = folder_run
    run.planned()
    with run.acts() as acts:
        first, *rest = [w for w in acts.again(run.raw) if "/02/" in w.uri]
        acts.erase_group(run.raw, rest)
    _erase_wrongly(run, monkeypatch)
    with run.acts() as acts:
        assert not acts.check_group(run.raw, _written(run))
        assert {f.uri for f in acts.check_findings()} == {first.uri}
    states = _states(run)
    assert states.pop("evt-0.ndjson") is WorkState.UNDONE
    assert [s for n, s in states.items() if n in {w.uri.rpartition("/")[2] for w in rest}] == [
        WorkState.CHECKED
    ] * 5


def _planned(run: Run) -> list[ObjectWork]:
    with run.journal() as journal:
        return journal.works("raw_events")


def _erase_wrongly(run: Run, patch: pytest.MonkeyPatch) -> None:
    """With an eraser that loses everything behind the last hit of a block."""
    right = bronze_lines.rewritten

    def wrong(blocks: object, **known: object) -> object:
        for pieces in right(blocks, **known):  # type: ignore[arg-type]  # as it was called
            yield pieces[:-1] if len(pieces) > 1 else pieces

    with patch.context() as faulty, run.acts() as acts:
        faulty.setattr(bronze_read, "rewritten", wrong)
        acts.erase_group(run.raw, acts.again(run.raw))


# --- purge, verify, undo -------------------------------------------------------------------------


def test_after_all_stages_nothing_is_left_and_every_place_was_seen(run: Run) -> None:
    run.verified()
    with run.acts() as acts:
        assert not acts.open_works()
        assert acts.changed_tables()
        seen = seeing(acts.journal, run.data_map)
    assert [f for f in seen.findings if f.what is not What.NOTE] == []
    assert {"raw_events", "events"} <= seen.seen.keys()
    assert seen.horizons["events"].startswith("snapshot ")
    assert seen.horizon_at <= run.place.reader.now()
    assert ("verify", "raw_events") in {said[:2] for said in run.said}


def test_each_dataset_is_seen_apart_and_the_report_has_them_all(run: Run) -> None:
    run.erased()
    beside = run.place.root + "tmp/copy.ndjson"
    run.place.loader.load(beside, event(1))
    with run.acts() as acts:
        check(acts)
        for dataset in run.data_map.datasets:
            acts.verify_dataset(dataset)
        acts.verify_places()
        both = seeing(acts.journal, run.data_map)
        residue = [f for f in both.findings if f.what is What.RESIDUE]
        assert {f.dataset for f in residue} >= {
            "raw_events",
            "events",
            "beside the declared places",
        }
        assert any("tmp/" in place for place in both.undeclared)
        acts.purge_table(run.events)
        acts.verify_dataset(run.events)
        later = seeing(acts.journal, run.data_map)
    left = [f for f in later.findings if f.what is What.RESIDUE]
    assert left == [f for f in residue if f.dataset != "events"]


def test_undo_puts_each_dataset_back_by_itself(run: Run) -> None:
    run.planned()
    before = {w.uri: run.body(w.uri) for w in _planned(run)}
    with run.acts() as acts:
        erase(acts)
        assert {uri: run.body(uri) for uri in before} != before
    with run.acts() as acts:
        assert acts.undo_dataset(run.raw) == 0
        assert acts.undo_dataset(run.events) == 0
        assert acts.undo_dataset(run.raw) == 0
    assert {uri: run.body(uri) for uri in before} == before
    table = run.place.engine.batches(TABLE, columns=["user_id"])
    users = [value for batch in table for value in batch.column("user_id").to_pylist()]
    assert user(1) in users


def test_what_others_changed_since_is_left_by_the_undo_and_counted(run: Run) -> None:
    run.erased()
    uri = run.load("evt-0.ndjson", event(8))
    with run.acts() as acts:
        assert acts.undo_dataset(run.raw) == 1
        assert acts.open_datasets() == {"raw_events"}
    assert run.body(uri) == event(8)


def test_records_of_a_run_whose_key_is_gone_cannot_be_read(folder_run: Run) -> None:
    folder_run.planned()
    folder_run.keys.shred("run_01test")
    with pytest.raises(KeyMissingError), folder_run.acts():
        pass
