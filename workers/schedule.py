"""Beat: rings for a look at what recurs. It keeps nothing: the dates stand in Postgres.

Not here: what is due (app.services.schedule).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.queue import TICK


def beat_conf(every: timedelta) -> dict[str, Any]:
    """Its options: a scheduler in memory, without a file."""
    return {
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_schedule": {"tick": {"task": TICK, "schedule": every.total_seconds()}},
        "beat_max_loop_interval": min(5.0, every.total_seconds()),
    }
