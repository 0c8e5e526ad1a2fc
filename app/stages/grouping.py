"""Splits the objects of a dataset into groups, each one step of a stage. Pure.

Not here: what is done with a group (app.stages.acts), and who takes which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.domain.receipts import ObjectWork

GROUP_BYTES = 48 << 20
GROUP_OBJECTS = 500


def groups(
    works: Iterable[ObjectWork],
    *,
    max_bytes: int = GROUP_BYTES,
    max_objects: int = GROUP_OBJECTS,
) -> list[tuple[ObjectWork, ...]]:
    """The works in the order given, cut where the next would be one too many.

    An object that is larger than `max_bytes` is a group by itself. The same works give the same
    groups. An object's size is `bytes_before`: of all its versions as listed, and of the current
    one once that was read.
    """
    return list(_cut(works, max_bytes, max_objects))


def _cut(
    works: Iterable[ObjectWork], max_bytes: int, max_objects: int
) -> Iterator[tuple[ObjectWork, ...]]:
    group: list[ObjectWork] = []
    size = 0
    for work in works:
        if group and (size + work.bytes_before > max_bytes or len(group) >= max_objects):
            yield tuple(group)
            group, size = [], 0
        group.append(work)
        size += work.bytes_before
    if group:
        yield tuple(group)
