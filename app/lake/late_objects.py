"""Late data in objects: every version that is newer than a mark, read line by line.

Not here: what a line says (late_lines), tables (late_tables).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from app.domain.datasets import Dataset
from app.domain.errors import AccessDeniedError, ObjectMissingError, StoppedError
from app.domain.identifiers import Identifier
from app.domain.policies import is_kept
from app.lake.bronze_lines import BOM
from app.lake.codecs import ContentError, blocks, decoded
from app.lake.late_lines import JsonLook, LateRow, Tally, Wanted, identifiers_at, latest
from app.lake.ports import ObjectInfo, ObjectStore, ObjectStream, Version

_RUN, _BASE = "clearlake-run", "clearlake-base"


def late_objects(
    dataset: Dataset,
    *,
    store: ObjectStore,
    mark: datetime | None,
    overlap: timedelta,
    ours: Callable[[str], bool],
    wanted: Wanted,
    tally: Tally,
    stop: Callable[[], bool],
) -> Iterator[LateRow]:
    """Wanted identifiers in versions written at `mark` or later, superseded ones among them.

    1. The time of the store comes first: what lands while we list belongs to the next look.
    2. A version of somebody else counts from `overlap` before the mark on: the store dates an
       upload in parts by its beginning, and it may have ended after the last look.
    3. A version of our own is its base without some people: whoever came late into that base is
       still in it. It is passed over where the base is listed too (and judged by its own date), or
       where it was there at the last look.
    4. What cannot be read is counted: nobody knows who is in it.
    """
    assert dataset.location is not None
    looking = _Looking(dataset, store, mark, ours, JsonLook(dataset.roles, wanted=wanted), wanted)
    tally.seen_to = store.now().isoformat()
    since = None if mark is None else mark - overlap
    for _, versions in groupby(store.versions(dataset.location), key=lambda v: v.uri):
        yield from looking.at_key(list(versions), since=since, tally=tally, stop=stop)


@dataclass(frozen=True, slots=True)
class _Looking:
    dataset: Dataset
    store: ObjectStore
    mark: datetime | None
    ours: Callable[[str], bool]
    look: JsonLook
    wanted: Wanted

    def at_key(
        self,
        versions: Sequence[Version],
        *,
        since: datetime | None,
        tally: Tally,
        stop: Callable[[], bool],
    ) -> Iterator[LateRow]:
        listed = frozenset(v.version_id for v in versions)
        for version in versions:
            if version.is_marker or (since is not None and version.modified < since):
                continue
            if stop():
                raise StoppedError("Told to stop while late data was looked for.")
            try:
                yield from self._version(version, listed=listed, tally=tally, stop=stop)
            except ObjectMissingError:
                continue  # gone meanwhile, whatever was in it
            except (AccessDeniedError, ContentError):
                tally.unreadable += 1

    def _version(
        self,
        version: Version,
        *,
        listed: frozenset[str],
        tally: Tally,
        stop: Callable[[], bool],
    ) -> Iterator[LateRow]:
        with self.store.open(version.uri, version_id=version.version_id) as stream:
            if self._is_seen(stream.info, version, listed=listed):
                return
            tally.places += 1
            for line in self._lines(stream, stop):
                for identifier, at in self._found(line):
                    name = self.dataset.name
                    yield LateRow(identifier, at, name, version.uri, version.modified)

    def _is_seen(self, info: ObjectInfo, version: Version, *, listed: frozenset[str]) -> bool:
        """3. Ours, and all that it holds was seen or is seen elsewhere."""
        run = info.metadata.get(_RUN)
        if run is None or not self.ours(run):
            return False
        was_there = self.mark is not None and version.modified < self.mark
        return was_there or info.metadata.get(_BASE) in listed

    def _lines(self, stream: ObjectStream, stop: Callable[[], bool]) -> Iterator[bytes]:
        for data, start, end in blocks(decoded(stream.read)[1]):
            if stop():
                raise StoppedError("Told to stop while late data was looked for.")
            yield from self.look.suspects(data, start, end)

    def _found(self, line: bytes) -> Iterator[tuple[Identifier, datetime | None]]:
        text = line.strip().removeprefix(BOM)
        values_at = self.look.values(text)
        if values_at is None:
            # The eraser leaves such a line to a person, if anybody stands on it: so must we say it.
            yield from ((i, None) for i in sorted(self.look.tokens(text)))
            return
        found = identifiers_at(self.look.paths, values_at, wanted=self.wanted)
        if found and not is_kept(self.dataset, values_at):
            at = latest(values_at(self.dataset.event_time)) if self.dataset.event_time else None
            yield from ((i, at) for i in sorted(found))
