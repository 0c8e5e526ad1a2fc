"""Which objects a run has rewritten, as the lake itself tells it: for loaders to leave out.

By the mark that a replacement carries in its metadata. Reads only. A folder keeps no marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import unquote

from app.domain.datasets import Dataset
from app.domain.errors import ObjectMissingError, UsageError
from app.domain.identifiers import MAX_LENGTH, MIN_LENGTH, Identifier
from app.lake.late_lines import KINDS, Wanted
from app.lake.ports import ObjectStore

_RUN = "clearlake-run"
_WORD = re.compile(f"[A-Za-z0-9_-]{{{MIN_LENGTH},{MAX_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """An object whose current version is ours."""

    uri: str | None = field(repr=False)
    """None: the key itself names somebody who was erased, so it is not said."""
    version_id: str
    run_id: str
    modified: datetime


def rewritten_objects(
    dataset: Dataset, *, store: ObjectStore, since: datetime | None, erased: Wanted
) -> Iterator[Rewritten]:
    """Those of a dataset that were rewritten at `since` or later, by the store's clock, in the
    order of their keys. `erased`: whether an identifier is of somebody erased.
    """
    location = dataset.location
    if location is None or not location.startswith("s3://"):
        raise UsageError(
            f"{dataset.name}: only objects in a bucket carry the mark of a run. In a folder "
            "let the loader dedupe."
        )
    for version in store.versions(location):
        is_old = since is not None and version.modified < since
        if not version.is_latest or version.is_marker or is_old:
            continue
        try:
            info = store.info(version.uri, version_id=version.version_id)
        except ObjectMissingError:
            continue  # gone meanwhile
        run_id = info.metadata.get(_RUN)
        if run_id is not None:
            uri = None if _names(version.uri, erased) else version.uri
            yield Rewritten(uri, version.version_id, run_id, version.modified)


def _names(uri: str, erased: Wanted) -> bool:
    words = {w for text in (uri, unquote(uri)) for w in _WORD.findall(text)}
    return any(erased(Identifier(kind, word)) for word in words for kind in KINDS)
