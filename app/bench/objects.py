"""Bronze, dry: every current version is read and decided on as a run does it; what would be put is
looked at by the verifier and thrown away. Not here: older versions, the put, the journal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from app.bench.costs import Cost, measured, timed, total
from app.bench.figures import Figure, Measured, compared
from app.domain.datasets import Dataset
from app.domain.errors import CheckFailedError
from app.domain.findings import What
from app.domain.identifiers import Targets
from app.domain.receipts import Counts, ObjectWork, WorkState
from app.lake.bronze_lines import Rule
from app.lake.bronze_read import Prepared, read_object
from app.lake.codecs import DEFAULT_LIMITS, decoded
from app.lake.ports import ObjectInfo, ObjectStore, ObjectStream, Version
from app.lake.tombstones import Tombstones, new_secret
from app.lake.verify import check_objects

_BATCH = 256 << 20
"""Bytes of replacements that wait in the scratch folder for the second look."""
_HARMLESS = frozenset({What.NOTE, What.WITHHELD, What.PARKED})
_NEW = "new"


def measure_objects(
    dataset: Dataset,
    *,
    targets: Targets,
    unparsable: str,
    store: ObjectStore,
    scratch: Path,
    rounds: int,
) -> Measured:
    """A dataset of objects. Nothing is written but into `scratch`, and nothing stays there.

    1. One pass that is not measured: what can be read, what is hit; the verifier compares each
       replacement with its base (CheckFailedError).
    2. Rounds of only reading, and of the pass, which must come to the same each time.
    """
    assert dataset.location is not None
    rule = Rule.of(
        dataset, targets=targets, tombstones=Tombstones(new_secret()), unparsable=unparsable
    )
    latest = [v for v in store.versions(dataset.location) if v.is_latest and not v.is_marker]
    checking: list[Cost] = []
    first = _Pass(rule, store, scratch)
    readable = first.looked_at(latest, checking=checking)

    def again() -> None:
        another = _Pass(rule, store, scratch)
        another.over(readable)
        assert (another.counts, another.hit) == (first.counts, first.hit), "versions never change"

    reading, erasing = measured(lambda: _only_read(readable, store), again, rounds=rounds)
    size = sum(v.size for v in readable)
    base = Figure("only reading", reading, size)
    return Measured(
        dataset.name,
        dataset.layer.value,
        counts={
            "objects": len(latest),
            "unreadable": len(latest) - len(readable),
            "hit": first.hit,
            "lines": first.counts.before,
            **_told(first.counts),
        },
        figures=(
            base,
            compared("erasing", erasing, size, with_=base),
            compared("checking what was hit, once", total(checking), first.hit_bytes, with_=base),
        ),
    )


def _told(counts: Counts) -> dict[str, int]:
    return {
        "deleted": counts.deleted,
        "tombstoned": counts.tombstoned,
        "kept": counts.kept,
        "parked": counts.parked,
    }


def _only_read(versions: Sequence[Version], store: ObjectStore) -> None:
    """Every byte of the text, decompressed, and nothing done with it."""
    for version in versions:
        with store.open(version.uri, version_id=version.version_id) as stream:
            _, chunks = decoded(stream.read)
            for _ in chunks:
                pass


class _Pass:
    """One pass over the objects, and what it came to."""

    def __init__(self, rule: Rule, store: ObjectStore, scratch: Path) -> None:
        self._rule, self._store, self._scratch = rule, store, scratch
        self.counts = Counts()
        self.hit = 0
        self.hit_bytes = 0

    def over(self, versions: Sequence[Version]) -> None:
        """As a run reads and decides."""
        for version in versions:
            prepared = self._prepared(version)
            if prepared.body is not None:
                prepared.body.close()

    def looked_at(self, versions: Sequence[Version], *, checking: list[Cost]) -> list[Version]:
        """The same, with the second look; the versions that can be read."""
        readable: list[Version] = []
        held: list[Prepared] = []
        waiting = 0
        try:
            for version in versions:
                prepared = self._prepared(version)
                if prepared.work.base_etag is not None:
                    readable.append(version)
                if prepared.body is not None:
                    held.append(prepared)
                    waiting += prepared.body.size
                if waiting > _BATCH:
                    self._check(held, checking)
                    waiting = 0
            self._check(held, checking)
        finally:
            _close(held)
        return readable

    def _prepared(self, version: Version) -> Prepared:
        prepared = read_object(
            ObjectWork(uri=version.uri),
            [version],
            rule=self._rule,
            store=self._store,
            spool=self._scratch,
            limits=DEFAULT_LIMITS,
        )
        self.counts += prepared.work.counts
        if prepared.body is not None:
            self.hit += 1
            self.hit_bytes += version.size
        return prepared

    def _check(self, held: list[Prepared], checking: list[Cost]) -> None:
        """Let the verifier compare these with their bases, then give them back."""
        works = [replace(p.work, new_version=_NEW).to(WorkState.WRITTEN) for p in held]
        with timed(checking):
            findings = check_objects(
                works,
                dataset=self._rule.dataset,
                targets=self._rule.targets,
                store=cast("ObjectStore", _Beside(self._store, held)),
                unparsable=self._rule.unparsable,
            )
        wrong = sorted({f.what.value for f in findings if f.what not in _HARMLESS})
        if wrong:
            raise CheckFailedError(
                f"{self._rule.dataset.name}: the second look does not agree with a replacement "
                f"({', '.join(wrong)}). Nothing was changed; find out why before you erase here."
            )
        _close(held)


def _close(held: list[Prepared]) -> None:
    for prepared in held:
        if prepared.body is not None:
            prepared.body.close()
    held.clear()


class _Beside:
    """The lake with replacements beside it that were never put: what the verifier asks for, and
    nothing that writes.
    """

    def __init__(self, store: ObjectStore, held: Iterable[Prepared]) -> None:
        self._store = store
        self._held = {p.work.uri: p for p in held}

    @contextmanager
    def open(self, uri: str, *, version_id: str) -> Iterator[ObjectStream]:
        if version_id != _NEW:
            with self._store.open(uri, version_id=version_id) as stream:
                yield stream
            return
        base, body = self._held[uri].base, self._held[uri].body
        assert base is not None
        assert body is not None
        yield _Replacement(replace(base, version_id=_NEW, size=body.size), body.file)

    def versions(self, prefix: str) -> Iterator[Version]:
        """None: versions below the current one were not asked about."""
        return iter(())


@dataclass(frozen=True, slots=True)
class _Replacement:
    info: ObjectInfo
    file: BinaryIO

    def read(self, size: int = -1, /) -> bytes:
        return self.file.read(size)
