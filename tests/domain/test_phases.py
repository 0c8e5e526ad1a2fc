"""Which steps a run takes and where it ends: as a table, and whatever its steps come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.phases import BESIDE, EVERYBODY, Course, Part, Standing, Tally, decide
from app.domain.receipts import WorkState
from app.domain.runs import ENDED, UNDOABLE, RunMove, Stage, legal_run_moves, waits_until
from app.domain.steps import NewStep, StepKind, StepState

COURSE = Course(objects=("raw", "more"), tables=("events", "orders"), identity="who")
ROUNDS = 5
_AT = datetime(2026, 11, 20, tzinfo=UTC)


def standing(
    stage: Stage,
    *,
    steps: Mapping[tuple[StepKind, str], Tally] | None = None,
    parts: Mapping[str, tuple[Part, ...]] | None = None,
    course: Course = COURSE,
    people: int = 1,
    left: bool = False,
    undo: bool = False,
) -> Standing:
    return Standing(stage, course, steps or {}, parts or {}, people, left, undo)


def part(number: int, *states: WorkState, steps: frozenset[StepKind] = frozenset()) -> Part:
    return Part(number, frozenset(states), steps)


def targets(steps: tuple[NewStep, ...]) -> list[tuple[str, str]]:
    return [(s.kind.value, s.target) for s in steps]


DONE = Tally(total=1, done=1)
OPEN = Tally(total=1, open=1)
PLANNED = {"raw": (part(0, WorkState.PLANNED),), "more": ()}


def test_a_new_run_asks_who_the_people_are() -> None:
    assert targets(decide(standing(Stage.OPEN)).steps) == [("resolve", EVERYBODY)]


def test_a_run_whose_every_case_has_left_it_closes() -> None:
    steps = {(StepKind.RESOLVE, EVERYBODY): DONE}
    assert decide(standing(Stage.OPEN, steps=steps, people=0)).stages == (Stage.CLOSED,)


def test_every_dataset_is_planned_once_the_people_are_known() -> None:
    steps = {(StepKind.RESOLVE, EVERYBODY): DONE}
    found = decide(standing(Stage.OPEN, steps=steps))
    assert found.stages == (Stage.RESOLVED,)
    assert targets(found.steps) == [("plan", d) for d in COURSE.datasets]


def test_groups_and_tables_are_erased_side_by_side_and_the_identity_waits() -> None:
    found = decide(standing(Stage.PLANNED, parts=PLANNED))
    assert targets(found.steps) == [
        ("erase", "events"),
        ("erase", "orders"),
        ("erase", "raw/0"),
        ("newer", "more/1"),
    ]


def test_what_others_wrote_meanwhile_is_erased_in_another_round() -> None:
    erased = {(StepKind.ERASE, d): DONE for d in ("raw", "events", "orders")}
    steps = {**erased, (StepKind.NEWER, "raw"): Tally(1, done=1, found=3)}
    steps[StepKind.NEWER, "more"] = DONE
    done = part(0, WorkState.WRITTEN, steps=frozenset({StepKind.ERASE}))
    parts = {"raw": (done, part(1, WorkState.PLANNED))}
    found = decide(standing(Stage.PLANNED, steps=steps, parts=parts))
    assert targets(found.steps) == [("erase", "raw/1")]
    parts = {"raw": (done, part(1, WorkState.WRITTEN, steps=frozenset({StepKind.ERASE})))}
    found = decide(standing(Stage.PLANNED, steps=steps, parts=parts))
    assert targets(found.steps) == [("newer", "raw/2")]


def test_the_identity_is_erased_when_nothing_else_is_left_to_erase() -> None:
    steps = {(StepKind.ERASE, d): DONE for d in ("raw", "events", "orders")}
    steps |= {(StepKind.NEWER, d): DONE for d in COURSE.objects}
    found = decide(standing(Stage.PLANNED, steps=steps))
    assert targets(found.steps) == [("erase", "who")]
    steps[StepKind.ERASE, "who"] = DONE
    found = decide(standing(Stage.PLANNED, steps=steps))
    assert found.stages == (Stage.ERASED, Stage.CHECKED)
    assert targets(found.steps) == [("purge", "events"), ("purge", "orders")]


def test_only_parts_with_something_to_check_or_to_purge_get_a_step() -> None:
    parts = {
        "raw": (part(0, WorkState.CLEAN), part(1, WorkState.CLEAN, WorkState.WRITTEN)),
        "more": (part(0, WorkState.CLEAN),),
    }
    assert targets(decide(standing(Stage.ERASED, parts=parts)).steps) == [("check", "raw/1")]
    parts = {
        "raw": tuple(
            part(n, state, WorkState.CLEAN)
            for n, state in enumerate((WorkState.CLEAN, WorkState.CHECKED, WorkState.CLEAN))
        )
    }
    found = targets(decide(standing(Stage.CHECKED, parts=parts)).steps)
    assert found == [
        ("purge", "raw/0"),  # the first one in any case: it ends open uploads
        ("purge", "raw/1"),
        ("purge", "events"),
        ("purge", "orders"),
    ]


def test_a_difference_stops_the_run_once_nobody_is_at_work() -> None:
    steps = {(StepKind.CHECK, "raw"): Tally(2, open=1, failed=frozenset({"check_failed"}))}
    assert decide(standing(Stage.ERASED, steps=steps)).stages == ()
    steps = {(StepKind.CHECK, "raw"): Tally(2, done=1, failed=frozenset({"check_failed"}))}
    found = decide(standing(Stage.ERASED, steps=steps))
    assert (found.stages, found.why, found.steps) == ((Stage.STUCK,), "check_failed", ())


@pytest.mark.parametrize(
    ("stage", "kind", "code", "stuck"),
    [
        (Stage.OPEN, StepKind.RESOLVE, "key_missing", True),
        (Stage.RESOLVED, StepKind.PLAN, "unsupported_table", True),
        (Stage.PLANNED, StepKind.NEWER, "unreachable", True),
        (Stage.PLANNED, StepKind.ERASE, "check_failed", True),
        (Stage.PLANNED, StepKind.ERASE, "data_map", True),
        (Stage.PLANNED, StepKind.ERASE, "lease_lapsed", False),
        (Stage.ERASED, StepKind.CHECK, "unreachable", False),
        (Stage.CHECKED, StepKind.PURGE, "purge_refused", False),
        (Stage.PURGED, StepKind.VERIFY, "lease_lapsed", True),
        (Stage.VERIFIED, StepKind.REPORT, "key_missing", True),
    ],
)
def test_some_failures_stop_the_run_and_others_are_left_to_the_second_look(
    stage: Stage, kind: StepKind, code: str, *, stuck: bool
) -> None:
    steps = {(kind, "raw"): Tally(1, failed=frozenset({code}))}
    assert (decide(standing(stage, steps=steps)).stages[-1:] == (Stage.STUCK,)) is stuck


@pytest.mark.parametrize(("left", "end"), [(True, Stage.PENDING), (False, Stage.CLOSED)])
def test_a_reported_run_is_pending_while_something_is_left(left: bool, end: Stage) -> None:
    steps = {(StepKind.REPORT, EVERYBODY): DONE}
    assert decide(standing(Stage.VERIFIED, steps=steps, left=left)).stages == (end,)


def test_an_undo_waits_for_those_at_work_then_puts_every_dataset_back() -> None:
    busy = {(StepKind.ERASE, "raw"): OPEN}
    assert decide(standing(Stage.PLANNED, steps=busy, undo=True)).steps == ()
    idle = {(StepKind.ERASE, "raw"): DONE}
    found = decide(standing(Stage.PLANNED, steps=idle, undo=True))
    assert targets(found.steps) == [("undo", d) for d in COURSE.datasets]
    undone = idle | {(StepKind.UNDO, d): DONE for d in COURSE.datasets}
    assert decide(standing(Stage.PLANNED, steps=undone, undo=True)).stages == (Stage.UNDONE,)
    undone[StepKind.UNDO, "events"] = Tally(total=1)
    assert decide(standing(Stage.PLANNED, steps=undone, undo=True)).stages == (Stage.STUCK,)


def test_a_run_that_had_not_begun_is_undone_at_once() -> None:
    found = decide(standing(Stage.OPEN, course=Course(), undo=True))
    assert (found.stages, found.steps) == ((Stage.UNDONE,), ())


def test_the_purge_waits_for_the_window_and_for_readers_whichever_is_longer() -> None:
    hour = timedelta(hours=1)
    checked = _AT + hour
    at = {"checked_at": checked, "erased_at": _AT}
    assert waits_until(**at, window=hour, readers=timedelta(0)) == checked + hour
    assert waits_until(**at, window=timedelta(0), readers=3 * hour) == _AT + 3 * hour


@pytest.mark.parametrize(
    ("stage", "flags", "legal"),
    [
        (Stage.ERASED, "", ["stop", "undo"]),
        (Stage.ERASED, "stopped", ["resume", "undo"]),
        (Stage.PURGING, "past_return", ["stop"]),
        (Stage.PURGING, "past_return stopped", ["resume"]),
        (Stage.STUCK, "", ["resume", "undo"]),
        (Stage.STUCK, "differs", ["undo"]),
        (Stage.STUCK, "past_return", ["resume"]),
        (Stage.STUCK, "undoing stopped", ["undo"]),
        (Stage.PLANNED, "undoing stopped", []),
        (Stage.PENDING, "past_return", ["resume"]),
        (Stage.PLANNED, "past_return", ["stop"]),
        (Stage.CLOSED, "past_return", []),
        (Stage.UNDONE, "undoing stopped", []),
    ],
)
def test_what_a_person_may_do_with_a_run(stage: Stage, flags: str, legal: list[str]) -> None:
    names = ("stopped", "undoing", "past_return", "differs")
    said = {name: name in flags.split() for name in names}
    assert [m.value for m in legal_run_moves(stage, **said)] == legal


def test_nothing_is_undone_after_the_point_of_no_return() -> None:
    for stage in Stage:
        moves = legal_run_moves(
            stage, stopped=False, undoing=False, past_return=True, differs=False
        )
        assert RunMove.UNDO not in moves
        assert (stage in UNDOABLE) or RunMove.UNDO not in legal_run_moves(
            stage, stopped=False, undoing=False, past_return=False, differs=False
        )


# --- whatever steps come to ----------------------------------------------------------------------

_NEXT = {
    StepKind.ERASE: (WorkState.CLEAN, WorkState.WRITTEN, WorkState.PARKED, WorkState.PLANNED),
    StepKind.CHECK: (WorkState.CHECKED, WorkState.WRITTEN, WorkState.UNDONE),
    StepKind.PURGE: (WorkState.PURGED, WorkState.DEFERRED, WorkState.HELD),
}


@dataclass
class Ledger:
    """A run whose steps end as it is drawn."""

    draw: st.DataObject
    stage: Stage = Stage.OPEN
    steps: dict[tuple[StepKind, str], tuple[StepState, str | None, int]] = field(
        default_factory=dict
    )
    works: dict[str, dict[int, set[WorkState]]] = field(default_factory=dict)
    order: list[tuple[StepKind, str]] = field(default_factory=list)

    def standing(self) -> Standing:
        tallies: dict[tuple[StepKind, str], Tally] = {}
        for (kind, target), (state, code, found) in self.steps.items():
            name = kind, target.partition("/")[0]
            was = tallies.get(name, Tally())
            tallies[name] = Tally(
                was.total + 1,
                was.open + (state is StepState.READY),
                was.done + (state is StepState.DONE),
                was.failed | ({code} if code else set()),
                found if kind is StepKind.NEWER else 0,
            )
        parts = {
            d: tuple(
                Part(n, frozenset(s), frozenset(k for k, t in self.steps if t == f"{d}/{n}"))
                for n, s in found.items()
            )
            for d, found in self.works.items()
        }
        return Standing(self.stage, COURSE, tallies, parts, left=False, undo=False)

    def advance(self) -> None:
        decision = decide(self.standing())
        for stage in decision.stages:
            self.stage = stage
        for new in decision.steps:
            assert (new.kind, new.target) not in self.steps, "no step twice"
            self.steps[new.kind, new.target] = StepState.READY, None, 0
        again = decide(self.standing())
        assert (again.stages, again.steps) == ((), ()), "asked once more, it changes nothing"

    def end(self, name: tuple[StepKind, str]) -> None:
        kind, target = name
        dataset, _, number = target.partition("/")
        code, found, state = None, 0, StepState.DONE
        if self.draw.draw(st.integers(0, 19)) == 0:
            codes = ("check_failed", "unreachable", "lease_lapsed")
            code, state = self.draw.draw(st.sampled_from(codes)), StepState.PARKED
        elif kind is StepKind.PLAN and dataset in COURSE.objects:
            groups = range(self.draw.draw(st.integers(0, 4)))
            self.works[dataset] = {n: {WorkState.PLANNED} for n in groups}
        elif kind is StepKind.NEWER and int(number) < ROUNDS:
            found = self.draw.draw(st.integers(0, 2))
            if found:
                mine = self.works[dataset]
                mine[max(mine, default=-1) + 1] = {WorkState.PLANNED}
        elif kind in _NEXT and number:
            state_now = self.draw.draw(st.sampled_from(_NEXT[kind]))
            self.works[dataset][int(number)] = {state_now}
            waits = state_now in (WorkState.DEFERRED, WorkState.HELD)
            state = StepState.HELD if waits else StepState.DONE
        self.steps[name] = state, code, found
        self.order.append(name)


@settings(max_examples=150)
@given(st.data())
def test_a_run_comes_to_an_end_whatever_its_steps_come_to(data: st.DataObject) -> None:
    ledger = Ledger(data)
    ledger.advance()
    for _ in range(400):
        ready = sorted(n for n, (state, _, _) in ledger.steps.items() if state is StepState.READY)
        if not ready:
            break
        ledger.end(data.draw(st.sampled_from(ready)))
        ledger.advance()
    assert ledger.stage in ENDED | {Stage.STUCK}
    for kind in (StepKind.ERASE, StepKind.PURGE):
        mine = [target for k, target in ledger.order if k is kind]
        assert "who" not in mine or mine[-1] == "who"
    kinds = [kind for kind, _ in ledger.order]
    if StepKind.PURGE in kinds:
        assert StepKind.ERASE not in kinds[kinds.index(StepKind.PURGE) :]
        assert StepKind.CHECK not in kinds[kinds.index(StepKind.PURGE) :]
    if ledger.stage is Stage.CLOSED:
        looked = Counter(target for kind, target in ledger.order if kind is StepKind.VERIFY)
        assert looked == Counter((*COURSE.datasets, BESIDE))


def test_a_dataset_of_very_many_groups_is_verified_by_several_steps() -> None:
    course = Course(objects=("raw", "more"), tables=("events",), is_whole=False)
    parts = {"raw": tuple(part(n, WorkState.PURGED) for n in range(64)), "more": ()}
    begins = standing(Stage.PURGED, course=course, parts=parts)
    looks = [("verify", f"raw/{n}") for n in range(4)]
    assert targets(decide(begins).steps) == [*looks, ("verify", "more"), ("verify", "events")]
    some_open = {
        (StepKind.VERIFY, "raw"): Tally(total=4, open=1, done=3),
        (StepKind.VERIFY, "more"): DONE,
        (StepKind.VERIFY, "events"): DONE,
    }
    waits = decide(standing(Stage.PURGED, course=course, parts=parts, steps=some_open))
    assert (waits.stages, waits.steps) == ((), ())
