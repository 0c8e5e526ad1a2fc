"""Whether a lake has moved since its people were resolved."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import boto3

from app.domain.identifiers import Identifier, Kind, Subject
from app.servers import Servers
from app.stages.resolving import lake_fingerprint, resolve_people
from tests.places import Place
from tests.stages.runs import Run, doors
from tests.verify.material import event, user
from tests.verify.planted import TABLE, data_map, make_clean_lake, rows


def _taken(place: Place) -> str:
    """With doors of its own, as another process has."""
    return lake_fingerprint(data_map(place), doors(place))


def test_a_lake_at_rest_has_one_fingerprint_and_each_change_another(run: Run) -> None:
    make_clean_lake(run.place)
    seen = [_taken(run.place)]
    assert _taken(run.place) == seen[0]
    uri = run.load("evt-9.ndjson", event(1))
    seen.append(_taken(run.place))
    run.load("evt-9.ndjson", event(2), event(3))
    seen.append(_taken(run.place))
    run.place.engine.append(TABLE, rows({"user_id": user(1)}))
    seen.append(_taken(run.place))
    [*_, latest] = [v for v in run.place.reader.versions(uri) if v.is_latest]
    purger = run.place.purger()
    purger.allow([(uri, latest.version_id)])
    purger.purge(uri, version_id=latest.version_id)
    seen.append(_taken(run.place))
    assert len(set(seen)) == len(seen)
    assert _taken(run.place) == seen[-1]


def test_a_delete_marker_changes_the_fingerprint(place_s3: Place, servers: Servers) -> None:
    make_clean_lake(place_s3)
    before = _taken(place_s3)
    gone = next(v.uri for v in place_s3.reader.versions(f"{place_s3.root}raw/"))
    key = servers.s3.credentials["admin"]
    bucket, _, name = gone.removeprefix("s3://").partition("/")
    with closing(
        boto3.client(
            "s3",
            endpoint_url=servers.s3.endpoint,
            region_name=servers.s3.region,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=key.secret_key,
        )
    ) as admin:
        admin.delete_object(Bucket=bucket, Key=name)
    assert _taken(place_s3) != before


def test_another_map_of_the_same_lake_has_another_fingerprint(place_file: Place) -> None:
    make_clean_lake(place_file)
    other = replace(data_map(place_file), digest="another")
    assert lake_fingerprint(other, doors(place_file)) != _taken(place_file)


def test_reading_does_not_move_a_lake(run: Run) -> None:
    run.planned()
    before = _taken(run.place)
    asked = Subject("s1", (Identifier(Kind.USER_ID, user(1)),))
    first = resolve_people([asked], data_map=run.data_map, doors=run.doors, shared_review=None)
    assert _taken(run.place) == before
    again = resolve_people([asked], data_map=run.data_map, doors=run.doors, shared_review=None)
    assert again == first
    assert first[0].subject == "s1"
