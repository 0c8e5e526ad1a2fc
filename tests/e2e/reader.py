"""An independent reader of a lake and of all that stands around it: where do these values stand?

It imports nothing of the product, so that one mistake cannot hide in both. Reads only.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import boto3
import psycopg

from tests.e2e.decoding import parts_of

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|([\"\\/]))")
_NAME = rb"[A-Za-z0-9_-]"
_CODED = rb"(?:\\u00|%)(?:2[dD]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA]|5[fF])"
"""The same characters encoded: a name goes on with them as well."""
_BOUND = 16
"""Characters that Iceberg keeps of a text in a bound."""


@dataclass(frozen=True)
class Held:
    """A value that stands somewhere. `place` is for a failing test's message only."""

    source: str
    """object | metadata | tags | key | upload | catalog | file"""
    place: str
    part: str
    value: str


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket, opened with a key that may read everything."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    name: str

    @cached_property
    def client(self) -> Any:
        """Of this bucket's reader; whoever asked for it closes it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )


class Searcher:
    """Looks for values in bytes: as they are, percent-decoded, JSON-unescaped, and both."""

    def __init__(self, values: Iterable[str]) -> None:
        self.values = sorted(set(values), key=len, reverse=True)
        encoded = b"|".join(re.escape(v.encode("utf-8", "surrogatepass")) for v in self.values)
        self._whole = re.compile(
            b"(?<!" + _NAME + b")(?:" + encoded + b")(?!" + _NAME + b"|" + _CODED + b")"
        )
        self._bounds = {bound: value for value in self.values for bound in _bounds(value)}

    def found(self, data: bytes, *, part: str = "") -> set[str]:
        """The values that stand in the bytes."""
        found: set[str] = set()
        for view in _views(data):
            found.update(m.group().decode("utf-8", "replace") for m in self._whole.finditer(view))
        if part == "bound" and data in self._bounds:
            found.add(self._bounds[data])
        return found


def _bounds(value: str) -> Iterator[bytes]:
    """A long value cut to a bound, and that counted up by one."""
    if len(value) > _BOUND:
        cut = value[:_BOUND]
        yield cut.encode()
        yield (cut[:-1] + chr(ord(cut[-1]) + 1)).encode()


def _views(data: bytes) -> Iterator[bytes]:
    yield data
    unescaped = _ESCAPE.sub(_unescaped, data) if b"\\" in data else data
    if unescaped != data:
        yield unescaped
    for view in {data, unescaped}:
        if b"%" in view:
            yield unquote_to_bytes(view)


def _unescaped(match: re.Match[bytes]) -> bytes:
    digits, plain = match.groups()
    return plain or chr(int(digits, 16)).encode("utf-8", "surrogatepass")


def _in_bytes(searcher: Searcher, data: bytes, *, source: str, place: str) -> Iterator[Held]:
    for part, content in parts_of(data):
        for value in sorted(searcher.found(content, part=part)):
            yield Held(source, place, part, value)


def _in_text(searcher: Searcher, text: str, *, source: str, place: str) -> Iterator[Held]:
    for value in sorted(searcher.found(text.encode("utf-8", "surrogatepass"))):
        yield Held(source, place, "text", value)


# --- a bucket ----------------------------------------------------------------------------------


def in_bucket(bucket: Bucket, values: Iterable[str]) -> list[Held]:
    """Every version, marker, open upload, with keys, metadata and tags."""
    searcher, client, name = Searcher(values), bucket.client, bucket.name
    found: list[Held] = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=name):
        for entry in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
            found += _in_text(searcher, entry["Key"], source="key", place=entry["Key"])
        for version in page.get("Versions", []):
            which = {"Bucket": name, "Key": version["Key"], "VersionId": version["VersionId"]}
            found += _in_version(searcher, client, which)
    for upload in client.list_multipart_uploads(Bucket=name).get("Uploads", []):
        found += _in_text(searcher, upload["Key"], source="upload", place=upload["Key"])
    return found


def _in_version(searcher: Searcher, client: Any, which: dict[str, str]) -> Iterator[Held]:
    place = f"{which['Key']} {which['VersionId']}"
    answer = client.get_object(**which)
    yield from _in_bytes(searcher, answer["Body"].read(), source="object", place=place)
    yield from _in_text(searcher, str(answer["Metadata"]), source="metadata", place=place)
    if answer.get("TagCount"):
        tags = client.get_object_tagging(**which)["TagSet"]
        yield from _in_text(searcher, str(tags), source="tags", place=place)


# --- folders and databases -----------------------------------------------------------------------


def in_folder(folder: Path, values: Iterable[str]) -> list[Held]:
    """Every file below, with its name and extended attributes."""
    searcher = Searcher(values)
    found: list[Held] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        found += _in_text(searcher, name, source="key", place=name)
        found += _in_bytes(searcher, path.read_bytes(), source="file", place=name)
        attributes = {a: os.getxattr(path, a) for a in os.listxattr(path)}
        found += _in_text(searcher, str(attributes), source="metadata", place=name)
    return found


def in_postgres(url: str, values: Iterable[str]) -> list[Held]:
    """Every row of every table that the URL's schemas hold."""
    searcher = Searcher(values)
    found: list[Held] = []
    with psycopg.connect(url.replace("+psycopg", "", 1)) as link:
        tables = link.execute(
            "select format('%I.%I', schemaname, tablename) from pg_tables "
            "where schemaname = any(current_schemas(false))"
        ).fetchall()
        for (table,) in tables:
            for (row,) in link.execute(f"select t::text from {table} t"):
                found += _in_text(searcher, row, source="catalog", place=table)
    return found


def in_sqlite(path: Path, values: Iterable[str]) -> list[Held]:
    """Every row of every table, and the file's own bytes with its free pages."""
    searcher = Searcher(values)
    found: list[Held] = []
    link = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        names = link.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in names:
            for row in link.execute(f'select * from "{table}"'):
                found += _in_text(searcher, str(row), source="catalog", place=table)
    finally:
        link.close()
    found += _in_bytes(searcher, path.read_bytes(), source="catalog", place=path.name)
    return found
