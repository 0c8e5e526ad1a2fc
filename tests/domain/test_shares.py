"""Every object falls to exactly one look, and small datasets are looked at in one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.domain.shares import WHOLE, Share, shares_of


@given(uri=st.text(max_size=50), of=st.integers(1, 300))
def test_an_object_falls_to_exactly_one_look_whoever_asks(uri: str, of: int) -> None:
    assert sum(Share(number, of).has(uri) for number in range(of)) == 1
    assert WHOLE.has(uri)


def test_objects_are_spread_evenly() -> None:
    uris = [f"s3://lake/raw/event_dt=2026-01-{n % 28:02}/evt-{n}.ndjson" for n in range(8000)]
    counts = [sum(map(Share(number, 8).has, uris)) for number in range(8)]
    assert 800 < min(counts) <= max(counts) < 1200


@given(groups=st.integers(0, 10**6))
def test_the_more_groups_the_more_looks_up_to_a_limit(groups: int) -> None:
    assert 1 <= shares_of(groups) <= shares_of(groups + 1) <= 256
    assert groups >= 32 or shares_of(groups) == 1
