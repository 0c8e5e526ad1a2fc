"""Makes the plan of a run: what would be read and done, in counts, with the digest of its scope.

Reads listings and table heads only; changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.datasets import DataMap, Dataset
from app.domain.identifiers import Identity
from app.domain.plans import DatasetPlan, Plan, scope_digest, subject_plan
from app.lake.ports import Doors


def make_plan(identities: Sequence[Identity], *, data_map: DataMap, doors: Doors) -> Plan:
    """The plan for these people over this lake as it stands now."""
    return Plan(
        digest=scope_digest(identities, data_map),
        subjects=tuple(subject_plan(i) for i in identities),
        datasets=tuple(
            _objects_plan(d, doors) if d.location is not None else _table_plan(d, doors)
            for d in (*data_map.bronze, *data_map.tables)
        ),
        undo_window_seconds=int(data_map.undo_window.total_seconds()),
        undecided=sum(s.decision == "review" for i in identities for s in i.shared),
    )


def _objects_plan(dataset: Dataset, doors: Doors) -> DatasetPlan:
    assert dataset.location is not None
    objects = versions = size = 0
    for version in doors.reader.versions(dataset.location):
        versions += 1
        size += version.size
        objects += version.is_latest
    return DatasetPlan(
        layer=dataset.layer.value,
        name=dataset.name,
        treatment=dataset.treatment.kind,
        objects=objects,
        versions=versions,
        bytes=size,
        rows=None,
        snapshots=0,
    )


def _table_plan(dataset: Dataset, doors: Doors) -> DatasetPlan:
    assert dataset.table is not None
    assert doors.engine is not None
    head = doors.engine.head(dataset.table)
    files = (
        []
        if head.snapshot_id is None
        else doors.engine.files(dataset.table, snapshot_id=head.snapshot_id)
    )
    return DatasetPlan(
        layer=dataset.layer.value,
        name=dataset.name,
        treatment=dataset.treatment.kind,
        objects=len(files),
        versions=len(files),
        bytes=sum(f.size for f in files),
        rows=sum(f.rows for f in files),
        snapshots=len(head.snapshots),
        refs=tuple(sorted(set(head.refs) - {"main"})),
    )
