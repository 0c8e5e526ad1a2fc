"""What only a bucket makes possible: versions, markers, locks, uploads, tags, and credentials that
see less than they should. The last are real stores behind blinkers, since one server's policies
cannot say all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import AccessDeniedError, UnreachableError
from app.lake.ports import COMPLIANCE, ObjectStream, Version
from tests.faults.sabotage import PERSON, Lab, Sabotage
from tests.faults.sabotage_objects import LINES
from tests.verify.material import event


@dataclass(frozen=True)
class Behind:
    """A real door, but for what a blinker says."""

    door: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.door, name)


@dataclass(frozen=True)
class Hiding(Behind):
    """Lists less."""

    hides: Callable[[str], bool]

    def versions(self, prefix: str) -> Iterator[Version]:
        return (v for v in self.door.versions(prefix) if not self.hides(v.uri))


@dataclass(frozen=True)
class Narrow(Behind):
    """May list below some prefix only."""

    prefix: str

    def versions(self, prefix: str) -> Iterator[Version]:
        if not prefix.startswith(self.prefix):
            raise AccessDeniedError("listing versions: a right is missing")
        return iter(self.door.versions(prefix))


@dataclass(frozen=True)
class Denied(Behind):
    """May not read one object."""

    uri: str

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[ObjectStream]:
        if uri == self.uri:
            raise AccessDeniedError("reading a version: a right is missing")
        with self.door.open(uri, version_id=version_id) as stream:
            yield stream


@dataclass(frozen=True)
class Short(Behind):
    """An answer that ends too early, as the port says it must."""

    uri: str

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[ObjectStream]:
        with self.door.open(uri, version_id=version_id) as stream:
            if uri == self.uri:
                raise UnreachableError("reading a version: a short body")
            yield stream


@dataclass(frozen=True)
class Behindhand(Behind):
    """A server whose clock is a day behind."""

    def now(self) -> datetime:
        told: datetime = self.door.now()
        return told - timedelta(days=1)


@dataclass(frozen=True)
class Lazy(Behind):
    """A purger that says it is done."""

    def purge(self, uri: str, *, version_id: str) -> None:
        """Nothing."""


def _with(**doors: Callable[[Lab], Any]) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        changed = {name: make(lab) for name, make in doors.items()}
        lab.run.doors = replace(lab.run.doors, **changed)

    return act


def _clean(lab: Lab) -> str:
    return f"{lab.place.root}raw/event_dt=2026-10-01/00/evt-1.ndjson"


def _where(uri: str) -> dict[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _base(lab: Lab) -> dict[str, str]:
    return {**_where(lab.uri), "VersionId": lab.work().base_version or ""}


def _puts_on_top(lab: Lab) -> None:
    lab.place.loader.load(lab.uri, event(9))


def _puts_back_below(lab: Lab) -> None:
    now = lab.run.body(lab.uri)
    for body in (LINES, now):
        lab.place.loader.load(lab.uri, body)


def _marks(lab: Lab) -> None:
    lab.admin.delete_object(**_where(lab.uri))


def _holds(lab: Lab) -> None:
    lab.admin.put_object_legal_hold(**_base(lab), LegalHold={"Status": "ON"})


def _locks(lab: Lab) -> None:
    until = lab.place.reader.now() + timedelta(seconds=120)
    retention = {"Mode": COMPLIANCE, "RetainUntilDate": until}
    lab.admin.put_object_retention(**_base(lab), Retention=retention)


def _uploads(lab: Lab) -> None:
    lab.admin.create_multipart_upload(**_where(lab.uri.replace("evt-0", "evt-9")))


def _tags(lab: Lab) -> None:
    tagging = {"TagSet": [{"Key": "by", "Value": PERSON}]}
    lab.admin.put_object_tagging(**_where(lab.uri), Tagging=tagging)


def _hidden(lab: Lab) -> Hiding:
    return Hiding(lab.run.doors.verifier, lambda uri: uri == _clean(lab))


def _hidden_files(lab: Lab) -> Hiding:
    return Hiding(lab.run.doors.verifier, lambda uri: uri.endswith(".parquet"))


def _narrow(lab: Lab) -> Narrow:
    return Narrow(lab.run.doors.verifier, f"{lab.place.root}raw/")


BUCKETS = (
    Sabotage("another version on top", "purged", _puts_on_top, "another version is on top"),
    Sabotage("a version put back below", "purged", _puts_back_below, "old version, user"),
    Sabotage("a marker put on top", "purged", _marks, "a delete marker is on top"),
    Sabotage("a hold added", "checked", _holds, "under a legal hold", verdict="PARTIAL"),
    Sabotage("a lock added", "checked", _locks, "locked until", verdict="DEFERRED"),
    Sabotage("an upload left open", "purged", _uploads, "open upload", verdict="PARTIAL"),
    Sabotage("a tag that names the person", "purged", _tags, "residue, object"),
    Sabotage(
        "a listing filtered", "purged", _with(verifier=_hidden), "the verifier's does not"
    ),
    Sabotage(
        "a table's files hidden", "purged", _with(verifier=_hidden_files), "not there",
        dataset="events",
    ),
    Sabotage(
        "only one prefix may be listed", "purged", _with(verifier=_narrow),
        "a right is missing", dataset="", verdict="REFUSED",
    ),
    Sabotage(
        "a read denied", "purged",
        _with(verifier=lambda lab: Denied(lab.run.doors.verifier, _clean(lab))),
        "cannot_see, object",
    ),
    Sabotage(
        "a short answer", "purged",
        _with(verifier=lambda lab: Short(lab.run.doors.verifier, _clean(lab))),
        "cannot_see, object",
    ),
    Sabotage(
        "the server's clock a day behind", "planned",
        _with(reader=lambda lab: Behindhand(lab.run.doors.reader)), "the clocks disagree",
    ),
    Sabotage(
        "a purger that does nothing", "checked",
        _with(purger=lambda lab: Lazy(lab.run.doors.purger)), "old version, user.user_id",
    ),
)  # fmt: skip
