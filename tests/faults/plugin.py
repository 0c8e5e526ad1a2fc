"""For pytest: of all tests those that `make faults` runs, and the end of each goes into the book of
figures. Not here: what they do.
"""

from __future__ import annotations

import pytest

from tests.faults.effort import effort_of_environment
from tests.faults.figures import SHOWN_BY

LONGEST = (
    "test_tables_are_right",
    "test_put_to_sleep",
    "test_an_accepted_case",
    "test_killed_at_every_place",
    "test_after_the_broker_was_away",
    "test_delivery",
    "test_storage",
    "test_database",
    "test_layers",
    "test_nothing_left",
    "test_other_writers",
)
"""In the order of what they take; the others take less."""


class Ends:
    """Registered once, in the process that hears of all tests."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            effort_of_environment().book.write_test(
                report.nodeid, outcome=report.outcome, seconds=report.duration
            )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Faults, what figures are made of, and what is marked `long`."""
    shown = ("tests/faults/", *(begin for begins in SHOWN_BY.values() for begin in begins))
    others = [i for i in items if not (i.nodeid.startswith(shown) or i.get_closest_marker("long"))]
    config.hook.pytest_deselected(items=others)
    left_out = set(others)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: next((n for n, t in enumerate(LONGEST) if t in item.nodeid), 99))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ends(), "clearlake-ends")
