"""A small clean lake, and needles planted in it: each a person of its own, in its own place."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from app.domain.datasets import DataMap, Dataset, DownstreamNone, Layer, Roles, SharedPolicy
from app.domain.identifiers import Kind, Targets
from app.lake.verify import Verified, find_person
from tests.places import Place
from tests.verify.material import event, identity, raw_dataset, user

TABLE = "lake.events"
EVENTS = Dataset(
    "events", Layer.SILVER, table=TABLE,
    roles=Roles(owner=("user_id",), linked=((Kind.ANON_ID, ("anon_id",)),)),
)  # fmt: skip
SCHEMA = pa.schema(
    [
        ("event_dt", pa.string()),
        ("user_id", pa.string()),
        ("anon_id", pa.string()),
        ("page", pa.struct([("path", pa.string())])),
        ("items", pa.list_(pa.struct([("by", pa.string())]))),
        ("tags", pa.map_(pa.string(), pa.string())),
        ("payload", pa.string()),
    ]
)
ROW: dict[str, Any] = {
    "event_dt": "2026-10-01", "user_id": user(7), "anon_id": "a_x", "page": {"path": "/"},
    "items": None, "tags": [], "payload": "{}",
}  # fmt: skip


def data_map(place: Place, **changes: Any) -> DataMap:
    return DataMap(
        catalog=place.catalog, endpoint=None, shared=SharedPolicy(), links=None, unparsable="park",
        datasets=(raw_dataset(place.root, **changes), EVENTS), tags="fail",
        reader_grace=timedelta(0), undo_window=timedelta(0),
        downstream=DownstreamNone("nobody", "2026-01-01"), digest="",
    )  # fmt: skip


def found(place: Place, targets: Targets, **changes: Any) -> Verified:
    return find_person(
        data_map(place, **changes),
        targets=targets,
        store=place.verifier,
        metadata_location=lambda table: place.engine.head(table).metadata_location,
        progress=lambda _dataset, _done, _of: None,
    )


def rows(*changed: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{**ROW, **row} for row in changed], schema=SCHEMA)


def make_clean_lake(place: Place) -> None:
    raw = f"{place.root}raw/event_dt=2026-10-01/00/"
    place.loader.load(f"{raw}evt-1.ndjson", event(7) + event(8))
    place.loader.load(f"{raw}evt-2.ndjson.gz", gzip.compress(event(7)) + gzip.compress(event(8)))
    place.loader.load(f"{raw}evt-3.ndjson.zst", zstandard.compress(event(7)))
    properties = {"write.metadata.metrics.default": "truncate(16)"}
    place.engine.create_table(TABLE, SCHEMA, partition_by="event_dt", properties=properties)
    place.engine.append(TABLE, rows({}, {"user_id": user(8)}))
    place.engine.append(TABLE, rows({"user_id": user(9)}))


@dataclass
class Planting:
    """Plants one needle for each person; person n is `user(n)`, from 100 on."""

    place: Place
    names: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """What the place of the finding must say."""

    @property
    def targets(self) -> Targets:
        return Targets.of(
            identity(name, users=[user(100 + n)]) for n, name in enumerate(self.names)
        )

    @property
    def raw(self) -> str:
        return f"{self.place.root}raw/event_dt=2026-10-01/01/"

    @property
    def location(self) -> str:
        location = self.place.engine.head(TABLE).location
        return location if "://" in location else f"file://{location}"

    def new(self, name: str, expected: str) -> tuple[int, str]:
        """The next person, who must be found in a place that says `expected`, and nowhere else."""
        number = 100 + len(self.names)
        self.names.append(name)
        self.expected.append(expected)
        return number, user(number)

    def line(self, name: str, make: Callable[[int], bytes], *, at: str, suffix: str = "") -> None:
        number, _ = self.new(name, at)
        uri = f"{self.raw}n-{number}.ndjson{suffix}"
        self.place.loader.load(uri, make(number))

    def in_lines(self) -> None:
        """Needles that any loader could write."""
        self.line("current version", lambda n: event(7) + event(n), at="user.user_id")
        self.line("CRLF", lambda n: event(n).replace(b"\n", b"\r\n"), at="user.user_id")
        self.line("byte order mark", lambda n: b"\xef\xbb\xbf" + event(n), at="user.user_id")
        self.line("no last newline", lambda n: event(n)[:-1], at="user.user_id")
        self.line("escaped", escaped, at="user.user_id")
        self.line("percent-encoded", percent_encoded, at="page.path")
        self.line("JSON in a text", json_in_a_text, at="payload.note")
        self.line(
            "object key of JSON", lambda n: event(7, inside={user(n): 1}), at="payload.inside.*"
        )
        self.line("key that stands twice", twice, at="user.user_id")
        self.line("deep inside", deep, at="object")
        packed = gzip.compress(event(7))
        members = lambda n: packed + gzip.compress(event(n))  # noqa: E731  a line a needle
        self.line("second gzip member", members, at="user.user_id", suffix=".gz")
        framed = zstandard.compress(event(7))
        frames = lambda n: framed + zstandard.compress(event(n))  # noqa: E731  a line a needle
        self.line("second zstd frame", frames, at="user.user_id", suffix=".zst")
        self.line("wrong suffix", lambda n: gzip.compress(event(n)), at="user.user_id")
        _, value = self.new("object key", "object key")
        self.place.loader.load(f"{self.raw}{value}.ndjson", event(7))
        number, value = self.new("beside the declared places", "text")
        copy = f"{self.place.root}tmp/copy-{number}.csv"
        self.place.loader.load(copy, f"1;{value};2\n".encode())

    def parquet(self, name: str, table: pa.Table, *, folder: str = "data", **options: Any) -> None:
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        uri = f"{self.location}/{folder}/{len(self.names):03d}-{name.replace(' ', '-')}.parquet"
        self.place.loader.load(uri, sink.getvalue())

    def in_parquet(self) -> None:
        """Needles in files: rows, and what stands beside them."""
        _, value = self.new("row of the table", "column user_id")
        self.place.engine.append(TABLE, rows({}, {"user_id": value}))
        _, value = self.new("orphan file", "column page.path")
        self.parquet("orphan", rows({"page": {"path": f"/p/{value}"}}))
        _, value = self.new("list of structs", "column items.by")
        self.parquet("list", rows({"items": [None, {"by": value}]}))
        _, value = self.new("key of a map", "column tags")
        self.parquet("map", rows({"tags": [(value, None)]}))
        _, value = self.new("JSON column", "column payload.by")
        self.parquet("json", rows({"payload": json.dumps({"by": value}).replace("u", "\\u0075")}))
        _, value = self.new("dictionary page", "dictionary")
        known = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), pa.array(["x", value]))
        self.parquet("dictionary", pa.table({"event_dt": known}))
        _, value = self.new("key-value metadata", "key-value metadata")
        self.parquet("metadata", pa.table({"n": [1]}).replace_schema_metadata({"by": value}))
        _, value = self.new("column name", "footer")
        self.parquet("name", pa.table({value: [1]}))

    def avro(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """A copy of a manifest, of nobody, changed: an orphan beside the real ones."""
        head = self.place.engine.head(TABLE)
        reach = self.place.engine.reach(TABLE).by_snapshot[head.snapshot_id or 0]
        for path in sorted(p for p in reach if p.endswith(".avro") and "/snap-" not in p):
            with self.place.engine.open(path) as stream:
                reader = fastavro.reader(stream)
                records = [r for r in reader if isinstance(r, dict)]
                schema, header = reader.writer_schema, reader.metadata
            if records and "data_file" in records[0]:
                break
        assert schema is not None
        records[0]["data_file"].update(lower_bounds=[], upper_bounds=[])
        change(records[0])
        sink = io.BytesIO()
        said = {k: v for k, v in header.items() if not k.startswith("avro.")}
        fastavro.writer(sink, schema, records[:1], codec="deflate", metadata=said)
        uri = f"{self.location}/metadata/{len(self.names):03d}-{name}.avro"
        self.place.loader.load(uri, sink.getvalue())

    def in_metadata(self) -> None:
        """Needles in what Iceberg writes about a table."""

        def bound(key: str, raw: bytes, *, status: int = 1) -> Callable[[dict[str, Any]], None]:
            def change(record: dict[str, Any]) -> None:
                record["status"] = status
                record["data_file"][key] = [{"key": 2, "value": raw}]

            return change

        _, value = self.new("whole bound", "manifest bound, live entry")
        self.avro("whole", bound("lower_bounds", value.encode()))
        _, value = self.new("bound of a DELETED entry", "manifest bound, DELETED entry")
        self.avro("deleted", bound("upper_bounds", value.encode(), status=2))
        _, value = self.new("path of a data file", "manifest file_path, live entry")
        self.avro(
            "path", lambda r: r["data_file"].update(file_path=f"/x/user_id={value}/a.parquet")
        )
        _, value = self.new("partition value", "manifest partition, live entry")
        self.avro("partition", lambda r: r["data_file"].update(partition={"event_dt": value}))
        _, value = self.new("snapshot summary", "text")
        said = {
            "snapshots": [{"summary": {"operation": "delete", "filter": f"user_id = '{value}'"}}]
        }
        self.metadata("summary.metadata.json", json.dumps(said).encode())
        _, value = self.new("old metadata.json", "text")
        owned = {"properties": {"owner": value}}
        self.metadata("old.metadata.json", gzip.compress(json.dumps(owned, indent=1).encode()))
        _, value = self.new("statistics blob", "Puffin blob")
        self.metadata("blob.stats", puffin(zstandard.compress(value.encode()), codec="zstd"))
        _, value = self.new("statistics footer", "Puffin footer")
        self.metadata("footer.stats", puffin(b"x", properties={"by": value}))

    def in_versions(self, admin: Any) -> None:
        """Needles that only a versioned bucket hides. `admin`: a client that may do anything."""
        load = self.place.loader.load
        number, _ = self.new("old version", "old version, user.user_id")
        for body in (event(number), event(7)):
            load(f"{self.raw}old.ndjson", body)
        number, _ = self.new("under a delete marker", "old version, user.user_id")
        load(f"{self.raw}marked.ndjson", event(number))
        admin.delete_object(**where(f"{self.raw}marked.ndjson"))
        _, value = self.new("name of a delete marker", "delete marker, object key")
        admin.delete_object(**where(f"{self.raw}{value}.ndjson"))
        _, value = self.new("open upload", "open upload, object key")
        admin.create_multipart_upload(**where(f"{self.raw}{value}.ndjson"))
        _, value = self.new("object metadata", "metadata")
        admin.put_object(**where(f"{self.raw}m.ndjson"), Body=event(7), Metadata={"by": value})
        _, value = self.new("tag", "tag")
        admin.put_object(**where(f"{self.raw}t.ndjson"), Body=event(7), Tagging=f"by={value}")
        _, value = self.new("old version of a table's file", "old version, text")
        for body in (value.encode(), b"{}"):
            load(f"{self.location}/metadata/v.json", body)

    def metadata(self, name: str, body: bytes) -> None:
        self.place.loader.load(f"{self.location}/metadata/{len(self.names):03d}-{name}", body)


def where(uri: str) -> dict[str, str]:
    """Bucket and key, as a client names them."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def escaped(number: int) -> bytes:
    return event(number).replace(b"usr_", b"\\u0075s\\u0072_")


def percent_encoded(number: int) -> bytes:
    return event(7, path="/p/" + user(number).replace("_", "%5f") + "?a")


def json_in_a_text(number: int) -> bytes:
    return event(7, note=json.dumps({"by": [user(number)]}))


def twice(number: int) -> bytes:
    first = f'"user_id":"{user(number)}","user_id":'.encode()
    return event(7).replace(b'"user_id":', first)


def deep(number: int) -> bytes:
    return b'{"a":' * 3000 + b"[" * 3000 + event(number)[:-1] + b"]" * 3000 + b"}" * 3000 + b"\n"


def puffin(blob: bytes, *, codec: str | None = None, properties: Any = None) -> bytes:
    said = {"type": "x", "fields": [2], "offset": 4, "length": len(blob)}
    if codec:
        said["compression-codec"] = codec
    footer = json.dumps({"blobs": [{**said, "properties": properties or {}}]}).encode()
    size = len(footer).to_bytes(4, "little")
    return b"PFA1" + blob + b"PFA1" + footer + size + b"\0\0\0\0" + b"PFA1"
