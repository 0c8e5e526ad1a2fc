"""The proxy itself: invisible without a fault, and each fault is what it says."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pyarrow.fs
import pytest
from sqlalchemy import make_url

from app.domain.errors import (
    ObjectConflictError,
    PreconditionFailedError,
    UnreachableError,
)
from app.lake.s3 import S3Loader, S3Store
from app.servers import Servers
from tests.faults.places import behind
from tests.faults.proxy import HttpProxy, TcpProxy
from tests.faults.proxy import http as on_http
from tests.faults.proxy import tcp as on_tcp
from tests.places import Place


@pytest.fixture
def proxy(servers: Servers) -> Iterator[HttpProxy]:
    with HttpProxy(servers.s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: HttpProxy, servers: Servers) -> Iterator[S3Store]:
    """An eraser that reaches S3 through the proxy."""
    key = servers.s3.credentials["eraser"]
    store = S3Store(proxy.endpoint, servers.s3.region, key.access_key, key.secret_key)
    yield store
    store.close()


def put_over(store: S3Store, uri: str, body: bytes) -> str:
    """A replacement of the current version."""
    import io

    like = next(v for v in store.versions(uri) if v.uri == uri)
    info = store.info(uri, version_id=like.version_id)
    return store.put(uri, io.BytesIO(body), if_match=info.etag, like=info, marks={}, retain=False)


def read(store: S3Store, uri: str) -> bytes:
    version = next(v for v in store.versions(uri) if v.uri == uri).version_id
    return read_version(store, uri, version)


def read_version(store: S3Store, uri: str, version: str) -> bytes:
    with store.open(uri, version_id=version) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))


def test_a_signed_request_passes_with_the_proxys_own_address_in_it(
    proxy: HttpProxy, store: S3Store, place_s3: Place, servers: Servers
) -> None:
    uri = place_s3.root + "raw/evt-1.ndjson"
    key = servers.s3.credentials["writer"]
    loader = S3Loader(proxy.endpoint, servers.s3.region, key.access_key, key.secret_key)
    loader.load(uri, b"one\n" * 100_000)
    loader.close()
    put_over(store, uri, b"two\n")
    assert read(store, uri) == b"two\n"
    arrow = pyarrow.fs.S3FileSystem(
        endpoint_override=proxy.endpoint.removeprefix("http://"),
        scheme="http",
        region=servers.s3.region,
        access_key=servers.s3.credentials["eraser"].access_key,
        secret_key=servers.s3.credentials["eraser"].secret_key,
    )
    with arrow.open_input_stream(uri.removeprefix("s3://")) as stream:
        assert stream.read() == b"two\n"
    assert {a.method for a in proxy.asked} >= {"GET", "PUT", "HEAD"}
    assert [a.status for a in proxy.asked if a.conditional] == [200]


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        (on_http.answering(503, "SlowDown"), UnreachableError, False),
        (on_http.answering(409, "ConditionalRequestConflict"), ObjectConflictError, False),
        (on_http.losing_answer, UnreachableError, True),
        (on_http.meeting_itself, PreconditionFailedError, True),
    ],
)
def test_a_conditional_put_that_fails_on_the_way(
    proxy: HttpProxy,
    store: S3Store,
    place_s3: Place,
    fault: on_http.Fault,
    error: type[Exception],
    applied: bool,
) -> None:
    uri = place_s3.root + "raw/evt-1.ndjson"
    place_s3.loader.load(uri, b"one\n")
    proxy.fault = on_http.Sometimes(fault, seed=1, only=on_http.conditional)
    with pytest.raises(error):
        put_over(store, uri, b"two\n")
    proxy.fault = on_http.passing
    assert (read(store, uri) == b"two\n") is applied


@pytest.mark.parametrize("fault", [on_http.corrupting, on_http.breaking_off])
def test_a_damaged_body_is_never_taken_for_whole(
    proxy: HttpProxy, store: S3Store, place_s3: Place, fault: on_http.Fault
) -> None:
    uri = place_s3.root + "raw/evt-1.ndjson"
    place_s3.loader.load(uri, b"one\n" * 1000)
    version = next(v for v in store.versions(uri) if v.uri == uri).version_id
    hurt = on_http.Sometimes(fault, seed=1, methods=("GET",), at_most=99)
    proxy.fault = hurt
    with pytest.raises(UnreachableError):
        read_version(store, uri, version)
    assert hurt.hits


# --- Postgres ------------------------------------------------------------------------------------


@contextmanager
def linked(servers: Servers, proxy: TcpProxy) -> Iterator[psycopg.Connection]:
    url = make_url(behind(servers.postgres.url, proxy.port)).set(drivername="postgresql")
    with psycopg.connect(url.render_as_string(hide_password=False), connect_timeout=3) as link:
        yield link


@pytest.fixture
def postgres(servers: Servers) -> Iterator[TcpProxy]:
    with TcpProxy(("127.0.0.1", servers.postgres.port)) as proxy:
        yield proxy


@pytest.mark.parametrize("reached", [True, False])
def test_a_commit_whose_answer_is_lost_took_place_or_did_not(
    postgres: TcpProxy, servers: Servers, reached: bool
) -> None:
    table = f"commits_{'reached' if reached else 'lost'}"
    with linked(servers, postgres) as link:
        link.execute(f"create table {table} (n int)")
        link.commit()
    postgres.fault = losing = on_tcp.LosingCommits(frozenset({1}), reached=lambda _: reached)
    with linked(servers, postgres) as link:
        link.execute(f"insert into {table} values (1)")
        with pytest.raises(psycopg.OperationalError):
            link.commit()
    assert losing.lost == 1
    postgres.fault = on_tcp.passing
    with linked(servers, postgres) as link:
        time.sleep(0.2)
        row = link.execute(f"select count(*) from {table}").fetchone()
        link.execute(f"drop table {table}")
    assert row == (int(reached),)


def test_it_refuses_swallows_delays_and_cuts(postgres: TcpProxy, servers: Servers) -> None:
    with linked(servers, postgres) as link:
        postgres.fault = on_tcp.delaying(0.1)
        begun = time.monotonic()
        link.execute("select 1")
        assert time.monotonic() - begun > 0.2
        postgres.fault = on_tcp.cutting_after(0)
        with pytest.raises(psycopg.OperationalError):
            link.execute("select 1")
    postgres.fault = on_tcp.black_hole
    with pytest.raises(psycopg.errors.ConnectionTimeout), linked(servers, postgres):
        pass
    postgres.refuse()
    with pytest.raises(psycopg.OperationalError, match="refused"), linked(servers, postgres):
        pass
    postgres.listen()
    postgres.fault = on_tcp.passing
    with linked(servers, postgres) as link:
        assert link.execute("select 1").fetchone() == (1,)


def test_who_comes_while_it_stops_is_closed_too() -> None:
    """Any socket left open is an error of this test, when it is collected."""
    rounds = 150
    with socket.create_server(("127.0.0.1", 0)) as nowhere:
        proxy = TcpProxy(nowhere.getsockname())
        over = threading.Event()

        def come() -> None:
            while not over.is_set():
                with (
                    suppress(OSError),
                    socket.create_connection(("127.0.0.1", proxy.port), timeout=0.1) as link,
                ):
                    link.recv(1)

        with proxy, ThreadPoolExecutor(4) as clients:
            try:
                coming = [clients.submit(come) for _ in range(4)]
                for _ in range(rounds):
                    proxy.refuse()
                    proxy.listen()
                    time.sleep(0.002)
                    proxy.cut()
            finally:
                over.set()
            for one in coming:
                one.result()
    gc.collect()
