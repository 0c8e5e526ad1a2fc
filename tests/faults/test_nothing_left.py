"""Many people leave a lake together: an independent reader looks for each in every version."""

from __future__ import annotations

import json
from pathlib import Path

from app.servers import Servers
from tests.e2e.conftest import runner
from tests.e2e.forking import Runner
from tests.e2e.records import Records, line_owners
from tests.e2e.worlds import Size, made_world
from tests.faults.effort import Effort
from tests.places import Place

__all__ = ["runner"]

WANTED = 200
FEW = 5
LAYERS = 3


def _in_every_layer(records: Records) -> list[str]:
    """Users who stand in Bronze, Silver and Gold."""
    lines = (json.loads(text) for texts in records.lines.values() for text in texts)
    bronze = {owner for line in lines for owner in line_owners(line)}
    tables = [
        {json.loads(row)["user_id"] for row in records.rows[name]}
        for name in ("events", "dim_identity")
    ]
    return sorted(bronze.intersection(*tables))


def test_of_everyone_who_leaves_nothing_is_left_anywhere(
    effort: Effort,
    place_s3: Place,
    tmp_path: Path,
    runner: Runner,
    servers: Servers,
) -> None:
    count = WANTED if effort.long else FEW
    size = Size(events=40 * count, users=4 * count, seed=effort.seed)
    name = "people who leave in one run, each layer, every version (s3)"
    with (
        made_world(place_s3, tmp_path / "desk", runner=runner, size=size, servers=servers) as world,
        effort.measuring("G6", name, wanted=WANTED * LAYERS) as measured,
    ):
        before = world.records()
        users = tuple(_in_every_layer(before)[:count])
        gone = world.gone(users=users)
        assert set(users) <= {held.value for held in world.storage.held(gone.values)}
        named = [word for user in users for word in ("--user-id", user)]
        done = world.erase(*named, "--yes", "--purge-now", "--shared-review", "tombstone", "--json")
        assert done.code == 0, done.err
        left = world.held(gone)
        measured.figure.rounds = len(users) * LAYERS
        measured.figure.note("values searched for", len(gone.values))
        measured.figure.faults = [f"{held.source} {held.part}" for held in left]
        assert not world.records().settled.differences(before.without(gone))
