"""Prometheus figures in a registry of our own: HTTP as it happens, the rest from the database.

No label is personal: route templates, states, kinds, regulations.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from app.domain.errors import DatabaseUnavailableError
from app.services.parts import Parts
from app.store.figures import Figures, figures

__all__ = ["MEDIA_TYPE", "Metrics"]

MEDIA_TYPE = CONTENT_TYPE_LATEST
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The figures of one process."""

    def __init__(self, *, version: str, env: str) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "clearlake_http_requests", "Answers.", ["method", "route", "status"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "clearlake_http_request_seconds", "Time to an answer's end.", ["method", "route"],
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        about = Gauge("clearlake_info", "What runs.", ["version", "env"], registry=self._registry)
        about.labels(version, env).set(1)

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """One request was answered. `route` is a template, never a path."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def text(self, parts: Parts) -> bytes:
        """All figures; those of the database as they are now, or only that it does not answer."""
        asked = CollectorRegistry(auto_describe=False)
        asked.register(_Asked(_figures(parts)))
        return generate_latest(self._registry) + generate_latest(asked)


def _figures(parts: Parts) -> Figures | None:
    try:
        with parts.database.transaction() as tx:
            return figures(tx)
    except DatabaseUnavailableError:
        return None


class _Asked(Collector):
    def __init__(self, found: Figures | None) -> None:
        self._found = found

    def collect(self) -> Iterable[GaugeMetricFamily]:
        up = 0 if self._found is None else 1
        yield GaugeMetricFamily("clearlake_database_up", "Whether it answered.", value=up)
        if self._found is None:
            return
        f = self._found
        by_state = ["state", "regulation"]
        yield _family("clearlake_cases", "Cases.", by_state, f.cases)
        yield _family("clearlake_cases_overdue", "Open past the date.", ["regulation"], f.overdue)
        yield _family("clearlake_runs", "Runs.", ["stage"], f.runs)
        yield _family("clearlake_steps_open", "Open steps.", ["state", "kind"], f.open_steps)
        yield _family("clearlake_steps_parked", "Steps a person must see.", ["kind"], f.parked)
        yield GaugeMetricFamily("clearlake_steps_unheard", "Due, never rung.", value=f.unheard)
        if f.oldest_due is not None:
            due = f.oldest_due.timestamp()
            name = "clearlake_cases_oldest_due_timestamp_seconds"
            yield GaugeMetricFamily(name, "The earliest date of an open case.", value=due)


def _family(
    name: str, words: str, labels: list[str], counted: dict[tuple[str, ...], int]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, count in sorted(counted.items()):
        family.add_metric(key, count)
    return family
