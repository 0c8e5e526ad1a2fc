"""The whole service on one machine: servers from wheels, a lake to try on, API, workers and beat.

Not here: how one server is run (app.servers), what the parts do, and how it is shown (app.cli).
"""

from app.up.lake import ROOT, Made, Size, lake_settings, make_lake_of, write_map
from app.up.local import TRIAL, complete, write_environment
from app.up.service import Running, Service

__all__ = [
    "ROOT",
    "TRIAL",
    "Made",
    "Running",
    "Service",
    "Size",
    "complete",
    "lake_settings",
    "make_lake_of",
    "write_environment",
    "write_map",
]
