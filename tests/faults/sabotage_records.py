"""What can be done to the records of a run, to its clock and to the order of its stages."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.failpoints import FailpointError
from app.domain.receipts import ObjectWork, Share, WorkState
from tests.faults.sabotage import PERSON, Lab, Sabotage
from tests.faults.sabotage_objects import LINES
from tests.verify.planted import TABLE, rows


def _alters(change: Callable[[ObjectWork], ObjectWork]) -> Callable[[Lab], None]:
    return lambda lab: lab.put_work(change(lab.work()))


def _counting_more(work: ObjectWork) -> ObjectWork:
    return replace(work, counts=replace(work.counts, before=work.counts.before + 1))


def _counting_less_deleted(work: ObjectWork) -> ObjectWork:
    shares = {0: Share()}
    return replace(work, counts=replace(work.counts, deleted=0, shares=shares))


def _sharing_wrongly(work: ObjectWork) -> ObjectWork:
    return replace(work, counts=replace(work.counts, shares={0: Share(deleted=2)}))


def _with_another_digest(work: ObjectWork) -> ObjectWork:
    return replace(work, sha256="0" * 64)


def _as_if_purged(work: ObjectWork) -> ObjectWork:
    gone = tuple(replace(s, state=WorkState.PURGED) for s in work.superseded)
    return replace(work, state=WorkState.PURGED, superseded=gone)


def _as_if_nothing_were_superseded(work: ObjectWork) -> ObjectWork:
    return replace(work, superseded=())


def _as_if_clean(work: ObjectWork) -> ObjectWork:
    return ObjectWork(work.uri, WorkState.CLEAN, base_version=work.base_version)


def _loses_a_record(lab: Lab) -> None:
    with sqlite3.connect(lab.run.folder / "journal.sqlite") as link:
        link.execute("delete from work where number = (select min(number) from work)")
    link.close()


def _counts_the_table_wrongly(lab: Lab) -> None:
    work = lab.table()
    lab.put_table(replace(work, counts=replace(work.counts, deleted=work.counts.deleted + 1)))


def _sets_the_horizon_back(lab: Lab) -> None:
    """And leaves a copy that would then count as late."""
    lab.place.loader.load(lab.uri.replace("evt-0", "evt-copy"), LINES)
    lab.put_facts(**{"horizon:raw_events": "2020-01-01T00:00:00+00:00"})


def _sets_the_tables_horizon_back(lab: Lab) -> None:
    """To before the run's own commit, and adds the person's rows again."""
    work = lab.table()
    lab.put_table(replace(work, horizon=work.base_snapshot))
    lab.place.engine.append(TABLE, rows({"user_id": PERSON}))


def _clock_a_day_behind(lab: Lab) -> None:
    behind = lab.place.reader.now() - timedelta(days=1)
    lab.put_facts(**{"horizon:raw_events": behind.isoformat()})
    lab.place.loader.load(lab.uri.replace("evt-0", "evt-copy"), LINES)


def _is_killed_half_way_and_something_comes_back(lab: Lab) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLEARLAKE_FAILPOINTS", "stages.after_seeing=raise")
        with pytest.raises(FailpointError):
            lab.verified()
    lab.place.loader.load(lab.uri, LINES)


def _loses_a_look(lab: Lab) -> None:
    with sqlite3.connect(lab.run.folder / "journal.sqlite") as link:
        link.execute("delete from document where name = 'seeing:raw_events'")
    link.close()


def _swaps_two_looks(lab: Lab) -> None:
    """That of a dataset in which nothing was found, in the place of another's."""
    with sqlite3.connect(lab.run.folder / "journal.sqlite") as link:
        link.execute(
            "update document set sealed = (select sealed from document where name = "
            "'seeing:events') where name = 'seeing:raw_events'"
        )
    link.close()


def _takes_the_table_off_the_map(lab: Lab) -> None:
    """Between two runs: the second erases and sees only what is still declared."""
    lab.place.engine.append(TABLE, rows({"user_id": PERSON}))
    lab.data_map = replace(lab.data_map, datasets=lab.data_map.bronze)


RECORDS = (
    Sabotage("a receipt counts more lines", "purged", _alters(_counting_more), "rows after"),
    Sabotage("a receipt forgets a line", "purged", _alters(_counting_less_deleted), "rows after"),
    Sabotage("a receipt shares wrongly", "purged", _alters(_sharing_wrongly), "shares of deleted"),
    Sabotage("another digest", "purged", _alters(_with_another_digest), "other bytes"),
    Sabotage("recorded as purged", "checked", _alters(_as_if_purged), "old version, user.user_id"),
    Sabotage(
        "nothing recorded to purge", "checked", _alters(_as_if_nothing_were_superseded),
        "old version, user.user_id",
    ),
    Sabotage("recorded as clean", "checked", _alters(_as_if_clean), "old version, user.user_id"),
    Sabotage("a record lost", "purged", _loses_a_record, "has no record of it"),
    Sabotage(
        "a table's receipt altered", "purged", _counts_the_table_wrongly, "sum of deleted",
        dataset="events",
    ),
    Sabotage("the horizon set back", "purged", _sets_the_horizon_back, "the clocks disagree"),
    Sabotage(
        "a table's horizon set back", "purged", _sets_the_tables_horizon_back, "column user_id",
        dataset="events",
    ),
    Sabotage("the clock a day behind", "purged", _clock_a_day_behind, "the clocks disagree"),
    Sabotage(
        "killed half-way through the look", "purged", _is_killed_half_way_and_something_comes_back,
        "residue, object",
    ),
    Sabotage(
        "a look lost", "verified", _loses_a_look, "verify again", dataset="", verdict="REFUSED"
    ),
    Sabotage(
        "another dataset's look", "verified", _swaps_two_looks, "altered", dataset="",
        verdict="REFUSED",
    ),
    Sabotage(
        "a dataset taken off the map", "loaded", _takes_the_table_off_the_map, "column user_id",
        dataset="beside the declared places",
    ),
)  # fmt: skip
