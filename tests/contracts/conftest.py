"""The raw client of somebody who may do everything, to make what our own doors never make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from app.servers import Servers


@pytest.fixture
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
