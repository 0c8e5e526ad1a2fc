"""Who the people of a run are, and whether the lake has moved since that was found out.

Not here: how an identity is found (app.lake.identities); what is done with it (app.stages.acts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from app.domain.datasets import DataMap
from app.domain.identifiers import Identity, Subject
from app.lake.identities import resolve
from app.lake.mapcheck import check_map
from app.lake.ports import Doors
from app.lake.tally import Tally


def resolve_people(
    subjects: Sequence[Subject],
    *,
    data_map: DataMap,
    doors: Doors,
    shared_review: str | None,
    tally: Tally | None = None,
) -> list[Identity]:
    """The identity of each subject, in the given order. Reads only; the map was checked before.
    `tally` counts what is met on the way.

    `shared_review`: tombstone | keep, for shared values that the map leaves to a person; None
    leaves them undecided (`review`).
    """
    return resolve(
        subjects,
        data_map=data_map,
        store=doors.reader,
        engine=doors.engine,
        shared_review=shared_review,
        tally=tally,
    )


def resolve_checked(
    subjects: Sequence[Subject], *, data_map: DataMap, doors: Doors, shared_review: str | None
) -> list[Identity]:
    """The same, after asking whether the lake has what the map names (DataMapError)."""
    check_map(data_map, store=doors.reader, engine=doors.engine)
    return resolve_people(subjects, data_map=data_map, doors=doors, shared_review=shared_review)


def lake_fingerprint(data_map: DataMap, doors: Doors) -> str:
    """SHA-256 over every listing of Bronze and every table's metadata location, and the map.

    While it is the same, so are the identities of the same subjects: nothing in the lake moved.
    Listings and table heads only. It holds no value, but is as sensitive as the keys it is made of
    (a guess of all of them can be confirmed): keep it with the scope, sealed or short-lived.
    """
    digest = hashlib.sha256()
    for part in _parts(data_map, doors):
        text = part.encode("utf-8", "surrogatepass")
        # Each part with its length: no two lakes make the same message.
        digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()


def _parts(data_map: DataMap, doors: Doors) -> Iterator[str]:
    yield data_map.digest
    for dataset in (d for d in data_map.bronze if d.replica_of is None):
        assert dataset.location is not None
        yield dataset.name
        for version in doors.reader.versions(dataset.location):
            yield version.uri
            yield f"{version.version_id} {version.is_latest:d} {version.is_marker:d}"
    for dataset in data_map.tables:
        assert dataset.table is not None
        assert doors.engine is not None
        yield dataset.name
        yield doors.engine.head(dataset.table).metadata_location
