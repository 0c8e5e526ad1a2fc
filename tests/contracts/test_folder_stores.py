"""What only a folder has: names, links, modes, a disk that fills up, and versions we keep."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.errors import (
    DiskFullError,
    LakeError,
    PreconditionFailedError,
    PurgeRefusedError,
    UnreachableError,
)
from app.lake.local import LocalLoader, LocalPurger, LocalStore
from app.lake.ports import Upload
from tests.places import Place

SECRET = "usr_01JAAAAAAAAAAAAAAAAAAAAAAA"


def folder_of(place: Place) -> Path:
    return Path(place.root.removeprefix("file://"))


def put(place: Place, uri: str, body: bytes) -> str:
    base = next(v for v in place.reader.versions(uri) if v.uri == uri)
    like = place.reader.info(uri, version_id=base.version_id)
    return place.eraser.put(
        uri, io.BytesIO(body), if_match=base.etag, like=like, marks={}, retain=False
    )


def purge(place: Place, uri: str, version: str) -> None:
    purger = place.purger()
    purger.allow([(uri, version)])
    purger.purge(uri, version_id=version)


def tree(place: Place) -> list[str]:
    root = folder_of(place)
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_superseded_bytes_lie_beside_and_are_not_data_of_their_own(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    first = place_file.loader.load(uri, b"one\n")
    second = put(place_file, uri, b"two\n")
    assert tree(place_file) == [f"raw/.clearlake/superseded/a.ndjson/{first}", "raw/a.ndjson"]
    assert [v.uri for v in place_file.reader.versions(place_file.root)] == [uri, uri]
    with pytest.raises(LakeError):
        list(place_file.reader.versions(place_file.root + "raw/.clearlake/superseded/"))
    purge(place_file, uri, first)
    assert tree(place_file) == ["raw/a.ndjson"]
    assert sorted(os.listdir(folder_of(place_file) / "raw")) == ["a.ndjson"]
    assert put(place_file, uri, b"three\n") != second


def test_a_key_whose_file_was_deleted_still_shows_its_older_versions(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    first = place_file.loader.load(uri, b"one\n")
    put(place_file, uri, b"two\n")
    (folder_of(place_file) / "raw/a.ndjson").unlink()
    [left] = place_file.reader.versions(place_file.root)
    assert (left.uri, left.version_id, left.is_latest) == (uri, first, False)
    purge(place_file, uri, first)
    assert list(place_file.reader.versions(place_file.root)) == []


def test_order_is_that_of_superseding_whatever_the_files_dates_say(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    path = folder_of(place_file) / "raw/a.ndjson"
    ids: list[str] = []
    for age in (100, 900, 500):
        place_file.loader.load(uri, b"0") if not ids else put(place_file, uri, b"%d" % age)
        os.utime(path, (1e9 - age, 1e9 - age))
        ids.append(next(place_file.reader.versions(uri)).version_id)
    assert [v.version_id for v in place_file.reader.versions(uri)] == ids[::-1]


def test_mode_owner_and_attributes_are_kept(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    place_file.loader.load(uri, b"one\n")
    path = folder_of(place_file) / "raw/a.ndjson"
    path.chmod(0o440)
    os.setxattr(path, "user.source", b"web")
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    before = path.stat()
    put(place_file, uri, b"two\n")
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    assert os.getxattr(path, "user.source") == b"web"
    assert path.read_bytes() == b"two\n"


def test_a_link_out_of_the_lake_is_named_never_followed(place_file: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{SECRET}.ndjson").write_bytes(b"one\n")
    raw = folder_of(place_file) / "raw"
    raw.mkdir()
    (raw / "linked").symlink_to(outside)
    with pytest.raises(LakeError) as caught:
        list(place_file.reader.versions(place_file.root))
    with pytest.raises(LakeError):
        list(place_file.reader.versions(place_file.root + "raw/linked/"))
    with pytest.raises(LakeError):
        place_file.reader.info(place_file.root + f"raw/linked/{SECRET}.ndjson", version_id="1-1-1")
    with pytest.raises(LakeError):
        place_file.reader.info(place_file.root + f"../outside/{SECRET}.ndjson", version_id="1-1-1")
    assert SECRET not in str(caught.value)


def test_a_link_inside_the_lake_is_no_second_object(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    place_file.loader.load(uri, b"one\n")
    raw = folder_of(place_file) / "raw"
    (raw / "b.ndjson").symlink_to(raw / "a.ndjson")
    (raw / "again").symlink_to(raw)
    (raw / "nowhere").symlink_to(raw / "gone")
    assert [v.uri for v in place_file.reader.versions(place_file.root)] == [uri]
    with pytest.raises(PreconditionFailedError):
        place_file.eraser.put(
            place_file.root + "raw/b.ndjson",
            io.BytesIO(b"2"),
            if_match="1-1-1",
            like=place_file.reader.info(uri, version_id=next(iter_ids(place_file))),
            marks={},
            retain=False,
        )
    assert (raw / "b.ndjson").is_symlink()


def iter_ids(place: Place) -> Iterator[str]:
    return (v.version_id for v in place.reader.versions(place.root))


def test_a_lake_in_a_folder_called_like_ours_works(tmp_path: Path) -> None:
    root = f"file://{tmp_path}/.clearlake/lake/"
    uri = root + "raw/a.ndjson"
    version = LocalLoader().load(uri, b"one\n")
    store, purger = LocalStore([root]), LocalPurger([root])
    like = store.info(uri, version_id=version)
    new = store.put(uri, io.BytesIO(b"2"), if_match=version, like=like, marks={}, retain=False)
    purger.allow([(uri, version), (uri, new)])
    purger.purge(uri, version_id=version)
    purger.purge(uri, version_id=new)
    assert list((tmp_path / ".clearlake/lake/raw").iterdir()) == []


def test_a_lake_whose_root_is_a_link_works(place_file: Place, tmp_path: Path) -> None:
    place_file.loader.load(place_file.root + "raw/a.ndjson", b"one\n")
    (tmp_path / "door").symlink_to(folder_of(place_file))
    root = f"file://{tmp_path}/door/"
    [listed] = LocalStore([root]).versions(root + "raw/")
    assert listed.uri == root + "raw/a.ndjson"
    with LocalStore([root]).open(listed.uri, version_id=listed.version_id) as stream:
        assert stream.read() == b"one\n"


# --- a disk, and rights -----------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size`: what a full disk looks like to a writer."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_and_changes_nothing(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    first = place_file.loader.load(uri, b"one\n")
    with room_for(4096), pytest.raises(DiskFullError):
        put(place_file, uri, b"x" * 100_000)
    with room_for(4096), pytest.raises(DiskFullError):
        place_file.loader.load(uri, b"x" * 100_000)
    assert tree(place_file) == ["raw/a.ndjson"]
    assert [v.version_id for v in place_file.reader.versions(uri)] == [first]
    assert not (folder_of(place_file) / "raw/.clearlake").exists()


AS_NOBODY = """
import io, os, sys
from app.domain.errors import AccessDeniedError
from app.lake.local import LocalLoader, LocalPurger, LocalStore
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
root, uri = sys.argv[1:]
store = LocalStore([root])
[version] = store.versions(uri)
like = store.info(uri, version_id=version.version_id)
purger = LocalPurger([root])
purger.allow([(uri, version.version_id)])
def put():
    body = io.BytesIO(b'2')
    store.put(uri, body, if_match=version.etag, like=like, marks={}, retain=False)
