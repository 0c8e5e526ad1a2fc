"""Every place in which a person can hide, one person each: all are found there and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
import redis
import structlog

from app.domain.findings import Finding, What
from app.lake.verify import search_bytes
from app.servers import Servers
from tests.faults.effort import Effort
from tests.lake.position_deletes import hide
from tests.places import Place
from tests.verify.material import user
from tests.verify.planted import TABLE, Planting, found, make_clean_lake, rows

LEAST = 24
_OWN = {"our own Postgres": 900, "our own Valkey": 901, "our own logs": 902}
_BESIDE = ("statistics", "page header", "dictionary", "manifest bound, live entry")
"""Where a value of a column stands too, as a matter of course."""


@dataclass
class _Needles(Planting):
    """Those of the verifier's own tests, and those that change the table for all of them."""

    def row(self, name: str) -> Any:
        """A person in a data file of their own, and that file."""
        _, value = self.new(name, "column user_id")
        before = {f.path for f in self._files()}
        self.place.engine.append(TABLE, rows({"user_id": value}))
        return next(f for f in self._files() if f.path not in before)

    def _files(self) -> list[Any]:
        head = self.place.engine.head(TABLE)
        return self.place.engine.files(TABLE, snapshot_id=head.snapshot_id or 0)

    def in_history(self) -> None:
        """A hidden row, a pinned snapshot, and what is left of a bound."""
        hide(self.place, [(self.row("row under a position delete"), [0])])
        file = self.row("tag-pinned snapshot")
        table = self.place.engine._load(TABLE)
        pinned = table.metadata.current_snapshot_id
        table.manage_snapshots().create_tag(pinned, "audit").commit()
        self.place.engine.replace(TABLE, [(file, None)], run_id="r", step_id="s")
        _, value = self.new("truncated bound", "manifest bound, DELETED entry")

        def cut(record: dict[str, Any]) -> None:
            record["status"] = 2
            bounds = [{"key": 2, "value": value[:16].encode()}]
            gone = "s3://nowhere/gone.parquet"
            record["data_file"].update(lower_bounds=bounds, file_path=gone)

        self.avro("cut", cut)


@pytest.fixture
def admin(servers: Servers) -> Iterator[Any]:
    key = servers.s3.credentials["admin"]
    client = boto3.client(
        "s3",
        endpoint_url=servers.s3.endpoint,
        region_name=servers.s3.region,
        aws_access_key_id=key.access_key,
        aws_secret_access_key=key.secret_key,
    )
    yield client
    client.close()


def test_every_needle_is_found_where_it_lies(
    effort: Effort,
    place_s3: Place,
    admin: Any,
    servers: Servers,
    empty_database_url: str,
    tmp_path: Path,
) -> None:
    with effort.measuring("G7", "planted needles, one person each", wanted=LEAST) as measured:
        make_clean_lake(place_s3)
        needles = _Needles(place_s3)
        needles.in_lines()
        needles.in_parquet()
        needles.in_metadata()
        needles.in_versions(admin)
        needles.in_history()
        findings = found(place_s3, needles.targets).findings
        own = _own_places(servers, empty_database_url, tmp_path)
        every = [*needles.names, *own]
        missed = [n for i, n in enumerate(needles.names) if not _is_found(needles, i, of=findings)]
        missed += [name for name, body in own.items() if not _is_told(name, body)]
        measured.figure.faults += [f"not found: {name}" for name in missed]
        measured.figure.rounds = len(set(every))
        assert len(set(every)) == len(every)
        assert "usr_" not in repr(findings)


def _is_found(needles: Planting, number: int, *, of: tuple[Finding, ...]) -> bool:
    """In one place, the right one; a row's file and its manifests speak of it too."""
    expected = needles.expected[number]
    said = [f.place for f in of if f.what is What.RESIDUE and f.subject == number]
    if "column" in expected:
        said = [place for place in said if not place.endswith(_BESIDE)]
    return len(said) == 1 and expected in said[0]


# --- what the service keeps itself: no part of the lake; read here, searched by the same rule ----


def _own_places(servers: Servers, database: str, folder: Path) -> dict[str, bytes]:
    """Everything that stands in each, a needle in it."""
    values = {name: user(number) for name, number in _OWN.items()}
    return dict(
        zip(
            values,
            (
                _postgres(database, values["our own Postgres"]),
                _valkey(servers, values["our own Valkey"]),
                _logs(folder / "worker.log", values["our own logs"]),
            ),
            strict=True,
        )
    )


def _is_told(name: str, body: bytes) -> bool:
    """The needle of this place, and none of the others."""
    others = [user(number) for other, number in _OWN.items() if other != name]
    return bool(search_bytes(body, [user(_OWN[name])])) and not search_bytes(body, others)


def _postgres(url: str, value: str) -> bytes:
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        link.execute("create table step (id text, receipt jsonb)")
        receipt = json.dumps({"deep": [{"note": f"of {value}, twice"}]})
        link.execute("insert into step values ('s', %s)", (receipt,))
        with link.cursor().copy("copy step to stdout") as out:
            return b"".join(map(bytes, out))


def _valkey(servers: Servers, value: str) -> bytes:
    with redis.Redis.from_url(servers.valkey.url) as client:
        client.rpush("needles", json.dumps({"args": [value]}))
        found = repr(client.lrange("needles", 0, -1)).encode()
        client.delete("needles")
        return found


def _logs(path: Path, value: str) -> bytes:
    with path.open("w", encoding="utf-8") as file:
        log = structlog.wrap_logger(
            structlog.PrintLogger(file), processors=[structlog.processors.JSONRenderer()]
        )
        log.info("step.left", why=f"could not erase {value}")
    return path.read_bytes()
