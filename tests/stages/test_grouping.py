"""Groups of objects: whole, in order, within both limits, and always the same."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.domain.receipts import ObjectWork
from app.stages.grouping import GROUP_BYTES, GROUP_OBJECTS, groups


@st.composite
def some_works(draw: st.DrawFn) -> list[ObjectWork]:
    sizes = draw(st.lists(st.integers(0, 30), max_size=40))
    return [ObjectWork(f"s3://b/{n}", bytes_before=size) for n, size in enumerate(sizes)]


@given(works=some_works(), max_bytes=st.integers(1, 60), max_objects=st.integers(1, 8))
def test_every_object_is_in_one_group_in_order_and_no_group_is_too_large(
    works: list[ObjectWork], max_bytes: int, max_objects: int
) -> None:
    found = groups(works, max_bytes=max_bytes, max_objects=max_objects)
    assert [w for group in found for w in group] == works
    for group in found:
        assert 1 <= len(group) <= max_objects
        assert len(group) == 1 or sum(w.bytes_before for w in group) <= max_bytes
    assert groups(works, max_bytes=max_bytes, max_objects=max_objects) == found


@given(works=some_works(), max_bytes=st.integers(1, 60))
def test_two_groups_that_follow_each_other_would_not_fit_into_one(
    works: list[ObjectWork], max_bytes: int
) -> None:
    found = groups(works, max_bytes=max_bytes)
    for one, following in pairwise(found):
        assert sum(w.bytes_before for w in (*one, following[0])) > max_bytes


def test_the_usual_limits_are_bytes_and_objects() -> None:
    small = [ObjectWork(f"s3://b/{n:04}", bytes_before=1) for n in range(GROUP_OBJECTS + 1)]
    assert [len(g) for g in groups(small)] == [GROUP_OBJECTS, 1]
    large = [ObjectWork(f"s3://b/{n}", bytes_before=GROUP_BYTES // 2) for n in range(5)]
    assert [len(g) for g in groups(large)] == [2, 2, 1]
    assert groups([]) == []
