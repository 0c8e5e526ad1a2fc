"""`lake fix`: settings of tables that are there are changed, kept, and put back; rows never."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from app import cli
from app.domain.datasets import DataMap
from app.domain.errors import LakeError
from app.domain.failpoints import FailpointError
from app.lake.datamap import parse_map
from app.lake.table_fixes import KEPT, apply, differences, recorded, undo
from app.lake.table_settings import table_properties

TABLE = "lake.visits"
SCHEMA = pa.schema([("event_dt", pa.date32()), ("user_id", pa.string()), ("amount", pa.int64())])
FOREIGN = {
    "owner": "somebody",
    "write.delete.isolation-level": "serializable",
    "write.metadata.metrics.column.user_id": "full",
    "write.metadata.metrics.column.amount": "full",
}
"""As another writer left them."""
MAP = """
version: 1
catalog: {name: lake, type: sql, uri: "${URI}", warehouse: "${ROOT}"}
datasets:
  - {name: visits, layer: silver, table: lake.visits, owner: {user_id: [user_id]}}
"""


def _map(place: Any) -> DataMap:
    environment = {"URI": place.catalog.uri, "ROOT": place.root}
    return replace(
        parse_map(MAP, source="lake.yaml", environment=environment), catalog=place.catalog
    )


@pytest.fixture
def fixed(place: Any) -> Any:
    """A place with a table as another writer left it."""
    place.engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties=FOREIGN)
    place.engine.append(TABLE, pa.Table.from_pylist([{"user_id": "u", "amount": 1}], schema=SCHEMA))
    return place


def _properties(place: Any) -> dict[str, str]:
    return dict(place.engine.head(TABLE).properties)


def _own(properties: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in properties.items() if not k.startswith(KEPT)}


def test_the_dry_run_tells_old_and_new_and_changes_nothing(fixed: Any) -> None:
    before = fixed.engine.head(TABLE)
    found = {c.key: (c.old, c.new) for c in differences(fixed.engine, _map(fixed))}
    assert found == {
        "write.delete.isolation-level": ("serializable", "snapshot"),
        "write.update.isolation-level": (None, "snapshot"),
        "write.metadata.metrics.default": (None, "counts"),
        "write.metadata.metrics.column.user_id": ("full", "counts"),
        "write.metadata.metrics.column.event_dt": (None, "full"),
        "write.metadata.delete-after-commit.enabled": (None, "true"),
    }
    assert fixed.engine.head(TABLE).metadata_location == before.metadata_location


def test_applied_and_undone_every_property_is_as_it_was_and_no_snapshot_was_made(
    fixed: Any,
) -> None:
    engine, data_map = fixed.engine, _map(fixed)
    before = engine.head(TABLE)
    apply(engine, differences(engine, data_map))
    assert differences(engine, data_map) == ()
    head = engine.head(TABLE)
    assert head.properties["write.delete.isolation-level"] == "snapshot"
    assert head.properties["write.metadata.metrics.column.amount"] == "full"
    assert head.properties["owner"] == "somebody"
    assert head.snapshots == before.snapshots
    undo(engine, recorded(engine, data_map))
    assert _properties(fixed) == before.properties
    assert engine.head(TABLE).snapshots == before.snapshots
    assert recorded(engine, data_map) == ()


def test_a_second_time_changes_nothing(fixed: Any) -> None:
    engine, data_map = fixed.engine, _map(fixed)
    apply(engine, differences(engine, data_map))
    there = engine.head(TABLE).metadata_location
    apply(engine, differences(engine, data_map))
    assert engine.head(TABLE).metadata_location == there
    undo(engine, recorded(engine, data_map))
    there = engine.head(TABLE).metadata_location
    undo(engine, recorded(engine, data_map))
    assert engine.head(TABLE).metadata_location == there


def test_what_others_set_since_stays_theirs(place_file: Any) -> None:
    engine, data_map = place_file.engine, _map(place_file)
    engine.create_table(TABLE, SCHEMA, partition_by=None, properties={})
    apply(engine, differences(engine, data_map))
    engine.set_properties(TABLE, {"write.metadata.metrics.default": "none"})
    theirs = [c for c in recorded(engine, data_map) if c.by_others]
    assert [c.key for c in theirs] == ["write.metadata.metrics.default"]
    assert differences(engine, data_map) == (), "none is as good as counts"
    undo(engine, recorded(engine, data_map))
    assert _properties(place_file) == {"write.metadata.metrics.default": "none"}


@pytest.mark.parametrize("place_name", ["fix.before_apply", "fix.after_apply"])
def test_killed_at_any_place_the_same_command_again_makes_it_good(
    place_name: str, place_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, data_map = place_file.engine, _map(place_file)
    engine.create_table(TABLE, SCHEMA, partition_by=None, properties=FOREIGN)
    monkeypatch.setenv("CLEARLAKE_FAILPOINTS", f"{place_name}=raise@*")
    with pytest.raises(FailpointError):
        apply(engine, differences(engine, data_map))
    monkeypatch.delenv("CLEARLAKE_FAILPOINTS")
    apply(engine, differences(engine, data_map))
    assert differences(engine, data_map) == ()
    undo(engine, recorded(engine, data_map))
    assert _own(_properties(place_file)) == FOREIGN


def test_a_commit_of_others_in_between_loses_neither(fixed: Any) -> None:
    engine, data_map = fixed.engine, _map(fixed)
    changes = differences(engine, data_map)
    engine.append(TABLE, pa.Table.from_pylist([{"user_id": "v", "amount": 2}], schema=SCHEMA))
    apply(engine, changes)
    rows = sum(batch.num_rows for batch in engine.batches(TABLE, columns=["user_id"]))
    assert rows == 2
    assert differences(engine, data_map) == ()


def test_a_kept_value_that_somebody_spoilt_is_named_and_nothing_is_guessed(place_file: Any) -> None:
    engine, data_map = place_file.engine, _map(place_file)
    engine.create_table(TABLE, SCHEMA, partition_by=None, properties={KEPT + "x": "?"})
    with pytest.raises(LakeError, match=r"clearlake\.fix\.x"):
        recorded(engine, data_map)


def test_a_table_that_we_made_needs_nothing(place_file: Any) -> None:
    wanted = table_properties(SCHEMA.names)
    place_file.engine.create_table(TABLE, SCHEMA, partition_by=None, properties=wanted)
    assert differences(place_file.engine, _map(place_file)) == ()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def at_the_desk(place_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a map, and the environment that it needs."""
    place_file.engine.create_table(TABLE, SCHEMA, partition_by=None, properties=FOREIGN)
    monkeypatch.setenv("URI", place_file.catalog.uri)
    monkeypatch.setenv("ROOT", place_file.root)
    path = tmp_path / "lake.yaml"
    path.write_text(MAP)
    return str(path)


def test_the_command_shows_changes_and_puts_back(
    at_the_desk: str, place_file: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["lake", "fix", "--map", at_the_desk]
    assert cli.run(command) == 0
    shown = capsys.readouterr().out
    assert "serializable" in shown
    assert "Nothing was changed" in shown
    assert _properties(place_file) == FOREIGN
    assert cli.run([*command, "--apply", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "clearlake.fix/1"
    assert document["changed"] is True
    assert {c["key"] for c in document["changes"]} == _changed(place_file)
    assert cli.run(command) == 0
    assert "Nothing to change" in capsys.readouterr().out
    assert cli.run([*command, "--undo"]) == 0
    assert _properties(place_file) == FOREIGN
    assert cli.run([*command, "--undo", "--apply"]) == 2


def _changed(place: Any) -> set[str]:
    return {k.removeprefix(KEPT) for k in _properties(place) if k.startswith(KEPT)}
