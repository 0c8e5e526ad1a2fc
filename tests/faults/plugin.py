"""For pytest: of all tests those that `make faults` runs, and the end of each goes into the book of
figures. Not here: what they do.
"""

from __future__ import annotations

import pytest

from tests.faults.effort import effort_of_environment
from tests.faults.figures import SHOWN_BY

LONGEST = (
    *("another_writer_do[file-0", "when_it_wakes[file-0]", "soon[black-holed]"),
    *("another_writer_do[file-1", "when_it_wakes[file-1]", "soon[refused]"),
    *("another_writer_do[file-2", "test_an_accepted_case", "goes_on[file-0]", "goes_on[file-1]"),
    *("test_delivery", "test_storage", "test_database", "test_kills", "test_layers"),
    *("test_nothing_left", "test_other_writers"),
)
"""Parts of names, in the order in which they begin: the longest first, those that work beside those
that wait.
"""


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
