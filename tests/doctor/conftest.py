"""Buckets as doctor looks at them, with the identities of the servers for credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from app.doctor.results import Outcome, Probed
from app.doctor.storage import Bucket
from app.lake.s3.probe import S3Probe
from app.servers import Servers
from tests.places import Place

USUAL: Mapping[str, str] = {
    "read": "reader",
    "erase": "eraser",
    "purge": "purger",
    "verify": "verifier",
}
Doors = Callable[..., Mapping[str, S3Probe]]


def outcomes(found: Iterable[Probed]) -> dict[str, Outcome]:
    """Check -> outcome; of a check on several targets the worst."""
    order = (Outcome.PASS, Outcome.NOT_APPLICABLE, Outcome.UNREACHABLE, Outcome.FAIL)
    worst: dict[str, Outcome] = {}
    for probed in found:
        before = worst.get(probed.check, Outcome.PASS)
        worst[probed.check] = max(before, probed.outcome, key=order.index)
    return worst


def failing(found: Iterable[Probed]) -> set[str]:
    """Names of the checks that failed; each says what to do."""
    wrong = [probed for probed in found if probed.outcome is Outcome.FAIL]
    assert all(probed.advice for probed in wrong)
    return {probed.check for probed in wrong}


@pytest.fixture(scope="session")
def probes(servers: Servers) -> Iterator[dict[str, S3Probe]]:
    """Identity of the S3 server -> its calls."""
    with ExitStack() as closing:
        made = {}
        for name, key in servers.s3.credentials.items():
            made[name] = S3Probe(
                servers.s3.endpoint, servers.s3.region, key.access_key, key.secret_key
            )
            closing.callback(made[name].close)
        yield made


@pytest.fixture
def bucket_at(probes: dict[str, S3Probe]) -> Callable[..., Bucket]:
    """A bucket that holds Bronze and tables. `doors`: role -> another identity than the usual."""

    def made(name: str, *, doors: Mapping[str, str] | None = None, **changes: Any) -> Bucket:
        bucket = Bucket(
            name=name,
            doors={role: probes[who] for role, who in {**USUAL, **(doors or {})}.items()},
            prefixes=("raw/", "silver/"),
            worm=True,
            tables=True,
            known=frozenset({name}),
            now=lambda: datetime.now(UTC),
        )
        return replace(bucket, **changes)

    return made


@pytest.fixture
def name(place_s3: Place) -> str:
    """A fresh bucket with Object Lock."""
    return place_s3.root.removeprefix("s3://").rstrip("/")


@pytest.fixture(scope="session")
def admin(servers: Servers) -> Iterator[Any]:
    """The raw client of somebody who may do everything."""
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


def versions_in(admin: Any, bucket: str) -> list[str]:
    """Keys of every version, marker and upload that a bucket holds."""
    found = admin.list_object_versions(Bucket=bucket)
    uploads = admin.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    listed = [*found.get("Versions", []), *found.get("DeleteMarkers", []), *uploads]
    return [item["Key"] for item in listed]
