"""Every MUST of app.lake.ports for objects, on S3 and on a folder."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.errors import (
    LakeError,
    ObjectConflictError,
    ObjectMissingError,
    PreconditionFailedError,
    PurgeRefusedError,
)
from app.lake.ports import Upload, Version
from tests.places import Place

MARKS = {"run": "run_1", "digest": "d"}
SECRET = "usr_01JAAAAAAAAAAAAAAAAAAAAAAA"


def current(place: Place, uri: str) -> Version:
    return next(v for v in place.reader.versions(uri) if v.uri == uri and v.is_latest)


def replaced(place: Place, uri: str, body: bytes) -> str:
    base = current(place, uri)
    like = place.reader.info(uri, version_id=base.version_id)
    return place.eraser.put(
        uri, io.BytesIO(body), if_match=base.etag, like=like, marks=MARKS, retain=True
    )


def read(place: Place, uri: str, version_id: str) -> bytes:
    with place.reader.open(uri, version_id=version_id) as stream:
        return stream.read()


def test_a_version_reads_back_and_says_what_it_is(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    version = place.loader.load(uri, b"one\ntwo\n")
    with place.reader.open(uri, version_id=version) as stream:
        assert (stream.read(3), stream.read(100), stream.read(100)) == (b"one", b"\ntwo\n", b"")
        info = stream.info
    assert info == place.reader.info(uri, version_id=version)
    listed = current(place, uri)
    assert (listed.version_id, listed.size, listed.is_marker) == (version, 8, False)
    assert (info.version_id, info.etag, info.size) == (version, listed.etag, 8)
    assert abs(info.modified - listed.modified) < timedelta(seconds=1)
    assert info.modified.tzinfo is UTC
    assert abs(info.modified - place.reader.now()) < timedelta(seconds=5)


def test_an_empty_object_is_an_object(place: Place) -> None:
    uri = place.root + "raw/empty.ndjson"
    version = place.loader.load(uri, b"")
    assert read(place, uri, version) == b""
    assert current(place, uri).size == 0


def test_the_clock_is_utc_and_now(place: Place) -> None:
    now = place.reader.now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=3)


def test_versions_come_key_by_key_newest_first_and_siblings_are_told_apart(place: Place) -> None:
    for name in ("evt-1.ndjson.gz", "evt-2.ndjson", "evt-1.ndjson", "sub/evt-1.ndjson"):
        place.loader.load(place.root + "raw/" + name, b"1\n")
    uri = place.root + "raw/evt-1.ndjson"
    ids = [current(place, uri).version_id]
    ids += [replaced(place, uri, body) for body in (b"22\n", b"333\n")]

    everything = list(place.reader.versions(place.root + "raw/"))
    keys = [v.uri for v in everything]
    assert sorted(set(keys)) == list(dict.fromkeys(keys))
    assert len(keys) == 6
    mine = [v for v in everything if v.uri == uri]
    assert [v.version_id for v in mine] == ids[::-1]
    assert [v.is_latest for v in mine] == [True, False, False]
    assert [v.size for v in mine] == [4, 3, 2]
    assert {v.uri for v in place.reader.versions(uri)} == {uri, uri + ".gz"}
    assert list(place.reader.versions(place.root + "nothing/")) == []


def test_every_older_version_still_reads(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    first = place.loader.load(uri, b"one\n")
    second = replaced(place, uri, b"two\n")
    third = replaced(place, uri, b"one\n")
    assert [read(place, uri, v) for v in (first, second, third)] == [b"one\n", b"two\n", b"one\n"]
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    "name",
    ["a b", "a+b", "a%20b", "%", "é/日本.ndjson", "x&y=z", "q?r#s", "~!*'()", "..x", "'\"<&>"],
)
def test_odd_names_are_taken_as_they_stand(place: Place, name: str) -> None:
    uri = place.root + "raw/" + name
    version = place.loader.load(uri, b"x\n")
    [listed] = place.reader.versions(place.root + "raw/")
    assert (listed.uri, listed.version_id) == (uri, version)
    new = replaced(place, listed.uri, b"y\n")
    assert read(place, uri, new) == b"y\n"
    purger = place.purger()
    purger.allow([(uri, version)])
    purger.purge(uri, version_id=version)
    assert [v.version_id for v in place.reader.versions(uri)] == [new]


@pytest.mark.parametrize("made_up", ["0" * 32, "1-2-3", "null", "../../x"])
def test_a_version_that_is_not_there_is_missing_and_no_error_names_the_key(
    place: Place, made_up: str
) -> None:
    uri = place.root + f"raw/{SECRET}.ndjson"
    place.loader.load(uri, b"one\n")
    for look in (
        lambda: place.reader.info(uri, version_id=made_up),
        lambda: read(place, uri, made_up),
        lambda: place.reader.info(uri + "x", version_id=made_up),
    ):
        with pytest.raises(LakeError) as caught:
            look()
        assert isinstance(caught.value, ObjectMissingError) or made_up == "../../x"
        assert SECRET not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_put_over_a_changed_object_is_refused_and_writes_nothing(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    first = place.loader.load(uri, b"one\n")
    base = current(place, uri)
    like = place.reader.info(uri, version_id=first)
    second = replaced(place, uri, b"two\n")
    with pytest.raises(PreconditionFailedError):
        place.eraser.put(
            uri, io.BytesIO(b"3"), if_match=base.etag, like=like, marks=MARKS, retain=False
        )
    assert [v.version_id for v in place.reader.versions(uri)] == [second, first]


def test_a_put_where_nothing_is_any_more_is_refused(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    version = place.loader.load(uri, b"one\n")
    base = current(place, uri)
    like = place.reader.info(uri, version_id=version)
    purger = place.purger()
    purger.allow([(uri, version)])
    purger.purge(uri, version_id=version)
    with pytest.raises(PreconditionFailedError):
        place.eraser.put(
            uri, io.BytesIO(b"2"), if_match=base.etag, like=like, marks=MARKS, retain=False
        )
    assert list(place.reader.versions(uri)) == []


def test_of_eight_writers_at_once_one_wins(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    version = place.loader.load(uri, b"base\n")
    base = current(place, uri)
    like = place.reader.info(uri, version_id=version)

    def write(number: int) -> str | None:
        body = io.BytesIO(str(number).encode())
        try:
            return place.eraser.put(
                uri, body, if_match=base.etag, like=like, marks=MARKS, retain=False
            )
        except (PreconditionFailedError, ObjectConflictError):
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [v for v in pool.map(write, range(8)) if v is not None]
    assert [v.version_id for v in place.reader.versions(uri)] == [*won, version]
    assert len(won) == 1


def test_the_body_is_read_from_its_start(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    version = place.loader.load(uri, b"one\n")
    like = place.reader.info(uri, version_id=version)
    body = io.BytesIO(b"whole\n")
    body.seek(3)
    new = place.eraser.put(uri, body, if_match=like.etag, like=like, marks=MARKS, retain=False)
    assert read(place, uri, new) == b"whole\n"


def test_an_earlier_write_is_found_again_and_a_strangers_is_not(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    place.loader.load(uri, b"one\n")
    place.loader.load(uri + ".gz", b"two\n")
    sha256 = hashlib.sha256(b"two\n").hexdigest()
    assert place.eraser.find_written(uri, marks=MARKS, sha256=sha256) is None
    new = replaced(place, uri, b"two\n")
    assert place.eraser.find_written(uri, marks=MARKS, sha256=sha256) == new
    assert place.eraser.find_written(uri + ".none", marks=MARKS, sha256=sha256) is None
    place.loader.load(uri, b"three\n")
    found = place.eraser.find_written(uri, marks=MARKS, sha256=sha256)
    assert found == (new if place.kind == "s3" else None)


def test_a_place_that_keeps_old_bytes_is_versioned(place: Place) -> None:
    place.loader.ensure_bucket(place.root, object_lock=place.kind == "s3")
    place.loader.load(place.root + "raw/a", b"")
    place.reader.require_versioned(place.root + "raw/")
    assert list(place.reader.uploads(place.root)) == []


def test_releasing_where_there_is_no_retention_changes_nothing(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    version = place.loader.load(uri, b"one\n")
    before = place.reader.info(uri, version_id=version)
    place.eraser.release_retention(uri, version_id=version)
    assert place.reader.info(uri, version_id=version) == before
    with pytest.raises(ObjectMissingError):
        place.eraser.release_retention(uri, version_id="0-0-0")


# --- the door that destroys -------------------------------------------------------------------


def test_a_purge_takes_exactly_the_named_version_and_twice_is_the_same(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    ids = [place.loader.load(uri, b"one\n")]
    ids += [replaced(place, uri, body) for body in (b"two\n", b"three\n")]
    purger = place.purger()
    purger.allow([(uri, ids[1])])
    for _ in range(2):
        purger.purge(uri, version_id=ids[1])
        assert [v.version_id for v in place.reader.versions(uri)] == [ids[2], ids[0]]
    with pytest.raises(ObjectMissingError):
        read(place, uri, ids[1])
    assert read(place, uri, ids[0]) == b"one\n"


def test_a_purge_of_the_current_version_leaves_older_ones(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    first = place.loader.load(uri, b"one\n")
    second = replaced(place, uri, b"two\n")
    purger = place.purger()
    purger.allow([(uri, second)])
    purger.purge(uri, version_id=second)
    assert [v.version_id for v in place.reader.versions(uri)] == [first]


def refusals(place: Place) -> dict[str, Callable[[str, str], None]]:
    def listed(uri: str, version: str) -> None:
        place.purger().purge(uri, version_id=version)

    def other_version(uri: str, version: str) -> None:
        purger = place.purger()
        purger.allow([(uri, version + "0"), (uri + "0", version)])
        purger.purge(uri, version_id=version)

    def outside(uri: str, version: str) -> None:
        purger = place.purger(place.root + "silver/", place.root + "ra")
        purger.allow([(uri, version)])
        purger.purge(uri, version_id=version)

    def no_version(uri: str, version: str) -> None:
        purger = place.purger()
        purger.allow([(uri, "")])
        purger.purge(uri, version_id="")

    def foreign_upload(uri: str, version: str) -> None:
        upload = Upload(uri=uri, upload_id="u", initiated=place.reader.now())
        place.purger(place.root + "silver/").abort(upload)

    return {f.__name__: f for f in (listed, other_version, outside, no_version, foreign_upload)}


@pytest.mark.parametrize(
    "what", ["listed", "other_version", "outside", "no_version", "foreign_upload"]
)
def test_what_was_not_allowed_is_not_destroyed(place: Place, what: str) -> None:
    uri = place.root + f"raw/{SECRET}.ndjson"
    version = place.loader.load(uri, b"one\n")
    with pytest.raises(PurgeRefusedError) as caught:
        refusals(place)[what](uri, version)
    assert SECRET not in str(caught.value)
    assert read(place, uri, version) == b"one\n"


def test_ending_an_upload_that_is_gone_is_a_success(place: Place) -> None:
    uri = place.root + "raw/a.ndjson"
    place.loader.load(uri, b"one\n")
    place.purger().abort(Upload(uri, "0123456789abcdef.a.ndjson", place.reader.now()))
    assert len(list(place.reader.versions(uri))) == 1
