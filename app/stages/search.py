"""The verifier over a lake: one dataset of a run after the other, what lies beside them, and a
search on its own. Gathers what the verifier needs and journals what it saw; what it looks for is
app.lake.verify.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from app.domain.canary import Limit, only, untouched
from app.domain.datasets import DataMap, Dataset
from app.domain.errors import AccessDeniedError, StageError
from app.domain.failpoints import failpoint
from app.domain.findings import Finding, Seen, What
from app.domain.holds import BY_HOLD
from app.domain.identifiers import Subject, Targets
from app.domain.progress import Say
from app.domain.receipts import ObjectWork, TableWork
from app.domain.shares import WHOLE, Share
from app.lake.bronze import listed
from app.lake.ports import Doors
from app.lake.verify import Verified, find_person, verify_beside, verify_dataset
from app.lake.verify.records import AlsoListed
from app.stages.ports import Journal
from app.stages.resolving import resolve_checked

_BESIDE = "seeing:*"
"""No dataset is called so."""


@dataclass(frozen=True, slots=True)
class Seeing:
    """All that a report says of the second look."""

    findings: tuple[Finding, ...]
    seen: dict[str, Seen]
    undeclared: tuple[str, ...]
    horizons: dict[str, str]
    """By dataset, in words."""
    horizon_at: datetime
    """The earliest of them: up to here everything was looked at."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one look journals: `seeing:<dataset>`, or `seeing:*` for what lies beside them. Of a
    dataset whose objects are shared among several looks, the first says how many there are.
    """

    findings: tuple[Finding, ...]
    seen: dict[str, Seen]
    undeclared: tuple[str, ...]
    horizon: str
    horizon_at: datetime | None
    shares: int = 1


def look_at_dataset(
    dataset: Dataset,
    *,
    targets: Targets,
    data_map: DataMap,
    doors: Doors,
    journal: Journal,
    say: Say,
    share: Share = WHOLE,
) -> None:
    """Verify one dataset of a run (one share of its objects) with the read-only credential, up to
    its horizon.
    """
    tables = _table_works(data_map, journal)
    words = f"snapshot {tables[dataset.name].horizon}" if dataset.name in tables else ""
    fact = "erased_at" if dataset.table is not None else f"horizon:{dataset.name}"
    horizon = datetime.fromisoformat(journal.fact(fact) or "")
    if dataset.table is None:
        words = horizon.isoformat(timespec="milliseconds")
    verified = verify_dataset(
        dataset,
        data_map=data_map,
        targets=targets,
        store=doors.verifier,
        metadata_location=_metadata_location(doors),
        objects=_works(dataset, journal, share) if dataset.table is None else (),
        tables=tables,
        horizon=horizon,
        also_listed=_also_listed(doors),
        progress=lambda name, done, of: say("verify", name, done, of),
        share=share,
    )
    part = replace(_part(verified, words, horizon), shares=share.of)
    _put(journal, _name(dataset.name, share.number), part)


def _works(dataset: Dataset, journal: Journal, share: Share) -> list[ObjectWork]:
    return [w for page in journal.pages(dataset.name) for w in page if share.has(w.uri)]


def _name(dataset: str, number: int) -> str:
    return f"seeing:{dataset}/{number}" if number else f"seeing:{dataset}"


def hold_residue(journal: Journal, dataset: Dataset, *, share: Share = WHOLE) -> None:
    """Residue in a dataset that a legal hold of ours kept from being erased is HELD, with the hold
    named as its reason; everything else that was seen stays as it is. Twice is the same.
    """
    name = _name(dataset.name, share.number)
    part = _looked(journal, name)
    findings = tuple(
        replace(f, what=What.HELD, detail=BY_HOLD) if f.what is What.RESIDUE else f
        for f in part.findings
    )
    _put(journal, name, replace(part, findings=findings))


def look_beside(
    targets: Targets, *, data_map: DataMap, doors: Doors, journal: Journal, say: Say
) -> None:
    """Verify what lies beside the datasets."""
    verified = verify_beside(
        data_map,
        targets=targets,
        store=doors.verifier,
        metadata_location=_metadata_location(doors),
        tables=_table_works(data_map, journal),
        catalog_tables=catalog_tables(doors),
        progress=lambda name, done, of: say("verify", name, done, of),
    )
    _put(journal, _BESIDE, _part(verified, "", None))


def seeing(journal: Journal, data_map: DataMap, *, limit: Limit | None = None) -> Seeing:
    """All that the second look saw, once every dataset and what lies beside them was looked at; or
    what the run was limited to, and then also what was not looked at.
    """
    looked_at = only(data_map, limit).datasets
    parts = {d.name: _looked_at(journal, d.name) for d in looked_at}
    beside = _looked(journal, _BESIDE) if limit is None else _part_of(untouched(data_map, limit))
    every = [*parts.values(), beside]
    # The tables' own horizons were reached when the erase stage ended, at the latest.
    committed_at = datetime.fromisoformat(journal.fact("erased_at") or "")
    return Seeing(
        findings=tuple(sorted((f for p in every for f in p.findings), key=_order)),
        seen={name: seen for p in every for name, seen in p.seen.items()},
        undeclared=beside.undeclared,
        horizons={name: part.horizon for name, part in parts.items()},
        horizon_at=min([p.horizon_at for p in every if p.horizon_at] + [committed_at]),
    )


def search_lake(
    subjects: Sequence[Subject], *, data_map: DataMap, doors: Doors, say: Say
) -> Verified:
    """Where these people, and everything linked to them, stand in the lake now."""
    identities = resolve_checked(subjects, data_map=data_map, doors=doors, shared_review="keep")
    return find_person(
        data_map,
        targets=Targets.of(identities),
        store=doors.verifier,
        metadata_location=_metadata_location(doors),
        progress=lambda dataset, done, of: say("check", dataset, done, of),
    )


def _table_works(data_map: DataMap, journal: Journal) -> dict[str, TableWork]:
    found = ((d.name, journal.table_work(d.name)) for d in data_map.tables)
    return {name: work for name, work in found if work is not None}


def _part(verified: Verified, horizon: str, horizon_at: datetime | None) -> _Part:
    return _Part(verified.findings, dict(verified.seen), verified.undeclared, horizon, horizon_at)


def _part_of(findings: Iterable[Finding]) -> _Part:
    """Of what nobody looked at."""
    return _Part(tuple(findings), {}, (), "", None)


def _put(journal: Journal, name: str, part: _Part) -> None:
    failpoint("stages.before_seeing")
    journal.put_document(name, part)
    failpoint("stages.after_seeing")


def _looked_at(journal: Journal, dataset: str) -> _Part:
    """All that was seen of a dataset, by however many looks."""
    whole = _looked(journal, _name(dataset, 0))
    for number in range(1, whole.shares):
        part = _looked(journal, _name(dataset, number))
        seen = {name: whole.seen.get(name, Seen()) + more for name, more in part.seen.items()}
        findings = (*whole.findings, *part.findings)
        whole = replace(whole, findings=findings, seen={**whole.seen, **seen})
    return whole


def _looked(journal: Journal, name: str) -> _Part:
    part = journal.document(name, _Part)
    if part is None:
        raise StageError("The journal lacks a look of the verify stage: verify again.")
    return part


def _order(found: Finding) -> tuple[str, ...]:
    parts = (found.what, found.layer, found.dataset, found.place, found.detail, found.subject)
    return tuple(map(str, parts))


def catalog_tables(doors: Doors) -> Sequence[str] | None:
    """Every table of the catalog; None where the verifier's credential may not list them."""
    try:
        return doors.verify_engine.tables() if doors.verify_engine is not None else ()
    except AccessDeniedError:
        return None


def _also_listed(doors: Doors) -> AlsoListed:
    """The reading credential's view of objects that the verifier's does not list."""

    def also(uris: Sequence[str]) -> list[str]:
        return [uri for uri, versions in listed(doors.reader, uris).items() if versions]

    return also


def _metadata_location(doors: Doors) -> Callable[[str], str]:
    def current(table: str) -> str:
        assert doors.verify_engine is not None
        return doors.verify_engine.head(table).metadata_location

    return current
