"""A login that nobody made yet, for tests of migrations and rights."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from app.servers import Servers


@pytest.fixture
def service_login(empty_database_url: str, servers: Servers) -> Iterator[str]:
    """The URL of a login that nobody made yet; gone with the test."""
    name = f"login_{uuid4().hex[:12]}"
    made = make_url(empty_database_url).set(username=name, password="p%ss'w\"rd")
    yield made.render_as_string(hide_password=False)
    with psycopg.connect(plain(empty_database_url), autocommit=True) as link:
        if link.execute("select from pg_roles where rolname = %s", (name,)).fetchone():
            link.execute(f'drop owned by "{name}"')
        link.execute(f'drop role if exists "{name}"')


def plain(url: str) -> str:
    """The URL as psycopg itself reads it."""
    return url.replace("+psycopg", "", 1)
