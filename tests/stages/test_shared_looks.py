"""The second look at one dataset, shared among processes: together they see what one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.domain.errors import StageError
from app.domain.findings import Finding, What
from app.domain.shares import Share
from app.stages.search import Seeing, seeing
from tests.stages.runs import Run
from tests.verify.material import event

SHARES = tuple(Share(number, 3) for number in range(3))


def looked(run: Run, *shares: Share) -> Seeing:
    """What all of it comes to; each look by an `acts` of its own, as by another process."""
    for share in shares:
        with run.acts() as acts:
            acts.verify_dataset(run.raw, share)
    with run.acts() as acts:
        return seeing(acts.journal, run.data_map)


def about(found: Seeing) -> list[tuple[What, str]]:
    """What was seen of objects; clocks each share judges by its own objects, here by two."""
    return sorted((f.what, f.uri) for f in found.findings if f.uri.endswith(".ndjson"))


def test_shares_see_together_what_one_look_sees(folder_run: Run) -> None:
    run = folder_run
    run.verified()
    whole = looked(run, Share())
    shared = looked(run, *reversed(SHARES))
    assert shared.seen == whole.seen
    assert shared.seen["raw_events"].objects > len(SHARES)
    assert about(shared) == about(whole)
    assert shared.horizons == whole.horizons


def test_what_is_left_is_found_by_exactly_one_share(folder_run: Run) -> None:
    run = folder_run
    run.verified()
    run.load("evt-3.ndjson", event(1), event(7))
    uri = run.load("evt-0.ndjson", event(1))
    shared = looked(run, *SHARES)
    assert about(shared) == about(looked(run, Share()))
    mine = [f for f in shared.findings if f.uri == uri]
    assert mine
    assert len(mine) == len({_key(f) for f in mine}), "nobody else looked at it"


def test_an_object_of_the_run_that_is_gone_is_missed_by_its_share(folder_run: Run) -> None:
    run = folder_run
    run.verified()
    with run.journal() as journal:
        rewritten = next(w for w in journal.works("raw_events") if w.new_version is not None)
    Path(rewritten.uri.removeprefix("file://")).unlink()
    found = looked(run, *SHARES)
    assert (What.ARITHMETIC, rewritten.uri) in about(found)
    assert about(found) == about(looked(run, Share()))


def test_a_look_that_is_missing_is_no_look_at_the_rest(folder_run: Run) -> None:
    run = folder_run
    run.verified()
    with pytest.raises(StageError, match="verify again"):
        looked(run, *SHARES[:2])


def _key(found: Finding) -> tuple[str, ...]:
    return found.what, found.place, found.detail, str(found.subject)
