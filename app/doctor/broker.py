"""Does the broker keep what it is told? Read with INFO alone, which managed servers allow too.

Not here: the bell itself (app.queue). A lost broker loses nothing; a forgetful one costs time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from app.doctor.results import Area, Check, Probed, Verdict, examine, judged, passed
from app.domain.errors import AccessDeniedError, UnreachableError
from app.queue import worker_conf

_SECONDS = 5.0
BEYOND_LEASE = timedelta(seconds=60)
"""A message that nobody acknowledged comes back this long after the lease of its step at last."""


@dataclass(frozen=True, slots=True)
class Broker:
    """The broker of the settings."""

    url: str = field(repr=False)
    lease: timedelta
    conf: Mapping[str, Any] = field(default_factory=dict)
    """The options of workers; those of `worker_conf` where empty."""


def examine_broker(broker: Broker) -> Iterator[Probed]:
    """Every check on the broker."""
    yield from examine(Area.BROKER, "broker", broker, checks=CHECKS)


def _info(broker: Broker, section: str) -> Mapping[str, Any]:
    link = Redis.from_url(
        broker.url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS, retry=None
    )
    with closing(link):
        try:
            found: Any = link.info(section)
        except (AuthenticationError, NoPermissionError) as err:
            kind = type(err).__name__
            raise AccessDeniedError(f"The broker refuses us ({kind}).") from None
        except (RedisError, OSError) as err:
            kind = type(err).__name__
            raise UnreachableError(f"The broker does not answer ({kind}).") from None
    return dict(found)


def _reachable(broker: Broker) -> Verdict:
    version = _info(broker, "server").get("redis_version", "unknown")
    return passed(f"It answers, and speaks as version {version}.")


def _policy(broker: Broker) -> Verdict:
    policy = _info(broker, "memory").get("maxmemory_policy")
    return judged(
        holds=policy == "noeviction",
        saw=f"maxmemory-policy is {policy}.",
        advice="Set maxmemory-policy noeviction: a full broker must refuse, not forget messages.",
    )


def _append_only(broker: Broker) -> Verdict:
    on = _info(broker, "persistence").get("aof_enabled") == 1
    return judged(
        holds=on,
        saw="Each write is appended to a file." if on else "There is no append-only file.",
        advice="Set appendonly yes: with snapshots alone a crash forgets the last minutes.",
    )


def _persists(broker: Broker) -> Verdict:
    found = _info(broker, "persistence")
    names = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
    wrong = [name for name in names if found.get(name, "ok") != "ok"]
    return judged(
        holds=not wrong,
        saw=f"Failing: {', '.join(wrong)}." if wrong else "What it writes to its disk arrives.",
        advice="Look at the broker's log and disk: what it cannot write is gone with it.",
    )


def _visibility(broker: Broker) -> Verdict:
    conf = broker.conf or worker_conf(broker.lease)
    seconds = conf["broker_transport_options"]["visibility_timeout"]
    least = (broker.lease + BEYOND_LEASE).total_seconds()
    return judged(
        holds=seconds >= least,
        saw=f"An unacknowledged message comes back after {seconds} s; a lease lasts "
        f"{broker.lease.total_seconds():.0f} s.",
        advice=f"Expected at least {least:.0f} s, or a step is rung for while it still runs.",
    )


CHECKS: Sequence[Check[Broker]] = (
    ("reachable", _reachable),
    ("noeviction", _policy),
    ("append_only", _append_only),
    ("persistence", _persists),
    ("visibility", _visibility),
)
