"""The pace of a stage: what ended lately, and until when the rest takes at that rate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.domain.pace import WINDOW, Worked, pace_of

NOW = datetime(2026, 11, 3, 12, tzinfo=UTC)
TEN = timedelta(minutes=10)


def test_what_is_left_takes_as_long_as_it_took_lately() -> None:
    worked = Worked(
        total=100,
        done=40,
        at_work=4,
        since=NOW - TEN,
        lately=40,
        bytes_planned=10**12,
        bytes_done=4 * 10**11,
        bytes_lately=4 * 10**11,
    )
    pace = pace_of(worked, now=NOW)
    assert (pace.done, pace.total, pace.at_work) == (40, 100, 4)
    assert pace.per_minute == 4
    assert pace.ends_at == NOW + timedelta(minutes=15)
    assert pace.bytes_per_second == round(4 * 10**11 / 600)
    assert (pace.bytes_done, pace.bytes_planned) == (4 * 10**11, 10**12)


def test_a_run_that_got_more_workers_is_judged_by_what_it_does_now() -> None:
    begun = NOW - timedelta(days=2)
    slow = Worked(total=1000, done=500, at_work=1, since=begun, lately=2)
    fast = Worked(total=1000, done=500, at_work=9, since=begun, lately=60)
    assert pace_of(slow, now=NOW).ends_at == NOW + WINDOW * 250
    assert pace_of(fast, now=NOW).per_minute == 60 / (WINDOW.total_seconds() / 60)


def test_nobody_knows_before_a_step_has_ended_lately() -> None:
    for worked in (
        Worked(total=3, done=0, at_work=0, since=None),
        Worked(total=3, done=0, at_work=3, since=NOW - TEN),
        Worked(total=3, done=1, at_work=1, since=NOW - timedelta(days=1)),
        Worked(total=3, done=1, at_work=1, since=NOW, lately=1),
    ):
        pace = pace_of(worked, now=NOW)
        assert pace.ends_at is None
        assert pace.per_minute is None
        assert pace.bytes_per_second is None
        assert pace.bytes_planned is None


def test_a_stage_that_is_through_has_no_end_to_come() -> None:
    worked = Worked(total=3, done=3, at_work=0, since=NOW - TEN, lately=3)
    assert pace_of(worked, now=NOW).ends_at is None


@given(
    total=st.integers(1, 10**6),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seconds=st.integers(0, 10**6),
)
def test_the_end_is_never_before_now_and_the_more_was_done_the_sooner(
    total: int, shares: tuple[float, float], seconds: int
) -> None:
    less, more = sorted(int(total * share) for share in shares)

    def ends_at(done: int) -> datetime | None:
        since = NOW - timedelta(seconds=seconds)
        worked = Worked(total=total, done=done, at_work=1, since=since, lately=done)
        return pace_of(worked, now=NOW).ends_at

    early, late = ends_at(more), ends_at(less)
    if early is not None and late is not None:
        assert NOW <= early <= late
