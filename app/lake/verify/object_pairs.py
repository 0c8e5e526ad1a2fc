"""The stage `checked` for Bronze: a base object and its replacement, read side by side.

Reads only. A difference is a finding; what is done about it is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from app.domain.datasets import Dataset
from app.domain.errors import LakeError, ObjectMissingError, UnreachableError
from app.domain.findings import Finding, What
from app.domain.identifiers import Targets
from app.domain.receipts import ObjectWork, WorkState
from app.lake.ports import COMPLIANCE, ObjectInfo, ObjectStore, Version
from app.lake.verify.content import Digested, Opened
from app.lake.verify.edits import Book
from app.lake.verify.line_pairs import LinePair
from app.lake.verify.line_rows import LineReader
from app.lake.verify.lines import lines_that_hold
from app.lake.verify.needles import Needles
from app.lake.verify.places import Sight
from app.lake.verify.sources import versions_of

_OUR_MARK = "clearlake-"
_ENDS_SOON = timedelta(minutes=6)
"""The eraser sends no retention that ends within 5 minutes; one more for its own work."""
_ARCHIVED = ("GLACIER", "DEEP_ARCHIVE")
_TOGETHER = 256
"""Works whose versions are listed together."""
_READERS = 4
"""Threads that wait for the store; searching and decompressing run beside them."""
_WRITTEN = frozenset({WorkState.WRITTEN, WorkState.CHECKED})


def check_objects(
    works: Iterable[ObjectWork],
    *,
    dataset: Dataset,
    targets: Targets,
    store: ObjectStore,
    unparsable: str,
) -> list[Finding]:
    """Check every written work: nothing but the people of the run left its object.

    Findings other than NOTE, WITHHELD and PARKED block the purge of their `uri`. UnreachableError
    passes through: the stage can be repeated.
    """
    needles = Needles.of(targets)
    check = _Check(dataset, needles, store=store, unparsable=unparsable)
    written = [w for w in works if w.state in _WRITTEN]
    findings: list[Finding] = []
    with ThreadPoolExecutor(_READERS, "check") as pool:
        for start in range(0, len(written), _TOGETHER):
            batch = written[start : start + _TOGETHER]
            listed = _Listed.of(store, batch)
            for found in pool.map(partial(check.findings, listed=listed), batch):
                findings += found
    return findings


@dataclass(frozen=True, slots=True)
class _Listed:
    """The versions of some objects; or why they could not be listed."""

    versions: Mapping[str, Sequence[Version]] = field(repr=False)
    error: LakeError | None = None

    @classmethod
    def of(cls, store: ObjectStore, works: Sequence[ObjectWork]) -> _Listed:
        try:
            return cls(versions_of([w.uri for w in works], store=store))
        except UnreachableError:
            raise
        except LakeError as err:
            return cls({}, err)

    def __getitem__(self, uri: str) -> Sequence[Version]:
        if self.error is not None:
            raise self.error
        return self.versions[uri]


class _Check:
    def __init__(
        self, dataset: Dataset, needles: Needles, *, store: ObjectStore, unparsable: str
    ) -> None:
        self._dataset = dataset
        self._needles = needles
        self._store = store
        self._unparsable = unparsable
        self._reader = LineReader(dataset, needles)
        self._book = Book(needles)

    def findings(self, work: ObjectWork, *, listed: _Listed) -> list[Finding]:
        """One work: the pair, and every other version that is to be destroyed."""
        sight = Sight.of(self._dataset, work.uri, version_id=work.new_version or "")
        self._look(work, listed, sight=sight)
        return sight.findings

    def _look(self, work: ObjectWork, listed: _Listed, *, sight: Sight) -> None:
        try:
            if work.new_version is not None:
                self._pair(work, sight)
            self._superseded(work, listed[work.uri], sight=sight)
        except UnreachableError:
            raise
        except LakeError as err:
            sight.saw(What.CANNOT_SEE, "pair", detail=err.code)

    def _pair(self, work: ObjectWork, sight: Sight) -> None:
        if work.base_version is None or work.new_version is None:
            sight.saw(What.ARITHMETIC, "pair", detail="a replacement of nothing")
            return
        with (
            self._store.open(work.uri, version_id=work.base_version) as base,
            self._store.open(work.uri, version_id=work.new_version) as new,
        ):
            _attributes(base.info, new.info, sight=sight, needles=self._needles)
            digested = Digested(new)
            old_text, new_text = Opened(base), Opened(digested)
            if old_text.form is not new_text.form and new.info.size:
                sight.saw(What.ARITHMETIC, "pair", detail="another codec")
            pair = LinePair(
                self._reader, self._needles, book=self._book, unparsable=self._unparsable
            )
            pair.compare(old_text.text(), new_text.text(), sight=sight)
            if digested.hexdigest() != work.sha256:
                sight.saw(What.ARITHMETIC, "pair", detail="the digest is another")
        pair.tally.compare(work.counts, sight=sight)

    def _superseded(self, work: ObjectWork, versions: Sequence[Version], *, sight: Sight) -> None:
        """No version goes that holds nobody, none that is current and not replaced, and none that
        holds somebody is forgotten.
        """
        latest = {v.version_id for v in versions if v.is_latest}
        listed = {s.version_id for s in work.superseded}
        for below in versions[_below(versions, work.new_version) :]:
            if not below.is_marker and below.version_id not in listed and self._must_go(below):
                sight.saw(What.ARITHMETIC, "superseded", detail="holds somebody and is not listed")
        for old in work.superseded:
            if old.is_marker or (old.version_id == work.base_version and work.new_version):
                continue
            if old.state is WorkState.PARKED:
                continue  # nobody could read it, and nothing that is parked is purged
            if old.version_id in latest:
                sight.saw(What.ARITHMETIC, "superseded", detail="current and not replaced")
            elif not self._holds(work.uri, old.version_id):
                sight.saw(What.ARITHMETIC, "superseded", detail="holds nobody of the run")

    def _holds(self, uri: str, version_id: str) -> bool:
        with self._store.open(uri, version_id=version_id) as stream:
            text = Opened(stream).text()
            return next(lines_that_hold(text, self._needles, self._reader), None) is not None

    def _must_go(self, old: Version) -> bool:
        """Whether a version holds somebody who has no legal ground to stay in it."""
        try:
            with self._store.open(old.uri, version_id=old.version_id) as stream:
                held = lines_that_hold(Opened(stream).text(), self._needles, self._reader)
                return any(line.must_change(self._reader.dataset.elsewhere) for line in held)
        except ObjectMissingError:
            return False  # gone since it was listed, whatever was in it


def _below(versions: Sequence[Version], version_id: str | None) -> int:
    """Where the versions below one begin; what others wrote above it is not this run's yet."""
    if version_id is None:
        return 0
    places = [n for n, v in enumerate(versions, 1) if v.version_id == version_id]
    return places[0] if places else 0


