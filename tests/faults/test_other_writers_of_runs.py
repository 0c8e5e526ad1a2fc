"""Whatever others write during a whole run: the report is true, and the next run has the rest."""

from __future__ import annotations

from tests.e2e.conftest import folder_lakes, folder_world, runner
from tests.e2e.worlds import World
from tests.faults.writers import runs

__all__ = ["folder_lakes", "folder_world", "runner"]


def test_the_persons_rows_keep_coming_while_the_run_is_at_work(folder_world: World) -> None:
    runs.whole_run_under_streaming(folder_world, every=1.0)
