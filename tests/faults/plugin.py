"""For pytest: the end of every test goes into the book of figures. Not here: anything else."""

from __future__ import annotations

import pytest

from tests.faults.effort import effort_of_environment


class Ends:
    """Registered once, in the process that hears of all tests."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            effort_of_environment().book.write_test(
                report.nodeid, outcome=report.outcome, seconds=report.duration
            )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ends(), "clearlake-ends")