def load(): LocalLoader().load(uri, b'2')
def purge(): purger.purge(uri, version_id=version.version_id)
def list_closed(): list(store.versions(root + 'closed/'))
for act in (put, load, purge, list_closed):
    try:
        act()
    except AccessDeniedError as err:
        assert 'usr_' not in str(err)
        print(act.__name__)
"""


def test_a_missing_right_is_said_so(place_file: Place) -> None:
    uri = place_file.root + f"raw/{SECRET}.ndjson"
    place_file.loader.load(uri, b"one\n")
    closed = folder_of(place_file) / "closed"
    closed.mkdir(mode=0o000)
    raw = folder_of(place_file) / "raw"
    raw.chmod(0o555)
    for parent in [*folder_of(place_file).parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, place_file.root, uri],
        capture_output=True,
        text=True,
        check=False,
    )
    raw.chmod(0o755)
    closed.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == (["put", "load", "purge", "list_closed"], "")
    assert (raw / f"{SECRET}.ndjson").read_bytes() == b"one\n"


def test_a_file_that_changes_while_it_is_read_is_not_taken_for_whole(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    version = place_file.loader.load(uri, b"12345678")
    path = folder_of(place_file) / "raw/a.ndjson"
    with place_file.reader.open(uri, version_id=version) as stream:
        assert stream.read(4) == b"1234"
        os.truncate(path, 6)
        with pytest.raises(UnreachableError):
            stream.read()
    version = next(place_file.reader.versions(uri)).version_id
    with place_file.reader.open(uri, version_id=version) as stream:
        with path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(UnreachableError):
            stream.read()


# --- killed half-way --------------------------------------------------------------------------

PUT = """
import io, sys
from app.lake.local import LocalStore
root, uri, body = sys.argv[1:]
store = LocalStore([root])
version = next(store.versions(uri))
like = store.info(uri, version_id=version.version_id)
store.put(uri, io.BytesIO(body.encode()), if_match=version.etag, like=like, marks={}, retain=False)
"""


@pytest.mark.parametrize(
    "at", ["before_put", "before_link", "before_rename", "after_rename", "after_put"]
)
def test_a_put_that_is_killed_leaves_old_or_new_and_no_double(place_file: Place, at: str) -> None:
    uri = place_file.root + "raw/a.ndjson"
    first = place_file.loader.load(uri, b"one\n")
    done = subprocess.run(
        [sys.executable, "-c", PUT, place_file.root, uri, "two\n"],
        env={**os.environ, "CLEARLAKE_FAILPOINTS": f"local.{at}=kill"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    listed = list(place_file.reader.versions(place_file.root))
    written = at in {"after_rename", "after_put"}
    assert [v.version_id for v in listed[written:]] == [first]
    assert [v.is_latest for v in listed] == [True, False][: len(listed)]
    assert len(listed) == 1 + written
    two = hashlib.sha256(b"two\n").hexdigest()
    adopted = place_file.eraser.find_written(uri, marks={}, sha256=two)
    assert adopted == (listed[0].version_id if written else None)

    new = adopted or put(place_file, uri, b"two\n")
    assert [v.version_id for v in place_file.reader.versions(place_file.root)] == [new, first]
    assert list(place_file.reader.uploads(place_file.root)) == []
    purge(place_file, uri, first)
    assert tree(place_file) == ["raw/a.ndjson"]


def test_bytes_of_a_killed_put_are_listed_and_can_be_ended(place_file: Place) -> None:
    uri = place_file.root + f"raw/{SECRET}.ndjson"
    place_file.loader.load(uri, b"one\n")
    subprocess.run(
        [sys.executable, "-c", PUT, place_file.root, uri, "two\n"],
        env={**os.environ, "CLEARLAKE_FAILPOINTS": "local.before_link=kill"},
        check=False,
    )
    [upload] = place_file.reader.uploads(place_file.root + "raw/")
    assert upload.uri == uri
    assert list(place_file.reader.uploads(place_file.root + "silver/")) == []
    purger = place_file.purger()
    with pytest.raises(PurgeRefusedError):
        purger.abort(Upload(uri, "../../" + upload.upload_id, upload.initiated))
    purger.abort(upload)
    purger.abort(upload)
    assert list(place_file.reader.uploads(place_file.root)) == []
    assert tree(place_file) == [f"raw/{SECRET}.ndjson"]


def test_a_writer_that_comes_between_wins(place_file: Place) -> None:
    uri = place_file.root + "raw/a.ndjson"
    path = folder_of(place_file) / "raw/a.ndjson"
    first = place_file.loader.load(uri, b"one\n")
    like = place_file.reader.info(uri, version_id=first)

    class Slow(io.BytesIO):
        """A body during whose writing somebody else replaces the file."""

        def read(self, size: int | None = -1, /) -> bytes:
            place_file.loader.load(uri, b"theirs\n")
            return super().read(size)

    with pytest.raises(PreconditionFailedError):
        place_file.eraser.put(
            uri, Slow(b"ours\n"), if_match=first, like=like, marks={}, retain=False
        )
    assert path.read_bytes() == b"theirs\n"
    assert tree(place_file) == ["raw/a.ndjson"]
    assert not (path.parent / ".clearlake").exists()
