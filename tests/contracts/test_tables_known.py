"""What an engine has read once and keeps must never hide what others did since."""

from __future__ import annotations

from contextlib import closing

import pyarrow as pa
import pytest

from app.domain.errors import CommitConflictError
from app.lake.pyiceberg_engine import PyIcebergEngine, engine
from tests.places import Place

TABLE = "lake.things"
SCHEMA = pa.schema([("who", pa.string())])


def _rows(who: str) -> pa.Table:
    return pa.table({"who": [who]}, schema=SCHEMA)


def _files(of: PyIcebergEngine) -> list[str]:
    snapshot = of.head(TABLE).snapshot_id
    assert snapshot is not None
    return [f.path for f in of.files(TABLE, snapshot_id=snapshot)]


@pytest.mark.parametrize("kept", [0, 5_000])
def test_what_another_engine_commits_is_seen_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(engine, "KEPT", kept)  # a large table's entries are not kept
    ours = place.engine
    ours.create_table(TABLE, SCHEMA, partition_by=None, properties={})
    ours.append(TABLE, _rows("first"))
    [first] = _files(ours)
    base = ours.head(TABLE)
    with closing(PyIcebergEngine(place.catalog, io_properties=place.io_properties)) as theirs:
        theirs.append(TABLE, _rows("second"))
        seen = ours.head(TABLE)
        assert seen.parents[seen.snapshot_id or 0] == base.snapshot_id
        assert first in _files(ours)
        assert _files(ours) == _files(theirs)
        reached = ours.reach(TABLE)
        assert reached == theirs.reach(TABLE)
        assert reached.by_snapshot.keys() == {base.snapshot_id, seen.snapshot_id}
        with pytest.raises(CommitConflictError):
            ours.overwrite(TABLE, _rows("third"), base_snapshot=base.snapshot_id)
        ours.expire(TABLE, [base.snapshot_id or 0])
        assert theirs.head(TABLE).snapshots == (seen.snapshot_id,)
