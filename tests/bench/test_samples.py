"""Samples name the functions of the project that were at work."""

from __future__ import annotations

import time
from collections import Counter

from app.domain.identifiers import Kind, checked_identifier
from bench.samples import sampling


def test_ticks_count_the_functions_at_work() -> None:
    found: Counter[str] = Counter()
    with sampling(found):
        until = time.process_time() + 0.3
        while time.process_time() < until:
            checked_identifier(Kind.USER_ID, "usr_0" * 20, place="x")
    assert found["*"] > 5
    assert 0 < found["identifiers.py checked_identifier"] <= found["*"]
