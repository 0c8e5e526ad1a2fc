"""The phases of a run: which steps each stage needs, and which stage follows. Pure.

Not here: what a step does (app.services.erasures), storing what is decided (run_stages there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.domain.receipts import WorkState
from app.domain.runs import Stage
from app.domain.shares import shares_of
from app.domain.steps import NewStep, StepKind

EVERYBODY = "people"
"""The target of RESOLVE and REPORT."""
BESIDE = "*"
"""The target of the VERIFY step for what no dataset declares."""
FIRST_PART = 0
"""The part whose PURGE step also ends what was never finished under the dataset (open uploads)."""

_TO_ERASE = frozenset({WorkState.PLANNED, WorkState.READY})
_TO_CHECK = frozenset({WorkState.WRITTEN})
_TO_PURGE = frozenset(
    {WorkState.CHECKED, WorkState.DEFERRED, WorkState.HELD, WorkState.PARKED}
)  # the last three: what an earlier pass was not allowed to purge


@dataclass(frozen=True, slots=True)
class Course:
    """The datasets that a run goes over, as the map named them when it was resolved."""

    objects: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    """Without the identity table."""
    identity: str | None = None
    """dim_identity: erased and purged last, because it is the only map."""
    is_whole: bool = True
    """False: the run is limited to a part of the lake, and does not look beside it."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """All of them."""
        last = () if self.identity is None else (self.identity,)
        return (*self.objects, *self.tables, *last)


@dataclass(frozen=True, slots=True)
class Part:
    """A group of objects of one dataset: what its works are at, and which steps it has."""

    number: int
    states: frozenset[WorkState]
    steps: frozenset[StepKind] = frozenset()


@dataclass(frozen=True, slots=True)
class Tally:
    """The steps of one kind on one dataset."""

    total: int = 0
    open: int = 0
    done: int = 0
    failed: frozenset[str] = frozenset()
    """Error codes of those that the ledger parked."""
    found: int = 0
    """NEWER: how many objects the latest one found."""


_NO_STEPS = Tally()


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands."""

    stage: Stage
    course: Course
    steps: Mapping[tuple[StepKind, str], Tally]
    """By kind and dataset (or target, where that is no dataset)."""
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict)
    """Of datasets of objects. Looked up only where it decides something, so it may be lazy."""
    people: int = 1
    """Cases that are still in the run."""
    left: bool = False
    """REPORT: something is deferred, held or parked, or somebody's erasure is not verified."""
    undo: bool = False
    """An undo was asked for."""

    def tally(self, kind: StepKind, dataset: str) -> Tally:
        """The steps of this kind there."""
        return self.steps.get((kind, dataset), _NO_STEPS)

    def of_kinds(self, kinds: frozenset[StepKind]) -> Iterator[tuple[StepKind, Tally]]:
        """Every tally of these kinds."""
        return ((kind, tally) for (kind, _), tally in self.steps.items() if kind in kinds)


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: stages that are reached, in order, and steps to be put. Neither: wait."""

    stages: tuple[Stage, ...] = ()
    steps: tuple[NewStep, ...] = ()
    why: str = ""
    """STUCK: the error codes that made it so."""


@dataclass(frozen=True, slots=True)
class _Phase:
    """What is done at a stage. It is over when `missing` names no step and none is open."""

    kinds: frozenset[StepKind]
    missing: Callable[[Standing], list[NewStep]]
    following: Callable[[Standing], Stage]
    fatal: frozenset[str] | None = frozenset()
    """Codes of failed steps that stop the run; None: any. Whatever else failed is left open: the
    second look finds what still stands there, and who it concerns.
    """


def decide(standing: Standing) -> Decision:
    """What follows from where a run stands. The same standing gives the same answer, and what was
    put once is not asked for again.
    """
    if standing.undo:
        return _undoing(standing)
    reached: list[Stage] = []
    stage = standing.stage
    while (phase := _PHASES.get(stage)) is not None:
        is_open = any(tally.open for _, tally in standing.of_kinds(phase.kinds))
        fatal = _fatal(standing, phase)
        if fatal and not is_open:
            return Decision((*reached, Stage.STUCK), why=" ".join(sorted(fatal)))
        missing = [] if fatal else phase.missing(standing)
        if missing or is_open:
            return Decision(tuple(reached), tuple(missing))
        stage = phase.following(standing)
        reached.append(stage)
    return Decision(tuple(reached))


def kinds_at(stage: Stage) -> frozenset[StepKind]:
    """The kinds of steps that a stage is made of."""
    phase = _PHASES.get(stage)
    return frozenset() if phase is None else phase.kinds


def _fatal(standing: Standing, phase: _Phase) -> frozenset[str]:
    codes: frozenset[str] = frozenset()
    for kind, tally in standing.of_kinds(phase.kinds):
        all_count = phase.fatal is None or kind is StepKind.NEWER
        codes |= tally.failed if all_count else tally.failed & (phase.fatal or frozenset())
    return codes


# --- what each stage needs ---------------------------------------------------------------------


def _once(kind: StepKind, standing: Standing, targets: tuple[str, ...]) -> list[NewStep]:
    """One step for each target that has none yet."""
    return [NewStep(kind, t) for t in targets if not standing.tally(kind, t).total]


def _resolve(standing: Standing) -> list[NewStep]:
    return _once(StepKind.RESOLVE, standing, (EVERYBODY,))


def _plan(standing: Standing) -> list[NewStep]:
    return _once(StepKind.PLAN, standing, standing.course.datasets)


def _erase(standing: Standing) -> list[NewStep]:
    """Groups of objects and tables side by side; what others wrote meanwhile; dim_identity last."""
    course = standing.course
    # Tables first: one is a single step, and the longest of them should not begin last.
    missing = _once(StepKind.ERASE, standing, course.tables)
    missing += [s for d in course.objects for s in _erase_objects(standing, d)]
    kinds = frozenset({StepKind.ERASE, StepKind.NEWER})
    if missing or any(tally.open for _, tally in standing.of_kinds(kinds)):
        return missing
    return _last(StepKind.ERASE, standing)


def _erase_objects(standing: Standing, dataset: str) -> list[NewStep]:
    newer = standing.tally(StepKind.NEWER, dataset)
    is_open = newer.open or standing.tally(StepKind.ERASE, dataset).open
    if is_open or (newer.total and not newer.found):
        return []
    groups = _groups(StepKind.ERASE, standing, dataset, states=_TO_ERASE)
    return groups or [NewStep(StepKind.NEWER, f"{dataset}/{newer.total + 1}")]


def _check(standing: Standing) -> list[NewStep]:
    return [
        s
        for d in standing.course.objects
        if not standing.tally(StepKind.CHECK, d).open
        for s in _groups(StepKind.CHECK, standing, d, states=_TO_CHECK)
    ]


def _purge(standing: Standing) -> list[NewStep]:
    course = standing.course
    missing = [
        s
        for d in course.objects
        if not standing.tally(StepKind.PURGE, d).open
        for s in _purge_objects(standing, d)
    ]
    missing += _once(StepKind.PURGE, standing, course.tables)
    is_open = any(tally.open for _, tally in standing.of_kinds(frozenset({StepKind.PURGE})))
    return missing if missing or is_open else _last(StepKind.PURGE, standing)


def _purge_objects(standing: Standing, dataset: str) -> list[NewStep]:
    """A step for each part with something to purge, and for the first one in any case."""
    return [
        NewStep(StepKind.PURGE, f"{dataset}/{part.number}")
        for part in standing.parts.get(dataset, ())
        if (part.states & _TO_PURGE or part.number == FIRST_PART)
        and StepKind.PURGE not in part.steps
    ]


def _verify(standing: Standing) -> list[NewStep]:
    """One step for each dataset, or several that share the objects of a large one."""
    beside = (BESIDE,) if standing.course.is_whole else ()
    return [
        NewStep(StepKind.VERIFY, target)
        for name in (*standing.course.datasets, *beside)
        if not standing.tally(StepKind.VERIFY, name).total
        for target in _looks(standing, name)
    ]


def _looks(standing: Standing, name: str) -> list[str]:
    is_objects = name in standing.course.objects
    number = shares_of(len(standing.parts.get(name, ()))) if is_objects else 1
    return [name] if number == 1 else [f"{name}/{n}" for n in range(number)]


def _report(standing: Standing) -> list[NewStep]:
    return _once(StepKind.REPORT, standing, (EVERYBODY,))


def _last(kind: StepKind, standing: Standing) -> list[NewStep]:
    identity = standing.course.identity
    return [] if identity is None else _once(kind, standing, (identity,))


def _groups(
    kind: StepKind, standing: Standing, dataset: str, *, states: frozenset[WorkState]
) -> list[NewStep]:
    """A step for each part that has something to do and no such step yet."""
    return [
        NewStep(kind, f"{dataset}/{part.number}")
        for part in standing.parts.get(dataset, ())
        if part.states & states and kind not in part.steps
    ]


def _to(stage: Stage) -> Callable[[Standing], Stage]:
    return lambda _: stage


_ANY = None
_WRONG_MAP = frozenset({"data_map"})
"""The map is no longer the one that the run began with."""
_DIFFERS = _WRONG_MAP | {"check_failed"}

_PHASES: Mapping[Stage, _Phase] = MappingProxyType(
    {
        Stage.OPEN: _Phase(
            frozenset({StepKind.RESOLVE}),
            _resolve,
            lambda s: Stage.RESOLVED if s.people else Stage.CLOSED,
            _ANY,
        ),
        Stage.RESOLVED: _Phase(
            frozenset({StepKind.PLAN}),
            lambda s: _plan(s) if s.people else [],
            lambda s: Stage.PLANNED if s.people else Stage.CLOSED,
            _ANY,
        ),
        Stage.PLANNED: _Phase(
            frozenset({StepKind.ERASE, StepKind.NEWER}), _erase, _to(Stage.ERASED), _DIFFERS
        ),
        Stage.ERASED: _Phase(frozenset({StepKind.CHECK}), _check, _to(Stage.CHECKED), _DIFFERS),
        Stage.CHECKED: _Phase(frozenset({StepKind.PURGE}), _purge, _to(Stage.PURGING), _WRONG_MAP),
        Stage.PURGING: _Phase(frozenset({StepKind.PURGE}), _purge, _to(Stage.PURGED), _WRONG_MAP),
        Stage.PURGED: _Phase(frozenset({StepKind.VERIFY}), _verify, _to(Stage.VERIFIED), _ANY),
        Stage.VERIFIED: _Phase(
            frozenset({StepKind.REPORT}),
            _report,
            lambda s: Stage.PENDING if s.left else Stage.CLOSED,
            _ANY,
        ),
    }
)
"""What is not here needs a person, or has ended."""


# --- back --------------------------------------------------------------------------------------


def _undoing(standing: Standing) -> Decision:
    """Once nobody is at work any more, every dataset is put back; then the run is UNDONE, or STUCK
    where others have changed something since.
    """
    others = frozenset(StepKind) - {StepKind.UNDO}
    if any(tally.open for _, tally in standing.of_kinds(others)):
        return Decision()
    missing = _once(StepKind.UNDO, standing, standing.course.datasets)
    if missing:
        return Decision(steps=tuple(missing))
    undo = [tally for _, tally in standing.of_kinds(frozenset({StepKind.UNDO}))]
    if any(tally.open for tally in undo):
        return Decision()
    if any(tally.done < tally.total for tally in undo):
        already = standing.stage is Stage.STUCK
        return Decision() if already else Decision((Stage.STUCK,), why="undo_left")
    return Decision(() if standing.stage is Stage.UNDONE else (Stage.UNDONE,))
