"""A broker that would forget, or lose what it was told, is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.doctor.broker import CHECKS, Broker, examine_broker
from app.doctor.results import Outcome
from app.queue import worker_conf
from app.servers import Servers
from tests.doctor.conftest import failing, outcomes

LEASE = timedelta(seconds=40)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Servers]:
    """A broker of the test's own: the tests beside it need theirs as it was."""
    with Servers(tmp_path / "own", parts={"valkey"}) as servers:
        yield servers


def _failing(url: str) -> set[str]:
    return failing(examine_broker(Broker(url, LEASE)))


def _set(url: str, name: str, value: str) -> None:
    with closing(Redis.from_url(url)) as link:
        link.config_set(name, value)


def test_the_broker_as_it_is_started_passes(servers: Servers) -> None:
    found = outcomes(examine_broker(Broker(servers.valkey.url, LEASE)))
    assert set(found.values()) == {Outcome.PASS}
    assert len(found) == 5


def test_a_broker_that_evicts_or_keeps_no_file_fails(own: Servers) -> None:
    url = own.valkey.url
    _set(url, "maxmemory-policy", "allkeys-lru")
    assert _failing(url) == {"noeviction"}
    _set(url, "appendonly", "no")
    assert _failing(url) == {"noeviction", "append_only"}


def test_a_broker_that_cannot_write_fails(own: Servers) -> None:
    url = own.valkey.url
    (own.state_dir / "valkey" / "dump.rdb").mkdir()
    with closing(Redis.from_url(url)) as link:
        link.bgsave()
        while link.info("persistence")["rdb_bgsave_in_progress"]:
            pass
    assert _failing(url) == {"persistence"}


def test_a_message_that_comes_back_within_the_lease_fails() -> None:
    conf: dict[str, Any] = worker_conf(LEASE)
    conf["broker_transport_options"]["visibility_timeout"] = 99
    verdict = dict(CHECKS)["visibility"](Broker("redis://nowhere", LEASE, conf))
    assert verdict.outcome is Outcome.FAIL
    assert "100 s" in verdict.advice


def test_a_broker_that_is_away_is_unreachable_and_one_that_refuses_us_fails(
    servers: Servers,
) -> None:
    (away,) = examine_broker(Broker("redis://:secret@127.0.0.1:1/0", LEASE))
    assert away.outcome is Outcome.UNREACHABLE
    wrong = servers.valkey.url.replace("redis://:", "redis://:wrong")
    refused = next(iter(examine_broker(Broker(wrong, LEASE))))
    assert refused.outcome is Outcome.FAIL
    assert "secret" not in repr(away)
    assert "wrong" not in repr(refused)