def _attributes(base: ObjectInfo, new: ObjectInfo, *, sight: Sight, needles: Needles) -> None:
    """The replacement carries what its base carried, the lock as protocol step C6 means it."""
    carried = {k: v for k, v in new.metadata.items() if not k.startswith(_OUR_MARK)}
    expected = {k: v for k, v in base.metadata.items() if not k.startswith(_OUR_MARK)}
    for name, same in (
        ("metadata", carried == expected),
        ("tags", dict(base.tags) == dict(new.tags)),
        ("headers", dict(base.headers) == dict(new.headers)),
        ("storage class", new.storage_class in _classes_for(base)),
        ("encryption", dict(base.encryption) == dict(new.encryption)),
    ):
        if not same:
            sight.saw(What.ARITHMETIC, name, detail="not as on the base")
    for text in (*new.metadata.items(), *new.tags.items(), *new.headers.items()):
        for value in needles.in_text("\n".join(text)):
            subject = needles.subject_of(value)
            sight.saw(What.RESIDUE, "metadata or tag", subject=subject)
    _lock(base, new, sight=sight)


def _classes_for(base: ObjectInfo) -> tuple[str | None, ...]:
    """A restored copy of an archived base is replaced in the standard class, to be read now."""
    return (None, "STANDARD") if base.storage_class in _ARCHIVED else (base.storage_class,)


def _lock(base: ObjectInfo, new: ObjectInfo, *, sight: Sight) -> None:
    if (base.lock_mode, base.retain_until) == (new.lock_mode, new.retain_until):
        return
    ends = base.retain_until
    ended = base.lock_mode is None or ends is None or ends <= new.modified + _ENDS_SOON
    if new.lock_mode is None and ended:
        return
    if new.lock_mode == COMPLIANCE and ended:
        # A default of the bucket that nobody can clear: accepted, and dated.
        sight.saw(What.NOTE, "lock", detail=f"locked by default until {new.retain_until}")
        return
    sight.saw(What.ARITHMETIC, "lock", detail="not as meant")
