"""Splits the objects of a dataset into groups, each one step of a stage. Pure.

Not here: what is done with a group (app.stages.acts), and who takes which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.domain.receipts import ObjectWork

GROUP_BYTES = 48 << 20
GROUP_OBJECTS = 500
MOST_BYTES = 4 << 30
"""About a minute of a store that gives 70 MB a second to one reader."""
MOST_OBJECTS = 2000
_GROUPS = 256
"""Of so many groups a dataset is made, as long as none is too small or too large for a step."""

Group = tuple[ObjectWork, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one group."""

    bytes: int = GROUP_BYTES
    objects: int = GROUP_OBJECTS


def limits_for(*, objects: int, size: int) -> Limits:
    """Groups for so many objects of so many bytes together: enough of them for many workers, and
    not so many that the ledger is busier than they are.
    """
    return Limits(
        bytes=min(max(GROUP_BYTES, size // _GROUPS), MOST_BYTES),
        objects=min(max(GROUP_OBJECTS, objects // _GROUPS), MOST_OBJECTS),
    )


def groups(
    works: Iterable[ObjectWork],
    *,
    max_bytes: int = GROUP_BYTES,
    max_objects: int = GROUP_OBJECTS,
) -> list[Group]:
    """The works in the order given, cut where the next would be one too many.

    An object that is larger than `max_bytes` is a group by itself. The same works give the same
    groups. An object's size is `bytes_before`: of all its versions as listed, and of the current
    one once that was read.
    """
    return list(cut(works, Limits(max_bytes, max_objects)))


def cut(works: Iterable[ObjectWork], limits: Limits) -> Iterator[Group]:
    """The same, a group at a time."""
    group: list[ObjectWork] = []
    size = 0
    for work in works:
        if group and (size + work.bytes_before > limits.bytes or len(group) >= limits.objects):
            yield tuple(group)
            group, size = [], 0
        group.append(work)
        size += work.bytes_before
    if group:
        yield tuple(group)
