"""The stages of an offline run: its datasets, and the groups of their objects, one after the other.

Not here: what is done to a group (app.stages.acts), and which stage comes next (app.offline.run).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from app.domain.datasets import Dataset
from app.domain.progress import Say
from app.domain.receipts import ObjectWork, WorkState
from app.stages.acts import ROUNDS, Acts
from app.stages.grouping import groups
from app.stages.uploads import WRITERS, end_uploads

Group = tuple[ObjectWork, ...]


def plan(acts: Acts) -> None:
    """List every object and table head; nothing is read yet."""
    for dataset in (*acts.data_map.bronze, *acts.data_map.tables):
        acts.plan_dataset(dataset)


def erase(acts: Acts) -> None:
    """Bronze, then tables; dim_identity last, because it is the only map."""
    for dataset in acts.data_map.bronze:
        _erase_objects(acts, dataset)
    for dataset in acts.data_map.tables:
        acts.erase_table(dataset)


def _erase_objects(acts: Acts, dataset: Dataset) -> None:
    works = acts.again(dataset)
    while True:
        for counted, group in _grouped(acts, works):
            counted.erase_group(dataset, group)
        works = acts.newer(dataset)
        if not works:
            return
        if acts.rounds(dataset) >= ROUNDS:
            acts.give_up(dataset)
            return


def check(acts: Acts) -> bool:
    """The second look at every pair. False: some were put back, and nothing may be destroyed."""
    for dataset in acts.data_map.bronze:
        works = [w for w in acts.journal.works(dataset.name) if w.state is WorkState.WRITTEN]
        for counted, group in _grouped(acts, works):
            counted.check_group(dataset, group)
    return not acts.check_findings()


def purge(acts: Acts) -> None:
    """Bronze versions, then table snapshots and files; dim_identity last. Open uploads too."""
    for dataset in acts.data_map.bronze:
        end_uploads(acts, dataset, writers=WRITERS)
        for counted, group in _grouped(acts, acts.journal.works(dataset.name)):
            counted.purge_group(dataset, group)
    for dataset in acts.data_map.tables:
        acts.purge_table(dataset)
        end_uploads(acts, dataset, writers=WRITERS)


def verify(acts: Acts) -> None:
    """Read everything again: every dataset, and what lies beside them."""
    for dataset in acts.data_map.datasets:
        acts.verify_dataset(dataset)
    acts.verify_places()


def undo(acts: Acts) -> int:
    """Put every base back, the last first. Returns how many others have changed since."""
    tables = sum(acts.undo_dataset(d) for d in reversed(acts.data_map.tables))
    return tables + sum(acts.undo_dataset(d) for d in acts.data_map.bronze)


def _grouped(acts: Acts, works: Sequence[ObjectWork]) -> Iterator[tuple[Acts, Group]]:
    """Each group, with acts that tell how far all of them are together."""
    before = 0
    for group in groups(works):
        yield replace(acts, say=_adding(acts.say, before=before, total=len(works))), group
        before += len(group)


def _adding(say: Say, *, before: int, total: int) -> Say:
    return lambda stage, dataset, done, _of: say(stage, dataset, before + done, total)
