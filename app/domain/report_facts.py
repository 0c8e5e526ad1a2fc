"""From identities and work records to the facts of a report. Pure.

Not here: what the facts are and how they are judged (app.domain.reports).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from app.domain.datasets import Dataset
from app.domain.findings import Seen, What
from app.domain.identifiers import Identifier, Identity
from app.domain.receipts import Counts, ObjectWork, TableWork, WorkState
from app.domain.reports import CaseFacts, Commitment, DatasetFacts, Left, SharedFacts, SubjectFacts


def subject_facts(
    identities: Sequence[Identity],
    index: int,
    *,
    commit: Callable[[Identifier], str],
    met: bool = False,
    case: CaseFacts | None = None,
) -> SubjectFacts:
    """The facts of the identity at `index`. `commit`: Commitments.of under this case's salt.
    `met`: as SubjectFacts.met; linked and derived values were met in any case.
    """
    identity = identities[index]
    mine = identity.identifiers
    return SubjectFacts(
        name=identity.subject,
        commitments=tuple(
            sorted(Commitment(i.kind, _origin(identity, i), commit(i)) for i in mine)
        ),
        shared=tuple(
            sorted(
                SharedFacts(s.identifier.kind, s.users, s.decision, commit(s.identifier))
                for s in identity.shared
            )
        ),
        sources=identity.sources,
        earlier=frozenset(n for n in range(index) if identities[n].identifiers & mine),
        met=met or bool(identity.linked or identity.derived),
        case=case,
    )


def _origin(identity: Identity, identifier: Identifier) -> str:
    if identifier in identity.given:
        return "given"
    return "linked" if identifier in identity.linked else "derived"


def object_facts(
    dataset: Dataset, works: Sequence[ObjectWork], *, horizon: str, seen: Seen = Seen()
) -> DatasetFacts:
    """A Bronze dataset, from the records of its objects."""
    versions = [v for work in works for v in work.superseded]
    return DatasetFacts(
        dataset=dataset,
        horizon=horizon,
        read=len(works),
        changed=sum(work.new_version is not None for work in works),
        counts=sum((work.counts for work in works), Counts()),
        versions_purged=sum(v.state is WorkState.PURGED for v in versions),
        left=_merged(left for work in works for left in _left_of_object(work)),
        warnings=(
            *_of_a_replica(dataset),
            *sorted({text for work in works for text in work.warnings}),
        ),
        seen=seen,
    )


def _of_a_replica(dataset: Dataset) -> tuple[str, ...]:
    if dataset.replica_of is None:
        return ()
    return (f"A replica: its lines are those of {dataset.replica_of} once more.",)


_UNCHANGED = {WorkState(s) for s in ("planned", "clean", "ready", "held", "parked", "undone")}
_LEFT = {
    WorkState.DEFERRED: What.DEFERRED,
    WorkState.HELD: What.HELD,
    WorkState.PARKED: What.PARKED,
}


def _left_of_object(work: ObjectWork) -> list[Left]:
    found = [
        Left(_LEFT[v.state], 1, "versions", until=v.until, reason=v.reason or "")
        for v in work.superseded
        if v.state in _LEFT
    ]
    if work.parked:
        lines = len(work.parked)
        found.append(Left(What.PARKED, lines, "lines", reason="lines that cannot be parsed"))
    return found + _left_whole(work.state, found, unit="objects", reason=work.reason)


def _left_whole(
    state: WorkState, parts: Sequence[Left], *, unit: str, reason: str | None
) -> list[Left]:
    """The object or table itself, where none of its parts says so already."""
    if state not in _LEFT or _LEFT[state] in {left.what for left in parts}:
        return []
    return [Left(_LEFT[state], 1, unit, reason=reason or "")]


def _merged(parts: Iterable[Left]) -> tuple[Left, ...]:
    """Those that say the same of different things as one, in the order they came."""
    numbers: Counter[Left] = Counter()
    for part in parts:
        numbers[replace(part, count=0)] += part.count
    return tuple(replace(part, count=number) for part, number in numbers.items())


def table_facts(
    dataset: Dataset, work: TableWork, *, horizon: str, seen: Seen = Seen()
) -> DatasetFacts:
    """A table, from its record."""
    left = [
        Left(_LEFT[c.state], 1, "files", until=c.until, reason=c.reason or "")
        for c in work.condemned
        if c.state in _LEFT
    ]
    left += [
        Left(_LEFT[f.state], 1, "files", reason=f.reason or "")
        for f in work.files
        if f.state in _LEFT
    ]
    left += _left_whole(work.state, left, unit="tables", reason=work.reason)
    return DatasetFacts(
        dataset=dataset,
        horizon=horizon,
        read=work.files_read,
        changed=sum(f.state not in _UNCHANGED for f in work.files),
        counts=work.counts,
        files_purged=sum(c.state is WorkState.PURGED for c in work.condemned),
        snapshots_added=len(work.commits),
        snapshots_expired=len(work.expired),
        left=_merged(left),
        warnings=tuple(sorted(set(work.warnings))),
        seen=seen,
    )
