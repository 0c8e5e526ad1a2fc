"""Which numbers look like a mistake."""

from __future__ import annotations

import pytest

from app.domain.breakers import BreakerKind, Limits, Touched, tripped, unaccepted

LIMITS = Limits(linked=50, rows=10_000, row_share=0.001)


@pytest.mark.parametrize(
    ("rows", "of", "trips"),
    [
        (10_000, 10_000, False),
        (10_001, 10_000_000, True),
        (10_001, 10_001_000, False),
        (10_001, None, True),
        (500, 500, False),
    ],
)
def test_rows_are_too_many_only_as_a_number_and_as_a_share(
    rows: int, of: int | None, trips: bool
) -> None:
    found = tripped(linked=0, touched=[Touched("events", rows, of)], limits=LIMITS)
    assert [(b.kind, b.dataset) for b in found] == (
        [(BreakerKind.TOO_MANY_ROWS, "events")] if trips else []
    )


def test_one_linked_identifier_more_than_the_limit_trips() -> None:
    assert tripped(linked=50, touched=[], limits=LIMITS) == ()
    (found,) = tripped(linked=51, touched=[], limits=LIMITS)
    assert (found.kind, found.found, found.limit) == (BreakerKind.TOO_MANY_LINKED, 51, 50)
    assert unaccepted([found], []) == ["too_many_linked"]
    assert unaccepted([found], ["too_many_linked"]) == []
